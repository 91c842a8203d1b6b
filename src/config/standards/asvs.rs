//! OWASP ASVS 5.0, V7 (session management) and the parts of V3 (web frontend) that a session gateway has to do with, up to
//! level 2. What is about identity providers (7.1.3, 7.6.1) is left out: there are none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Look, Requirement, few, met, met_if, must, not_met, nothing_of_its_own, outside, shielded};
use crate::base::units;
use crate::config::profile::YEAR;
use crate::session::cookie::{SameSite, VALUE_LENGTH};
use crate::session::timeouts::Lifetime;

const ASVS: &str = "ASVS 5.0";

/// The longest name and value of a cookie, in bytes: ASVS 3.3.5, RFC 6265bis section 5.6.
pub(super) const LONGEST_COOKIE: usize = 4096;

pub(super) const V7: &[Requirement] = &[
    must(ASVS, "7.1.1", "the limits of a session are documented, and where they are longer than NIST's, why", |look| {
        outside(format!("yours to write down: {} and {}", idle(look), absolute(look)))
    }),
    must(ASVS, "7.1.2", "how many sessions one person may have is documented, and what happens then", |look| {
        outside(format!("yours to write down: {}", concurrency(look)))
    }),
    must(ASVS, "7.2.1", "sessions are checked by a trusted service in the background, not in the browser", |_| {
        met("every request that needs a session is decided on here, by the session in the store")
    }),
    must(ASVS, "7.2.2", "session tokens are made anew, and are no fixed keys", |_| {
        met("each sign-in makes a session with a secret of its own")
    }),
    must(ASVS, "7.2.3", "reference tokens are unique and random, of 128 bits at least", |_| {
        met("a handle of 128 random bits, and a proof of 256")
    }),
    must(ASVS, "7.2.4", "a new token at sign-in and at every proof after it, and the old one is dead", |_| {
        met("each makes a new session, and ends the one that the browser had")
    }),
    must(ASVS, "7.3.1", "a session ends when nothing happens", |look| {
        let all = look.rules().lifetimes.all;
        let longest = look.profile.longest().idle;
        let never_counts = |limits: &Lifetime| limits.idle >= limits.absolute;
        let remembered = look.rules().lifetimes.remembered;
        let never = |idle, absolute| not_met(format!("{idle} is as long as {absolute}, so it never counts"));
        if never_counts(&all) {
            never(idle(look), absolute(look))
        } else if remembered.as_ref().is_some_and(never_counts) {
            never(look.key("session.remember_me.idle", "\"7d\""), look.key("session.remember_me.absolute", "\"30d\""))
        } else {
            let why = format!("{} is longer than NIST's AAL2 has it ({})", idle(look), units::shown(longest));
            met_if(look.rules().lifetimes.longest().idle <= longest, idle(look), why)
        }
    }),
    must(ASVS, "7.3.2", "a session ends some time after sign-in, whatever happens", |look| {
        let longest = look.profile.longest().absolute;
        let why = format!("{} is longer than NIST's AAL2 has it ({})", absolute(look), units::shown(longest));
        met_if(look.rules().lifetimes.longest().absolute <= longest, absolute(look), why)
    }),
    must(ASVS, "7.4.1", "a session that has ended is of no use any more", |_| {
        met("an end is in the store before it is answered, and the store is asked with every request; streams are cut")
    }),
    must(ASVS, "7.4.2", "all sessions of somebody who is disabled or removed end", |look| match look.users() {
        Some(_) => {
            met(format!("within seconds of the change of the users file: {}", look.key("login.local.users", "none")))
        }
        None => outside("nobody can sign in here: there is no [login.local]"),
    }),
    must(ASVS, "7.4.3", "who changes a factor can end their other sessions", |look| match look.users() {
        Some(_) => met("a new password ends all of them"),
        None => outside("nobody can sign in here: there is no [login.local]"),
    }),
    must(ASVS, "7.4.4", "every page for people who are signed in has a visible way to sign out", |_| {
        outside("the application's pages: link to /.vestibule/logout")
    }),
    must(ASVS, "7.4.5", "administrators can end one person's sessions, or everybody's", |look| {
        let help = "there is no admin.listen, so nobody can: write listen = \"unix:/run/vestibule.sock\" below [admin]";
        let by = || format!("vestibule sessions end, by {}", look.key("admin.listen", "none"));
        met_if(look.plan.admin.listen.is_some(), by(), help)
    }),
    must(ASVS, "7.5.1", "a full sign-in before a factor or a mail address is changed", |_| {
        outside("yours: both are changed in the users file, by nobody but you")
    }),
    must(ASVS, "7.5.2", "people see their sessions, and can end them after a proof of who they are", |_| {
        met("at /.vestibule/sessions, which asks for the password when it was given some time ago")
    }),
    must(ASVS, "7.6.2", "nobody is given a session without having done something for it", |_| {
        met("a session of a person begins with a form that they send, from a browser that was given it")
    }),
];

