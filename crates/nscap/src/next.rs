// SPDX-License-Identifier: MIT OR Apache-2.0
//! The next step after a no: what the user can do, in one phrase.

use std::path::Path;

use nscap_core::Why;

use crate::out;

/// After EPERM or EROFS of a rule.
pub(crate) fn after(why: Why, path: &Path) -> Option<String> {
    let file = out::path(path);
    Some(match why {
        Why::NoSetfcap => {
            "be root of this user namespace, or have cap_setfcap in the effective set".to_owned()
        }
        Why::NoRootKuid => {
            "run it where uid 0 is mapped, or from the parent namespace with --for".to_owned()
        }
        Why::KuidNotOurs => "run it on the host, or in a namespace that maps that kuid".to_owned(),
        Why::OwnerUnmapped | Why::GroupUnmapped | Why::IdsUnmapped => {
            "run it on the host with --for, or chown the file there to ids of this namespace"
                .to_owned()
        }
        Why::RootOfAncestor => "run the same command in the parent namespace".to_owned(),
        Why::NotOursToRemove => {
            format!(
                "nscap get {file} on the host says whose it is; nscap rm --for removes it there"
            )
        }
        Why::Immutable => {
            format!("lsattr {file} shows i or a; chattr -i -a {file} as root of the host")
        }
        Why::ReadOnly => "mount it read-write, or change the source of the mount".to_owned(),
        Why::KernelNotPrivileged | Why::KernelSysAdmin => {
            "run it on the host with --for".to_owned()
        }
        _ => return None,
    })
}

/// After EPERM that only the kernel gives: a table beside a companion needs CAP_SYS_ADMIN over the
/// superblock, and seccomp filters and security modules have the last word.
pub(crate) fn after_the_kernel(path: &Path) -> String {
    format!(
        "the rules allow it and the kernel does not: a second entry for {} needs CAP_SYS_ADMIN over its file \
         system, so run it on the host with --for; or a seccomp filter or security module refuses",
        out::path(path)
    )
}
