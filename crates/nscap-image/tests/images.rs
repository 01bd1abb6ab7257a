// SPDX-License-Identifier: MIT OR Apache-2.0
//! Image layouts: what changes is named rightly everywhere, what does not stays byte by byte, and
//! nothing is half done. What is written is read with `oci-spec`'s types.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use nscap_core::translate::Translation;
use nscap_core::{Extent, IdMap};
use nscap_image::layer::{self, Change, Compression, Error, ImageChanged, Layout};
use nscap_testing::archives::{archive, entry, file, host};
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};

const ALL: [Extent; 1] = [Extent { inside: 0, outside: 0, count: u32::MAX }];
const A: [Extent; 1] = [Extent { inside: 0, outside: 100_000, count: 65_536 }];

fn change(from: &'static [Extent], to: &'static [Extent]) -> Change<'static> {
    let [from, to] = [from, to].map(|map| IdMap::from_sorted(map, map));
    Change { uids: Translation { from, to, drop_unmapped: false }, gids: None }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut writer = compression.writer(Vec::new()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A layout under construction.
struct Image {
    directory: tempfile::TempDir,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

impl Image {
    fn new() -> Image {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("layout/blobs/sha256")).unwrap();
        let image = Image { directory };
        fs::write(image.path("oci-layout"), "{ \"imageLayoutVersion\": \"1.0.0\" }\n").unwrap();
        image
    }

    fn layout(&self) -> PathBuf {
        self.directory.path().join("layout")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.layout().join(name)
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        fs::write(self.path("blobs/sha256").join(&digest[7..]), bytes).unwrap();
        digest
    }

    /// A descriptor with an unknown field.
    fn descriptor(&self, media_type: &str, bytes: &[u8], more: &str) -> String {
        let digest = self.blob(bytes);
        let size = bytes.len();
        format!(
            "{{\"mediaType\":\"{media_type}\",\n \"digest\": \"{digest}\", \"x-y\" : 1.50,\"size\":{size}{more}}}"
        )
    }

    /// An image of these layers, each plain and as its blob.
    fn manifest(&self, layers: &[(&[u8], &[u8])], more: &str) -> Vec<u8> {
        let ids: Vec<String> =
            layers.iter().map(|(plain, _)| format!("\"{}\"", digest(plain))).collect();
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{\"Labels\":{{\"Digest\":\"\\u003c\"}}}},\n\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}},\"history\":[{{\"created_by\":\"a\",\"empty_layer\":true}}]}}",
            ids.join(", ")
        );
        let config = self.descriptor(CONFIG, config.as_bytes(), "");
        let layers: Vec<String> =
            layers.iter().map(|(_, blob)| self.descriptor(TAR, blob, "")).collect();
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{config},\"layers\":[{}]{more}}}",
            layers.join(",\n")
        );
        text.into_bytes()
    }

    fn index(&self, entries: &[String]) {
        let text = format!(
            "{{\"schemaVersion\":2,\"manifests\":[{}],\"annotations\":{{\"k\":\"v\"}}}}\n",
            entries.join(",")
        );
        fs::write(self.path("index.json"), text).unwrap();
    }

    fn open(&self, reference: &str) -> Layout {
        Layout::find(format!("{}{reference}", self.layout().display()).as_ref()).unwrap().unwrap()
    }

    /// Every file by name.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.layout())
    }
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                all.insert(name, fs::read(path).unwrap());
            }
        }
    }
    all
}

fn named(name: &str) -> String {
    format!(",\"annotations\":{{\"org.opencontainers.image.ref.name\":\"{name}\",\"z\":\"\"}}")
}

fn map_in_place(layout: &Layout, change: &Change<'_>) -> Result<ImageChanged, Error> {
    layer::map_in_place(layout, change, &mut |_, _| Ok(()))
}

/// Follows every name from index.json down, verified, and gives how often each id is granted.
fn verified(layout: &Path) -> Vec<u32> {
    let blob = |digest: &str| fs::read(layout.join("blobs/sha256").join(&digest[7..])).unwrap();
    let index = fs::read(layout.join("index.json")).unwrap();
    let mut open = vec![(INDEX.to_owned(), index)];
    let mut ids = Vec::new();
    while let Some((media_type, document)) = open.pop() {
        if media_type == INDEX {
            for below in ImageIndex::from_reader(&document[..]).unwrap().manifests() {
                let content = blob(below.digest().as_ref());
                assert_eq!(digest(&content), below.digest().to_string());
                assert_eq!(content.len() as u64, below.size());
                open.push((below.media_type().to_string(), content));
            }
            continue;
        }
        let manifest = ImageManifest::from_reader(&document[..]).unwrap();
        let config = blob(manifest.config().digest().as_ref());
        assert_eq!(digest(&config), manifest.config().digest().to_string());
        let config = ImageConfiguration::from_reader(&config[..]).unwrap();
        for (layer, diff_id) in manifest.layers().iter().zip(config.rootfs().diff_ids()) {
            let content = blob(layer.digest().as_ref());
            assert_eq!(digest(&content), layer.digest().to_string());
            assert_eq!(content.len() as u64, layer.size());
            let (compression, whole) = Compression::detect(&content[..]).unwrap();
            let mut plain = Vec::new();
            compression.reader(whole).unwrap().read_to_end(&mut plain).unwrap();
            assert_eq!(digest(&plain), *diff_id);
            if !layer.media_type().to_string().contains("tar") {
                continue;
            }
            let listed = layer::list(&plain[..], &mut |listed| {
                ids.extend(listed.grants.iter().flatten().map(|grant| grant.id.unwrap().get()));
                Ok(())
            });
            listed.unwrap();
        }
    }
    ids.sort_unstable();
    ids
}

