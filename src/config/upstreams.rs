//! `[[upstream]]`: the applications.

use crate::config::health;
use crate::config::server::{ServerPlan, positive};
use crate::reader::{Located, Section};
use crate::upstream::settings::{
    Balance, DEFAULT_CONNECT_TIMEOUT, DEFAULT_FIRST_BYTE_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_CONNECTIONS,
    DEFAULT_MAX_WAITING, DEFAULT_RESOLVE_EVERY, Protocol, ServerAddress, TlsSettings, UpstreamSettings,
};
use crate::upstream::tls::{self, HTTP_1};

/// Reads every `[[upstream]]`, each with where its name is written. One that has a mistake in it is there as well, so that
/// no route seems to lead nowhere; one whose name could not be read has an empty one.
pub(super) fn read(root: &Section<'_>, plan: &ServerPlan) -> Vec<Located<UpstreamSettings>> {
    root.require("upstream", "[[upstream]]\nname = \"app\"\nservers = [\"http://127.0.0.1:3000\"]");
    let mut all: Vec<Located<UpstreamSettings>> = Vec::new();
    for section in root.sections("upstream") {
        let upstream = read_one(&section);
        let is_written = root.section_or_empty("server").has("workers");
        // A number that is none has been told of.
        if plan.workers.is_some() || !is_written {
            check_connections(&section, &upstream.value, plan.workers_here(), is_written);
        }
        let name = &upstream.value.name;
        if !name.is_empty() && all.iter().any(|other| other.value.name == *name) {
            let message = format!("there are two upstreams named \"{name}\"");
            section.mistake(&upstream.span, message, "give each its own name");
        }
        all.push(upstream);
    }
    all
}

fn read_one(section: &Section<'_>) -> Located<UpstreamSettings> {
    section.require("name", r#"name = "app""#).require("servers", r#"servers = ["http://127.0.0.1:3000"]"#);
    let name = section.parsed_located("name", |text| {
        if text.is_empty() {
            Err("the name is empty; write a word like \"app\"".to_owned())
        } else {
            Ok(text.to_owned())
        }
    });
    let servers = section.parsed_list("servers", server).unwrap_or_default();
    if section.is_written_empty("servers") {
        section.mistake_at("servers", "there is no server", "write servers = [\"http://127.0.0.1:3000\"]");
    }
    let name = name.unwrap_or(Located { value: String::new(), span: 0..0 });
    let choices =
        [("round_robin", Balance::RoundRobin), ("least_requests", Balance::LeastRequests), ("sticky", Balance::Sticky)];
    let protocols = [("http/1.1", Protocol::Http1), ("h2", Protocol::Http2)];
    let settings = UpstreamSettings {
        name: name.value.into(),
        servers: servers.into_iter().map(|server| server.value).collect(),
        balance: section.one_of("balance", &choices).unwrap_or(Balance::RoundRobin),
        protocol: section.one_of("protocol", &protocols).unwrap_or(Protocol::Http1),
        tls: tls_of(section),
        connect_timeout: positive(section, "connect_timeout", DEFAULT_CONNECT_TIMEOUT),
        first_byte_timeout: positive(section, "first_byte_timeout", DEFAULT_FIRST_BYTE_TIMEOUT),
        idle_timeout: positive(section, "idle_timeout", DEFAULT_IDLE_TIMEOUT),
        resolve_every: positive(section, "resolve_every", DEFAULT_RESOLVE_EVERY),
        max_connections: section.integer("max_connections", 1..=1_000_000).unwrap_or(DEFAULT_MAX_CONNECTIONS),
        max_waiting: section.integer("max_waiting", 0..=1_000_000).unwrap_or(DEFAULT_MAX_WAITING),
        health: health::read(section),
    };
    check_tls(section, &settings);
    Located { value: settings, span: name.span }
}

/// Looks whether every worker can have a connection of its own to each server, where those carry many requests: it gives
/// none back while anything goes on there, and who has none waits in vain.
fn check_connections(section: &Section<'_>, settings: &UpstreamSettings, workers: usize, is_written: bool) {
    let (servers, most) = (settings.servers.len(), settings.max_connections);
    let needed = workers * servers;
    if settings.protocol != Protocol::Http2 || most >= needed {
        return;
    }
    let connections = if most == 1 { "1 connection does".to_owned() } else { format!("{most} connections do") };
    let here = if is_written { "" } else { " of this machine" };
    let each = if workers == 1 {
        format!("the one worker{here} needs")
    } else {
        format!("of the {workers} workers{here}, each needs")
    };
    let of_servers = if servers == 1 { String::new() } else { format!(" to each of the {servers} servers") };
    let message = format!("{connections} not suffice: {each} one of its own for HTTP/2{of_servers}");
    let key = if section.has("max_connections") { "" } else { "max_connections = " };
    let fewer = match most / servers {
        0 => String::new(),
        fewer => format!(", or workers = {fewer} in [server]"),
    };
    section.mistake_at("max_connections", message, format!("write {key}{needed} or more{fewer}"));
}

/// How TLS is spoken to the servers.
fn tls_of(section: &Section<'_>) -> TlsSettings {
    let server_name = section.parsed("server_name", |text| {
        let is_name = rustls::pki_types::ServerName::try_from(text).is_ok();
        if is_name { Ok(text.into()) } else { Err(format!("\"{text}\" is not the name of a host")) }
    });
    let (cert, key) = (section.path_to("client_cert"), section.path_to("client_key"));
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (Some(_), None) if !section.has("client_key") => {
            section.mistake_at(
                "client_cert",
                "there is no \"client_key\" to it",
                "add the path of its private key, PEM",
            );
            None
        }
        (None, Some(_)) if !section.has("client_cert") => {
            section.mistake_at(
                "client_key",
                "there is no \"client_cert\" to it",
                "add the path of its certificate, PEM",
            );
            None
        }
        _ => None,
    };
    TlsSettings { ca: section.path_to("ca"), server_name, client }
}

