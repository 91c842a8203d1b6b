//! Lifetimes that are tighter than what holds for everybody: of `[roles.NAME]`, and what a `[[route]]` asks for.

use std::time::Duration;

use http::Method;

use crate::base::units;
use crate::config::session::SHORTEST;
use crate::login::users::check_role;
use crate::policy::route_policy::{Access, Recency};
use crate::reader::{Located, Section};
use crate::session::timeouts::{Lifetime, Lifetimes, OnIdle, RoleLifetime};

/// The tables at the top that say how long sessions last.
const LIFETIME: &str = "session.lifetime";
const REMEMBER_ME: &str = "session.remember_me";

/// The longest limits of somebody, and which table says each: what is written for fewer people may only be less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    limits: Lifetime,
    idle_by: &'static str,
    absolute_by: &'static str,
}

/// The longest limits of everybody, and of those who are not remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    all: Most,
    plain: Most,
}

impl Most {
    const fn of(limits: Lifetime, table: &'static str) -> Self {
        Self { limits, idle_by: table, absolute_by: table }
    }

    /// Of two pairs each limit is the longer one; of two that are as long, the other's.
    fn or(self, other: Self) -> Self {
        let (idle, idle_by) = if other.limits.idle >= self.limits.idle {
            (other.limits.idle, other.idle_by)
        } else {
            (self.limits.idle, self.idle_by)
        };
        let (absolute, absolute_by) = if other.limits.absolute >= self.limits.absolute {
            (other.limits.absolute, other.absolute_by)
        } else {
            (self.limits.absolute, self.absolute_by)
        };
        Self { limits: Lifetime { idle, absolute }, idle_by, absolute_by }
    }

