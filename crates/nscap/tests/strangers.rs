// SPDX-License-Identifier: MIT OR Apache-2.0
//! What strangers name, hold and mount, read by root: names that would deceive, many namespaces,
//! files under a lease, file systems that do not answer.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use nscap_testing::{code, is_root, stdout};
use serde_json::Value;

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

mod namespaces {
    use super::*;

    /// The uid of the user that makes them, which no other test uses.
    const USER: u32 = 3_500_007;

    /// Runs a script in a pid namespace of its own, so that whatever it starts goes with it.
    /// `make N DEPTH`: N lines of namespaces of USER, of which only the last has a process in it.
    /// `counted COMMAND`: how many processes the command took, itself included.
    fn run(script: &str, files: &[&str]) -> String {
        const TOOLS: &str = r#"
            make() {
                line=; for _ in $(seq $2); do line="$line unshare -U -r"; done
                for _ in $(seq $1); do
                    setpriv --reuid $user --regid $user --clear-groups $line sleep infinity &
                done
                until [ "$(pgrep -cx sleep)" = $1 ]; do sleep 0.05; done
            }

            counted() { local a; a=$(sh -c 'echo $$'); "$@" >&2; echo $(($(sh -c 'echo $$') - a - 2)); }
        "#;
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-euc"])
            .args([&format!("{TOOLS}\n{script}"), "bash"])
            .args(files)
            .env("nscap", NSCAP)
            .env("user", USER.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        stdout(&output)
    }

    struct Files {
        directory: tempfile::TempDir,
        granted: String,
        host: String,
    }

    /// One file with an entry for USER, and one with a host value.
    fn files() -> Files {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, whom: &str| {
            let path = directory.path().join(name).to_str().unwrap().to_owned();
            std::fs::copy("/bin/true", &path).unwrap();
            assert_eq!(code(&nscap(&["set", "cap_kill=ep", &path, "--for", whom])), 0);
            path
        };
        let (granted, host) = (file("granted", &USER.to_string()), file("host", "host"));
        Files { directory, granted, host }
    }

    fn has_ids() -> bool {
        let all = stdout(&nscap(&["--json", "ns"]));
        let first: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
        !first["id"].is_null()
    }

    #[test]
    fn many_take_no_descriptors_and_few_lines() {
        if !is_root("many_take_no_descriptors_and_few_lines") {
            return;
        }
        let files = files();
        let script = r#"
            make 150 1
            few() { prlimit --nofile=64:64 "$nscap" --json "$@"; }
            few get "$1"
            few explain "$1" --pid $$ >/dev/null || [ $? -le 2 ]
            few scan "$2"
            few ns | wc -l
            few check "$2" >/tmp/check.$$ || [ $? = 1 ]
            wc -l </tmp/check.$$; grep overlap /tmp/check.$$; rm /tmp/check.$$
            few get "$1" --as $user >/dev/null
        "#;
        if !has_ids() {
            return println!("skipped: many_take_no_descriptors: needs NS_GET_ID (Linux 6.18)");
        }
        let directory = files.directory.path().to_str().unwrap();
        let said = run(script, &[&files.granted, directory]);
        let objects: Vec<Value> =
            said.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let holders = objects[0]["entries"][0]["holders"].as_array().unwrap();
        assert_eq!(holders.len(), 17, "{holders:?}");
        assert_eq!(holders[16], serde_json::json!({"kind": "more", "count": 134}));
        let scanned = objects.iter().find(|object| object["shared"] != Value::Null).unwrap();
        assert!(scanned["shared"].as_array().unwrap().len() <= 1, "{scanned}");
        let overlaps: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "overlap").collect();
        let ours: Vec<_> = overlaps.iter().filter(|o| o["first"] == USER).collect();
        assert_eq!(ours.len(), 1, "{said}");
        assert_eq!((&ours[0]["last"], &ours[0]["more"]), (&USER.into(), &148.into()));
        let numbers: Vec<usize> = said.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(numbers[0] >= 151 && numbers[1] < 60, "{numbers:?}");
    }

    #[test]
    fn a_line_of_nested_ones_takes_one_child_and_a_host_value_none() {
        if !is_root("a_line_of_nested_ones_takes_one_child_and_a_host_value_none") {
            return;
        }
        let files = files();
        let script = r#"
            make 12 8
            counted "$nscap" get "$1" 2>/tmp/said.$$
            grep -c 'also 95 more' /tmp/said.$$; rm /tmp/said.$$
            counted "$nscap" get "$2" 2>/dev/null
            counted "$nscap" explain "$1" --as host 2>/dev/null || true
            counted "$nscap" ns 2>/dev/null
        "#;
        let said = run(script, &[&files.granted, &files.host]);
        let numbers: Vec<u32> = said.lines().map(|line| line.parse().unwrap()).collect();
        let [get, found, host, explain, ns] = numbers[..] else { panic!("{said}") };
        assert_eq!(found, 1, "{said}");
        assert!((12..=16).contains(&get), "{said}");
        assert!(host <= 2 && explain <= 2, "{said}");
        assert!(ns <= 16, "{said}");
    }

