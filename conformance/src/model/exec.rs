// SPDX-License-Identifier: MIT OR Apache-2.0
//! execve(2), X: the file that decides, and the new credentials.

use nscap_core::{Program, System, bare, exec};

use super::task::{shown_gid, shown_uid};
use super::{Inode, Model, Rules};
use crate::outcome::{Executed, Outcome};
use crate::scenario::Content;
use crate::text::Problem;
use crate::tree::Ns;

/// How many scripts in a row the kernel follows.
const SCRIPTS: usize = 5;

impl Model<'_> {
    pub(super) fn exec(&self, by: &str, file: &str) -> Result<Outcome, Problem> {
        let proc = self.proc(by)?;
        let task = proc.exec_task(&self.tree);
        let system = System { kernel: self.machine.kernel, no_file_caps: false };
        let mut inode = self.inode(file)?;
        for _ in 0..=SCRIPTS {
            let Content::Script(interpreter) = &inode.content else { break };
            // For a script only its permission to be executed matters.
            if let Err(no) = bare::exec(system, &task, &self.program(inode), None) {
                return Ok(Outcome::Failed(no.errno.raw()));
            }
            if !self.names.contains_key(interpreter) {
                return Ok(Outcome::Failed(libc::ENOENT));
            }
            inode = self.inode(interpreter)?;
        }
        if let Content::Script(_) = inode.content {
            return Ok(Outcome::Failed(libc::ELOOP));
        }
        let program = self.program(inode);
        let cap = inode.attributes.cap.as_deref();
        let result = match self.rules {
            Rules::Design => exec(system, &task, &program, &self.held(inode)),
            Rules::Bare => bare::exec(system, &task, &program, cap),
        };
        let executed = match result {
            Ok(executed) => executed,
            Err(no) => return Ok(Outcome::Failed(no.errno.raw())),
        };
        let new = executed.cred;
        let sets = [new.permitted, new.effective, new.inheritable, new.ambient, new.bounding];
        Ok(Outcome::Executed(Executed {
            uids: [new.uid, new.euid, new.suid].map(|kuid| shown_uid(new.ns, kuid)),
            gids: [new.gid, new.egid, new.sgid].map(|kgid| shown_gid(new.ns, kgid)),
            sets: sets.map(nscap_core::CapSet::bits),
            secure: executed.secure,
            no_new_privs: proc.no_new_privs,
            securebits: new.securebits.0,
        }))
    }

    fn program(&self, inode: &Inode) -> Program<Ns<'_>> {
        let fs = self.fs();
        Program {
            inode: self.view(inode),
            mode: inode.mode,
            by_acl: None,
            nosuid: fs.nosuid,
            noexec: fs.noexec,
            foreign: fs.foreign,
        }
    }
}