/// Two platforms below a nested index, sharing a layer; an attestation; an artifact.
fn multi() -> Image {
    let image = Image::new();
    let [shared, own, plain] = [
        archive(&[file("ping", &[host()], b"1")]),
        archive(&[file("nested", &[entry(7)], b"2")]),
        archive(&[file("plain", &[], b"3")]),
    ];
    let gzip = compressed(Compression::Gzip, &shared);
    let zstd = compressed(Compression::Zstd, &own);
    let two = image.manifest(&[(&shared, &gzip), (&plain, &plain)], "");
    let one = image.manifest(&[(&shared, &gzip), (&own, &zstd)], ",\"unknown\": [ 1.0e1 ]");
    let attested = image.manifest(&[(b"{}", b"{}")], "");
    let attested = String::from_utf8(attested).unwrap();
    let attested = attested.replace(TAR, "application/vnd.in-toto+json").into_bytes();
    let platform = ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}";
    let inner = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{},{},{}]}}",
        image.descriptor(MANIFEST, &one, platform),
        image.descriptor(MANIFEST, &two, ""),
        image.descriptor(MANIFEST, &attested, ""),
    );
    let other = image.manifest(&[(&shared, &gzip)], "");
    image.index(&[
        image.descriptor(INDEX, inner.as_bytes(), &named("multi")),
        image.descriptor(MANIFEST, &other, &named("other")),
    ]);
    image
}

#[test]
fn every_name_is_right_and_back_is_byte_identical() {
    let image = multi();
    let before = image.files();
    assert_eq!(image.open("").layers().unwrap().len(), 3);
    let changed = map_in_place(&image.open(""), &change(&ALL, &A)).unwrap();
    assert_eq!((changed.layers, changed.changed, changed.total.grants), (3, 2, 2));
    assert_eq!(verified(&image.layout()), [100_000, 100_000, 100_000, 100_007]);
    map_in_place(&image.open(""), &change(&A, &ALL)).unwrap();
    let after = image.files();
    for (name, content) in &before {
        assert_eq!(after.get(name), Some(content), "{name:?}");
    }
}

#[test]
fn a_new_layout_has_what_is_named_and_nothing_else() {
    let image = multi();
    let before = image.files();
    image.blob(b"garbage");
    let target = image.directory.path().join("new");
    layer::map_to(&image.open(""), &target, &change(&ALL, &ALL), &mut |_, _| Ok(())).unwrap();
    assert_eq!(files(&target), before);
    let again = layer::map_to(&image.open(""), &target, &change(&ALL, &A), &mut |_, _| Ok(()));
    assert!(again.unwrap_err().to_string().contains("exist"));
    assert_eq!(fs::read_dir(image.directory.path()).unwrap().count(), 2);
}

#[test]
fn one_reference_changes_and_the_others_stay() {
    let image = multi();
    let target = image.directory.path().join("new");
    let hear = &mut |_: &str, _: &layer::Decided<'_>| Ok(());
    layer::map_to(&image.open(":other"), &target, &change(&ALL, &A), hear).unwrap();
    assert_eq!(verified(&target), [0, 0, 7, 100_000]);
    let wrong = Layout::find(format!("{}:none", image.layout().display()).as_ref());
    assert!(wrong.err().unwrap().to_string().contains("no image of that reference"));
}

#[test]
fn a_refused_grant_leaves_everything_as_it_was() {
    let image = multi();
    let before = image.files();
    let error = map_in_place(&image.open(""), &change(&A, &ALL)).unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(image.files(), before);
    // The first layer would change, and the last has no place.
    let late = [Extent { inside: 0, outside: 0, count: 1 }];
    let late = IdMap::from_sorted(&late, &late);
    let mut change = change(&ALL, &A);
    change.uids.from = late;
    assert!(map_in_place(&image.open(""), &change).unwrap_err().is_denied());
    assert_eq!(image.files(), before);
    let target = image.directory.path().join("new");
    assert!(layer::map_to(&image.open(""), &target, &change, &mut |_, _| Ok(())).is_err());
    assert_eq!(fs::read_dir(image.directory.path()).unwrap().count(), 1);
}

