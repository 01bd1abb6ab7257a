// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain` advises about a task that does not run yet, followed to the letter: podman
//! and crun start it then, and what was lost is there; of a pod and a unit the command says so.

mod stage;

use nscap_testing::is_root;
use stage::script;

/// `rootfs` with `ping`, which has cap_net_raw=ep, and prints what it is given.
const ROOTFS: &str = r#"
    umount -l /sys/fs/cgroup/unified 2>/dev/null || true
    mkdir -p rootfs/bin rootfs/etc rootfs/proc rootfs/dev rootfs/sys rootfs/run rootfs/tmp store run tmp
    cp /bin/cat rootfs/bin/ping; cp /bin/cat rootfs/bin/web
    ldd /bin/cat | grep -o '/[^ ]*' | while read -r file; do
        mkdir -p "rootfs$(dirname "$file")"; cp -L "$file" "rootfs$file"
    done
    setcap cap_net_raw=ep rootfs/bin/ping
    export TMPDIR=$dir/tmp XDG_RUNTIME_DIR=$dir/run
    advice() { # advice STATUS ARGUMENT...: each line of advice
        local status=$1
        shift
        expect "$status" '' "$nscap" explain "$@"
        sed -n 's/^advice: //p' out
    }
    permitted() { sed -n 's/^CapPrm:\t//p'; }
    raw=0000000000002000
"#;

#[test]
fn what_is_advised_about_podman_and_config_json_works() {
    const NAME: &str = "what_is_advised_about_podman_and_config_json_works";
    let tools = ["podman", "crun", "python3"];
    if !(is_root(NAME) && tools.iter().all(|tool| stage::has(tool, NAME))) {
        return;
    }
    script(&format!(
        r#"
        {ROOTFS}
        start() {{
            own_podman "$@" --rootfs \
                "$dir/rootfs" "$file" /proc/self/status
        }}
        limits="--rm --network none --ulimit nofile=512:512 --ulimit nproc=512:512"
        options="--cap-drop ALL --user 1000"
        # For a file with the capability, also under no_new_privs; and for one without any.
        for more in "" "--security-opt no-new-privileges"; do
            file=/bin/ping
            said=$(advice 1 $file --podman $options $more --rootfs "$dir/rootfs" | head -1)
            [ "$said" = 'podman run --cap-add=NET_RAW' ] || fail "$said"
            [ "$(start run $limits $options $more --cap-add=NET_RAW | permitted)" = $raw ] || fail "$more: podman"
            "$nscap" explain $file --podman $options $more --cap-add=NET_RAW --rootfs "$dir/rootfs" >out || fail "$(cat out)"
        done
        umount -R store 2>/dev/null || true
        # config.json: the fields that are named, and no other.
        cat >config.json <<'END'
{{"ociVersion": "1.0.0", "process": {{"user": {{"uid": 1000, "gid": 1000}}, "cwd": "/", "noNewPrivileges": true,
  "args": ["/bin/ping", "/proc/self/status"], "capabilities": {{"bounding": [], "permitted": []}}}},
 "root": {{"path": "rootfs"}}, "mounts": [{{"destination": "/proc", "type": "proc", "source": "proc"}}],
 "linux": {{"namespaces": [{{"type": "mount"}}, {{"type": "pid"}}]}}}}
END
        ! crun --root "$dir/run" --cgroup-manager=disabled run -b . before >out 2>&1 || fail "it starts: $(cat out)"
        advice 1 --oci config.json >said
        grep -q 'add "CAP_NET_RAW" to process.capabilities.permitted and .bounding' said || fail "$(cat said)"
        python3 - <<'END'
import json
config = json.load(open("config.json"))
for field in ("permitted", "bounding"):
    config["process"]["capabilities"][field].append("CAP_NET_RAW")
json.dump(config, open("config.json", "w"))
END
        expect 0 'nothing lost' "$nscap" explain --oci config.json
        [ "$(crun --root "$dir/run" --cgroup-manager=disabled run -b . after </dev/null | permitted)" = $raw ] || fail "crun"
        # Ambient, for a file without any.
        sed -i 's,/bin/ping,/bin/web,; s/"capabilities": {{/"capabilities": {{"ambient": ["CAP_NET_RAW"], /' config.json
        advice 1 --oci config.json >said
        grep -q 'add "CAP_NET_RAW" to process.capabilities.bounding, .permitted, .inheritable and .ambient' said || fail "$(cat said)"
        sed -i 's/"capabilities": {{/"capabilities": {{"inheritable": ["CAP_NET_RAW"], /' config.json
        expect 0 '' "$nscap" explain --oci config.json
        [ "$(crun --root "$dir/run" --cgroup-manager=disabled run -b . last </dev/null | permitted)" = $raw ] || fail "ambient"
        "#
    ));
}

#[test]
fn what_is_advised_about_a_pod_and_a_unit_is_enough() {
    const NAME: &str = "what_is_advised_about_a_pod_and_a_unit_is_enough";
    if !is_root(NAME) {
        return;
    }
    script(&format!(
        r#"
        {ROOTFS}
        cat >pod.yaml <<'END'
kind: Pod
spec:
  securityContext: {{runAsUser: 1000}}
  containers:
    - name: ping
      command: [ping]
      securityContext:
        allowPrivilegeEscalation: false
        capabilities:
          drop: [ALL]
END
        advice 1 --kube pod.yaml ping --root rootfs >said
        [ "$(head -1 said)" = 'spec.containers[0].securityContext.capabilities.add: ["NET_RAW"]' ] || fail "$(cat said)"
        sed 's/drop: \[ALL\]/drop: [ALL]\n          add: ["NET_RAW"]/' pod.yaml >again.yaml
        expect 0 'nothing lost' "$nscap" explain --kube again.yaml ping --root rootfs
        mkdir -p units/a.service.d; export SYSTEMD_UNIT_PATH=$dir/units
        printf '[Service]\nExecStart=/bin/ping\nRootDirectory=%s\nUser=daemon\nCapabilityBoundingSet=\n' "$dir/rootfs" \
            >units/a.service
        line=$(advice 1 --systemd a | head -1)
        [ "$line" = 'CapabilityBoundingSet=CAP_NET_RAW in a drop-in (systemctl edit a.service)' ] || fail "$line"
        printf '[Service]\n%s\n' "${{line%% in a drop-in*}}" >units/a.service.d/override.conf
        expect 0 'nothing lost' "$nscap" explain --systemd a
        printf 'NoNewPrivileges=yes\n' >>units/a.service
        line=$(advice 1 --systemd a | head -1)
        [ "$line" = 'NoNewPrivileges=no in a drop-in (systemctl edit a.service)' ] || fail "$line"
        printf '%s\n' "${{line%% in a drop-in*}}" >>units/a.service.d/override.conf
        expect 0 'nothing lost' "$nscap" explain --systemd a
        "#
    ));
}
