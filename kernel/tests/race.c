// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several tasks change one file and what it grants, and others watch. As long as a grant is seen, the
 * content and the owner are those at the time when it was made. A value is whole or absent. No task
 * gets an error that no rule gives. Every grant has a tag of its own in its capabilities.
 *
 * usage: race DIRECTORY SECONDS [--host-only]
 * --host-only grants host values alone, which an unmodified kernel has too: what it is to fail at.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/capability.h>

#include "nscap_test.h"

#define TRAILER 4096
#define TAGS (1 << 20)

enum { HOST, BOTH, OTHER, KINDS };
enum { GRANTED, BUSY, MAPPED, DROPPED, SEEN, EXECUTED, GAINED, COUNTS };

static const char *const names[COUNTS] = {
	"granted", "refused: an entry exists", "refused: mapped", "content changes", "grants watched",
	"executed", "executed with a grant",
};

static struct shared {
	atomic_uint next_tag[KINDS];
	atomic_ulong counts[COUNTS];
	atomic_bool broken;
	atomic_ulong next_content;
	/* What the file was when this grant was first seen: content << 8 | owner, or 0. */
	atomic_ulong seen[KINDS][TAGS];
} *shared;

static char path[4096];
static off_t trailer;
static int fd;
/* The namespace whose root is kuid 100000, if there are entries. */
static int space = -1;
static const uint32_t both[] = { 100000, 200000 }, other[] = { 300000 };

static void broken(const char *what, unsigned long one, unsigned long two)
{
	if (!atomic_exchange(&shared->broken, true))
		fprintf(stderr, "race: %s: %lx, %lx (%s)\n", what, one, two, strerror(errno));
}

static void count(int which)
{
	atomic_fetch_add(&shared->counts[which], 1);
}

static unsigned int dice(unsigned int sides)
{
	static unsigned int seed;

	if (!seed)
		seed = getpid();
	return rand_r(&seed) % sides;
}

/* 20 bits of number, and the kind. */
static uint32_t new_tag(int kind)
{
	uint32_t number = atomic_fetch_add(&shared->next_tag[kind], 1) + 1;

	CHECK(number < TAGS);
	return kind * TAGS + number;
}

static void grant(int kind)
{
	uint32_t tag = new_tag(kind);
	struct form_f entries;
	struct v2 host = v2(tag);
	int failed;

	if (kind == HOST) {
		failed = fsetxattr(fd, CAPABILITY, &host, sizeof(host), 0);
	} else {
		uint32_t n = kind == BOTH ? 2 : 1;

		entries = form_f(n, kind == BOTH ? both : other, tag);
		failed = fsetxattr(fd, NSCAPABILITY, &entries, form_f_len(n), 0);
	}
	if (!failed)
		count(GRANTED);
	else if (errno == EBUSY)
		count(BUSY);
	else if (errno == ETXTBSY)
		count(MAPPED);
	else
		broken("a grant failed", kind, errno);
}

static void take_back(void)
{
	const char *name = dice(2) ? CAPABILITY : NSCAPABILITY;

	if (fremovexattr(fd, name) && errno != ENODATA)
		broken("a removal failed", errno, 0);
}

static void write_content(void)
{
	unsigned long content = atomic_fetch_add(&shared->next_content, 1);

	if (pwrite(fd, &content, sizeof(content), trailer) != sizeof(content))
		broken("a write failed", errno, 0);
	count(DROPPED);
}

static void map_content(void)
{
	unsigned long *mapped = mmap(NULL, TRAILER, PROT_READ | PROT_WRITE, MAP_SHARED, fd, trailer);

	if (mapped == MAP_FAILED)
		return broken("a mapping failed", errno, 0);
	for (int i = dice(4); i >= 0; i--) {
		atomic_store((atomic_ulong *)mapped, atomic_fetch_add(&shared->next_content, 1));
		if (dice(2))
			sched_yield();
	}
	munmap(mapped, TRAILER);
	count(DROPPED);
}

static void change_owner(void)
{
	if (fchown(fd, dice(2), 0))
		broken("a chown failed", errno, 0);
	count(DROPPED);
}

static void change_size(void)
{
	if (ftruncate(fd, trailer + TRAILER + dice(2)))
		broken("a truncation failed", errno, 0);
	count(DROPPED);
}

/* Where the grant that was seen with this tag is kept; NULL where no writer made it. */
static atomic_ulong *kept(uint64_t tag)
{
	unsigned int kind = tag / TAGS;

	if (kind >= KINDS || tag % TAGS > atomic_load(&shared->next_tag[kind])) {
		broken("a grant that no writer made", tag, 0);
		return NULL;
	}
	return &shared->seen[kind][tag % TAGS];
}

