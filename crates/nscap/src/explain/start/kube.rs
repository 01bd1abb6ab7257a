// SPDX-License-Identifier: MIT OR Apache-2.0
//! A container of a pod (Kubernetes, `core/v1`), or of what has a template of one: what the kubelet
//! tells the runtime, which starts it then.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::merge::{Change, Names};
use super::rootfs::variable;
use super::{Engine, Machine, Rootfs, Runtime, Wanted, Words, input, podman, text_of};
use crate::cli::Explain;
use crate::explain::unseen::Unseen;
use crate::failure::Failure;
use crate::out;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Pod {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    security_context: Option<PodContext>,
    host_users: Option<bool>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
struct PodContext {
    run_as_user: Option<u32>,
    run_as_group: Option<u32>,
    run_as_non_root: Option<bool>,
    supplemental_groups: Vec<u32>,
    fs_group: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    working_dir: Option<String>,
    security_context: Option<Context>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    run_as_user: Option<u32>,
    run_as_group: Option<u32>,
    run_as_non_root: Option<bool>,
    privileged: bool,
    allow_privilege_escalation: Option<bool>,
    capabilities: Option<Capabilities>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Capabilities {
    add: Vec<String>,
    drop: Vec<String>,
}

pub(super) fn read(
    words: &[OsString],
    args: &Explain,
    machine: &Machine,
) -> Result<Wanted, Failure> {
    let [file, name] = words else { return Err(input("--kube", "expected FILE CONTAINER")) };
    let (file, name) = (Path::new(file), name.to_string_lossy());
    let (pod, field, container) = find(file, &name)?;
    let runtime = args.runtime.unwrap_or(Runtime::today(Engine::Containerd));
    let what = format!("{field} of {}", out::path(file));
    let mut rootfs = Rootfs::of(args, args.rootfs.clone());
    if let Some(directory) = &container.working_dir {
        rootfs = rootfs.with_cwd(directory);
    }
    let words = Words::Pod { file: file.to_owned(), field, container: name.into_owned() };
    let mut wanted = Wanted::new(words, runtime, rootfs);
    let of_pod = pod.security_context.clone().unwrap_or_default();
    let context = container.security_context.unwrap_or_default();
    let own = wanted.take_image();
    let unverified = own.as_deref().is_some_and(by_name) && args.user.is_none();
    let is_set = context.run_as_user.or(of_pod.run_as_user).is_some();
    let non_root = context.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
    if unverified && non_root && !is_set {
        let problem = "runAsNonRoot is true, and the image's user is a name: the kubelet does not start \
                       it (runAsUser)";
        return Err(input(what.clone(), problem));
    }
    let named = args.user.clone().or(own);
    user(&of_pod, &context, named, &mut wanted)?;
    wanted.no_new_privs = context.allow_privilege_escalation == Some(false);
    capabilities(&context, machine, &mut wanted)?;
    refused(&what, &of_pod, &context, &wanted)?;
    if pod.host_users == Some(false) {
        wanted.home = podman::supposed()?;
        let text =
            "which ids the kubelet gives the pod (hostUsers: false): 65536 from 65536 are supposed";
        wanted.unseen.push(Unseen::aside("ids", text));
    }
    // `args` are instead of the image's command, and so is a `command` without them.
    let cmd = match (container.command.is_empty(), container.args.is_empty()) {
        (true, true) => wanted.rootfs.settings().cmd,
        _ => container.args,
    };
    if !container.command.is_empty() {
        wanted.args = container.command.into_iter().map(OsString::from).collect();
    }
    if !wanted.args.is_empty() || wanted.rootfs.image().is_some() {
        wanted.args.extend(cmd.into_iter().map(OsString::from));
    }
    let environment = container.env.iter().filter(|variable| variable.name == "PATH");
    let path = environment.filter_map(|variable| variable.value.as_ref()).next_back();
    let path = path.and_then(|path| variable([format!("PATH={path}").as_str()], "PATH"));
    wanted.search = path.unwrap_or(wanted.search);
    if args.runtime.is_none() {
        wanted
            .notes
            .push(("runtime", "containerd, as nothing else is said (--runtime crio)".to_owned()));
    }
    Ok(wanted)
}

/// The pod, the container's field in the words of the file, and the container.
fn find(file: &Path, name: &str) -> Result<(Pod, String, Container), Failure> {
    let wrong = |e: serde_yaml_ng::Error| input(out::path(file), format!("no pod: {e}"));
    let text = text_of(file)?;
    let mut names = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let document = serde_yaml_ng::Value::deserialize(document).map_err(wrong)?;
        let items = document.get("items").and_then(|items| items.as_sequence());
        let items = items.cloned().unwrap_or_else(|| vec![document.clone()]);
        for item in items {
            let Some((at, spec)) = pod_of(&item) else { continue };
            let mut pod: Pod = serde_yaml_ng::from_value(spec.clone()).map_err(wrong)?;
            let lists = [
                ("containers", std::mem::take(&mut pod.containers)),
                ("initContainers", std::mem::take(&mut pod.init_containers)),
                ("ephemeralContainers", std::mem::take(&mut pod.ephemeral_containers)),
            ];
            for (list, containers) in lists {
                for (n, container) in containers.into_iter().enumerate() {
                    if container.name == name {
                        return Ok((pod, format!("{at}.{list}[{n}]"), container));
                    }
                    names.push(out::name(container.name.as_bytes()));
                }
            }
        }
    }
    let has = if names.is_empty() { "no container".to_owned() } else { names.join(", ") };
    let problem = format!("no container {}: it has {has}", out::name(name.as_bytes()));
    Err(input(out::path(file), problem))
}

/// Where a pod's specification is in an object.
fn pod_of(item: &serde_yaml_ng::Value) -> Option<(&'static str, &serde_yaml_ng::Value)> {
    let at = |path: &[&str]| path.iter().try_fold(item, |value, key| value.get(*key));
    let has = |spec: &&serde_yaml_ng::Value| spec.get("containers").is_some();
    let places: [(&str, &[&str]); 3] = [
        ("spec", &["spec"]),
        ("spec.template.spec", &["spec", "template", "spec"]),
        (
            "spec.jobTemplate.spec.template.spec",
            &["spec", "jobTemplate", "spec", "template", "spec"],
        ),
    ];
    places.iter().find_map(|(name, path)| at(path).filter(has).map(|spec| (*name, spec)))
}

/// The container's own fields override the pod's; without any it is the image's user.
fn user(
    pod: &PodContext,
    own: &Context,
    named: Option<String>,
    wanted: &mut Wanted,
) -> Result<(), Failure> {
    let uid = own.run_as_user.or(pod.run_as_user);
    match (uid, named) {
        (Some(uid), _) => {
            let user = wanted.rootfs.user(&uid.to_string())?;
            (wanted.uid, wanted.gid, wanted.groups) = (uid, user.gid, user.groups);
        }
        (None, Some(named)) => {
            let user = wanted.rootfs.user(&named)?;
            (wanted.uid, wanted.gid, wanted.groups) = (user.uid, user.gid, user.groups);
        }
        (None, None) if wanted.rootfs.image().is_some() => {}
        (None, None) => {
            let text = "runAsUser is not set: the image's, and here root is supposed (--user)";
            wanted.unseen.push(Unseen::aside("user", text));
        }
    }
    wanted.gid = own.run_as_group.or(pod.run_as_group).unwrap_or(wanted.gid);
    wanted.groups.extend(pod.supplemental_groups.iter().chain(&pod.fs_group));
    Ok(())
}

fn capabilities(context: &Context, machine: &Machine, wanted: &mut Wanted) -> Result<(), Failure> {
    let none = Capabilities::default();
    let lists = context.capabilities.as_ref().unwrap_or(&none);
    let names = |list: &[String]| Names::read(list.iter().map(String::as_str));
    let change = Change {
        base: wanted.runtime.engine.defaults(),
        add: names(&lists.add)?,
        drop: names(&lists.drop)?,
        privileged: context.privileged,
    };
    if let Some(name) = lists.add.iter().chain(&lists.drop).find(|name| name.starts_with("CAP_")) {
        let text = format!(
            "{}: Kubernetes has names without CAP_, and runtimes may refuse this one",
            out::name(name.as_bytes())
        );
        wanted.unseen.push(Unseen::aside("names", text));
    }
    wanted.sets = change.sets(wanted.runtime, wanted.uid == 0, machine)?;
    wanted.asked = change.add.caps;
    Ok(())
}

/// Whether a user of an image is named, so that the kubelet does not know the uid.
fn by_name(user: &str) -> bool {
    user.split(':').next().is_some_and(|user| user.parse::<u32>().is_err())
}

/// What the API server or the kubelet does not take.
fn refused(what: &str, pod: &PodContext, own: &Context, wanted: &Wanted) -> Result<(), Failure> {
    let refuse = |problem: &str| Err(input(what, problem));
    if wanted.no_new_privs && own.privileged {
        return refuse("allowPrivilegeEscalation: false is not valid with privileged: true");
    }
    if wanted.no_new_privs && wanted.asked.has(nscap_core::Capability::SysAdmin) {
        return refuse("allowPrivilegeEscalation: false is not valid with SYS_ADMIN added");
    }
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) && wanted.uid == 0 {
        return refuse("runAsNonRoot is true, and the user is root: the kubelet does not start it");
    }
    Ok(())
}