    #[test]
    fn what_cannot_be_entered_is_said_to_be_left_out() {
        if !is_root("what_cannot_be_entered_is_said_to_be_left_out") {
            return;
        }
        let files = files();
        let script = r#"
            make 1 3
            drop() { setpriv --bounding-set=-sys_admin,-setpcap "$nscap" "$@"; }
            drop --json get "$1"
            drop get "$1"
            drop --json ns | tail -n 1 || true
            drop --json check "$2" | grep left-out || true
            drop --json scan --stale "$2" || echo "status $?"
            for command in 'ns' "check $2"; do
                status=0; drop $command >/dev/null 2>&1 || status=$?; echo "status $status"
            done
        "#;
        let directory = files.directory.path().to_str().unwrap();
        let said = run(script, &[&files.granted, directory]);
        let lines: Vec<&str> = said.lines().collect();
        let got: Value = serde_json::from_str(lines[0]).unwrap();
        let holders = got["entries"][0]["holders"].as_array().unwrap();
        let left_out = serde_json::json!({"kind": "left-out", "count": 2});
        assert!(holders.contains(&left_out), "{said}");
        assert!(lines[1].contains("2 namespace(s) or process(es) were not looked at"), "{said}");
        assert_eq!(lines[2], r#"{"left_out":2}"#, "{said}");
        assert_eq!(lines[3], r#"{"kind":"left-out","count":2}"#, "{said}");
        // An entry of which that is not known is not called stale.
        assert_eq!(lines[4..], ["status 2", "status 2", "status 2"], "{said}");
    }
}

mod layers {
    use super::*;

    /// A gzipped layer of some kilobytes with many members that have capabilities and very long
    /// names.
    fn layer(directory: &std::path::Path) -> String {
        let path = directory.join("layer.tar").to_str().unwrap().to_owned();
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        let value: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for n in 0..400 {
            // Some fill the table, one makes it wide.
            let name = format!("{n}/{}", "x".repeat(if n % 4 == 0 { 100_000 } else { 10 }));
            tar.append_pax_extensions([
                ("path", name.as_bytes()),
                ("SCHILY.xattr.security.capability", value),
            ])
            .unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_path("short").unwrap();
            header.set_size(0);
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
        }
        tar.finish().unwrap();
        assert!(Command::new("gzip").arg(&path).status().unwrap().success());
        path + ".gz"
    }

    #[test]
    fn long_names_take_no_more_memory_than_short_ones() {
        let directory = tempfile::tempdir().unwrap();
        let layer = layer(directory.path());
        assert!(std::fs::metadata(&layer).unwrap().len() < 2 << 20);
        for command in ["ls", "check"] {
            for json in [&[][..], &["--json"]] {
                let output = Command::new("prlimit")
                    .args(["--data=41943040", NSCAP])
                    .args(json)
                    .args(["layer", command, &layer])
                    .output()
                    .unwrap();
                assert!(
                    output.status.code().is_some_and(|c| c < 2),
                    "{command} {json:?} {output:.300?}"
                );
                let lines = output.stdout.split(|byte| *byte == b'\n').count();
                assert!(lines > 400 || command == "check", "{lines}");
                // What is aligned with the longest name would be 40 MB.
                let most = if json.is_empty() { 4 << 20 } else { 16 << 20 };
                assert!(output.stdout.len() < most, "{}", output.stdout.len());
            }
        }
    }
}

mod leases {
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::time::{Duration, Instant};

    use super::*;

    /// A write lease on a file until dropped, which its holder never gives up.
    struct Lease(#[allow(dead_code, reason = "held open")] OwnedFd);

    impl Lease {
        fn on(path: &str) -> Lease {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            const F_SETSIG: libc::c_int = 10;
            // SAFETY: both commands take numbers only. SIGURG is ignored by default.
            let done = unsafe {
                libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG);
                libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
            };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            Lease(file.into())
        }
    }

    #[test]
    fn no_command_waits_for_the_holder_of_a_lease_or_for_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (script, runs, fifo) = (path("script"), path("runs"), path("fifo"));
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        std::fs::write(&runs, format!("#!{script}\n")).unwrap();
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for file in [&script, &runs] {
            assert!(Command::new("chmod").args(["+x", file]).status().unwrap().success());
        }
        let image = path("image");
        std::fs::create_dir_all(format!("{image}/blobs/sha256")).unwrap();
        std::fs::write(format!("{image}/oci-layout"), "{}").unwrap();
        let leased = format!("{image}/oci-layout");
        let _leases = [Lease::on(&script), Lease::on(&leased)];
        let of_fifo = format!("ns:{fifo}");
        let of_leased = format!("ns:{script}");
        let commands: [(&[&str], &str); 6] = [
            (&["explain", &script, "--as", "host"], "another process holds a lease on it: EAGAIN"),
            (&["explain", &runs, "--as", "host"], "another process holds a lease on it: EAGAIN"),
            (&["layer", "ls", &script], "EAGAIN"),
            (&["layer", "ls", &image], "Resource temporarily unavailable"),
            (&["get", &runs, "--as", &of_fifo], "is a named pipe"),
            (&["get", &runs, "--as", &of_leased], "EAGAIN"),
        ];
        let begin = Instant::now();
        for (command, expected) in commands {
            let output =
                Command::new("timeout").args(["20", NSCAP]).args(command).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?}: {output:?}");
            assert!(said.contains(expected), "{command:?}: {said}");
        }
        // One lease alone lasts 45 seconds.
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}

mod servers {
    use std::io::{Read as _, Write as _};
    use std::path::Path;
    use std::time::{Duration, Instant};

