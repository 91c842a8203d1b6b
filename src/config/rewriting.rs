//! `[[route]]`: what it changes on the way to its application and back.

use http::HeaderValue;
use http::uri::Authority;

use crate::reader::Section;
use crate::route::pattern::{HostPattern, PathPrefix};
use crate::route::rewriting::{PrefixChange, RouteRewriting};
use crate::route::table::Route;

/// Reads what a route changes; `None` when that is nothing. `path` is the route's own.
pub(super) fn read(section: &Section<'_>, path: Option<&PathPrefix>) -> Option<Box<RouteRewriting>> {
    let host = section.parsed("host_rewrite", host);
    let inside = section.parsed("prefix_rewrite", PathPrefix::parse);
    let location = section.bool("rewrite_location").unwrap_or(false);
    let cookies = section.bool("rewrite_cookies").unwrap_or(false);
    if cookies && !section.has("host_rewrite") && !section.has("prefix_rewrite") {
        let message = "there is nothing to change: the application sees the host and the paths that its clients see";
        section.mistake_at("rewrite_cookies", message, "add host_rewrite or prefix_rewrite, or remove this line");
    }
    if let (Some(path), Some(inside)) = (path, &inside)
        && path == inside
    {
        let message = format!("\"{}\" is the path of the route, so nothing is changed", inside.shown());
        section.mistake_at("prefix_rewrite", message, "write another path, or remove this line");
    }
    let prefix = inside.and_then(|inside| Some(PrefixChange::new(path?, &inside)));
    let changes_nothing = host.is_none() && prefix.is_none() && !location && !cookies;
    (!changes_nothing).then(|| Box::new(RouteRewriting { host, prefix, location, cookies }))
}

/// A host that an application is asked for, with or without a port.
///
/// # Errors
/// A sentence that says what to write instead.
pub(super) fn host(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("\"{text}\" is not a host; write one like \"app.internal\" or \"app.internal:8080\"");
    let authority: Authority = text.parse().map_err(|_| wrong())?;
    let is_host = matches!(HostPattern::parse(authority.host()), Ok(HostPattern::Exact(_)));
    let after = text.strip_prefix(authority.host()).unwrap_or("?");
    // A sign before it would be read as well.
    let is_port = |text: &str| text.as_bytes().first().is_some_and(|first| (b'1'..=b'9').contains(first));
    let has_port = after.strip_prefix(':').is_some_and(|port| is_port(port) && port.parse::<u16>().is_ok());
    if !is_host || !(after.is_empty() || has_port) {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

/// Tells where a prefix that is rewritten makes a way around a route: to a part of the same application that asks more of
/// those who come to it through that one.
pub(super) fn tell_of_detours(sections: &[Section<'_>], all: &[Route]) {
    for (guarded, of_guarded) in all.iter().zip(sections) {
        let found = all.iter().zip(sections).find_map(|(route, section)| {
            let asked = detour(route, guarded, all)?;
            Some((if change(route).is_some() { section } else { of_guarded }, asked, route))
        });
        if let Some((section, asked, route)) = found {
            let (asked, path) = (asked.shown().into_owned(), guarded.path.shown());
            let what = if route.policy.is_for_more_than(&guarded.policy) {
                "open to more people than that route allows"
            } else if route.policy.asks_less_than(&guarded.policy) {
                "asks less for the password again than that route does"
            } else {
                "lets other sites in (csrf) where that route does not"
            };
            let message = format!("\"{asked}\" is then what \"{path}\" is, and {what}");
            let help = format!("add a route with path = \"{asked}\" that asks for the same, or choose another prefix");
            section.mistake_at("prefix_rewrite", message, help);
        }
    }
}

/// How the part of the application that `guarded` leads to is asked for through `route` by those who may not pass there.
fn detour(route: &Route, guarded: &Route, all: &[Route]) -> Option<PathPrefix> {
    let may_be_one = guarded.upstream == route.upstream
        && (change(route).is_some() || change(guarded).is_some())
        && (guarded.host == route.host || route.host.is_below(&guarded.host))
        && (route.policy.asks_less_than(&guarded.policy) || route.policy.shields_less_than(&guarded.policy));
    if !may_be_one {
        return None;
    }
    let inside = change(guarded).map_or(&guarded.path, PrefixChange::inside);
    let asked = match change(route) {
        Some(change) => change.named_outside(inside)?,
        None => inside.clone(),
    };
    let of_host = |other: &&Route| other.host == route.host && other.path.covers(&asked);
    let decider = all.iter().filter(of_host).max_by_key(|other| other.path.depth())?;
    (std::ptr::eq(decider, route) && asked != guarded.path).then_some(asked)
}

fn change(route: &Route) -> Option<&PrefixChange> {
    route.rewriting.as_ref().and_then(|rewriting| rewriting.prefix.as_ref())
}
