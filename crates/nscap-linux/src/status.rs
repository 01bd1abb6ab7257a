// SPDX-License-Identifier: MIT OR Apache-2.0
//! /proc/PID/status, proc_pid_status(5), and /proc/PID/stat, proc_pid_stat(5): the credentials and
//! flags of a task. Read as bytes, since a process can choose any name.

/// What the lines said, ids in the reader's namespace's terms.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Status {
    /// Real, effective, saved and file system uid.
    pub(crate) uids: [u32; 4],
    /// Real, effective, saved and file system gid.
    pub(crate) gids: [u32; 4],
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Inheritable, permitted, effective, bounding and ambient set.
    pub(crate) sets: [u64; 5],
    /// no_new_privs.
    pub(crate) no_new_privs: bool,
    /// The tracer's process id, 0 for none.
    pub(crate) tracer: u32,
    /// The process that the thread is of.
    pub(crate) process: u32,
    /// How many seccomp filters it has; `None` before Linux 5.9.
    pub(crate) filters: Option<u32>,
}

/// Reads the file; `None` where a line that every kernel since 4.10 prints is missing or no number.
pub(crate) fn parse(bytes: &[u8]) -> Option<Status> {
    let line = |key: &str| {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let rest = lines.find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))?;
        std::str::from_utf8(rest).ok().map(str::trim)
    };
    let set = |key| u64::from_str_radix(line(key)?, 16).ok();
    Some(Status {
        uids: numbers(line("Uid")?)?.try_into().ok()?,
        gids: numbers(line("Gid")?)?.try_into().ok()?,
        groups: numbers(line("Groups")?)?,
        sets: [set("CapInh")?, set("CapPrm")?, set("CapEff")?, set("CapBnd")?, set("CapAmb")?],
        no_new_privs: line("NoNewPrivs")? == "1",
        tracer: line("TracerPid")?.parse().ok()?,
        process: line("Tgid")?.parse().ok()?,
        filters: line("Seccomp_filters").and_then(|text| text.parse().ok()),
    })
}

/// The longest line of /proc/PID/stat that is read, in bytes: 52 numbers and a name.
pub(crate) const STAT_MAX: usize = 2048;

/// The kernel's flags (linux/sched.h) of a thread that runs no program of its own: PF_IO_WORKER
/// (Linux 5.12), PF_USER_WORKER (Linux 6.4), PF_KTHREAD.
const WORKER: u64 = 0x10 | 0x4000 | 0x20_0000;

/// Whether the thread is the kernel's: one that it made for itself (a loop device, nfsd), or for a
/// program (io_uring, vhost). Its own credentials are its maker's, or root's; those of what it does
/// are others, and /proc does not show them. `None` where the bytes are not as proc_pid_stat(5) has
/// them.
pub(crate) fn is_worker(stat: &[u8]) -> Option<bool> {
    // The name is in parentheses and may hold some itself.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    // state, ppid, pgrp, session, tty_nr, tpgid, flags.
    let flags: u64 = rest.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some(flags & WORKER != 0)
}

/// When a process began, in seconds since the machine started; `None` where there is none.
pub(crate) fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    // starttime is the 22nd field, state the third.
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_div(rustix::param::clock_ticks_per_second())
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_found_whatever_the_name_is() {
        let text =
            b"Name:\t\xff\xfe\\nUid:\t9 9 9 9\nUmask:\t0022\nTgid:\t4\nTracerPid:\t7\nUid:\t1\t2\t3\t4\n\
            Gid:\t5\t6\t7\t8\nGroups:\t10 11 \nCapInh:\t0\nCapPrm:\tff\nCapEff:\t0\nCapBnd:\t1ff\n\
            CapAmb:\t0\nNoNewPrivs:\t1\n";
        let status = parse(text).unwrap();
        assert_eq!((status.uids, status.gids), ([1, 2, 3, 4], [5, 6, 7, 8]));
        assert_eq!((status.groups, status.tracer), (vec![10, 11], 7));
        assert_eq!((status.process, status.filters), (4, None));
        assert!(status.no_new_privs && status.sets == [0, 0xff, 0, 0x1ff, 0]);
        assert_eq!(parse(b"Uid:\t1\t2\t3\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_flags_are_found_whatever_the_name_is() {
        let worker = |name: &str, flags: u64| {
            is_worker(format!("7 ({name}) S 1 7 7 0 -1 {flags} 3 0 0 0 1 2\n").as_bytes())
        };
        for name in ["sh", "", ") S 1 1 1 1 1 0 (", "a) R 0 0 0 0 0 4194304", "))((", "iou-wrk-7"] {
            for bit in 0..32 {
                let flag = 1 << bit;
                assert_eq!(worker(name, flag), Some([4, 14, 21].contains(&bit)), "{name} {bit}");
            }
        }
        assert_eq!(is_worker(b"7 (\xff\xfe) S 1 7 7 0 -1 16 3"), Some(true));
        for bad in [&b""[..], b"7 sh S 1", b"7 (sh) S 1 7 7 0 -1", b"7 (sh) S 1 7 7 0 -1 x 3"] {
            assert_eq!(is_worker(bad), None);
        }
    }

    #[test]
    fn our_own_is_read() {
        assert_eq!(is_worker(&std::fs::read("/proc/thread-self/stat").unwrap()), Some(false));
        assert!(parse(&std::fs::read("/proc/self/status").unwrap()).is_some());
    }
}
