//! Lifetimes that are tighter than what holds for everybody: of `[roles.NAME]`, and what a `[[route]]` asks for.

use std::time::Duration;

use http::Method;

use crate::base::units;
use crate::config::session::SHORTEST;
use crate::login::users::check_role;
use crate::policy::route_policy::{Access, Recency};
use crate::reader::{Located, Section};
use crate::session::timeouts::{Lifetimes, RoleLifetime};

/// Reads every `[roles.NAME]`; `all` is what holds for everybody.
pub(super) fn of_roles(root: &Section<'_>, all: &Lifetimes) -> Vec<RoleLifetime> {
    let read_one = |(name, section): (Located<String>, Section<'_>)| {
        if let Err(sentence) = check_role(&name.value) {
            let (message, help) = sentence.rsplit_once("; ").unwrap_or((&sentence, ""));
            section.mistake(&name.span, message, help);
        }
        let forbids_remembering = section.bool("remember_me") == Some(false);
        let those = Lifetimes::from(all.all);
        let (idle, absolute) = limits(&section, if forbids_remembering { &those } else { all });
        RoleLifetime { role: name.value.into(), idle, absolute, forbids_remembering }
    };
    root.named_sections("roles").into_iter().map(read_one).collect()
}

/// Reads how recent sign-in and activity must be for a route that asks for `access`; `None` where it says nothing of it.
pub(super) fn of_route(section: &Section<'_>, access: Option<Access>, all: &Lifetimes) -> Option<Box<Recency>> {
    let (idle, absolute) = limits(section, all);
    let why = "nobody is signed in for longer";
    let max_auth_age = no_looser(section, "max_auth_age", all, all.longest().absolute, why);
    let methods = section.parsed_list("max_auth_age_methods", method).unwrap_or_default();
    if section.has("max_auth_age_methods") && !section.has("max_auth_age") {
        let message = "\"max_auth_age\" is not set, so these methods ask for nothing";
        section.mistake_at("max_auth_age_methods", message, "add max_auth_age = \"5m\", or remove this line");
    } else if section.is_written_empty("max_auth_age_methods") {
        let help = "write [\"POST\", \"DELETE\"] or the like; without this line, all methods count";
        section.mistake_at("max_auth_age_methods", "no method is named, so nothing asks for the password", help);
    }
    if let Some(access) = access.filter(|access| *access != Access::Authenticated) {
        for key in ["idle", "absolute", "max_auth_age"].into_iter().filter(|key| section.has(key)) {
            let message = format!("who is let in by access = \"{}\" need not have signed in", access.name());
            section.mistake_at(key, message, "write access = \"authenticated\", or remove this line");
        }
    }
    let methods = methods.into_iter().map(|method| method.value).collect();
    (idle.or(absolute).or(max_auth_age).is_some()).then(|| Box::new(Recency { idle, absolute, max_auth_age, methods }))
}

/// A method as requests have it: letter case counts (RFC 9110 section 9.1), so small letters are a slip.
fn method(text: &str) -> Result<Method, String> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let read = Method::from_bytes(text.as_bytes()).ok().filter(|_| is_one);
    read.ok_or_else(|| format!("\"{text}\" is not a method; write one in capitals, like \"POST\""))
}

/// `idle` and `absolute` where they may only be tighter than what holds for everybody.
pub(super) fn limits(section: &Section<'_>, all: &Lifetimes) -> (Option<Duration>, Option<Duration>) {
    let longest = all.longest();
    let idle = no_looser(section, "idle", all, longest.idle, "every session ends when it is idle for so long or less");
    let why = "every session ends that long after sign-in or sooner";
    let absolute = no_looser(section, "absolute", all, longest.absolute, why);
    if let (Some(idle), Some(absolute)) = (idle, absolute)
        && idle > absolute
    {
        let message = "the idle limit is longer than the absolute one, so it would never count";
        section.mistake_at("idle", message, "write an idle limit that is at most the absolute one");
    }
    (idle, absolute)
}

/// A limit of at most `most`, which is what everybody has of it.
fn no_looser(section: &Section<'_>, key: &str, all: &Lifetimes, most: Duration, why: &str) -> Option<Duration> {
    let limit = section.duration(key)?;
    if limit > most {
        let table = if all.remembered.is_some() { "remember_me" } else { "lifetime" };
        let help = format!("write at most \"{}\", which [session.{table}] says, or more there", units::shown(most));
        section.mistake_at(key, format!("{why}, so this would never count"), help);
    }
    if limit < SHORTEST {
        section.mistake_at(key, "people would be asked to sign in between two clicks", "write at least \"10s\"");
    }
    Some(limit)
}
