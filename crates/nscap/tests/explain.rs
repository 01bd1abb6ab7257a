// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain` says beside what a real execve does: the way to the file, interpreters,
//! handlers of binfmt_misc, values that the kernel does not show, tasks of every kind.

mod stage;

use nscap_testing::is_root;
use stage::script;

/// `says STATUS PART COMMAND...`: explain ends so and says that. `execs ERRNO FILE`: what execve(2)
/// gives a task with uid 7 and no capability, by name; 0 for success.
const TOOLS: &str = r#"
    says() {
        local status=$1 part=$2
        shift 2
        expect "$status" "$part" "$nscap" explain "$@"
    }
    user() { setpriv --reuid=7 --regid=7 --clear-groups sh -c '"$@"' sh "$@"; }
    execs() {
        local got
        got=$(user perl -MErrno -e '
            # Not exec, which gives a shell what is no program.
            my ($path, $execve) = @ARGV;
            if (!fork) { syscall($execve + 0, $path, pack("p2", "x", undef), 0); exit $!+0 }
            wait; $! = $? >> 8;
            my ($name) = grep { $! && $!{$_} } keys %!;
            print $name || 0' "$2" "$([ "$(uname -m)" = x86_64 ] && echo 59 || echo 221)" 2>/dev/null)
        [ "$got" = "$1" ] || fail "execve of $2 gave $got, not $1"
    }
    both() {
        local errno=$1 part=$2 file=$3
        says "$([ "$errno" = 0 ] && echo 0 || echo 1)" "$part" "$file" --as host --uid 7
        [ "$errno" = 0 ] || grep -qF "$errno" out || fail "no $errno: $(cat out)"
        execs "$errno" "$file"
    }
"#;

fn run(name: &str, text: &str) {
    if is_root(name) && stage::has("perl", name) && stage::has("setfacl", name) {
        script(&format!("{TOOLS}\n{text}"));
    }
}

#[test]
fn each_directory_on_the_way_and_each_list_is_looked_at() {
    run(
        "each_directory_on_the_way_and_each_list_is_looked_at",
        r#"
        mkdir -p a/b/c; cp /bin/true a/b/c/t
        both 0 'each may be searched' "$dir/a/b/c/t"
        chmod 700 a/b; chmod 600 a/b/c
        # The first one that refuses is named, and the other one after it.
        both EACCES "execve fails: the directory $dir/a/b (mode 0700" "$dir/a/b/c/t"
        grep -q "then: the directory $dir/a/b/c (mode 0600" out || fail "the second is not told: $(cat out)"
        chmod 755 a/b/c
        setfacl -m u:7:x a/b
        both 0 'each may be searched' "$dir/a/b/c/t"
        setfacl -m u:7:- a/b; chmod 755 a/b
        both EACCES 'with an access control list) may not be searched' "$dir/a/b/c/t"
        setfacl -b a/b
        ln -s "$dir/a" link
        chmod 700 a
        both EACCES "the directory $dir/a (mode 0700" "$dir/link/b/c/t"
        chmod 755 a
        # The file's own list.
        setfacl -m u:7:r a/b/c/t
        both EACCES 'neither the mode nor an access control list gives' "$dir/a/b/c/t"
        setfacl -m u:7:x a/b/c/t; chmod 750 a/b/c/t
        setfacl -m u:7:x a/b/c/t
        both 0 'with an access control list' "$dir/a/b/c/t"
        "#,
    );
}

#[test]
fn what_the_kernel_does_not_execute_is_said() {
    run(
        "what_the_kernel_does_not_execute_is_said",
        r#"
        made() { printf "$1" >f; chmod 755 f; }
        made 'text\n'; both ENOEXEC 'neither a binary of this machine nor a script' "$dir/f"
        made ''; both ENOEXEC 'neither a binary' "$dir/f"
        made '#!\n'; both ENOEXEC 'neither a binary' "$dir/f"
        made '#!'; both EACCES 'has no name' "$dir/f"
        made '#!/no/such -x\n'; both ENOENT "the interpreter /no/such of $dir/f: there is no /no" "$dir/f"
        made '#!/etc\n'; both EACCES 'the interpreter /etc of' "$dir/f"
        made '#!/etc/hostname/x\n'; both ENOTDIR 'the way ends at /etc/hostname' "$dir/f"
        # A relative one is the working directory's.
        cp /bin/true tool; mkdir d; made '#!tool\n'; mv f d/f
        both 0 "the interpreter tool of $dir/d/f, from the task's working directory" "$dir/d/f"
        (cd d && both ENOENT 'there is no tool' "$dir/d/f")
        chmod 600 tool; both EACCES 'execute permission' "$dir/d/f"; chmod 755 tool
        # Five interpreters in a row are not too many.
        cp tool s0
        for n in 1 2 3 4 5 6; do printf '#!%s/s%d\n' "$dir" $((n - 1)) >s$n; chmod 755 s$n; done
        both 0 "$dir/s0: mode" "$dir/s5"
        both ELOOP 'too many interpreters' "$dir/s6"
        # The program that loads libraries is opened too.
        sed 's,/lib64/ld-linux-x86-64.so.2,/lib64/no-linux-x86-64.so.2,' tool >u; chmod 755 u
        if ! cmp -s tool u; then
            both ENOENT 'the interpreter /lib64/no-linux-x86-64.so.2 of' "$dir/u"
        fi
        # One of another machine.
        { head -c 18 tool; printf '\363\0'; tail -c +21 tool; } >v; chmod 755 v
        both ENOEXEC 'neither a binary' "$dir/v"
        # A script need not be readable for the kernel.
        printf '#!/bin/true\n' >x; chmod 711 x
        both 0 'may execute it and not read it' "$dir/x"
        "#,
    );
}

#[test]
fn handlers_of_binfmt_misc_are_followed_with_their_flags() {
    run(
        "handlers_of_binfmt_misc_are_followed_with_their_flags",
        r#"
        grep -q binfmt_misc /proc/filesystems || { say skip; exit 0; }
        mkdir misc; mount -t binfmt_misc none misc
        trap 'for name in nscap-t1 nscap-t2 nscap-t3; do [ ! -e misc/$name ] || echo -1 >misc/$name; done' EXIT
        printf 'NSC1 data' >one; printf 'NSC2 data' >two; printf 'NSC3 data' >three; chmod 755 one two three
        cp /bin/cat plain; cp /bin/cat able; chmod 755 plain able
        setcap cap_chown=ep able; setcap cap_net_raw=ep one; setcap cap_net_raw=ep two
        printf ":nscap-t1:M::NSC1::$dir/able:" >misc/register
        printf ":nscap-t2:M::NSC2::$dir/plain:C" >misc/register
        printf ":nscap-t3:M::NSC3::$dir/able:F" >misc/register
        caps() { user "$1" /proc/self/status 2>/dev/null | tr -d '\0' | sed -n 's/^CapPrm:\t//p'; }
        # Without C the interpreter's count, with it the file's own.
        says 1 'the capabilities of that interpreter count' one --as host --uid 7
        grep -q "$dir/able: mode" out || fail "$(cat out)"
        [ "$(caps "$dir/one")" = 0000000000000001 ] || fail "one: $(caps "$dir/one")"
        says 0 'the capabilities of the file itself count' two --as host --uid 7
        [ "$(caps "$dir/two")" = 0000000000002000 ] || fail "two: $(caps "$dir/two")"
        # Which file F has opened, its path does not tell.
        says 2 'opened when the handler was registered' three --as host --uid 7
        # Also where it is not mounted.
        expect 0 'flags ' unshare --mount sh -c 'umount misc && exec "$@"' sh \
            "$nscap" explain two --as host --uid 7
        echo 0 >misc/nscap-t2
        says 1 'neither a binary' two --as host --uid 7
        execs ENOEXEC "$dir/two"
        "#,
    );
}

#[test]
fn tasks_of_every_kind_are_looked_at() {
    run(
        "tasks_of_every_kind_are_looked_at",
        r#"
        cp /bin/cat cat; setcap cap_net_raw=ep cat
        # A namespace without uid 0.
        unshare --user sh -c 'echo; exec sleep 100' >up & holder=$!
        until [ -s up ]; do sleep 0.05; done
        echo '5 300005 10' >/proc/$holder/uid_map; echo '5 300005 10' >/proc/$holder/gid_map
        says 2 '--uid says another' cat --as pid:$holder
        says 0 'maps no uid 0' cat --as pid:$holder --uid 7
        got=$(nsenter -t $holder --user --setuid 7 --setgid 7 -- ./cat /proc/self/status | sed -n 's/^CapPrm:\t//p')
        [ "$got" = 0000000000002000 ] || fail "without uid 0: $got"
        kill $holder
        # What it may do by a link of /proc is a matter of ptrace(2).
        sleep 100 & other=$!
        says 2 'Ptrace access mode checking' /proc/$other/root$dir/cat --as host --uid 7
        says 0 'each may be searched' /proc/$other/root$dir/cat --as host
        kill $other
        "#,
    );
}

#[test]
fn what_cannot_be_seen_of_a_task_is_said() {
    run(
        "what_cannot_be_seen_of_a_task_is_said",
        r#"
        cp /bin/cat cat; setcap cap_net_raw=ep cat
        # Securebits show to the task alone. With nosuid they decide.
        mkdir m; mount -t tmpfs -o nosuid,mode=755 none m; cp cat m/cat; setcap cap_net_raw=ep m/cat
        setpriv --securebits=+noroot --bounding-set=-sys_resource sh -c 'exec setpriv sleep 100' & plain=$!
        until_so grep -q sleep /proc/$plain/comm
        says 0 'securebits' "$dir/cat" --pid $plain
        says 2 'could not be told' "$dir/m/cat" --pid $plain
        kill $plain
        # What a tracer may do was fixed when it attached.
        setpriv --reuid=7 --regid=7 --clear-groups sleep 100 & traced=$!
        until_so grep -q sleep /proc/$traced/comm
        # PTRACE_SEIZE.
        case $(uname -m) in x86_64) ptrace=101 ;; *) ptrace=117 ;; esac
        perl -e '$| = 1; syscall($ARGV[0], 0x4206, $ARGV[1] + 0, 0, 0) == 0 or die $!; print "up"; sleep 100' \
            $ptrace $traced >tracer & tracer=$!
        until_so grep -q up tracer
        says 2 "pid $tracer traces it" "$dir/cat" --pid $traced
        kill $tracer $traced
        "#,
    );
}