/* The tags that are there now; 0 where there is none. */
static void look(uint32_t tags[KINDS])
{
	struct {
		struct v2 value;
		uint32_t rootid;
	} shown;
	struct form_f entries;
	uint32_t n;
	ssize_t len;

	memset(tags, 0, KINDS * sizeof(*tags));
	len = fgetxattr(fd, CAPABILITY, &shown, sizeof(shown));
	if (len == sizeof(shown.value) && shown.value.magic == 0x02000001)
		tags[HOST] = shown.value.permitted;
	/* T: the only entry. */
	else if (len == sizeof(shown) && shown.value.magic == 0x03000001 && shown.rootid == other[0])
		kept(shown.value.permitted);
	else if (len >= 0 || errno != ENODATA)
		broken("security.capability", len, errno);
	len = fgetxattr(fd, NSCAPABILITY, &entries, sizeof(entries));
	if (len < 0) {
		if (errno != ENODATA)
			broken("security.nscapability", len, errno);
		return;
	}
	n = entries.count;
	if (entries.magic != 0x01000000 || n < 1 || n > 3 || len != (ssize_t)form_f_len(n))
		return broken("security.nscapability is garbage", n, len);
	if (n >= 2) {
		tags[BOTH] = entries.entries[0].permitted;
		if (entries.entries[0].rootid != both[0] || entries.entries[1].rootid != both[1] ||
		    entries.entries[1].permitted != tags[BOTH])
			return broken("half a grant", tags[BOTH], entries.entries[1].permitted);
	}
	if (n != 2) {
		tags[OTHER] = entries.entries[n - 1].permitted;
		if (entries.entries[n - 1].rootid != other[0])
			return broken("an entry of no writer", entries.entries[n - 1].rootid, 0);
	}
}

static void saw(uint32_t tag, unsigned long what)
{
	unsigned long before = 0;
	atomic_ulong *seen = kept(tag);

	if (seen && !atomic_compare_exchange_strong(seen, &before, what) && before != what)
		broken("one grant, two contents", before, what);
}

static void watch(void)
{
	uint32_t before[KINDS], after[KINDS];
	unsigned long content;
	struct stat stat;

	look(before);
	if (pread(fd, &content, sizeof(content), trailer) != sizeof(content) || fstat(fd, &stat))
		return broken("a read failed", errno, 0);
	look(after);
	for (int kind = 0; kind < KINDS; kind++) {
		if (!before[kind] || before[kind] != after[kind])
			continue;
		saw(before[kind], content << 8 | (stat.st_uid + 1));
		count(SEEN);
	}
}

struct said {
	uint64_t permitted;
	unsigned long content;
};

static int become(int out, bool inside)
{
	char *const arguments[] = { path, "says", NULL };

	dup2(out, 1);
	if ((inside && setns(space, CLONE_NEWUSER)) || setresuid(7, 7, 7))
		return 3;
	execv(path, arguments);
	return errno == ETXTBSY ? 2 : 3;
}

/* Here or as the root of an entry's namespace: what does the program gain, and what is it then? */
static void execute(void)
{
	bool inside = space >= 0 && dice(2);
	struct said said = {};
	int out[2], status;
	atomic_ulong *seen;
	unsigned long what;
	pid_t child;

	if (pipe(out))
		return broken("no pipe", errno, 0);
	child = fork();
	if (child == 0)
		_exit(become(out[1], inside));
	close(out[1]);
	if (read(out[0], &said, sizeof(said)) < 0)
		broken("no pipe", errno, 0);
	close(out[0]);
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		return;
	if (status)
		return broken("execve failed", status, inside);
	count(EXECUTED);
	if (!said.permitted)
		return;
	count(GAINED);
	seen = kept(said.permitted);
	what = seen ? atomic_load(seen) : 0;
	/* The owner may have changed since. */
	if (what && what >> 8 != said.content)
		broken("gained with another content", what >> 8, said.content);
}

/* As the program that is executed. */
static int says(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	struct said said;
	struct stat stat;

	fd = open("/proc/self/exe", O_RDONLY);
	CHECK(fd >= 0 && fstat(fd, &stat) == 0);
	CHECK(syscall(SYS_capget, &header, data) == 0);
	said.permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	trailer = stat.st_size / TRAILER * TRAILER - TRAILER;
	CHECK(pread(fd, &said.content, sizeof(said.content), trailer) == sizeof(said.content));
	return write(1, &said, sizeof(said)) == sizeof(said) ? 0 : 1;
}

