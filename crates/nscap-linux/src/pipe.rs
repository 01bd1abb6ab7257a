// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a closed pipe does to a command. Rust's runtime ignores SIGPIPE, so that a write gives
//! EPIPE. A command that prints ends by the signal all the same, as every tool does: a shell that
//! reads `$?` or `${PIPESTATUS[@]}` sees 141, and a script with `set -o pipefail` tells it from a
//! failure. Where the parent had the command ignore SIGPIPE (`trap '' PIPE`), the write is an
//! error, also as for every tool.

use std::sync::atomic::{AtomicBool, Ordering};

/// The status that a shell gives for an end by SIGPIPE.
pub const STATUS: u8 = 128 + libc::SIGPIPE as u8;

static IGNORED: AtomicBool = AtomicBool::new(false);

/// Before `main`, and so before the runtime ignores the signal.
#[used]
// SAFETY: the loader calls what is in this section with nothing but the C library set up; `look`
// needs no more.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: all zeros is a sigaction, which the call fills; without a new action nothing changes.
    let ignored = unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    };
    IGNORED.store(ignored, Ordering::Relaxed);
}

/// Whether the process was started with SIGPIPE ignored (signal(7), execve(2)).
///
/// ```
/// // A test's parent ignores nothing.
/// assert!(!nscap_linux::pipe::was_ignored());
/// ```
#[must_use]
pub fn was_ignored() -> bool {
    // The linker keeps the section of a static that is used.
    std::hint::black_box(&LOOK);
    IGNORED.load(Ordering::Relaxed)
}

/// Ends this process by SIGPIPE. Comes back only where the signal is blocked.
///
/// ```no_run
/// nscap_linux::pipe::end();
/// ```
pub fn end() {
    end_by(libc::SIGPIPE);
}

/// Ends this process as a signal ends a program that does not catch it, also where this one does.
/// Comes back only where the signal is blocked, or ends nothing.
///
/// ```no_run
/// nscap_linux::pipe::end_by(15);
/// ```
pub fn end_by(signal: i32) {
    // SAFETY: takes numbers; what a handler of ours needs stays.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
