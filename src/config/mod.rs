//! Floor 7: `gateway.toml`, from what is written to what is meant. All mistakes are found in one go.

pub mod plan;
pub mod standards;

mod admin;
mod concurrency;
mod csrf;
mod health;
mod hsts;
mod identity;
mod keys;
mod levels;
mod lifetimes;
mod limits;
mod log;
mod login;
mod not_yet;
mod parked_posts;
mod portal;
mod profile;
mod rewriting;
mod routes;
mod server;
mod session;
mod tenants;
mod upstreams;

pub use admin::AdminPlan;
pub use hsts::Hsts;
pub use keys::Keys;
pub use limits::LimitPlan;
pub use login::LocalUsers;
pub use plan::Plan;
pub use profile::Profile;
pub use server::{CertificatePlan, ServiceUser};
pub use session::StoreKind;
pub use tenants::TenantPlan;
pub use upstreams::server as upstream_server;