fn refused(image: &Image) -> String {
    let before = image.files();
    let layout = Layout::find(image.layout().as_os_str()).map(Option::unwrap);
    let error = layout.and_then(|layout| map_in_place(&layout, &change(&ALL, &A)));
    assert_eq!(image.files(), before);
    error.unwrap_err().to_string()
}

/// An image of one layer, with its manifest changed.
fn simple(edit: impl Fn(String) -> String) -> Image {
    let image = Image::new();
    let layer = archive(&[file("ping", &[host()], b"")]);
    let manifest = edit(String::from_utf8(image.manifest(&[(&layer, &layer)], "")).unwrap());
    image.index(&[image.descriptor(MANIFEST, manifest.as_bytes(), "")]);
    image
}

#[test]
fn damaged_and_ambiguous_images_are_refused() {
    assert!(map_in_place(&simple(|same| same).open(""), &change(&ALL, &A)).is_ok());
    let twice = simple(|text| text.replace("\"layers\"", "\"Layers\":[],\"layers\""));
    assert!(refused(&twice).contains("`layers` is ambiguous"));
    let path = simple(|text| text.replacen("sha256:", "sha256:../../", 1));
    assert!(refused(&path).contains("not the SHA-256 digest"));
    let size = simple(|text| text.replacen("\"size\":2", "\"size\":3", 1));
    assert!(refused(&size).contains("damaged"));
    let kind = simple(|text| text.replace(TAR, "application/vnd.oci.image.layer.v1.tar+encrypted"));
    assert!(refused(&kind).contains("not known"));
    let index = simple(|text| {
        text.replacen(
            "\"x-y\" : 1.50",
            "\"annotations\":{\"containerd.io/snapshot/stargz/toc.digest\":\"\"}",
            2,
        )
    });
    assert!(refused(&index).contains("an index of its own"));
    let image = simple(|same| same);
    fs::write(image.path("oci-layout"), "{\"imageLayoutVersion\":\"2.0.0\"}").unwrap();
    assert!(refused(&image).contains("version 1.0.0"));
}

/// Docker 25 and later write it beside index.json.
#[test]
fn dockers_manifest_names_the_new_blobs_too() {
    let image = simple(|same| same);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(image.path("index.json")).unwrap()).unwrap();
    let blob = |digest: &serde_json::Value| {
        let hex = digest.as_str().unwrap()[7..].to_owned();
        (format!("blobs/sha256/{hex}"), fs::read(image.path("blobs/sha256").join(hex)).unwrap())
    };
    let (_, manifest) = blob(&index["manifests"][0]["digest"]);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let (config, _) = blob(&manifest["config"]["digest"]);
    let (layer, _) = blob(&manifest["layers"][0]["digest"]);
    let docker =
        format!("[{{\"Config\": \"{config}\", \"RepoTags\":[\"a:x\"],\"Layers\":[\"{layer}\"]}}]");
    fs::write(image.path("manifest.json"), docker).unwrap();
    map_in_place(&image.open(""), &change(&ALL, &A)).unwrap();
    let new: serde_json::Value =
        serde_json::from_slice(&fs::read(image.path("manifest.json")).unwrap()).unwrap();
    for (old, new) in [(&config, &new[0]["Config"]), (&layer, &new[0]["Layers"][0])] {
        let new = new.as_str().unwrap();
        assert!(new != old && image.path(new).exists(), "{old} {new}");
    }
    assert_eq!(verified(&image.layout()), [100_000]);
}

#[test]
fn a_blob_that_is_another_is_refused() {
    let image = Image::new();
    let layer = archive(&[file("ping", &[host()], b"")]);
    let manifest = image.manifest(&[(&layer, &layer)], "");
    image.index(&[image.descriptor(MANIFEST, &manifest, "")]);
    let path = image.path("blobs/sha256").join(&digest(&layer)[7..]);
    let other = archive(&[file("pong", &[host()], b"")]);
    fs::write(&path, &other).unwrap();
    assert!(refused(&image).contains("damaged"));
    fs::remove_file(&path).unwrap();
    let outside = image.directory.path().join("outside");
    fs::write(&outside, &layer).unwrap();
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    assert!(refused(&image).contains("not a regular file"));
    // A diff id that is not its layer's.
    let wrong = image.manifest(&[(&other, &layer)], "");
    fs::remove_file(&path).unwrap();
    image.blob(&layer);
    image.index(&[image.descriptor(MANIFEST, &wrong, "")]);
    assert!(refused(&image).contains("diff id"));
}

#[test]
fn any_index_does_not_panic() {
    let image = multi();
    let good = fs::read(image.path("index.json")).unwrap();
    bolero::check!().with_type::<Vec<(u16, u8)>>().for_each(|flips| {
        let mut bytes = good.clone();
        for (at, value) in flips.iter().take(4) {
            let length = bytes.len();
            bytes[usize::from(*at) % length] = *value;
        }
        fs::write(image.path("index.json"), &bytes).unwrap();
        if let Ok(Some(layout)) = Layout::find(image.layout().as_os_str()) {
            let _ = layout.layers();
        }
    });
}
