// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation fails once that a call makes: what the file grants afterwards is what it granted before, or
 * what the call was to make of it, and never a third; and what it granted is not on other content.
 * usage: memory PROGRAM DIRECTORY [overlay [NAME]]
 * overlay: the file is in the lower layer of one that is mounted anew each time
 * NAME: only operations that have this in their names
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "operations.h"

/* More than any call makes. */
#define MANY 2000

static const char *program;
static char file[4200], lower[4200], over[4200], upper[4200], layers[16384];
static unsigned int failures, calls;

static void prepare_below(const struct operation *operation)
{
	char command[16384];

	umount(over);
	prepare(operation, program, lower);
	snprintf(command, sizeof(command), "rm -rf '%s' && mkdir -p '%s/upper' '%s/work'", upper,
		 upper, upper);
	CHECK(system(command) == 0);
	CHECK(mount("none", over, "overlay", 0, layers) == 0);
}

static void prepare_file(const struct operation *operation)
{
	if (layers[0])
		prepare_below(operation);
	else
		prepare(operation, program, file);
}

static void in_layers(const char *directory)
{
	snprintf(over, sizeof(over), "%s/over", directory);
	snprintf(upper, sizeof(upper), "%s/layer", directory);
	snprintf(lower, sizeof(lower), "%s/lower", directory);
	CHECK(mkdir(over, 0755) == 0 && mkdir(lower, 0755) == 0);
	snprintf(layers, sizeof(layers), "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower,
		 upper, upper);
	snprintf(lower, sizeof(lower), "%s/lower/file", directory);
	snprintf(file, sizeof(file), "%s/over/file", directory);
}

static bool is_right(const struct operation *operation, const struct look *before,
		     const struct look *after, const struct look *now, int error)
{
	if (!error)
		return same_grants(now, after) && same_content(now, after);
	if (same_content(now, before) && same_grants(now, before))
		return true;
	if (same_content(now, after) && same_grants(now, after))
		return true;
	/* Dropped, and then it failed. */
	return operation->kind == CONTENT && same_content(now, before) && grants_nothing(now);
}

static void fail_at_each(const struct operation *operation)
{
	struct look before, after, now;
	unsigned int nth, errors = 0;
	bool injected = true;
	int error;

	prepare_file(operation);
	look_at(file, &before);
	CHECK(carry_out(operation, file, 0, NULL) == 0);
	look_at(file, &after);
	if (operation->kind == CONTENT)
		CHECK(grants_nothing(&after) && !grants_nothing(&before));
	if (operation->kind == GRANTS)
		CHECK(!same_grants(&before, &after) && same_content(&before, &after));
	for (nth = 1; injected && nth < MANY; nth++) {
		prepare_file(operation);
		error = carry_out(operation, file, nth, &injected);
		errors += !!error;
		look_at(file, &now);
		if (is_right(operation, &before, &after, &now, error) && (injected || !error))
			continue;
		fprintf(stderr, "%s: allocation %u failed, the call: %s\n", operation->name, nth,
			strerror(-error));
		print_look("before", &before);
		print_look("without failure", &after);
		print_look("now", &now);
		failures++;
	}
	CHECK(nth < MANY);
	calls += nth - 2;
	printf("%s: %u allocations, %u errors\n", operation->name, nth - 2, errors);
}

/* Of a program that holds this, each viewer gets what it gets, or nothing. */
static void fail_execve(bool host, unsigned int entries)
{
	const struct operation as = { .host = host, .entries = entries };
	unsigned int nth, not_executed;
	uint64_t left, whole, gets;

	prepare_file(&as);
	for (int viewer = HOST; viewer < VIEWERS; viewer++) {
		whole = execute(file, viewer, 0, NULL);
		not_executed = left = 0;
		for (nth = 1; !left && nth < MANY; nth++) {
			gets = execute(file, viewer, nth, &left);
			not_executed += gets == NOT_EXECUTED;
			if (gets == whole || gets == NOT_EXECUTED || !gets)
				continue;
			fprintf(stderr, "execve, viewer %d, allocation %u failed: %#llx for %#llx\n",
				viewer, nth, (unsigned long long)gets, (unsigned long long)whole);
			failures++;
		}
		CHECK(nth < MANY);
		calls += nth - 2;
		printf("execve, host value %d, entries %u, viewer %d gets %#llx: %u allocations, %u errors\n",
		       host, entries, viewer, (unsigned long long)whole, nth - 2, not_executed);
	}
}

int main(int argc, char **argv)
{
	CHECK(argc >= 3);
	program = argv[1];
	snprintf(file, sizeof(file), "%s/file", argv[2]);
	if (argc > 3)
		in_layers(argv[2]);
	CHECK(write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	CHECK(write_number("/proc/sys/kernel/nscap_busy", 2) == 0);
	look_begin();
	for (const struct operation *operation = operations; operation->name; operation++)
		if (argc < 5 || strstr(operation->name, argv[4]))
			fail_at_each(operation);
	fail_execve(false, 1);
	fail_execve(false, 2);
	fail_execve(true, 2);
	umount(over);
	printf("%u failed allocations, %u wrong\n", calls, failures);
	return failures != 0;
}
