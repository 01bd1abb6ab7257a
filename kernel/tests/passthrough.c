// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run in a kernel with nscap, 6.9 or later: a file of FUSE that passes through to another one, which is mapped in
 * its place. Of both the content changes through that mapping, so it keeps both from being granted to,
 * also when all is closed; and there is none of a file that grants something.
 * usage: passthrough DIRECTORY, on which the other file is
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nscap_test.h"

/* Later than the headers that a program is compiled with here. */
#define INIT_EXT		(1U << 30)
#define PASSTHROUGH_FLAGS2	(1U << 5)
#define OPEN_PASSTHROUGH	(1U << 7)
struct backing_map { int32_t fd; uint32_t flags; uint64_t padding; };
#define BACKING_OPEN		_IOW(229, 1, struct backing_map)

#define FILE_NODE	2
#define ROOM		4096
#define LENGTH		8192

static char backing[4096], file[4200], mountpoint[4096];
/* How deep file systems may be upon another. */
static unsigned int depth = 1;

/* The server: one file, whose attributes it keeps itself or hands on. */

struct server {
	int device, backing_id;
	bool hands_on;
	struct kept { char name[64]; ssize_t len; char value[ROOM]; } kept[2];
};

struct request {
	struct fuse_in_header head;
	char body[ROOM * 4];
};

static void answer(struct server *server, const struct request *request, int error,
		   const void *body, size_t len)
{
	static char buffer[sizeof(struct fuse_out_header) + ROOM];
	struct fuse_out_header *head = (void *)buffer;

	CHECK(len <= ROOM);
	head->len = sizeof(*head) + (error ? 0 : len);
	head->error = -error;
	head->unique = request->head.unique;
	memcpy(head + 1, body, error ? 0 : len);
	/* Of a request that was given up there is no more. */
	CHECK(write(server->device, buffer, head->len) == head->len || errno == ENOENT);
}

static struct kept *kept_of(struct server *server, const char *name)
{
	for (int i = 0; i < 2; i++)
		if (!strcmp(server->kept[i].name, name) || !server->kept[i].name[0])
			return &server->kept[i];
	return NULL;
}

static void set_attribute(struct server *server, const struct request *request)
{
	const struct fuse_setxattr_in *in = (void *)request->body;
	const char *name = request->body + FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *value = name + strlen(name) + 1;
	struct kept *kept = kept_of(server, name);
	int error = 0;

	if (server->hands_on) {
		error = setxattr(backing, name, value, in->size, in->flags) ? errno : 0;
	} else if (!kept || in->size > ROOM) {
		error = ENOSPC;
	} else {
		strncpy(kept->name, name, sizeof(kept->name) - 1);
		memcpy(kept->value, value, in->size);
		kept->len = in->size;
	}
	answer(server, request, error, NULL, 0);
}

static void get_attribute(struct server *server, const struct request *request)
{
	const struct fuse_getxattr_in *in = (void *)request->body;
	struct fuse_getxattr_out out = {};
	const char *name = (void *)(in + 1);
	struct kept *kept = kept_of(server, name);
	char value[ROOM];
	ssize_t len = kept && kept->len ? kept->len : -1;

	errno = ENODATA;
	if (server->hands_on)
		len = getxattr(backing, name, value, sizeof(value));
	else if (len > 0)
		memcpy(value, kept->value, len);
	out.size = len;
	if (len < 0)
		answer(server, request, errno, NULL, 0);
	else if (in->size)
		answer(server, request, len > in->size ? ERANGE : 0, value, len);
	else
		answer(server, request, 0, &out, sizeof(out));
}

static void remove_attribute(struct server *server, const struct request *request)
{
	struct kept *kept = kept_of(server, request->body);
	int error = 0;

	if (server->hands_on)
		error = removexattr(backing, request->body) ? errno : 0;
	else if (kept && kept->len)
		kept->len = 0;
	else
		error = ENODATA;
	answer(server, request, error, NULL, 0);
}

static struct fuse_attr attributes_of(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 1, .blksize = 4096 };
	struct stat stat_of_it;

	CHECK(stat(backing, &stat_of_it) == 0);
	attr.mode = node == FILE_NODE ? S_IFREG | 0755 : S_IFDIR | 0755;
	attr.size = node == FILE_NODE ? stat_of_it.st_size : 0;
	return attr;
}

