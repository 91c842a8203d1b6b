//! `[upstream.health]`: how servers are asked whether they are well.

use http::uri::PathAndQuery;

use crate::config::rewriting::host;
use crate::config::server::positive;
use crate::reader::Section;
use crate::upstream::settings::{
    DEFAULT_HEALTH_EVERY, DEFAULT_HEALTH_TIMEOUT, DEFAULT_HEALTHY_AFTER, DEFAULT_UNHEALTHY_AFTER, HealthSettings,
};

/// The most checks in a row that change what is believed of a server: at the default pace, nearly three hours.
const MOST_IN_A_ROW: u32 = 1000;

/// Reads how the servers of an upstream are asked; `None` when they are not.
pub(super) fn read(upstream: &Section<'_>) -> Option<HealthSettings> {
    let section = upstream.section("health")?;
    section.require("path", r#"path = "/health""#);
    let path = section.parsed("path", path);
    let in_a_row = |key, default| section.integer(key, 1..=MOST_IN_A_ROW).unwrap_or(default);
    let (every, timeout) =
        (positive(&section, "every", DEFAULT_HEALTH_EVERY), positive(&section, "timeout", DEFAULT_HEALTH_TIMEOUT));
    let unhealthy_after = in_a_row("unhealthy_after", DEFAULT_UNHEALTHY_AFTER);
    let healthy_after = in_a_row("healthy_after", DEFAULT_HEALTHY_AFTER);
    let host = section.parsed("host", host);
    Some(HealthSettings { path: path?, every, timeout, unhealthy_after, healthy_after, host })
}

fn path(text: &str) -> Result<PathAndQuery, String> {
    let wrong = || format!("\"{text}\" is not a path; write one like \"/health\"");
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}
