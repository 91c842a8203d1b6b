//! `[[session.level]]`, and which of them a `[[route]]` asks for.

use std::sync::Arc;

use crate::base::units;
use crate::policy::route_policy::{Access, Recency};
use crate::reader::{Section, either, nearest};
use crate::session::level::Level;
use crate::session::timeouts::Lifetimes;

/// How many levels there may be: they are looked at one by one, and people have to tell them apart.
const MOST: usize = 16;

/// The longest name, in bytes: it goes into a header of every request.
const LONGEST_NAME: usize = 64;

/// Reads every `[[session.level]]`; `lifetimes` are those of everybody.
pub(super) fn read(session: &Section<'_>, lifetimes: &Lifetimes) -> Vec<Arc<Level>> {
    let longest = lifetimes.longest();
    let mut all: Vec<Arc<Level>> = Vec::new();
    for section in session.sections("level") {
        section.require("name", r#"name = "established""#).require("after", r#"after = "5m""#);
        let (name, after, idle) = (section.parsed("name", name), section.duration("after"), section.duration("idle"));
        let (Some(name), Some(after)) = (name, after) else { continue };
        if after >= longest.absolute {
            let help =
                format!("write less than \"{}\", which is how long sessions last", units::shown(longest.absolute));
            section.mistake_at("after", "no session gets as old, so nobody would ever reach this level", help);
        }
        if let Some(idle) = idle.filter(|idle| *idle > longest.idle) {
            let help = format!("write at most \"{}\", or remove this line", units::shown(longest.idle));
            let message = format!("no session is idle for \"{}\", so this would never count", units::shown(idle));
            section.mistake_at("idle", message, help);
        }
        let level = Level { name, after, idle };
        if all.iter().any(|other| other.name == level.name) {
            section.mistake_at("name", format!("there are two levels named \"{}\"", level.name), "rename one of them");
            continue;
        }
        if let Some(lower) = all.last() {
            tell_of_order(&section, lower, &level);
        }
        if all.len() == MOST {
            section.mistake_at("name", "there are too many levels", format!("write at most {MOST}"));
        }
        all.push(Arc::new(level));
    }
    all
}

/// Who has reached a level must have reached the one before it, so it is reached no sooner, and lost no later.
fn tell_of_order(section: &Section<'_>, lower: &Level, level: &Level) {
    let (name, before) = (&level.name, &lower.name);
    if level.after < lower.after {
        let message =
            format!("\"{name}\" is reached sooner than \"{before}\", which stands before it as the lower one");
        let help = format!("write after = \"{}\" or more, or move it before \"{before}\"", units::shown(lower.after));
        section.mistake_at("after", message, help);
    }
    if let Some(idle) = lower.idle.filter(|idle| level.idle.is_none_or(|own| own > *idle)) {
        let message = format!(
            "\"{name}\" outlasts a pause by which \"{before}\" is lost, which stands before it as the lower one"
        );
        let help = format!("write idle = \"{}\" or less, or move it before \"{before}\"", units::shown(idle));
        section.mistake_at("idle", message, help);
    }
    if level.after == lower.after && level.idle == lower.idle {
        let message = format!("\"{name}\" is reached and lost with \"{before}\" before it, so the two are one");
        section.mistake_at("after", message, "write a longer time or a shorter idle, or remove one of the two");
    }
}

fn name(text: &str) -> Result<Box<str>, String> {
    let is_good = !text.is_empty()
        && text.len() <= LONGEST_NAME
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_good {
        Ok(text.into())
    } else {
        Err(format!("\"{text}\" is no name of a level; write letters, digits, - and _"))
    }
}

/// The level that a route asks for, which lets in `access` and asks for `recency`.
pub(super) fn of_route(
    section: &Section<'_>,
    levels: &[Arc<Level>],
    access: Option<Access>,
    recency: Option<&Recency>,
) -> Option<Arc<Level>> {
    let asked = section.located("level")?;
    let Some(level) = levels.iter().find(|level| *level.name == *asked.value) else {
        if section.document().is_whole() {
            let names = || levels.iter().map(|level| &*level.name);
            let help = match nearest(&asked.value, names()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None if levels.is_empty() => "add [[session.level]] with this name, and with after = \"5m\"".to_owned(),
                None => format!("write {}, or add [[session.level]] with this name", either(names())),
            };
            section.mistake(&asked.span, format!("there is no level named \"{}\"", asked.value), help);
        }
        return None;
    };
    if let Some(access) = access.filter(|access| *access != Access::Authenticated) {
        let message = format!("who is let in by access = \"{}\" need not have signed in", access.name());
        section.mistake_at("level", message, "write access = \"authenticated\", or remove this line");
    }
    // Who has entered their password again has a new session.
    let ages = recency.map(|recency| [(recency.max_auth_age, "max_auth_age"), (recency.absolute, "absolute")]);
    for (limit, key) in ages.into_iter().flatten() {
        if limit.is_some_and(|limit| limit <= level.after) {
            let message =
                format!("the password would be asked for before \"{}\" is reached, so nobody could pass", level.name);
            let help =
                format!("write more than {key} = \"{}\", or remove one of the two lines", units::shown(level.after));
            section.mistake_at(key, message, help);
        }
    }
    Some(Arc::clone(level))
}
