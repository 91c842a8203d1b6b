//! `vestibule reload`: has a running gateway read its configuration again, and says what came of it.

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::operator::Gateway;
use crate::cli::say;

/// Have a running gateway read its configuration again, and say what came of it
#[derive(Debug, Args)]
pub(super) struct ReloadCommand {
    #[command(flatten)]
    gateway: Gateway,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the gateway.
///
/// # Errors
/// A text for the terminal: what is wrong with the configuration, in the words of `check`, or why nobody could be asked.
pub(super) fn run(command: &ReloadCommand) -> Result<(), String> {
    let said = command.gateway.find()?.ask(Method::POST, "/reload")?.body;
    say(&if command.json { format!("{said:#}") } else { in_words(&said) })
}

/// What a gateway says that has read its configuration again.
fn in_words(said: &Value) -> String {
    let number = |key: &str| said.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut words = format!("read again, and in force (version {})", number("version"));
    if number("ended") + number("changed") > 0 {
        let (ended, changed) = (number("ended"), number("changed"));
        words += &format!("\nusers have changed: sessions ended: {ended}, with other rights: {changed}");
    }
    if number("unwritten") > 0 {
        let unwritten = number("unwritten");
        words += &format!(
            "\nthe session store cannot be written to: for {unwritten} sessions of users who have changed this holds until \
             a restart; reload again when it works"
        );
    }
    let keys = said.get("takes_restart").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        words += &format!("\nthese have changed, and take a restart: {}", keys.join(", "));
    }
    for said in ["too_few_files", "key_gone"].into_iter().filter_map(|key| said.get(key).and_then(Value::as_str)) {
        words += &format!("\n{said}");
    }
    words
}