    /// What is left of them where the first of these tables that says something of a limit makes it less.
    fn within(self, tables: &[(&'static str, Option<Duration>, Option<Duration>)]) -> Self {
        let (mut limits, mut idle_by, mut absolute_by) = (self.limits, self.idle_by, self.absolute_by);
        let mut said = tables.iter().filter_map(|(table, _, absolute)| Some((*table, (*absolute)?)));
        if let Some((table, absolute)) = said.next().filter(|(_, absolute)| *absolute < limits.absolute) {
            (limits.absolute, absolute_by) = (absolute, table);
        }
        let mut said = tables.iter().filter_map(|(table, idle, _)| Some((*table, (*idle)?)));
        if let Some((table, idle)) = said.next().filter(|(_, idle)| *idle < limits.idle) {
            (limits.idle, idle_by) = (idle, table);
        }
        if limits.absolute < limits.idle {
            (limits.idle, idle_by) = (limits.absolute, absolute_by);
        }
        Self { limits, idle_by, absolute_by }
    }
}

impl Bounds {
    /// Those that the tables at the top say.
    pub(super) fn of(all: &Lifetimes) -> Self {
        let plain = Most::of(all.all, LIFETIME);
        Self { all: all.remembered.map_or(plain, |kept| plain.or(Most::of(kept, REMEMBER_ME))), plain }
    }
}

/// Reads what `[tenant.session]` says of lifetimes, which may only be less than what holds for everybody.
///
/// Who is remembered has `[tenant.session.remember_me]`; where that does not say a limit, `[tenant.session.lifetime]` makes
/// theirs less as well: a tenant that wants everybody gone after ten minutes need not say so twice.
pub(super) fn of_tenant(session: &Section<'_>, all: &Lifetimes) -> (Lifetimes, Bounds) {
    const OWN_LIFETIME: &str = "tenant.session.lifetime";
    const OWN_REMEMBER_ME: &str = "tenant.session.remember_me";
    let (lifetime, remember_me) = (session.section_or_empty("lifetime"), session.section_or_empty("remember_me"));
    let is_offered = remember_me.bool("offered") != Some(false);
    let kept = all.remembered.filter(|_| is_offered);
    let plain = Most::of(all.all, LIFETIME);
    let on_idle = on_idle(&lifetime).unwrap_or(all.on_idle);
    let (idle, absolute) = limits(&lifetime, kept.map_or(plain, |kept| plain.or(Most::of(kept, REMEMBER_ME))));
    let plain = plain.within(&[(OWN_LIFETIME, idle, absolute)]);
    let Some(kept) = kept else {
        tell_of_no_offer(&remember_me, is_offered);
        return (
            Lifetimes { all: plain.limits, remembered: None, on_idle, ..all.clone() },
            Bounds { all: plain, plain },
        );
    };
    let kept = Most::of(kept, REMEMBER_ME);
    let (own_idle, own_absolute) = limits(&remember_me, kept);
    let kept = kept.within(&[(OWN_REMEMBER_ME, own_idle, own_absolute), (OWN_LIFETIME, idle, absolute)]);
    let here = [
        ("idle", kept.limits.idle, plain.limits.idle, plain.idle_by),
        ("absolute", kept.limits.absolute, plain.limits.absolute, plain.absolute_by),
    ];
    for (key, own, of_all, table) in here {
        if own < of_all && remember_me.has(key) {
            let message = format!("who asks to be remembered would be signed out sooner than who does not ({key})");
            let help = format!("write at least {key} = \"{}\", as [{table}] has it", units::shown(of_all));
            remember_me.mistake_at(key, message, help);
        }
    }
    let lifetimes = Lifetimes { all: plain.limits, remembered: Some(kept.limits), on_idle, ..all.clone() };
    (lifetimes, Bounds { all: plain.or(kept), plain })
}

/// What becomes of a session that was idle for too long, where that is said.
pub(super) fn on_idle(lifetime: &Section<'_>) -> Option<OnIdle> {
    lifetime.one_of("on_idle", &[("end", OnIdle::End), ("lock", OnIdle::Lock)])
}

/// Nobody is remembered there: what is said of how long means nothing then.
fn tell_of_no_offer(remember_me: &Section<'_>, is_offered: bool) {
    if !is_offered {
        remember_me.unused(&["idle", "absolute"]);
        return;
    }
    remember_me.know(&["idle", "absolute"]);
    if let Some(span) = remember_me.span() {
        let message =
            "nobody is asked whether they want to be remembered: there is no [session.remember_me] at the top";
        let help = "add [session.remember_me] for everybody, of which this can then be less, or remove this table";
        remember_me.mistake(&span, message, help);
    }
}

/// Reads every `[roles.NAME]`; `bounds` are of everybody.
pub(super) fn of_roles(root: &Section<'_>, bounds: &Bounds) -> Vec<RoleLifetime> {
    let read_one = |(name, section): (Located<String>, Section<'_>)| {
        if let Err(sentence) = check_role(&name.value) {
            let (message, help) = sentence.rsplit_once("; ").unwrap_or((&sentence, ""));
            section.mistake(&name.span, message, help);
        }
        let forbids_remembering = section.bool("remember_me") == Some(false);
        let (idle, absolute) = limits(&section, if forbids_remembering { bounds.plain } else { bounds.all });
        RoleLifetime { role: name.value.into(), idle, absolute, forbids_remembering }
    };
    root.named_sections("roles").into_iter().map(read_one).collect()
}

/// Reads how recent sign-in and activity must be for a route that asks for `access`; `None` where it says nothing of it.
pub(super) fn of_route(section: &Section<'_>, access: Option<Access>, all: &Lifetimes) -> Option<Box<Recency>> {
    let most = Bounds::of(all).all;
    let (idle, absolute) = limits(section, most);
    let why = "nobody is signed in for longer";
    let max_auth_age = no_looser(section, "max_auth_age", (most.limits.absolute, most.absolute_by), why);
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
fn limits(section: &Section<'_>, most: Most) -> (Option<Duration>, Option<Duration>) {
    let (in_idle, after) = (units::shown(most.limits.idle), units::shown(most.limits.absolute));
    let why = format!("every session ends after \"{in_idle}\" without a request, or sooner");
    let idle = no_looser(section, "idle", (most.limits.idle, most.idle_by), &why);
    let why = format!("every session ends \"{after}\" after sign-in, or sooner");
    let absolute = no_looser(section, "absolute", (most.limits.absolute, most.absolute_by), &why);
    if let (Some(idle), Some(absolute)) = (idle, absolute)
        && idle > absolute
    {
        let message = "the idle limit is longer than the absolute one, so it would never count";
        section.mistake_at("idle", message, "write an idle limit that is at most the absolute one");
    }
    (idle, absolute)
}

/// A limit of at most `most`, which `table` says.
fn no_looser(section: &Section<'_>, key: &str, (most, table): (Duration, &str), why: &str) -> Option<Duration> {
    let limit = section.duration(key)?;
    if limit > most {
        let help = format!("write at most \"{}\", which [{table}] says, or more there", units::shown(most));
        section.mistake_at(key, format!("{why}, so this would never count"), help);
    }
    if limit < SHORTEST {
        section.mistake_at(key, "people would be asked to sign in between two clicks", "write at least \"10s\"");
    }
    Some(limit)
}
