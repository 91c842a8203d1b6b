//! What would be decided on a request, check by check, each with what it found and the lines of the configuration behind
//! it. It asks the code that decides ([`crate::policy::decide`]) and touches nothing: neither a session nor a number.

mod checks;
mod request;

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::units;
use crate::enforce::challenge;
use crate::enforce::refusal::Refusal;
use crate::enforce::snapshot::is_ours;
use crate::policy::decide::{Presented, decide};
use crate::policy::facts::Facts;
use crate::policy::route_policy::SessionRules;
use crate::policy::trace::Steps;
use crate::policy::verdict::{Decision, Reason, Subject, Verdict};
use crate::reader::Written;
use crate::route::table::RouteTable;
use crate::session::binding::Bound;
use crate::session::live::SessionView;
use crate::upstream::identity::IdentityHeaders;
use crate::upstream::websocket;

pub use checks::{CHECKS, Check, Key, Seen};
pub use request::{header, request};

/// What a decision rests on: a configuration, whether it is in force or only read.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Where requests go.
    pub routes: &'a RouteTable,
    /// What holds for every session of the tenant whose a host is.
    pub rules: &'a dyn Fn(&str) -> &'a SessionRules,
    /// What the application is told.
    pub identity: &'a IdentityHeaders,
    /// The names of the applications, by place.
    pub upstreams: &'a [Box<str>],
    /// The configuration as it is written.
    pub written: &'a Written,
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum Who<'a> {
    /// Somebody without a session.
    Stranger,
    /// Whoever has this session, with its current cookie.
    Session(SessionView<'a>),
}

/// A request that is asked about.
pub struct Asked<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Where it comes from; `None` is where its session was made.
    pub client: Option<IpAddr>,
    /// Who asks.
    pub who: Who<'a>,
    /// When.
    pub now: Timestamp,
}

/// The whole of what is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The method, the host and the path as they are matched: in small letters, decoded, without parameters.
    pub request: String,
    /// Who asks, in words.
    pub who: String,
    /// What was not said and is taken to be so.
    pub assumed: Vec<String>,
    /// The checks, in the order in which they are made.
    pub steps: Vec<Step>,
    /// `allow`, `sign_in`, `refuse`, `own_page`, or `malformed`.
    pub verdict: String,
    /// Why, as logs and metrics name it.
    pub reason: Option<String>,
    /// What the person is told.
    pub message: Option<String>,
    /// Why the session ends by this request, if it does.
    pub ends: Option<String>,
    /// The application that is asked.
    pub upstream: Option<String>,
    /// What the application is told of who is signed in.
    pub headers: Vec<(String, String)>,
    /// The status for a person who goes there, and for a script, where it is not the application's.
    pub status: Option<Statuses>,
}

/// A check and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The check.
    pub check: String,
    /// What it found.
    pub found: String,
    /// From which values.
    pub from: Option<String>,
    /// The lines of the configuration behind it.
    pub lines: Vec<Behind>,
}

/// A line of the configuration, or a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// The file and the line in it, like `gateway.toml:12`; `None` is a default.
    pub at: Option<String>,
    /// The key with its whole name, like `session.lifetime.idle`.
    pub key: String,
    /// The line: the key and its value.
    pub text: String,
}

/// What clients are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    /// A person who goes there.
    pub navigation: u16,
    /// A script.
    pub script: u16,
}

/// Explains what would be decided on a request.
pub fn explain(ground: &Ground<'_>, asked: &Asked<'_>) -> Explanation {
    let mut told = Explanation {
        request: request::shown(asked.parts),
        who: who(asked),
        assumed: Vec::new(),
        steps: Vec::new(),
        verdict: String::new(),
        reason: None,
        message: None,
        ends: None,
        upstream: None,
        headers: Vec::new(),
        status: None,
    };
    let client = asked.client.unwrap_or_else(|| match asked.who {
        Who::Session(session) => session.bound.address,
        Who::Stranger => IpAddr::from([127, 0, 0, 1]),
    });
    let facts = match Facts::read(asked.parts, client) {
        Ok(facts) => facts,
        Err(fault) => {
            told.refused("malformed", &Refusal::Malformed(fault));
            told.message = Some(fault.sentence().to_owned());
            return told;
        }
    };
    let facts = Facts { is_websocket: websocket::is_asked_for(asked.parts, false).unwrap_or(false), ..facts };
    let path = String::from_utf8_lossy(&facts.path.matched).into_owned();
    told.request = format!("{} https://{}{path}", facts.method, facts.host);
    if is_ours(&facts.path.matched) {
        told.verdict = "own_page".to_owned();
        return told;
    }
    let Some((place, route)) = ground.routes.find_place(&facts.host, &facts.path.matched) else {
        told.steps.push(Step { check: "route".to_owned(), found: "none".to_owned(), from: None, lines: Vec::new() });
        told.refused("refuse", &Refusal::NoRoute);
        return told;
    };
    // What is not said is as it was when the session was made, so that nothing differs but what is asked about.
    let bound = asked.who.bound().map(|bound| told.same_browser(bound, &facts, asked));
    let session = match (asked.who, &bound) {
        (Who::Session(session), Some(bound)) => Some(SessionView { bound, ..session }),
        (Who::Session(_) | Who::Stranger, _) => None,
    };
    let presented = session.map_or(Presented::Unusable(Reason::NoSession), |session| Presented::Session {
        session,
        generation: session.rotation.generation,
    });
    let mut trace = Steps::default();
    let rules = (ground.rules)(&facts.host);
    let decision = decide(rules, &route.policy, presented, &facts, asked.now, &mut trace);
    let Ground { upstreams, written, .. } = *ground;
    let lines = &written.lines();
    let tenant = rules.tenant.told().and_then(|name| lines.place_of("tenant", "name", name));
    let (facts, now) = (&facts, asked.now);
    let seen = Seen { upstreams, written, lines, rules, tenant, route, place, session, facts, now };
    told.steps = checks::steps(&seen, &trace);
    told.upstream = ground.upstreams.get(route.upstream).map(|name| name.to_string());
    told.decided(&decision, ground, facts);
    told
}

