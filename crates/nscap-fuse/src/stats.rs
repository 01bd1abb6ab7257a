// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters of a mount: requests, inodes, grants.

use std::sync::atomic::{AtomicU64, Ordering};

/// The attribute of a mount's root that holds the counters. A caller without CAP_SYS_ADMIN over the
/// server's user namespace gets ENODATA. listxattr(2) never lists it.
pub const STATS_NAME: &str = "system.nscap.stats";

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counters that every worker adds to; [`snapshot`](Stats::snapshot) reads them.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(pub(crate) $name: Counter,)*
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[non_exhaustive]
        pub struct Snapshot {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Stats {
            /// The counters now. They are read one after the other.
            ///
            /// ```
            /// assert_eq!(nscap_fuse::Stats::default().snapshot().lookups, 0);
            /// ```
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.get(),)* }
            }
        }

        impl Snapshot {
            /// Each counter with its name.
            ///
            /// ```
            /// let now = nscap_fuse::Stats::default().snapshot();
            /// assert!(now.iter().any(|(name, count)| name == "lookups" && count == 0));
            /// ```
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// The value of [`STATS_NAME`]: a line for each counter, its name, a blank, and the
            /// number.
            ///
            /// ```
            /// assert!(nscap_fuse::Stats::default().snapshot().to_value().contains("opens 0\n"));
            /// ```
            #[must_use]
            pub fn to_value(&self) -> String {
                self.iter().map(|(name, count)| format!("{name} {count}\n")).collect()
            }
        }
    };
}

counters! {
    /// Names looked up, except those of directory listings.
    lookups,
    /// Attributes read.
    getattrs,
    /// Attributes changed.
    setattrs,
    /// Objects made: files, directories, links, nodes.
    creates,
    /// Names removed.
    removes,
    /// Names changed.
    renames,
    /// Files opened.
    opens,
    /// Files opened with passthrough.
    passthrough_opens,
    /// Reads that the server made.
    reads,
    /// Writes that the server made.
    writes,
    /// Parts of directories read.
    readdirs,
    /// Extended attributes read.
    getxattrs,
    /// Lists of extended attributes.
    listxattrs,
    /// Extended attributes set.
    setxattrs,
    /// Extended attributes removed.
    removexattrs,
    /// Inodes that the kernel knows of, without the root.
    inodes,
    /// Entries and host values written.
    grants,
    /// Writes of entries and host values that the rules refused.
    refused,
    /// Writes of entries and host values that failed because a task could change the file unseen
    /// (ETXTBSY).
    busy,
    /// Files whose grants were dropped because their content or owner changed.
    dropped,
    /// Grants shown to a caller.
    shown,
    /// Requests about capabilities from a caller that could not be identified.
    unknown_callers,
    /// Requests that came by the queues of io_uring.
    by_io_uring,
    /// Threads that serve, now.
    threads,
    /// Requests that are being carried out and count for their callers' shares, now.
    lasting,
    /// Requests that wait because their callers' shares are used up, now.
    waiting,
    /// Requests refused (EAGAIN) because too many of their callers' requests waited.
    turned_away,
}

/// A number that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
