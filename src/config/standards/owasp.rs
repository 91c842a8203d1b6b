//! OWASP's cheat sheet on session management, which is advice where it names numbers.

use super::asvs::{absolute, idle, name};
use super::{Look, Requirement, met, met_if, must, not_met, should};
use crate::base::units;
use crate::limit::guesses::DEFAULT_BAD_COOKIES;

const SHEET: &str = "OWASP cheat sheet";

/// The longest idle limit that is advised, in seconds: what is of low value ends after 15 to 30 minutes.
const ADVISED_IDLE: u64 = 30 * 60;

/// The longest absolute limit that is advised, in seconds: an office day, of 4 to 8 hours.
const ADVISED_ABSOLUTE: u64 = 8 * 3600;

/// Names that tell what an application is made with.
const TELLING: [&str; 8] = ["phpsess", "jsession", "cfid", "cftoken", "asp", "connect.sid", "laravel", "vestibule"];

pub(super) const CHEAT_SHEET: &[Requirement] = &[
    must(SHEET, "strict management", "an ID that is not known is never taken up, and is suspicious", |look| {
        let (is_on, key) = bad_cookies(look);
        let by = format!("sessions are made here alone; who tries out cookies is counted: {key}");
        met_if(is_on, by, format!("never taken up, but nobody counts who tries them out: {key}"))
    }),
    must(SHEET, "ID as input", "an ID is checked like any input", |_| {
        met("its length is looked at before it is decoded, and its seal before the store is asked")
    }),
    must(SHEET, "ID exchange", "an ID is taken from a cookie and from nowhere else", |_| met("no other place is read")),
    must(SHEET, "ID name", "the name of the cookie tells nothing of what is behind it", |look| {
        met_if(
            !tells_what_is_behind(&look.cookie().name),
            name(look),
            format!("{}: write name = \"__Host-session\"", name(look)),
        )
    }),
    must(SHEET, "renewal at sign-in", "another value after sign-in than before it", |_| {
        met("one name, and a new session with a new value")
    }),
    should(
        SHEET,
        "renewal timeout",
        "the ID is renewed now and then, with a short time in which both are good",
        |look| {
            let rule = look.rules().rotation;
            let every = rule.every.map_or("off".to_owned(), units::shown);
            let key = look.key("session.rotation.every", &format!("\"{every}\""));
            let grace = look.key("session.rotation.grace", &format!("\"{}\"", units::shown(rule.grace)));
            met_if(rule.every.is_some(), format!("{key}, {grace}"), key)
        },
    ),
    should(SHEET, "idle timeout", "15 to 30 minutes, and 2 to 5 where much is at stake", |look| {
        let is_short = look.rules().lifetimes.longest().idle.as_secs() <= ADVISED_IDLE;
        met_if(is_short, idle(look), idle(look))
    }),
    should(SHEET, "absolute timeout", "an office day, of 4 to 8 hours", |look| {
        let is_short = look.rules().lifetimes.longest().absolute.as_secs() <= ADVISED_ABSOLUTE;
        met_if(is_short, absolute(look), absolute(look))
    }),
    must(SHEET, "caching", "an answer with an ID is kept by nobody; what was seen goes at sign-out", |_| {
        met("Cache-Control: no-store with every ID that is handed out, Clear-Site-Data: \"cache\" when it is over")
    }),
    must(SHEET, "guessing", "guesses of an ID are noticed by the address that they come from", |look| {
        let (is_on, key) = bad_cookies(look);
        met_if(is_on, key.clone(), key)
    }),
    must(SHEET, "logging", "beginning, renewal and end of a session are logged, without its ID", |look| {
        let key = look.key("log.audit", "\"stdout\"");
        met_if(!look.plan.log.forgets_events(), format!("by a handle that opens nothing: {key}"), key)
    }),
    should(SHEET, "concurrent sign-in", "people are told of other sign-ins of theirs", |_| {
        not_met("they can look at /.vestibule/sessions, but nobody tells them")
    }),
    must(SHEET, "transport", "a session never falls back from https to http", |look| {
        let redirect = look.place("server.redirect");
        met(redirect.map_or_else(
            || "no port is open for plain HTTP".to_owned(),
            |place| format!("plain HTTP only leads to https (server.redirect, {place}), and the cookie is Secure"),
        ))
    }),
];

/// Whether the name of a cookie tells what an application is made with.
pub(in crate::config) fn tells_what_is_behind(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    TELLING.iter().any(|telling| lower.contains(telling))
}

/// Whether guesses are counted, and the key that says so.
fn bad_cookies(look: &Look<'_>) -> (bool, String) {
    // What is not written is the default, which is on.
    let key = look.key("limits.bad_cookies", &format!("\"{DEFAULT_BAD_COOKIES}\""));
    (look.plan.limits.bad_cookies.is_some(), key)
}
