//! The model's rules in the gateway's words.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{HeaderName, Method};
use tempfile::TempDir;
use vestibule::base::random::Random;
use vestibule::config::{LocalUsers, Plan};
use vestibule::crypto::key_file;
use vestibule::login::users::{User, Users, dummy_phc};
use vestibule::policy::route_policy::{self, Access, Recency, RoutePolicy, SessionRules, TokenNames};
use vestibule::reader::Document;
use vestibule::session::binding::{AddressMode, AgentMode, Answer, BindingRules};
use vestibule::session::concurrency::{Concurrency, WhenFull};
use vestibule::session::level::Level;
use vestibule::session::rotation::RotationRule;
use vestibule::session::timeouts::{Lifetime, Lifetimes, OnIdle, RoleLifetime};

use super::model::Asks;
use super::rules::{self, Compared, Config, Entry, HOSTS, Limits, Rules, Shield, TENANTS, USERS};

/// What brings the token of a session back.
pub const TOKEN_HEADER: &str = "x-csrf-token";

/// A configuration with every tenant, to be changed.
fn all() -> &'static Plan {
    static ALL: OnceLock<(TempDir, Plan)> = OnceLock::new();
    let (_, plan) = ALL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        key_file::make(&file("keys"), &Random::seeded(1)).expect("written");
        std::fs::write(file("users.toml"), "").expect("written");
        let users = format!("users = \"{}\"\n", file("users.toml").display());
        let mut text = format!(
            "[keys]\nsecrets = [\"file:{}\"]\n[login.local]\n{users}[server]\nlisten = [\"127.0.0.1:0\"]\n\
             [[server.certificate]]\ncert = \"c\"\nkey = \"k\"\ngenerate = true\n[session.store]\nkind = \"memory\"\n\
             [limits]\nbad_cookies = \"off\"\n\
             [[upstream]]\nname = \"app\"\nservers = [\"http://127.0.0.1:1\"]\n\
             [[route]]\npath = \"/\"\nupstream = \"app\"\naccess = \"public\"\n",
            file("keys").display()
        );
        for (name, host) in TENANTS.iter().zip(HOSTS).skip(1) {
            text += &format!("[[tenant]]\nname = \"{name}\"\nhosts = [\"{host}\"]\n[tenant.login.local]\n{users}");
        }
        let plan = Plan::of(&Document::parse("gateway.toml", &text)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        (folder, plan)
    });
    plan
}

/// The plan of a gateway with these rules.
pub fn plan(rules: &Rules, config: &Config) -> Plan {
    let mut plan = all().clone();
    let give = |tenant: usize, local: &mut Option<LocalUsers>, session: &mut SessionRules| {
        local.as_mut().expect("users").users = users(&config.users[tenant]);
        *session = SessionRules { tenant: session.tenant, ..session_rules(rules, &config.limits(tenant)) };
    };
    give(0, &mut plan.users, &mut plan.session.rules);
    plan.tenants
        .retain(|own| TENANTS.iter().zip(config.limits).any(|(name, is)| own.id.name() == *name && is.is_some()));
    for own in &mut plan.tenants {
        let tenant = TENANTS.iter().position(|name| *name == own.id.name()).expect("one of them");
        give(tenant, &mut own.users, &mut own.rules);
    }
    plan
}

/// Somebody of a users file.
pub fn user(name: &str, is_admin: bool, password: u8) -> User {
    let role = if is_admin { "admin" } else { "staff" };
    User {
        name: name.to_owned(),
        // Other passwords have other salts.
        password: dummy_phc().replacen("$AA", &format!("${}A", char::from(b'A' + password)), 1),
        email: None,
        roles: vec![role.to_owned()],
        groups: Vec::new(),
        disabled: false,
    }
}

