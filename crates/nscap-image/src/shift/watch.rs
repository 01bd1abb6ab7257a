// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a shift tells while it is at work.

use std::fmt;
use std::path::Path;

use nscap_core::ShiftDenied;

use super::acl::{AclError, Tag};

/// Whoever looks on. Every function does nothing unless it is written.
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
    /// Something stands in the way of the whole shift.
    fn problem(&mut self, path: &Path, problem: &Problem) {
        let _ = (path, problem);
    }

    /// Something else is mounted there, and is left as it is.
    fn mount(&mut self, path: &Path) {
        let _ = path;
    }

    /// This inode did not become what was planned.
    fn odd(&mut self, path: &Path, odd: &Odd) {
        let _ = (path, odd);
    }

    /// So many inodes have been looked at, of so many where that is known.
    fn progress(&mut self, done: u64, of: Option<u64>) {
        let _ = (done, of);
    }

    /// A step was taken.
    fn step(&mut self, step: Step) {
        let _ = step;
    }
}

/// Nobody looks on.
impl Watch for () {}

/// What stands in the way of a shift. As long as there is one, nothing is changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The owner has no image.
    Owner(u32),
    /// The group has no image.
    Group(u32),
    /// A user or group of an access control list has no image.
    AclUnmapped(Tag),
    /// Two entries of an access control list would be for this user or group.
    AclTwice(Tag),
    /// The access control list cannot be understood.
    AclMalformed(AclError),
    /// The capabilities cannot move.
    Grant(ShiftDenied),
    /// There are capabilities that we are not shown, so they could not be put back.
    GrantHidden,
    /// There is a table of entries, which can only be written in the initial namespace.
    GrantTable,
    /// A set-user-ID or set-group-ID file would become one of the host's root.
    SetIdHost,
    /// It is immutable or append-only (chattr(1)).
    Immutable,
    /// It has more names than there are in the tree: so many, of which so many were found.
    OtherNames {
        /// All of them.
        links: u32,
        /// In the tree.
        found: u32,
    },
    /// It has capabilities or set-id bits, and nobody can be kept from writing to it meanwhile:
    /// fcntl(2)'s errno.
    Lease(i32),
}

impl Problem {
    /// One word for programs.
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

    /// The id that it is about, if it is about one.
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

/// What is odd about one inode while changes are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Odd {
    /// It is gone.
    Gone,
    /// Something else has its name; that is left as it is.
    Replaced,
    /// Owner, mode, access control list or capabilities are neither what they were nor what they
    /// are to be; it is left as it is.
    Changed,
    /// Its content is another than when its capabilities and set-id bits were read (K), or
    /// somebody has taken them from it: it moved, without them.
    GrantLost,
    /// Somebody has it open for writing, so that its capabilities or set-id bits cannot move; it is
    /// left as it is.
    Busy,
}

impl Odd {
    /// One word for programs.
    ///
    /// ```
    /// assert_eq!(nscap_image::shift::Odd::GrantLost.name(), "grant-lost");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Odd::Gone => "gone",
            Odd::Replaced => "replaced",
            Odd::Changed => "changed",
            Odd::GrantLost => "grant-lost",
            Odd::Busy => "busy",
        }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Odd::Gone => "is gone since it was planned",
            Odd::Replaced => "something else has this name since it was planned; left as it is",
            Odd::Changed => "somebody else changed it since it was planned; left as it is",
            Odd::GrantLost => {
                "has been written to, or lost them, since its capabilities and set-id bits were \
                 read; moved without them"
            }
            Odd::Busy => "somebody has it open for writing; left as it is",
        })
    }
}

/// One step on one inode, after which a crash may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// The plan is on disk and has its name.
    Journal,
    /// `security.capability` was removed.
    CapabilityRemoved,
    /// `security.nscapability` was removed.
    TableRemoved,
    /// Set-id bits were taken, or all permissions but the owner's.
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
    /// The journal says that everything is done.
    Marked,
}
