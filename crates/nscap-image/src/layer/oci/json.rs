// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON documents of which a few values are replaced and every other byte stays.
//!
//! `oci-spec`'s types drop unknown fields, and a writer of values loses the document's spacing and
//! the spelling of its numbers: the digest of a document would change for no reason. So this module
//! replaces values in place.

use std::fmt;
use std::ops::Range;

use super::blobs::MAX_DOCUMENT;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object; its values borrow from the document.
pub(crate) struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields).map(Object)
    }
}

impl<'a> Object<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Object<'a>, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The value of a field, `None` if there is none. An error if the field occurs twice, also in
    /// other letter case: Go's programs accept either.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&'a RawValue>, String> {
        let mut found = self.0.iter().filter(|(key, _)| folded(key) == folded(name));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((key, value)), None) if key == name => Ok(Some(value).copied().filter(not_null)),
            _ => Err(format!("the field `{name}` is ambiguous; programs disagree which counts")),
        }
    }

    pub(crate) fn needed(&self, name: &str) -> Result<&'a RawValue, String> {
        self.get(name)?.ok_or_else(|| format!("the field `{name}` is missing"))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Object<'a>>, String> {
        self.get(name)?.map(|value| Object::parse(value.get())).transpose()
    }

    /// The elements of an array; none where there is no such field.
    pub(crate) fn array(&self, name: &str) -> Result<Vec<&'a RawValue>, String> {
        let array = self.get(name)?.map(|value| serde_json::from_str(value.get()));
        array.transpose().map(Option::unwrap_or_default).map_err(|e| format!("`{name}`: {e}"))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, String> {
        self.get(name)?.map(|value| string(value).map_err(|e| format!("`{name}`: {e}"))).transpose()
    }

    /// The names of all fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

fn not_null(value: &&RawValue) -> bool {
    value.get() != "null"
}

/// A string value.
pub(crate) fn string(value: &RawValue) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|error| error.to_string())
}

/// As `encoding/json` of Go compares the names of fields.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The longest platform, in bytes.
const PLATFORM_MAX: usize = 255;

/// A descriptor of a blob, which borrows from the document.
pub(crate) struct Descriptor<'a> {
    object: Object<'a>,
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    digest_at: &'a RawValue,
    size_at: &'a RawValue,
}

impl<'a> Descriptor<'a> {
    pub(crate) fn parse(value: &'a RawValue) -> Result<Descriptor<'a>, String> {
        let object = Object::parse(value.get())?;
        let (digest_at, size_at) = (object.needed("digest")?, object.needed("size")?);
        let size = size_at.get().parse().map_err(|_| "`size` is not a number".to_owned())?;
        Ok(Descriptor {
            media_type: string(object.needed("mediaType")?)?,
            digest: string(digest_at)?,
            size,
            digest_at,
            size_at,
            object,
        })
    }

    /// An annotation.
    pub(crate) fn annotation(&self, name: &str) -> Result<Option<String>, String> {
        match self.object.object("annotations")? {
            Some(annotations) => annotations.text(name),
            None => Ok(None),
        }
    }

    /// Whether it has an annotation with such a name.
    pub(crate) fn has_annotation(&self, like: impl Fn(&str) -> bool) -> Result<bool, String> {
        let annotations = self.object.object("annotations")?;
        Ok(annotations.is_some_and(|annotations| annotations.names().any(like)))
    }

    /// `os/architecture`, and `/variant` where there is one, of its platform.
    pub(crate) fn platform(&self) -> Result<Option<String>, String> {
        self.object.object("platform")?.map(|platform| platform_of(&platform)).transpose()
    }
}

/// `os/architecture[/variant]` of an object that has these fields: a platform, or a configuration.
pub(crate) fn platform_of(object: &Object<'_>) -> Result<String, String> {
    let part = |name| object.text(name).map(Option::unwrap_or_default);
    let mut text = format!("{}/{}", part("os")?, part("architecture")?);
    let variant = part("variant")?;
    if !variant.is_empty() {
        text = format!("{text}/{variant}");
    }
    // It is said again for every layer.
    match text.len() {
        0..=PLATFORM_MAX => Ok(text),
        _ => Err(format!("a platform of more than {PLATFORM_MAX} bytes")),
    }
}

/// A document with replacements.
pub(crate) struct Edits<'a> {
    text: &'a str,
    edits: Vec<(Range<usize>, String)>,
    /// How much was put into descriptors.
    embedded: u64,
}

