//! `[[upstream]]`: the applications.

use crate::config::server::positive;
use crate::reader::{Located, Section};
use crate::upstream::pool::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_FIRST_BYTE_TIMEOUT, DEFAULT_MAX_CONNECTIONS, UpstreamSettings,
};

/// Reads every `[[upstream]]`, each with where its name is written. One that has a mistake in it is there as well, so that
/// no route seems to lead nowhere; one whose name could not be read has an empty one.
pub(super) fn read(root: &Section<'_>) -> Vec<Located<UpstreamSettings>> {
    root.require("upstream", "[[upstream]]\nname = \"app\"\nservers = [\"http://127.0.0.1:3000\"]");
    let mut all: Vec<Located<UpstreamSettings>> = Vec::new();
    for section in root.sections("upstream") {
        let upstream = read_one(&section);
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
    let settings = UpstreamSettings {
        name: name.value.into(),
        servers: servers.into_iter().map(|server| server.value).collect(),
        connect_timeout: positive(section, "connect_timeout", DEFAULT_CONNECT_TIMEOUT),
        first_byte_timeout: positive(section, "first_byte_timeout", DEFAULT_FIRST_BYTE_TIMEOUT),
        max_connections: section.integer("max_connections", 1..=1_000_000).unwrap_or(DEFAULT_MAX_CONNECTIONS),
    };
    Located { value: settings, span: name.span }
}

/// The `host:port` of a server's URL.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn server(text: &str) -> Result<Box<str>, String> {
    let wrong =
        |why: &str| format!("\"{text}\" {why}; write a scheme, a host and a port, like \"http://127.0.0.1:3000\"");
    let uri: http::Uri = text.parse().map_err(|_| wrong("is not a server's URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(format!(
                "\"{text}\" asks for TLS to the server, which does not exist yet; write an http:// URL"
            ));
        }
        Some(_) | None => return Err(wrong("does not begin with http://")),
    }
    let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("has a user name in it, which is not used"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("has a path, which is not used: requests keep their own"));
    }
    match authority.port_u16() {
        Some(0) => Err(wrong("has no port that can be reached")),
        Some(_) => Ok(authority.as_str().into()),
        None if authority.as_str().ends_with(':') => Err(wrong("has no port")),
        None => Ok(format!("{authority}:80").into()),
    }
}
