//! `[session]`: where sessions are kept, how long they last, what they are bound to.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::net::{DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6};
use crate::base::units;
use crate::config::lifetimes::{self, Bounds};
use crate::config::profile::{self, Profile};
use crate::config::{concurrency, levels, parked_posts};
use crate::enforce::parking::ParkingSettings;
use crate::enforce::snapshot::PREFIX;
use crate::login::{attempt, device};
use crate::policy::route_policy::SessionRules;
use crate::reader::Section;
use crate::session::binding::{AddressMode, AgentMode, Answer, BindingRules, TlsMode};
use crate::session::cookie::{CookieSettings, SameSite};
use crate::session::rotation::{DEFAULT_EVERY, DEFAULT_GRACE, RotationRule};
use crate::session::tenant::TenantId;
use crate::session::timeouts::{DEFAULT_REMEMBERED_ABSOLUTE, DEFAULT_REMEMBERED_IDLE, Lifetime, Lifetimes};

/// The shortest idle limit and rotation interval: below it people lose their session between two clicks.
pub(super) const SHORTEST: Duration = Duration::from_secs(10);

/// The longest absolute limit: what a cookie may last (RFC 6265bis section 5.5).
const LONGEST: Duration = Duration::from_secs(400 * 86_400);

/// The longest domain, in characters: no name is longer (RFC 1035 section 2.3.4).
const LONGEST_DOMAIN: usize = 253;

/// Where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory: a restart signs everybody out.
    Memory,
    /// In memory and in this file.
    Disk(PathBuf),
}

/// Default for `session.store.path`, from the configuration's folder.
const DEFAULT_PATH: &str = "sessions.redb";

/// What `[session]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Where sessions are kept.
    pub store: StoreKind,
    /// Their cookie.
    pub cookie: CookieSettings,
    /// Their rules.
    pub rules: SessionRules,
    /// What is kept of forms that meet an ended one, unless they are not.
    pub parked_posts: Option<ParkingSettings>,
}

/// Reads `[session]`. What is wrong there is told, and is as by default then: what has to do with it elsewhere is read on.
pub(super) fn read(root: &Section<'_>, profile: Option<Profile>) -> SessionPlan {
    let section = root.section_or_empty("session");
    let store = store(&section);
    let cookie = cookie(&section, CookieSettings::default());
    let all = lifetime(&section, profile);
    let on_idle = lifetimes::on_idle(&section.section_or_empty("lifetime"));
    let base = Lifetimes {
        remembered: remembered(&section, &all),
        on_idle: on_idle.unwrap_or_default(),
        ..Lifetimes::from(all)
    };
    let roles = lifetimes::of_roles(root, &Bounds::of(&base)).into();
    let lifetimes = Lifetimes { roles, ..base };
    let (rotation, binding) = (rotation(&section), binding(&section));
    let levels = levels::read(&section, &lifetimes).into();
    let concurrency = concurrency::read(root, &section);
    let rules = SessionRules { tenant: TenantId::DEFAULT, lifetimes, rotation, binding, concurrency, levels };
    let parked_posts = parked_posts::read(&section);
    SessionPlan { store, cookie, rules, parked_posts }
}

fn store(session: &Section<'_>) -> StoreKind {
    let section = session.section_or_empty("store");
    let is_disk = section.parsed("kind", |text| match text {
        "disk" => Ok(true),
        "memory" => Ok(false),
        "redis" | "postgres" => {
            Err(format!("sessions cannot be kept in \"{text}\" yet; write kind = \"disk\", which is one machine's"))
        }
        _ => Err(format!("\"{text}\" is not a kind of store; write \"disk\" or \"memory\"")),
    });
    let path = section.path_to("path");
    if is_disk == Some(false) {
        section.unused(&["path"]);
        return StoreKind::Memory;
    }
    StoreKind::Disk(path.unwrap_or_else(|| session.document().folder().join(DEFAULT_PATH)))
}

