//! The checklist of a profile: what the standards ask of sessions, each requirement with whether it is met and by what.
//!
//! It is made from a plan and from where its keys are written. What can be configured away is never said to be met without
//! having been looked at; what cannot is met by the code, and says how.

mod asvs;
mod owasp;
mod rest;

use crate::config::plan::Plan;
use crate::config::profile::Profile;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::reader::{Line, Lines};

/// How it stands with a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is met.
    Met,
    /// It is not.
    NotMet,
    /// It is for the application, or for whoever runs the gateway.
    Outside,
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

/// Met if it `is`, by the one thing; otherwise not, for the other.
fn met_if(is: bool, by: impl Into<String>, why_not: impl Into<String>) -> Found {
    if is { met(by) } else { not_met(why_not) }
}

/// Whether every route where somebody's session counts refuses what other sites cause.
fn shielded(look: &Look<'_>) -> Found {
    let is_bare = |policy: &RoutePolicy| {
        policy.access != Access::Public && !policy.csrf.as_ref().is_some_and(|shield| shield.is_enforced)
    };
    let bare = look.plan.routes.iter().position(|route| is_bare(&route.policy));
    let mode = look.key("csrf.mode", "\"enforce\"");
    let Some(place) = bare else { return met(format!("by where a request says it is from; {mode}")) };
    let path = format!("route[{place}].csrf");
    let by = if look.place(&path).is_some() { look.key(&path, "") } else { mode };
    not_met(format!("{by}: what other sites cause passes on {}", look.plan.routes[place].path.shown()))
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

/// A configuration that is looked at.
struct Look<'a> {
    plan: &'a Plan,
    profile: Profile,
    lines: Lines<'a>,
    file: String,
}

impl Look<'_> {
    /// A key with its value and where it is written, or that it is the default: `default` as it would be written.
    fn key(&self, path: &str, default: &str) -> String {
        match self.lines.find(path) {
            Some(Line { number, text }) => format!("{} ({}:{number})", named(path, &text), self.file),
            None => format!("{path} = {default} (default)"),
        }
    }

    /// Where a key is written, if it is.
    fn place(&self, path: &str) -> Option<String> {
        self.lines.find(path).map(|line| format!("{}:{}", self.file, line.number))
    }
}

/// The text of a line with the whole name of its key, but for routes, whose number says nothing to people.
fn named(path: &str, text: &str) -> String {
    match text.split_once(" = ") {
        Some((_, value)) if !path.starts_with("route[") => format!("{path} = {value}"),
        Some(_) | None => text.to_owned(),
    }
}

/// The checklist of a profile for a configuration, whatever profile that names itself.
pub fn checklist(plan: &Plan, profile: Profile) -> Vec<Item> {
    let look = Look { plan, profile, lines: plan.written.lines(), file: plan.written.file().display().to_string() };
    let own: &[&[Requirement]] = match profile {
        Profile::AsvsL2 => &[asvs::V7, asvs::V3, owasp::CHEAT_SHEET, rest::RFC_6265BIS],
        Profile::NistAal2 | Profile::NistAal3 => &[rest::NIST, rest::RFC_6265BIS],
    };
    let item = |requirement: &Requirement| {
        let Requirement { document, section, asks, is_advice, look: judge } = *requirement;
        let Found(state, by) = judge(&look);
        Item { document, section, asks, is_advice, state, by }
    };
    own.iter().copied().flatten().map(item).collect()
}
