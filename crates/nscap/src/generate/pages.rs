// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the manual has that the command line's definition lacks: examples, further pages, and the
//! text of mount.nscap(8). The tests execute the parser on each example.

/// Of one page.
pub(super) struct Page {
    /// What each does, and the lines.
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) see_also: &'static [&'static str],
}

/// Arguments that are needed, if not by themselves then one of a group.
pub(super) const NEEDED: [&str; 2] = ["caps", "files"];

const ALL: &[(&str, Page)] = &[
    (
        "nscap",
        Page {
            examples: &[
                (
                    "Give a container's ping a capability, see whose it is, and take it back:",
                    "nscap set cap_net_raw=ep rootfs/usr/bin/ping --for pid:812\n\
                     nscap get rootfs/usr/bin/ping\n\
                     nscap rm rootfs/usr/bin/ping --for pid:812",
                ),
                ("Say why a process gains nothing:", "nscap explain /usr/bin/ping --pid 812"),
                (
                    "Show one tree to several containers, each with grants of its own:",
                    "nscap mount /srv/source/tree /srv/tree -o busy=replace",
                ),
            ],
            see_also: &[
                "nscap-get(1)",
                "nscap-set(1)",
                "nscap-rm(1)",
                "nscap-explain(1)",
                "nscap-scan(1)",
                "nscap-shift(1)",
                "nscap-layer(1)",
                "nscap-diff(1)",
                "nscap-save(1)",
                "nscap-restore(1)",
                "nscap-mount(1)",
                "nscap-check(1)",
                "nscap-ns(1)",
                "nscap-tour(1)",
                "nscap-json(5)",
                "mount.nscap(8)",
                "getcap(8)",
                "setcap(8)",
                "capabilities(7)",
                "user_namespaces(7)",
            ],
        },
    ),
    (
        "nscap-get",
        Page {
            examples: &[
                ("Whose the capabilities of a file are:", "nscap get /usr/bin/ping"),
                ("What getcap(8) in a container shows:", "nscap get --as pid:812 /usr/bin/ping"),
                ("All files of a tree, as getcap -r:", "nscap get -r /usr"),
                (
                    "A file of a container's tree, with the links of that tree:",
                    "nscap get --root /srv/rootfs /bin/ping",
                ),
            ],
            see_also: &["nscap(1)", "nscap-scan(1)", "nscap-set(1)", "nscap-json(5)", "getcap(8)"],
        },
    ),
    (
        "nscap-set",
        Page {
            examples: &[
                (
                    "For a container that runs:",
                    "nscap set cap_net_raw=ep rootfs/usr/bin/ping --for pid:812",
                ),
                (
                    "The same, where rootfs may have links that lead out of it:",
                    "nscap set --root rootfs cap_net_raw=ep /bin/ping --for pid:812",
                ),
                (
                    "For the host and every container, in place of the present value:",
                    "nscap set --replace cap_net_raw=ep /usr/bin/ping --for host",
                ),
                (
                    "On every file that find(1) names:",
                    "find rootfs -name ping -print0 | nscap set cap_net_raw=ep --files0-from -",
                ),
                (
                    "From standard input, as setcap(8) takes them:",
                    "echo cap_net_raw=ep | nscap set - ping",
                ),
            ],
            see_also: &["nscap(1)", "nscap-rm(1)", "nscap-get(1)", "setcap(8)", "cap_from_text(3)"],
        },
    ),
    (
        "nscap-rm",
        Page {
            examples: &[
                ("A container's:", "nscap rm rootfs/usr/bin/ping --for pid:812"),
                ("Everything, for every root:", "nscap rm --all /usr/bin/ping"),
                (
                    "Entries that no task here can use, in a whole tree:",
                    "nscap scan --stale -0 rootfs | nscap rm --all --files0-from -",
                ),
            ],
            see_also: &["nscap(1)", "nscap-set(1)", "nscap-get(1)", "setcap(8)"],
        },
    ),
    (
        "nscap-explain",
        Page {
            examples: &[
                ("A process as it is now:", "nscap explain /usr/bin/ping --pid 812"),
                (
                    "A task of a container that does not run yet:",
                    "nscap explain rootfs/usr/bin/ping --as user:alice --uid www-data",
                ),
                (
                    "A file of an image, which is neither unpacked nor run:",
                    "nscap explain image.tar:latest:/usr/bin/ping --drop ALL --user 1000",
                ),
                (
                    "As a picture, for a browser:",
                    "nscap explain /usr/bin/ping --pid 812 --svg >explanation.svg",
                ),
            ],
            see_also: &[
                "nscap(1)",
                "nscap-get(1)",
                "nscap-json(5)",
                "execve(2)",
                "capabilities(7)",
            ],
        },
    ),
    (
        "nscap-shift",
        Page {
            examples: &[
                (
                    "Say what would change, then do it:",
                    "nscap shift --from host --to 0:100000:65536 -n rootfs\n\
                     nscap shift --from host --to 0:100000:65536 rootfs",
                ),
                ("As it was before:", "nscap shift --undo rootfs"),
            ],
            see_also: &["nscap(1)", "nscap-scan(1)", "nscap-json(5)", "newuidmap(1)", "subuid(5)"],
        },
    ),
    (
        "nscap-ns",
        Page {
            examples: &[
                ("All of them, with their ids:", "nscap ns"),
                ("On the whole terminal, each second anew:", "nscap ns --watch=1"),
            ],
            see_also: &["nscap(1)", "nscap-check(1)", "lsns(8)", "user_namespaces(7)"],
        },
    ),
    (
        "nscap-check",
        Page {
            examples: &[("Whether a tree's file system can hold grants:", "nscap check rootfs")],
            see_also: &["nscap(1)", "nscap-ns(1)", "subuid(5)"],
        },
    ),
    (
        "nscap-mount",
        Page {
            examples: &[
                (
                    "A tree for containers and their package managers:",
                    "nscap mount /srv/source/tree /srv/tree -o busy=replace",
                ),
                (
                    "Until it is unmounted, in this process:",
                    "nscap mount --foreground /srv/source/tree /srv/tree",
                ),
            ],
            see_also: &[
                "nscap(1)",
                "mount.nscap(8)",
                "nscap-umount(1)",
                "nscap-stats(1)",
                "mount(8)",
            ],
        },
    ),
    (
        "nscap-umount",
        Page {
            examples: &[("A tree that tasks may still use:", "nscap umount --lazy /srv/tree")],
            see_also: &["nscap(1)", "nscap-mount(1)", "umount(8)", "fuser(1)"],
        },
    ),
    (
        "nscap-stats",
        Page {
            examples: &[("What a server has done:", "nscap stats /srv/tree")],
            see_also: &["nscap(1)", "nscap-mount(1)", "nscap-json(5)"],
        },
    ),
    (
        "nscap-tour",
        Page {
            examples: &[("Each answer as a line of JSON:", "nscap tour --json")],
            see_also: &["nscap(1)", "nscap-json(5)"],
        },
    ),
    (
        "nscap-scan",
        Page {
            examples: &[
                ("Every capability in a tree:", "nscap scan rootfs"),
                ("What a container's root can use there:", "nscap scan --for pid:812 rootfs"),
                ("The whole machine without proc, sysfs and cgroup:", "nscap scan /"),
            ],
            see_also: &["nscap(1)", "nscap-get(1)", "nscap-rm(1)", "nscap-json(5)", "getcap(8)"],
        },
    ),
    (
        "nscap-layer",
        Page {
            examples: &[("What an image grants:", "nscap layer ls image:latest")],
            see_also: &[
                "nscap(1)",
                "nscap-layer-ls(1)",
                "nscap-layer-set(1)",
                "nscap-layer-rm(1)",
                "nscap-layer-map(1)",
                "nscap-layer-check(1)",
                "nscap-diff(1)",
                "nscap-save(1)",
            ],
        },
    ),
    (
        "nscap-layer-ls",
        Page {
            examples: &[("Of two layers:", "nscap layer ls one.tar.gz two.tar.zst")],
            see_also: &["nscap-layer(1)", "nscap-json(5)", "tar(1)"],
        },
    ),
    (
        "nscap-layer-set",
        Page {
            examples: &[
                (
                    "One more layer, in an image that docker saved:",
                    "nscap layer set --in-place app.tar:app:1.0 /usr/bin/ping cap_net_raw=ep",
                ),
                (
                    "A program that is to start without the capability too:",
                    "nscap layer set --no-effective -o new layout:latest /usr/bin/ping",
                ),
            ],
            see_also: &["nscap-layer(1)", "nscap-layer-rm(1)", "nscap-diff(1)", "setcap(8)"],
        },
    ),
    (
        "nscap-layer-rm",
        Page {
            examples: &[(
                "From every image of an index:",
                "nscap layer rm -o new layout:latest /usr/bin/ping",
            )],
            see_also: &["nscap-layer(1)", "nscap-layer-set(1)", "nscap-diff(1)"],
        },
    ),
    (
        "nscap-diff",
        Page {
            examples: &[
                ("Two versions of an image:", "nscap diff app-1.0.tar app-1.1.tar"),
                (
                    "An image, and the tree of a container with ids from 100000:",
                    "nscap diff --ids-after 0:100000:65536 layout:latest rootfs",
                ),
            ],
            see_also: &["nscap-layer(1)", "nscap-save(1)", "nscap-scan(1)", "nscap-json(5)"],
        },
    ),
    (
        "nscap-save",
        Page {
            examples: &[("Of a tree, to be reviewed:", "nscap save rootfs >capabilities.txt")],
            see_also: &["nscap-restore(1)", "nscap-diff(1)", "getcap(8)"],
        },
    ),
    (
        "nscap-restore",
        Page {
            examples: &[
                ("What would be done:", "nscap restore --dry-run capabilities.txt rootfs"),
                ("From an image:", "nscap save layout:latest | nscap restore - rootfs"),
            ],
            see_also: &["nscap-save(1)", "nscap-set(1)", "setcap(8)"],
        },
    ),
    (
        "nscap-layer-map",
        Page {
            examples: &[(
                "A layer that was packed from a container's tree, in the container's own terms:",
                "nscap layer map --from 0:100000:65536 --to host --owners -o layer.tar packed.tar",
            )],
            see_also: &["nscap-layer(1)", "nscap-shift(1)", "nscap-json(5)", "newuidmap(1)"],
        },
    ),
    (
        "nscap-layer-check",
        Page {
            examples: &[("Before a layer is unpacked:", "nscap layer check layer.tar")],
            see_also: &["nscap-layer(1)", "nscap-json(5)", "tar(1)"],
        },
    ),
    (
        "nscap-generate",
        Page {
            examples: &[(
                "As root, for all users:",
                "nscap generate man /usr/local/share/man\n\
                 nscap generate completions bash >/etc/bash_completion.d/nscap",
            )],
            see_also: &["nscap(1)", "man(1)"],
        },
    ),
    (
        "nscap-generate-man",
        Page {
            examples: &[("For all users:", "nscap generate man /usr/local/share/man")],
            see_also: &["nscap-generate(1)", "man(1)", "manpath(1)"],
        },
    ),
    (
        "nscap-generate-completions",
        Page {
            examples: &[(
                "For every user of bash:",
                "nscap generate completions bash >/etc/bash_completion.d/nscap",
            )],
            see_also: &["nscap-generate(1)", "bash(1)", "zsh(1)", "fish(1)"],
        },
    ),
    (
        "mount.nscap",
        Page {
            examples: &[
                (
                    "By hand, and by /etc/fstab:",
                    "mount -t nscap /srv/source/tree /srv/tree -o busy=replace\n\
                     /srv/source/tree  /srv/tree  nscap  busy=replace  0 0",
                ),
                ("Unmount it:", "umount /srv/tree"),
            ],
            see_also: &["nscap-mount(1)", "mount(8)", "fstab(5)", "systemd.mount(5)", "fuse(4)"],
        },
    ),
    (
        "nscap-json",
        Page {
            examples: &[(
                "The files of a tree whose entries no task here can use:",
                "nscap --json scan --stale rootfs | jq -r .path",
            )],
            see_also: &["nscap(1)", "jq(1)"],
        },
    ),
];

