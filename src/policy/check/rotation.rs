//! Is the presented generation the current one, its successor, or a copy of an old one?

use std::ops::ControlFlow;

use crate::base::clock::Timestamp;
use crate::policy::check::Unusable;
use crate::policy::trace::Trace;
use crate::policy::verdict::{Reason, RotationStep};
use crate::session::live::{MAX_GENERATION, SessionView};
use crate::session::record::EndReason;
use crate::session::rotation::{RotationRule, Standing};

/// Judges the generation and says what is to be done about it.
pub fn generation(
    session: &SessionView<'_>,
    presented: u32,
    rule: &RotationRule,
    now: Timestamp,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable, RotationStep> {
    let (found, flow) = match session.rotation.standing(presented, rule, now) {
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
