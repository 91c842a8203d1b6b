//! How the gateway is: itself, its configuration, its users and its applications.

use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::enforce::reloads::Refused;
use crate::enforce::shared::Shared;
use crate::login::users::User;
use crate::session::store::Trouble;
use crate::session::tenant::TenantId;
use crate::upstream::group::Upstream;

/// What to do about a configuration that was refused.
const MEND: &str =
    "Mend the file: it is read again by itself within seconds, and \"vestibule reload\" says what comes of it.";

/// Everything in short.
pub(super) fn status(shared: &Shared) -> Value {
    let (now, snapshot) = (shared.clock.now(), shared.snapshot.load());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": shared.started_at.to_string(),
        "uptime_seconds": now.since(shared.started_at).as_secs(),
        "ready": shared.is_ready(),
        "snapshot": {
            "version": snapshot.version,
            "loaded_at": snapshot.loaded_at.to_string(),
            "age_seconds": now.since(snapshot.loaded_at).as_secs(),
        },
        "sessions": { "active": shared.store.active(), "open_streams": shared.leases.open() },
        "store": shared.store.kind(),
        "configuration_refused": shared.reloads.refused().map(|refused| of_refused(&refused, now)),
        "takes_restart": shared.reloads.takes_restart(),
        "store_failed": shared.store.trouble().map(|trouble| of_trouble(&trouble, now)),
        "upstreams": upstreams(shared),
    })
}

fn of_refused(Refused { since, words }: &Refused, now: Timestamp) -> Value {
    json!({
        "since": since.to_string(),
        "since_seconds": now.since(*since).as_secs(),
        "reason": words,
        "help": MEND,
    })
}

fn of_trouble(Trouble { since, words, help, works_since }: &Trouble, now: Timestamp) -> Value {
    json!({
        "since": since.to_string(),
        "since_seconds": now.since(*since).as_secs(),
        "reason": words,
        "help": help,
        "written_again_since": works_since.map(|since| since.to_string()),
    })
}

/// The applications and how their servers are.
pub(super) fn upstreams(shared: &Shared) -> Value {
    let now = shared.clock.now();
    shared.snapshot.load().upstreams.iter().map(|upstream| of(upstream, now)).collect()
}

fn of(upstream: &Upstream, now: Timestamp) -> Value {
    let servers = upstream.settings.servers.iter().enumerate().filter_map(|(at, address)| {
        let condition = upstream.condition(at)?;
        Some(json!({
            "server": address.to_string(),
            "healthy": condition.is_healthy,
            "checked": condition.is_checked,
            "since": condition.since.map(|since| since.to_string()),
            "since_seconds": condition.since.map(|since| now.since(since).as_secs()),
            "reason": condition.why,
        }))
    });
    json!({
        "name": upstream.settings.name,
        "connections": upstream.connections(),
        "max_connections": upstream.settings.max_connections,
        "waiting": upstream.waiting(),
        "servers": servers.collect::<Value>(),
    })
}

/// The local users as they were loaded. How many there are is bounded by how long their file may be.
pub(super) fn users(shared: &Shared) -> Value {
    let one = |tenant: TenantId, user: &User| {
        let User { name, password: _, email, roles, groups, disabled } = user;
        let mut told = json!({ "name": name, "email": email, "roles": roles, "groups": groups, "disabled": disabled });
        if let Some(tenant) = tenant.told() {
            told["tenant"] = tenant.into();
        }
        told
    };
    let snapshot = shared.snapshot.load();
    let all = snapshot.tenants().filter_map(|tenant| tenant.users.as_ref().map(|users| (tenant.id, users)));
    all.flat_map(|(tenant, users)| users.iter().map(move |user| one(tenant, user))).collect()
}
