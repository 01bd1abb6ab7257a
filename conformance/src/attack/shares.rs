// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fair shares: whatever one caller blocks (an inode lock, a disk that does not answer, a fanotify
//! listener, a lease), others look names up, open and read as if it were not there.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, Uid, openat};
use rustix::process::Signal;

use crate::case::{Case, Setting, Why};
use crate::ground::{At, CAP, HOST, HOST_USER, Who, open};
use crate::live::hold::{self, Frozen, Listener};
use crate::live::peer::{Peer, say, until_end};

mod others;

use others::{
    Doing, On, attackers, change_mode, failed, files, ground, others_go_on, user, wait_until_calm,
};

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "an-inode-that-is-locked-without-end",
        clauses: &["K"],
        about: "a direct read that never ends holds the inode lock of its reader's own file, and a dozen opens of it wait; others go on",
        both_ways: false,
        play: locked_inode,
    },
    Case {
        name: "requests-that-last-on-one-processor",
        clauses: &["K"],
        about: "a dozen requests on processor 0 wait for a disk; others on processor 0 go on",
        both_ways: true,
        play: one_processor,
    },
    Case {
        name: "two-hundred-requests-that-last",
        clauses: &["K"],
        about: "so many of one user, and many of a container with forty users; others go on, and all succeed in the end",
        both_ways: true,
        play: many,
    },
    Case {
        name: "a-killed-task-whose-request-waits",
        clauses: &["K"],
        about: "it goes away although what it waits for does not come",
        both_ways: false,
        play: killed,
    },
    Case {
        name: "more-requests-than-may-wait",
        clauses: &["K"],
        about: "EAGAIN for their user, and for no other's",
        both_ways: false,
        play: too_many,
    },
    Case {
        name: "a-listener-that-does-not-answer",
        clauses: &["K"],
        about: "opens of the source wait for fanotify's permission; lookups of others go on",
        both_ways: true,
        play: listener,
    },
    Case {
        name: "a-lease-of-another's",
        clauses: &["K"],
        about: "opens of the source wait for a lease to be given up; others go on",
        both_ways: true,
        play: lease,
    },
    Case {
        name: "writers-that-sync",
        clauses: &["K"],
        about: "ten processes write 20 MiB and fsync again and again; the lookups of others go on",
        both_ways: true,
        play: sync_storm,
    },
];

/// Catches a server that opens, or takes a grant away, in a thread that others need.
fn locked_inode(setting: Setting) -> Result<(), Why> {
    const OPENS: usize = 12;
    let device = match open("/dev/userfaultfd", OFlags::RDWR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Why::Skipped("no /dev/userfaultfd".to_owned()));
        }
        device => device?,
    };
    let ground = ground(setting)?;
    let Who(_, owner, _) = HOST_USER;
    let path = ground.file("held", owner)?;
    ground.set(HOST, &path, CAP, "v2 cap_net_raw=ep")?;
    let mut reader = ground.start(HOST_USER, |line| {
        let file = open("held", OFlags::RDONLY | OFlags::DIRECT)?;
        say(line, "reads")?;
        hold::read_without_end(&device, &file)
    })?;
    reader.hear()?;
    wait_until_calm();
    let opening = |_| open("held", OFlags::RDWR).map(drop);
    let mut opens = attackers(&ground, HOST_USER, On::Processor0, OPENS, opening)?;
    wait_until_calm();
    let went_on = [On::Processor0, On::Any]
        .map(|on| others_go_on(&ground, "an inode is locked", Doing::LookAndOpen, on));
    rustix::process::kill_process(reader.pid, Signal::KILL)?;
    drop(reader);
    failed(&mut opens)?;
    went_on.into_iter().collect()
}

/// Catches a queue whose places all wait.
fn one_processor(setting: Setting) -> Result<(), Why> {
    const REQUESTS: usize = 12;
    let ground = ground(setting)?;
    let Who(_, owner, _) = HOST_USER;
    files(&ground, "f", owner, REQUESTS)?;
    let frozen = Frozen::new(ground.source())?;
    let change = |number| change_mode("f", number);
    let mut all = attackers(&ground, HOST_USER, On::Processor0, REQUESTS, change)?;
    wait_until_calm();
    let on = On::Processor0;
    let went_on = others_go_on(&ground, "a disk does not answer", Doing::LookAndOpen, on);
    drop(frozen);
    let failed = failed(&mut all)?;
    went_on?;
    if failed != (0, 0) {
        return Err(Why::Through(format!("EAGAIN and other errors: {failed:?}")));
    }
    Ok(())
}

