//! `vestibule status`: how a running gateway is.

use std::io::{self, Write};

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::operator::Gateway;
use crate::cli::print;
use crate::cli::table::{aligned, counted, moment, span, text};

/// Show how a running gateway is: itself, its configuration, its sessions and its applications
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    gateway: Gateway,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
///
/// # Errors
/// A text for the terminal.
pub(super) fn run(command: &StatusCommand) -> Result<(), String> {
    let status = command.gateway.find()?.ask(Method::GET, "/status")?.body;
    let shown = if command.json { format!("{status:#}") } else { for_people(&status) };
    print(&mut io::stdout().lock() as &mut dyn Write, &shown)
}

fn for_people(status: &Value) -> String {
    let (snapshot, sessions) = (&status["snapshot"], &status["sessions"]);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let store = match text(&status["store"]) {
        kind if kind == "memory" => "memory: a restart signs everybody out".to_owned(),
        kind => kind,
    };
    let ready = if status["ready"] == true { "ready" } else { "not ready: it takes no new connections" };
    let row = |name: &str, value: String| [name.to_owned(), value];
    let itself = aligned(&[
        row("vestibule", format!("{}, {ready}", text(&status["version"]))),
        row("running", format!("{}, since {}", span(&status["uptime_seconds"]), moment(&status["started_at"]))),
        row(
            "configuration",
            format!("version {}, loaded {}", text(&snapshot["version"]), moment(&snapshot["loaded_at"])),
        ),
        row(
            "sessions",
            format!(
                "{} active, {}",
                number(&sessions["active"]),
                counted(number(&sessions["open_streams"]), "open stream")
            ),
        ),
        row("store", store),
    ]);
    let heads = ["UPSTREAM", "CONNECTIONS", "SERVER", "STATE", "FOR", "WHY"].map(str::to_owned);
    let mut rows = vec![heads];
    for upstream in status["upstreams"].as_array().into_iter().flatten() {
        for (at, server) in upstream["servers"].as_array().into_iter().flatten().enumerate() {
            let once = |shown: String| if at == 0 { shown } else { String::new() };
            let connections = format!("{} of {}", text(&upstream["connections"]), text(&upstream["max_connections"]));
            let state = match (server["healthy"] == true, server["checked"] == true) {
                (true, true) => "healthy",
                (true, false) => "not checked",
                (false, _) => "UNHEALTHY",
            };
            rows.push([
                once(text(&upstream["name"])),
                once(connections),
                text(&server["server"]),
                state.to_owned(),
                span(&server["since_seconds"]),
                text(&server["reason"]),
            ]);
        }
    }
    format!("{itself}\n\n{}", aligned(&rows))
}
