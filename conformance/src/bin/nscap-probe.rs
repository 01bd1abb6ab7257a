// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that scenarios execute: it prints, in one line, what execve made of it.
//!
//! Fourteen numbers: the real, effective and saved uid, then gid; the permitted, effective,
//! inheritable, ambient and bounding set; AT_SECURE; no_new_privs; the securebits. It uses the C
//! library that std links anyway and nothing else, so that it starts quickly wherever it is put.

use std::ffi::{c_int, c_ulong};
use std::io::Write as _;

unsafe extern "C" {
    fn getresuid(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_int;
    fn getresgid(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_int;
    fn getauxval(kind: c_ulong) -> c_ulong;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn capget(header: *mut [u32; 2], data: *mut [u32; 6]) -> c_int;
}

const AT_SECURE: c_ulong = 23;
const PR_CAPBSET_READ: c_int = 23;
const PR_GET_SECUREBITS: c_int = 27;
const PR_GET_NO_NEW_PRIVS: c_int = 39;
const PR_CAP_AMBIENT: c_int = 47;
const PR_CAP_AMBIENT_IS_SET: c_ulong = 1;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn ask(option: c_int, a: c_ulong, b: c_ulong) -> c_int {
    // SAFETY: the options used here take numbers and no pointer.
    unsafe { prctl(option, a, b, 0, 0) }
}

/// The set of capabilities, out of 64, that the kernel says yes to.
fn set_of(is_set: impl Fn(c_ulong) -> c_int) -> u64 {
    (0..64).filter(|&cap| is_set(cap) == 1).fold(0, |set, cap| set | 1 << cap)
}

fn main() {
    let (mut u, mut g) = ([0u32; 3], [0u32; 3]);
    let [ur, ue, us] = &mut u;
    let [gr, ge, gs] = &mut g;
    let mut header = [CAPABILITY_VERSION_3, 0];
    let mut caps = [0u32; 6];
    // SAFETY: every pointer is to a live variable of the type that the call writes.
    let secure = unsafe {
        getresuid(ur, ue, us);
        getresgid(gr, ge, gs);
        capget(&mut header, &mut caps);
        getauxval(AT_SECURE)
    };
    let [e_low, p_low, i_low, e_high, p_high, i_high] = caps;
    let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let ambient = set_of(|cap| ask(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap));
    let bounding = set_of(|cap| ask(PR_CAPBSET_READ, cap, 0));
    let [ur, ue, us] = u;
    let [gr, ge, gs] = g;
    // If the runner was killed the pipe has no reader: nothing is reported then.
    let _ = writeln!(
        std::io::stdout(),
        "{ur} {ue} {us} {gr} {ge} {gs} {} {} {} {ambient} {bounding} {secure} {} {}",
        wide(p_low, p_high),
        wide(e_low, e_high),
        wide(i_low, i_high),
        ask(PR_GET_NO_NEW_PRIVS, 0, 0),
        ask(PR_GET_SECUREBITS, 0, 0),
    );
}