/// Catches a bound that a legitimate program meets, and one that a container's users share with
/// all.
fn many(setting: Setting) -> Result<(), Why> {
    const REQUESTS: usize = 200;
    const USERS: u32 = 40;
    let ground = ground(setting)?;
    let Who(_, owner, _) = HOST_USER;
    files(&ground, "f", owner, REQUESTS)?;
    for uid in 0..USERS {
        files(&ground, &format!("a{uid}-"), crate::ground::ROOT_OF_A + uid, 3)?;
    }
    let frozen = Frozen::new(ground.source())?;
    let change = |number| change_mode("f", number);
    let mut all = vec![attackers(&ground, HOST_USER, On::Any, REQUESTS, change)?];
    for uid in 0..USERS {
        let change = move |number| change_mode(&format!("a{uid}-"), number);
        all.push(attackers(&ground, Who(At::A, uid, "none"), On::Any, 3, change)?);
    }
    wait_until_calm();
    let went_on = others_go_on(&ground, "a disk does not answer", Doing::LookAndOpen, On::Any);
    drop(frozen);
    let failed = all.iter_mut().map(failed).collect::<Result<Vec<_>, Why>>();
    went_on?;
    if let Some(failed) = failed?.into_iter().find(|failed| *failed != (0, 0)) {
        return Err(Why::Through(format!("EAGAIN and other errors: {failed:?}")));
    }
    Ok(())
}

/// Catches a request that waits where no signal reaches it, with a server that others can use.
fn killed(setting: Setting) -> Result<(), Why> {
    const TASKS: usize = 60;
    let ground = ground(setting)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("what waits for a disk cannot be killed".to_owned()));
    }
    let Who(_, owner, _) = HOST_USER;
    files(&ground, "f", owner, TASKS)?;
    let frozen = Frozen::new(ground.source())?;
    let change = |number| {
        ground.start(HOST_USER, move |line| {
            change_mode("f", number)?;
            say(line, "done")
        })
    };
    let all = (0..TASKS).map(change).collect::<io::Result<Vec<_>>>()?;
    wait_until_calm();
    let went_on = others_go_on(&ground, "a disk does not answer", Doing::LookAndOpen, On::Any);
    for task in &all {
        rustix::process::kill_process(task.pid, Signal::KILL)?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let is_gone = |task: &&Peer| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", task.pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
    };
    let gone = all.iter().filter(is_gone).count();
    drop(frozen);
    drop(all);
    went_on?;
    // Those that run are not to be interrupted; there are a dozen, and a few more after a while.
    if gone < TASKS / 2 {
        return Err(Why::Through(format!("of {TASKS} killed tasks {gone} are gone")));
    }
    Ok(())
}

/// Catches a bound that is all users' together.
fn too_many(setting: Setting) -> Result<(), Why> {
    const REQUESTS: usize = 700;
    let ground = ground(setting)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("there is no such bound".to_owned()));
    }
    let Who(_, owner, _) = HOST_USER;
    files(&ground, "f", owner, REQUESTS)?;
    files(&ground, "g", 2004, 20)?;
    let frozen = Frozen::new(ground.source())?;
    let change = |number| change_mode("f", number);
    let mut theirs = attackers(&ground, HOST_USER, On::Any, REQUESTS, change)?;
    std::thread::sleep(Duration::from_secs(1));
    let change = |number| change_mode("g", number);
    let mut ours = attackers(&ground, user(2004), On::Any, 20, change)?;
    wait_until_calm();
    let went_on = others_go_on(&ground, "a disk does not answer", Doing::LookAndOpen, On::Any);
    drop(frozen);
    let (theirs, ours) = (failed(&mut theirs), failed(&mut ours));
    went_on?;
    let (theirs, ours) = (theirs?, ours?);
    if theirs.0 == 0 || theirs.1 != 0 || ours != (0, 0) {
        let seen = format!("EAGAIN and others: {theirs:?} for their user, {ours:?} for another");
        return Err(Why::Through(seen));
    }
    Ok(())
}

