// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names that a manager knows now, for completions.

use super::{Managed, Manager};
use crate::error::Result;

impl Manager {
    /// Which one a text is of, by what its names begin with.
    ///
    /// ```
    /// use nscap_linux::Manager;
    /// assert_eq!(Manager::of("podman:w"), Some(Manager::Podman));
    /// assert_eq!(Manager::of("podman"), None);
    /// ```
    #[must_use]
    pub fn of(text: &str) -> Option<Manager> {
        Manager::ALL.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, own)| *own)
    }

    /// What the names begin with of each whose command is in PATH.
    ///
    /// ```
    /// assert!(nscap_linux::Manager::installed().all(|prefix| prefix.ends_with(':')));
    /// ```
    pub fn installed() -> impl Iterator<Item = &'static str> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<_> = std::env::split_paths(&path).collect();
        let is_there =
            move |own: &Manager| dirs.iter().any(|dir| dir.join(own.program()).is_file());
        Manager::ALL.iter().filter(move |(_, own)| is_there(own)).map(|(prefix, _)| *prefix)
    }

    /// What it runs, each as WHO has it. None of Kubernetes: crictl gives the three parts of a name
    /// in no form that it promises.
    ///
    /// # Errors
    /// [`crate::Error::Who`] where its command is missing or says no.
    ///
    /// ```no_run
    /// for name in nscap_linux::Manager::Podman.names()? {
    ///     println!("{name}");
    /// }
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn names(self) -> Result<Vec<String>> {
        let asked: &[&str] = match self {
            Manager::Podman | Manager::Docker => &["ps", "--format", "{{.Names}}"],
            Manager::Incus => &["list", "status=running", "--format", "csv", "--columns", "n"],
            Manager::Kube => return Ok(Vec::new()),
            Manager::Machine => &["list", "--no-legend", "--no-pager"],
            Manager::Unit => &[
                "list-units",
                "--type=service",
                "--state=running",
                "--plain",
                "--no-legend",
                "--no-pager",
            ],
        };
        let text = Managed { manager: self, name: String::new() }.run(asked)?;
        let first =
            |line: &str| line.split([' ', ',']).find(|word| !word.is_empty()).map(str::to_owned);
        let names = text.lines().filter_map(first);
        let whole = names.map(|name| format!("{}{name}", self.prefix()));
        Ok(whole.filter(|who| matches!(Managed::parse(who), Some(Ok(_)))).collect())
    }
}
