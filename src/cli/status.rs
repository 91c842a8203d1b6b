//! `vestibule status`: how a running gateway is.

use std::io::{self, Write};

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::operator::Gateway;
use crate::cli::print;
use crate::cli::table::{aligned, counted, moment, plain, span, text};

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
    let (refused, failed) = (&status["configuration_refused"], &status["store_failed"]);
    let note =
        |trouble: &Value, words: &str| if trouble.is_null() { String::new() } else { format!("{words}, see below") };
    let unwritable = if failed["written_again_since"].is_null() {
        ": CANNOT BE WRITTEN TO"
    } else {
        ": could not be written to until a moment ago"
    };
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![
        row("vestibule", format!("{}, {ready}", text(&status["version"]))),
        row("running", format!("{}, since {}", span(&status["uptime_seconds"]), moment(&status["started_at"]))),
        row(
            "configuration",
            format!("version {}, loaded {}", text(&snapshot["version"]), moment(&snapshot["loaded_at"]))
                + &note(refused, "; what is on disk was REFUSED"),
        ),
        row(
            "sessions",
            format!(
                "{} active, {}",
                number(&sessions["active"]),
                counted(number(&sessions["open_streams"]), "open stream")
            ),
        ),
        row("store", store + &note(failed, unwritable)),
    ];
    let keys: Vec<&str> = status["takes_restart"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        let keys = plain(&keys.join(", "));
        rows.insert(3, row("", format!("what is on disk has changed in what takes a restart: {keys}")));
    }
    let itself = aligned(&rows);
    let troubles = of_refused(refused) + &of_failed(failed);
    format!("{itself}\n{troubles}\n{}", of_upstreams(status))
}

/// What is wrong with the configuration on disk, in lines of their own.
fn of_refused(refused: &Value) -> String {
    if refused.is_null() {
        return String::new();
    }
    let lines = refused["reason"].as_str().unwrap_or_default().lines();
    let words: String = lines.map(|line| format!("    {}\n", plain(line)).replace("    \n", "\n")).collect();
    format!(
        "\nThe configuration on disk has been refused since {} ({} ago), and the one of before is still in force:\n{words}{}\n",
        moment(&refused["since"]),
        span(&refused["since_seconds"]),
        text(&refused["help"])
    )
}

/// What is wrong with the session store, in lines of their own.
fn of_failed(failed: &Value) -> String {
    if failed.is_null() {
        return String::new();
    }
    let since = &failed["written_again_since"];
    let again = if since.is_null() {
        String::new()
    } else {
        format!(" It can be written to again since {}, and that has yet to hold.", moment(since))
    };
    format!(
        "\n{}\nThis has been so since {} ({} ago).{again} {}\n",
        text(&failed["reason"]),
        moment(&failed["since"]),
        span(&failed["since_seconds"]),
        text(&failed["help"])
    )
}

fn of_upstreams(status: &Value) -> String {
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
    aligned(&rows)
}
