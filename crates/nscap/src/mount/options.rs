// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mount options as mount(8) and fstab(5) write them: ours, those that any file system has, and
//! those that are for mount(8) itself. What is none of these is an error that names it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use nscap_core::{Busy, Policy};
use nscap_linux::Quotable as _;

use crate::failure::{EINVAL, Failure};

/// What the options ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// A and B.
    pub(crate) policy: Policy,
    /// Take a source that others can reach.
    pub(crate) reachable_ok: bool,
    /// Take a source whose superblock a user namespace may own for our own.
    pub(crate) source_owner_ok: bool,
    /// Never FUSE passthrough.
    pub(crate) no_passthrough: bool,
    /// Never FUSE over io_uring.
    pub(crate) no_io_uring: bool,
    /// How many threads serve, where that is said.
    pub(crate) threads: Option<usize>,
    /// `ro`.
    pub(crate) read_only: bool,
    /// `nosuid`: execve(2) then looks at no capability.
    pub(crate) nosuid: bool,
    /// `nodev`.
    pub(crate) nodev: bool,
    /// `noexec`.
    pub(crate) noexec: bool,
    /// `nosymfollow`.
    pub(crate) nosymfollow: bool,
    /// `noatime`.
    pub(crate) noatime: bool,
    /// `relatime`.
    pub(crate) relatime: bool,
    /// `strictatime`, which counts for more than either.
    pub(crate) strictatime: bool,
    /// `nodiratime`.
    pub(crate) nodiratime: bool,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            policy: Policy::ARRAYS,
            reachable_ok: false,
            source_owner_ok: false,
            no_passthrough: false,
            no_io_uring: false,
            threads: None,
            read_only: false,
            nosuid: false,
            nodev: false,
            noexec: false,
            nosymfollow: false,
            noatime: false,
            relatime: false,
            strictatime: false,
            nodiratime: false,
        }
    }
}

/// An option that is on or off.
type Switch = fn(&mut Wanted) -> &mut bool;

/// Name of each that is on, name of its opposite, where it is.
const SWITCHES: [(&str, &str, Switch); 13] = [
    ("reachable-ok", "no-reachable-ok", |w| &mut w.reachable_ok),
    ("source-owner-ok", "no-source-owner-ok", |w| &mut w.source_owner_ok),
    ("no-passthrough", "passthrough", |w| &mut w.no_passthrough),
    ("no-io-uring", "io-uring", |w| &mut w.no_io_uring),
    ("ro", "rw", |w| &mut w.read_only),
    ("nosuid", "suid", |w| &mut w.nosuid),
    ("nodev", "dev", |w| &mut w.nodev),
    ("noexec", "exec", |w| &mut w.noexec),
    ("nosymfollow", "symfollow", |w| &mut w.nosymfollow),
    ("noatime", "atime", |w| &mut w.noatime),
    ("relatime", "norelatime", |w| &mut w.relatime),
    ("strictatime", "nostrictatime", |w| &mut w.strictatime),
    ("nodiratime", "diratime", |w| &mut w.nodiratime),
];

/// What is so in any case, or is for mount(8), systemd and the like and not for us.
const IGNORED: [&str; 16] = [
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "nouser",
    "nogroup",
    "noowner",
    "async",
    "nomand",
    "loud",
    "silent",
    "nolazytime",
    "noiversion",
    "allow_other",
    "default_permissions",
];

/// mount(8): these imply noexec, nosuid and nodev, unless a later option says otherwise.
const FOR_USERS: [&str; 4] = ["user", "users", "owner", "group"];

/// What mount(8) knows and we do not offer, and what to do instead.
const REFUSED: [(&str, &str); 7] = [
    ("remount", "mount -i -o remount,... changes a mount without its server"),
    ("bind", "mount --bind needs no type"),
    ("sync", "fsync(2) and O_SYNC reach the source"),
    ("dirsync", "fsync(2) of a directory reaches the source"),
    ("mand", "Linux has no mandatory locks since 5.15"),
    ("iversion", "it is the source's to have"),
    ("lazytime", "times are the source's: mount that so"),
];

const THREADS: std::ops::RangeInclusive<usize> = 1..=64;

impl Wanted {
    /// Reads one list of options; later ones win. With `sloppy` an unknown option is ignored (mount
    /// -s).
    ///
    /// # Errors
    /// [`Failure::Input`] with EINVAL for an option that is unknown, not offered, or has a bad
    /// value; nothing of the list is taken then.
    pub(crate) fn take(&mut self, list: &OsStr, sloppy: bool) -> Result<(), Failure> {
        let mut next = self.clone();
        let named = |option: &[u8]| !option.is_empty();
        for option in list.as_bytes().split(|byte| *byte == b',').filter(|option| named(option)) {
            let known = std::str::from_utf8(option).ok().map(|text| next.one(text));
            match known.unwrap_or_else(|| Err(UNKNOWN.to_owned())) {
                Err(problem) if !sloppy || problem != UNKNOWN => {
                    let option = OsStr::from_bytes(option).quote().to_string();
                    let what = format!("mount option {option}");
                    return Err(Failure::Input { what, problem, errno: EINVAL });
                }
                _ => {}
            }
        }
        *self = next;
        Ok(())
    }

