//! `[session.concurrency]`, and what `[roles.NAME]` says of it: how many sessions one person may have at once.

use std::sync::Arc;

use crate::reader::Section;
use crate::session::concurrency::{Concurrency, DEFAULT_MAX, MOST, WhenFull};

/// Reads both; `None` where nobody is limited. A role's limit needs no `[session.concurrency]`: who writes it means it.
pub(super) fn read(root: &Section<'_>, session: &Section<'_>) -> Option<Arc<Concurrency>> {
    let written = session.section("concurrency");
    let all = written.as_ref().map(|section| max(section).unwrap_or(DEFAULT_MAX));
    let choices = [WhenFull::Refuse, WhenFull::EndOldest, WhenFull::Ask].map(|choice| (choice.name(), choice));
    let when_full = written.as_ref().and_then(|section| section.one_of("when_full", &choices)).unwrap_or_default();
    let mut roles = Vec::new();
    for (role, section) in root.named_sections("roles") {
        let Some(max) = max(&section) else { continue };
        if let Some(all) = all.filter(|all| max > *all) {
            let help = format!("write at most {all}, which [session.concurrency] says, or more there");
            section.mistake_at("max_sessions", "nobody has more sessions than that, so this would never count", help);
        }
        roles.push((role.value.into(), max));
    }
    (all.is_some() || !roles.is_empty()).then(|| Arc::new(Concurrency { all, roles: roles.into(), when_full }))
}

fn max(section: &Section<'_>) -> Option<usize> {
    section.integer("max_sessions", 1..=MOST)
}
