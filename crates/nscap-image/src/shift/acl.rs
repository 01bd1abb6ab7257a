// SPDX-License-Identifier: MIT OR Apache-2.0
//! POSIX access control lists as `system.posix_acl_access` and `system.posix_acl_default` hold
//! them (acl(5); linux/posix_acl_xattr.h): little-endian, a version of 2, then for each entry a tag
//! and permissions of 16 bits each and an id of 32. Ids are ids of the caller's namespace.

use super::ids::{Moved, Mover};

/// The attribute that decides about access.
pub(crate) const ACCESS: &std::ffi::CStr = c"system.posix_acl_access";
/// The attribute that files made in a directory inherit.
pub(crate) const DEFAULT: &std::ffi::CStr = c"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const UNDEFINED: u32 = u32::MAX;

/// The user or group of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tag {
    /// The owner.
    Owner,
    /// This user; 0xffffffff for a user without an id in this namespace.
    User(u32),
    /// The owning group.
    OwningGroup,
    /// This group; 0xffffffff for a group without an id in this namespace.
    Group(u32),
    /// The limit for named users and groups.
    Mask,
    /// All other users.
    Other,
}

/// One entry: the permissions are the low three bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AclEntry {
    /// Its user or group.
    pub tag: Tag,
    /// 4 read, 2 write, 1 execute or search.
    pub permissions: u16,
}

/// An access control list.
///
/// ```
/// use nscap_image::shift::{Acl, Tag};
/// let mut value = 2u32.to_le_bytes().to_vec();
/// for (tag, permissions, id) in [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX),
///     (16, 4, u32::MAX), (32, 0, u32::MAX)] {
///     value.extend(tag.to_le_bytes());
///     value.extend(permissions.to_le_bytes());
///     value.extend(id.to_le_bytes());
/// }
/// let acl = Acl::decode(&value).unwrap();
/// assert_eq!(acl.entries()[1].tag, Tag::User(1000));
/// assert_eq!(acl.encode(), value);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acl(Vec<AclEntry>);

/// Why bytes are not an access control list: setxattr(2) returns EINVAL or EOPNOTSUPP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AclError {
    /// Not a header and whole entries.
    #[error("the length is not a header's and whole entries'")]
    Length,
    /// Another version than 2.
    #[error("the version is not 2")]
    Version,
    /// A tag that is not known.
    #[error("a tag is unknown")]
    Tag,
    /// Permissions beyond the three.
    #[error("permissions are unknown")]
    Permissions,
}

/// Why the ids of a list cannot move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AclStays {
    /// This user or group has no image.
    Unmapped(Tag),
    /// Two entries would name this user or group.
    Twice(Tag),
}

