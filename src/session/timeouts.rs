//! How long a session lasts.

use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::session::record::EndReason;

/// Default for `session.lifetime.idle`: the upper end of what OWASP's session cheat sheet names for low-value
/// applications (15 to 30 minutes), and half of what NIST SP 800-63B-4 allows at AAL2.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(30 * 60);

/// Default for `session.lifetime.absolute`: one working day with its margins; the bound of NIST's AAL3.
pub const DEFAULT_ABSOLUTE: Duration = Duration::from_secs(12 * 3600);

/// Activity closer than this to the last one noted is not noted again: parallel requests of one session then do not
/// fight for one cache line. A session may so end this much early, never late.
pub const ACTIVITY_GRAIN: Duration = Duration::from_secs(1);

/// The two limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From the last activity.
    pub idle: Duration,
    /// From authentication.
    pub absolute: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self { idle: DEFAULT_IDLE, absolute: DEFAULT_ABSOLUTE }
    }
}

impl Lifetime {
    /// Why a session with these times is over at `now`; `None` while it lasts. A limit is the first moment at which
    /// the session is over.
    pub fn over(&self, authenticated_at: Timestamp, active_at: Timestamp, now: Timestamp) -> Option<EndReason> {
        if now >= authenticated_at.plus(self.absolute) {
            Some(EndReason::Absolute)
        } else if now >= active_at.plus(self.idle) {
            Some(EndReason::Idle)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_at_the_limit_and_not_a_millisecond_before() {
        let limits = Lifetime { idle: Duration::from_millis(10), absolute: Duration::from_millis(25) };
        let at = Timestamp::from_millis;
        assert_eq!(limits.over(at(100), at(100), at(109)), None);
        assert_eq!(limits.over(at(100), at(100), at(110)), Some(EndReason::Idle));
        assert_eq!(limits.over(at(100), at(120), at(124)), None);
        assert_eq!(limits.over(at(100), at(120), at(125)), Some(EndReason::Absolute));
        // A clock that went back ends nothing.
        assert_eq!(limits.over(at(100), at(100), at(50)), None);
    }
}
