//! The checks by the names that they have in a trace, each with the keys of the configuration that it rests on. Who adds a
//! check adds a row here; a test finds the check that has none.

use crate::base::clock::Timestamp;
use crate::base::units;
use crate::enforce::explain::{Behind, Step, span};
use crate::policy::facts::Facts;
use crate::policy::route_policy::{Access, SessionRules};
use crate::policy::trace::Steps;
use crate::reader::{Line, Lines, Written};
use crate::route::table::Route;
use crate::session::binding::{AddressMode, AgentMode, Answer, Factor, TlsMode};
use crate::session::live::SessionView;

/// What a check looked at.
pub struct Seen<'a> {
    /// The names of the applications, by place.
    pub upstreams: &'a [Box<str>],
    /// The configuration as it is written.
    pub written: &'a Written,
    /// What holds for every session there.
    pub rules: &'a SessionRules,
    /// The route of the request.
    pub route: &'a Route,
    /// Which of the routes that is.
    pub place: u32,
    /// The session that comes with it.
    pub session: Option<SessionView<'a>>,
    /// What the request says of itself.
    pub facts: &'a Facts<'a>,
    /// When it comes.
    pub now: Timestamp,
}

/// A key that a check rests on.
pub struct Key {
    /// Its path, as [`Lines::find`] takes it.
    pub path: String,
    /// What holds where it is not written, as it would be written; `None` when nothing does.
    pub default: Option<String>,
}

