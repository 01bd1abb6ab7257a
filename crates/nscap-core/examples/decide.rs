// SPDX-License-Identifier: MIT OR Apache-2.0
//! Root of a container runs `setcap cap_net_raw=ep ping`: what is stored, and what each task gets
//! when it executes the file. `cargo run -p nscap-core --example decide`
#![forbid(unsafe_code)]

use nscap_core::{
    Decision, FileCaps, Mapped, Policy, RECORD_LEN, Request, SetFlags, Stored, VfsCaps,
    get_capability, set_capability,
};

fn main() {
    let host = Mapped::initial();
    let container = host.below(100_000, 65_536);
    let other = host.below(300_000, 65_536);
    let (cred, file) = (container.root(), container.file());

    // The value that setcap(8) writes names no namespace: it is for the caller's own.
    let ping = FileCaps::from_text(b"cap_net_raw=ep").expect("capabilities");
    let value = VfsCaps::v2(ping).encode();
    let request =
        Request { policy: Policy::default(), cred: &cred, inode: &file, stored: &Stored::EMPTY };
    let mut room = [[0; RECORD_LEN]; 2];
    let stored = match set_capability(&request, value.as_bytes(), SetFlags::default(), &mut room) {
        Decision::Write(stored, why) => {
            println!("the container's root: yes [{}] {}", why.clause(), why.text());
            stored
        }
        no => return println!("the container's root: no: {no:?}"),
    };
    for (name, ns) in [("the host", &host), ("the container", &container), ("another", &other)] {
        match get_capability(ns, &file, &stored) {
            Ok((value, why)) => println!("{name} reads {:?} [{}]", value.revision(), why.clause()),
            Err(no) => println!("{name} reads nothing [{}]", no.why.clause()),
        }
    }
}
