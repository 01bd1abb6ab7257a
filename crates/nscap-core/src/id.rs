// SPDX-License-Identifier: MIT OR Apache-2.0
//! User and group ids, in two kinds that the compiler keeps apart.
//!
//! A [`Kuid`] (or [`Kgid`]) is an id as the initial user namespace sees it. A [`Uid`] (or
//! [`Gid`]) is the same thing as some other namespace sees it: what that namespace's tools print,
//! or a stored rootid. Only a map ([`IdMap`](crate::IdMap), or a namespace through
//! [`UserNs`](crate::UserNs)) turns one into the other, and the result is an `Option`: an id may
//! have no image. SPEC's *invalid* id (-1) is that `None`; none of these types can hold it.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);

        impl $name {
            /// The id 0.
            pub const ROOT: $name = $name(0);

            /// The id with this number, or `None` for 0xffffffff, which the kernel keeps for
            /// "no id" (user_namespaces(7)).
            ///
            /// ```
            #[doc = concat!("use nscap_core::", stringify!($name), ";")]
            #[doc = concat!("assert_eq!(", stringify!($name), "::new(7).map(|id| id.get()), Some(7));")]
            #[doc = concat!("assert_eq!(", stringify!($name), "::new(u32::MAX), None);")]
            /// ```
            #[must_use]
            pub const fn new(id: u32) -> Option<$name> {
                if id == u32::MAX { None } else { Some($name(id)) }
            }

            /// The number of this id, never 0xffffffff.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// A user id as the initial user namespace sees it.
    Kuid
}
id! {
    /// A group id as the initial user namespace sees it.
    Kgid
}
id! {
    /// A user id as one particular user namespace (or superblock) sees it.
    Uid
}
id! {
    /// A group id as one particular user namespace (or superblock) sees it.
    Gid
}

/// What [`Option<Kuid>`](Kuid) and its siblings look like where an invalid id is written as -1
/// (SPEC R6): the number, or 0xffffffff for none.
///
/// ```
/// use nscap_core::{Uid, id_or_minus_one};
/// assert_eq!(id_or_minus_one(Uid::new(5).map(Uid::get)), 5);
/// assert_eq!(id_or_minus_one(None), u32::MAX);
/// ```
#[must_use]
pub const fn id_or_minus_one(id: Option<u32>) -> u32 {
    match id {
        Some(id) => id,
        None => u32::MAX,
    }
}
