//! Capabilities in what trees are moved as: layers of images, and whole trees.
//!
//! Nothing here decides: what a value becomes in other terms is
//! [`nscap_core::translate`]'s answer.

pub mod layer;