/// Reads `[tenant.session]` and `[tenant.roles.NAME]`: the cookie, and the rules of the tenant's sessions. What is not said
/// there is as it is for all, and what is may only be less.
pub(super) fn of_tenant(tenant: &Section<'_>, all: &SessionPlan) -> (CookieSettings, SessionRules) {
    let section = tenant.section_or_empty("session");
    let cookie = cookie(&section, CookieSettings { domain: None, ..all.cookie.clone() });
    let (base, bounds) = lifetimes::of_tenant(&section, &all.rules.lifetimes);
    let roles = base.roles.iter().cloned().chain(lifetimes::of_roles(tenant, &bounds)).collect();
    let lifetimes = Lifetimes { roles, ..base };
    let concurrency = concurrency::of_tenant(tenant, &section, all.rules.concurrency.as_ref());
    (cookie, SessionRules { lifetimes, concurrency, ..all.rules.clone() })
}

fn cookie(session: &Section<'_>, defaults: CookieSettings) -> CookieSettings {
    let section = session.section_or_empty("cookie");
    let own_name = section.parsed("name", cookie_name);
    let is_wrong = section.has("name") && own_name.is_none();
    let name = own_name.unwrap_or(defaults.name);
    let domain = section.parsed("domain", domain);
    let path = section.parsed("path", cookie_path).unwrap_or(defaults.path);
    let choices = [("Strict", SameSite::Strict), ("Lax", SameSite::Lax), ("None", SameSite::None)];
    let same_site = section.one_of("same_site", &choices).unwrap_or(defaults.same_site);
    if name.starts_with("__Host-") && !is_wrong {
        let help = "give it a name that begins with __Secure-, or remove this line";
        if section.has("domain") {
            section.mistake_at("domain", "a cookie named __Host-… belongs to one host", help);
        }
        if *path != *"/" {
            section.mistake_at("path", "a cookie named __Host-… has the path \"/\"", help);
        }
    }
    CookieSettings { name, domain, path, same_site }
}