    use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

    use super::*;
    use nscap_testing::with_own_mounts;

    /// Mounts a FUSE file system whose server takes every request and answers none but the first.
    /// The connection ends with the last descriptor, and then every wait ends.
    fn mount_silent(target: &Path) -> std::fs::File {
        const INIT: u32 = 26;
        let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        use std::os::fd::AsRawFd as _;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("silent", target, "fuse", MountFlags::empty(), options.as_c_str()).unwrap();
        let mut server = device.try_clone().unwrap();
        let mut request = vec![0; 1 << 20];
        let _ = server.read(&mut request).unwrap();
        assert_eq!(request[4..8], INIT.to_ne_bytes());
        // struct fuse_out_header and fuse_init_out: version 7.31, at most 128 KiB a write.
        let mut answer = vec![0; 80];
        answer[..4].copy_from_slice(&80u32.to_ne_bytes());
        answer[8..16].copy_from_slice(&request[8..16]);
        answer[16..20].copy_from_slice(&7u32.to_ne_bytes());
        answer[20..24].copy_from_slice(&31u32.to_ne_bytes());
        answer[36..40].copy_from_slice(&(128u32 << 10).to_ne_bytes());
        server.write_all(&answer).unwrap();
        std::thread::spawn(move || while server.read(&mut request).is_ok() {});
        device
    }

    /// Ends the connection, and with it every wait.
    fn abort(silent: &Path) {
        unmount(silent, UnmountFlags::FORCE | UnmountFlags::DETACH).unwrap();
    }

    /// Runs the command; ends the connection and the test where it does not come back.
    fn run(args: &[&str], silent: &Path) -> Output {
        let mut child = Command::new(NSCAP)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                abort(silent);
                let _ = (child.kill(), child.wait());
                panic!("{args:?} does not come back");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // A task that still waits for the server holds neither pipe.
        child.wait_with_output().unwrap()
    }

    #[test]
    fn a_file_system_that_does_not_answer_is_named_and_left() {
        if !is_root("a_file_system_that_does_not_answer_is_named_and_left") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        for name in ["a", "m/silent", "m/again", "z/b"] {
            std::fs::create_dir_all(tree.join(name)).unwrap();
        }
        for name in ["a/one", "m/two", "z/b/three"] {
            let file = tree.join(name);
            std::fs::copy("/bin/true", &file).unwrap();
            assert!(nscap(&["set", "cap_kill=ep", file.to_str().unwrap()]).status.success());
        }
        with_own_mounts(|| {
            let silent = tree.join("m/silent");
            let device = mount_silent(&silent);
            mount_bind(&silent, tree.join("m/again")).unwrap();
            let dir = tree.to_str().unwrap();
            for threads in ["1", "2"] {
                let args = ["--json", "scan", "--patience", "2", "--threads", threads, dir];
                let output = run(&args, &silent);
                assert_eq!(code(&output), 2, "{output:?}");
                let text = stdout(&output);
                let all: Vec<Value> =
                    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                let found = |name: &str| {
                    let path = tree.join(name);
                    all.iter().find(|object| object["path"] == path.to_str().unwrap())
                };
                for name in ["a/one", "m/two", "z/b/three"] {
                    assert_eq!(found(name).unwrap()["host"]["caps"], "cap_kill=ep", "{text}");
                }
                for name in ["m/silent", "m/again"] {
                    assert!(found(name).unwrap()["no_answer"].as_u64().unwrap() >= 2, "{text}");
                }
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(said.contains("m/silent: the file system has not answered for"), "{said}");
            }
            // What is not crossed is not asked.
            let output = run(&["scan", "-x", dir], &silent);
            assert_eq!((code(&output), stdout(&output).lines().count()), (0, 3), "{output:?}");
            let root = run(&["scan", "--patience", "1", silent.to_str().unwrap()], &silent);
            assert_eq!(code(&root), 2, "{root:?}");
            // Processes that wait are let go with the connection.
            abort(&silent);
            drop(device);
        });
    }
}
