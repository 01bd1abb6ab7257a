// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap check`: what this machine offers, which features of nscap that leaves, and which id
//! ranges overlap (S) or reach above their namespace (U).

use std::path::Path;

use nscap_core::{Kuid, Policy, root_kuid, root_of_ancestor};
use nscap_linux::probe::{self, Directory, Kernel};
use nscap_linux::{Namespaces, Subids};
use serde::Serialize;

use crate::cli::Check;
use crate::failure::Failure;
use crate::note;
use crate::out::{self, BAD, GOOD, HEAD, Out, Table};
use crate::ranges::{self, Overlap, range_text, text};
use crate::system::{System, left_out};

/// One thing that was looked at.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Finding {
    /// Something that the machine offers or not.
    Offer { name: &'static str, ok: bool, detail: String },
    /// A feature of nscap, and what it still needs.
    Feature { name: &'static str, ok: bool, missing: Vec<&'static str> },
    /// S: ids in ranges that should be disjoint: two of these, and how many more there are.
    Overlap { what: String, with: String, more: usize, first: u32, last: u32 },
    /// U: a namespace whose root is an ancestor's root as well.
    Root { what: String, kuid: u32, ancestor: String },
    /// Namespaces and processes that were not looked at.
    #[serde(rename = "left-out")]
    LeftOut { count: usize },
}

impl Finding {
    fn ok(&self) -> bool {
        matches!(self, Finding::Offer { ok: true, .. } | Finding::Feature { ok: true, .. })
    }
}

pub(crate) fn run(args: &Check, out: &mut Out) -> Result<u8, Failure> {
    let directory = Directory::probe(&args.dir)?;
    let mut system = System::new()?;
    system.scan()?;
    let mut findings = offers(&Kernel::probe(), &args.dir, &directory);
    findings.extend(probe::kernel_policy().map(reference));
    let features = features(&findings);
    findings.extend(features);
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
    Ok(if count > 0 { 2 } else { u8::from(!findings.iter().all(Finding::ok)) })
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
    let offer = |name, ok, detail: &str| Finding::Offer { name, ok, detail: detail.to_owned() };
    let here = |result: Result<(), i32>, more: String| match result {
        Ok(()) => (true, format!("can be set in {}{more}", out::path(dir))),
        Err(errno) => (
            false,
            format!("cannot be set in {}: {}", out::path(dir), nscap_linux::describe(errno)),
        ),
    };
    let attribute = |name, (ok, detail): (bool, String)| Finding::Offer { name, ok, detail };
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
                "this kernel does not ask who changes one, and needs an update; a mount asks by itself"
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

/// Said only where it is so: an unmodified kernel lacks nothing that nscap needs.
fn reference(policy: Policy) -> Finding {
    let names: Vec<_> = policy.settings().map(|setting| setting.name).collect();
    let detail = format!("decides by the design itself; {}", names.join(", "));
    Finding::Offer { name: "nscap in the kernel", ok: true, detail }
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
    let lacks = |need: &str| {
        let is = |f: &Finding| matches!(f, Finding::Offer { name, ok: true, .. } if *name == need);
        !offers.iter().any(is)
    };
    let feature = |(name, needs): (&'static str, &[&'static str])| {
        let missing: Vec<_> = needs.iter().copied().filter(|need| lacks(need)).collect();
        Finding::Feature { name, ok: missing.is_empty(), missing }
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

fn print(findings: &[Finding], out: &mut Out) -> Result<(), Failure> {
    let word = |ok: bool| {
        let (style, word) = if ok { (GOOD, "yes") } else { (BAD, "no ") };
        format!("{style}{word}{style:#}")
    };
    out.styled(HEAD, "This machine")?;
    let mut offers = Table::indented(2);
    let mut features = Table::indented(2);
    let mut overlaps = Vec::new();
    for finding in findings {
        match finding {
            Finding::Offer { name, ok, detail } => {
                offers.row([word(*ok), (*name).to_owned(), detail.clone()]);
            }
            Finding::Feature { name, ok, missing } => {
                let missing = if *ok { String::new() } else { format!("needs {}", missing.join(", ")) };
                features.row([word(*ok), (*name).to_owned(), missing]);
            }
            Finding::Overlap { what, with, more, first, last } => {
                let all = match more {
                    0 => format!("{what} and {with}"),
                    more => format!("{what}, {with} and {more} more"),
                };
                overlaps.push(format!("  {all} share kuids {first} to {last}: shared grants [S]"));
            }
            Finding::Root { what, kuid, ancestor } => overlaps.push(format!(
                "  {what}: its root, kuid {kuid}, is also root of {ancestor}: grants come from there [U]"
            )),
            Finding::LeftOut { count } => overlaps.push(format!("  {}", left_out(*count))),
        }
    }
    out.table(&offers)?;
    out.styled(HEAD, "That leaves")?;
    out.table(&features)?;
    out.styled(HEAD, "Ranges")?;
    if overlaps.is_empty() {
        out.line("  nothing overlaps")?;
    }
    overlaps.iter().try_for_each(|line| out.line(line))?;
    Ok(())
}
