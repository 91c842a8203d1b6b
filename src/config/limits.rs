//! `[limits]`: how much is too much.

use crate::base::units::{self, Rate};
use crate::limit::rate::{DEFAULT_LOGIN, DEFAULT_PER_ADDRESS, DEFAULT_PER_SESSION};
use crate::reader::Section;

/// What `[limits]` says; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitPlan {
    /// Requests of one session.
    pub per_session: Option<Rate>,
    /// Requests from one address.
    pub per_address: Option<Rate>,
    /// Sign-ins from one address.
    pub login: Option<Rate>,
}

/// Reads `[limits]`.
pub(super) fn read(root: &Section<'_>) -> LimitPlan {
    let section = root.section_or_empty("limits");
    let rate = |key, default| section.rate(key).unwrap_or_else(|| units::rate(default).unwrap_or_default());
    LimitPlan {
        per_session: rate("per_session", DEFAULT_PER_SESSION),
        per_address: rate("per_address", DEFAULT_PER_ADDRESS),
        login: rate("login", DEFAULT_LOGIN),
    }
}
