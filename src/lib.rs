//! vestibule.
pub mod base;
pub mod crypto;
pub mod limit;
pub mod observe;
pub mod policy;
pub mod route;
pub mod session;
pub mod store;
pub mod login {
    pub mod attempt;
}
pub mod upstream;
