//! What strangers name, hold and mount, read by root: names that would deceive, many namespaces,
//! files under a lease, file systems that do not answer.

#[path = "../../nscap-linux/tests/support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::{code, is_root, stdout};

const NSCAP: &str = env!("CARGO_BIN_EXE_nscap");

fn nscap<A: AsRef<OsStr>>(args: &[A]) -> Output {
    Command::new(NSCAP).args(args).output().unwrap()
}

mod names {
    use super::*;

    /// C1, DEL, the two directions, and characters without width: 15 bytes at most.
    const NAMES: [&str; 3] =
        ["\u{9b}31m\u{7f}x", "\u{202e}evil\u{2067}\u{2069}", "a\u{200b}\u{feff}\u{2060}b"];

    fn is_bare(output: &[u8]) {
        let text = String::from_utf8_lossy(output);
        let deceives = |c: &char| *c != '\n' && nscap_linux::is_deceptive(*c);
        let found = text.chars().find(deceives);
        assert_eq!(found, None, "{text:?}");
    }

    /// A process of that name in a user namespace of its own, whose root is `kuid`.
    struct Called(Child);

    impl Called {
        fn new(name: &str, kuid: u32) -> Called {
            let script = "printf %s \"$0\" >/proc/$$/comm; echo up; read line; read line";
            let mut command = Command::new("unshare");
            command.args(["-U", "sh", "-c", script, name]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "up\n");
            for map in ["uid_map", "gid_map"] {
                let map = format!("/proc/{}/{map}", child.id());
                std::fs::write(map, format!("0 {kuid} 10")).unwrap();
            }
            Called(child)
        }
    }

    impl Drop for Called {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn none_reaches_a_terminal_or_a_line_of_json_as_it_is() {
        if !is_root("none_reaches_a_terminal_or_a_line_of_json_as_it_is") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        for (name, kuid) in NAMES.into_iter().zip(3_400_000..) {
            let process = Called::new(name, kuid);
            let pid = process.0.id().to_string();
            let file = directory.path().join(format!("{name} file"));
            std::fs::copy("/bin/true", &file).unwrap();
            let file = file.to_str().unwrap();
            assert_eq!(code(&nscap(&["set", "cap_kill=ep", file, "--for", &kuid.to_string()])), 0);
            let dir = directory.path().to_str().unwrap();
            let who = format!("pid:{name}");
            let commands: [&[&str]; 8] = [
                &["ns"],
                &["get", file],
                &["scan", dir],
                &["explain", file, "--pid", &pid],
                &["get", file, "--as", &who],
                &["check", dir],
                &["rm", file, "--for", "7"],
                &["layer", "ls", file],
            ];
            for command in commands {
                for json in [&[][..], &["--json"]] {
                    let output = nscap(&[json, command].concat());
                    assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{command:?}");
                    is_bare(&output.stdout);
                    is_bare(&output.stderr);
                }
            }
            let all = stdout(&nscap(&["--json", "ns"]));
            let all: Vec<Value> = all.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            let found = all.iter().find(|ns| ns["root"] == kuid).unwrap();
            assert_eq!(found["command"], name);
            let got: Value =
                serde_json::from_str(&stdout(&nscap(&["--json", "get", file]))).unwrap();
            assert_eq!(got["path"], file);
        }
    }

    #[test]
    fn none_of_a_member_or_a_document_does() {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("layer.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&layer).unwrap());
        let value = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for name in NAMES {
            let value: &[u8] = &value;
            tar.append_pax_extensions([("SCHILY.xattr.security.capability", value)]).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o4777);
            header.set_size(0);
            tar.append_data(&mut header, name, std::io::empty()).unwrap();
        }
        tar.finish().unwrap();
        let layer = layer.to_str().unwrap();
        let map = ["layer", "map", "--from", "host", "--to", "0:7:10", "--explain", layer, "-o"];
        let out = format!("{layer}.out");
        let map = [&map[..], &[&out]].concat();
        for command in [&["layer", "ls", layer][..], &["layer", "check", layer], &map] {
            for json in [&[][..], &["--json"]] {
                let output = nscap(&[json, command].concat());
                assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{command:?}");
                is_bare(&output.stdout);
                is_bare(&output.stderr);
            }
        }
        let image = directory.path().join("image");
        std::fs::create_dir_all(image.join("blobs/sha256")).unwrap();
        std::fs::write(image.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        for (media_type, digest) in [("index.v1+json", NAMES[1]), (NAMES[0], "sha256:0")] {
            let index = format!(
                r#"{{"manifests":[{{"mediaType":"application/vnd.oci.image.{media_type}","size":1,"digest":"{digest}"}}]}}"#
            );
            std::fs::write(image.join("index.json"), index).unwrap();
            let image = image.to_str().unwrap();
            for command in [
                &["layer", "ls", image][..],
                &["layer", "map", "--from", "host", "--to", "host", image, "--in-place"],
            ] {
                is_bare(&nscap(command).stderr);
            }
        }
    }
}