/// Looks whether TLS can be spoken as configured, and is spoken at all.
fn check_tls(section: &Section<'_>, settings: &UpstreamSettings) {
    if !settings.has_tls() {
        for key in ["ca", "server_name", "client_cert", "client_key"] {
            if section.has(key) && section.document().is_whole() {
                let help = "write https:// in \"servers\", or take this line away";
                section.mistake_at(key, "no server of this upstream is spoken to by TLS", help);
            }
        }
    } else if settings.tls.ca.is_none() {
        if !section.has("ca") {
            let help = "add ca = \"ca.pem\", the file of the certificates that are believed, or \
                        ca = \"/etc/ssl/certs/ca-certificates.crt\" for those that this machine believes";
            section.mistake_at("servers", "a server with https:// needs a \"ca\"", help);
        }
    } else {
        settings.tls.files().for_each(|file| section.document().reads(file));
        if let Err(fault) = tls::connector(&settings.tls, HTTP_1) {
            section.mistake_at(fault.key, fault.message, "write the path of a PEM file");
        }
    }
}

/// Where a server is, from its URL.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn server(text: &str) -> Result<ServerAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.starts_with('/') {
            return Ok(ServerAddress::Unix(path.into()));
        }
        return Err(format!("\"{text}\" names no socket; write its whole path, like \"unix:/run/app.sock\""));
    }
    let wrong =
        |why: &str| format!("\"{text}\" {why}; write a scheme, a host and a port, like \"http://127.0.0.1:3000\"");
    let uri: http::Uri = text.parse().map_err(|_| wrong("is not a server's URL"))?;
    let is_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => return Err(wrong("does not begin with http://, https:// or unix:")),
    };
    let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("has a user name in it, which is not used"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("has a path, which is not used: requests keep their own"));
    }
    let address: Box<str> = match authority.port_u16() {
        Some(0) => return Err(wrong("has no port that can be reached")),
        Some(_) => authority.as_str().into(),
        None if authority.as_str().ends_with(':') => return Err(wrong("has no port")),
        None => format!("{authority}:{}", if is_tls { 443 } else { 80 }).into(),
    };
    Ok(if is_tls { ServerAddress::Tls(address) } else { ServerAddress::Tcp(address) })
}