    fn one(&mut self, option: &str) -> Result<(), String> {
        if let Some(policy) = self.policy.set(option) {
            self.policy = policy;
            return Ok(());
        }
        if option.starts_with("busy=") {
            let values: Vec<_> = Busy::ALL.iter().map(|busy| busy.name()).collect();
            return Err(format!("takes one of {}", values.join(", ")));
        }
        for (on, off, switch) in SWITCHES {
            if option == on || option == off {
                *switch(self) = option == on;
                return Ok(());
            }
        }
        if let Some((_, instead)) = REFUSED.iter().find(|(name, _)| *name == option) {
            return Err(format!("is not offered ({instead})"));
        }
        if FOR_USERS.contains(&option) || option.starts_with("user=") {
            (self.noexec, self.nosuid, self.nodev) = (true, true, true);
            return Ok(());
        }
        if let Some(number) = option.strip_prefix("threads=") {
            let number = number.parse().ok().filter(|number| THREADS.contains(number));
            self.threads = Some(number.ok_or("takes a number from 1 to 64")?);
            return Ok(());
        }
        let outward = ["x-", "X-", "comment="].iter().any(|prefix| option.starts_with(prefix));
        if outward || IGNORED.contains(&option) { Ok(()) } else { Err(UNKNOWN.to_owned()) }
    }

    /// The same as one list of options.
    pub(crate) fn to_list(&self) -> String {
        let mut list = String::from("defaults");
        for setting in
            self.policy.settings().filter(|it| Policy::ARRAYS.set(it.name) != Some(Policy::ARRAYS))
        {
            list.push(',');
            list.push_str(setting.name);
        }
        let mut copy = self.clone();
        for (on, _, switch) in SWITCHES {
            if *switch(&mut copy) {
                list.push(',');
                list.push_str(on);
            }
        }
        if let Some(threads) = self.threads {
            let _ = write!(list, ",threads={threads}");
        }
        list
    }
}

const UNKNOWN: &str = "is unknown";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(list: &str) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        wanted.take(list.as_ref(), false).map_err(|failure| failure.to_string())?;
        Ok(wanted)
    }

    #[test]
    fn later_options_win() {
        assert_eq!(wanted("ro,rw,,defaults"), Ok(Wanted::default()));
        assert!(wanted("rw,ro").unwrap().read_only);
        let user = wanted("user,exec,suid,dev").unwrap();
        assert_eq!(user, Wanted::default());
        let user = wanted("exec,user").unwrap();
        assert!(user.noexec && user.nosuid && user.nodev);
        assert_eq!(wanted("user=alice"), Ok(user));
    }

    #[test]
    fn a_list_says_all_that_was_taken() {
        for list in [
            "",
            "single,same-ok,threads=3,ro",
            "busy=replace",
            "array,busy=error",
            "reachable-ok,source-owner-ok,no-passthrough,no-io-uring,nosuid,nodev,noexec,nosymfollow",
            "noatime,nodiratime,relatime,strictatime",
        ] {
            let once = wanted(list).unwrap();
            assert_eq!(wanted(&once.to_list()), Ok(once));
        }
    }

    #[test]
    fn what_is_for_others_is_passed_over_and_the_unknown_is_named() {
        let others = "_netdev,noauto,nofail,x-systemd.automount,X-mount.mkdir,comment=hi,silent";
        assert_eq!(wanted(others), Ok(Wanted::default()));
        for (list, part) in [
            ("ro,sames-ok", "'sames-ok': is unknown: EINVAL"),
            ("threads=0", "from 1 to 64"),
            ("threads=", "from 1 to 64"),
            ("threads=65", "from 1 to 64"),
            ("threads", "is unknown"),
            ("busy=", "one of error, same-ok, replace"),
            ("busy=maybe", "one of error, same-ok, replace"),
            ("sync", "is not offered"),
            ("remount,ro", "mount -i"),
            ("same-ok=1", "is unknown"),
            ("a\nb", "is unknown"),
        ] {
            let error = wanted(list).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{list}: {error}");
        }
        let mut sloppy = Wanted::default();
        assert!(sloppy.take("nonsense,ro".as_ref(), true).is_ok() && sloppy.read_only);
        assert!(sloppy.take("threads=x".as_ref(), true).is_err());
        // Nothing of a bad list is taken.
        assert!(sloppy.take("rw,nonsense".as_ref(), false).is_err() && sloppy.read_only);
        let bytes = OsStr::from_bytes(b"\xff");
        assert!(sloppy.take(bytes, false).unwrap_err().to_string().contains("is unknown"));
    }
}
