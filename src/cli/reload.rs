//! `vestibule reload`: has a running gateway read its configuration again, and says what came of it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::config::Plan;

/// Asks the gateway that `config` is of.
///
/// # Errors
/// A text for the terminal: what is wrong with the configuration, in the words of `check`, or why nobody could be asked.
pub(super) fn run(config: &Path) -> Result<(), String> {
    let plan = Plan::load(config).map_err(|mistakes| mistakes.to_string())?;
    let socket = plan.admin.listen.ok_or_else(|| {
        let config = config.display();
        format!("{config} has no \"listen\" in [admin], so the gateway cannot be asked; send it SIGHUP instead")
    })?;
    let shown = socket.display();
    let failed = |error: std::io::Error| format!("no gateway answers at {shown}: {error}");
    let mut stream = UnixStream::connect(&socket).map_err(failed)?;
    stream.write_all(b"POST /reload HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let said: Value = serde_json::from_str(body).map_err(|_| format!("{shown} does not answer as a gateway does"))?;
    if let Some(error) = said.get("error").and_then(Value::as_str) {
        return Err(error.to_owned());
    }
    println!("{}", in_words(config, &said));
    Ok(())
}

/// What a gateway says that has read its configuration again.
fn in_words(config: &Path, said: &Value) -> String {
    let number = |key: &str| said.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut words = format!("{}: in force (version {})", config.display(), number("version"));
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
