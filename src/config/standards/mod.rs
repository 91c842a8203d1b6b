//! The checklist of a profile: what the standards ask of sessions, each requirement with whether it is met and by what.
//!
//! It is made from a plan and from where its keys are written. What can be configured away is never said to be met without
//! having been looked at, at every tenant; what cannot is met by the code, and says how. What it says is not met, a profile
//! refuses; what is the operator's to judge, as a cookie that is shared on purpose, is outside, with what there is to judge.

mod asvs;
mod owasp;
mod rest;

use crate::config::login::LocalUsers;
use crate::config::plan::Plan;
use crate::config::profile::Profile;
use crate::config::tenants::TenantPlan;
use crate::policy::route_policy::{Access, RoutePolicy, SessionRules};
use crate::reader::{Line, Lines};
use crate::session::cookie::CookieSettings;

pub(super) use owasp::tells_what_is_behind;

/// How many of a kind are named; of the others it is told how many they are.
const MOST_NAMED: usize = 5;

/// Some things in a row: all of them, or the first few and how many more there are.
pub(super) fn few(things: impl IntoIterator<Item = String>) -> String {
    few_apart(things, ", ")
}

fn few_apart(things: impl IntoIterator<Item = String>, apart: &str) -> String {
    let all: Vec<String> = things.into_iter().collect();
    match all.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", all[..MOST_NAMED].join(apart)),
        None => all.join(apart),
    }
}

/// How it stands with a requirement, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is met.
    Met,
    /// It is for the application, or for whoever runs the gateway.
    Outside,
    /// It is not.
    NotMet,
}

impl State {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::Outside => "outside",
        }
    }
}

/// A requirement, and how it stands with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The document.
    pub document: &'static str,
    /// The section of it.
    pub section: &'static str,
    /// What it asks for, in short.
    pub asks: &'static str,
    /// Whether it only recommends.
    pub is_advice: bool,
    /// How it stands with it.
    pub state: State,
    /// By what it is met, why not, or whose it is.
    pub by: String,
}

/// What is known of a requirement that has been looked at.
#[derive(PartialEq, Eq)]
struct Found(State, String);

fn met(by: impl Into<String>) -> Found {
    Found(State::Met, by.into())
}

fn not_met(why: impl Into<String>) -> Found {
    Found(State::NotMet, why.into())
}

fn outside(whose: impl Into<String>) -> Found {
    Found(State::Outside, whose.into())
}

/// What is found at a tenant where it has nothing of its own: routes are everybody's.
fn nothing_of_its_own() -> Found {
    met("")
}

/// Met if it `is`, by the one thing; otherwise not, for the other.
fn met_if(is: bool, by: impl Into<String>, why_not: impl Into<String>) -> Found {
    if is { met(by) } else { not_met(why_not) }
}

/// Whether other sites can cause what changes something in the name of a person whose session counts there.
pub(super) fn is_bare(policy: &RoutePolicy) -> bool {
    policy.access != Access::Public
        && !policy.csrf.as_ref().is_some_and(|shield| shield.is_enforced && !shield.is_for_sockets_alone)
}

/// Whether every route where somebody's session counts refuses what other sites cause.
fn shielded(look: &Look<'_>) -> Found {
    if look.tenant.is_some() {
        return nothing_of_its_own();
    }
    let mode = look.key("csrf.mode", "\"enforce\"");
    let (mut by_own, mut by_mode) = (Vec::new(), Vec::new());
    for (place, route) in look.plan.routes.iter().enumerate().filter(|(_, route)| is_bare(&route.policy)) {
        let path = format!("route[{place}].csrf");
        match look.place(&path) {
            Some(_) => by_own.push(format!("{} on {}", look.key(&path, ""), route.path.shown())),
            None => by_mode.push(route.path.shown().to_string()),
        }
    }
    if by_own.is_empty() && by_mode.is_empty() {
        return met(format!("by where a request says it is from; {mode}"));
    }
    if !by_mode.is_empty() {
        by_own.insert(0, format!("{mode} on {}", few(by_mode)));
    }
    not_met(format!("what other sites cause passes: {}", few(by_own)))
}

/// One requirement.
struct Requirement {
    document: &'static str,
    section: &'static str,
    asks: &'static str,
    is_advice: bool,
    look: fn(&Look<'_>) -> Found,
}

/// Something that must be.
const fn must(
    document: &'static str,
    section: &'static str,
    asks: &'static str,
    look: fn(&Look<'_>) -> Found,
) -> Requirement {
    Requirement { document, section, asks, is_advice: false, look }
}

/// Something that should be.
const fn should(
    document: &'static str,
    section: &'static str,
    asks: &'static str,
    look: fn(&Look<'_>) -> Found,
) -> Requirement {
    Requirement { document, section, asks, is_advice: true, look }
}

/// A configuration that is looked at, for whoever comes by a host of no tenant or for a tenant's people.
#[derive(Clone, Copy)]
struct Look<'a> {
    plan: &'a Plan,
    profile: Profile,
    lines: &'a Lines<'a>,
    file: &'a str,
    /// The tenant, and which that is in the file.
    tenant: Option<(usize, &'a TenantPlan)>,
}

impl<'a> Look<'a> {
    /// The rules of sessions there.
    fn rules(&self) -> &'a SessionRules {
        self.tenant.map_or(&self.plan.session.rules, |(_, tenant)| &tenant.rules)
    }

    /// The session cookie there.
    fn cookie(&self) -> &'a CookieSettings {
        self.tenant.map_or(&self.plan.session.cookie, |(_, tenant)| &tenant.cookie)
    }

    /// Who can sign in there.
    fn users(&self) -> Option<&'a LocalUsers> {
        self.tenant.map_or(self.plan.users.as_ref(), |(_, tenant)| tenant.users.as_ref())
    }

