// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap check`: what this machine offers, which features of nscap that leaves, and which id
//! ranges overlap (S) or reach above their namespace (U).

use std::collections::BTreeMap;
use std::path::Path;

use nscap_core::{Kuid, Policy, root_kuid, root_of_ancestor};
use nscap_linux::probe::{Directory, Kernel};
use nscap_linux::{Design, Namespaces, Subids};
use serde::Serialize;

use crate::cli::Check;
use crate::facts::{self, Fact};
use crate::failure::Failure;
use crate::note;
use crate::out::{self, BAD, GOOD, HEAD, Out, Table};
use crate::ranges::{self, Overlap, range_text, text};
use crate::system::{System, left_out};

/// One thing that was looked at.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Finding {
    /// Something that the machine offers or not; `None` where it could not be tried.
    Offer { name: &'static str, ok: Option<bool>, detail: String },
    /// A feature of nscap, and what it still needs; `None` where that could not be tried.
    Feature { name: &'static str, ok: Option<bool>, missing: Vec<&'static str> },
    /// S: ids in ranges that should be disjoint: two of these, and how many more there are.
    Overlap { what: String, with: String, more: usize, first: u32, last: u32 },
    /// U: a namespace whose root is an ancestor's root as well.
    Root { what: String, kuid: u32, ancestor: String },
    /// What decides beside: none of it is missing from nscap.
    Fact(Fact),
    /// Namespaces and processes that were not looked at.
    #[serde(rename = "left-out")]
    LeftOut { count: usize },
}

impl Finding {
    fn ok(&self) -> Option<bool> {
        match self {
            Finding::Offer { ok, .. } | Finding::Feature { ok, .. } => *ok,
            Finding::Fact(_) => Some(true),
            _ => Some(false),
        }
    }
}

pub(crate) fn run(args: &Check, out: &mut Out) -> Result<u8, Failure> {
    let directory = Directory::probe(&args.dir)?;
    let mut system = System::new()?;
    system.scan()?;
    let mut findings = offers(&Kernel::probe(), &args.dir, &directory);
    findings.extend(Design::here().map(in_the_kernel));
    let features = features(&findings);
    findings.extend(features);
    findings.extend(facts::all(&args.dir, &mut system.namespaces).into_iter().map(Finding::Fact));
    let overlaps = ranges::configured(system.subids()?);
    findings.extend(overlaps.iter().map(|shared| overlap(shared, |user| range_text(user))));
    let overlaps = ranges::live(&system.namespaces);
    findings.extend(overlaps.iter().map(|shared| overlap(shared, |ns| text(*ns))));
    roots_above(&system.namespaces, &mut findings);
    let count = system.namespaces.left_out(None);
    findings.extend((count > 0).then_some(Finding::LeftOut { count }));
    if out.is_json() {
        findings.iter().try_for_each(|finding| out.object(finding))?;
    } else {
        print(&findings, out)?;
    }
    for line in &system.subids()?.malformed {
        note(&format!("{}, line {line}: no range, ignored", Subids::CONFIGURED));
    }
    let untold = count > 0 || findings.iter().any(|finding| finding.ok().is_none());
    Ok(if untold { 2 } else { u8::from(findings.iter().any(|f| f.ok() == Some(false))) })
}

fn overlap<M>(shared: &Overlap<M>, text: impl Fn(&M) -> String) -> Finding {
    let mut named = shared.members.iter().map(text);
    let (what, with) = (named.next().unwrap_or_default(), named.next().unwrap_or_default());
    let more = shared.members.len().saturating_sub(2);
    Finding::Overlap { what, with, more, first: shared.first, last: shared.last }
}

const USER_NAMESPACES: &str = "user namespaces";
const FILE_CAPS: &str = "file capabilities";
const REVISION_3: &str = "revision 3";
const FUSE: &str = "FUSE";
const PASSTHROUGH: &str = "FUSE passthrough";
const UNLIMITED: &str = "FUSE without a time limit";
const SECURITY: &str = "security.* names";
const CAPABILITY: &str = "security.capability";
const TABLE: &str = "security.nscapability";

