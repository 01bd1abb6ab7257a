// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees and images: what carries capabilities from one id mapping to another.
#![forbid(unsafe_code)]

pub mod layer;
pub mod shift;
