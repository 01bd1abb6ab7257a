// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a decision is: an answer, the errno where it is no, and the clause that decided.
//!
//! Every rule of this crate answers with a [`Decision`] or a [`Denied`]. [`Why`] names the clause
//! of SPEC, so that a command can explain an answer without computing it again.

use core::fmt;

/// The error numbers that the rules answer with, by their names in errno(3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
#[allow(missing_docs, reason = "errno(3) documents each")]
pub enum Errno {
    EPERM = 1,
    EACCES = 13,
    EBUSY = 16,
    EEXIST = 17,
    EINVAL = 22,
    ENOSPC = 28,
    EROFS = 30,
    ERANGE = 34,
    ENODATA = 61,
    EOVERFLOW = 75,
    EOPNOTSUPP = 95,
}

impl Errno {
    /// The positive number that Linux uses on every architecture we know (asm-generic).
    #[must_use]
    pub const fn raw(self) -> i32 {
        self as i32
    }

    /// The symbolic name, e.g. `"EBUSY"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Errno::EPERM => "EPERM",
            Errno::EACCES => "EACCES",
            Errno::EBUSY => "EBUSY",
            Errno::EEXIST => "EEXIST",
            Errno::EINVAL => "EINVAL",
            Errno::ENOSPC => "ENOSPC",
            Errno::EROFS => "EROFS",
            Errno::ERANGE => "ERANGE",
            Errno::ENODATA => "ENODATA",
            Errno::EOVERFLOW => "EOVERFLOW",
            Errno::EOPNOTSUPP => "EOPNOTSUPP",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A clause of SPEC; `Kernel` is the unmodified kernel's own rule.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
enum Clause {
    A,
    B,
    D,
    F,
    K,
    M,
    P,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    T,
    U,
    V,
    W,
    X,
    Kernel,
}

impl Clause {
    const fn name(self) -> &'static str {
        match self {
            Clause::A => "A",
            Clause::B => "B",
            Clause::D => "D",
            Clause::F => "F",
            Clause::K => "K",
            Clause::M => "M",
            Clause::P => "P",
            Clause::R2 => "R2",
            Clause::R3 => "R3",
            Clause::R4 => "R4",
            Clause::R5 => "R5",
            Clause::R6 => "R6",
            Clause::R7 => "R7",
            Clause::R8 => "R8",
            Clause::T => "T",
            Clause::U => "U",
            Clause::V => "V",
            Clause::W => "W",
            Clause::X => "X",
            Clause::Kernel => "kernel",
        }
    }
}

macro_rules! whys {
    ($($variant:ident $clause:ident $text:literal;)*) => {
        /// Why a decision came out as it did.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Why {
            $( #[doc = $text] $variant, )*
        }

        impl Why {
            /// Every reason, for tables and documentation.
            pub const ALL: &'static [Why] = &[$(Why::$variant),*];

            /// The clause of SPEC that decided, e.g. `"R5"`. `"kernel"` where the unmodified
            /// kernel's own rule decided ([`bare`](crate::bare)).
            #[must_use]
            pub const fn clause(self) -> &'static str {
                (match self { $(Why::$variant => Clause::$clause),* }).name()
            }

            /// One short sentence without a full stop, for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Why::$variant => $text),* }
            }
        }

        /// The first two letters of each clause: the smallest table that a kernel's audit record
        /// can be made from.
        const CODES: &[[u8; 2]] = &[$(code(Clause::$clause.name())),*];
    };
}

const fn code(clause: &str) -> [u8; 2] {
    match clause.as_bytes() {
        [first, second, ..] => [*first, *second],
        [first] => [*first, 0],
        [] => [0, 0],
    }
}

