// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images as the field's tools build them, for the tests of several commands.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use nscap_testing::is_root;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// What a program prints, which must succeed.
pub(crate) fn tool<A: AsRef<OsStr> + std::fmt::Debug>(program: &str, args: &[A]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn nscap(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_nscap"), args)
}

/// `nscap`, which must give this exit status.
pub(crate) fn expect(code: i32, args: &[&str]) -> String {
    let output = nscap(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says on standard error.
pub(crate) fn fails(code: i32, args: &[&str]) -> String {
    let output = nscap(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Whether programs are there; a test needs them and root.
pub(crate) fn has(test: &str, programs: &[&str]) -> bool {
    for program in programs {
        if Command::new(program).arg("--version").output().is_err() {
            println!("skipped: {test}: {program} is not installed");
            return false;
        }
    }
    is_root(test)
}

/// A program of the containers family, which keeps its caches in places of its own here.
pub(crate) fn containers(program: &[&str]) -> String {
    let script = "mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && exec \"$@\"";
    let wrapped = [&["-m", "--propagation", "private", "sh", "-c", script, "sh"], program].concat();
    tool("unshare", &wrapped).trim().to_owned()
}

/// A directory of a test's own.
pub(crate) struct Stage {
    pub(crate) directory: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        // Buildah takes no capital letters.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("nscap-images-{}-{number}", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).rand_bytes(0).tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Stage { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A tree with usr/bin/ping, which has cap_net_raw=ep, usr/bin/cat and a link bin to usr/bin; a
    /// directory of mode 0700, and one of 1777.
    pub(crate) fn tree(&self) -> String {
        let tree = self.path("tree");
        fill(&tree);
        self.name("tree")
    }

    /// An image of that tree, as umoci packs it: `oci:DIR:x`. The tree is a layer above an empty
    /// one.
    pub(crate) fn image(&self) -> String {
        let layout = self.name("image");
        let (image, bundle) = (format!("{layout}:x"), self.name("bundle"));
        tool("umoci", &["init", "--layout", &layout]);
        tool("umoci", &["new", "--image", &image]);
        tool("umoci", &["unpack", "--image", &image, &bundle]);
        std::fs::remove_dir_all(self.path("bundle/rootfs")).unwrap();
        fill(&self.path("bundle/rootfs"));
        tool("umoci", &["repack", "--image", &image, &bundle]);
        std::fs::remove_dir_all(&bundle).unwrap();
        format!("oci:{layout}:x")
    }

    pub(crate) fn skopeo(&self, from: &str, to: &str) {
        containers(&["skopeo", "copy", "--quiet", "--insecure-policy", from, to]);
    }

    /// An OCI layout whose index has images for linux/amd64 and linux/arm64/v8.
    pub(crate) fn multi(&self) -> String {
        let image = self.image();
        let layout = self.name("image");
        let index = self.path("image/index.json");
        let mut top: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
        assert!(image.ends_with(":x"));
        let first = top["manifests"][0].clone();
        let manifest = self.blob_of(&first);
        let config = self.blob_of(&manifest["config"]);
        let mut other = (config, manifest);
        other.0["architecture"] = json!("arm64");
        other.0["variant"] = json!("v8");
        // Of another content, so that its layer is another as well.
        let script = format!(
            "mkdir {0}/t && cd {0}/t && tar --xattrs --xattrs-include=security.* -xf - && \
             echo >usr/bin/other && tar --xattrs --xattrs-include=security.* -cf ../arm.tar .",
            self.directory.path().display()
        );
        let digest = other.1["layers"][0]["digest"].as_str().unwrap()[7..].to_owned();
        let blob = self.path("image/blobs/sha256").join(digest);
        tool("sh", &["-c", &format!("gzip -dc {} | (\n{script}\n)", blob.display())]);
        let layer = std::fs::read(self.path("arm.tar")).unwrap();
        other.0["rootfs"]["diff_ids"] = json!([format!("sha256:{}", hex(&layer))]);
        let mut layer = self.put(&layer);
        layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
        other.1["layers"] = json!([layer]);
        let mut config = self.put(other.0.to_string().as_bytes());
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        other.1["config"] = config;
        let mut second = self.put(other.1.to_string().as_bytes());
        second["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
        second["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
        let mut one = first.clone();
        one["platform"] = json!({"os": "linux", "architecture": "amd64"});
        one.as_object_mut().unwrap().remove("annotations");
        let inner = json!({"schemaVersion": 2, "manifests": [one, second]});
        let mut inner = self.put(inner.to_string().as_bytes());
        inner["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
        inner["annotations"] = json!({"org.opencontainers.image.ref.name": "x"});
        top["manifests"] = json!([inner]);
        std::fs::write(index, top.to_string()).unwrap();
        layout
    }

    /// An OCI layout of these layers, `x`, made by hand.
    pub(crate) fn layout(&self, layers: &[&[u8]]) -> String {
        let layout = self.path("image");
        let _ = std::fs::remove_dir_all(&layout);
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let ids: Vec<String> =
            layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": ids}, "config": {}});
        let mut config = self.put(config.to_string().as_bytes());
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| {
                let mut layer = self.put(layer);
                layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
                layer
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let mut manifest = self.put(manifest.to_string().as_bytes());
        manifest["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "x"});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        self.name("image")
    }

    fn blob_of(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().unwrap();
        let blob = std::fs::read(self.path("image/blobs/sha256").join(&digest[7..])).unwrap();
        serde_json::from_slice(&blob).unwrap()
    }

    fn put(&self, content: &[u8]) -> Value {
        let hex = hex(content);
        std::fs::write(self.path("image/blobs/sha256").join(&hex), content).unwrap();
        json!({"digest": format!("sha256:{hex}"), "size": content.len()})
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fill(tree: &Path) {
    for name in ["usr/bin", "private", "tmp", "etc"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    for name in ["ping", "cat"] {
        // By a program of its own: a process that another test forks would have it open for
        // writing.
        tool("cp", &[Path::new("/bin/cat"), &tree.join("usr/bin").join(name)]);
    }
    std::os::unix::fs::symlink("usr/bin", tree.join("bin")).unwrap();
    std::os::unix::fs::symlink("../usr/bin/ping", tree.join("etc/link")).unwrap();
    tool("cp", &[Path::new("/bin/cat"), &tree.join("private/program")]);
    std::fs::hard_link(tree.join("usr/bin/cat"), tree.join("usr/bin/dog")).unwrap();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    ["", "usr", "usr/bin", "etc", "usr/bin/ping", "usr/bin/cat"]
        .iter()
        .for_each(|n| mode(n, 0o755));
    mode("private", 0o700);
    mode("tmp", 0o1777);
    tool("setcap", &["cap_net_raw=ep", tree.join("usr/bin/ping").to_str().unwrap()]);
}

/// A program that needs no other.
pub(crate) fn static_program() -> Vec<u8> {
    // The header of an executable file without an interpreter, and one loaded segment.
    let mut program = std::fs::read("/proc/self/exe").unwrap()[..64].to_vec();
    program[16..18].copy_from_slice(&2u16.to_ne_bytes());
    program[32..40].copy_from_slice(&64u64.to_ne_bytes());
    program[56..58].copy_from_slice(&1u16.to_ne_bytes());
    program.resize(64 + 56, 0);
    program[64] = 1;
    program
}

/// Name, kind, link, uid, mode, and a capability.
pub(crate) type Member<'m> = (&'m str, tar::EntryType, &'m str, u32, u32, Option<&'m [u8]>);

/// A layer of these members.
pub(crate) fn layer(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, link, uid, mode, cap) in members {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(u64::from(*uid));
        header.set_gid(0);
        let content: &[u8] = if kind.is_file() { b"#!/none\n" } else { b"" };
        header.set_size(content.len() as u64);
        header.set_path(name).unwrap();
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        if let Some(cap) = cap {
            builder.append_pax_extensions([("SCHILY.xattr.security.capability", *cap)]).unwrap();
        }
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// cap_net_raw=ep, as revision 2 or for a root.
pub(crate) fn value(root: Option<u32>) -> Vec<u8> {
    let mut value = vec![1, 0, 0, if root.is_some() { 3 } else { 2 }, 0, 32];
    value.resize(20, 0);
    value.extend(root.into_iter().flat_map(u32::to_le_bytes));
    value
}
