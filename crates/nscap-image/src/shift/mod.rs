//! What is common to moving trees and layers: MAP.

mod map;

pub use map::{Ids, Side};
