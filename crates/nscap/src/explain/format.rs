// SPDX-License-Identifier: MIT OR Apache-2.0
//! What execve(2) takes a file for by its first bytes: a script, a binary of this machine, or
//! nothing that it knows (binfmt_script.c, binfmt_elf.c of the kernel).

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::place::ReadAt;

/// How much of a file the kernel looks at first (BINPRM_BUF_SIZE).
pub(crate) const HEAD: usize = 256;
const PATH_MAX: u64 = 4096;
/// The most that the kernel reads of a binary's program headers.
const HEADERS_MAX: usize = 65_536;
const PT_INTERP: u32 = 3;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// What a file is.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// `#!`, with the interpreter's path as it is written.
    Script(PathBuf),
    /// A binary, with the path of the program that loads its libraries.
    Binary(Option<PathBuf>),
    /// A binary of another kind of machine, which this kernel may be able to run.
    Related,
    /// Neither: ENOEXEC.
    Unknown,
}

/// The first bytes, with zeros after the end of a short file.
pub(crate) fn head(file: &impl ReadAt) -> std::io::Result<[u8; HEAD]> {
    let mut head = [0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match file.read_at(&mut head[length..], length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(head)
}

/// What a file with these first bytes is, on a machine of this kind.
pub(crate) fn of(file: &impl ReadAt, head: &[u8; HEAD], on: On) -> Format {
    if head.starts_with(b"#!") {
        return interpreter(head).map_or(Format::Unknown, Format::Script);
    }
    if !head.starts_with(b"\x7fELF") {
        return Format::Unknown;
    }
    match (on.machine(), Machine::of(head)) {
        (Some(own), theirs) if own == theirs => binary(file, head, theirs),
        (Some(own), theirs) if own.is_related(theirs) => Format::Related,
        (Some(_), _) => Format::Unknown,
        (None, _) => Format::Related,
    }
}

/// Whether it is a binary of this machine, as the program that loads libraries must be.
pub(crate) fn is_own_binary(head: &[u8; HEAD], on: On) -> bool {
    head.starts_with(b"\x7fELF") && on.machine().is_none_or(|own| own == Machine::of(head))
}

/// On which machine a file is to be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum On {
    /// This one.
    Here,
    /// One of another kind.
    Other(Machine),
    /// One of another kind, whose files are not read here.
    Unread,
}

impl On {
    /// The machine of an image's platform, `os/architecture[/variant]`.
    pub(crate) fn of(platform: &str) -> On {
        const KNOWN: [(&str, u16, bool); 8] = [
            ("amd64", 62, true),
            ("386", 3, false),
            ("arm64", 183, true),
            ("arm", 40, false),
            ("riscv64", 243, true),
            ("ppc64le", 21, true),
            ("loong64", 258, true),
            ("mips64le", 8, true),
        ];
        let architecture = platform.split('/').nth(1).unwrap_or_default();
        let known = KNOWN.iter().find(|(name, _, _)| *name == architecture);
        let machine = known.map(|(_, number, is_64)| Machine { is_64: *is_64, number: *number });
        match (machine, own()) {
            (None, _) if architecture.is_empty() => On::Here,
            (Some(machine), Some(own)) if machine == own => On::Here,
            (Some(machine), _) if cfg!(target_endian = "little") => On::Other(machine),
            _ => On::Unread,
        }
    }

    fn machine(self) -> Option<Machine> {
        match self {
            On::Here => own(),
            On::Other(machine) => Some(machine),
            On::Unread => None,
        }
    }
}

/// The interpreter that a `#!` line names; `None` where there is none, or it does not end within
/// the bytes that the kernel looks at (load_script).
fn interpreter(head: &[u8; HEAD]) -> Option<PathBuf> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let rest = &head[2..];
    let line = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => &rest[..end],
        None => {
            let start = rest.iter().position(|byte| !blank(byte))?;
            rest[start..].iter().find(|byte| blank(byte) || **byte == 0)?;
            rest
        }
    };
    let start = line.iter().position(|byte| !blank(byte))?;
    let name = line[start..].split(|byte| blank(byte) || *byte == 0).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// What kind of machine a binary is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    is_64: bool,
    number: u16,
}

impl Machine {
    fn of(head: &[u8; HEAD]) -> Machine {
        Machine { is_64: head[4] == 2, number: u16::from_ne_bytes([head[18], head[19]]) }
    }

    /// Whether kernels for one of them can be built to run the other: x86, Arm, PowerPC, MIPS, s390
    /// in both widths.
    fn is_related(self, other: Machine) -> bool {
        const FAMILIES: [[u16; 2]; 5] = [[3, 62], [40, 183], [20, 21], [8, 8], [22, 22]];
        FAMILIES
            .iter()
            .any(|family| family.contains(&self.number) && family.contains(&other.number))
    }
}

/// This machine, as our own program is for it.
fn own() -> Option<Machine> {
    static OWN: OnceLock<Option<Machine>> = OnceLock::new();
    *OWN.get_or_init(|| {
        let head = head(&File::open("/proc/self/exe").ok()?).ok()?;
        head.starts_with(b"\x7fELF").then(|| Machine::of(&head))
    })
}

