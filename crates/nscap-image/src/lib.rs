//! Trees and images: what carries capabilities from one id mapping to another.

pub mod layer;
pub mod shift;
