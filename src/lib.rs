//! vestibule.
pub mod base;
pub mod crypto;
pub mod policy;
pub mod route;
pub mod session;
