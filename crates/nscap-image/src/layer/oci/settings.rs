// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the configuration of an image says of a start (the image specification, "config").

use serde_json::value::RawValue;

use super::blobs::{digest, document, text};
use super::images::{DockerImage, docker_images};
use super::json::{Descriptor, Object, platform_of, string};
use super::layout::{Image, Kind, Layout, Root, within};
use crate::layer::error::{Error, Result};

/// What a start takes from its image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// `USER[:GROUP]`; empty: root.
    pub user: String,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// The command's beginning.
    pub entrypoint: Vec<String>,
    /// The rest of the command, unless the start has another.
    pub cmd: Vec<String>,
    /// Where it begins; empty: the root.
    pub working_dir: String,
}

impl Settings {
    fn of(config: &Object<'_>) -> std::result::Result<Settings, String> {
        let own = config.object("config")?;
        let Some(own) = own else {
            return Ok(Settings { platform: platform_of(config)?, ..Settings::default() });
        };
        let text = |name| own.text(name).map(Option::unwrap_or_default);
        let list = |name| -> std::result::Result<Vec<String>, String> {
            let strings =
                own.array(name)?.into_iter().map(string).collect::<std::result::Result<_, _>>();
            strings.map_err(|error| format!("`{name}`: {error}"))
        };
        Ok(Settings {
            platform: platform_of(config)?,
            user: text("User")?,
            env: list("Env")?,
            entrypoint: list("Entrypoint")?,
            cmd: list("Cmd")?,
            working_dir: text("WorkingDir")?,
        })
    }
}

impl Layout {
    /// What an image's configuration says of a start; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Image`] for a document that is not the one its digest says, or that programs read
    /// differently; [`Error::Call`].
    pub fn settings(&self, image: &Image) -> Result<Option<Settings>> {
        if image.manifest.is_empty() {
            return Ok(None);
        }
        if let Root::Docker(manifest) = &self.root {
            return self.docker_settings(manifest, &image.manifest);
        }
        let manifest = match &self.root {
            Root::Manifest(own) if digest(own.as_bytes()) == image.manifest => own.clone(),
            _ => {
                let found = text(self.store.digest(&image.manifest)?, &image.manifest)?;
                if digest(found.as_bytes()) != image.manifest {
                    return Err(Error::image(&image.manifest, "is another: the image is damaged"));
                }
                found
            }
        };
        let (what, object) = (&image.manifest, within(&image.manifest, Object::parse(&manifest))?);
        let Some(config) = within(what, object.get("config"))? else { return Ok(None) };
        let config = within(what, Descriptor::parse(config))?;
        if Kind::of(&config.media_type) != Kind::Config {
            return Ok(None);
        }
        let text = document(&self.store, &config)?;
        let settings = Object::parse(&text).and_then(|object| Settings::of(&object));
        within(&config.digest, settings).map(Some)
    }

    fn docker_settings(&self, manifest: &str, wanted: &str) -> Result<Option<Settings>> {
        let images: Vec<&RawValue> = within("manifest.json", docker_images(manifest))?;
        for image in images {
            let image = within("manifest.json", DockerImage::parse(image))?;
            let config = image.config(self)?;
            if digest(config.as_bytes()) == wanted {
                let settings = Object::parse(&config).and_then(|object| Settings::of(&object));
                return within(&image.config, settings).map(Some);
            }
        }
        Ok(None)
    }
}