/// A users file. There are few of them, and reading one takes its time.
fn users(of: &[Option<Entry>; 3]) -> Arc<Users> {
    static READ: Mutex<BTreeMap<String, Arc<Users>>> = Mutex::new(BTreeMap::new());
    let mut text = String::new();
    for (name, entry) in USERS.iter().zip(of) {
        let Some(Entry { is_admin, password }) = entry else { continue };
        let User { password, roles, .. } = user(name, *is_admin, *password);
        text += &format!("[[user]]\nname = \"{name}\"\npassword = \"{password}\"\nroles = {roles:?}\n");
    }
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let known = read.entry(text.clone());
    let parse = || Users::parse(Path::new("users.toml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Arc::clone(known.or_insert_with(|| Arc::new(parse())))
}

/// The route that asks this.
pub fn route(rules: &Rules, asks: Asks, level: Option<&Arc<Level>>) -> RoutePolicy {
    let access = match asks {
        Asks::Public => Access::Public,
        Asks::Optional => Access::Optional,
        Asks::Anonymous => Access::Anonymous,
        Asks::User | Asks::Admin | Asks::Level | Asks::Fresh | Asks::Token => Access::Authenticated,
    };
    let roles = if asks == Asks::Admin { vec!["ops".into(), "admin".into()] } else { Vec::new() };
    let (idle, absolute, max_auth_age) = rules.fresh;
    let span = |limit: Option<u64>| limit.map(Duration::from_millis);
    let recency = Recency {
        idle: span(idle),
        absolute: span(absolute),
        max_auth_age: span(max_auth_age),
        methods: [Method::POST].into(),
    };
    let names = || {
        let header = HeaderName::from_static(TOKEN_HEADER);
        Arc::new(TokenNames { header, field: "csrf_token".into() })
    };
    let shield = route_policy::Shield {
        is_enforced: rules.shield == Shield::Enforce,
        is_for_sockets_alone: false,
        websocket_origins: Box::default(),
        token: (asks == Asks::Token).then(names),
    };
    RoutePolicy {
        level: level.filter(|_| asks == Asks::Level).cloned(),
        recency: (asks == Asks::Fresh).then(|| Box::new(recency)),
        csrf: (access != Access::Public && rules.shield != Shield::Off).then(|| Box::new(shield)),
        ..RoutePolicy::new(access, roles)
    }
}

fn level(rules: &Rules) -> Arc<Level> {
    let (after, idle) = rules.level;
    let (after, idle) = (Duration::from_millis(after), idle.map(Duration::from_millis));
    Arc::new(Level { name: "established".into(), after, idle })
}

fn lifetimes(limits: &Limits) -> Lifetimes {
    let pair =
        |(idle, absolute)| Lifetime { idle: Duration::from_millis(idle), absolute: Duration::from_millis(absolute) };
    let of_admins = limits.of_admins.map(pair);
    let admins = RoleLifetime {
        role: "admin".into(),
        idle: of_admins.map(|limits| limits.idle),
        absolute: of_admins.map(|limits| limits.absolute),
        forbids_remembering: limits.forgets_admins,
    };
    Lifetimes {
        remembered: limits.offered.map(pair),
        on_idle: if limits.locks { OnIdle::Lock } else { OnIdle::End },
        ..Lifetimes::new(pair((limits.idle, limits.absolute)), [admins])
    }
}

fn session_rules(rules: &Rules, limits: &Limits) -> SessionRules {
    let answer = |answer| match answer {
        rules::Answer::Log => Answer::Log,
        rules::Answer::StepUp => Answer::StepUp,
        rules::Answer::End => Answer::End,
    };
    let binding = BindingRules {
        address: match rules.address.0 {
            Compared::Not => AddressMode::Off,
            Compared::Exactly => AddressMode::Exact,
            Compared::Roughly => AddressMode::Prefix { v4: 24, v6: 56 },
        },
        address_answer: answer(rules.address.1),
        agent: match rules.agent.0 {
            Compared::Not => AgentMode::Off,
            Compared::Exactly => AgentMode::Exact,
            Compared::Roughly => AgentMode::Family,
        },
        agent_answer: answer(rules.agent.1),
        ..BindingRules::default()
    };
    SessionRules {
        lifetimes: lifetimes(limits),
        levels: [level(rules)].into(),
        rotation: RotationRule {
            every: rules.every.map(Duration::from_millis),
            grace: Duration::from_millis(rules.grace),
        },
        binding,
        concurrency: limits.max.map(|(max, ends_oldest)| {
            let when_full = if ends_oldest { WhenFull::EndOldest } else { WhenFull::Refuse };
            let roles = limits.max_of_admins.map(|max| ("admin".into(), max)).into_iter().collect();
            Arc::new(Concurrency { all: Some(max), roles, when_full })
        }),
        ..SessionRules::default()
    }
}
