//! Secrets: the configuration says where one is, never what it is.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::secret::{self, Secret};
use crate::base::shell;

/// The largest file a secret is read from, in bytes: 64 KiB, more than any key.
pub(super) const MAX_SECRET_BYTES: usize = 64 << 10;

/// What to write for a secret.
pub(super) const HOW: &str =
    "write \"env:NAME\", \"file:PATH\" or \"credential:NAME\" (systemd's), which say where the secret is";

/// Where systemd says that a service's credentials are (systemd.exec, section "Credentials").
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Why there is no secret. Nothing in it repeats a value that may be one.
pub(super) enum Refusal {
    /// The text is no reference. It may be the secret itself, and must not be shown.
    NotAReference,
    /// The reference leads nowhere: a message and a help.
    Unresolved(String, String),
}

/// Follows `env:NAME`, `file:PATH` from `folder`, or `credential:NAME`. A line end at the end of the file is not a part of the secret.
pub(super) fn resolve(reference: &str, folder: &Path) -> Result<Secret<String>, Refusal> {
    let found = if let Some(name) = reference.strip_prefix("env:") {
        if !is_variable_name(name) {
            return Err(Refusal::NotAReference);
        }
        from_environment(name)
    } else if let Some(path) = reference.strip_prefix("file:").filter(|path| !path.trim().is_empty()) {
        let path = folder.join(path);
        is_kept(&path, Path::new(CONTAINER_SECRETS)).and_then(|()| from_file(&path))
    } else if let Some(name) = reference.strip_prefix("credential:").filter(|name| is_credential_name(name)) {
        from_environment(CREDENTIALS)
            .map_err(|_| {
                let message = format!("there is no credential {name}: systemd has given none to this process");
                (message, format!("write LoadCredential={name}:PATH into the unit, or \"file:PATH\" here"))
            })
            .and_then(|folder| from_file(&Path::new(folder.expose()).join(name)))
    } else {
        return Err(Refusal::NotAReference);
    };
    found.map_err(|(message, help)| Refusal::Unresolved(message, help))
}

/// The file that a reference leads to, if it leads to one that may change while somebody runs.
pub(super) fn file_of(reference: &str, folder: &Path) -> Option<PathBuf> {
    reference.strip_prefix("file:").filter(|path| !path.trim().is_empty()).map(|path| folder.join(path))
}

fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// The only place of the program that reads its environment.
fn from_environment(name: &str) -> Result<Secret<String>, (String, String)> {
    let wrong =
        |what: &str| (format!("the environment variable {name} {what}"), "set it where the gateway starts".to_owned());
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Err(wrong("is empty")),
        Ok(value) => Ok(Secret::new(value)),
        Err(std::env::VarError::NotPresent) => Err(wrong("is not set")),
        Err(std::env::VarError::NotUnicode(_)) => Err(wrong("is not UTF-8 text")),
    }
}

/// Where container runtimes put secrets, as files that everybody in the container may read: there is nobody else in it.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// Refuses a file that others may read or change. systemd's credentials are in a folder that nobody else can enter, and
/// their modes are systemd's.
fn is_kept(path: &Path, container_secrets: &Path) -> Result<(), (String, String)> {
    if path.starts_with(container_secrets) {
        return Ok(());
    }
    // What cannot be read is said by whoever reads it.
    let Ok(about) = std::fs::metadata(path) else { return Ok(()) };
    if !about.is_file() || !secret::is_exposed(&about) {
        return Ok(());
    }
    let (shown, quoted) = (path.display(), shell::quoted(path));
    Err((
        format!(
            "the secret's file {shown} can be read or changed by others (mode {:04o})",
            about.permissions().mode() & 0o7777
        ),
        format!(
            "chmod 600 {quoted}, with the gateway's user as its owner; have a new one made if somebody has read it"
        ),
    ))
}

fn from_file(path: &Path) -> Result<Secret<String>, (String, String)> {
    let wrong = |what: String, help: &str| (format!("the secret's file {} {what}", path.display()), help.to_owned());
    // One allocation that is wiped, instead of several that are not.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    File::open(path).and_then(|file| file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(
        |error| wrong(format!("cannot be read: {error}"), "a path is meant from the configuration's folder"),
    )?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(wrong("is larger than 64 KiB".to_owned(), ""));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| wrong("is not UTF-8 text".to_owned(), "encode it, in Base64 for example"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err(wrong("is empty".to_owned(), "")) } else { Ok(Secret::new(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_not_read_it_but_where_there_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "secret").expect("a file");
        for (mode, is_good) in [(0o600, true), (0o400, true), (0o644, false), (0o602, false), (0o610, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(is_kept(&path, Path::new("/elsewhere")).is_ok(), is_good, "{mode:o}");
            assert_eq!(is_kept(&path, folder.path()), Ok(()), "{mode:o}");
        }
    }
}
