//! The users file: who may sign in with a password, and what they may do.
//!
//! ```toml
//! [[user]]
//! name = "alice"
//! password = "$argon2id$v=19$m=19456,t=2,p=1$…"   # made by `vestibule user add`
//! email = "alice@example.test"
//! roles = ["admin"]
//! groups = ["staff"]
//! disabled = false
//! ```

mod edit;
mod password;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::ops::Range;
use std::path::Path;

pub use edit::{EditError, add_user, edit_file, find_user, set_disabled, set_password, set_roles};
pub use password::{
    LANES, MAX_PASSWORD_BYTES, MEMORY_KIB, MIN_PASSWORD_CHARS, PasswordError, TIME, check_password, check_phc,
    dummy_phc, hash_password, verify_password,
};

use crate::base::shell;
use crate::reader::mistake::Mistakes;
use crate::reader::{Document, Section};
use crate::session::principal::{PasswordStamp, Principal};

/// The largest users file that is read, in bytes: 16 MiB, some fifty thousand users.
pub const MAX_USERS_BYTES: u64 = 16 << 20;

/// The longest name of a user, a role or a group, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// The longest address, in characters (RFC 5321 section 4.5.3.1.3, without the angle brackets).
pub const MAX_EMAIL_CHARS: usize = 254;

/// The most roles of one user, and the most groups: all of them travel in one header.
pub const MAX_ROLES: usize = 64;

/// A user, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What is typed into the login form, and what applications are told.
    pub name: String,
    /// The password's hash, a PHC string that [`check_phc`] accepts.
    pub password: String,
    /// An address, for applications that want one.
    pub email: Option<String>,
    /// What routes ask for.
    pub roles: Vec<String>,
    /// What applications are told beside the roles.
    pub groups: Vec<String>,
    /// Whether the user may not sign in for now.
    pub disabled: bool,
}

impl User {
    /// Who they are once they have signed in.
    pub fn principal(&self) -> Principal {
        let password = PasswordStamp::of(&self.password);
        Principal { password, ..Principal::new(&self.name, self.email.as_deref(), &self.groups, &self.roles) }
    }
}

/// The users of a file, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    list: Vec<User>,
    by_name: HashMap<String, usize>,
}

impl Users {
    /// Reads a users file.
    ///
    /// # Errors
    /// All that is wrong with it, or that it cannot be read. A missing file is an error. No password is in it.
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        read(file, &Document::load(file, MAX_USERS_BYTES, &how_to_make(file))?)
    }

    /// Reads the text of a users file; `file` only names it.
    ///
    /// # Errors
    /// As [`Users::load`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, Mistakes> {
        read(file, &Document::parse(file, text))
    }

    /// The user of exactly this name, disabled or not.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.by_name.get(name).and_then(|index| self.list.get(*index))
    }

    /// All users, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &User> {
        self.list.iter()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What to do when there is no such users file.
pub fn how_to_make(file: &Path) -> String {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let first = folder.map(|folder| format!("mkdir -p {} && ", shell::quoted(folder))).unwrap_or_default();
    format!("make it with: {first}vestibule user add NAME --users {} --roles admin", shell::quoted(file))
}

/// Whether `name` may be a user's. It travels in a header beside others, so it is made of visible ASCII characters other
/// than comma, semicolon and double quote.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn check_name(name: &str) -> Result<(), String> {
    check_word(name, "a user's name")
}

/// Whether `role` may be a role's name; as [`check_name`].
///
/// # Errors
/// A sentence that says what to write instead.
pub fn check_role(role: &str) -> Result<(), String> {
    check_word(role, "a role's name")
}

/// Whether `group` may be a group's name; as [`check_name`].
///
/// # Errors
/// A sentence that says what to write instead.
pub fn check_group(group: &str) -> Result<(), String> {
    check_word(group, "a group's name")
}