impl<'a> Who<'a> {
    const fn bound(self) -> Option<&'a Bound> {
        match self {
            Self::Session(session) => Some(session.bound),
            Self::Stranger => None,
        }
    }
}

impl Explanation {
    /// Where the session was made, with the browser that comes where nothing is said of another.
    fn same_browser(&mut self, bound: &Bound, facts: &Facts<'_>, asked: &Asked<'_>) -> Bound {
        let mut same = Bound { tls: facts.tls, ..*bound };
        if facts.user_agent.is_empty() {
            let of_request = Bound::of(facts.client, facts.user_agent);
            same = Bound { agent: of_request.agent, agent_family: of_request.agent_family, ..same };
            self.assumed.push("the browser is the one that signed in".to_owned());
        }
        self.assumed.push("it speaks TLS as it did then".to_owned());
        if asked.client.is_none() {
            self.assumed.push("it comes from the address that it came from then".to_owned());
        }
        self.assumed.push("its cookie is the current one".to_owned());
        same
    }

    fn refused(&mut self, verdict: &str, refusal: &Refusal) {
        let status = refusal.status().as_u16();
        self.verdict = verdict.to_owned();
        self.reason = Some(refusal.name().to_owned());
        self.status = Some(Statuses { navigation: status, script: status });
    }

    /// What the decision comes to.
    fn decided(&mut self, decision: &Decision, ground: &Ground<'_>, facts: &Facts<'_>) {
        self.ends = decision.ends.map(|reason| reason.name().to_owned());
        match &decision.verdict {
            Verdict::Allow(grant) => {
                self.verdict = "allow".to_owned();
                self.reason = Some(as_whom(grant.subject()).to_owned());
                let fields = grant
                    .principal()
                    .map(|principal| ground.identity.fields_of(principal, grant.level().map(|level| &*level.name)));
                let shown = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                let fields = fields.unwrap_or_default();
                self.headers = fields.iter().map(|(name, value)| (name.to_string(), shown(value))).collect();
            }
            Verdict::AllowWithNewSession(_) => {
                self.verdict = "allow".to_owned();
                self.reason = Some("new_session".to_owned());
            }
            Verdict::Challenge(reason) => {
                self.refused("sign_in", &Refusal::Unauthenticated(*reason));
                self.message = reason.notice().map(std::borrow::Cow::into_owned);
                if let Some(status) = &mut self.status {
                    status.navigation = challenge::status_of(facts.method).as_u16();
                }
            }
            Verdict::Deny(reason) => self.refused("refuse", &Refusal::Forbidden(*reason)),
        }
    }
}

/// As whom a request passes.
const fn as_whom(subject: &Subject) -> &'static str {
    match subject {
        Subject::Nobody => "as_nobody",
        Subject::Anonymous(_) => "as_a_stranger_with_a_session",
        Subject::User(..) => "signed_in",
    }
}

/// Who asks, in words.
fn who(asked: &Asked<'_>) -> String {
    let Who::Session(session) = asked.who else { return "somebody without a session".to_owned() };
    let name = session.principal.map_or("a stranger with a session", |principal| &*principal.user);
    let roles = match session.principal.map(|principal| &*principal.roles) {
        Some("") => ", with no roles".to_owned(),
        Some(roles) if roles.contains(',') => format!(", with the roles {}", roles.replace(',', ", ")),
        Some(role) => format!(", with the role {role}"),
        None => String::new(),
    };
    let (age, idle) = (asked.now.since(session.authenticated_at), asked.now.since(session.active_at));
    format!(
        "{name}{roles}; signed in {} ago, last active {} ago, from {}",
        span(age),
        span(idle),
        session.bound.address
    )
}

/// A span of time by its two largest units, without what is nought.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (large, small) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3600 => (60, 1),
        3600..86_400 => (3600, 60),
        86_400.. => (86_400, 3600),
    };
    units::shown(Duration::from_secs(seconds - seconds % large)) + &rest(seconds % large / small * small)
}

fn rest(seconds: u64) -> String {
    if seconds == 0 { String::new() } else { format!(" {}", units::shown(Duration::from_secs(seconds))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_people_say_them() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3600, "1h"),
            (5430, "1h 30m"),
            (86_399, "23h 59m"),
            (90_000, "1d 1h"),
            (172_800, "2d"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
