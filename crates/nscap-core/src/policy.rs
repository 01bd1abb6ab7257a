// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy: what the eight points leave to an administrator (clauses A and B). One table of
//! settings; every front end reads it: the command line, mount options, sysctls, the conformance
//! suite. A new value is a row here and its meaning in `write`.

/// What a write does where the stored entry for that root kuid is in its way (B).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Busy {
    /// EBUSY: remove, then set. The eight points say so.
    #[default]
    Error,
    /// EBUSY, unless the stored entry is equal: then the write succeeds and changes nothing.
    SameOk,
    /// The write takes the place of the stored entry, in one step.
    Replace,
}

impl Busy {
    /// Every value, in the order of their numbers (`kernel.nscap_busy`).
    pub const ALL: [Busy; 3] = [Busy::Error, Busy::SameOk, Busy::Replace];

    /// The value with this name: `error`, `same-ok` or `replace`.
    ///
    /// ```
    /// use nscap_core::Busy;
    /// assert_eq!(Busy::named("replace"), Some(Busy::Replace));
    /// assert_eq!(Busy::named("replac"), None);
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Busy> {
        Busy::ALL.into_iter().find(|busy| busy.name() == name)
    }

    /// The value with this number; [`Busy::Error`] for a number that no value has, since that
    /// allows least.
    ///
    /// ```
    /// use nscap_core::Busy;
    /// assert_eq!(Busy::numbered(1), Busy::SameOk);
    /// assert_eq!(Busy::numbered(200), Busy::Error);
    /// ```
    #[must_use]
    pub fn numbered(number: u32) -> Busy {
        Busy::ALL.into_iter().find(|busy| busy.number() == number).unwrap_or_default()
    }

    /// Its number.
    ///
    /// ```
    /// use nscap_core::Busy;
    /// assert_eq!(Busy::Replace.number(), 2);
    /// ```
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Its name.
    ///
    /// ```
    /// use nscap_core::Busy;
    /// assert_eq!(Busy::SameOk.name(), "same-ok");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Busy::Error => "error",
            Busy::SameOk => "same-ok",
            Busy::Replace => "replace",
        }
    }
}

/// What a front end leaves to its administrator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub struct Policy {
    /// A: one entry for each root kuid instead of one entry.
    pub array: bool,
    /// B: what a write does where an entry is in its way.
    pub busy: Busy,
}

/// One setting, as an administrator writes it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: a mount option, as it is.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    apply: fn(Policy) -> Policy,
}

impl Setting {
    const fn new(name: &'static str, about: &'static str, apply: fn(Policy) -> Policy) -> Setting {
        Setting { name, about, apply }
    }
}

/// Every setting.
pub const SETTINGS: [Setting; 5] = [
    Setting::new("array", "one entry for each root kuid (A)", |policy| policy.with_array(true)),
    Setting::new("single", "one entry a file (R2)", |policy| policy.with_array(false)),
    Setting::new("busy=error", "EBUSY where an entry exists (B)", |policy| {
        policy.with_busy(Busy::Error)
    }),
    Setting::new("busy=same-ok", "an equal write succeeds (B)", |policy| {
        policy.with_busy(Busy::SameOk)
    }),
    Setting::new("busy=replace", "a write replaces the entry (B)", |policy| {
        policy.with_busy(Busy::Replace)
    }),
];

/// Other names of settings.
pub const ALIASES: [(&str, &str); 2] = [("same-ok", "busy=same-ok"), ("no-same-ok", "busy=error")];

/// The sysctls of a kernel that decides by the design: A, then B ([`Policy::numbers`]).
pub const SYSCTLS: (&str, &str) = ("/proc/sys/kernel/nscap_array", "/proc/sys/kernel/nscap_busy");

impl Policy {
    /// The eight points to the letter: one entry, EBUSY.
    pub const SEED: Policy = Policy { array: false, busy: Busy::Error };
    /// Arrays, and EBUSY: what a mount has by default.
    pub const ARRAYS: Policy = Policy { array: true, busy: Busy::Error };

    /// The same with arrays, or without.
    ///
    /// ```
    /// use nscap_core::Policy;
    /// assert_eq!(Policy::SEED.with_array(true), Policy::ARRAYS);
    /// ```
    #[must_use]
    pub const fn with_array(self, array: bool) -> Policy {
        Policy { array, ..self }
    }

    /// The same with another answer to an entry that is in the way.
    ///
    /// ```
    /// use nscap_core::{Busy, Policy};
    /// assert_eq!(Policy::SEED.with_busy(Busy::Replace).busy, Busy::Replace);
    /// ```
    #[must_use]
    pub const fn with_busy(self, busy: Busy) -> Policy {
        Policy { busy, ..self }
    }

    /// The policy after the setting with this name; `None` where no setting has it.
    ///
    /// ```
    /// use nscap_core::{Busy, Policy};
    /// let policy = Policy::ARRAYS.set("busy=replace").and_then(|policy| policy.set("single"));
    /// assert_eq!(policy, Some(Policy::SEED.with_busy(Busy::Replace)));
    /// assert_eq!(Policy::ARRAYS.set("busy"), None);
    /// ```
    #[must_use]
    pub fn set(self, name: &str) -> Option<Policy> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, long)| long);
        let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
        Some((setting.apply)(self))
    }

    /// The settings that make this policy of any other: one for A, one for B.
    ///
    /// ```
    /// use nscap_core::Policy;
    /// let names: Vec<_> = Policy::ARRAYS.settings().map(|setting| setting.name).collect();
    /// assert_eq!(names, ["array", "busy=error"]);
    /// ```
    pub fn settings(self) -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(move |setting| (setting.apply)(self) == self)
    }

    /// The policy as the numbers of `kernel.nscap_array` and `kernel.nscap_busy`.
    ///
    /// ```
    /// use nscap_core::{Busy, Policy};
    /// assert_eq!(Policy::ARRAYS.with_busy(Busy::SameOk).numbers(), (1, 1));
    /// ```
    #[must_use]
    pub fn numbers(self) -> (u32, u32) {
        (self.array.into(), self.busy.number())
    }

    /// The policy of these numbers.
    ///
    /// ```
    /// use nscap_core::Policy;
    /// assert_eq!(Policy::of_numbers((1, 0)), Policy::ARRAYS);
    /// ```
    #[must_use]
    pub fn of_numbers((array, busy): (u32, u32)) -> Policy {
        Policy { array: array != 0, busy: Busy::numbered(busy) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn each_policy_is_made_by_its_settings_and_its_numbers() {
        for array in [false, true] {
            for busy in Busy::ALL {
                let policy = Policy { array, busy };
                let made = policy
                    .settings()
                    .try_fold(Policy::default(), |made, setting| made.set(setting.name));
                assert_eq!(made, Some(policy));
                assert_eq!(policy.settings().count(), 2);
                assert_eq!(Policy::of_numbers(policy.numbers()), policy);
                assert_eq!(Busy::named(busy.name()), Some(busy));
            }
        }
    }

    #[test]
    fn a_name_is_one_setting() {
        let aliases = ALIASES.iter().map(|(alias, _)| *alias);
        let mut names: Vec<_> = SETTINGS.iter().map(|it| it.name).chain(aliases).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len() + ALIASES.len());
        for (alias, long) in ALIASES {
            assert!(Policy::SEED.set(alias).is_some() && names.contains(&long));
        }
        for (number, busy) in (0..).zip(Busy::ALL) {
            assert_eq!(busy.number(), number);
            assert!(names.contains(&std::format!("busy={}", busy.name()).as_str()));
        }
    }
}
