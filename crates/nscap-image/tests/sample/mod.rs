// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree with everything in it that a shift cares about, made by the tools that people use, and
//! what those tools say of it.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

pub(crate) mod run;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What another program prints, which must succeed.
pub(crate) fn tool<A: AsRef<OsStr>>(program: &str, args: &[A]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tree of a container whose root is `base` on disk.
pub(crate) struct Sample {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) tree: PathBuf,
    pub(crate) base: u32,
}

/// The programs in it that grant something.
pub(crate) const PROGRAMS: [&str; 8] =
    ["entry", "nested", "host", "table", "beside", "suid", "sgid", "both"];

impl Sample {
    pub(crate) fn new(base: u32) -> Sample {
        Sample::below(&std::env::temp_dir(), base)
    }

    /// In a directory of its own below that one.
    pub(crate) fn below(place: &Path, base: u32) -> Sample {
        let directory = tempfile::tempdir_in(place).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let tree = directory.path().join("rootfs");
        let sample = Sample { directory, tree, base };
        std::fs::create_dir(&sample.tree).unwrap();
        for name in ["bin", "etc", "etc/deep", "set-gid", "sticky"] {
            std::fs::create_dir(sample.path(name)).unwrap();
        }
        sample.programs();
        sample.ordinary();
        sample.lists();
        for entry in walk(&sample.tree) {
            let time = "--date=2020-02-03 04:05:06.123456789";
            tool("touch", &["-h".as_ref(), time.as_ref(), entry.as_os_str()]);
        }
        sample
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tree.join(name)
    }

