// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "operations.h"

#define HOST_VALUE	(1 << 0)
#define OTHER_HOST	(1 << 1)
#define ENTRY		(1 << 13)
#define OTHER_ENTRY	(1 << 12)
/* Content is at least so long, and what is written to is behind the program. */
#define LENGTH		8192
#define MARK		8000
#define MANY		30

static const uint32_t roots[] = { ROOT_OF_A, ROOT_OF_B, 300000 };

static int set_host(const char *file, uint32_t permitted)
{
	struct v2 value = v2(permitted);

	return setxattr(file, CAPABILITY, &value, sizeof(value), 0) ? -errno : 0;
}

static int set_entries(const char *file, unsigned int count, uint32_t permitted)
{
	struct form_f value = form_f(count, roots, permitted);

	return setxattr(file, NSCAPABILITY, &value, form_f_len(count), 0) ? -errno : 0;
}

static int set_entry(const char *file, uint32_t root, uint32_t permitted)
{
	struct form_f value = form_f(1, &root, permitted);

	return setxattr(file, NSCAPABILITY, &value, form_f_len(1), 0) ? -errno : 0;
}

static void copy(const char *program, const char *file)
{
	static char content[LENGTH];
	int from = open(program, O_RDONLY | O_CLOEXEC);
	int to = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	CHECK(from >= 0 && to >= 0 && read(from, content, MARK) > 0);
	CHECK(write(to, content, LENGTH) == LENGTH && fsync(to) == 0);
	close(from);
	close(to);
}

void prepare(const struct operation *operation, const char *program, const char *file)
{
	CHECK(unlink(file) == 0 || errno == ENOENT);
	copy(program, file);
	/* What a namespace's root grants is its own file. */
	if (operation->by == A)
		CHECK(chown(file, ROOT_OF_A, ROOT_OF_A) == 0);
	if (operation->entries)
		CHECK(set_entries(file, operation->entries, ENTRY) == 0);
	if (operation->host)
		CHECK(set_host(file, HOST_VALUE) == 0);
}

struct outcome {
	int error;
	bool injected;
};

static void carry_out_in_child(const struct operation *operation, const char *file,
			       unsigned int nth, int to)
{
	int count = nth ? open_nth() : -1, fd;
	struct outcome outcome = {};

	fd = operation->ready ? operation->ready(file) : -1;
	become(operation->by, 0);
	if (nth)
		set_nth(count, nth);
	/* A disk that fails may not even give it open. */
	outcome.error = operation->ready && fd < 0 ? fd : operation->run(file, fd);
	if (nth) {
		outcome.injected = !get_nth(count);
		set_nth(count, 0);
	}
	_exit(write(to, &outcome, sizeof(outcome)) != sizeof(outcome));
}