impl Acl {
    /// # Errors
    /// [`AclError`].
    pub fn decode(value: &[u8]) -> Result<Acl, AclError> {
        let (version, rest) = value.split_first_chunk::<4>().ok_or(AclError::Length)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(AclError::Version);
        }
        let (entries, []) = rest.as_chunks::<8>() else {
            return Err(AclError::Length);
        };
        entries.iter().map(AclEntry::decode).collect::<Result<_, _>>().map(Acl)
    }

    /// The value of the attribute.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(4 + 8 * self.0.len());
        value.extend(VERSION.to_le_bytes());
        for entry in &self.0 {
            let (tag, id) = entry.tag.encode();
            value.extend(tag.to_le_bytes());
            value.extend(entry.permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    /// The entries, in their order.
    #[must_use]
    pub fn entries(&self) -> &[AclEntry] {
        &self.0
    }

    /// The list with its ids moved, in the order that the kernel requires: users and groups each
    /// ascending.
    pub(crate) fn moved(&self, mover: &Mover) -> Result<Acl, AclStays> {
        let mut moved = self.0.clone();
        for entry in &mut moved {
            entry.tag = match entry.tag {
                Tag::User(id) => Tag::User(image(mover.uid(id), id, entry.tag)?),
                Tag::Group(id) => Tag::Group(image(mover.gid(id), id, entry.tag)?),
                tag => tag,
            };
        }
        moved.sort_by_key(|entry| entry.tag.encode());
        let twice = moved.iter().zip(moved.iter().skip(1)).find(|(a, b)| a.tag == b.tag);
        match twice {
            Some((entry, _)) => Err(AclStays::Twice(entry.tag)),
            None => Ok(Acl(moved)),
        }
    }

    /// The list after a chmod(2) that leaves only the owner's permissions.
    pub(crate) fn locked(&self) -> Acl {
        let has_mask = self.0.iter().any(|entry| entry.tag == Tag::Mask);
        let locked = |entry: &AclEntry| {
            let none = match entry.tag {
                Tag::Mask | Tag::Other => true,
                Tag::OwningGroup => !has_mask,
                Tag::Owner | Tag::User(_) | Tag::Group(_) => false,
            };
            AclEntry { permissions: if none { 0 } else { entry.permissions }, ..*entry }
        };
        Acl(self.0.iter().map(locked).collect())
    }
}

fn image(moved: Option<Moved>, id: u32, tag: Tag) -> Result<u32, AclStays> {
    moved.filter(|_| id != UNDEFINED).map(|moved| moved.id).ok_or(AclStays::Unmapped(tag))
}

impl AclEntry {
    fn decode(bytes: &[u8; 8]) -> Result<AclEntry, AclError> {
        let [t0, t1, p0, p1, id @ ..] = *bytes;
        let id = u32::from_le_bytes(id);
        let tag = match u16::from_le_bytes([t0, t1]) {
            USER_OBJ => Tag::Owner,
            USER => Tag::User(id),
            GROUP_OBJ => Tag::OwningGroup,
            GROUP => Tag::Group(id),
            MASK => Tag::Mask,
            OTHER => Tag::Other,
            _ => return Err(AclError::Tag),
        };
        let permissions = u16::from_le_bytes([p0, p1]);
        if permissions > 7 {
            return Err(AclError::Permissions);
        }
        Ok(AclEntry { tag, permissions })
    }
}

impl Tag {
    fn encode(self) -> (u16, u32) {
        match self {
            Tag::Owner => (USER_OBJ, UNDEFINED),
            Tag::User(id) => (USER, id),
            Tag::OwningGroup => (GROUP_OBJ, UNDEFINED),
            Tag::Group(id) => (GROUP, id),
            Tag::Mask => (MASK, UNDEFINED),
            Tag::Other => (OTHER, UNDEFINED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Side;
    use crate::shift::Unmapped;

    fn acl(entries: &[(Tag, u16)]) -> Acl {
        Acl(entries.iter().map(|&(tag, permissions)| AclEntry { tag, permissions }).collect())
    }

    fn mover(unmapped: Unmapped) -> Mover {
        let side = |text: &str| Side { uids: text.parse().unwrap(), gids: text.parse().unwrap() };
        Mover { from: side("0:100000:1000"), to: side("0:200000:500,500:50:500"), unmapped }
    }

    #[test]
    fn ids_move_and_the_order_is_the_kernels() {
        let before = acl(&[
            (Tag::Owner, 7),
            (Tag::User(100_001), 6),
            (Tag::User(100_600), 4),
            (Tag::OwningGroup, 5),
            (Tag::Group(100_007), 5),
            (Tag::Mask, 7),
            (Tag::Other, 0),
        ]);
        let after = acl(&[
            (Tag::Owner, 7),
            (Tag::User(150), 4),
            (Tag::User(200_001), 6),
            (Tag::OwningGroup, 5),
            (Tag::Group(200_007), 5),
            (Tag::Mask, 7),
            (Tag::Other, 0),
        ]);
        assert_eq!(before.moved(&mover(Unmapped::Fail)), Ok(after));
    }

    #[test]
    fn what_has_no_image_is_named_and_two_never_become_one() {
        let stranger = acl(&[(Tag::User(5), 7)]);
        let unmapped = Err(AclStays::Unmapped(Tag::User(5)));
        assert_eq!(stranger.moved(&mover(Unmapped::Fail)), unmapped);
        assert_eq!(stranger.moved(&mover(Unmapped::Skip)), Ok(stranger.clone()));
        let given = acl(&[(Tag::User(9), 7)]);
        assert_eq!(stranger.moved(&mover(Unmapped::Id(9))), Ok(given));
        let undefined = acl(&[(Tag::Group(UNDEFINED), 7)]);
        let unmapped = Err(AclStays::Unmapped(Tag::Group(UNDEFINED)));
        assert_eq!(undefined.moved(&mover(Unmapped::Skip)), unmapped);
        let two = acl(&[(Tag::User(200_000), 7), (Tag::User(100_000), 1)]);
        let twice = Err(AclStays::Twice(Tag::User(200_000)));
        assert_eq!(two.moved(&mover(Unmapped::Skip)), twice);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes() {
        // Raw bytes hardly ever decode, so entries are made from small numbers.
        bolero::check!().with_type::<(bool, Vec<(u8, u8, u32)>, Vec<u8>)>().for_each(
            |(raw, entries, bytes)| {
                let mut value = VERSION.to_le_bytes().to_vec();
                for (tag, permissions, id) in entries {
                    value.extend((1u16 << (tag % 7)).to_le_bytes());
                    value.extend(u16::from(permissions % 9).to_le_bytes());
                    value.extend(id.to_le_bytes());
                }
                let value = if *raw { bytes } else { &value };
                let Ok(acl) = Acl::decode(value) else { return };
                let again = acl.encode();
                assert_eq!(Acl::decode(&again).as_ref(), Ok(&acl));
                // Only ids of entries without a user or group are not kept.
                assert_eq!(again.len(), value.len());
                let _ = acl.moved(&mover(Unmapped::Skip));
                assert_eq!(acl.locked().locked(), acl.locked());
            },
        );
    }
}