    fn owned(&self, name: &str, mode: u32, uid: u32, gid: u32) -> PathBuf {
        let path = self.path(name);
        lchown(&path, Some(self.base + uid), Some(self.base + gid)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    fn programs(&self) {
        for name in PROGRAMS {
            copy_cat(&self.path("bin").join(name));
            self.owned(&format!("bin/{name}"), 0o755, 0, 0);
        }
        let grant = |name: &str, caps: &str, root: Option<u32>| {
            let path = self.path("bin").join(name);
            nscap_set(&path, caps, root);
        };
        grant("entry", "cap_net_raw=ep", Some(self.base));
        grant("nested", "cap_net_raw=ep", Some(self.base + 1000));
        grant("host", "cap_chown=ep", None);
        grant("table", "cap_net_raw=ep", Some(self.base));
        grant("table", "cap_kill=ep", Some(self.base + 1000));
        grant("beside", "cap_chown=ep", None);
        grant("beside", "cap_kill=ep", Some(self.base));
        self.owned("bin/suid", 0o4755, 0, 0);
        self.owned("bin/sgid", 0o2755, 5, 6);
        self.owned("bin/both", 0o755, 0, 0);
        grant("both", "cap_net_raw=ep", Some(self.base));
        std::fs::set_permissions(self.path("bin/both"), PermissionsExt::from_mode(0o4755)).unwrap();
    }

    fn ordinary(&self) {
        std::fs::write(self.path("etc/shadow"), "secret").unwrap();
        self.owned("etc/shadow", 0o640, 0, 42);
        std::fs::write(self.path("etc/new\nline"), "").unwrap();
        self.owned("etc/new\nline", 0o600, 1000, 1001);
        let raw = self.tree.join(OsStr::from_bytes(b"etc/not\xffutf8"));
        std::fs::write(&raw, "x").unwrap();
        chown(&raw, Some(self.base + 9), Some(self.base + 9)).unwrap();
        std::fs::write(self.path("etc/one"), "linked").unwrap();
        self.owned("etc/one", 0o644, 3, 3);
        std::fs::hard_link(self.path("etc/one"), self.path("bin/two")).unwrap();
        std::fs::hard_link(self.path("etc/one"), self.path("etc/deep/three")).unwrap();
        symlink("/etc/passwd", self.path("etc/link")).unwrap();
        lchown(self.path("etc/link"), Some(self.base + 4), Some(self.base + 5)).unwrap();
        symlink("nowhere", self.path("etc/dangling")).unwrap();
        lchown(self.path("etc/dangling"), Some(self.base + 4), Some(self.base)).unwrap();
        tool("mkfifo", &[self.path("etc/fifo")]);
        // Set-id bits mean nothing here, and chown(2) takes them even so.
        self.owned("etc/fifo", 0o6622, 8, 8);
        tool(
            "mknod",
            &[self.path("etc/null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()],
        );
        self.owned("etc/null", 0o666, 0, 0);
        drop(std::os::unix::net::UnixListener::bind(self.path("etc/socket")).unwrap());
        self.owned("etc/socket", 0o777, 2, 2);
        self.owned("set-gid", 0o2775, 7, 7);
        self.owned("sticky", 0o1777, 0, 0);
        for name in ["", "bin", "etc", "etc/deep"] {
            self.owned(name, 0o755, 0, 0);
        }
    }

    fn lists(&self) {
        let id = |offset: u32| self.base + offset;
        std::fs::write(self.path("etc/listed"), "list").unwrap();
        self.owned("etc/listed", 0o640, 0, 0);
        let list = format!("u:{}:rw,g:{}:r,m::rw", id(7), id(8));
        tool("setfacl", &["-m".as_ref(), list.as_ref(), self.path("etc/listed").as_os_str()]);
        // The user named here gets nothing, and would get the group's r after half a move.
        std::fs::write(self.path("etc/denied"), "list").unwrap();
        self.owned("etc/denied", 0o640, 0, 8);
        let list = format!("u:{}:---", id(7));
        tool("setfacl", &["-m".as_ref(), list.as_ref(), self.path("etc/denied").as_os_str()]);
        let list = format!("d:u:{}:rwx,u:{}:rx", id(9), id(9));
        tool("setfacl", &["-m".as_ref(), list.as_ref(), self.path("etc/deep").as_os_str()]);
    }

    /// Everything that there is to know of the tree, but for ctimes; a tripwire's random bits are
    /// only shown with `exact`.
    pub(crate) fn dump(&self, exact: bool) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        for path in walk(&self.tree) {
            let m = std::fs::symlink_metadata(&path).unwrap();
            // A directory's size and links may depend on its history.
            let (size, links) = if m.is_dir() { (0, 0) } else { (m.size(), m.nlink()) };
            let (uid, gid, time, nsec) = (m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
            let stat = format!(
                "{:o} {uid}:{gid} {size} {links} {time}.{nsec:09} {:x}",
                m.mode(),
                m.rdev()
            );
            let inside = path.strip_prefix(&self.tree).unwrap().to_owned();
            all.insert(inside, stat);
        }
        all.extend(attributes(&self.tree, exact));
        all
    }
}

/// By a program of its own: a process that another test forks at this moment would have the file
/// open for writing.
pub(crate) fn copy_cat(to: &Path) {
    tool("cp", &["/bin/cat".as_ref(), to.as_os_str()]);
}

fn nscap_set(path: &Path, caps: &str, root: Option<u32>) {
    use nscap_core::{Entries, FileCaps, HostValue, Record, Stored};
    use nscap_linux::{CapFile, Links, Namespaces};
    let mut namespaces = Namespaces::own().unwrap();
    let file = CapFile::open(path, Links::Refuse).unwrap();
    let before = file.read(&mut namespaces).unwrap();
    let (stored, _) = before.stored(&namespaces);
    let caps = FileCaps::from_text(caps.as_bytes()).unwrap();
    let mut records: Vec<[u8; 24]> =
        stored.entries.iter().map(|(id, caps)| *Record::new(id.get(), caps).as_bytes()).collect();
    records.extend(root.map(|root| *Record::new(root, caps).as_bytes()));
    let host = if root.is_none() { HostValue::Present(caps) } else { stored.host };
    let next = Stored { host, entries: Entries::decode(&records).unwrap() };
    file.write(&before, &next, &namespaces).unwrap();
}

pub(crate) fn walk(tree: &Path) -> Vec<PathBuf> {
    let mut all = vec![tree.to_owned()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        at += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            all.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.split_off(0)
}

/// The raw attributes of every inode that has some, and what getfacl(1) prints.
fn attributes(tree: &Path, exact: bool) -> Vec<(PathBuf, String)> {
    let getfattr = "getfattr -R -P -h -d -m - -e hex . 2>/dev/null";
    let getfacl = "getfacl -R -P -n -p -E . 2>/dev/null";
    let mut all = Vec::new();
    for (what, command) in [("attributes", getfattr), ("list", getfacl)] {
        let output = Command::new("sh").args(["-c", command]).current_dir(tree).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        for file in String::from_utf8_lossy(&output.stdout).split("\n\n") {
            let Some((name, lines)) = file.split_once('\n') else { continue };
            let line = |line: &str| if exact { line.to_owned() } else { without_random(line) };
            let lines =
                lines.lines().filter(|line| !line.starts_with("security.selinux")).map(line);
            all.push((format!("{what} {name}").into(), lines.collect::<Vec<_>>().join(" ")));
        }
    }
    all
}

/// A tripwire ends in the rootid fffffffe; the table contains it too.
fn without_random(line: &str) -> String {
    let Some((name, value)) = line.split_once("=0x") else {
        return line.to_owned();
    };
    match (name, value.len()) {
        ("security.capability", 48) if value.ends_with("feffffff") => format!("{name}=tripwire"),
        ("security.nscapability", 112..) => format!("{name}={}", &value[64..]),
        _ => line.to_owned(),
    }
}