fn cookie_name(text: &str) -> Result<Box<str>, String> {
    let rest = text.strip_prefix("__Host-").or_else(|| text.strip_prefix("__Secure-"));
    let is_token = |rest: &str| {
        !rest.is_empty()
            && rest.len() <= 64
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match rest {
        Some(rest) if !is_token(rest) => {
            Err(format!("\"{text}\" is not a cookie's name; write letters, digits, - and _ after the prefix"))
        }
        Some(_) if [attempt::COOKIE, device::COOKIE].iter().any(|ours| text.eq_ignore_ascii_case(ours)) => {
            Err(format!("\"{text}\" is the name of the login page's own cookie; choose another name"))
        }
        Some(_) => Ok(text.into()),
        None => Err(format!(
            "\"{text}\" can be set by any other host of the domain; write a name that begins with __Host-, \
             like \"__Host-session\", or __Secure- when it is shared across subdomains"
        )),
    }
}

fn domain(text: &str) -> Result<Box<str>, String> {
    let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
    let is_good = name.contains('.')
        && name.len() <= LONGEST_DOMAIN
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    if is_good { Ok(name.into()) } else { Err(format!("\"{text}\" is not a domain; write one like \"example.test\"")) }
}

/// Nothing but the whole host: with a narrower path the pages below `/.vestibule/` would not be sent the cookie, and nobody
/// could sign out, or prove anew who they are.
fn cookie_path(text: &str) -> Result<Box<str>, String> {
    if text == "/" {
        return Ok(text.into());
    }
    Err(format!(
        "with the path \"{text}\" the pages below {PREFIX} are not sent the cookie, and nobody could sign out; write \"/\""
    ))
}

fn lifetime(session: &Section<'_>, profile: Option<Profile>) -> Lifetime {
    let (section, default) = (session.section_or_empty("lifetime"), profile::lifetime(profile));
    let limits = Lifetime {
        idle: section.duration("idle").unwrap_or(default.idle),
        absolute: section.duration("absolute").unwrap_or(default.absolute),
    };
    if check_limits(&section, &limits) { limits } else { default }
}

/// The limits of who asks to be remembered, where that is offered.
fn remembered(session: &Section<'_>, all: &Lifetime) -> Option<Lifetime> {
    let section = session.section("remember_me")?;
    let limits = Lifetime {
        idle: section.duration("idle").unwrap_or(DEFAULT_REMEMBERED_IDLE),
        absolute: section.duration("absolute").unwrap_or(DEFAULT_REMEMBERED_ABSOLUTE),
    };
    let is_good = check_limits(&section, &limits);
    for (key, own, of_all) in [("idle", limits.idle, all.idle), ("absolute", limits.absolute, all.absolute)] {
        if is_good && own < of_all {
            let message = format!("who asks to be remembered would be signed out sooner than who does not ({key})");
            let help = format!("write at least {key} = \"{}\", as [session.lifetime] has it", units::shown(of_all));
            section.mistake_at(key, message, help);
        }
    }
    Some(limits)
}

/// Whether a pair of limits makes sense; what does not is told, and nothing else is then compared with it.
fn check_limits(section: &Section<'_>, limits: &Lifetime) -> bool {
    if limits.idle < SHORTEST {
        section.mistake_at("idle", "people would lose their session between two clicks", "write at least \"10s\"");
    }
    if limits.absolute > LONGEST {
        section.mistake_at("absolute", "browsers keep no cookie for so long", "write at most \"400d\"");
    }
    if limits.idle > limits.absolute {
        let key = if section.has("idle") { "idle" } else { "absolute" };
        let message = "the idle limit is longer than the absolute one, so it would never end a session";
        section.mistake_at(key, message, "write an idle limit that is at most the absolute one");
    }
    limits.idle >= SHORTEST && limits.absolute <= LONGEST && limits.idle <= limits.absolute
}

fn rotation(session: &Section<'_>) -> RotationRule {
    let section = session.section_or_empty("rotation");
    let every = section.parsed("every", |text| if text == "off" { Ok(None) } else { units::duration(text).map(Some) });
    let rule = RotationRule {
        every: every.unwrap_or(Some(DEFAULT_EVERY)),
        grace: section.duration("grace").unwrap_or(DEFAULT_GRACE),
    };
    if let Some(every) = rule.every {
        if every < SHORTEST {
            section.mistake_at(
                "every",
                "requests under way would be taken for thefts",
                "write at least \"10s\", or \"off\"",
            );
        }
        if rule.grace >= every {
            let (key, grace) = (if section.has("grace") { "grace" } else { "every" }, units::shown(rule.grace));
            let every = units::shown(every);
            let message = format!(
                "the secret changes every \"{every}\", and the former one stays good for \"{grace}\" (grace), so an old cookie \
                 would always be good"
            );
            section.mistake_at(key, message, "write a longer time for every, or a shorter one for grace");
        }
    }
    rule
}

fn binding(session: &Section<'_>) -> BindingRules {
    let section = session.section_or_empty("binding");
    let (ip, agent) = (section.section_or_empty("ip"), section.section_or_empty("user_agent"));
    let tls = section.section_or_empty("tls");
    let defaults = BindingRules::default();
    let v4 = ip.integer("prefix_v4", 8..=32).unwrap_or(DEFAULT_PREFIX_V4);
    let v6 = ip.integer("prefix_v6", 16..=128).unwrap_or(DEFAULT_PREFIX_V6);
    let modes = [("off", AddressMode::Off), ("exact", AddressMode::Exact), ("prefix", AddressMode::Prefix { v4, v6 })];
    let agent_modes = [("off", AgentMode::Off), ("exact", AgentMode::Exact), ("family", AgentMode::Family)];
    let answers = [("log", Answer::Log), ("step_up", Answer::StepUp), ("end", Answer::End)];
    BindingRules {
        address: ip.one_of("mode", &modes).unwrap_or(defaults.address),
        address_answer: ip.one_of("answer", &answers).unwrap_or(defaults.address_answer),
        agent: agent.one_of("mode", &agent_modes).unwrap_or(defaults.agent),
        agent_answer: agent.one_of("answer", &answers).unwrap_or(defaults.agent_answer),
        tls: tls.one_of("mode", &[("off", TlsMode::Off), ("exact", TlsMode::Exact)]).unwrap_or(defaults.tls),
        tls_answer: tls.one_of("answer", &answers).unwrap_or(defaults.tls_answer),
        is_shadow: section.bool("shadow").unwrap_or(defaults.is_shadow),
    }
}