int carry_out(const struct operation *operation, const char *file, unsigned int nth,
	      bool *injected)
{
	struct outcome outcome = {};
	int from[2], status;
	pid_t pid;

	CHECK(pipe2(from, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		carry_out_in_child(operation, file, nth, from[1]);
	close(from[1]);
	if (read(from[0], &outcome, sizeof(outcome)) != sizeof(outcome))
		outcome = (struct outcome){ -ECANCELED, true };
	close(from[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	/* Killed for want of memory is an error; what it found wrong itself is no answer. */
	CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	if (injected)
		*injected = outcome.injected;
	return outcome.error;
}

/* Each writes, removes or reads one thing. */

static int host_value(const char *file, int fd)
{
	(void)fd;
	return set_host(file, HOST_VALUE);
}

static int another_host_value(const char *file, int fd)
{
	(void)fd;
	return set_host(file, OTHER_HOST);
}

static int first_entry(const char *file, int fd)
{
	(void)fd;
	return set_entry(file, ROOT_OF_A, ENTRY);
}

static int second_entry(const char *file, int fd)
{
	(void)fd;
	return set_entry(file, ROOT_OF_B, ENTRY);
}

static int third_entry(const char *file, int fd)
{
	(void)fd;
	return set_entry(file, 300000, ENTRY);
}

static int another_entry(const char *file, int fd)
{
	(void)fd;
	return set_entry(file, ROOT_OF_A, OTHER_ENTRY);
}

static int many_entries(const char *file, int fd)
{
	static struct { uint32_t magic, count; struct entry entries[MANY]; } value;

	(void)fd;
	value.magic = 0x01000000;
	value.count = MANY;
	for (uint32_t i = 0; i < MANY; i++)
		value.entries[i] = (struct entry){ .rootid = ROOT_OF_A + 100 * i, .flags = 1,
						   .permitted = ENTRY };
	return setxattr(file, NSCAPABILITY, &value, sizeof(value), 0) ? -errno : 0;
}

static int remove_host_value(const char *file, int fd)
{
	(void)fd;
	return removexattr(file, CAPABILITY) ? -errno : 0;
}

static int remove_entries(const char *file, int fd)
{
	(void)fd;
	return removexattr(file, NSCAPABILITY) ? -errno : 0;
}

/* As revision 2. */
static int get_value(const char *file, struct v2 expected)
{
	struct v2 value;
	ssize_t len = getxattr(file, CAPABILITY, &value, sizeof(value));

	if (len < 0)
		return -errno;
	CHECK(len == sizeof(value) && !memcmp(&value, &expected, len));
	return 0;
}

static int get_host_value(const char *file, int fd)
{
	(void)fd;
	return get_value(file, v2(HOST_VALUE));
}

static int get_entries(const char *file, int fd)
{
	struct form_f value, expected = form_f(2, roots, ENTRY);
	ssize_t len = getxattr(file, NSCAPABILITY, &value, sizeof(value));

	(void)fd;
	if (len < 0)
		return -errno;
	CHECK(len == (ssize_t)form_f_len(2) && !memcmp(&value, &expected, len));
	return 0;
}

/* As its root reads it. */
static int get_own_entry(const char *file, int fd)
{
	(void)fd;
	return get_value(file, v2(ENTRY));
}

static int list(const char *file, int fd)
{
	char names[256];
	ssize_t len = listxattr(file, names, sizeof(names));

	(void)fd;
	if (len < 0)
		return -errno;
	CHECK(memmem(names, len, NSCAPABILITY, sizeof(NSCAPABILITY)));
	return 0;
}

/* An upper bound of it. */
static int list_length(const char *file, int fd)
{
	ssize_t len = listxattr(file, NULL, 0);

	(void)fd;
	if (len < 0)
		return -errno;
	CHECK(len >= (ssize_t)(sizeof(CAPABILITY) + sizeof(NSCAPABILITY)));
	return 0;
}

static int open_to_write(const char *file)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int map_shared(const char *file, int fd)
{
	char *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)file;
	if (at == MAP_FAILED)
		return -errno;
	return 0;
}

static int store_mapped(const char *file, int fd)
{
	char *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)file;
	if (at == MAP_FAILED)
		return -errno;
	at[MARK] = 1;
	if (msync(at, LENGTH, MS_SYNC))
		return -errno;
	return 0;
}

/* Copies a file of an overlay's lower layer up. */
static int open_alone(const char *file, int fd)
{
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int write_to(const char *file, int fd)
{
	(void)file;
	return pwrite(fd, "written", 7, MARK) == 7 ? 0 : -errno;
}

static int append(const char *file, int fd)
{
	static char more[4096];

	(void)file;
	return pwrite(fd, more, sizeof(more), LENGTH) == sizeof(more) ? 0 : -errno;
}

static int truncate_it(const char *file, int fd)
{
	(void)fd;
	return truncate(file, MARK) ? -errno : 0;
}

static int give_away(const char *file, int fd)
{
	(void)fd;
	return chown(file, 7, 7) ? -errno : 0;
}

const struct operation operations[] = {
	{ "a first host value", GRANTS, HOST, false, 0, NULL, host_value },
	{ "a first entry", GRANTS, HOST, false, 0, NULL, first_entry },
	{ "a first entry by its root", GRANTS, A, false, 0, NULL, host_value },
	{ "a second entry", GRANTS, HOST, false, 1, NULL, second_entry },
	{ "a third entry", GRANTS, HOST, false, 2, NULL, third_entry },
	{ "an entry beside a host value", GRANTS, HOST, true, 0, NULL, first_entry },
	{ "an entry of its root beside both", GRANTS, A, true, 0, NULL, host_value },
	{ "a host value beside entries", GRANTS, HOST, false, 2, NULL, host_value },
	{ "an entry replaced", GRANTS, HOST, true, 2, NULL, another_entry },
	{ "the host value replaced", GRANTS, HOST, true, 2, NULL, another_host_value },
	{ "many entries", GRANTS, HOST, false, 0, NULL, many_entries },
	{ "the host value removed", GRANTS, HOST, true, 2, NULL, remove_host_value },
	{ "the entries removed", GRANTS, HOST, true, 2, NULL, remove_entries },
	{ "a table removed", GRANTS, HOST, false, 2, NULL, remove_entries },
	{ "an entry removed by its root", GRANTS, A, true, 2, NULL, remove_host_value },
	{ "the host value read", READS, HOST, true, 2, NULL, get_host_value },
	{ "entries read", READS, HOST, true, 2, NULL, get_entries },
	{ "an entry read by its root", READS, A, false, 2, NULL, get_own_entry },
	{ "names listed", READS, HOST, false, 2, NULL, list },
	{ "the length of the list", READS, HOST, false, 2, NULL, list_length },
	{ "opened to be written to", READS, HOST, true, 2, NULL, open_alone },
	{ "mapped shared", CONTENT, HOST, false, 2, open_to_write, map_shared },
	{ "written through a mapping", CONTENT, HOST, true, 2, open_to_write, store_mapped },
	{ "written to", CONTENT, HOST, true, 2, open_to_write, write_to },
	{ "appended to", CONTENT, HOST, false, 2, open_to_write, append },
	{ "truncated", CONTENT, HOST, true, 2, NULL, truncate_it },
	{ "given away", CONTENT, HOST, true, 2, NULL, give_away },
	{ }
};
