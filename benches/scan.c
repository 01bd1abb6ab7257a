// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * scan.c: the system calls of `nscap scan` and nothing else, the yardstick of benches/scan.sh.
 *
 *   scan THREADS list|get DIR
 *
 * For each directory openat(2), statx(2), getdents64(2) and close(2); for each regular file
 * listxattrat(2) (list), or getxattrat(2) of both names (get), Linux 6.13. Prints the files that
 * have an attribute of either name, unsorted. It keeps no promise of the command's: no fallback,
 * no limit on descriptors, no loop is noticed, and what fails is only counted.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYS_GETXATTRAT 464
#define SYS_LISTXATTRAT 465
#define MAX_THREADS 64

struct entry { /* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

struct xattr_args {
	uint64_t value;
	uint32_t size;
	uint32_t flags;
};

/* A directory whose subdirectories wait: their names, one after the other, each with its NUL. */
struct directory {
	struct directory *parent;
	int fd, users; /* users: subdirectories that wait or are being read */
	char *names;
	size_t length, next, room;
	char name[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct directory **stack;
static size_t depth, room;
static int busy, list_first;
static unsigned long failures;

static struct directory *new_directory(struct directory *parent, const char *name)
{
	size_t length = strlen(name) + 1;
	struct directory *d = calloc(1, sizeof(*d) + length);

	if (!d)
		abort();
	d->parent = parent;
	memcpy(d->name, name, length);
	return d;
}

static void add_name(struct directory *d, const char *name)
{
	size_t length = strlen(name) + 1;

	if (d->length + length > d->room) {
		d->room = d->room ? d->room * 2 : 256;
		d->names = realloc(d->names, d->room);
		if (!d->names)
			abort();
	}
	memcpy(d->names + d->length, name, length);
	d->length += length;
	d->users++;
}

static void print_path(struct directory *d)
{
	if (!d->parent)
		return;
	print_path(d->parent);
	printf("%s/", d->name);
}

static int has_names(int fd, const char *name)
{
	char value[512];
	struct xattr_args args = { 0, 0, 0 };

	if (list_first) {
		long n = syscall(SYS_LISTXATTRAT, fd, name, AT_SYMLINK_NOFOLLOW, NULL, 0);
		long at = 0;

		if (n > 0)
			n = syscall(SYS_LISTXATTRAT, fd, name, AT_SYMLINK_NOFOLLOW, value,
				    sizeof(value));
		for (; at < n; at += strlen(value + at) + 1)
			if (!strcmp(value + at, "security.capability") ||
			    !strcmp(value + at, "security.nscapability"))
				return 1;
		return 0;
	}
	return syscall(SYS_GETXATTRAT, fd, name, AT_SYMLINK_NOFOLLOW, "security.capability", &args,
		       sizeof(args)) >= 0 ||
	       syscall(SYS_GETXATTRAT, fd, name, AT_SYMLINK_NOFOLLOW, "security.nscapability", &args,
		       sizeof(args)) >= 0;
}

static void look(struct directory *d, const struct entry *e)
{
	if (e->type == DT_DIR) {
		if (strcmp(e->name, ".") && strcmp(e->name, ".."))
			add_name(d, e->name);
	} else if (e->type == DT_REG && has_names(d->fd, e->name)) {
		pthread_mutex_lock(&lock);
		print_path(d);
		printf("%s\n", e->name);
		pthread_mutex_unlock(&lock);
	}
}

static int read_directory(struct directory *d, int at)
{
	static __thread char buffer[32768] __attribute__((aligned(8)));
	struct statx stat;
	long n;

	d->fd = openat(at, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d->fd < 0 || statx(d->fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &stat))
		return -1;
	while ((n = syscall(SYS_getdents64, d->fd, buffer, sizeof(buffer))) > 0)
		for (long i = 0; i < n; i += ((struct entry *)(buffer + i))->reclen)
			look(d, (struct entry *)(buffer + i));
	return n;
}

/* With the lock held: gives up one use of a directory, and with the last the directory. */
static void release(struct directory *d)
{
	while (d && !--d->users) {
		struct directory *parent = d->parent;

		if (d->fd >= 0)
			close(d->fd);
		free(d->names);
		free(d);
		d = parent;
	}
}

static void push(struct directory *d)
{
	if (depth == room) {
		room = room ? room * 2 : 64;
		stack = realloc(stack, room * sizeof(*stack));
		if (!stack)
			abort();
	}
	stack[depth++] = d;
	pthread_cond_broadcast(&changed);
}

static void *work(void *unused)
{
	pthread_mutex_lock(&lock);
	for (;;) {
		struct directory *d, *parent;
		int failed;

		while (!depth && busy)
			pthread_cond_wait(&changed, &lock);
		if (!depth)
			break;
		parent = stack[depth - 1];
		d = new_directory(parent, parent->names + parent->next);
		parent->next += strlen(d->name) + 1;
		if (parent->next == parent->length)
			depth--;
		busy++;
		pthread_mutex_unlock(&lock);
		d->users = 1;
		failed = read_directory(d, parent->fd);
		if (d->users == 1 && d->fd >= 0) {
			close(d->fd);
			d->fd = -1;
		}
		pthread_mutex_lock(&lock);
		failures += failed != 0;
		if (d->length)
			push(d);
		release(d);
		if (!--busy && !depth)
			pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	struct directory *above;
	int n = argc == 4 ? atoi(argv[1]) : 0;

	if (n < 1 || n > MAX_THREADS) {
		fprintf(stderr, "usage: %s THREADS list|get DIR\n", argv[0]);
		return 2;
	}
	list_first = !strcmp(argv[2], "list");
	above = new_directory(NULL, "");
	above->fd = AT_FDCWD;
	add_name(above, argv[3]);
	above->users++;
	push(above);
	for (int i = 1; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, NULL))
			abort();
	work(NULL);
	for (int i = 1; i < n; i++)
		pthread_join(threads[i], NULL);
	if (failures)
		fprintf(stderr, "%lu directories could not be read\n", failures);
	return failures ? 2 : 0;
}
