//! Commands that messages propose, so that they can be pasted.

use std::ffi::OsStr;

/// A path or a word as a shell takes it: in quotes if it needs them.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let text = word.as_ref().to_string_lossy().into_owned();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+@%:,=".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_a_shell_would_read() {
        for (path, expected) in [
            ("/run/vestibule", "/run/vestibule"),
            ("users.toml", "users.toml"),
            ("/srv/My Apps/x", "'/srv/My Apps/x'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("~/x", "'~/x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(path), expected);
        }
    }
}