const NOTHING: Page = Page { examples: &[], see_also: &["nscap(1)"] };

pub(super) fn of(name: &str) -> &'static Page {
    ALL.iter().find(|(page, _)| *page == name).map_or(&NOTHING, |(_, page)| page)
}

/// What mount.nscap(8) is.
pub(super) const MOUNT: [&str; 3] = [
    "Shows the tree SOURCE at TARGET through FUSE. There each file can have capabilities for each user \
     namespace; an unmodified setcap(8) in a container writes them, and execve(2) honours each in its own \
     namespace and below.",
    "mount(8) starts this program for the type nscap (fstab(5), systemd.mount(5)). It is a link to nscap: \
     ln -s /usr/bin/nscap /sbin/mount.nscap. It returns when the mount answers; the server goes on by itself \
     and ends when the last mount of the tree is gone. -s ignores unknown options, -f checks everything and \
     does not mount, -r is the option ro, -N names a mount namespace; -n, -v and -w change nothing.",
    "Only root may be able to reach SOURCE by its own path: a change that another task makes there passes the \
     server. Root of a user namespace can mount a tree of its own in a mount namespace of its own.",
];

pub(super) const MOUNT_FILES: [(&str, &str); 3] = [
    ("/dev/fuse", "Is opened by the server."),
    ("/dev/nscap-claims", "Says which trees are being served or shifted; only root may enter."),
    ("/run/nscap", "Holds the locks of files whose capabilities are being changed."),
];
