//! Floor 5: the operator's own listeners, apart from everybody else's.

pub mod api;
pub mod metrics;

mod reload;
