// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long system calls take, in nanoseconds a call, for files with no capability, a host value,
 * one entry, 64 and 1,024, as seen by root of the entry's namespace; and for a file of its own.
 * usage: measure DIRECTORY GETXATTR-CALLS EXECVE-CALLS [--all] [--tables]
 * Without --all getxattr(2) of security.capability and execve(2) alone. --tables: the file system
 * has tables, though the kernel does not say so.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nscap_test.h"

enum { NONE, HOST, ONE, MANY, MOST, FILES, OWN = FILES };

static const char *const names[] = { "none", "host", "one", "64", "1024", "own" };
static char paths[FILES + 1][4096];
static int own;
static unsigned long turn;

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

/* False where there are no tables. */
static bool grant(int which, bool tables)
{
	uint32_t v3[6] = { 0x03000000, 1, 0, 0, 0, 100000 };
	struct v2 host = v2(1);
	static uint32_t form[2 + 6 * 1024] = { 0x01000000 };
	unsigned int n = which == MANY ? 64 : 1024;

	host.magic = 0x02000000;
	switch (which) {
	case HOST:
		CHECK(setxattr(paths[which], CAPABILITY, &host, sizeof(host), 0) == 0);
		return true;
	case ONE:
		CHECK(setxattr(paths[which], CAPABILITY, v3, sizeof(v3), 0) == 0);
		return true;
	case MANY:
	case MOST:
		if (write_number("/proc/sys/kernel/nscap_array", 1) && !tables)
			return false;
		form[1] = n;
		for (unsigned int i = 0; i < n; i++) {
			form[2 + 6 * i] = 100000 + i;
			form[2 + 6 * i + 2] = 1;
		}
		CHECK(setxattr(paths[which], NSCAPABILITY, form, form_f_len(n), 0) == 0);
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

static void get(int which)
{
	char value[64];

	getxattr(paths[which], CAPABILITY, value, sizeof(value));
}

static void list(int which)
{
	char value[256];

	CHECK(listxattr(paths[which], value, sizeof(value)) >= 0);
}

static void execute(int which)
{
	char *const arguments[] = { paths[which], NULL }, *const environment[] = { NULL };
	pid_t child;
	int status;

	CHECK(posix_spawn(&child, paths[which], NULL, NULL, arguments, environment) == 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void look(int which)
{
	struct stat st;

	CHECK(stat(paths[which], &st) == 0);
}

static void set_and_remove(int which)
{
	struct v2 value = v2(1);

	CHECK(setxattr(paths[which], CAPABILITY, &value, sizeof(value), 0) == 0);
	CHECK(removexattr(paths[which], CAPABILITY) == 0);
}

static void open_map_close(int which, int access, int protection, int flags)
{
	int fd = open(paths[which], access);
	void *mapped = mmap(NULL, 4096, protection, flags, fd, 0);

	CHECK(mapped != MAP_FAILED && munmap(mapped, 4096) == 0 && close(fd) == 0);
}

static void map_shared(int which)
{
	open_map_close(which, O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void map_private(int which)
{
	void *mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, own, 0);

	(void)which;
	CHECK(mapped != MAP_FAILED && munmap(mapped, 4096) == 0);
}

static void write_some(int which)
{
	static const char bytes[512];

	(void)which;
	CHECK(pwrite(own, bytes, sizeof(bytes), 0) == sizeof(bytes));
}

static void change_group(int which)
{
	CHECK(chown(paths[which], -1, ++turn & 1) == 0);
}

/* What the compiler is to a kernel: a program, what it includes, and what it is linked with. */
static void compile(int which)
{
	char bytes[4096];

	execute(NONE);
	for (int i = 0; i < 100; i++) {
		struct stat st;
		int fd = open(paths[which], O_RDONLY);

		CHECK(fd >= 0 && fstat(fd, &st) == 0 && read(fd, bytes, sizeof(bytes)) == sizeof(bytes));
		CHECK(close(fd) == 0);
	}
	for (int i = 0; i < 10; i++)
		open_map_close(which, O_RDONLY, PROT_READ | PROT_EXEC, MAP_PRIVATE);
}

static const struct row {
	const char *name;
	void (*call)(int which);
	/* Of the calls that are asked for, one in so many: of getxattr's, or of execve's where by is 0. */
	int by;
	int first, last;
	/* Without --all, too; of a file that is open. */
	bool always, opened;
} rows[] = {
	{ "getxattr", get, 1, NONE, MOST, true, false },
	{ "execve", execute, 0, NONE, MOST, true, false },
	{ "listxattr", list, 1, NONE, MOST, false, false },
	{ "stat", look, 1, NONE, MANY, false, false },
	{ "set+remove", set_and_remove, 4, OWN, OWN, false, false },
	{ "mmap-shared", map_shared, 4, OWN, OWN, false, false },
	{ "mmap-private", map_private, 1, OWN, OWN, false, true },
	{ "write", write_some, 1, OWN, OWN, false, true },
	{ "chown", change_group, 4, OWN, OWN, false, false },
	{ "compile", compile, 0, OWN, OWN, false, false },
};

static void measure(const struct row *row, int which, long of_getxattr, long of_execve)
{
	long calls = (row->by ? of_getxattr / row->by : of_execve) / 5;
	double start;

	/* For no longer, since nothing is granted to what is open for writing on a mount. */
	own = row->opened ? open(paths[which], O_RDWR) : -1;
	CHECK(!row->opened || own >= 0);
	/* What the first one finds is not there yet. */
	row->call(which);
	start = now();
	for (long i = 0; i < calls; i++)
		row->call(which);
	printf("%s %s %.1f\n", row->name, names[which], (now() - start) / calls);
	CHECK(!row->opened || close(own) == 0);
}

int main(int argc, char **argv)
{
	bool has[FILES + 1], all = false, tables = false;

	/* What is executed. */
	if (argc == 1)
		return 0;
	CHECK(argc >= 4);
	for (int i = 4; i < argc; i++) {
		all = all || !strcmp(argv[i], "--all");
		tables = tables || !strcmp(argv[i], "--tables");
	}
	for (int i = 0; i <= OWN; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", argv[1], names[i]);
		copy_self(paths[i]);
		has[i] = grant(i, tables);
	}
	CHECK(chown(paths[OWN], 100000, 100000) == 0);
	enter_namespace();
	for (int round = 0; round < 5; round++)
		for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++)
			for (int i = rows[r].first; i <= rows[r].last; i++)
				if (has[i] && (all || rows[r].always))
					measure(&rows[r], i, atol(argv[2]), atol(argv[3]));
	return 0;
}
