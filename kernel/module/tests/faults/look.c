// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "look.h"

static int namespaces[VIEWERS];

static void write_map(pid_t pid, const char *map, uid_t root)
{
	char path[64], text[64];
	int fd, len = snprintf(text, sizeof(text), "0 %u 65536\n", root);

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, map);
	fd = open(path, O_WRONLY);
	CHECK(fd >= 0 && write(fd, text, len) == len);
	close(fd);
}

static int new_namespace(uid_t root)
{
	int ready[2], hold[2], fd;
	char path[64], byte;
	pid_t pid;

	CHECK(pipe(ready) == 0 && pipe(hold) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(unshare(CLONE_NEWUSER) == 0 && write(ready[1], "", 1) == 1);
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) != 0);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	write_map(pid, "uid_map", root);
	write_map(pid, "gid_map", root);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	close(hold[1]);
	CHECK(waitpid(pid, NULL, 0) == pid);
	close(hold[0]);
	close(ready[0]);
	close(ready[1]);
	return fd;
}

void look_begin(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	namespaces[A] = new_namespace(ROOT_OF_A);
	namespaces[B] = new_namespace(ROOT_OF_B);
}

void become(enum viewer viewer, uid_t id)
{
	if (viewer != HOST)
		CHECK(setns(namespaces[viewer], CLONE_NEWUSER) == 0);
	if (viewer != HOST || id)
		CHECK(setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0);
}

int open_nth(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

void set_nth(int fd, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	CHECK(pwrite(fd, text, len, 0) == len);
}

unsigned int get_nth(int fd)
{
	char text[16] = "";

	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
	return strtoul(text, NULL, 10);
}

static void execute_in_child(const char *file, enum viewer viewer, unsigned int nth, int to)
{
	char *const arguments[] = { "granted", NULL }, *const environment[] = { NULL };
	int fd = nth ? open_nth() : -1;

	become(viewer, 7);
	dup2(to, STDOUT_FILENO);
	if (nth)
		set_nth(fd, nth);
	execve(file, arguments, environment);
	_exit(errno);
}

uint64_t execute(const char *file, enum viewer viewer, unsigned int nth, uint64_t *left)
{
	uint64_t said[2] = {};
	int from[2];
	ssize_t len;
	pid_t pid;

	CHECK(pipe2(from, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		execute_in_child(file, viewer, nth, from[1]);
	close(from[1]);
	len = read(from[0], said, sizeof(said));
	close(from[0]);
	CHECK(waitpid(pid, NULL, 0) == pid);
	if (left)
		*left = len == sizeof(said) ? said[1] : 0;
	return len == sizeof(said) ? said[0] : NOT_EXECUTED;
}

void look_at_content(const char *file, struct look *look)
{
	static uint8_t buffer[65536];
	struct stat stat = {};
	ssize_t len, i;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	look->content = 14695981039346656037ULL;
	look->size = -1;
	look->uid = -1;
	if (fd < 0)
		return;
	if (fstat(fd, &stat) == 0) {
		look->size = stat.st_size;
		look->uid = stat.st_uid;
	}
	while ((len = read(fd, buffer, sizeof(buffer))) > 0)
		for (i = 0; i < len; i++)
			look->content = (look->content ^ buffer[i]) * 1099511628211ULL;
	/* What cannot be read is no known content. */
	if (len < 0)
		look->content = 0;
	close(fd);
}

static ssize_t read_attribute(const char *file, const char *name, uint8_t *value, size_t size)
{
	ssize_t len = getxattr(file, name, value, size);

	return len < 0 ? -errno : len;
}

void look_at(const char *file, struct look *look)
{
	memset(look, 0, sizeof(*look));
	for (int viewer = HOST; viewer < VIEWERS; viewer++)
		look->gets[viewer] = execute(file, viewer, 0, NULL);
	look->capability_len = read_attribute(file, CAPABILITY, look->capability,
					      sizeof(look->capability));
	look->nscapability_len = read_attribute(file, NSCAPABILITY, look->nscapability,
						sizeof(look->nscapability));
	look_at_content(file, look);
}

bool same_content(const struct look *a, const struct look *b)
{
	return a->content == b->content && a->size == b->size && a->uid == b->uid;
}

static bool same_value(ssize_t a_len, const uint8_t *a, ssize_t b_len, const uint8_t *b)
{
	return a_len == b_len && (a_len <= 0 || !memcmp(a, b, a_len));
}

bool same_grants(const struct look *a, const struct look *b)
{
	return !memcmp(a->gets, b->gets, sizeof(a->gets)) &&
	       same_value(a->capability_len, a->capability, b->capability_len, b->capability) &&
	       same_value(a->nscapability_len, a->nscapability, b->nscapability_len,
			  b->nscapability);
}

bool grants_nothing(const struct look *look)
{
	for (int viewer = HOST; viewer < VIEWERS; viewer++)
		if (look->gets[viewer] && look->gets[viewer] != NOT_EXECUTED)
			return false;
	return look->capability_len <= 0 && look->nscapability_len <= 0;
}

void print_look(const char *what, const struct look *look)
{
	fprintf(stderr, "  %s: host %#llx, A %#llx, B %#llx; capability %zd, nscapability %zd;"
		" content %llx, size %lld, uid %u\n", what, (unsigned long long)look->gets[HOST],
		(unsigned long long)look->gets[A], (unsigned long long)look->gets[B],
		look->capability_len, look->nscapability_len, (unsigned long long)look->content,
		(long long)look->size, look->uid);
}