whys! {
    HostValueRead R4 "the file has a host value";
    EntryRead R4 "an entry applies to the caller's namespace";
    OnlyEntryRead T "the file's only entry, for another namespace's root";
    NothingToRead R4 "no host value, no entry that applies to the caller's namespace, no single entry that it can name";
    EntriesRead R6 "the file has entries";
    NoEntries R6 "the file has no entry";
    ValueMalformed R5 "the value is malformed";
    ValueEmpty R5 "a value of length 0 is malformed";
    NsValueMalformed F "the value is malformed";
    ManyInSingleMode R2 "single-entry mode takes exactly one entry";
    StoredMalformed X "the stored security.capability is malformed";
    EntryExists B "an entry exists; remove it first";
    EntryInPlace B "an entry exists and XATTR_CREATE was given";
    SameAlready B "the stored entry is the same already";
    HostWritten R8 "written as a host value";
    HostExists R8 "a host value exists and XATTR_CREATE was given";
    EntryWritten R5 "written as an entry for the caller's root kuid";
    EntriesWritten R7 "written as entries for the root kuids named";
    NothingToReplace D "there is no entry and XATTR_REPLACE was given";
    NoSetfcap R5 "the caller has no CAP_SETFCAP in its own user namespace";
    NoRootKuid R5 "the caller's user namespace maps no uid 0";
    OwnerUnmapped R5 "the file's owner has no mapping in the caller's user namespace";
    GroupUnmapped R5 "the file's group has no mapping in the caller's user namespace";
    RootidUnmapped R7 "the rootid has no mapping in the caller's user namespace";
    RootidUnstorable M "the rootid has no mapping in the superblock's owner namespace";
    KuidNotOurs P "the kuid has no mapping in the caller's user namespace";
    RootOfAncestor U "the root kuid is also the root of an ancestor of the caller's user namespace; grant from there";
    TooManyEntries A "a file holds at most 1,024 entries";
    NoRoom A "the result does not fit";
    HostRemoved D "the host value is removed";
    EntryRemoved D "the entry is removed";
    EntriesRemoved D "every entry that the caller could have written is removed";
    NothingToRemove D "there is nothing that the caller can see to remove";
    NotOursToRemove D "what the caller sees is not the caller's to remove";
    ContentChanged K "a content or owner change drops the host value and every entry";
    ContentKept K "this operation changes neither content nor owner";
    ReadOnly V "the file system is mounted read-only";
    Immutable V "the file is immutable or append-only";
    IdsUnmapped V "the file's owner or group is not a valid id on this mount";
    ForAnother W "the kernel asks with other credentials than the caller's own (overlayfs copies up): nothing is written";
    NoExec X "the mount is noexec";
    NotExecutable X "neither the mode nor an access control list gives the task execute permission";
    NotSearchable X "neither the mode nor an access control list gives the task search permission";
    NoSuid X "the mount is nosuid, so file capabilities and set-id bits are ignored";
    ForeignMount X "the mount is of another mount namespace, so file capabilities and set-id bits are ignored";
    ForeignSuperblock X "the superblock's owner namespace is neither the task's nor an ancestor of it";
    FileCapsOff X "the kernel was booted with no_file_caps";
    NoCapsOnFile X "the file has no capabilities";
    HostNotRooted M "the superblock's owner namespace maps no uid 0, so the host value holds nowhere";
    HostOverrides R8 "the host value applies and overrides every entry";
    EntryApplies R3 "the entry's root kuid is root in the task's namespace or an ancestor of it";
    NoEntryApplies R3 "no entry's root kuid is root in the task's namespace or an ancestor of it";
    CapsMissing X "the effective bit is set and the bounding set lacks a permitted capability";
    BoundingLacks X "the task's bounding set lacks it";
    ScriptIgnored X "a script's own capabilities are ignored; its interpreter's count";
    NoNewPrivs X "no_new_privs is set: no more than the old permitted set";
    Traced X "the task is traced by one without CAP_SYS_PTRACE over it: no more than the old permitted set";
    SharedFs X "the task shares its file system information (CLONE_FS): no more than the old permitted set";
    KernelMalformed Kernel "the kernel takes revision 2 and 3 of exact length only";
    KernelNotPrivileged Kernel "the caller lacks CAP_SETFCAP, or the file's owner or group does not map";
    KernelRootidUnmapped Kernel "the rootid has no mapping in the caller's user namespace or on the superblock";
    KernelOverflow Kernel "the rootid is unmapped here and is root of no ancestor";
    KernelAbsent Kernel "the attribute does not exist";
    KernelExists Kernel "the attribute exists and XATTR_CREATE was given";
    KernelSysAdmin Kernel "security.* other than security.capability needs CAP_SYS_ADMIN over the superblock's owner namespace";
    TranslatedSame M "the id is the same in the target's terms";
    TranslatedEntry M "the rootid is written in the target's terms";
    TranslatedToHost M "the id is 0 in the target's terms: a host value there";
    TranslatedFromHost W "the host value of the source's root becomes an entry for that root, so that no other task gains";
    NoSourceId W "the id has no mapping in the source's map, so it names no root there";
    NoTargetId W "the id has no mapping in the target's map; any other id would be another root";
    NotExpected W "no root there has that id";
    GrantsDiffer A "two values give the same root different capabilities";
    TableVoid K "the sealed table is void and grants nothing";
    EntriesVoid K "the file has changed since its entries were written, so they are void";
    EntriesCopied F "its entries are a list copied from a mount of nscap's, which nothing here honours";
    TableUnread A "an entry in the table applies, and an unmodified kernel does not look at tables";
    KernelUnreadable Kernel "the stored value is longer than any revision";
    SavedContentDiffers K "the content or its size is not what was saved";
    SavedOwnerDiffers W "the owner or group is not the one that was saved, so other tasks could change it";
    SavedModeWider W "the mode allows more than the one that was saved";
    SavedRangeDiffers W "the rootid is in another range of ids here, so it would be another container's root";
}

