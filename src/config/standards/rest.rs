//! NIST SP 800-63B-4 on sessions, and RFC 6265bis on cookies.

use super::asvs::{LONGEST_COOKIE, absolute, idle, name};
use super::{Look, Requirement, met, met_if, must, not_met, outside, shielded, should};
use crate::base::units;
use crate::config::profile::Profile;
use crate::session::cookie::VALUE_LENGTH;

const SP: &str = "NIST SP 800-63B-4";
const RFC: &str = "RFC 6265bis";

pub(super) const NIST: &[Requirement] = &[
    must(SP, "5.1", "a secret of 64 bits at least, made by the host when somebody has signed in", |_| {
        met("256 bits, made anew with each sign-in")
    }),
    must(SP, "5.1", "it travels by authenticated, protected channels alone", |_| {
        met("people are served by TLS alone, and the cookie is Secure")
    }),
    must(SP, "5.1", "it is worthless once they have signed out", |_| {
        met("the session has ended, and is remembered as such")
    }),
    must(SP, "5.1", "what is posted is checked to be the person's own doing (CSRF)", shielded),
    must(SP, "5.1.1", "the cookie is Secure, of as few hosts and paths as can be, and no script's", |look| {
        match look.cookie().domain {
            None => met(format!("Secure and HttpOnly always; {}", name(look))),
            // What is practical is asked for, and who writes a domain shares on purpose.
            Some(_) => outside(format!(
                "yours to judge: Secure and HttpOnly always, and sent to all hosts of {}, shared on purpose: the fewest hosts \
                 that are practical are asked for",
                look.own_key("session.cookie.domain", "none")
            )),
        }
    }),
    must(SP, "5.1.1", "its own expiry is not what ends a session", |_| met("the server does, by the limits below")),
    must(SP, "2.2.3, 2.3.3", "a session ends some time after sign-in, whatever happens", overall),
    must(SP, "2.2.3, 2.3.3", "it ends when nothing happens", inactivity),
    should(SP, "5.2", "who proves again who they are in time gets all of both limits again", |_| {
        met("signing in while signed in makes a new session")
    }),
    must(SP, "5", "a session is of no higher level than how its person signed in", |look| {
        let asked = match look.profile {
            Profile::NistAal2 => "AAL2 asks for two factors",
            Profile::NistAal3 => {
                "AAL3 asks for two factors, one of which withstands phishing and is a key that cannot be copied"
            }
            // It is asked of nobody there.
            Profile::AsvsL2 => "",
        };
        not_met(format!("people sign in with a password, which is AAL1; {asked}, and there are none here yet"))
    }),
];

pub(super) const RFC_6265BIS: &[Requirement] = &[
    should(RFC, "4.1.1", "one Set-Cookie of a name in an answer", |look| {
        let why = format!("{}: copies that others left in narrower paths are deleted one by one", name(look));
        met_if(look.cookie().name.starts_with("__Host-"), name(look), why)
    }),
    must(RFC, "4.1.3", "prefixes are what they say, and names are compared to the letter", |look| {
        met(format!("Secure, and with __Host- Path=/ and no Domain; {}", name(look)))
    }),
    must(RFC, "5.6", "name and value of 4096 bytes at most, attributes of 1024", |look| {
        let settings = look.cookie();
        let length = settings.name.len() + VALUE_LENGTH;
        let attribute = settings.path.len().max(settings.domain.as_ref().map_or(0, |domain| domain.len()));
        let by = format!("{length} bytes, and attributes of {attribute} at most");
        met_if(length <= LONGEST_COOKIE && attribute <= 1024, by.clone(), by)
    }),
    must(RFC, "5.5", "no cookie lasts for longer than 400 days", |look| {
        met(match look.rules().lifetimes.remembered {
            None => format!("it lasts as long as the browser is open; {}", absolute(look)),
            Some(_) => format!("it lasts as long as the browser is open, and of who is remembered {}", absolute(look)),
        })
    }),
    must(RFC, "4.2.2", "the order of cookies of one name means nothing", |_| {
        met("of several that open sessions which last, none is used")
    }),
    must(RFC, "5.7", "browsers need not forget in time", |_| met("a cookie is looked up with every request")),
    must(RFC, "8.5", "ports do not keep cookies apart", |_| {
        outside("yours: what else listens on another port of the same host is sent the cookie")
    }),
];

fn overall(look: &Look<'_>) -> super::Found {
    let longest = look.profile.longest().absolute;
    let why = format!("{} is longer than {}", absolute(look), units::shown(longest));
    met_if(look.rules().lifetimes.longest().absolute <= longest, at_most(absolute(look), longest), why)
}

fn inactivity(look: &Look<'_>) -> super::Found {
    let longest = look.profile.longest().idle;
    let why = format!("{} is longer than {}", idle(look), units::shown(longest));
    met_if(look.rules().lifetimes.longest().idle <= longest, at_most(idle(look), longest), why)
}

fn at_most(key: String, longest: std::time::Duration) -> String {
    format!("{key}, of {} at the most", units::shown(longest))
}
