//! The checks by the names that they have in a trace, each with the keys of the configuration that it rests on. Who adds a
//! check adds a row here; a test finds the check that has none.

use crate::base::clock::Timestamp;
use crate::base::units;
use crate::enforce::explain::{Behind, Step, span};
use crate::policy::check::rotation;
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
    /// All that is written in it.
    pub lines: &'a Lines<'a>,
    /// What holds for every session there.
    pub rules: &'a SessionRules,
    /// Which of the tenants in the file that is, where it is one of them.
    pub tenant: Option<usize>,
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
    Check { name: "lock", keys: lock_keys, from: NOTHING },
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

/// Whose host it is, the route that was found, and the steps of a trace.
pub(super) fn steps(seen: &Seen<'_>, trace: &Steps) -> Vec<Step> {
    let checked = trace.0.iter().map(|(name, found)| {
        let check = CHECKS.iter().find(|check| check.name == *name);
        let keys = check.map(|check| (check.keys)(seen, found)).unwrap_or_default();
        Step {
            check: (*name).to_owned(),
            found: (*found).to_owned(),
            from: check.and_then(|check| (check.from)(seen)),
            lines: seen.behind(keys),
        }
    });
    seen.whose().into_iter().chain([seen.route_found()]).chain(checked).collect()
}

