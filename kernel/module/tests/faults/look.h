/* SPDX-License-Identifier: GPL-2.0-only */
/* What a file grants and holds, seen from outside. */
#ifndef NSCAP_LOOK_H
#define NSCAP_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The host, and two namespaces whose roots are the kuids 100000 and 200000. */
enum viewer { HOST, A, B, VIEWERS };

#define ROOT_OF_A 100000
#define ROOT_OF_B 200000

/* In the place of capabilities: the program was not executed, or did not come to an end. */
#define NOT_EXECUTED (1ULL << 63)
#define LARGEST_VALUE (8 + 24 * 200)

struct look {
	/* What a user without capabilities gets by execve(2). */
	uint64_t gets[VIEWERS];
	/* As the host reads both attributes, and their length or an errno below 0. */
	ssize_t capability_len, nscapability_len;
	uint8_t capability[64], nscapability[LARGEST_VALUE];
	/* The content and the owner. */
	uint64_t content;
	off_t size;
	uid_t uid;
};

/* Once, as root of the host. */
void look_begin(void);
/* In a child: becomes root of a viewer's namespace, or a user there without capabilities. */
void become(enum viewer viewer, uid_t id);
/* Executes it as that viewer's user; nth as for fail-nth, and left what was left of it. */
uint64_t execute(const char *file, enum viewer viewer, unsigned int nth, uint64_t *left);
void look_at(const char *file, struct look *look);
/* The content and the owner alone. */
void look_at_content(const char *file, struct look *look);

bool same_content(const struct look *a, const struct look *b);
bool same_grants(const struct look *a, const struct look *b);
/* Neither execve nor the attributes show a grant. */
bool grants_nothing(const struct look *look);
void print_look(const char *what, const struct look *look);

/* The calling task's count: opened once in each task, by root. */
int open_nth(void);
void set_nth(int fd, unsigned int nth);
unsigned int get_nth(int fd);

#endif