fn offers(kernel: &Kernel, dir: &Path, directory: &Directory) -> Vec<Finding> {
    let offer = |name, ok, detail: &str| {
        let detail = detail.to_owned();
        Finding::Offer { name, ok: Some(ok), detail }
    };
    let here = |result: Result<(), i32>, more: String| match (directory.tried, result) {
        (Err(errno), _) => {
            let errno = nscap_linux::describe(errno);
            (None, format!("could not be tried: a file in {}: {errno}", out::path(dir)))
        }
        (Ok(()), Ok(())) => (Some(true), format!("can be set in {}{more}", out::path(dir))),
        (Ok(()), Err(errno)) => {
            let errno = nscap_linux::describe(errno);
            (Some(false), format!("cannot be set in {}: {errno}", out::path(dir)))
        }
    };
    let attribute =
        |name, (ok, detail): (Option<bool>, String)| Finding::Offer { name, ok, detail };
    let (major, minor) = kernel.version;
    vec![
        offer("kernel", kernel.revision_3, &format!("Linux {major}.{minor}")),
        offer(USER_NAMESPACES, kernel.user_namespaces, "made by this process"),
        offer(FILE_CAPS, kernel.file_caps, "honoured by execve (no_file_caps turns them off)"),
        offer(REVISION_3, kernel.revision_3, "one entry a file by the kernel itself (Linux 4.14)"),
        offer(FUSE, kernel.fuse, "/dev/fuse, opened by this process"),
        offer(
            PASSTHROUGH,
            kernel.fuse_passthrough != Some(false),
            if kernel.fuse_passthrough.is_some() {
                "data at the speed of the file system beneath (Linux 6.9)"
            } else {
                "the kernel is new enough (6.9); its configuration is not on disk"
            },
        ),
        offer(
            "FUSE over io_uring",
            kernel.fuse_io_uring,
            match kernel.fuse_io_uring {
                true => "requests cost less (Linux 6.14)",
                false if kernel.version < (6, 14) => "requests cost less with it (Linux 6.14)",
                false => {
                    "requests cost less with it; fuse.enable_uring=1 (kernel parameter) or \
                    echo Y >/sys/module/fuse/parameters/enable_uring turns it on, \
                    where kernel.io_uring_disabled is not 2"
                }
            },
        ),
        offer(
            UNLIMITED,
            kernel.fuse_timeout == 0,
            &match kernel.fuse_timeout {
                0 => "a request may last as long as a disk or a lock does".to_owned(),
                seconds => format!(
                    "a request that lasts {seconds} s ends the mount, which one user can bring about \
                    (sysctl fs.fuse.default_request_timeout=0 fs.fuse.max_request_timeout=0)"
                ),
            },
        ),
        offer(
            SECURITY,
            kernel.security_asked,
            if kernel.security_asked {
                "the kernel asks for CAP_SYS_ADMIN before one is changed"
            } else {
                "this kernel does not check the caller, and needs an update; a mount checks it itself"
            },
        ),
        offer("*xattrat calls", kernel.xattrat, "attributes by descriptor (Linux 6.13)"),
        offer("NS_GET_ID", kernel.ns_id, "ids of namespaces that are never used again"),
        offer("PIDFD_THREAD", kernel.pidfd_thread, "a thread by descriptor (Linux 6.9)"),
        attribute(CAPABILITY, here(directory.capability, String::new())),
        attribute(
            TABLE,
            here(directory.table, format!(", up to {} entries a file", directory.entries)),
        ),
    ]
}

/// Said only where it is so, or should be: an unmodified kernel lacks nothing that nscap needs.
fn in_the_kernel(design: Design) -> Finding {
    let decides = |what: &str, policy: Policy| {
        let names: Vec<_> = policy.settings().map(|setting| setting.name).collect();
        format!("{what} decides by the design itself; {}", names.join(", "))
    };
    let (ok, detail) = match design {
        Design::BuiltIn(policy) => (true, decides("built in;", policy)),
        Design::Module { version, policy } => {
            let version = version.map_or_else(String::new, |version| format!(" {version}"));
            (true, decides(&format!("module{version};"), policy))
        }
        Design::Missing => {
            let why = "its module is to be loaded at boot (modules-load.d), and is not: modprobe nscap, as root, \
                tells why; where it is not found, dkms status nscap; dmesg";
            (false, why.to_owned())
        }
    };
    Finding::Offer { name: "nscap in the kernel", ok: Some(ok), detail }
}

