// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long getxattr(2) of security.capability and execve(2) take, in nanoseconds a call, for files with
 * no capability, a host value, one entry and 64, as seen by root of the entry's namespace.
 * usage: measure DIRECTORY GETXATTR-CALLS EXECVE-CALLS
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nscap_test.h"

enum { NONE, HOST, ONE, MANY, FILES };

static const char *const names[FILES] = { "none", "host", "one", "64" };
static char paths[FILES][4096];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void copy_self(const char *path)
{
	static char buffer[1 << 20];
	int self = open("/proc/self/exe", O_RDONLY), fd = open(path, O_WRONLY | O_CREAT, 0755);
	ssize_t len;

	CHECK(self >= 0 && fd >= 0);
	while ((len = read(self, buffer, sizeof(buffer))) > 0)
		CHECK(write(fd, buffer, len) == len);
	CHECK(close(self) == 0 && close(fd) == 0);
}

/* False where this kernel has no table. */
static bool grant(int which)
{
	uint32_t v3[6] = { 0x03000000, 1, 0, 0, 0, 100000 };
	struct v2 host = v2(1);
	uint32_t form[2 + 6 * 64] = { 0x01000000, 64 };

	host.magic = 0x02000000;
	switch (which) {
	case HOST:
		CHECK(setxattr(paths[which], CAPABILITY, &host, sizeof(host), 0) == 0);
		return true;
	case ONE:
		CHECK(setxattr(paths[which], CAPABILITY, v3, sizeof(v3), 0) == 0);
		return true;
	case MANY:
		if (write_number("/proc/sys/kernel/nscap_array", 1))
			return false;
		for (int i = 0; i < 64; i++) {
			form[2 + 6 * i] = 100000 + i;
			form[2 + 6 * i + 2] = 1;
		}
		CHECK(setxattr(paths[which], NSCAPABILITY, form, sizeof(form), 0) == 0);
		return true;
	default:
		return true;
	}
}

static void enter_namespace(void)
{
	pid_t self = getpid(), child;
	char name[64];
	int gate[2], status;
	char byte;

	CHECK(pipe(gate) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		CHECK(read(gate[0], &byte, 1) == 1);
		for (int i = 0; i < 2; i++) {
			FILE *map;

			snprintf(name, sizeof(name), "/proc/%d/%s", self, i ? "gid_map" : "uid_map");
			map = fopen(name, "w");
			CHECK(map && fprintf(map, "0 100000 65536\n") > 0 && fclose(map) == 0);
		}
		_exit(0);
	}
	CHECK(unshare(CLONE_NEWUSER) == 0 && write(gate[1], "", 1) == 1);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
}

static void get(int which, long calls)
{
	char value[64];
	double start = now();

	for (long i = 0; i < calls; i++)
		getxattr(paths[which], CAPABILITY, value, sizeof(value));
	printf("getxattr %s %.1f\n", names[which], (now() - start) / calls);
}

static void execute(int which, long calls)
{
	char *const arguments[] = { paths[which], NULL }, *const environment[] = { NULL };
	double start = now();
	pid_t child;
	int status;

	for (long i = 0; i < calls; i++) {
		CHECK(posix_spawn(&child, paths[which], NULL, NULL, arguments, environment) == 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	printf("execve %s %.1f\n", names[which], (now() - start) / calls);
}

int main(int argc, char **argv)
{
	bool has[FILES];

	/* What is executed. */
	if (argc == 1)
		return 0;
	CHECK(argc == 4);
	for (int i = 0; i < FILES; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", argv[1], names[i]);
		copy_self(paths[i]);
		has[i] = grant(i);
	}
	enter_namespace();
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < FILES; i++) {
			if (has[i])
				get(i, atol(argv[2]) / 5);
			if (has[i])
				execute(i, atol(argv[3]) / 5);
		}
	}
	return 0;
}
