// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tasks of a ground.

use crate::scenario::{INIT, Task, TaskSets};

/// The root kuids of the two containers.
pub(crate) const ROOT_OF_A: u32 = 100_000;
pub(crate) const ROOT_OF_B: u32 = 200_000;

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    Host,
    A,
    B,
}

/// A task: where it is, its uid and gid there, its capabilities there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Who(pub(crate) At, pub(crate) u32, pub(crate) &'static str);

pub(crate) const HOST: Who = Who(At::Host, 0, "all");
pub(crate) const HOST_USER: Who = Who(At::Host, 1000, "none");
pub(crate) const ROOT_A: Who = Who(At::A, 0, "all");
pub(crate) const ROOT_B: Who = Who(At::B, 0, "all");
/// Owns the files that are attacked.
pub(crate) const OWNER_A: Who = Who(At::A, 7, "none");
pub(crate) const USER_A: Who = Who(At::A, 8, "none");
pub(crate) const USER_B: Who = Who(At::B, 8, "none");

/// The kuid of [`OWNER_A`].
pub(crate) const OWNER: u32 = ROOT_OF_A + 7;

impl Who {
    /// The same as a scenario's task.
    pub(crate) fn task(self) -> Task {
        let Who(at, id, caps) = self;
        let none = || "none".to_owned();
        Task {
            ns: if at == At::Host { INIT } else { "container" }.to_owned(),
            uids: [id; 3],
            gids: [id; 3],
            groups: Vec::new(),
            sets: TaskSets {
                permitted: caps.to_owned(),
                effective: caps.to_owned(),
                inheritable: none(),
                ambient: none(),
                bounding: "all".to_owned(),
            },
            securebits: 0,
            no_new_privs: false,
            traced: false,
            shared_fs: false,
            pid_ns: false,
        }
    }
}
