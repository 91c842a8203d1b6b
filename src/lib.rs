//! vestibule.
pub mod base;
pub mod crypto;
pub mod session;
