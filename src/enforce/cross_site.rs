//! What the CSRF shield found, counted and written down.

use crate::enforce::shared::Shared;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Answered;
use crate::policy::facts::Facts;
use crate::policy::origin;
use crate::policy::verdict::{CrossSite, Decision, Reason, Verdict};
use crate::session::live::Live;

/// What follows, in logs and metrics.
pub const ANSWERS: [&str; 2] = ["refused", "reported"];

/// Counts and reports what a decision found of other sites' doings, if anything.
pub fn note_decision(shared: &Shared, decision: &Decision, facts: &Facts<'_>, live: Option<&Live>) {
    let [refused, reported] = ANSWERS;
    if let Some(found) = decision.cross_site {
        note(shared, found, reported, facts, live);
    }
    if let Verdict::Deny(Reason::CrossSite(found)) = decision.verdict {
        note(shared, found, refused, facts, live);
    }
}

/// Counts one, and reports it unless there were many from the same address: a page can make a browser ask a thousand
/// times a minute.
pub fn note(shared: &Shared, found: CrossSite, answer: &'static str, facts: &Facts<'_>, live: Option<&Live>) {
    shared.metrics.cross_site.get_or_create(&Answered { reason: found.name(), answer }).inc();
    if shared.cross_site_reports.admit(facts.client).is_err() {
        return;
    }
    let (handle, origin) = (live.map(Live::handle), origin::claimed(facts.headers));
    let fields = AuditFields {
        client: Some(facts.client),
        session: handle.as_ref().map(|handle| -> &dyn std::fmt::Display { handle }),
        user: live.and_then(Live::principal).map(|principal| &*principal.user),
        tenant: live.and_then(|live| live.tenant().told()),
        reason: Some(found.name()),
        answer: Some(answer),
        origin: origin.as_deref(),
        ..AuditFields::default()
    };
    shared.audit(AuditEvent::CrossSite, fields);
}