/// A check of a decision.
pub struct Check {
    /// Its name in the trace.
    pub name: &'static str,
    /// The keys that it rests on, by what it looked at and what it found.
    pub keys: fn(&Seen<'_>, &str) -> Vec<Key>,
    /// The values that it compared, in words.
    pub from: fn(&Seen<'_>) -> Option<String>,
}

const NOTHING: fn(&Seen<'_>) -> Option<String> = |_| None;
const NO_KEYS: fn(&Seen<'_>, &str) -> Vec<Key> = |_, _| Vec::new();

/// Every check that there is.
pub const CHECKS: &[Check] = &[
    Check {
        name: "access",
        keys: |seen, _| vec![seen.of_route("access", Some("\"authenticated\"".to_owned()))],
        from: NOTHING,
    },
    Check { name: "session", keys: NO_KEYS, from: NOTHING },
    Check { name: "tenant", keys: NO_KEYS, from: tenant },
    Check { name: "revoked", keys: NO_KEYS, from: ended },
    Check { name: "generation", keys: rotation_keys, from: generation },
    Check { name: "lifetime", keys: lifetime_keys, from: lifetime },
    Check { name: "binding", keys: binding_keys, from: NOTHING },
    Check { name: "roles", keys: |seen, _| vec![seen.of_route("roles", Some("[]".to_owned()))], from: roles },
    Check { name: "csrf", keys: csrf_keys, from: origin },
    Check { name: "token", keys: csrf_keys, from: NOTHING },
    Check {
        name: "lock",
        keys: |_, _| vec![key("session.lifetime.on_idle", Some("\"end\"".to_owned()))],
        from: NOTHING,
    },
    Check { name: "level", keys: level_keys, from: level },
    Check { name: "recency", keys: recency_keys, from: recency },
    Check { name: "without a session", keys: NO_KEYS, from: without },
];

fn without(seen: &Seen<'_>) -> Option<String> {
    let what = match seen.route.policy.access {
        Access::Public | Access::Optional => "whoever has none passes as nobody",
        Access::Anonymous => "whoever has none is given a stranger's",
        Access::Authenticated => "whoever has none is asked to sign in",
    };
    Some(what.to_owned())
}

/// The route that was found, and the steps of a trace.
pub(super) fn steps(seen: &Seen<'_>, trace: &Steps) -> Vec<Step> {
    let lines = seen.written.lines();
    let checked = trace.0.iter().map(|(name, found)| {
        let check = CHECKS.iter().find(|check| check.name == *name);
        let keys = check.map(|check| (check.keys)(seen, found)).unwrap_or_default();
        Step {
            check: (*name).to_owned(),
            found: (*found).to_owned(),
            from: check.and_then(|check| (check.from)(seen)),
            lines: seen.behind(&lines, keys),
        }
    });
    std::iter::once(seen.route_found(&lines)).chain(checked).collect()
}

impl Seen<'_> {
    /// A key of the route.
    pub fn of_route(&self, key: &str, default: Option<String>) -> Key {
        Key { path: format!("route[{}].{key}", self.place), default }
    }

    fn route_found(&self, lines: &Lines<'_>) -> Step {
        let Route { host, path, upstream, .. } = self.route;
        let name = self.upstreams.get(*upstream).map_or("", |name| name);
        let keys = ["host", "path", "upstream"].map(|key| self.of_route(key, None));
        Step {
            check: "route".to_owned(),
            found: format!("{} on {}, which leads to \"{name}\"", path.shown(), shown_host(&host.to_string())),
            from: None,
            lines: self.behind(lines, keys.into()),
        }
    }

    /// The lines of keys, where they are written, and the defaults of those that are not.
    fn behind(&self, lines: &Lines<'_>, keys: Vec<Key>) -> Vec<Behind> {
        let file = self.written.file().display();
        let behind = |Key { path, default }: Key| match (lines.find(&path), default) {
            (Some(Line { number, text }), _) => Some(Behind { at: Some(format!("{file}:{number}")), key: path, text }),
            (None, Some(default)) => {
                let key = path.rsplit('.').next().unwrap_or(&path);
                Some(Behind { at: None, text: format!("{key} = {default}"), key: path })
            }
            (None, None) => None,
        };
        keys.into_iter().filter_map(behind).collect()
    }
}

fn shown_host(host: &str) -> String {
    if host == "*" { "any host".to_owned() } else { host.to_owned() }
}

fn quoted(span: std::time::Duration) -> Option<String> {
    Some(format!("\"{}\"", units::shown(span)))
}

fn key(path: &str, default: Option<String>) -> Key {
    Key { path: path.to_owned(), default }
}

fn tenant(seen: &Seen<'_>) -> Option<String> {
    let session = seen.session?;
    Some(format!("it was made at \"{}\", and this host is of \"{}\"", session.tenant.name(), seen.rules.tenant.name()))
}

fn ended(seen: &Seen<'_>) -> Option<String> {
    let (reason, at) = seen.session?.ended?;
    Some(format!("{}, {} ago", reason.name(), span(seen.now.since(at))))
}

fn rotation_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    let rule = &seen.rules.rotation;
    let every = rule.every.map_or_else(|| Some("\"off\"".to_owned()), quoted);
    vec![key("session.rotation.every", every), key("session.rotation.grace", quoted(rule.grace))]
}

fn generation(seen: &Seen<'_>) -> Option<String> {
    let rotation = seen.session?.rotation;
    Some(format!("number {}, since {}", rotation.generation, span(seen.now.since(rotation.presented_at))))
}

fn lifetime_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    let rules = &seen.rules.lifetimes;
    let all = [("idle", rules.all.idle), ("absolute", rules.all.absolute)];
    let mut keys: Vec<Key> =
        all.into_iter().map(|(name, limit)| key(&format!("session.lifetime.{name}"), quoted(limit))).collect();
    // Its numbers are defaults.
    keys.push(key("profile", None));
    let principal = seen.session.and_then(|session| session.principal);
    for limits in rules.roles.iter().filter(|limits| principal.is_some_and(|own| own.has_role(&limits.role))) {
        keys.extend(["idle", "absolute"].map(|name| key(&format!("roles.{}.{name}", limits.role), None)));
    }
    if seen.session.is_some_and(|session| session.is_remembered) {
        keys.extend(["idle", "absolute"].map(|name| key(&format!("session.remember_me.{name}"), None)));
    }
    keys
}

fn lifetime(seen: &Seen<'_>) -> Option<String> {
    let session = seen.session?;
    let limits = seen.rules.lifetimes.of(session.principal.map(|principal| &**principal), session.is_remembered);
    Some(format!(
        "last active {} ago, of {} at the most; signed in {} ago, of {} at the most",
        span(seen.now.since(session.active_at)),
        units::shown(limits.idle),
        span(seen.now.since(session.authenticated_at)),
        units::shown(limits.absolute)
    ))
}

fn binding_keys(seen: &Seen<'_>, found: &str) -> Vec<Key> {
    let rules = &seen.rules.binding;
    let address = match rules.address {
        AddressMode::Off => "off",
        AddressMode::Exact => "exact",
        AddressMode::Prefix { .. } => "prefix",
    };
    let agent = match rules.agent {
        AgentMode::Off => "off",
        AgentMode::Exact => "exact",
        AgentMode::Family => "family",
    };
    let tls = match rules.tls {
        TlsMode::Off => "off",
        TlsMode::Exact => "exact",
    };
    let factors = [
        (Factor::Address, address, rules.address_answer),
        (Factor::UserAgent, agent, rules.agent_answer),
        (Factor::Tls, tls, rules.tls_answer),
    ];
    let mut keys = Vec::new();
    for (factor, mode, answer) in factors {
        let path = |name: &str| format!("session.binding.{}.{name}", factor.name());
        let is_it = found == factor.name();
        if is_it || found == "the same place" {
            keys.push(key(&path("mode"), Some(format!("\"{mode}\""))));
        }
        if is_it {
            let answer = match answer {
                Answer::Log => "log",
                Answer::StepUp => "step_up",
                Answer::End => "end",
            };
            keys.push(key(&path("answer"), Some(format!("\"{answer}\""))));
        }
    }
    keys.push(key("session.binding.shadow", None));
    keys
}

fn roles(seen: &Seen<'_>) -> Option<String> {
    let asked = &seen.route.policy.roles;
    let principal = seen.session?.principal?;
    if asked.is_empty() {
        return None;
    }
    let own = if principal.roles.is_empty() { "none".to_owned() } else { principal.roles.replace(',', ", ") };
    Some(format!("the route asks for one of {}; {} has {own}", asked.join(", "), principal.user))
}

fn csrf_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    vec![
        seen.of_route("csrf", None),
        seen.of_route("websocket_origins", None),
        key("csrf.mode", Some("\"enforce\"".to_owned())),
    ]
}

