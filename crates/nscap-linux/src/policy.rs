// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the running kernel decides by the design, by which policy, and how the design came
//! there: built in, or as the module of `kernel/module`.

use std::path::Path;
use std::sync::OnceLock;

use nscap_core::{Policy, SYSCTLS};

/// The design in a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Design {
    /// The kernel was built with it: the reference kernel.
    BuiltIn(Policy),
    /// The module is loaded. It has a version where /sys/module/nscap/version can be read.
    Module {
        /// As the module says it.
        version: Option<String>,
        /// A and B.
        policy: Policy,
    },
    /// An administrator has asked for the module (modules-load.d(5)), and it is not loaded: an
    /// unmodified kernel's rules hold.
    Missing,
}

/// Where modules-load.d(5) looks, the first one before the others.
const LOADED_AT_BOOT: [&str; 4] = [
    "etc/modules-load.d/nscap.conf",
    "run/modules-load.d/nscap.conf",
    "usr/local/lib/modules-load.d/nscap.conf",
    "usr/lib/modules-load.d/nscap.conf",
];

impl Design {
    /// Asks the running kernel, and whether the module should be in it; `None` where it is an
    /// unmodified one and nothing asks for more.
    ///
    /// ```
    /// use nscap_linux::{Design, kernel_policy};
    /// let decides = !matches!(Design::here(), None | Some(Design::Missing));
    /// assert_eq!(decides, kernel_policy().is_some());
    /// ```
    #[must_use]
    pub fn here() -> Option<Design> {
        Design::below(Path::new("/"))
    }

    fn below(root: &Path) -> Option<Design> {
        let Some(policy) = policy(root) else {
            let asked =
                LOADED_AT_BOOT.iter().map(|file| root.join(file)).find(|file| file.exists());
            // An administrator masks such a file with an empty one, or with /dev/null.
            let words = std::fs::read_to_string(asked?).unwrap_or_default();
            return words.lines().any(|line| line.trim() == "nscap").then_some(Design::Missing);
        };
        // What is built in is not listed, and may still have parameters below /sys/module.
        let modules = std::fs::read_to_string(root.join("proc/modules")).unwrap_or_default();
        if !modules.lines().any(|line| line.starts_with("nscap ")) {
            return Some(Design::BuiltIn(policy));
        }
        let version = std::fs::read_to_string(root.join("sys/module/nscap/version")).ok();
        Some(Design::Module { version: version.map(|text| text.trim().to_owned()), policy })
    }
}

/// The policy (A, B) of a kernel that decides by the design itself, as the reference kernel in
/// `kernel/` does, and each one with the module loaded; `None` on an unmodified one.
///
/// ```
/// let reference = std::path::Path::new("/proc/sys/kernel/nscap_array").exists();
/// assert_eq!(nscap_linux::kernel_policy().is_some(), reference);
/// ```
#[must_use]
pub fn kernel_policy() -> Option<Policy> {
    policy(Path::new("/"))
}

/// Whether the kernel that runs decides by the design. Asked once: a module that is loaded later is
/// seen by the next process.
pub(crate) fn kernel_decides() -> bool {
    static KERNEL: OnceLock<bool> = OnceLock::new();
    *KERNEL.get_or_init(|| kernel_policy().is_some())
}

fn policy(root: &Path) -> Option<Policy> {
    let number = |file: &str| {
        let file = root.join(file.trim_start_matches('/'));
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    Some(Policy::of_numbers((number(SYSCTLS.0)?, number(SYSCTLS.1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        root
    }

    const SWITCHES: [(&str, &str); 2] =
        [("proc/sys/kernel/nscap_array", "1\n"), ("proc/sys/kernel/nscap_busy", "2\n")];

    fn policy() -> Policy {
        Policy::of_numbers((1, 2))
    }

    #[test]
    fn a_module_is_listed_and_has_a_version() {
        let [array, busy] = SWITCHES;
        let listed =
            ("proc/modules", "fuse 1 1 - Live 0x0\nnscap 98304 0 [permanent], Live 0x0 (OE)\n");
        let version = ("sys/module/nscap/version", "0.1.0\n");
        let parameter = ("sys/module/nscap/parameters/array", "Y\n");
        let all = root(&[array, busy, parameter, listed, version]);
        let design = Design::Module { version: Some("0.1.0".to_owned()), policy: policy() };
        assert_eq!(Design::below(all.path()), Some(design));
        let unnamed = root(&[array, busy, listed]);
        let design = Design::Module { version: None, policy: policy() };
        assert_eq!(Design::below(unnamed.path()), Some(design));
        let others = ("proc/modules", "nscapital 4096 0 - Live 0x0\n");
        let built_in = root(&[array, busy, parameter, others]);
        assert_eq!(Design::below(built_in.path()), Some(Design::BuiltIn(policy())));
    }

    #[test]
    fn what_was_asked_for_and_is_not_loaded_is_missing() {
        let [array, busy] = SWITCHES;
        assert_eq!(Design::below(root(&[]).path()), None);
        // Half of the switches is no policy.
        assert_eq!(Design::below(root(&[array]).path()), None);
        for dir in ["etc", "run", "usr/local/lib", "usr/lib"] {
            let asked = root(&[(&format!("{dir}/modules-load.d/nscap.conf"), "# early\nnscap\n")]);
            assert_eq!(Design::below(asked.path()), Some(Design::Missing), "{dir}");
        }
        let (etc, usr) = ("etc/modules-load.d/nscap.conf", "usr/lib/modules-load.d/nscap.conf");
        assert_eq!(Design::below(root(&[(etc, "#nscap\n"), (usr, "nscap\n")]).path()), None);
        let loaded = root(&[array, busy, (etc, "nscap\n")]);
        assert_eq!(Design::below(loaded.path()), Some(Design::BuiltIn(policy())));
    }
}