/// Catches a lock of the server's that is held while the source is opened.
fn listener(setting: Setting) -> Result<(), Why> {
    const OPENS: usize = 12;
    let ground = ground(setting)?;
    let Who(_, owner, _) = HOST_USER;
    // Not by the mount: what the server has open is not opened again.
    for number in 0..OPENS {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = openat(ground.source(), format!("cold{number}"), flags, mode)?;
        rustix::fs::fchown(&file, Some(Uid::from_raw(owner)), None)?;
    }
    let mut listener = Peer::start(|line| {
        let listener = Listener::new(ground.source());
        say(
            line,
            &listener.as_ref().err().and_then(io::Error::raw_os_error).unwrap_or(0).to_string(),
        )?;
        until_end(line);
        listener.map(drop)
    })?;
    match listener.hear()?.as_str() {
        "0" => {}
        errno => {
            return Err(Why::Skipped(format!("no permission events of fanotify: errno {errno}")));
        }
    }
    let read = |number| std::fs::read(format!("cold{number}")).map(drop);
    let mut all = attackers(&ground, HOST_USER, On::Processor0, OPENS, read)?;
    wait_until_calm();
    let went_on = [On::Processor0, On::Any]
        .map(|on| others_go_on(&ground, "a listener is asked", Doing::Look, on));
    drop(listener);
    failed(&mut all)?;
    went_on.into_iter().collect()
}

/// The same, by a lease, whose holder came to the source by another way.
fn lease(setting: Setting) -> Result<(), Why> {
    const OPENS: usize = 12;
    let ground = ground(setting)?;
    let Who(_, owner, _) = HOST_USER;
    // Not by the mount: what the server has open would be in the way of a lease.
    let mut holder = Peer::start(|line| {
        let lease = |number: usize| {
            let name = format!("leased{number}");
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
            let file = openat(ground.source(), name, flags, Mode::from_raw_mode(0o644))?;
            rustix::fs::fchown(&file, Some(Uid::from_raw(owner)), None)?;
            hold::lease(&file).map(|()| file)
        };
        let leases = (0..OPENS).map(lease).collect::<io::Result<Vec<OwnedFd>>>()?;
        say(line, "holds them")?;
        until_end(line);
        drop(leases);
        Ok(())
    })?;
    holder.hear()?;
    let read = |number| open(format!("leased{number}"), OFlags::RDWR).map(drop);
    let mut all = attackers(&ground, HOST_USER, On::Processor0, OPENS, read)?;
    wait_until_calm();
    let went_on = [On::Processor0, On::Any]
        .map(|on| others_go_on(&ground, "a lease is to be broken", Doing::LookAndOpen, on));
    drop(holder);
    failed(&mut all)?;
    went_on.into_iter().collect()
}

/// Catches writers that keep others away for good. How much longer a lookup takes beside them is
/// what else the machine has to do as well: `benches/shares.sh` measures that.
fn sync_storm(setting: Setting) -> Result<(), Why> {
    const TRIES: usize = 3;
    let ground = ground(setting)?;
    let write = |number: usize| {
        ground.start(HOST_USER, move |_| {
            let name = format!("written-{number}");
            let data = vec![7; 1 << 20];
            loop {
                let file = open(&name, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
                for _ in 0..20 {
                    rustix::io::write(&file, &data)?;
                }
                rustix::fs::fsync(&file)?;
            }
        })
    };
    let mut writers = (0..10).map(write).collect::<io::Result<Vec<_>>>()?;
    // Until each has written all once.
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..TRIES {
        others_go_on(&ground, "ten write and sync", Doing::Look, On::Any)?;
        for writer in &mut writers {
            writer.line.set_nonblocking(true)?;
            match writer.hear() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => return Err(Why::Broken(format!("a writer ended: {ended:?}"))),
            }
        }
    }
    Ok(())
}
