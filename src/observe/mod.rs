//! Floor 1: what is written down of what happens. Handles of sessions, never their secrets.

pub mod access_log;
pub mod audit;
pub mod correlation;
pub mod metrics;
mod process;
pub mod sink;
pub mod timings;
