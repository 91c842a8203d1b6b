//! `[session.concurrency]`, and what `[roles.NAME]` says of it: how many sessions one person may have at once, for everybody
//! and at a tenant.

use std::sync::Arc;

use crate::reader::{Located, Section};
use crate::session::concurrency::{Concurrency, DEFAULT_MAX, MOST, WhenFull};

/// The table that says it for everybody.
const TABLE: &str = "session.concurrency";

/// Reads both; `None` where nobody is limited. A role's limit needs no `[session.concurrency]`: who writes it means it.
pub(super) fn read(root: &Section<'_>, session: &Section<'_>) -> Option<Arc<Concurrency>> {
    let written = session.section("concurrency");
    let all = written.as_ref().map(|section| max(section).unwrap_or(DEFAULT_MAX));
    let when_full = written.as_ref().and_then(when_full).unwrap_or_default();
    let roles = of_roles(root, all, TABLE);
    (all.is_some() || !roles.is_empty()).then(|| Arc::new(Concurrency { all, roles: roles.into(), when_full }))
}

/// Reads what a tenant says of both: as many as for all, or fewer. What happens then is its own to say: none of it lets in
/// more of them.
pub(super) fn of_tenant(
    tenant: &Section<'_>,
    session: &Section<'_>,
    of_all: Option<&Arc<Concurrency>>,
) -> Option<Arc<Concurrency>> {
    const OWN_TABLE: &str = "tenant.session.concurrency";
    let written = session.section("concurrency");
    let top = of_all.and_then(|of_all| of_all.all);
    let own = written.as_ref().and_then(|section| no_more(section, top, TABLE));
    let (all, table) = match (&written, own) {
        (Some(_), Some(own)) if top.is_none_or(|top| own < top) => (Some(own), OWN_TABLE),
        (Some(_), _) if top.is_none() => (Some(DEFAULT_MAX), OWN_TABLE),
        (Some(_) | None, _) => (top, TABLE),
    };
    let own_choice = written.as_ref().and_then(when_full);
    let own_roles = of_roles(tenant, all, table);
    if written.is_none() && own_roles.is_empty() {
        return of_all.cloned();
    }
    let of_all_roles = of_all.iter().flat_map(|of_all| of_all.roles.iter().cloned());
    let roles = of_all_roles.chain(own_roles).collect();
    let when_full = own_choice.or(of_all.map(|of_all| of_all.when_full)).unwrap_or_default();
    Some(Arc::new(Concurrency { all, roles, when_full }))
}

fn of_roles(root: &Section<'_>, all: Option<usize>, table: &str) -> Vec<(Box<str>, usize)> {
    let own =
        |(role, section): (Located<String>, Section<'_>)| Some((role.value.into(), no_more(&section, all, table)?));
    root.named_sections("roles").into_iter().filter_map(own).collect()
}

/// `max_sessions` where it may be no more than `all`, which `table` says.
fn no_more(section: &Section<'_>, all: Option<usize>, table: &str) -> Option<usize> {
    let max = max(section)?;
    if let Some(all) = all.filter(|all| max > *all) {
        let help = format!("write at most {all}, which [{table}] says, or more there");
        section.mistake_at("max_sessions", "nobody has more sessions than that, so this would never count", help);
    }
    Some(max)
}

fn max(section: &Section<'_>) -> Option<usize> {
    section.integer("max_sessions", 1..=MOST)
}

fn when_full(section: &Section<'_>) -> Option<WhenFull> {
    let choices = [WhenFull::Refuse, WhenFull::EndOldest, WhenFull::Ask].map(|choice| (choice.name(), choice));
    section.one_of("when_full", &choices)
}
