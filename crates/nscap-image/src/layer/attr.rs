// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two attributes as records of an extended header carry them: `SCHILY.xattr.NAME` with the
//! value as it is (star, GNU tar, Go, libarchive), and `LIBARCHIVE.xattr.NAME` with the name
//! URL-encoded and the value in base64 (libarchive, which writes both).

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::Problem;

/// As libarchive writes it: without padding. With padding is read as well.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Capability,
    NsCapability,
}

impl Name {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Capability => "security.capability",
            Name::NsCapability => "security.nscapability",
        }
    }
}

/// How a record carries an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    Schily,
    Libarchive,
}

impl Coding {
    /// The value of a record.
    pub(crate) fn decode(self, value: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
        match self {
            Coding::Schily => Ok(Cow::Borrowed(value)),
            Coding::Libarchive => BASE64.decode(value).map(Cow::Owned).map_err(|_| Problem::Base64),
        }
    }

    /// The key and value of a record.
    pub(crate) fn encode(self, name: Name, value: &[u8]) -> (Vec<u8>, Cow<'_, [u8]>) {
        match self {
            Coding::Schily => ([SCHILY, name.text().as_bytes()].concat(), Cow::Borrowed(value)),
            Coding::Libarchive => {
                let key = [LIBARCHIVE, name.text().as_bytes()].concat();
                (key, Cow::Owned(BASE64.encode(value).into_bytes()))
            }
        }
    }
}

/// Which attribute a record is, if either.
pub(crate) fn of(key: &[u8]) -> Option<(Name, Coding)> {
    let (name, coding) = xattr(key)?;
    [Name::Capability, Name::NsCapability]
        .into_iter()
        .find(|known| known.text().as_bytes() == &*name)
        .map(|name| (name, coding))
}

/// The attribute of `security.` that a record carries and that a task in a user namespace cannot set: any
/// but the kernel's own `security.capability`.
pub(crate) fn for_hosts_root_only(key: &[u8]) -> bool {
    xattr(key).is_some_and(|(name, _)| {
        name.starts_with(b"security.") && *name != *Name::Capability.text().as_bytes()
    })
}

/// Whether a record is an access control list: star's text or the attribute itself.
pub(crate) fn is_acl(key: &[u8]) -> bool {
    key.starts_with(b"SCHILY.acl.")
        || xattr(key).is_some_and(|(name, _)| name.starts_with(b"system.posix_acl_"))
}

/// Whether a record is an attribute by which overlayfs or fuse-overlayfs hides or renames what is below.
pub(crate) fn is_overlays(key: &[u8]) -> bool {
    const OVERLAYS: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs."];
    xattr(key).is_some_and(|(name, _)| OVERLAYS.iter().any(|prefix| name.starts_with(prefix)))
}

/// The attribute that a record carries.
fn xattr(key: &[u8]) -> Option<(Cow<'_, [u8]>, Coding)> {
    if let Some(name) = key.strip_prefix(SCHILY) {
        return Some((Cow::Borrowed(name), Coding::Schily));
    }
    let name = key.strip_prefix(LIBARCHIVE)?;
    Some((url_decoded(name), Coding::Libarchive))
}

fn url_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match rest {
            [b'%', high, low, after @ ..] if digit(*high).is_some() && digit(*low).is_some() => {
                out.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_is_found() {
        let schily = Some((Name::Capability, Coding::Schily));
        assert_eq!(of(b"SCHILY.xattr.security.capability"), schily);
        let libarchive = Some((Name::NsCapability, Coding::Libarchive));
        assert_eq!(of(b"LIBARCHIVE.xattr.security.nscapability"), libarchive);
        assert_eq!(of(b"LIBARCHIVE.xattr.security%2ensc%61pability"), libarchive);
        for other in
            [b"SCHILY.xattr.security.capability2".as_slice(), b"SCHILY.xattr.user.x", b"path"]
        {
            assert_eq!(of(other), None);
        }
        assert!(for_hosts_root_only(b"SCHILY.xattr.security.ima"));
        assert!(for_hosts_root_only(b"LIBARCHIVE.xattr.security%2enscapability"));
        assert!(!for_hosts_root_only(b"SCHILY.xattr.security.capability"));
        assert!(!for_hosts_root_only(b"SCHILY.xattr.user.security.x"));
        assert!(is_acl(b"SCHILY.acl.access") && !is_acl(b"SCHILY.xattr.security.capability"));
        assert!(is_acl(b"LIBARCHIVE.xattr.system.posix%5Facl_default"));
    }

    #[test]
    fn libarchives_base64_goes_there_and_back() {
        let value = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (key, text) = Coding::Libarchive.encode(Name::Capability, &value);
        assert_eq!(of(&key), Some((Name::Capability, Coding::Libarchive)));
        assert_eq!(&*text, b"AQAAAgAgAAAAAAAAAAAAAAAAAAA");
        assert_eq!(&*Coding::Libarchive.decode(&text).unwrap(), value);
        let padded = [&text, b"=".as_slice()].concat();
        assert_eq!(&*Coding::Libarchive.decode(&padded).unwrap(), value);
        assert_eq!(Coding::Libarchive.decode(b"?"), Err(Problem::Base64));
    }
}
