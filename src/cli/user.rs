//! `vestibule user`: the users file, edited by a command instead of by hand.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::base::place;
use crate::base::random::Random;
use crate::base::shell;
use crate::cli::print;
use crate::cli::table::aligned;
use crate::login::users::{
    EditError, MAX_PASSWORD_BYTES, User, Users, add_user, check_email, check_group, check_name, check_password,
    check_role, edit_file, find_user, hash_password, set_disabled, set_password, set_roles,
};

/// Manage the people who sign in with a password
///
/// They are kept in a users file, which [login.local] in gateway.toml names. Passwords are stored as Argon2id hashes. Comments
/// and order in the file are kept, and it is replaced in one step: a running gateway never sees half of it.
#[derive(Debug, Args)]
pub(super) struct UserCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user
    ///
    /// The password is asked for on the terminal, twice, or read from standard input with --password-stdin. It is never
    /// given on the command line, where other people on the machine could read it.
    #[command(after_help = "Example:\n  vestibule user add alice --roles admin,staff --email alice@example.test")]
    Add(AddArgs),
    /// Change a user's password
    Passwd {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        source: PasswordSource,
    },
    /// Change what a user may do
    ///
    /// The roles take the place of those the user has. A running gateway takes them within seconds: sessions that the user
    /// has go on with the new rights, and are given new secrets.
    #[command(after_help = "Examples:\n  vestibule user roles alice admin,staff\n  vestibule user roles alice --none")]
    Roles {
        #[command(flatten)]
        who: Who,
        /// All of the user's roles from now on, as routes ask for them in gateway.toml; several with commas in between
        #[arg(value_name = "ROLE", value_delimiter = ',', value_parser = word(check_role))]
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        roles: Vec<String>,
        /// Take all roles away
        #[arg(long)]
        none: bool,
    },
    /// Keep a user from signing in, without forgetting them
    Disable(Who),
    /// Let a disabled user sign in again
    Enable(Who),
    /// Show all users, without their passwords
    List {
        #[command(flatten)]
        file: UsersFile,
        /// Print JSON: a list of objects with name, email, roles, groups and disabled
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    who: Who,
    /// What the user may do, as routes ask for it in gateway.toml; several with commas in between
    #[arg(long, value_name = "ROLE", value_delimiter = ',', value_parser = word(check_role))]
    roles: Vec<String>,
    /// The groups that applications are told; several with commas in between
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_parser = word(check_group))]
    groups: Vec<String>,
    /// The address that applications are told
    #[arg(long, value_name = "ADDRESS", value_parser = word(check_email))]
    email: Option<String>,
    #[command(flatten)]
    source: PasswordSource,
}

#[derive(Debug, Args)]
struct Who {
    /// The user's name, as it is typed into the login form; upper and lower case are different names
    #[arg(value_parser = word(check_name))]
    name: String,
    #[command(flatten)]
    file: UsersFile,
}

#[derive(Debug, Args)]
struct UsersFile {
    /// The users file; "add" creates it, readable for you alone
    #[arg(long = "users", value_name = "FILE", default_value = "users.toml")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct PasswordSource {
    /// Read the password from the first line of standard input, for scripts
    #[arg(long = "password-stdin")]
    stdin: bool,
}

/// Does what was asked for, and prints what happened and what to do next.
///
/// # Errors
/// A text for the terminal, of one or several lines, that says what was wrong. The users file is then as it was.
pub(super) fn run(command: UserCommand, random: &Random) -> Result<(), String> {
    execute(command, random, &mut prompt_or_stdin, &mut io::stdout().lock())
}

