//! /proc/PID/status, proc_pid_status(5): the lines that say who a task is. Read as bytes, since a
//! process names itself as it likes.

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
    })
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
            b"Name:\t\xff\xfe\\nUid:\t9 9 9 9\nUmask:\t0022\nTracerPid:\t7\nUid:\t1\t2\t3\t4\n\
            Gid:\t5\t6\t7\t8\nGroups:\t10 11 \nCapInh:\t0\nCapPrm:\tff\nCapEff:\t0\nCapBnd:\t1ff\n\
            CapAmb:\t0\nNoNewPrivs:\t1\n";
        let status = parse(text).unwrap();
        assert_eq!((status.uids, status.gids), ([1, 2, 3, 4], [5, 6, 7, 8]));
        assert_eq!((status.groups, status.tracer), (vec![10, 11], 7));
        assert!(status.no_new_privs && status.sets == [0, 0xff, 0, 0x1ff, 0]);
        assert_eq!(parse(b"Uid:\t1\t2\t3\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn our_own_is_read() {
        assert!(parse(&std::fs::read("/proc/self/status").unwrap()).is_some());
    }
}
