//! Floor 3: what is changed of the body of an answer.

pub mod compress;
pub mod eligible;
