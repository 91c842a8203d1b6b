//! Does the request come from where the session was made?

use std::ops::ControlFlow;

use crate::policy::check::Unusable;
use crate::policy::facts::Facts;
use crate::policy::trace::Trace;
use crate::policy::verdict::Reason;
use crate::session::binding::{Answer, BindingRules, Factor};
use crate::session::live::SessionView;
use crate::session::record::EndReason;

/// Compares, and answers a difference as configured; a difference that is only reported is returned.
pub fn same_place(
    session: &SessionView<'_>,
    rules: &BindingRules,
    facts: &Facts<'_>,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable, Option<Factor>> {
    let Some((factor, answer)) = session.bound.difference(rules, facts.client, facts.user_agent) else {
        trace.step("binding", "the same place");
        return ControlFlow::Continue(None);
    };
    trace.step("binding", factor.name());
    match answer {
        Answer::Log => ControlFlow::Continue(Some(factor)),
        Answer::StepUp => ControlFlow::Break(Unusable::as_is(Reason::Elsewhere(factor))),
        Answer::End => ControlFlow::Break(Unusable::and_ends(EndReason::Binding(factor))),
    }
}
