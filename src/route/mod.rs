//! Floor 2: which route a request belongs to. Pure.

pub mod hosts;
pub mod pattern;
pub mod rewriting;
pub mod table;