#[test]
fn a_capability_that_counts_elsewhere_only_is_said_to() {
    run(
        "a_capability_that_counts_elsewhere_only_is_said_to",
        r#"
        cp "$(command -v perl)" py
        container() {
            unshare --user "$@" sh -c 'echo; exec sleep 100' >up & holder=$!
            until [ -s up ]; do sleep 0.05; done; rm up
            echo '0 100000 65536' >/proc/$holder/uid_map; echo '0 100000 65536' >/proc/$holder/gid_map
        }
        raw() {
            nsenter -t $holder --user "$@" --setuid 7 --setgid 7 -- \
                ./py -MSocket -e 'print socket(my $s, AF_INET, SOCK_RAW, 1) ? "open" : $! + 0'
        }
        task() {
            nsenter -t $holder --user "$@" --setuid 7 --setgid 7 -- sleep 100 & task=$!
            until_so grep -q sleep /proc/$task/comm
        }
        "$nscap" set cap_net_raw=ep py --for 100000
        container; task
        says 0 'granted, and still EPERM over net:' "$dir/py" --pid $task
        [ "$(raw)" = 1 ] || fail "it counts: $(raw)"
        kill $task $holder
        container --net; task --net
        says 0 'over it: ' "$dir/py" --pid $task
        ! grep -q 'still EPERM over net' out || fail "$(cat out)"
        [ "$(raw --net)" = open ] || fail "it does not count: $(raw --net)"
        kill $task $holder
        "#,
    );
}

/// A process whose main thread has ended, and another has not.
#[test]
fn a_process_without_its_main_thread_is_looked_at() {
    const NAME: &str = "a_process_without_its_main_thread_is_looked_at";
    if std::env::var_os("NSCAP_LOSE_MAIN").is_some() {
        lose_main_thread();
    }
    if !is_root(NAME) {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(program)
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env("NSCAP_LOSE_MAIN", "1")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let is_zombie = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("State:\tZ")
    };
    for _ in 0..1000 {
        if is_zombie() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let came = is_zombie();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nscap"))
        .args(["explain", "/bin/true", "--pid", &pid.to_string()])
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(came && output.status.success(), "{output:?}");
    assert!(nscap_testing::stdout(&output).contains("the main one has ended"), "{output:?}");
}

/// Ends the main thread of this process, while this one goes on.
fn lose_main_thread() -> ! {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: ends the thread that the signal is for, and nothing else.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let main = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the handler makes one system call. The signal goes to the main thread of this
    // process.
    unsafe {
        libc::signal(libc::SIGUSR1, end as *const () as libc::sighandler_t);
        libc::syscall(libc::SYS_tgkill, main, main, libc::SIGUSR1);
    }
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
