//! What a route changes on the way to its application and back: host and prefix of what is asked, and the addresses and
//! cookies of the answer's head. Decisions were made on what the client asked for; nothing here has a part in them.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::route::rewriting::{PrefixChange, RouteRewriting};
use crate::upstream::settings::ServerAddress;

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A request cannot be written as its route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable;

/// Changes a request that is otherwise ready to be sent.
///
/// # Errors
/// When its path cannot be written: it must not go out under the one that it had.
pub fn inward(rewriting: &RouteRewriting, parts: &mut Parts) -> Result<(), Unwritable> {
    if let Some(host) = &rewriting.host {
        parts.headers.insert(header::HOST, host.clone());
    }
    let Some(prefix) = &rewriting.prefix else { return Ok(()) };
    let path = prefix.inward(parts.uri.path());
    let target = match parts.uri.query() {
        None => PathAndQuery::try_from(path),
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
    };
    parts.uri = Uri::from(target.map_err(|_| Unwritable)?);
    say_prefix(prefix, &mut parts.headers)
}

/// Says which prefix the application does not see. What is there already is a trusted proxy's word on what stands before
/// it: that of others has been deleted.
fn say_prefix(prefix: &PrefixChange, headers: &mut HeaderMap) -> Result<(), Unwritable> {
    let before = headers.get(X_FORWARDED_PREFIX).and_then(|value| value.to_str().ok());
    let before = before.filter(|before| before.starts_with('/')).map_or("", |before| before.trim_end_matches('/'));
    let whole = format!("{before}{}", prefix.outside());
    // In every spelling that CGI would make the same variable of.
    let fold = |name: &HeaderName| -> Vec<u8> {
        name.as_str().bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'_' }).collect()
    };
    let is_one = |name: &&HeaderName| name.as_str().starts_with('x') && fold(name) == fold(&X_FORWARDED_PREFIX);
    let spelled: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
    spelled.into_iter().for_each(|name| drop(headers.remove(name)));
    if !whole.is_empty() {
        headers.insert(X_FORWARDED_PREFIX, HeaderValue::try_from(whole).map_err(|_| Unwritable)?);
    }
    Ok(())
}

/// What a request asked for, as far as its answer may speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host with its port.
    pub authority: &'a str,
    /// What the application was told of the scheme.
    pub is_https: bool,
    /// Where the application is reached.
    pub servers: &'a [ServerAddress],
}

impl<'a> Asked<'a> {
    /// What was asked with a request that is ready to be sent.
    pub fn with(headers: &HeaderMap, authority: &'a str, servers: &'a [ServerAddress]) -> Self {
        let is_https = headers.get("x-forwarded-proto").is_none_or(|proto| proto.as_bytes() != b"http");
        Self { authority, is_https, servers }
    }
}

