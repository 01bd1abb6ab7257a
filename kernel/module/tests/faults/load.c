// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps processors busy with what the module takes over, until it is killed: programs with capabilities are
 * executed, both attributes are set, read, listed and removed, files are mapped, written to, given away and
 * copied up. What a call returns is not looked at: before the module is there it is something else.
 * usage: load PROGRAM DIRECTORY, which has an overlay `over`, whose upper layer is `upper`
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "look.h"

static const char *program, *directory;
static const uint32_t roots[] = { ROOT_OF_A, ROOT_OF_B };

/* What fails here is what is tried. */
static void ignore(long result)
{
	(void)result;
}

static void fill(const char *file)
{
	static char content[8192];
	int from = open(program, O_RDONLY | O_CLOEXEC);
	int to = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	CHECK(from >= 0 && to >= 0 && read(from, content, sizeof(content)) > 0);
	CHECK(write(to, content, sizeof(content)) == sizeof(content));
	close(from);
	close(to);
}

static void grant(const char *file)
{
	struct form_f entries = form_f(2, roots, 1 << 13);
	struct v2 host = v2(1);

	ignore(setxattr(file, NSCAPABILITY, &entries, form_f_len(2), 0));
	ignore(setxattr(file, CAPABILITY, &host, sizeof(host), 0));
}

static void attributes(const char *file)
{
	char value[256];

	grant(file);
	ignore(getxattr(file, CAPABILITY, value, sizeof(value)));
	ignore(getxattr(file, NSCAPABILITY, value, sizeof(value)));
	ignore(listxattr(file, value, sizeof(value)));
	ignore(removexattr(file, NSCAPABILITY));
	ignore(removexattr(file, CAPABILITY));
}

static void executions(const char *file)
{
	grant(file);
	for (int viewer = HOST; viewer < VIEWERS; viewer++)
		execute(file, viewer, 0, NULL);
}

static void mappings(const char *file)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	char *at;

	grant(file);
	at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at != MAP_FAILED) {
		at[8000]++;
		munmap(at, 8192);
	}
	close(fd);
}

static void owners(const char *file)
{
	grant(file);
	ignore(chown(file, 7, 7));
	ignore(chown(file, 0, 0));
	grant(file);
	ignore(truncate(file, 8000));
	ignore(truncate(file, 8192));
}

/* Each time another file of the lower layer, as long as there are some. */
static void copies(const char *file)
{
	static unsigned int next;
	char lower[4200], over[4200];
	int fd;

	(void)file;
	snprintf(lower, sizeof(lower), "%s/lower/copied-%u", directory, next % 64);
	snprintf(over, sizeof(over), "%s/over/copied-%u", directory, next % 64);
	if (next++ < 64)
		grant(lower);
	fd = open(over, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	attributes(over);
	ignore(chmod(over, 0700 + next % 8));
	ignore(unlink(over));
}

static void (*const work[])(const char *file) = {
	attributes, executions, mappings, owners, copies, attributes,
};
#define WORKERS (sizeof(work) / sizeof(work[0]))

int main(int argc, char **argv)
{
	char file[4200];

	CHECK(argc == 3);
	program = argv[1];
	directory = argv[2];
	look_begin();
	for (unsigned int i = 0; i < 64; i++) {
		snprintf(file, sizeof(file), "%s/lower/copied-%u", directory, i);
		fill(file);
	}
	for (unsigned int i = 0; i < WORKERS; i++) {
		snprintf(file, sizeof(file), "%s/busy-%u", directory, i);
		fill(file);
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			work[i](file);
	}
	printf("busy\n");
	fflush(stdout);
	return wait(NULL) < 0;
}