impl Why {
    /// The first two letters of [`clause`](Why::clause), all that a clause of the design has; the
    /// second is 0 where there is one.
    ///
    /// ```
    /// use nscap_core::Why;
    /// assert_eq!((Why::HostWritten.code(), Why::EntryExists.code()), (*b"R8", *b"B\0"));
    /// ```
    #[must_use]
    pub fn code(self) -> [u8; 2] {
        CODES.get(self as usize).copied().unwrap_or_default()
    }

    /// Whether the right to make this change is one over the superblock's owner namespace (R8), and
    /// not one in the caller's own: which of the two a security module is asked about.
    ///
    /// ```
    /// use nscap_core::Why;
    /// assert!(Why::HostWritten.is_over_superblock() && !Why::EntryWritten.is_over_superblock());
    /// ```
    #[must_use]
    pub const fn is_over_superblock(self) -> bool {
        matches!(self, Why::HostWritten | Why::HostRemoved)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An answer of no: the errno and the reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Denied {
    /// What the system call returns.
    pub errno: Errno,
    /// Which clause says so.
    pub why: Why,
}

impl Denied {
    /// An answer of no.
    #[must_use]
    pub const fn new(errno: Errno, why: Why) -> Denied {
        Denied { errno, why }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.errno.name())?;
        f.write_str(": ")?;
        f.write_str(self.why.text())
    }
}

impl core::error::Error for Denied {}

/// What a log of security decisions says of a [`Decision`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Logged {
    /// Nothing: no grant changed, and no privilege was lacking.
    Nothing,
    /// A change of what the file grants.
    Change,
    /// A refusal for want of a privilege.
    Refusal,
}

/// The answer to a request for a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision<T> {
    /// Do it: this is what the file holds from now on.
    Write(T, Why),
    /// Say yes and change nothing.
    Keep(Why),
    /// Say no and change nothing.
    Deny(Errno, Why),
}

impl<T> Decision<T> {
    /// The errno of a no, `None` for a yes.
    ///
    /// ```
    /// use nscap_core::{Decision, Errno, Why};
    /// let no: Decision<()> = Decision::Deny(Errno::EBUSY, Why::EntryExists);
    /// assert_eq!((no.errno(), no.why().clause()), (Some(Errno::EBUSY), "B"));
    /// ```
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Decision::Deny(errno, _) => Some(*errno),
            Decision::Write(..) | Decision::Keep(_) => None,
        }
    }

    /// What a log says of it. A malformed value and an entry that exists are no refusals: any task
    /// can cause them, on any file, as often as it likes.
    ///
    /// ```
    /// use nscap_core::{Decision, Errno, Logged, Why};
    /// let busy: Decision<()> = Decision::Deny(Errno::EBUSY, Why::EntryExists);
    /// assert_eq!(busy.logged(), Logged::Nothing);
    /// assert_eq!(Decision::Write((), Why::HostWritten).logged(), Logged::Change);
    /// ```
    #[must_use]
    pub fn logged(&self) -> Logged {
        match self {
            Decision::Write(..) => Logged::Change,
            Decision::Deny(Errno::EPERM, _) => Logged::Refusal,
            Decision::Keep(_) | Decision::Deny(..) => Logged::Nothing,
        }
    }

    /// The reason, whatever the answer.
    #[must_use]
    pub fn why(&self) -> Why {
        match self {
            Decision::Write(_, why) | Decision::Keep(why) | Decision::Deny(_, why) => *why,
        }
    }
}

impl<T> From<Denied> for Decision<T> {
    fn from(no: Denied) -> Decision<T> {
        Decision::Deny(no.errno, no.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn each_clause_has_its_own_name() {
        use Clause::*;
        let named = [A, B, D, F, K, M, P, R2, R3, R4, R5, R6, R7, R8, T, U, V, W, X];
        for clause in named {
            assert_eq!(clause.name(), format!("{clause:?}"));
        }
        assert_eq!(Kernel.name(), "kernel");
        assert_eq!(Kernel as usize, named.len());
    }
}
