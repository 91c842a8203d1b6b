//! Floor 3: how much is too much.

pub mod connections;
pub mod rate;
