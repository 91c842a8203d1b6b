//! Does the request come from where the session was made?

use std::ops::ControlFlow;

use crate::policy::check::Unusable;
use crate::policy::facts::Facts;
use crate::policy::trace::Trace;
use crate::policy::verdict::Reason;
use crate::session::binding::{Answer, BindingRules, Differences};
use crate::session::live::SessionView;
use crate::session::record::EndReason;

/// Compares, and answers the gravest difference as configured. Differences that are only reported are returned: in shadow
/// mode, all there are.
pub fn same_place(
    session: &SessionView<'_>,
    rules: &BindingRules,
    facts: &Facts<'_>,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable, Differences> {
    let differences = session.bound.differences(rules, facts.client, facts.user_agent, facts.tls);
    let Some((factor, answer)) = differences.gravest() else {
        trace.step("binding", "the same place");
        return ControlFlow::Continue(differences);
    };
    trace.step("binding", factor.name());
    if rules.is_shadow {
        trace.step("binding", "only reported: shadow mode");
        return ControlFlow::Continue(differences);
    }
    match answer {
        Answer::Log => ControlFlow::Continue(differences),
        Answer::StepUp => ControlFlow::Break(Unusable::as_is(Reason::Elsewhere(factor))),
        Answer::End => ControlFlow::Break(Unusable::and_ends(EndReason::Binding(factor))),
    }
}
