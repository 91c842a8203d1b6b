//! `[[route]]`: what goes where, and what is asked of whom.

use std::sync::Arc;

use crate::config::csrf::{self, CsrfPlan};
use crate::config::server::positive;
use crate::config::{levels, lifetimes, rewriting};
use crate::enforce::snapshot::PREFIX;
use crate::login::users::check_role;
use crate::policy::compression::Coding;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::reader::mistake::Mistake;
use crate::reader::{Located, Section, either, nearest};
use crate::route::pattern::{HostPattern, PathPrefix};
use crate::route::table::{DEFAULT_WEBSOCKET_TIMEOUT, Route, RouteLimit};
use crate::session::level::Level;
use crate::session::timeouts::Lifetimes;
use crate::upstream::settings::UpstreamSettings;

/// Reads every `[[route]]`: those that could be read, each with its section.
pub(super) fn read<'a>(
    root: &Section<'a>,
    upstreams: &[Located<UpstreamSettings>],
    can_sign_in: &dyn Fn(&HostPattern) -> bool,
    sessions: (&Lifetimes, &[Arc<Level>]),
    csrf: &CsrfPlan,
) -> (Vec<Route>, Vec<Section<'a>>) {
    root.require("route", "[[route]]\npath = \"/\"\nupstream = \"app\"");
    let mut all: Vec<Route> = Vec::new();
    let mut sections = Vec::new();
    let mut limited = 0;
    for section in root.sections("route") {
        let Some(mut route) = read_one(&section, upstreams, can_sign_in, sessions, csrf) else { continue };
        if let Some(limit) = &mut route.limit {
            limit.place = limited;
            limited += 1;
        }
        if all.iter().any(|other| other.host == route.host && other.path == route.path) {
            let message = format!("there are two routes for \"{}\" on the same host", route.path.shown());
            section.mistake_at("path", message, "keep one of them");
        }
        all.push(route);
        sections.push(section);
    }
    tell_of_holes(&sections, &all);
    rewriting::tell_of_detours(&sections, &all);
    (all, sections)
}

