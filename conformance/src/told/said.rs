// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command says, as far as it is held against execve(2).

use nscap_core::CapSet;
use serde::Deserialize;

use crate::outcome::{Executed, Outcome, show_errno};

/// One thing that may come of an execve(2).
#[derive(Debug, Deserialize)]
pub(crate) struct End {
    after: Option<Sets>,
    secure: bool,
    errno: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sets {
    inheritable: Vec<String>,
    permitted: Vec<String>,
    effective: Vec<String>,
    bounding: Vec<String>,
    ambient: Vec<String>,
    uids: [Option<u32>; 3],
    gids: [Option<u32>; 3],
}

/// The answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    #[serde(flatten)]
    end: End,
    otherwise: Vec<End>,
    pub(crate) complete: Option<bool>,
}

impl Said {
    /// Whether that may come, as the command says.
    pub(crate) fn allows(&self, came: &Outcome) -> bool {
        std::iter::once(&self.end).chain(&self.otherwise).any(|end| end.is(came))
    }
}

impl End {
    fn is(&self, came: &Outcome) -> bool {
        match came {
            Outcome::Failed(errno) => self.errno.as_deref() == Some(&show_errno(*errno)),
            Outcome::Executed(executed) => {
                self.errno.is_none()
                    && self.secure == executed.secure
                    && self.after.as_ref().is_some_and(|after| after.is(executed))
            }
            _ => false,
        }
    }
}

impl Sets {
    fn is(&self, came: &Executed) -> bool {
        let said =
            [&self.permitted, &self.effective, &self.inheritable, &self.ambient, &self.bounding];
        let same = |said: &[Option<u32>; 3], came: &[u32; 3]| {
            said.iter().zip(came).all(|(said, came)| said.is_none_or(|said| said == *came))
        };
        said.iter().zip(came.sets).all(|(said, came)| **said == names(came))
            && same(&self.uids, &came.uids)
            && same(&self.gids, &came.gids)
    }
}

fn names(bits: u64) -> Vec<String> {
    let set = CapSet::from_bits(bits);
    if set.is_empty() {
        return Vec::new();
    }
    set.to_string().split(',').map(str::to_owned).collect()
}