/// What each feature needs. What is only faster or safer with something is not listed.
fn features(offers: &[Finding]) -> Vec<Finding> {
    const NEEDS: [(&str, &[&str]); 3] = [
        (
            "one entry a file, by the kernel itself",
            &[USER_NAMESPACES, FILE_CAPS, REVISION_3, CAPABILITY],
        ),
        (
            "several entries a file",
            &[USER_NAMESPACES, FILE_CAPS, REVISION_3, SECURITY, CAPABILITY, TABLE],
        ),
        (
            "one tree for many namespaces (file system)",
            &[USER_NAMESPACES, FILE_CAPS, FUSE, UNLIMITED, CAPABILITY, TABLE],
        ),
    ];
    let has = |need: &str| {
        let ok = |f: &Finding| match f {
            Finding::Offer { name, ok, .. } if *name == need => Some(*ok),
            _ => None,
        };
        offers.iter().find_map(ok).unwrap_or(Some(false))
    };
    let feature = |(name, needs): (&'static str, &[&'static str])| {
        let missing: Vec<_> =
            needs.iter().copied().filter(|need| has(need) != Some(true)).collect();
        let ok = match missing.iter().any(|need| has(need) == Some(false)) {
            true => Some(false),
            false => missing.is_empty().then_some(true),
        };
        Finding::Feature { name, ok, missing }
    };
    NEEDS.map(feature).into()
}

/// U: a grant by this root would reach above its namespace, so that it is refused inside.
fn roots_above(namespaces: &Namespaces, findings: &mut Vec<Finding>) {
    for ns in namespaces.iter() {
        let above = root_kuid(ns).and_then(|kuid| Some((kuid, root_of_ancestor(kuid, ns)?)));
        if let Some((kuid, ancestor)) = above {
            let (kuid, ancestor) = (Kuid::get(kuid), text(ancestor));
            findings.push(Finding::Root { what: text(ns), kuid, ancestor });
        }
    }
}

/// How many namespaces with one root are named.
const ROOTS: usize = 2;

fn print(findings: &[Finding], out: &mut Out) -> Result<(), Failure> {
    let word = |ok: Option<bool>| {
        let (style, word) = match ok {
            Some(true) => (GOOD, "yes"),
            Some(false) => (BAD, "no "),
            None => (BAD, "?  "),
        };
        format!("{style}{word}{style:#}")
    };
    out.styled(HEAD, "This machine")?;
    let mut offers = Table::indented(2);
    let mut features = Table::indented(2);
    let mut facts = Table::indented(2);
    let mut overlaps = Vec::new();
    let mut roots: BTreeMap<_, Vec<&String>> = BTreeMap::new();
    for finding in findings {
        match finding {
            Finding::Offer { name, ok, detail } => {
                offers.row([word(*ok), (*name).to_owned(), detail.clone()]);
            }
            Finding::Feature { name, ok, missing } => {
                let missing = missing.join(", ");
                let missing = match ok {
                    Some(true) => String::new(),
                    Some(false) => format!("needs {missing}"),
                    None => format!("needs what could not be tried: {missing}"),
                };
                features.row([word(*ok), (*name).to_owned(), missing]);
            }
            Finding::Overlap { what, with, more, first, last } => {
                let all = match more {
                    0 => format!("{what} and {with}"),
                    more => format!("{what}, {with} and {more} more"),
                };
                overlaps.push(format!("  {all} share kuids {first} to {last}: shared grants [S]"));
            }
            Finding::Root { what, kuid, ancestor } => {
                roots.entry((kuid, ancestor)).or_default().push(what);
            }
            Finding::Fact(Fact { name, value, text }) => {
                let value = value.clone().unwrap_or_else(|| "?".to_owned());
                facts.row([(*name).to_owned(), value, text.clone()]);
            }
            Finding::LeftOut { count } => overlaps.push(format!("  {}", left_out(*count))),
        }
    }
    overlaps.extend(roots.iter().map(|((kuid, ancestor), all)| {
        let named: Vec<&str> = all.iter().take(ROOTS).map(|what| what.as_str()).collect();
        let more = match all.len().saturating_sub(ROOTS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "  {}{more}: the root, kuid {kuid}, is also root of {ancestor}: grants come from there [U]",
            named.join(", ")
        )
    }));
    out.table(&offers)?;
    out.styled(HEAD, "That leaves")?;
    out.table(&features)?;
    out.styled(HEAD, "What decides beside")?;
    out.table(&facts)?;
    out.styled(HEAD, "Ranges")?;
    if overlaps.is_empty() {
        out.line("  nothing overlaps")?;
    }
    overlaps.iter().try_for_each(|line| out.line(line))?;
    Ok(())
}
