//! Changes to a users file that leave everything else in it as it was: order, comments, spacing.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::{MAX_USERS_BYTES, User, Users};
use crate::reader::mistake::Mistakes;

/// Why a users file was not changed. It is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file is wrong, and the change does not mend it; or the change would make it wrong.
    #[error(transparent)]
    Users(#[from] Mistakes),
    /// A user of this name is there already.
    #[error("there is a user \"{0}\" already; \"vestibule user passwd\" changes the password")]
    Exists(String),
    /// There is no such user.
    #[error("there is no user \"{name}\"{}", nearest.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// A user of a similar name.
        nearest: Option<String>,
    },
    /// The users are not written as `[[user]]` tables.
    #[error(
        "the users are not written as [[user]] tables; write each of them so before editing the file with this command"
    )]
    Form,
    /// The file system refused.
    #[error("{path} cannot be {verb}: {source}", path = path.display())]
    File {
        /// What was tried: `read`, `locked`, `written`.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Adds a user at the end.
///
/// # Errors
/// [`EditError::Exists`] and [`EditError::Form`].
pub fn add_user(document: &mut DocumentMut, user: &User) -> Result<(), EditError> {
    let first =
        document.as_table().is_empty() && document.trailing().as_str().is_none_or(|text| text.trim().is_empty());
    let users = document.entry("user").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let users = users.as_array_of_tables_mut().ok_or(EditError::Form)?;
    if users.iter().any(|table| is_named(table, &user.name)) {
        return Err(EditError::Exists(user.name.clone()));
    }
    let mut table = Table::new();
    table.insert("name", value(&user.name));
    table.insert("password", value(&user.password));
    if let Some(email) = &user.email {
        table.insert("email", value(email));
    }
    for (key, words) in [("roles", &user.roles), ("groups", &user.groups)] {
        if !words.is_empty() {
            table.insert(key, value(words.iter().collect::<Array>()));
        }
    }
    if user.disabled {
        table.insert("disabled", value(true));
    }
    if !first {
        table.decor_mut().set_prefix("\n");
    }
    users.push(table);
    Ok(())
}

/// Sets a user's roles.
///
/// # Errors
/// [`EditError::Unknown`] and [`EditError::Form`].
pub fn set_roles(document: &mut DocumentMut, name: &str, roles: &[String]) -> Result<(), EditError> {
    let table = find(document, name)?;
    if roles.is_empty() {
        table.remove("roles");
    } else {
        set(table, "roles", roles.iter().collect::<Array>().into());
    }
    Ok(())
}

/// Sets a user's hash; `phc` comes from [`super::hash_password`].
///
/// # Errors
/// [`EditError::Unknown`] and [`EditError::Form`].
pub fn set_password(document: &mut DocumentMut, name: &str, phc: &str) -> Result<(), EditError> {
    set(find(document, name)?, "password", phc.into());
    Ok(())
}

/// Lets a user sign in no more, or again.
///
/// # Errors
/// [`EditError::Unknown`] and [`EditError::Form`].
pub fn set_disabled(document: &mut DocumentMut, name: &str, disabled: bool) -> Result<(), EditError> {
    let table = find(document, name)?;
    if disabled || table.contains_key("disabled") {
        set(table, "disabled", disabled.into());
    }
    Ok(())
}

/// Reads `file`, has `edit` change it, and writes it whole or not at all; creates it when it is absent.
///
/// Only one process at a time does so: the others wait for the lock on a file beside it (`.users.toml.lock`), which stays,
/// because removing it would let two in. A new file is for its owner alone (mode 0600); a present one keeps its owner and
/// its mode. A symbolic link is followed. What `edit` makes of a file is checked before it is written.
///
/// # Errors
/// What `edit` returns, and [`EditError::Users`] and [`EditError::File`].
pub fn edit_file<T>(file: &Path, edit: impl FnOnce(&mut DocumentMut) -> Result<T, EditError>) -> Result<T, EditError> {
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let failed = |verb| move |source| EditError::File { verb, path: file.to_owned(), source };
    let lock_path = beside(&target, "lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let locked = lock.and_then(|lock| lock.lock().map(|()| lock));
    let _lock = locked.map_err(|source| EditError::File { verb: "locked", path: lock_path, source })?;
    let text = match read_bounded(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed("read")(error)),
    };
    let mut document = parse(file, &text)?;
    let result = edit(&mut document)?;
    let changed = document.to_string();
    if let Err(after) = Users::parse(file, &changed) {
        // What was wrong before is told as it is in the file.
        return Err(Users::parse(file, &text).err().unwrap_or(after).into());
    }
    write_whole(&target, changed.as_bytes()).map_err(failed("written"))?;
    Ok(result)
}

/// Whether `file` has a user of this name, whatever else is wrong with it.
///
/// # Errors
/// [`EditError::Unknown`], [`EditError::Form`], and when the file cannot be read.
pub fn find_user(file: &Path, name: &str) -> Result<(), EditError> {
    if !file.exists() {
        // It says how to make one.
        Users::load(file)?;
    }
    let failed = |source| EditError::File { verb: "read", path: file.to_owned(), source };
    find(&mut parse(file, &read_bounded(file).map_err(failed)?)?, name).map(drop)
}

fn parse(file: &Path, text: &str) -> Result<DocumentMut, EditError> {
    let wrong = || Users::parse(file, text).err().map_or(EditError::Form, EditError::Users);
    text.parse().map_err(|_| wrong())
}

/// Reads a file of at most [`MAX_USERS_BYTES`].
fn read_bounded(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_USERS_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_USERS_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(text)
}

/// Writes a file so that there is, at every moment and after a power cut, either the old or the new one.
fn write_whole(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(target, "new");
    // We hold the lock, so one that is there was left by somebody who is gone.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = write_temporary(&temporary, target, bytes).and_then(|()| fs::rename(&temporary, target));
    if let Err(error) = written {
        // Whether this succeeds or not, the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder(target))?.sync_all()
}

fn write_temporary(temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(temporary)?;
    if let Ok(present) = fs::metadata(target) {
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (present.uid(), present.gid()) {
            // Otherwise the gateway, which runs as somebody else than its administrator, could not read it any more.
            fchown(&file, Some(present.uid()), Some(present.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(present.mode() & 0o777))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// `.users.toml.lock` for `users.toml`.
fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or(target.as_os_str()));
    name.push(".");
    name.push(ending);
    folder(target).join(name)
}

fn folder(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_named(table: &Table, name: &str) -> bool {
    name_of(table) == Some(name)
}

fn name_of(table: &Table) -> Option<&str> {
    table.get("name").and_then(Item::as_str)
}

fn find<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut Table, EditError> {
    let unknown = |nearest| EditError::Unknown { name: name.to_owned(), nearest };
    let users =
        document.get_mut("user").ok_or_else(|| unknown(None))?.as_array_of_tables_mut().ok_or(EditError::Form)?;
    if !users.iter().any(|table| is_named(table, name)) {
        return Err(unknown(nearest(name, users.iter().filter_map(name_of))));
    }
    users.iter_mut().find(|table| is_named(table, name)).ok_or_else(|| unknown(None))
}

/// The name that is at most two slips of the fingers away, one for a short name.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let allowed = if name.len() < 6 { 1 } else { 2 };
    let scored = names.map(|other| (strsim::damerau_levenshtein(name, other), other));
    let best = scored.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance);
    best.map(|(_, other)| other.to_owned())
}

/// Sets a value, and keeps the comment behind the one that was there.
fn set(table: &mut Table, key: &str, mut new: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}