pub(super) const V3: &[Requirement] = &[
    must(ASVS, "3.3.1", "cookies are Secure, and named __Host- or __Secure-", |look| {
        met(format!("Secure always; {}", name(look)))
    }),
    must(ASVS, "3.3.2", "SameSite is set to what the cookie is for", |look| {
        let key = look.key("session.cookie.same_site", "\"Lax\"");
        let why = format!("{key}: it comes with every request that another site causes");
        met_if(look.cookie().same_site != SameSite::None, key, why)
    }),
    must(ASVS, "3.3.3", "the name begins with __Host-, unless the cookie is shared across hosts on purpose", |look| {
        let settings = look.cookie();
        let by = match &settings.domain {
            Some(_) => format!("{}, shared on purpose: {}", name(look), look.own_key("session.cookie.domain", "none")),
            None => name(look),
        };
        let why = format!("{}, and there is no domain that it is shared across", name(look));
        met_if(settings.name.starts_with("__Host-") || settings.domain.is_some(), by, why)
    }),
    must(ASVS, "3.3.4", "scripts cannot read it, and its value is nowhere but in Set-Cookie", |_| {
        met("HttpOnly always; no page, log or answer of the operator's has it")
    }),
    must(ASVS, "3.3.5", "name and value are of 4096 bytes at most", |look| {
        let length = look.cookie().name.len() + VALUE_LENGTH;
        met_if(length <= LONGEST_COOKIE, format!("{length} bytes"), format!("{length} bytes"))
    }),
    must(ASVS, "3.4.1", "browsers are told to come back by https, for a year at least", |look| {
        let key = match look.plan.server.hsts {
            Some(hsts) => look.key("server.hsts", &format!("\"{}\"", units::shown(hsts.max_age()))),
            None => look.key("server.hsts", "\"off\""),
        };
        let is_long = look.plan.server.hsts.is_some_and(|hsts| hsts.max_age() >= YEAR);
        met_if(is_long, key.clone(), format!("{key}: write hsts = \"365d\""))
    }),
    must(ASVS, "3.4.3 to 3.4.6", "a content security policy, nosniff, a referrer policy, no framing", |_| {
        met("on the gateway's own pages; those of the application are its own")
    }),
    must(ASVS, "3.5.1, 3.5.3", "other sites cannot cause what changes something", shielded),
    must(ASVS, "3.5.4", "each application has a host of its own", one_host_each),
    must(ASVS, "3.5.8", "what is only for people who are signed in is not loaded by other sites", |_| {
        outside("the application's answers: Cross-Origin-Resource-Policy there; the gateway's own pages have it")
    }),
    must(ASVS, "3.7.2", "redirects lead to nowhere but where they may", |_| {
        met("after sign-in people are led to a path of the same host, which travels sealed")
    }),
];

/// The longest idle limit as it is written.
pub(super) fn idle(look: &Look<'_>) -> String {
    limit(look, "idle", |limits| limits.idle)
}

/// The longest absolute limit as it is written.
pub(super) fn absolute(look: &Look<'_>) -> String {
    limit(look, "absolute", |limits| limits.absolute)
}

/// Who is remembered may have longer ones.
fn limit(look: &Look<'_>, key: &str, of: impl Fn(&Lifetime) -> Duration) -> String {
    let lifetimes = &look.rules().lifetimes;
    let longer = lifetimes.remembered.as_ref().filter(|remembered| of(remembered) > of(&lifetimes.all));
    let (tables, span): (&[&str], _) = match longer {
        Some(remembered) => (&["remember_me", "lifetime"], of(remembered)),
        None => (&["lifetime"], of(&lifetimes.all)),
    };
    // What a tenant says of all sessions makes those shorter as well that are remembered, and an idle limit is no longer than
    // the absolute one.
    let keys =
        [key, "absolute"].into_iter().flat_map(|key| tables.iter().map(move |table| format!("session.{table}.{key}")));
    let own: Vec<String> = keys.filter_map(|path| look.of_tenant(&path)).collect();
    let own = look.lines.saying(&own, span).and_then(|path| look.written(path));
    let top = || format!("session.{}.{key}", tables.first().copied().unwrap_or_default());
    let default = || format!("\"{}\"", units::shown(span));
    own.unwrap_or_else(|| look.written(&top()).unwrap_or_else(|| format!("{} = {} (default)", top(), default())))
}

/// How many sessions one person may have, as it is written.
fn concurrency(look: &Look<'_>) -> String {
    let Some(limits) = &look.rules().concurrency else {
        return "there is no limit ([session.concurrency])".to_owned();
    };
    let all = limits.all.map(|max| look.key("session.concurrency.max_sessions", &max.to_string()));
    // Of a role that both the tenant and the top say something of, the tenant's line comes first.
    let mut names: Vec<&str> = limits.roles.iter().map(|(role, _)| &**role).collect();
    names.sort_unstable();
    names.dedup();
    let roles = names.into_iter().map(|role| look.key(&format!("roles.{role}.max_sessions"), "none"));
    let when_full = look.key("session.concurrency.when_full", &format!("\"{}\"", limits.when_full.name()));
    all.into_iter().chain(roles).chain([when_full]).collect::<Vec<_>>().join(", ")
}

/// The name of the cookie as it is written.
pub(super) fn name(look: &Look<'_>) -> String {
    look.key("session.cookie.name", &format!("\"{}\"", look.cookie().name))
}

/// Whether several upstreams are below one host: the scripts of each can then do what people may in the others. Whether they
/// are applications that have nothing to do with one another, or the parts of one, nothing here can tell.
fn one_host_each(look: &Look<'_>) -> super::Found {
    if look.tenant.is_some() {
        return nothing_of_its_own();
    }
    let mut hosts: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for (place, route) in look.plan.routes.iter().enumerate() {
        let (first, others) = hosts.entry(route.host.to_string()).or_insert((route.upstream, Vec::new()));
        if *first != route.upstream {
            others.extend(look.place(&format!("route[{place}].upstream")));
        }
    }
    let shared = hosts.into_iter().filter(|(_, (_, others))| !others.is_empty());
    let shared: Vec<String> = shared.map(|(host, (_, others))| format!("\"{host}\" ({})", few(others))).collect();
    if shared.is_empty() {
        return met("every host of a route leads to one upstream");
    }
    outside(format!(
        "yours to judge: more than one upstream is reached by {}, whose pages can then do there what their people may; \
         if they are not parts of one application, give each a host of its own",
        few(shared)
    ))
}
