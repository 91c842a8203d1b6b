//! The checks of a decision, a file each. A check that ends the matter breaks with why.

pub mod access;
pub mod binding;
pub mod csrf;
pub mod level;
pub mod lifetime;
pub mod recency;
pub mod rotation;
pub mod tenant;

use crate::policy::verdict::Reason;
use crate::session::record::EndReason;

/// Why the session that came with a request cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Why.
    pub reason: Reason,
    /// The session ends now, for this reason.
    pub ends: Option<EndReason>,
    /// The session is locked from now on.
    pub locks: bool,
}

impl Unusable {
    /// It cannot be used, and nothing happens to it.
    pub const fn as_is(reason: Reason) -> Self {
        Self { reason, ends: None, locks: false }
    }

    /// It cannot be used, and ends.
    pub const fn and_ends(reason: EndReason) -> Self {
        Self { reason: Reason::Ended(reason), ends: Some(reason), locks: false }
    }
}