/// Whether `email` may be an address: the characters of [`check_name`], with one `@` that is neither first nor last.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn check_email(email: &str) -> Result<(), String> {
    let parts: Vec<&str> = email.split('@').collect();
    let whole = parts.len() == 2 && parts.iter().all(|part| !part.is_empty());
    if whole && email.len() <= MAX_EMAIL_CHARS && email.chars().all(is_header_safe) {
        return Ok(());
    }
    Err("this is not an email address as a header can carry it; write one like alice@example.test, in ASCII".to_owned())
}

fn check_word(word: &str, what: &str) -> Result<(), String> {
    if word.is_empty() {
        return Err(format!("{what} cannot be empty; write 1 to {MAX_NAME_CHARS} characters"));
    }
    if word.chars().count() > MAX_NAME_CHARS {
        return Err(format!("{what} can have at most {MAX_NAME_CHARS} characters"));
    }
    match word.chars().find(|char| !is_header_safe(*char)) {
        None => Ok(()),
        Some(char) => Err(format!(
            "{what} cannot contain {char:?}, because it travels in a header; write visible ASCII characters other than \
             comma, semicolon and double quote"
        )),
    }
}

const fn is_header_safe(char: char) -> bool {
    char.is_ascii_graphic() && !matches!(char, ',' | ';' | '"')
}

fn read(file: &Path, document: &Document) -> Result<Users, Mistakes> {
    document.conceal("user[]", "password", "set the password with \"vestibule user passwd\"");
    let mut users = Users::default();
    let mut places: Vec<Range<usize>> = Vec::new();
    for section in document.root().sections("user") {
        let (user, place) = read_one(file, &section);
        match users.by_name.entry(user.name.clone()) {
            MapEntry::Vacant(entry) => {
                entry.insert(users.list.len());
                users.list.push(user);
                places.push(place);
            }
            // Names that could not be read are not the same one.
            MapEntry::Occupied(_) if user.name.is_empty() => {}
            MapEntry::Occupied(first) => {
                let line = places.get(*first.get()).map(|place| document.line(place)).unwrap_or_default();
                let message = format!("the user \"{}\" is there already, in line {line}", user.name);
                section.mistake(&place, message, "keep one of them");
            }
        }
    }
    document.finish()?;
    Ok(users)
}

/// A user, as far as it can be read, and where the name is written; a name that cannot be read is empty.
fn read_one(file: &Path, section: &Section<'_>) -> (User, Range<usize>) {
    section.require("name", "name = \"alice\"");
    let checked = |check: Check| move |text: &str| check(text).map(|()| text.to_owned());
    let name = section.parsed_located("name", checked(check_name));
    let shown = name.as_ref().map_or_else(|| "NAME".to_owned(), |name| shell::quoted(&name.value));
    let set = format!("set the password with: vestibule user passwd {shown} --users {}", shell::quoted(file));
    let because = |message: String| message.rsplit_once("; ").map_or(message.clone(), |(why, _)| why.to_owned());
    let password = section.concealed("password", &set, |text| checked(check_phc)(text).map_err(because));
    let user = User {
        name: name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
        password: password.unwrap_or_default(),
        email: section.parsed("email", checked(check_email)),
        roles: words(section, "roles", check_role),
        groups: words(section, "groups", check_group),
        disabled: section.bool("disabled").unwrap_or_default(),
    };
    (user, name.map(|name| name.span).unwrap_or_default())
}

type Check = fn(&str) -> Result<(), String>;

fn words(section: &Section<'_>, key: &str, check: Check) -> Vec<String> {
    let list = section.parsed_list(key, |text| check(text).map(|()| text.to_owned())).unwrap_or_default();
    let count = list.len();
    if count > MAX_ROLES {
        let message = format!("there are {count} of them, and there can be {MAX_ROLES}");
        section.mistake_at(key, message, "leave some out: they all travel in one header");
    }
    let mut words: Vec<String> = Vec::new();
    for word in list {
        if words.contains(&word.value) {
            section.mistake(&word.span, format!("\"{}\" is there twice", word.value), "keep one of them");
        } else {
            words.push(word.value);
        }
    }
    words
}