static void serve_one(struct server *server, const struct request *request)
{
	struct fuse_init_out init = {
		.major = 7, .minor = 40, .max_write = 4096, .time_gran = 1, .max_readahead = 4096,
		.flags = INIT_EXT, .flags2 = PASSTHROUGH_FLAGS2,
	};
	struct fuse_entry_out entry = { .nodeid = FILE_NODE, .attr = attributes_of(FILE_NODE) };
	struct fuse_attr_out attr = { .attr = attributes_of(request->head.nodeid) };
	struct fuse_open_out open = {};

	switch (request->head.opcode) {
	case FUSE_INIT:
		init.unused[0] = depth;
		return answer(server, request, 0, &init, sizeof(init));
	case FUSE_LOOKUP:
		return answer(server, request, strcmp(request->body, "file") ? ENOENT : 0, &entry,
			      sizeof(entry));
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		return answer(server, request, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
		open.open_flags = OPEN_PASSTHROUGH;
		open.padding = server->backing_id;
		return answer(server, request, 0, &open, sizeof(open));
	case FUSE_RELEASE:
	case FUSE_FLUSH:
		return answer(server, request, 0, NULL, 0);
	case FUSE_SETXATTR:
		return set_attribute(server, request);
	case FUSE_GETXATTR:
		return get_attribute(server, request);
	case FUSE_REMOVEXATTR:
		return remove_attribute(server, request);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		return answer(server, request, ENOSYS, NULL, 0);
	}
}

static void serve(struct server *server)
{
	static struct request request;
	struct backing_map map = {};
	ssize_t len;

	while ((len = read(server->device, &request, sizeof(request))) > 0) {
		((char *)&request)[len] = 0;
		serve_one(server, &request);
		if (request.head.opcode != FUSE_INIT)
			continue;
		map.fd = open(backing, O_RDWR | O_CLOEXEC);
		CHECK(map.fd >= 0);
		server->backing_id = ioctl(server->device, BACKING_OPEN, &map);
		CHECK(server->backing_id > 0);
		close(map.fd);
	}
	_exit(errno != ENODEV);
}

static pid_t start(const char *directory, const char *name, bool hands_on)
{
	static struct server server;
	char options[128];
	pid_t pid;

	snprintf(mountpoint, sizeof(mountpoint), "%s/%s", directory, name);
	snprintf(file, sizeof(file), "%s/file", mountpoint);
	CHECK(mkdir(mountpoint, 0755) == 0 || errno == EEXIST);
	server.hands_on = hands_on;
	server.device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	CHECK(server.device >= 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
		 server.device);
	CHECK(mount("none", mountpoint, "fuse", 0, options) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		serve(&server);
	close(server.device);
	return pid;
}

static void stop(pid_t server)
{
	int status;

	CHECK(umount(mountpoint) == 0);
	CHECK(waitpid(server, &status, 0) == server && status == 0);
}

/* What is tried. */

/* 0 or an errno. */
static int grant(const char *path)
{
	const uint32_t root = 100000;
	struct form_f value = form_f(1, &root, 1 << 13);

	return setxattr(path, NSCAPABILITY, &value, form_f_len(1), 0) ? errno : 0;
}

static bool grants(const char *path)
{
	ssize_t len = getxattr(path, NSCAPABILITY, NULL, 0);

	CHECK(len > 0 || errno == ENODATA);
	return len > 0;
}

/* Where it may be just about to be closed. */
static int grant_later(const char *path)
{
	int error = ETXTBSY;

	for (int i = 0; error == ETXTBSY && i < 500; i++, usleep(10000))
		error = grant(path);
	return error;
}

static char *map(int access, int protection, int flags)
{
	int fd = open(file, access | O_CLOEXEC), error;
	char *at;

	CHECK(fd >= 0);
	at = mmap(NULL, LENGTH, protection, flags, fd, 0);
	error = errno;
	close(fd);
	errno = error;
	return at;
}

static char *map_shared(void)
{
	return map(O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static char first_byte(void)
{
	int fd = open(backing, O_RDONLY | O_CLOEXEC);
	char byte;

	CHECK(fd >= 0 && read(fd, &byte, 1) == 1);
	close(fd);
	return byte;
}

static void is_refused_where_the_other_grants(void)
{
	CHECK(grant(backing) == 0);
	CHECK(map_shared() == MAP_FAILED && errno == ETXTBSY);
	/* It can be made writable later. */
	CHECK(map(O_RDWR, PROT_READ, MAP_SHARED) == MAP_FAILED && errno == ETXTBSY);
	CHECK(munmap(map(O_RDWR, PROT_READ | PROT_WRITE, MAP_PRIVATE), LENGTH) == 0);
	CHECK(munmap(map(O_RDONLY, PROT_READ, MAP_SHARED), LENGTH) == 0);
	CHECK(grants(backing));
	CHECK(removexattr(backing, NSCAPABILITY) == 0);
	CHECK(grant_later(backing) == 0);
	CHECK(removexattr(backing, NSCAPABILITY) == 0);
}

static void keeps_both_from_being_granted_to(void)
{
	char *at = map_shared();
	pid_t child;

	CHECK(at != MAP_FAILED);
	at[0] = '1';
	/* It is that file which is mapped. */
	CHECK(first_byte() == '1');
	CHECK(grant(backing) == ETXTBSY && grant(file) == ETXTBSY);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		pause();
		_exit(0);
	}
	CHECK(munmap(at, LENGTH) == 0);
	/* Of the other task it is still mapped. */
	usleep(100000);
	CHECK(grant(backing) == ETXTBSY && grant(file) == ETXTBSY);
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	CHECK(grant_later(file) == 0 && grant_later(backing) == 0);
	CHECK(removexattr(backing, NSCAPABILITY) == 0);
}

static void drops_what_the_file_grants(void)
{
	char *at;

	CHECK(grants(file));
	at = map_shared();
	CHECK(at != MAP_FAILED && !grants(file));
	CHECK(munmap(at, LENGTH) == 0);
}

static void drops_what_is_handed_on(void)
{
	char *at;

	CHECK(grant(file) == 0 && grants(backing));
	at = map_shared();
	CHECK(at != MAP_FAILED && !grants(file) && !grants(backing));
	CHECK(munmap(at, LENGTH) == 0);
}

/* What is mapped is the file below both. */
static void counts_upon_another(const char *directory)
{
	char *at;
	pid_t server;

	snprintf(backing, sizeof(backing), "%s/mountpoint/file", directory);
	depth = 2;
	server = start(directory, "upper", false);
	at = map_shared();
	CHECK(at != MAP_FAILED);
	/* The other files have been closed by now. */
	usleep(100000);
	CHECK(grant(file) == ETXTBSY && grant(backing) == ETXTBSY);
	CHECK(munmap(at, LENGTH) == 0);
	CHECK(grant_later(file) == 0 && grant_later(backing) == 0);
	stop(server);
	snprintf(mountpoint, sizeof(mountpoint), "%s/mountpoint", directory);
	depth = 1;
}

/* A file in memory that is sealed against writing changes through no other, either. */
static void keeps_a_seal(const char *directory)
{
	int memory = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	pid_t server;

	CHECK(memory >= 0 && ftruncate(memory, LENGTH) == 0);
	CHECK(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	snprintf(backing, sizeof(backing), "/proc/%d/fd/%d", getpid(), memory);
	server = start(directory, "mountpoint", false);
	CHECK(map_shared() == MAP_FAILED && errno == EPERM);
	stop(server);
	close(memory);
}

/* While the other file grants something, its content stays. */
static void races(unsigned int seconds)
{
	time_t until = time(NULL) + seconds;
	unsigned int granted = 0, *mapped;
	pid_t mapper;
	char *at, byte;

	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(mapped != MAP_FAILED);
	mapper = fork();
	CHECK(mapper >= 0);
	while (!mapper) {
		at = map_shared();
		CHECK(at != MAP_FAILED || errno == ETXTBSY);
		if (at == MAP_FAILED)
			continue;
		++*mapped;
		++at[0];
		CHECK(munmap(at, LENGTH) == 0);
	}
	while (time(NULL) < until) {
		if (grant(backing))
			continue;
		granted++;
		byte = first_byte();
		usleep(granted % 8 * 50);
		CHECK(first_byte() == byte && grants(backing));
		CHECK(removexattr(backing, NSCAPABILITY) == 0);
	}
	CHECK(waitpid(mapper, NULL, WNOHANG) == 0);
	CHECK(kill(mapper, SIGKILL) == 0 && waitpid(mapper, NULL, 0) == mapper);
	CHECK(granted && *mapped);
	printf("%u grants and %u mappings in turn; ", granted, *mapped);
}

int main(int argc, char **argv)
{
	pid_t server;
	int fd;

	CHECK(argc == 2);
	snprintf(backing, sizeof(backing), "%s/backing", argv[1]);
	fd = open(backing, O_RDWR | O_CREAT | O_CLOEXEC, 0755);
	CHECK(fd >= 0 && ftruncate(fd, LENGTH) == 0);
	close(fd);

	server = start(argv[1], "mountpoint", false);
	is_refused_where_the_other_grants();
	keeps_both_from_being_granted_to();
	drops_what_the_file_grants();
	races(10);
	counts_upon_another(argv[1]);
	stop(server);
	snprintf(backing, sizeof(backing), "%s/backing", argv[1]);
	server = start(argv[1], "mountpoint", true);
	drops_what_is_handed_on();
	stop(server);
	keeps_a_seal(argv[1]);
	puts("what is mapped through FUSE is mapped");
	return 0;
}
