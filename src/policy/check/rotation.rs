//! Is the presented generation the current one, its successor, or a copy of an old one?

use std::ops::ControlFlow;

use crate::base::clock::Timestamp;
use crate::policy::check::Unusable;
use crate::policy::route_policy::SessionRules;
use crate::policy::trace::Trace;
use crate::policy::verdict::{Reason, RotationStep};
use crate::session::live::{MAX_GENERATION, SessionView};
use crate::session::record::EndReason;
use crate::session::rotation::{DEFAULT_GRACE, Standing};
use crate::session::timeouts::Lifetimes;

/// What is found of a cookie that outlives its browser, of somebody who is not remembered any more.
pub const NOT_KEPT: &str = "current, and not to be kept any more";

/// Judges the generation and says what is to be done about it.
pub fn generation(
    session: &SessionView<'_>,
    presented: u32,
    rules: &SessionRules,
    now: Timestamp,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable, RotationStep> {
    let rule = &rules.rotation;
    // Without a grace period, a minute all the same: each successor is a moment in which the former one is a copy.
    let may_be_replaced = || session.rotation.is_settled(rule.grace.max(DEFAULT_GRACE), now);
    let (found, flow) = match session.rotation.standing(presented, rule, now) {
        Standing::Current
            if presented < MAX_GENERATION && outlasts_its_browser(session, &rules.lifetimes) && may_be_replaced() =>
        {
            (NOT_KEPT, ControlFlow::Continue(RotationStep::Offer(presented + 1)))
        }
        Standing::Current => ("current", ControlFlow::Continue(RotationStep::None)),
        Standing::Due if presented >= MAX_GENERATION => ("the last", ControlFlow::Continue(RotationStep::None)),
        Standing::Due => ("current, a successor is due", ControlFlow::Continue(RotationStep::Offer(presented + 1))),
        Standing::Successor if presented > MAX_GENERATION => {
            ("never given out", ControlFlow::Break(Unusable::as_is(Reason::InvalidProof)))
        }
        Standing::Successor => {
            ("successor, presented for the first time", ControlFlow::Continue(RotationStep::Commit(presented)))
        }
        Standing::Former => ("former, within its grace", ControlFlow::Continue(RotationStep::None)),
        Standing::Reused => ("a copy of an old one", ControlFlow::Break(Unusable::and_ends(EndReason::Reuse))),
    };
    trace.step("generation", found);
    flow
}

/// Whether the browser may have a cookie that it keeps when it is closed, although its person is not remembered any more.
fn outlasts_its_browser(session: &SessionView<'_>, lifetimes: &Lifetimes) -> bool {
    session.is_remembered && session.principal.is_some_and(|principal| !lifetimes.remembers(principal))
}