/// As [`run`], with the password and the output replaceable.
fn execute(
    command: UserCommand,
    random: &Random,
    password: &mut dyn FnMut(&PasswordSource) -> Result<Zeroizing<String>, String>,
    out: &mut dyn Write,
) -> Result<(), String> {
    let done = match command.action {
        Action::Add(arguments) => add(arguments, random, password)?,
        Action::Passwd { who, source } => {
            // Asked before the password is, so that nobody types one for nothing.
            find_user(&who.file.path, &who.name).map_err(|error| error.to_string())?;
            let password = password(&source)?;
            let hash = hash_password(&password, random.bytes()).map_err(|error| error.to_string())?;
            edit(&who.file.path, |document| set_password(document, &who.name, &hash))?;
            let Who { name, file } = who;
            format!(
                "Changed the password of \"{name}\" in {}. A running gateway takes it within seconds, and ends the sessions \
                 that \"{name}\" has.",
                file.path.display()
            )
        }
        Action::Roles { who, roles, .. } => {
            find_user(&who.file.path, &who.name).map_err(|error| error.to_string())?;
            let roles = once_each(roles);
            edit(&who.file.path, |document| set_roles(document, &who.name, &roles))?;
            let Who { name, file } = who;
            let (path, has) =
                (file.path.display(), if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") });
            format!("\"{name}\" has {has} now in {path}. A running gateway takes it within seconds.")
        }
        Action::Disable(who) => {
            find_user(&who.file.path, &who.name).map_err(|error| error.to_string())?;
            edit(&who.file.path, |document| set_disabled(document, &who.name, true))?;
            let Who { name, file } = who;
            let path = file.path.display();
            format!(
                "Disabled \"{name}\" in {path}. A running gateway signs \"{name}\" out within seconds, on every device."
            )
        }
        Action::Enable(who) => {
            find_user(&who.file.path, &who.name).map_err(|error| error.to_string())?;
            edit(&who.file.path, |document| set_disabled(document, &who.name, false))?;
            let Who { name, file } = who;
            let path = file.path.display();
            format!("Enabled \"{name}\" in {path}. Within seconds \"{name}\" can sign in again.")
        }
        Action::List { file, json } => {
            let users = Users::load(&file.path).map_err(|error| error.to_string())?;
            if json { as_json(&users) } else { as_table(&users) }
        }
    };
    print(out, &done)
}

fn add(
    arguments: AddArgs,
    random: &Random,
    password: &mut dyn FnMut(&PasswordSource) -> Result<Zeroizing<String>, String>,
) -> Result<String, String> {
    let AddArgs { who: Who { name, file }, roles, groups, email, source } = arguments;
    // Asked before the password is, so that nobody types one for nothing.
    let folder = place::folder_of(&file.path);
    if !folder.exists() {
        let (shown, quoted) = (folder.display(), shell::quoted(folder));
        return Err(format!("there is no folder {shown}; make it with: mkdir -p {quoted}"));
    }
    if file.path.exists() && load(&file.path)?.get(&name).is_some() {
        return Err(EditError::Exists(name).to_string());
    }
    let typed = password(&source)?;
    let hash = hash_password(&typed, random.bytes()).map_err(|error| error.to_string())?;
    let (roles, groups) = (once_each(roles), once_each(groups));
    let new = !file.path.exists();
    let user = User { name, password: hash, email, roles, groups, disabled: false };
    edit(&file.path, |document| add_user(document, &user))?;
    let (name, path) = (user.name, file.path.display());
    let next = if new {
        "The file is new and readable for you alone: name it in gateway.toml as \"users\" in [login.local], and chown it if \
         the gateway runs as somebody else."
            .to_owned()
    } else {
        format!("Within seconds \"{name}\" can sign in.")
    };
    Ok(format!("Added \"{name}\" to {path}. {next}"))
}

/// The words without repetitions, in their order.
fn once_each(words: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

fn load(path: &Path) -> Result<Users, String> {
    Users::load(path).map_err(|error| error.to_string())
}

fn edit(path: &Path, edit: impl FnOnce(&mut toml_edit::DocumentMut) -> Result<(), EditError>) -> Result<(), String> {
    edit_file(path, edit).map_err(|error| error.to_string())
}

/// A check of ours as a parser of arguments.
fn word(check: fn(&str) -> Result<(), String>) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync {
    move |text| check(text).map(|()| text.to_owned())
}

fn prompt_or_stdin(source: &PasswordSource) -> Result<Zeroizing<String>, String> {
    match (source.stdin, io::stdin().is_terminal()) {
        (true, true) => {
            Err("standard input is a terminal, which would show the password; leave out --password-stdin to \
             be asked for it, or pipe it in"
                .to_owned())
        }
        (true, false) => first_line(&mut io::stdin().lock()),
        (false, false) => {
            Err("there is no terminal to ask for the password; pipe it in and add --password-stdin".to_owned())
        }
        (false, true) => prompt(),
    }
}

fn prompt() -> Result<Zeroizing<String>, String> {
    let ask = |text: &str| {
        let typed = rpassword::prompt_password(text).map_err(|error| format!("cannot read the password: {error}"))?;
        Ok::<_, String>(Zeroizing::new(typed))
    };
    let first = ask("New password: ")?;
    check_password(&first).map_err(|error| error.to_string())?;
    let second = ask("The same again: ")?;
    if first == second { Ok(first) } else { Err("the two passwords are not the same; nothing was changed".to_owned()) }
}

/// The first line, without its line end; spaces are a part of a password.
fn first_line(input: &mut dyn BufRead) -> Result<Zeroizing<String>, String> {
    // One allocation, and room for a line end behind the longest password.
    let limit = MAX_PASSWORD_BYTES + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    let read = input.take(limit as u64).read_until(b'\n', &mut bytes);
    read.map_err(|error| format!("cannot read the password from standard input: {error}"))?;
    let line = bytes.strip_suffix(b"\n").map_or(&bytes[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = std::str::from_utf8(line).map_err(|_| "the password on standard input is not UTF-8 text".to_owned())?;
    Ok(Zeroizing::new(line.to_owned()))
}

fn as_json(users: &Users) -> String {
    let one = |user: &User| {
        let User { name, password: _, email, roles, groups, disabled } = user;
        json!({ "name": name, "email": email, "roles": roles, "groups": groups, "disabled": disabled })
    };
    format!("{:#}", serde_json::Value::Array(users.iter().map(one).collect()))
}

fn as_table(users: &Users) -> String {
    if users.is_empty() {
        return "There are no users yet. Add one with \"vestibule user add NAME\".".to_owned();
    }
    let heads = ["NAME", "EMAIL", "ROLES", "GROUPS", "STATE"].map(str::to_owned);
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let row = |user: &User| {
        let state = if user.disabled { "disabled" } else { "active" };
        let email = user.email.clone().unwrap_or_default();
        [user.name.clone(), dash(email), dash(user.roles.join(",")), dash(user.groups.join(",")), state.to_owned()]
    };
    let rows: Vec<[String; 5]> = std::iter::once(heads).chain(users.iter().map(row)).collect();
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::login::users::verify_password;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        command: UserCommand,
    }

    fn call(folder: &Path, line: &str, typed: &str) -> Result<String, String> {
        let users = folder.join("users.toml");
        let arguments = ["user"].into_iter().chain(line.split(' ')).chain(["--users", users.to_str().expect("a path")]);
        let command = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?.command;
        let mut out = Vec::new();
        let mut password = |_: &PasswordSource| first_line(&mut typed.as_bytes());
        execute(command, &Random::seeded(1), &mut password, &mut out)?;
        let shown = String::from_utf8(out).expect("text");
        Ok(shown.replace(&format!("{}/", folder.display()), ""))
    }

    #[test]
    fn a_user_is_added_changed_disabled_and_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        let call = |line: &str, typed: &str| call(folder.path(), line, typed);
        let added =
            call("add alice --roles admin,staff,admin --groups x --email a@b.test --password-stdin", "first pass\r\n");
        assert!(added.is_ok_and(|line| line.starts_with("Added \"alice\" to users.toml. The file is new")));
        let added = call("add bob", " second pass ");
        assert_eq!(added.as_deref(), Ok("Added \"bob\" to users.toml. Within seconds \"bob\" can sign in.\n"));
        let users = || Users::load(&folder.path().join("users.toml")).expect("users");
        let opens =
            |name: &str, password: &str| verify_password(&users().get(name).expect("a user").password, password);
        assert!(opens("alice", "first pass") && opens("bob", " second pass "));
        call("passwd bob", "third pass\nmore\n").expect("changed");
        assert!(opens("bob", "third pass"));
        let changed = call("roles bob ops,reader,ops", "");
        assert_eq!(
            changed.as_deref(),
            Ok("\"bob\" has ops, reader now in users.toml. A running gateway takes it within seconds.\n")
        );
        assert_eq!(users().get("bob").expect("a user").roles, ["ops", "reader"]);
        assert!(call("roles bob --none", "").is_ok_and(|line| line.starts_with("\"bob\" has no role now")));
        assert!(call("roles bobby admin", "").is_err(), "nobody of that name");
        call("disable bob", "").expect("disabled");
        assert_eq!(
            call("list", "").as_deref(),
            Ok("NAME   EMAIL     ROLES        GROUPS  STATE\nalice  a@b.test  admin,staff  x       active\n\
                bob    -         -            -       disabled\n")
        );
        call("enable bob", "").expect("enabled");
        let listed: serde_json::Value = serde_json::from_str(&call("list --json", "").expect("a list")).expect("json");
        assert_eq!(listed[1], json!({ "name": "bob", "email": null, "roles": [], "groups": [], "disabled": false }));
        assert!(!listed.to_string().contains("argon2"));
    }

    #[test]
    fn mistakes_are_told_before_a_password_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let call = |line: &str, typed: &str| call(folder.path(), line, typed);
        assert!(call("list", "").expect_err("no file").contains("cannot be read"));
        assert!(call("passwd alice", "").expect_err("no file").contains("cannot be read"));
        call("add alice", "first pass").expect("added");
        assert!(call("add alice", "").expect_err("there").contains("there is a user \"alice\" already"));
        assert_eq!(call("passwd alcie", ""), Err("there is no user \"alcie\"; did you mean \"alice\"?".to_owned()));
        assert!(call("disable x", "").expect_err("unknown").contains("no user \"x\""));
        assert!(call("add bob", "short\n").expect_err("short").contains("at least 8 characters"));
        assert!(call("add bob", &"x".repeat(5000)).expect_err("long").contains("too long"));
        for line in ["add a,b", "add bob --roles a,,b", "add bob --email bob", "add bob --password hunter22"] {
            assert!(call(line, "first pass").expect_err(line).starts_with("error: "), "{line}");
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = UsersFile { path: folder.path().join("users.toml") };
        call(folder.path(), "add alice", "first pass").expect("added");
        let list = UserCommand { action: Action::List { file, json: false } };
        let mut never = |_: &PasswordSource| Err("not asked".to_owned());
        assert_eq!(execute(list, &Random::seeded(1), &mut never, &mut Closed), Ok(()));
    }

    #[test]
    fn the_commands_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_line_end_is_no_part_of_a_password_and_spaces_are() {
        for (input, expected) in
            [("a b \n", "a b "), ("a\r\n", "a"), ("a\r\r\n", "a\r"), ("a", "a"), ("\nb", ""), ("a\r", "a\r")]
        {
            assert_eq!(first_line(&mut input.as_bytes()).map(|line| line.to_string()).as_deref(), Ok(expected));
        }
        assert!(first_line(&mut &b"\xff\n"[..]).is_err());
    }
}
