// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a shift reports while it runs.

use std::fmt;
use std::path::Path;

use nscap_core::ShiftDenied;

use super::acl::{AclError, Tag};

/// An observer of a shift. By default each function does nothing.
///
/// ```
/// use nscap_image::shift::{Problem, Watch};
/// struct Print;
/// impl Watch for Print {
///     fn problem(&mut self, path: &std::path::Path, problem: &Problem) {
///         println!("{}: {problem}", path.display());
///     }
/// }
/// Print.problem("file".as_ref(), &Problem::Owner(5));
/// ```
pub trait Watch {
    /// A problem prevents the whole shift.
    fn problem(&mut self, path: &Path, problem: &Problem) {
        let _ = (path, problem);
    }

    /// Another file system is mounted at this path; the shift does not enter it.
    fn mount(&mut self, path: &Path) {
        let _ = path;
    }

    /// This inode did not become what was planned.
    fn deviation(&mut self, path: &Path, deviation: &Deviation) {
        let _ = (path, deviation);
    }

    /// `done` inodes have been handled, of `of` inodes if that number is known.
    fn progress(&mut self, done: u64, of: Option<u64>) {
        let _ = (done, of);
    }

    /// A step was taken; the process may be killed here.
    fn step(&mut self, point: CrashPoint) {
        let _ = point;
    }
}

/// No observer.
impl Watch for () {}

/// A reason why a shift cannot start. With one problem in the tree, nothing is changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The owner has no image.
    Owner(u32),
    /// The group has no image.
    Group(u32),
    /// A user or group of an access control list has no image.
    AclUnmapped(Tag),
    /// Two entries of an access control list would name this user or group.
    AclTwice(Tag),
    /// The access control list is malformed.
    AclMalformed(AclError),
    /// The capabilities cannot move.
    Grant(ShiftDenied),
    /// The kernel does not show this process the file's capabilities, so it could not restore them.
    GrantHidden,
    /// The file has a table of entries, which only the initial namespace can write.
    GrantTable,
    /// The host's root would become the owner of a set-user-ID or set-group-ID file.
    SetIdHost,
    /// It is immutable or append-only (chattr(1)).
    Immutable,
    /// The inode has names outside the tree.
    OtherNames {
        /// How many names it has.
        links: u32,
        /// How many of them are in the tree.
        found: u32,
    },
    /// The file has capabilities or set-id bits, and fcntl(2) gave no lease to keep writers away
    /// meanwhile; its errno.
    Lease(i32),
}

