//! `[keys]`: what cookies and stored sessions are sealed under.

use crate::base::secret::Secret;
use crate::crypto::keyring::{MAX_KEYS, parse_keys};
use crate::reader::Section;

/// The keys, the active one first.
pub type Keys = Vec<Secret<[u8; 32]>>;

/// Reads `[keys]`; `None` when none are configured, and the gateway makes its own.
pub(super) fn read(root: &Section<'_>) -> Option<Keys> {
    let section = root.section_or_empty("keys");
    let mut keys = Keys::new();
    for secret in section.secrets("secrets")? {
        match parse_keys(secret.value.expose()) {
            Ok(read) => keys.extend(read),
            Err(error) => section.mistake(&secret.span, error, "write one key a line, the active one first"),
        }
    }
    if section.is_written_empty("secrets") {
        section.mistake_at("secrets", "there is no key", "write secrets = [\"file:PATH\"], or remove this table");
    }
    if keys.len() > MAX_KEYS {
        section.mistake_at("secrets", format!("there are more than {MAX_KEYS} keys"), "take the oldest away");
    }
    Some(keys)
}
