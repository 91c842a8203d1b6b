//! Floor 3: how much is too much.

pub mod connections;
pub mod guesses;
mod keyed;
pub mod parallel;
pub mod rate;
pub mod wrong_passwords;
