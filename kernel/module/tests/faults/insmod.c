// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads the module while its n-th allocation fails, or none where N is 0. Where that keeps it from
 * loading nothing of it is there, and it can be loaded; else it is whole, and decides. Says `kept`,
 * `loaded` all the same, or `none` where there was no n-th; and how many functions are taken over.
 * usage: insmod MODULE PROGRAM N
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "operations.h"

static const char *const parts[] = {
	"/sys/module/nscap", "/proc/sys/kernel/nscap_array", "/proc/sys/kernel/nscap_busy",
};

/* 0, or an errno below 0. */
static int load(const char *module, unsigned int nth, bool *injected)
{
	int file = open(module, O_RDONLY | O_CLOEXEC), count = open_nth(), error = 0;

	CHECK(file >= 0);
	set_nth(count, nth);
	if (syscall(SYS_finit_module, file, "array=1 busy=2", 0))
		error = -errno;
	*injected = nth && !get_nth(count);
	set_nth(count, 0);
	close(file);
	close(count);
	return error;
}

static unsigned int lines(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned int count = 0;
	char line[1024];

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		count++;
	fclose(file);
	return count;
}

static unsigned int taken_over(void)
{
	/* By a probe it finds the kernel's symbols. */
	CHECK(lines("/sys/kernel/debug/kprobes/list") == 0);
	return lines("/sys/kernel/tracing/enabled_functions");
}

static void is_there(bool there)
{
	for (unsigned int i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		CHECK((access(parts[i], F_OK) == 0) == there);
	CHECK((taken_over() > 0) == there);
}

static void decides(const char *program)
{
	const struct operation *operation;
	struct look before, after;

	look_begin();
	for (operation = operations; operation->name; operation++) {
		/* Half of them, since each takes time: those with all that a file can have. */
		if (!operation->host || operation->entries < 2)
			continue;
		prepare(operation, program, "file");
		look_at("file", &before);
		CHECK(carry_out(operation, "file", 0, NULL) == 0);
		look_at("file", &after);
		CHECK(!grants_nothing(&before));
		if (operation->kind == CONTENT)
			CHECK(grants_nothing(&after));
		else
			CHECK(same_content(&before, &after) &&
			      same_grants(&before, &after) == (operation->kind == READS));
	}
}

int main(int argc, char **argv)
{
	bool injected, none;
	int error;

	CHECK(argc == 4);
	is_there(false);
	error = load(argv[1], strtoul(argv[3], NULL, 10), &injected);
	CHECK(!error || injected);
	is_there(!error);
	if (error)
		CHECK(load(argv[1], 0, &none) == 0);
	else
		decides(argv[2]);
	is_there(true);
	printf("%s %u\n", error ? "kept" : injected ? "loaded" : "none", taken_over());
	return 0;
}
