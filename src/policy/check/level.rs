//! Has the session reached the level that the route asks for? A password would not help, so none is asked for.

use crate::base::clock::Timestamp;
use crate::policy::trace::Trace;
use crate::session::level::{Level, Shortfall};
use crate::session::live::SessionView;

/// Why it has not, if it has not.
pub fn shortfall(
    asked: &Level,
    session: &SessionView<'_>,
    now: Timestamp,
    trace: &mut impl Trace,
) -> Option<Shortfall> {
    let found = asked.missing(session, now);
    trace.step("level", found.map_or("reached", Shortfall::name));
    found
}
