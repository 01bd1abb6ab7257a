// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads the module while its n-th allocation fails, for each n from the first on, by a step: where that keeps
 * it from loading nothing of it is there. Ends when it is loaded, or after some seconds, and says which n is
 * the next, and whether it was loaded because there was no n-th.
 * usage: insmod MODULE FIRST STEP SECONDS
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "look.h"

/* 0, or an errno below 0. */
static int load(const char *module, unsigned int nth, bool *injected)
{
	int file = open(module, O_RDONLY | O_CLOEXEC), count = open_nth(), error = 0;

	CHECK(file >= 0);
	set_nth(count, nth);
	if (syscall(SYS_finit_module, file, "", 0))
		error = -errno;
	*injected = !get_nth(count);
	set_nth(count, 0);
	close(file);
	close(count);
	return error;
}

static unsigned int taken_over(void)
{
	FILE *functions = fopen("/sys/kernel/tracing/enabled_functions", "r");
	unsigned int count = 0;
	char line[1024];

	CHECK(functions);
	while (fgets(line, sizeof(line), functions))
		count++;
	fclose(functions);
	return count;
}

int main(int argc, char **argv)
{
	unsigned int nth, step, before;
	time_t until;
	bool injected;
	int error;

	CHECK(argc == 5);
	step = strtoul(argv[3], NULL, 10);
	until = time(NULL) + strtoul(argv[4], NULL, 10);
	before = taken_over();
	for (nth = strtoul(argv[2], NULL, 10); ; nth += step) {
		error = load(argv[1], nth, &injected);
		if (!error)
			break;
		CHECK(injected);
		CHECK(taken_over() == before);
		CHECK(access("/proc/sys/kernel/nscap_array", F_OK) != 0);
		CHECK(access("/sys/module/nscap", F_OK) != 0);
		if (time(NULL) > until) {
			printf("next %u\n", nth + step);
			return 0;
		}
	}
	CHECK(taken_over() > before);
	CHECK(access("/proc/sys/kernel/nscap_array", F_OK) == 0);
	printf("%s, loaded at %u\nnext %u\n", injected ? "one failed" : "none failed", nth,
	       nth + step);
	return 0;
}