impl Seen<'_> {
    /// A key of the route.
    pub fn of_route(&self, key: &str, default: Option<String>) -> Key {
        Key { path: format!("route[{}].{key}", self.place), default }
    }

    /// Whose host it is, where it is a tenant's.
    fn whose(&self) -> Option<Step> {
        let place = self.tenant?;
        Some(Step {
            check: "host".to_owned(),
            found: format!("the tenant \"{}\"'s", self.rules.tenant.name()),
            from: None,
            lines: self.behind(vec![key(&format!("tenant[{place}].hosts"), None)]),
        })
    }

    /// A key of the tenant's own table, where it is a tenant's host.
    fn of_tenant(&self, key: &str) -> Option<String> {
        self.tenant.map(|place| format!("tenant[{place}].{key}"))
    }

    /// The key that says a limit of everybody: the first of the tenant's own ones that says it, or the one at the top.
    fn saying(&self, own: &[String], span: std::time::Duration, top: &str) -> Key {
        match self.lines.saying(own, span) {
            Some(own) => key(own, None),
            None => key(top, quoted(span)),
        }
    }

    fn route_found(&self) -> Step {
        let Route { host, path, upstream, .. } = self.route;
        let name = self.upstreams.get(*upstream).map_or("", |name| name);
        let keys = ["host", "path", "upstream"].map(|key| self.of_route(key, None));
        Step {
            check: "route".to_owned(),
            found: format!("{} on {}, which leads to \"{name}\"", path.shown(), shown_host(&host.to_string())),
            from: None,
            lines: self.behind(keys.into()),
        }
    }

    /// The lines of keys, where they are written, and the defaults of those that are not.
    fn behind(&self, keys: Vec<Key>) -> Vec<Behind> {
        let file = self.written.file().display();
        let behind = |Key { path, default }: Key| match (self.lines.find(&path), default) {
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

fn rotation_keys(seen: &Seen<'_>, found: &str) -> Vec<Key> {
    if found == rotation::NOT_KEPT {
        return forgetting_keys(seen);
    }
    let rule = &seen.rules.rotation;
    let every = rule.every.map_or_else(|| Some("\"off\"".to_owned()), quoted);
    vec![key("session.rotation.every", every), key("session.rotation.grace", quoted(rule.grace))]
}

fn generation(seen: &Seen<'_>) -> Option<String> {
    let rotation = seen.session?.rotation;
    Some(format!("number {}, since {}", rotation.generation, span(seen.now.since(rotation.presented_at))))
}

/// Of each limit the line that says it, be it the tenant's or the one at the top, and what the person's roles make of it.
fn lifetime_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    let rules = &seen.rules.lifetimes;
    let principal = seen.session.and_then(|session| session.principal);
    let asked = seen.session.is_some_and(|session| session.is_remembered);
    let kept = rules.remembered.filter(|_| asked && principal.is_some_and(|own| rules.remembers(own)));
    // What a tenant says of all sessions makes those shorter as well that are remembered.
    let tables: &[&str] = if kept.is_some() { &["remember_me", "lifetime"] } else { &["lifetime"] };
    let limits = kept.unwrap_or(rules.all);
    let own = |name: &str| {
        let keys = tables.iter().filter_map(|table| seen.of_tenant(&format!("session.{table}.{name}")));
        keys.collect::<Vec<String>>()
    };
    let top = |name: &str| format!("session.{}.{name}", tables.first().copied().unwrap_or_default());
    // An absolute limit that is shorter makes the other as short.
    let of_idle = [own("idle"), own("absolute")].concat();
    let mut keys = vec![
        seen.saying(&of_idle, limits.idle, &top("idle")),
        seen.saying(&own("absolute"), limits.absolute, &top("absolute")),
    ];
    keys.dedup_by(|one, other| one.path == other.path);
    // Its numbers are defaults.
    keys.push(key("profile", None));
    if let Some(own) = principal {
        let mut names: Vec<&str> = rules.roles.iter().map(|limits| &*limits.role).collect();
        names.sort_unstable();
        names.dedup();
        for role in names.into_iter().filter(|role| own.has_role(role)) {
            role_keys(seen, role, &mut keys);
        }
    }
    if asked && kept.is_none() {
        keys.extend(forgetting_keys(seen));
    }
    keys
}

/// The places of a role's key: the tenant's table and the one at the top.
fn of_role_paths(seen: &Seen<'_>, role: &str, name: &str) -> Vec<String> {
    let path = format!("roles.{role}.{name}");
    seen.of_tenant(&path).into_iter().chain([path]).collect()
}

/// What is said of a role: of the tenant's table and the one at the top, of each limit the one that is tighter.
fn role_keys(seen: &Seen<'_>, role: &str, keys: &mut Vec<Key>) {
    let of_role = || seen.rules.lifetimes.roles.iter().filter(|limits| *limits.role == *role);
    let limits = [
        ("idle", of_role().filter_map(|own| own.idle).min()),
        ("absolute", of_role().filter_map(|own| own.absolute).min()),
    ];
    for (name, limit) in limits {
        let paths = of_role_paths(seen, role, name);
        keys.extend(limit.and_then(|limit| seen.lines.saying(&paths, limit)).map(|path| key(path, None)));
    }
}

/// Why somebody who asked to be remembered is not.
fn forgetting_keys(seen: &Seen<'_>) -> Vec<Key> {
    let rules = &seen.rules.lifetimes;
    let Some(principal) = seen.session.and_then(|session| session.principal) else { return Vec::new() };
    let forbids = |path: &String| seen.lines.find(path).is_some_and(|line| line.text.ends_with("false"));
    let mut roles: Vec<&str> = rules.roles.iter().filter(|own| own.forbids_remembering).map(|own| &*own.role).collect();
    roles.sort_unstable();
    roles.dedup();
    let of_roles = roles
        .into_iter()
        .filter(|role| principal.has_role(role))
        .filter_map(|role| of_role_paths(seen, role, "remember_me").into_iter().find(forbids));
    let offered = rules.remembered.is_none().then(|| seen.of_tenant("session.remember_me.offered")).flatten();
    of_roles.chain(offered).map(|path| key(&path, None)).collect()
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

fn lock_keys(seen: &Seen<'_>, _: &str) -> Vec<Key> {
    const ON_IDLE: &str = "session.lifetime.on_idle";
    let own = seen.of_tenant(ON_IDLE).filter(|path| seen.lines.find(path).is_some());
    vec![own.map_or_else(|| key(ON_IDLE, Some("\"end\"".to_owned())), |path| key(&path, None))]
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
