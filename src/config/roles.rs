//! `[roles.NAME]`: what is stricter for people with a certain role.

use std::time::Duration;

use crate::base::units;
use crate::config::session::SHORTEST;
use crate::login::users::check_role;
use crate::reader::{Located, Section};
use crate::session::timeouts::{Lifetime, RoleLifetime};

/// Reads every `[roles.NAME]`; `all` is what holds for everybody.
pub(super) fn read(root: &Section<'_>, all: &Lifetime) -> Vec<RoleLifetime> {
    let read_one = |(name, section): (Located<String>, Section<'_>)| {
        if let Err(sentence) = check_role(&name.value) {
            let (message, help) = sentence.rsplit_once("; ").unwrap_or((&sentence, ""));
            section.mistake(&name.span, message, help);
        }
        let (idle, absolute) = limits(&section, all);
        RoleLifetime { role: name.value.into(), idle, absolute }
    };
    root.named_sections("roles").into_iter().map(read_one).collect()
}

/// `idle` and `absolute` where they may only be tighter than what holds for everybody.
pub(super) fn limits(section: &Section<'_>, all: &Lifetime) -> (Option<Duration>, Option<Duration>) {
    let idle = no_looser(section, "idle", all.idle, "every session ends when it is idle for so long or less");
    let absolute = no_looser(section, "absolute", all.absolute, "every session ends that long after sign-in or sooner");
    if let (Some(idle), Some(absolute)) = (idle, absolute)
        && idle > absolute
    {
        let message = "the idle limit is longer than the absolute one, so it would never count";
        section.mistake_at("idle", message, "write an idle limit that is at most the absolute one");
    }
    (idle, absolute)
}

/// A limit of at most `most`, which is what everybody has of it.
pub(super) fn no_looser(section: &Section<'_>, key: &str, most: Duration, why: &str) -> Option<Duration> {
    let limit = section.duration(key)?;
    if limit > most {
        let help = format!("write at most \"{}\", which [session.lifetime] says, or more there", units::shown(most));
        section.mistake_at(key, format!("{why}, so this would never count"), help);
    }
    if limit < SHORTEST {
        section.mistake_at(key, "people would be asked to sign in between two clicks", "write at least \"10s\"");
    }
    Some(limit)
}