impl<'a> Edits<'a> {
    pub(crate) fn of(text: &'a str) -> Edits<'a> {
        Edits { text, edits: Vec::new(), embedded: 0 }
    }

    /// Puts a string in place of a value of the document.
    pub(crate) fn put_string(&mut self, at: &'a RawValue, new: &str) {
        self.put(at, serde_json::Value::from(new).to_string());
    }

    fn put(&mut self, at: &'a RawValue, new: String) {
        // Values borrow from the document, so their addresses give their positions.
        let begin = (at.get().as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        self.edits.push((begin..begin.saturating_add(at.get().len()), new));
    }

    /// Adds an element to an array of the document, which is JSON text.
    pub(crate) fn push(&mut self, array: &'a RawValue, element: String) {
        let (text, empty) = (array.get(), array.get().trim_matches(['[', ']']).trim().is_empty());
        let begin = (text.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        // A value ends with its bracket; what is before it is kept.
        let inside = text.strip_suffix(']').unwrap_or(text).trim_end().len();
        let at = begin.saturating_add(inside);
        self.edits.push((at..at, if empty { element } else { format!(",{element}") }));
    }

    /// Names another blob.
    ///
    /// # Errors
    /// Where the descriptor holds its blob as well and `content` is not known.
    pub(crate) fn put_blob(
        &mut self,
        descriptor: &Descriptor<'a>,
        digest: &str,
        size: u64,
        content: Option<&[u8]>,
    ) -> Result<(), String> {
        use base64::Engine as _;
        self.put_string(descriptor.digest_at, digest);
        self.put(descriptor.size_at, size.to_string());
        match (descriptor.object.get("data")?, content) {
            (None, _) => Ok(()),
            (Some(data), Some(content)) => {
                // Many descriptors may each embed a document: the limit is for all of them.
                self.embedded += content.len() as u64;
                if self.embedded > MAX_DOCUMENT {
                    return Err("embedded documents (`data`) of more than 4 MiB".to_owned());
                }
                let text = base64::prelude::BASE64_STANDARD.encode(content);
                self.put_string(data, &text);
                Ok(())
            }
            (Some(_), None) => Err("a layer embedded in its descriptor (`data`)".to_owned()),
        }
    }

    /// The new document; `None` where nothing was replaced.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut out = String::with_capacity(self.text.len() + 64);
        let mut rest = 0;
        for (range, new) in self.edits {
            out.push_str(self.text.get(rest..range.start).unwrap_or_default());
            out.push_str(&new);
            rest = range.end;
        }
        out.push_str(self.text.get(rest..).unwrap_or_default());
        Some(out.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_replaced_changes() {
        let text = "{ \"layers\" : [ {\"mediaType\":\"t\", \"x\":1.00e2,\t\"size\": 10 ,\n\
            \"digest\":\"sha256:a\"} ],\"unknown\":{\"b\":1,\"a\":\"\\u003c\"}}";
        let object = Object::parse(text).unwrap();
        let layer = object.array("layers").unwrap().remove(0);
        let layer = Descriptor::parse(layer).unwrap();
        assert_eq!((layer.digest.as_str(), layer.size), ("sha256:a", 10));
        let mut edits = Edits::of(text);
        edits.put_blob(&layer, "sha256:bb", 1234, None).unwrap();
        let new = String::from_utf8(edits.finish().unwrap()).unwrap();
        assert_eq!(new, text.replace("sha256:a", "sha256:bb").replace("10 ,", "1234 ,"));
        assert!(Edits::of(text).finish().is_none());
    }

    #[test]
    fn an_array_gets_one_more_element() {
        for (text, new) in [
            ("{\"a\":[]}", "{\"a\":[1]}"),
            ("{\"a\":[ ]}", "{\"a\":[1 ]}"),
            ("{\"a\":[ [2] \n]}", "{\"a\":[ [2],1 \n]}"),
        ] {
            let array = Object::parse(text).unwrap().get("a").unwrap().unwrap();
            let mut edits = Edits::of(text);
            edits.push(array, "1".to_owned());
            assert_eq!(String::from_utf8(edits.finish().unwrap()).unwrap(), new);
        }
    }

    #[test]
    fn fields_that_programs_could_take_for_each_other_are_refused() {
        for text in [
            r#"{"layers":[],"Layers":[]}"#,
            r#"{"layers":[],"layers":[]}"#,
            r#"{"LAYERS":[]}"#,
            r#"{"layer\u017f":[]}"#,
        ] {
            assert!(Object::parse(text).unwrap().get("layers").is_err(), "{text}");
        }
        assert!(Object::parse(r#"{"layers":null}"#).unwrap().get("layers").unwrap().is_none());
        assert!(Object::parse("[]").is_err() && Object::parse("{} x").is_err());
    }

    #[test]
    fn an_embedded_document_is_replaced_too() {
        let text = r#"[{"mediaType":"t","size":1,"digest":"d","data":"e30="}]"#;
        let values: Vec<&RawValue> = serde_json::from_str(text).unwrap();
        let descriptor = Descriptor::parse(values[0]).unwrap();
        let mut edits = Edits::of(text);
        assert!(edits.put_blob(&descriptor, "e", 2, None).is_err());
        let mut edits = Edits::of(text);
        edits.put_blob(&descriptor, "e", 2, Some(b"[]")).unwrap();
        let new = edits.finish().unwrap();
        assert_eq!(new, br#"[{"mediaType":"t","size":2,"digest":"e","data":"W10="}]"#);
    }
}
