// SPDX-License-Identifier: GPL-2.0-only
/*
 * trampoline FUNCTION...: BPF programs before and behind each function of the kernel (fentry, fexit) and, where the
 * kernel lets a program answer for it, in place of it (fmod_ret, which answers nothing). For each program it prints
 * `KIND FUNCTION`, then `attached`. At the end of its input it prints how often each program ran.
 * A function that the kernel does not let programs trace is said on standard error, and why.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_PROGRAMS 96
/* Of the kernel alone: it has more arguments than a program can be given. */
#define NOT_SUPPORTED 524

static struct program {
	const char *kind, *function;
} programs[MAX_PROGRAMS];
static int n;

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* What the kernel says of its own types. */
static struct btf_header *types(void)
{
	size_t size = 0, room = 64 << 20;
	char *all = malloc(room);
	int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY);
	ssize_t got;

	if (!all || fd < 0)
		err(2, "/sys/kernel/btf/vmlinux");
	while ((got = read(fd, all + size, room - size)) > 0)
		size += got;
	close(fd);
	if (got < 0 || size == room)
		errx(2, "/sys/kernel/btf/vmlinux cannot be read");
	return (struct btf_header *)all;
}

/* How much follows a type of that kind. */
static size_t behind(const struct btf_type *type)
{
	size_t of = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return of * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return of * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return of * 12;
	case BTF_KIND_FUNC_PROTO:
		return of * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return of * sizeof(struct btf_var_secinfo);
	default:
		return 0;
	}
}

static uint32_t id_of(const struct btf_header *header, const char *function)
{
	const char *base = (const char *)header + header->hdr_len;
	const char *names = base + header->str_off, *at = base + header->type_off;
	const char *end = at + header->type_len;

	for (uint32_t id = 1; at < end; id++) {
		const struct btf_type *type = (const struct btf_type *)at;

		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC && !strcmp(names + type->name_off, function))
			return id;
		at += sizeof(*type) + behind(type);
	}
	return 0;
}

/* One value, with how often each program ran. */
static int counters(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4,
				.value_size = MAX_PROGRAMS * sizeof(uint64_t), .max_entries = 1 };
	int map = bpf(BPF_MAP_CREATE, &attr);

	if (map < 0)
		err(2, "a map");
	return map;
}

/* Counts, and answers 0. */
static int load(int map, uint32_t id, enum bpf_attach_type type)
{
	struct bpf_insn code[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map },
		/* Where in the value. */
		{ .imm = n * sizeof(uint64_t) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 1 },
		{ .code = BPF_STX | BPF_DW | BPF_ATOMIC, .dst_reg = 1, .src_reg = 2, .imm = BPF_ADD },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_TRACING, .expected_attach_type = type,
				.attach_btf_id = id, .insns = (uint64_t)code,
				.insn_cnt = sizeof(code) / sizeof(*code), .license = (uint64_t)"GPL" };

	return bpf(BPF_PROG_LOAD, &attr);
}

static void attach(int map, uint32_t id, enum bpf_attach_type type, const char *kind, const char *function)
{
	union bpf_attr attr = {};
	int program;

	if (n == MAX_PROGRAMS)
		errx(2, "too many programs");
	program = load(map, id, type);
	/* Not each function may be answered for. */
	if (program < 0 && type == BPF_MODIFY_RETURN && errno == EINVAL)
		return;
	if (program >= 0) {
		attr.raw_tracepoint.prog_fd = program;
		if (bpf(BPF_RAW_TRACEPOINT_OPEN, &attr) >= 0) {
			printf("%s %s\n", kind, function);
			programs[n++] = (struct program){ kind, function };
			return;
		}
	}
	if (errno != NOT_SUPPORTED)
		err(1, "%s %s", kind, function);
	fprintf(stderr, "%s has more arguments than this kernel lets a program have\n", function);
	close(program);
}

static void say(int map)
{
	uint64_t counts[MAX_PROGRAMS] = {};
	uint32_t key = 0;
	union bpf_attr attr = { .map_fd = map, .key = (uint64_t)&key, .value = (uint64_t)counts };

	if (bpf(BPF_MAP_LOOKUP_ELEM, &attr))
		err(2, "the map");
	for (int i = 0; i < n; i++)
		printf("ran %llu %s %s\n", (unsigned long long)counts[i], programs[i].kind, programs[i].function);
}

int main(int argc, char **argv)
{
	const struct btf_header *header = types();
	int map = counters();
	char byte;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (char **function = argv + 1; function < argv + argc; function++) {
		uint32_t id = id_of(header, *function);

		if (!id) {
			fprintf(stderr, "%s is not among the kernel's types\n", *function);
			continue;
		}
		attach(map, id, BPF_TRACE_FENTRY, "fentry", *function);
		attach(map, id, BPF_TRACE_FEXIT, "fexit", *function);
		attach(map, id, BPF_MODIFY_RETURN, "fmod_ret", *function);
	}
	puts("attached");
	while (read(0, &byte, 1) > 0)
		;
	say(map);
	return 0;
}