/// A host of its own has routes of its own: what "*" asks for a path no longer counts there. Where that leaves a path open
/// that is closed elsewhere, somebody may not have meant it.
fn tell_of_holes(sections: &[Section<'_>], all: &[Route]) {
    for (at, route) in all.iter().enumerate() {
        let hole = all.iter().find(|wide| {
            let decides = |other: &&Route| other.host == route.host && other.path.covers(&wide.path);
            let decider = || all.iter().filter(decides).max_by_key(|other| other.path.depth());
            // What is cheap comes first: there may be thousands.
            route.host.is_below(&wide.host)
                && route.policy.asks_less_than(&wide.policy)
                && decider().is_some_and(|decider| std::ptr::eq(decider, route) && decider.path != wide.path)
        });
        if let (Some(wide), Some(section)) = (hole, sections.get(at)) {
            let (host, path) = (&route.host, wide.path.shown());
            let message = if route.policy.is_for_more_than(&wide.policy) {
                format!("on \"{host}\", \"{path}\" is open to more people than the route of \"{}\" allows", wide.host)
            } else if route.policy.is_of_lower_level_than(&wide.policy) {
                format!("on \"{host}\", \"{path}\" asks for a lower level than the route of \"{}\" does", wide.host)
            } else {
                let asks = "asks less for the password again than the route of";
                format!("on \"{host}\", \"{path}\" {asks} \"{}\" does", wide.host)
            };
            let help = format!(
                "a host with routes of its own has no others: add one with host = \"{host}\" and path = \"{path}\""
            );
            section.mistake_at(if section.has("host") { "host" } else { "path" }, message, help);
        }
    }
}

fn read_one(
    section: &Section<'_>,
    upstreams: &[Located<UpstreamSettings>],
    can_sign_in: &dyn Fn(&HostPattern) -> bool,
    sessions: (&Lifetimes, &[Arc<Level>]),
    csrf: &CsrfPlan,
) -> Option<Route> {
    section.require("path", r#"path = "/""#).require("upstream", r#"upstream = "app""#);
    let host = section.parsed("host", HostPattern::parse);
    let host = if section.has("host") { host } else { Some(HostPattern::Any) };
    let path = section.parsed("path", path);
    let choices = [
        ("authenticated", Access::Authenticated),
        ("optional", Access::Optional),
        ("anonymous", Access::Anonymous),
        ("public", Access::Public),
    ];
    let access = section.one_of("access", &choices);
    let access_is_wrong = section.has("access") && access.is_none();
    let access = access.unwrap_or(Access::Authenticated);
    let roles = section.parsed_list("roles", |text| check_role(text).map(|()| text.into())).unwrap_or_default();
    if !roles.is_empty() && access != Access::Authenticated && !access_is_wrong {
        let message = format!("roles are asked for on a route whose access is \"{}\"", access.name());
        section.mistake_at("roles", message, "write access = \"authenticated\", or take the roles away");
    }
    if access == Access::Authenticated
        && !access_is_wrong
        && !host.as_ref().is_none_or(can_sign_in)
        && section.document().is_whole()
    {
        let key = if section.has("access") { "access" } else { "path" };
        let message = "this route asks for login, and nobody can sign in";
        let help = "write access = \"public\" for everybody, or add at the end of the file:";
        let mistake = Mistake::new(section.span_of(key), message, help);
        section.document().note(mistake.with_lines("[login.local]\nusers = \"users.toml\""));
    }
    // One without a name may be the one that is meant; where there are none at all, that has been said.
    let all_are_named = !upstreams.is_empty() && upstreams.iter().all(|upstream| !upstream.value.name.is_empty());
    let upstream = section.located("upstream").and_then(|name| {
        let found = upstreams.iter().position(|upstream| *upstream.value.name == *name.value);
        if found.is_none() && all_are_named && section.document().is_whole() {
            let names = upstreams.iter().map(|upstream| &*upstream.value.name);
            let message = format!("there is no upstream named \"{}\"", name.value);
            let mistake = |help: &str| Mistake::new(Some(name.span.clone()), message, help);
            section.document().note(match nearest(&name.value, names) {
                Some(near) => mistake(&format!("did you mean \"{near}\"?")),
                None => mistake("add at the end of the file:").with_lines(format!(
                    "[[upstream]]\nname = {}\nservers = [\"http://127.0.0.1:3000\"]",
                    toml_edit::Value::from(name.value.as_str())
                )),
            });
        }
        found
    });
    let recency = lifetimes::of_route(section, (!access_is_wrong).then_some(access), sessions.0);
    let level = levels::of_route(section, sessions.1, (!access_is_wrong).then_some(access), recency.as_deref());
    let csrf = csrf::of_route(section, access, csrf);
    let policy =
        RoutePolicy { access, roles: roles.into_iter().map(|role| role.value).collect(), recency, csrf, level };
    let websocket_timeout = positive(section, "websocket_timeout", DEFAULT_WEBSOCKET_TIMEOUT);
    let rewriting = rewriting::read(section, path.as_ref());
    let compress = compress(section);
    // Its place among those that have one is known when all before it are.
    let limit = section.rate("limit").flatten().map(|rate| RouteLimit { rate, place: 0 });
    Some(Route { host: host?, path: path?, policy, upstream: upstream?, websocket_timeout, rewriting, compress, limit })
}

/// The codings that answers may be compressed with.
fn compress(section: &Section<'_>) -> Box<[Coding]> {
    let names = || Coding::ALL.map(Coding::name).into_iter();
    let read = |text: &str| {
        let found = Coding::ALL.into_iter().find(|coding| coding.name() == text);
        found.ok_or_else(|| format!("\"{text}\" is no coding that is known here; write {}", either(names())))
    };
    let listed = section.parsed_list_or_none("compress", r#"["zstd", "br", "gzip"]"#, read).unwrap_or_default();
    let mut codings: Vec<Coding> = Vec::new();
    for Located { value, span } in listed {
        if codings.contains(&value) {
            section.mistake(&span, format!("\"{}\" is there already", value.name()), "write each once, the best first");
        } else {
            codings.push(value);
        }
    }
    codings.into()
}

fn path(text: &str) -> Result<PathPrefix, String> {
    let prefix = PathPrefix::parse(text)?;
    let ours = PREFIX.trim_end_matches('/');
    if prefix.as_str() == ours || prefix.as_str().starts_with(PREFIX) {
        return Err(format!("\"{text}\" belongs to the gateway's own pages; choose another path"));
    }
    Ok(prefix)
}