impl Problem {
    /// The problem as one word, for programs.
    ///
    /// ```
    /// use nscap_image::shift::Problem;
    /// assert_eq!((Problem::Owner(5).name(), Problem::Owner(5).id()), ("owner", Some(5)));
    /// ```
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Problem::Owner(_) => "owner",
            Problem::Group(_) => "group",
            Problem::AclUnmapped(_) => "acl-id",
            Problem::AclTwice(_) => "acl-twice",
            Problem::AclMalformed(_) => "acl-malformed",
            Problem::Grant(ShiftDenied::Unmapped(_)) => "rootid",
            Problem::Grant(ShiftDenied::WouldBeHost(_)) => "host-value",
            Problem::Grant(ShiftDenied::SameRoot(_)) => "rootid-twice",
            Problem::Grant(ShiftDenied::Malformed | ShiftDenied::TooMany) => "capabilities",
            Problem::GrantHidden => "capabilities-hidden",
            Problem::GrantTable => "table",
            Problem::SetIdHost => "set-id-host",
            Problem::Immutable => "immutable",
            Problem::OtherNames { .. } => "other-names",
            Problem::Lease(_) => "busy",
        }
    }

    /// The id of the problem, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        match self {
            Problem::Owner(id) | Problem::Group(id) => Some(*id),
            Problem::AclUnmapped(tag) | Problem::AclTwice(tag) => match tag {
                Tag::User(id) | Tag::Group(id) => Some(*id),
                Tag::Owner | Tag::OwningGroup | Tag::Mask | Tag::Other => None,
            },
            Problem::Grant(
                ShiftDenied::Unmapped(id)
                | ShiftDenied::WouldBeHost(id)
                | ShiftDenied::SameRoot(id),
            ) => Some(id.get()),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Owner(id) => write!(f, "its owner {id} has no image"),
            Problem::Group(id) => write!(f, "its group {id} has no image"),
            Problem::AclUnmapped(tag) => write!(f, "{tag} of its ACL has no image"),
            Problem::AclTwice(tag) => write!(f, "two entries of its ACL would be for {tag}"),
            Problem::AclMalformed(error) => write!(f, "its ACL: {error}"),
            Problem::Grant(denied) => denied.fmt(f),
            Problem::GrantHidden => {
                f.write_str("has capabilities that cannot be read here, so they would be lost")
            }
            Problem::GrantTable => f.write_str(
                "has a table of entries, which only the initial user namespace can write",
            ),
            Problem::SetIdHost => {
                f.write_str("set-user-ID or set-group-ID, and would become the host's root's")
            }
            Problem::Immutable => f.write_str("is immutable or append-only (chattr -ia)"),
            Problem::OtherNames { links, found } => {
                write!(f, "has {links} names, of which {found} are in the tree")
            }
            Problem::Lease(errno) => write!(
                f,
                "has capabilities or set-id bits and cannot be kept from being written to: {}",
                nscap_linux::describe(*errno)
            ),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tag::Owner => f.write_str("the owner"),
            Tag::User(id) => write!(f, "user {id}"),
            Tag::OwningGroup => f.write_str("the owning group"),
            Tag::Group(id) => write!(f, "group {id}"),
            Tag::Mask => f.write_str("the mask"),
            Tag::Other => f.write_str("the others"),
        }
    }
}

/// How one inode differs from its plan when the changes are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Deviation {
    /// It was removed.
    Gone,
    /// Another inode has its name; the shift leaves that one as it is.
    Replaced,
    /// Its owner, mode, access control list or capabilities are neither the old nor the planned
    /// ones. The shift leaves it as it is.
    Changed,
    /// Its content changed after its capabilities and set-id bits were read (K), or another task
    /// removed these. It moved without them.
    GrantLost,
    /// A task has it open for writing, so its capabilities or set-id bits cannot move. The shift
    /// leaves it as it is.
    Busy,
}

impl Deviation {
    /// The deviation as one word, for programs.
    ///
    /// ```
    /// assert_eq!(nscap_image::shift::Deviation::GrantLost.name(), "grant-lost");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Deviation::Gone => "gone",
            Deviation::Replaced => "replaced",
            Deviation::Changed => "changed",
            Deviation::GrantLost => "grant-lost",
            Deviation::Busy => "busy",
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deviation::Gone => "is gone since it was planned",
            Deviation::Replaced => {
                "something else has this name since it was planned; left as it is"
            }
            Deviation::Changed => "another task changed it since it was planned; left as it is",
            Deviation::GrantLost => {
                "has been written to, or lost them, since its capabilities and set-id bits were \
                 read; moved without them"
            }
            Deviation::Busy => "a task has it open for writing; left as it is",
        })
    }
}

/// A step of a shift. A process that is killed after it leaves a state that a later run continues
/// from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CrashPoint {
    /// The plan is on disk and has its name.
    Journal,
    /// `security.capability` was removed.
    CapabilityRemoved,
    /// `security.nscapability` was removed.
    TableRemoved,
    /// Set-id bits, or all permissions but the owner's, were removed.
    ModeLocked,
    /// Owner and group were changed.
    Owned,
    /// The access control list for files made in a directory was written.
    DefaultAcl,
    /// The access control list was written.
    AccessAcl,
    /// The mode was written.
    Mode,
    /// One of the two attributes that hold capabilities was written.
    Granted,
    /// The journal was marked as done.
    Marked,
}