    /// A key with its value and where it is written, or that it is the default: `default` as it would be written. What a
    /// tenant says itself comes first.
    fn key(&self, path: &str, default: &str) -> String {
        let own = self.of_tenant(path).and_then(|own| self.written(&own));
        own.or_else(|| self.written(path)).unwrap_or_else(|| format!("{path} = {default} (default)"))
    }

    /// The same of what a tenant does not take from the top.
    fn own_key(&self, path: &str, default: &str) -> String {
        let own = self.of_tenant(path).unwrap_or_else(|| path.to_owned());
        self.written(&own).unwrap_or_else(|| format!("{path} = {default} (default)"))
    }

    /// The key in the tenant's own tables, where a tenant is looked at.
    fn of_tenant(&self, path: &str) -> Option<String> {
        self.tenant.map(|(place, _)| format!("tenant[{place}].{path}"))
    }

    /// A key with its value and where it is written, if it is.
    fn written(&self, path: &str) -> Option<String> {
        let Line { number, text } = self.lines.find(path)?;
        Some(format!("{} ({}:{number})", named(path, &text), self.file))
    }

    /// Where a key is written, if it is.
    fn place(&self, path: &str) -> Option<String> {
        self.lines.find(path).map(|line| format!("{}:{}", self.file, line.number))
    }
}

/// The text of a line with the whole name of its key, but for routes, whose number says nothing to people. A tenant's says
/// as little, and its name is told beside.
fn named(path: &str, text: &str) -> String {
    let of_tenant = path.strip_prefix("tenant[").and_then(|rest| rest.split_once("].")).map(|(_, rest)| rest);
    match (text.split_once('='), of_tenant) {
        (Some((_, value)), Some(path)) => format!("tenant.{path} = {}", value.trim()),
        (Some((_, value)), None) if !path.starts_with("route[") => format!("{path} = {}", value.trim()),
        (Some(_) | None, _) => text.to_owned(),
    }
}

/// A requirement looked at for everybody: where a tenant differs, what is found there is told as well, and the worst counts.
fn everywhere(look: &Look<'_>, judge: fn(&Look<'_>) -> Found) -> Found {
    let all = judge(look);
    let mut others = Vec::new();
    for (place, tenant) in look.plan.tenants.iter().enumerate() {
        let found = judge(&Look { tenant: Some((place, tenant)), ..*look });
        if found != all && found != nothing_of_its_own() {
            others.push((tenant.id.name(), found));
        }
    }
    let state = others.iter().map(|(_, found)| found.0).fold(all.0, State::max);
    let is_worse = state > all.0;
    // Of what is worse at a tenant, only that is told.
    let told = others.into_iter().filter(|(_, found)| !is_worse || found.0 == state);
    let told = few_apart(
        told.map(|(name, Found(own, by))| {
            let is_met = if own == State::Met && state != State::Met { " it is met" } else { "" };
            format!("at the tenant \"{name}\"{is_met}: {by}")
        }),
        "; ",
    );
    Found(
        state,
        match (told.is_empty(), is_worse) {
            (true, _) => all.1,
            (false, true) => format!("{told}; elsewhere: {}", all.1),
            (false, false) => format!("{}; {told}", all.1),
        },
    )
}

/// The checklist of a profile for a configuration, whatever profile that names itself.
pub fn checklist(plan: &Plan, profile: Profile) -> Vec<Item> {
    let (lines, file) = (&plan.written.lines(), &*plan.written.file().display().to_string());
    let look = Look { plan, profile, lines, file, tenant: None };
    let own: &[&[Requirement]] = match profile {
        Profile::AsvsL2 => &[asvs::V7, asvs::V3, owasp::CHEAT_SHEET, rest::RFC_6265BIS],
        Profile::NistAal2 | Profile::NistAal3 => &[rest::NIST, rest::RFC_6265BIS],
    };
    let item = |requirement: &Requirement| {
        let Requirement { document, section, asks, is_advice, look: judge } = *requirement;
        let Found(state, by) = everywhere(&look, judge);
        Item { document, section, asks, is_advice, state, by }
    };
    own.iter().copied().flatten().map(item).collect()
}
