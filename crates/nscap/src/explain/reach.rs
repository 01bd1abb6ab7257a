// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a command line can name a file so that no other user turns its path to another one
//! meanwhile.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nscap_linux::{Start, Way};

use super::remedy::quoted;
use super::start::Described;
use super::{Question, Subject};

/// A file as a command line can name it.
pub(super) struct Reach {
    pub(super) path: PathBuf,
    /// Whether it is by our own mount namespace, and no other user can change a directory on the
    /// way.
    pub(super) is_safe: bool,
}

impl Reach {
    /// The program, which the task may find by another path.
    pub(super) fn of(question: &Question<'_>) -> Reach {
        let named = question.chain.program().file.path();
        let below = named.strip_prefix("/").unwrap_or(named);
        let theirs = match question.subject {
            Subject::Live(task) => PathBuf::from(format!("/proc/{}/root", task.pid())).join(below),
            subject => match subject.described().and_then(Described::root) {
                // Its links are followed already.
                Some(root) => return Reach::below(root, below, question),
                None => {
                    let ours = std::fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
                    return Reach::ours(ours);
                }
            },
        };
        let id = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
        match std::fs::canonicalize(named) {
            Ok(ours) if id(&ours).is_some() && id(&ours) == id(&theirs) => Reach::ours(ours),
            _ => Reach { path: theirs, is_safe: false },
        }
    }

    /// In a container's root file system. What is seen through an id-mapped mount has other rootids
    /// there, and no command names those.
    fn below(root: &Path, below: &Path, question: &Question<'_>) -> Reach {
        let Ok(root) = std::fs::canonicalize(root) else {
            return Reach { path: root.join(below), is_safe: false };
        };
        let reach = Reach::ours(root.join(below));
        let mapped = question.subject.described().is_some_and(|described| described.through_map);
        Reach { is_safe: reach.is_safe && !mapped, ..reach }
    }

    fn ours(path: PathBuf) -> Reach {
        let is_safe = Start::ours().is_ok_and(|start| {
            let way = Way::take(&start, &path);
            // In a directory like /tmp only what is root's own stays where it is.
            let fixed = |(n, dir): (usize, &nscap_linux::Passed)| {
                dir.inode().is_ok_and(|inode| {
                    let kept =
                        inode.mode & 0o1000 != 0 && (n + 1 < way.passed.len() || is_roots(&path));
                    inode.uid == 0 && (kept || is_written_by_owner(inode.mode, inode.gid == 0))
                })
            };
            way.magic.is_empty() && way.end.is_ok() && way.passed.iter().enumerate().all(fixed)
        });
        Reach { path, is_safe }
    }

    /// A command on the file as it is, where one may be offered.
    pub(super) fn command(
        &self,
        question: &Question<'_>,
        line: impl FnOnce(&str) -> String,
    ) -> Option<String> {
        let writable = !question.state.mount.read_only && !question.state.inode.immutable;
        (self.is_safe && writable).then(|| line(&quoted(&self.path)))
    }
}

fn is_roots(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|data| data.uid() == 0)
}

pub(super) fn is_written_by_owner(mode: u32, group_is_root: bool) -> bool {
    mode & if group_is_root { 0o002 } else { 0o022 } == 0
}
