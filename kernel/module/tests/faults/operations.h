/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls that are made while something fails, each on a file that it is prepared for. */
#ifndef NSCAP_OPERATIONS_H
#define NSCAP_OPERATIONS_H

#include "look.h"

enum kind {
	/* Changes what the file grants, and nothing else. */
	GRANTS,
	/* Changes the content or the owner, and drops what the file grants (K). */
	CONTENT,
	/* Changes nothing, and checks what it gets. */
	READS,
};

struct operation {
	const char *name;
	enum kind kind;
	/* Whose root calls. */
	enum viewer by;
	/* What the file has before: a host value, and how many entries of the list below. */
	bool host;
	unsigned int entries;
	/* What run() finds open, or an errno below 0. */
	int (*ready)(const char *file);
	/* 0, or an errno below 0. */
	int (*run)(const char *file, int fd);
};

extern const struct operation operations[];

/* The file as it is before the operation; its content is the program's that is copied. */
void prepare(const struct operation *operation, const char *program, const char *file);
/*
 * Carries it out in a task of its own, whose n-th allocation fails, or none where nth is 0. injected is
 * whether there was such an allocation.
 */
int carry_out(const struct operation *operation, const char *file, unsigned int nth,
	      bool *injected);

#endif