/// Changes the head of an answer, once what only the gateway may say has been taken out of it.
pub fn outward(rewriting: &RouteRewriting, asked: Asked<'_>, headers: &mut HeaderMap) {
    if !rewriting.location && !rewriting.cookies {
        return;
    }
    for (name, value) in headers.iter_mut() {
        let changed = if rewriting.location && (*name == header::LOCATION || *name == header::CONTENT_LOCATION) {
            text(value).and_then(|url| address(rewriting, asked, url))
        } else if rewriting.location && *name == header::REFRESH {
            text(value).and_then(|value| refresh(rewriting, asked, value))
        } else if rewriting.cookies && *name == header::SET_COOKIE {
            text(value).and_then(|value| cookie(rewriting, asked, value))
        } else {
            None
        };
        if let Some(changed) = changed.and_then(|changed| HeaderValue::try_from(changed).ok()) {
            *value = changed;
        }
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    str::from_utf8(value.as_bytes()).ok()
}

/// An address of the application as its clients know it; `None` for what they can use as it is. What begins neither with
/// a slash nor with a host is read from where it is found, which is right on both sides.
fn address(rewriting: &RouteRewriting, asked: Asked<'_>, url: &str) -> Option<String> {
    let (whose, path) = if url.starts_with('/') && !url.starts_with("//") {
        rewriting.prefix.as_ref()?;
        (None, url)
    } else {
        let (scheme, authority, path) = split(url)?;
        (Some(whose(rewriting, asked, scheme, authority)?), path)
    };
    let (path, rest) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let path = if path.is_empty() { "/" } else { path };
    let outside = match &rewriting.prefix {
        Some(prefix) => prefix.outward(path),
        None => Some(path.to_owned()),
    };
    match (whose, outside) {
        // A path that browsers would take for a host is written out in full.
        (None, Some(path)) if !path.starts_with("//") && !path.starts_with("/\\") => Some(format!("{path}{rest}")),
        (None, None) | (Some(Whose::Application), None) => None,
        (_, Some(path)) => Some(format!("{}://{}{path}{rest}", scheme(asked), asked.authority)),
        // Beside the application's part of the host, which is another route's; it is reached by https all the same.
        (Some(Whose::Client), None) => Some(format!("{}://{}{path}{rest}", scheme(asked), asked.authority)),
    }
}

fn scheme(asked: Asked<'_>) -> &'static str {
    if asked.is_https { "https" } else { "http" }
}

/// Whom an address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The host that the client asked for.
    Client,
    /// The application, by a name that clients need not know.
    Application,
}

/// Whose a host with its port is; `None` for somebody else's. The host that was asked for is taken with the port that was
/// asked for, and, by `http`, without one or with the application's own: it may not know that TLS ends before it.
fn whose(rewriting: &RouteRewriting, asked: Asked<'_>, scheme: Option<u16>, authority: &str) -> Option<Whose> {
    let (host, port) = host_and_port(authority)?;
    let port_of =
        |other: &str| host_and_port(other).filter(|(name, _)| name.eq_ignore_ascii_case(host)).map(|(_, port)| port);
    let standard = if asked.is_https { HTTPS } else { HTTP };
    let effective = port.unwrap_or(scheme.unwrap_or(standard));
    let is_servers = |name: Option<&str>| {
        asked.servers.iter().filter_map(tcp_address).filter_map(host_and_port).any(|(server, server_port)| {
            name.is_none_or(|name| name.eq_ignore_ascii_case(server)) && server_port == Some(effective)
        })
    };
    if let Some(asked_port) = port_of(asked.authority) {
        let by_http = scheme == Some(HTTP) && (effective == HTTP || is_servers(None));
        return (effective == asked_port.unwrap_or(standard) || by_http).then_some(Whose::Client);
    }
    let rewritten = rewriting.host.as_ref().and_then(text).and_then(port_of);
    let is_rewritten = rewritten.is_some_and(|named| match named {
        Some(named) => named == effective,
        None => effective == scheme.unwrap_or(standard) || is_servers(None),
    });
    (is_rewritten || is_servers(Some(host))).then_some(Whose::Application)
}

/// What `http` and `https` mean without a port.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// The standard port of an address's scheme, if it names one, its host with the port, and what follows.
fn split(url: &str) -> Option<(Option<u16>, &str, &str)> {
    let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let (scheme, after) = if begins("https://") {
        (Some(HTTPS), &url["https://".len()..])
    } else if begins("http://") {
        (Some(HTTP), &url["http://".len()..])
    } else {
        (None, url.strip_prefix("//")?)
    };
    let end = after.find(['/', '?', '#', '\\']).unwrap_or(after.len());
    let (authority, path) = after.split_at(end);
    // Browsers take it for a slash, and others for a part of the host: nothing is made of what has two readings.
    (!path.starts_with('\\')).then_some((scheme, authority, path))
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_host = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_host..].find(':') {
        None => (authority, None),
        Some(at) => (&authority[..after_host + at], Some(&authority[after_host + at + 1..])),
    };
    let is_host = !host.is_empty() && !host.contains('@');
    match port {
        None | Some("") => is_host.then_some((host, None)),
        Some(port) if is_host && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn tcp_address(server: &ServerAddress) -> Option<&str> {
    match server {
        ServerAddress::Tcp(address) | ServerAddress::Tls(address) => Some(address),
        ServerAddress::Unix(_) => None,
    }
}

/// A `Refresh` whose address is changed: `5; url=/there`.
fn refresh(rewriting: &RouteRewriting, asked: Asked<'_>, value: &str) -> Option<String> {
    let at = value.find([';', ','])? + 1;
    let after = &value[at..];
    let trimmed = after.trim_start();
    let named = trimmed.get(..3).filter(|name| name.eq_ignore_ascii_case("url")).map(|_| trimmed[3..].trim_start());
    let url = named.and_then(|named| named.strip_prefix('=')).map_or(trimmed, str::trim_start);
    let quote = url.chars().next().filter(|first| matches!(first, '"' | '\''));
    let url = quote.map_or(url, |quote| &url[quote.len_utf8()..]);
    let begin = value.len() - url.len();
    let end = quote.and_then(|quote| url.find(quote)).unwrap_or(url.trim_end().len());
    let changed = address(rewriting, asked, &url[..end])?;
    Some(format!("{}{changed}{}", &value[..begin], &url[end..]))
}

/// A cookie whose path and domain are changed; its name and its value never are.
fn cookie(rewriting: &RouteRewriting, asked: Asked<'_>, cookie: &str) -> Option<String> {
    let (pair, attributes) = cookie.split_once(';')?;
    // These must name the root, whatever stands before it, or browsers do not take them.
    let is_of_host = ["__host-", "__http-host-"].iter().any(|prefix| {
        let start = pair.trim_start().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    });
    if is_of_host {
        return None;
    }
    let (mut changed, mut is_changed) = (pair.to_owned(), false);
    for attribute in attributes.split(';') {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (name, value) = (name.trim(), value.trim());
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let path = || rewriting.prefix.as_ref().and_then(|prefix| prefix.cookie_outward(value));
        if is("domain") && is_of_application(rewriting, asked, value) {
            is_changed = true;
        } else if is("path")
            && value.starts_with('/')
            && let Some(path) = path()
        {
            is_changed = true;
            changed.push_str("; Path=");
            changed.push_str(&path);
        } else {
            changed.push(';');
            changed.push_str(attribute);
        }
    }
    is_changed.then_some(changed)
}

/// Whether a cookie's domain is one that the application is in by its own name, and not by the one that the client knows:
/// browsers would not take the cookie. Without its domain it is one of the asked host alone, which is the least.
fn is_of_application(rewriting: &RouteRewriting, asked: Asked<'_>, domain: &str) -> bool {
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let is_in = |authority: &str| {
        let host = host_and_port(authority).map_or("", |(host, _)| host);
        let begin = host.len().checked_sub(domain.len());
        let (before, end) = begin.and_then(|at| host.split_at_checked(at)).unwrap_or((".", ""));
        end.eq_ignore_ascii_case(domain) && (before.is_empty() || before.ends_with('.'))
    };
    let own = rewriting.host.as_ref().and_then(text).into_iter().chain(asked.servers.iter().filter_map(tcp_address));
    !domain.is_empty() && !is_in(asked.authority) && { own }.any(is_in)
}

#[cfg(test)]
mod tests;