/// What the request says of where it is from.
fn origin(seen: &Seen<'_>) -> Option<String> {
    let says = |name: &str| {
        let value = seen.facts.headers.get(name)?;
        Some(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
    };
    let found = ["sec-fetch-site", "origin", "referer"].into_iter().find_map(says);
    Some(format!(
        "by {}; {}",
        seen.facts.method,
        found.unwrap_or_else(|| "nothing is said of where it is from".to_owned())
    ))
}

fn level_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    let asked = seen.route.policy.level.as_ref();
    let place = asked.and_then(|asked| seen.rules.levels.iter().position(|level| level.name == asked.name));
    let of_level =
        place.into_iter().flat_map(|place| ["after", "idle"].map(|name| format!("session.level[{place}].{name}")));
    std::iter::once(seen.of_route("level", None)).chain(of_level.map(|path| key(&path, None))).collect()
}

fn level(seen: &Seen<'_>) -> Option<String> {
    let (session, asked) = (seen.session?, seen.route.policy.level.as_ref()?);
    let age = seen.now.since(session.authenticated_at);
    Some(format!("the route asks for \"{}\"; signed in {} ago", asked.name, span(age)))
}

fn recency_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    ["idle", "absolute", "max_auth_age", "max_auth_age_methods"].map(|name| seen.of_route(name, None)).into()
}

fn recency(seen: &Seen<'_>) -> Option<String> {
    let session = seen.session?;
    let pause = seen.now.since(session.active_at).max(session.longest_pause);
    let age = seen.now.since(session.authenticated_at);
    Some(format!("by {}; signed in {} ago, longest pause since then {}", seen.facts.method, span(age), span(pause)))
}
