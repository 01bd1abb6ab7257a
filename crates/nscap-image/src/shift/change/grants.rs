// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities of an inode during its change: their state, and steps 2 and 5 of the order.

use nscap_core::Stored;
use nscap_core::storage::{Seal, takes_away};
use nscap_linux::FileState;

use super::super::error::Result;
use super::super::inode::Granting;
use super::super::record::{GrantChange, Grants};
use super::super::watch::CrashPoint;
use super::InodeChange;

/// The state of a file's capabilities during a shift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GrantState {
    /// The old ones.
    Before,
    /// The planned ones.
    After,
    /// None, although the old or the planned state has some.
    Nothing,
    /// Others.
    Other,
}

impl InodeChange<'_> {
    pub(super) fn held(&self, state: &FileState) -> GrantState {
        let nothing = state.capability.is_none() && state.hidden.is_none();
        let Some(grants) = &self.change.grants else {
            return if nothing && state.table.is_none() { self.goal() } else { GrantState::Other };
        };
        let (stored, seal) = state.stored(self.namespaces);
        let sealed = !matches!(seal, Seal::Void(_));
        let now = Grants::of(&stored);
        let before = (&state.capability, &state.table) == (&grants.capability, &grants.table);
        let after = sealed && now.as_ref() == Some(&grants.after);
        // Both are true if the file had only a table that is void: then the goal decides.
        match (before, after) {
            (true, true) => self.goal(),
            (true, false) => GrantState::Before,
            (false, true) => GrantState::After,
            // A run that was killed between two steps can leave a table alone.
            (false, false) if nothing || self.is_part_of_the_goal(state, &stored) => {
                GrantState::Nothing
            }
            (false, false) => GrantState::Other,
        }
    }

    /// Writes the capabilities; `false` if another task changed them meanwhile.
    pub(super) fn grant(&mut self, granting: &Granting) -> Result<bool> {
        let state = granting.state(self.tree, self.namespaces)?;
        let Some(grants) = &self.change.grants else {
            return Ok(true);
        };
        if self.held(&state) == self.goal() {
            return Ok(true);
        }
        if self.back {
            return self.restore(granting, &state);
        }
        let watch = &mut *self.watch;
        let written = granting.file.write_observed(
            &state,
            &grants.after.stored(),
            self.namespaces,
            &mut |_| watch.step(CrashPoint::Granted),
        );
        match written {
            Ok(()) => Ok(true),
            Err(nscap_linux::Error::Changed { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a run that was killed left a part of the goal: where an enforcer of the rules decides,
    /// the host value and the entries are written one after the other.
    fn is_part_of_the_goal(&self, state: &FileState, now: &Stored<'_>) -> bool {
        let Some(grants) = self.change.grants.as_ref().filter(|_| state.by_design()) else {
            return false;
        };
        let goal = if self.back { self.before(grants, state) } else { grants.after.stored() };
        !self.settled && takes_away(&goal, now)
    }

    /// The grants before the shift, from the bytes that would have been stored with the old owner.
    fn before<'g>(&self, grants: &'g GrantChange, state: &FileState) -> Stored<'g> {
        let (capability, table) = (grants.capability.as_deref(), grants.table.as_deref());
        state.would_mean(capability, table, self.namespaces).0
    }

    /// Asks an enforcer of the rules for the old grants: it alone stores them.
    fn ask_for_what_was(&mut self, granting: &Granting, state: &FileState) -> Result<bool> {
        let Some(grants) = &self.change.grants else {
            return Ok(true);
        };
        let before = self.before(grants, state);
        match granting.file.write(state, &before, self.namespaces) {
            Ok(()) => self.watch.step(CrashPoint::Granted),
            Err(nscap_linux::Error::Changed { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Writes back the old bytes. The table comes first: it is void without its companion.
    fn restore(&mut self, granting: &Granting, state: &FileState) -> Result<bool> {
        if state.by_design() {
            return self.ask_for_what_was(granting, state);
        }
        let Some(grants) = &self.change.grants else {
            return Ok(true);
        };
        let table = grants.table.clone().map(nscap_linux::OwnedStep::SetTable);
        let capability = grants.capability.clone().map(nscap_linux::OwnedStep::CreateCapability);
        for step in [table, capability].into_iter().flatten() {
            match granting.file.take(&step, state, self.namespaces) {
                Ok(()) => self.watch.step(CrashPoint::Granted),
                Err(nscap_linux::Error::Changed { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    pub(super) fn grants_stay(&self, granting: &Granting, keep: bool) -> Result<bool> {
        let state = granting.state(self.tree, self.namespaces)?;
        Ok(if keep { self.held(&state) == self.goal() } else { is_empty(&state) })
    }
}

pub(super) fn is_empty(state: &FileState) -> bool {
    state.capability.is_none() && state.table.is_none() && state.hidden.is_none()
}