enum { GRANT_HOST, GRANT_BOTH, GRANT_OTHER, CHANGE, MAP, WATCH, EXECUTE, ROLES };

static void act(int role, bool host_only)
{
	unsigned int die = dice(16);

	switch (role) {
	case GRANT_HOST:
		return grant(HOST);
	case GRANT_BOTH:
		return grant(host_only ? HOST : BOTH);
	case GRANT_OTHER:
		return host_only || die < 4 ? take_back() : grant(OTHER);
	case CHANGE:
		return die < 8 ? write_content() : change_size();
	case MAP:
		return die < 12 ? map_content() : change_owner();
	default:
		return watch();
	}
}

static void task(int role, bool host_only)
{
	bool changes = role == CHANGE || role == MAP;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!atomic_load(&shared->broken)) {
		/* Open for writing only while it is written, else it could never be executed. */
		fd = open(path, changes ? O_RDWR : O_RDONLY);
		if (fd >= 0) {
			act(role, host_only);
			close(fd);
		} else if (errno != ETXTBSY) {
			broken("open failed", errno, 0);
		}
		if (role == EXECUTE)
			execute();
		if (changes)
			usleep(dice(2000));
		else if (dice(16) == 0)
			usleep(100);
	}
}

static void make_space(void)
{
	char name[64];
	int gate[2];
	pid_t holder;
	FILE *map;
	char byte;

	CHECK(pipe(gate) == 0);
	holder = fork();
	CHECK(holder >= 0);
	if (holder == 0) {
		CHECK(unshare(CLONE_NEWUSER) == 0);
		CHECK(write(gate[1], "", 1) == 1);
		pause();
	}
	CHECK(read(gate[0], &byte, 1) == 1);
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "/proc/%d/%s", holder, i ? "gid_map" : "uid_map");
		map = fopen(name, "w");
		CHECK(map && fprintf(map, "0 100000 65536\n") > 0 && fclose(map) == 0);
	}
	snprintf(name, sizeof(name), "/proc/%d/ns/user", holder);
	space = open(name, O_RDONLY);
	CHECK(space >= 0);
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
}

/* The program itself, then one page of content that changes. */
static void make_file(const char *directory)
{
	static char buffer[1 << 20];
	int self = open("/proc/self/exe", O_RDONLY);
	off_t size = 0;
	ssize_t len;

	snprintf(path, sizeof(path), "%s/raced", directory);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);
	CHECK(self >= 0 && fd >= 0);
	while ((len = read(self, buffer, sizeof(buffer))) > 0) {
		CHECK(write(fd, buffer, len) == len);
		size += len;
	}
	trailer = (size + TRAILER - 1) / TRAILER * TRAILER;
	CHECK(ftruncate(fd, trailer + TRAILER) == 0);
	CHECK(close(self) == 0 && close(fd) == 0);
}

int main(int argc, char **argv)
{
	bool host_only = argc > 3 && !strcmp(argv[3], "--host-only");
	pid_t children[ROLES];

	if (argc == 2 && !strcmp(argv[1], "says"))
		return says();
	CHECK(argc >= 3);
	CHECK(host_only || write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	atomic_store(&shared->next_content, 1);
	make_file(argv[1]);
	if (!host_only)
		make_space();
	for (int role = 0; role < ROLES; role++) {
		children[role] = fork();
		CHECK(children[role] >= 0);
		if (children[role] == 0) {
			task(role, host_only);
			_exit(0);
		}
	}
	for (int i = atoi(argv[2]) * 10; i > 0 && !atomic_load(&shared->broken); i--)
		usleep(100000);
	for (int role = 0; role < ROLES; role++)
		kill(children[role], SIGKILL);
	while (wait(NULL) > 0)
		;
	for (int i = 0; i < COUNTS; i++)
		printf("  %lu %s\n", shared->counts[i], names[i]);
	/* A race that no task ran shows nothing. */
	if (!atomic_load(&shared->broken) && (!shared->counts[GRANTED] || !shared->counts[DROPPED] ||
	    !shared->counts[SEEN] || !shared->counts[EXECUTED])) {
		fprintf(stderr, "race: not everything was tried\n");
		return 1;
	}
	printf("race: %s\n", atomic_load(&shared->broken) ? "broken" : "as expected");
	return atomic_load(&shared->broken);
}
