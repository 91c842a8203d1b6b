//! `vestibule reload`: has a running gateway read its configuration again, and says what came of it.

use http::Method;
use serde_json::Value;

use crate::cli::operator::Gateway;

/// Asks the gateway.
///
/// # Errors
/// A text for the terminal: what is wrong with the configuration, in the words of `check`, or why nobody could be asked.
pub(super) fn run(gateway: &Gateway) -> Result<(), String> {
    println!("{}", in_words(&gateway.find()?.ask(Method::POST, "/reload")?.body));
    Ok(())
}

/// What a gateway says that has read its configuration again.
fn in_words(said: &Value) -> String {
    let number = |key: &str| said.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut words = format!("read again, and in force (version {})", number("version"));
    if number("ended") + number("changed") > 0 {
        let (ended, changed) = (number("ended"), number("changed"));
        words += &format!("\nusers have changed: sessions ended: {ended}, with other rights: {changed}");
    }
    let keys = said.get("takes_restart").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        words += &format!("\nthese have changed, and take a restart: {}", keys.join(", "));
    }
    words
}