/// The program that loads a binary, as its headers name it.
fn binary(file: &impl ReadAt, head: &[u8; HEAD], machine: Machine) -> Format {
    let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    if !matches!(half(16), ET_EXEC | ET_DYN) {
        return Format::Unknown;
    }
    let (offset, size, count, entry) = if machine.is_64 {
        (word(&head[32..], 8), half(54), half(56), 56)
    } else {
        (word(&head[28..], 4), half(42), half(44), 32)
    };
    let length = usize::from(count) * entry;
    if usize::from(size) != entry || length == 0 || length > HEADERS_MAX {
        return Format::Unknown;
    }
    let mut headers = vec![0; length];
    if file.read_exact_at(&mut headers, offset).is_err() {
        return Format::Unknown;
    }
    for header in headers.chunks_exact(entry) {
        if word(header, 4) != u64::from(PT_INTERP) {
            continue;
        }
        let (offset, size) = if machine.is_64 {
            (word(&header[8..], 8), word(&header[32..], 8))
        } else {
            (word(&header[4..], 4), word(&header[16..], 4))
        };
        return loader(file, offset, size)
            .map_or(Format::Unknown, |path| Format::Binary(Some(path)));
    }
    Format::Binary(None)
}

fn loader(file: &impl ReadAt, offset: u64, size: u64) -> Option<PathBuf> {
    if !(2..=PATH_MAX).contains(&size) {
        return None;
    }
    let mut path = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut path, offset).ok()?;
    if path.last() != Some(&0) {
        return None;
    }
    let end = path.iter().position(|byte| *byte == 0)?;
    Some(PathBuf::from(OsStr::from_bytes(&path[..end])))
}

/// A number of 4 or 8 bytes.
fn word(bytes: &[u8], length: usize) -> u64 {
    let mut word = [0; 8];
    if length == 8 {
        word.copy_from_slice(&bytes[..8]);
        return u64::from_ne_bytes(word);
    }
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(head: &[u8]) -> [u8; HEAD] {
        let mut all = [0; HEAD];
        all[..head.len()].copy_from_slice(head);
        all
    }

    #[test]
    fn the_kernel_takes_the_first_word_after_the_marks() {
        let named = |head: &[u8]| {
            interpreter(&padded(head)).map(|p| p.into_os_string().into_encoded_bytes())
        };
        for (head, name) in [
            (&b"#! /bin/sh -e\necho"[..], Some(&b"/bin/sh"[..])),
            (b"#!/usr/bin/env\tpython", Some(b"/usr/bin/env")),
            (b"#!sh\n", Some(b"sh")),
            (b"#!/bin/sh\0/x\n", Some(b"/bin/sh")),
            (b"#! \t\n", None),
            (b"#!\n/bin/sh", None),
            // A name of no bytes.
            (b"#!", Some(b"")),
        ] {
            assert_eq!(named(head).as_deref(), name, "{head:?}");
        }
        // One that does not end in what the kernel looks at is none.
        let long = [b"#!/".as_slice(), &[b'x'; HEAD - 3]].concat();
        assert_eq!(named(&long), None);
        let mut ends = padded(&long);
        ends[HEAD - 2] = b' ';
        assert_eq!(interpreter(&ends).unwrap().as_os_str().len(), HEAD - 4);
        ends[HEAD - 2] = b'x';
        ends[HEAD - 1] = b'\t';
        assert_eq!(interpreter(&ends).unwrap().as_os_str().len(), HEAD - 3);
    }

    #[test]
    fn binaries_name_what_loads_them() {
        let file = File::open("/proc/self/exe").unwrap();
        let head = head(&file).unwrap();
        assert!(is_own_binary(&head, On::Here));
        let Format::Binary(Some(loader)) = of(&file, &head, On::Here) else {
            panic!("a test is loaded")
        };
        assert!(loader.is_absolute() && loader.exists(), "{loader:?}");
        let mut other = head;
        other[18..20].copy_from_slice(&243u16.to_ne_bytes());
        assert_eq!(of(&file, &other, On::Here), Format::Unknown);
        let mut damaged = head;
        damaged[16] = 1;
        assert_eq!(of(&file, &damaged, On::Here), Format::Unknown);
        assert_eq!(of(&file, &padded(b"text"), On::Here), Format::Unknown);
    }

    #[test]
    fn an_images_binaries_are_for_its_platform() {
        let file = File::open("/proc/self/exe").unwrap();
        let mut other = head(&file).unwrap();
        let theirs =
            if own().unwrap().number == 243 { ("arm64", 183u16) } else { ("riscv64", 243) };
        other[18..20].copy_from_slice(&theirs.1.to_ne_bytes());
        let on = On::of(&format!("linux/{}/v8", theirs.0));
        assert!(
            matches!(of(&file, &other, on), Format::Binary(Some(_))) && is_own_binary(&other, on)
        );
        assert_eq!(of(&file, &head(&file).unwrap(), on), Format::Unknown);
        assert_eq!((On::of(""), On::of("linux/s390x")), (On::Here, On::Unread));
        assert_eq!(of(&file, &other, On::Unread), Format::Related);
    }
}
