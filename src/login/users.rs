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
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

pub use edit::{EditError, add_user, edit_file, set_disabled, set_password};
pub use password::{
    LANES, MAX_PASSWORD_BYTES, MEMORY_KIB, MIN_PASSWORD_CHARS, PasswordError, TIME, check_password, check_phc,
    dummy_phc, hash_password, verify_password,
};

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

/// The users of a file, by name.
#[derive(Clone, Debug, Default)]
pub struct Users {
    list: Vec<User>,
    by_name: HashMap<String, usize>,
}

/// What is wrong with a users file: all of it at once, as far as it is TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersError {
    /// The file as it was named.
    pub file: PathBuf,
    /// What is wrong, in the order of the places.
    pub problems: Vec<UsersProblem>,
}

/// One thing that is wrong with a users file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersProblem {
    /// Line and column, counted from 1, the column in characters; `None` when it is about the file as a whole.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what to write instead. Never repeats a password.
    pub message: String,
}

impl Users {
    /// Reads a users file.
    ///
    /// # Errors
    /// All that is wrong with it, or that it cannot be read. A missing file is an error.
    pub fn load(file: &Path) -> Result<Self, UsersError> {
        let whole = |message: String| UsersError::whole_file(file, message);
        let text = read_bounded(file).map_err(|error| whole(format!("the file cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    /// Reads the text of a users file; `file` only names it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, UsersError> {
        let mut problems = Vec::new();
        let mut note = |span: Range<usize>, message: String| {
            problems.push(UsersProblem { position: Some(position(text, span.start)), message });
        };
        let mut users = Self::default();
        match toml::from_str::<RawFile>(text) {
            Err(error) => note(error.span().unwrap_or(0..0), error.message().to_owned()),
            Ok(raw) => {
                for raw in raw.user {
                    let span = raw.name.span();
                    let user = raw.check(&mut note);
                    if let Some(first) = users.by_name.insert(user.name.clone(), users.list.len()) {
                        note(span, format!("there is a user \"{}\" already; keep one of them", user.name));
                        users.by_name.insert(user.name, first);
                    } else {
                        users.list.push(user);
                    }
                }
            }
        }
        problems.sort_by_key(|problem| problem.position);
        if problems.is_empty() { Ok(users) } else { Err(UsersError { file: file.to_owned(), problems }) }
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

impl UsersError {
    fn whole_file(file: &Path, message: String) -> Self {
        Self { file: file.to_owned(), problems: vec![UsersProblem { position: None, message }] }
    }
}

impl fmt::Display for UsersError {
    /// A line for each problem: `users.toml:3:8: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match problem.position {
                Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file.display(), problem.message)?,
                None => write!(f, "{}: {}", self.file.display(), problem.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for UsersError {}

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    user: Vec<RawUser>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    name: Spanned<String>,
    password: Spanned<String>,
    email: Option<Spanned<String>>,
    roles: Option<Spanned<Vec<Spanned<String>>>>,
    groups: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    disabled: bool,
}

impl RawUser {
    fn check(self, note: &mut impl FnMut(Range<usize>, String)) -> User {
        let mut take = |text: Spanned<String>, check: Check| {
            if let Err(message) = check(text.get_ref()) {
                note(text.span(), message);
            }
            text.into_inner()
        };
        let name = take(self.name, check_name);
        let password = take(self.password, check_phc);
        let email = self.email.map(|email| take(email, check_email));
        let roles = take_all(self.roles, check_role, note);
        let groups = take_all(self.groups, check_group, note);
        User { name, password, email, roles, groups, disabled: self.disabled }
    }
}

type Check = fn(&str) -> Result<(), String>;

fn take_all(
    list: Option<Spanned<Vec<Spanned<String>>>>,
    check: Check,
    note: &mut impl FnMut(Range<usize>, String),
) -> Vec<String> {
    let Some(list) = list else { return Vec::new() };
    if list.get_ref().len() > MAX_ROLES {
        note(list.span(), format!("there can be at most {MAX_ROLES} of them; they all travel in one header"));
    }
    let mut words: Vec<String> = Vec::new();
    for word in list.into_inner() {
        if let Err(message) = check(word.get_ref()) {
            note(word.span(), message);
        } else if words.contains(word.get_ref()) {
            note(word.span(), format!("\"{}\" is there twice; keep one of them", word.get_ref()));
        } else {
            words.push(word.into_inner());
        }
    }
    words
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

/// Line and column of a byte offset, counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
