//! vestibule.
pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod enforce;
pub mod limit;
pub mod login;
pub mod observe;
pub mod policy;
pub mod portal;
pub mod route;
pub mod server;
pub mod session;
pub mod store;
pub mod upstream;
