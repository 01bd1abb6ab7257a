// SPDX-License-Identifier: MIT OR Apache-2.0
//! What reading an image takes is bounded by its size, however its documents name each other.

use std::fs;
use std::path::{Path, PathBuf};

use bolero::{check, produce};
use nscap_core::translate::Translation;
use nscap_core::{Extent, IdMap};
use nscap_image::layer::{self, Change, Layout};
use nscap_testing::archives::{archive, file, host};
use sha2::{Digest as _, Sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

const ALL: [Extent; 1] = [Extent { inside: 0, outside: 0, count: u32::MAX }];
const A: [Extent; 1] = [Extent { inside: 0, outside: 100_000, count: 65_536 }];

struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    fn new() -> Image {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("image/blobs/sha256")).unwrap();
        let image = Image { directory };
        fs::write(image.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        image
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// A blob, and the descriptor of it.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> String {
        let hash = Sha256::digest(bytes);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(self.path().join("blobs/sha256").join(&hex), bytes).unwrap();
        let size = bytes.len();
        format!(r#"{{"mediaType":"{media_type}","size":{size},"digest":"sha256:{hex}"}}"#)
    }

    /// A manifest with one layer that has one host value.
    fn manifest(&self) -> String {
        let bytes = archive(&[file("ping", &[host()], b"")]);
        let layer = self.blob(LAYER, &bytes);
        let id: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["sha256:{id}"]}}}}"#);
        let config = self.blob(CONFIG, config.as_bytes());
        self.blob(MANIFEST, format!(r#"{{"config":{config},"layers":[{layer}]}}"#).as_bytes())
    }

    fn index(&self, descriptors: &[String]) -> String {
        self.blob(INDEX, format!(r#"{{"manifests":[{}]}}"#, descriptors.join(",")).as_bytes())
    }

    fn finish(&self, descriptors: &[String]) -> Layout {
        let index = format!(r#"{{"manifests":[{}]}}"#, descriptors.join(","));
        fs::write(self.path().join("index.json"), index).unwrap();
        Layout::find(self.path().as_os_str()).unwrap().unwrap()
    }
}

fn mapped(layout: &Layout, target: &Path) -> layer::Result<layer::ImageChanged> {
    let [from, to] = [&ALL, &A].map(|map| IdMap::from_sorted(map, map));
    let uids = Translation { from, to, drop_unmapped: false };
    layer::map_to(layout, target, &Change { uids, gids: None }, &mut |_, _| Ok(()))
}

#[test]
fn documents_that_name_each_other_are_read_once() {
    let image = Image::new();
    let mut below = image.manifest();
    // 300^6 ways lead to the manifest.
    for _ in 0..6 {
        below = image.index(&vec![below; 300]);
    }
    let layout = image.finish(&[below]);
    assert_eq!(layout.layers().unwrap().len(), 1);
    let changed = mapped(&layout, &image.directory.path().join("mapped")).unwrap();
    assert_eq!((changed.layers, changed.changed), (1, 1));
}

#[test]
fn any_way_of_naming_each_other_comes_to_an_end() {
    let generator = produce::<Vec<(u8, u8, u8)>>();
    check!().with_iterations(60).with_generator(generator).for_each(|specs| {
        let image = Image::new();
        let mut documents = vec![image.manifest()];
        for (one, other, third) in specs.iter().take(8) {
            let pick = |n: &u8| documents[usize::from(*n) % documents.len()].clone();
            let named: Vec<String> =
                [one, other, third].into_iter().cycle().take(90).map(pick).collect();
            documents.push(image.index(&named));
        }
        let last = documents.last().unwrap().clone();
        let layout = image.finish(&[last.clone(), last]);
        if let Ok(layers) = layout.layers() {
            assert_eq!(layers.len(), 1);
        }
        let _ = mapped(&layout, &image.directory.path().join("mapped"));
    });
}

#[test]
fn what_would_be_said_again_for_each_layer_is_short() {
    let image = Image::new();
    let manifest = image.manifest();
    let platform =
        format!(r#","platform":{{"os":"{}","architecture":"x"}}}}"#, "x".repeat(1 << 20));
    let long = manifest.strip_suffix('}').unwrap().to_owned() + &platform;
    let error = image.finish(&[long]).layers().unwrap_err().to_string();
    assert!(error.contains("a platform of more than 255 bytes"), "{error}");
    // Descriptors that embed what they name, which grows when that changes.
    let padding = format!(r#"{{"x":"{}","manifests":[{manifest}]}}"#, "x".repeat(1 << 20));
    let large = image.blob(INDEX, padding.as_bytes());
    let embeds = large.strip_suffix('}').unwrap().to_owned() + r#","data":""}"#;
    let layout = image.finish(&vec![embeds; 100]);
    assert_eq!(layout.layers().unwrap().len(), 1);
    let target = image.directory.path().join("mapped");
    let error = mapped(&layout, &target).unwrap_err().to_string();
    assert!(error.contains("more than 4 MiB") && !target.exists(), "{error}");
}
