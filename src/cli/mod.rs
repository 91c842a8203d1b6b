//! Floor 8: the command line.

mod check;
mod demo;
mod demo_app;
mod describe;
mod explain;
mod notify;
mod operator;
mod process;
mod reload;
mod serve;
mod sessions;
mod status;
mod table;
mod user;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::base::random::Random;
use crate::config::Profile;
use crate::crypto::{key_file, keyring};

/// A session gateway for applications nobody can change any more.
///
/// vestibule stands in front of a web application, ends TLS, owns login and the session, and sends the application a
/// clean request with the user's identity in a header.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Read a configuration file and all that it names, and say what would keep the gateway from starting.
    ///
    /// It makes nothing and listens on no port, and may be run beside the gateway whose next configuration it is. Where the file
    /// says "user", run it as root, as the gateway is started: it then looks as that user.
    #[command(after_help = check::EXIT_STATUS)]
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
        config: PathBuf,
        /// Print what this standard asks of sessions instead, each requirement with whether the file meets it and by what.
        #[arg(long, value_name = "PROFILE", value_parser = check::profile)]
        profile: Option<Profile>,
    },
    Explain(explain::ExplainCommand),
    /// Have a running gateway read its configuration again, and say what came of it.
    Reload(reload::ReloadCommand),
    /// Try it: a small old-fashioned application behind the gateway, with two users, in one command.
    Demo(demo::DemoCommand),
    /// Add, change, disable and list the people in a users file.
    User(user::UserCommand),
    /// Make a key for [keys]: on standard output, or in front of those of a file, which it makes if there is none.
    Keygen {
        /// The file; the key in front is the one that seals from the next start or reload on.
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
    },
    /// Print what a shell needs to complete this command line: bash, zsh, fish, …
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page.
    Man {
        /// Write the page of every command into this folder instead, which is made if there is none.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    /// See and end the sessions of a running gateway.
    Sessions(sessions::SessionsCommand),
    /// Show how a running gateway is: itself, its configuration, its sessions and its applications.
    Status(status::StatusCommand),
}

/// Why a command has not done all that it was asked for. A wrong command line is 2, which clap says.
struct Failed {
    /// For the terminal.
    message: String,
    /// For whoever started it.
    code: u8,
}

impl Failed {
    /// It was not done.
    const NOT_DONE: u8 = 1;
    /// It was done, and does not outlive a crash yet.
    const UNWRITTEN: u8 = 3;
    /// It was done, and something that a standard asks for is not met.
    const NOT_MET: u8 = 3;
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self { message, code: Self::NOT_DONE }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { message, code }) => {
            // Where that is full as well, the exit status says enough.
            let _ = writeln!(io::stderr(), "{message}");
            code.into()
        }
    }
}

fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::Serve { config } => serve::run(&config)?,
        Command::Check { config, profile: None } => check::run(&config)?,
        Command::Check { config, profile: Some(profile) } => check::standard(&config, profile)?,
        Command::Explain(command) => explain::run(&command)?,
        Command::Reload(command) => reload::run(&command)?,
        Command::Demo(command) => demo::run(&command)?,
        Command::User(command) => user::run(command, &Random::System)?,
        Command::Keygen { into } => keygen(into.as_deref())?,
        Command::Completions { shell } => describe::completions(CommandLine::command(), shell)?,
        Command::Man { folder } => describe::man(CommandLine::command(), folder.as_deref())?,
        Command::Sessions(command) => sessions::run(command)?,
        Command::Status(command) => status::run(&command)?,
    }
    Ok(())
}

fn keygen(into: Option<&Path>) -> Result<(), String> {
    let Some(path) = into else {
        return say(&keyring::new_key(&Random::System));
    };
    let count = key_file::put_in_front(path, &Random::System)?;
    match count {
        1 => say(&format!("{}: made, with one key", path.display())),
        _ => say(&format!("{}: a new key stands in front of {}", path.display(), counted(count - 1, "other"))),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Prints what a command has to say on standard output.
fn say(text: &str) -> Result<(), String> {
    print(&mut io::stdout().lock() as &mut dyn Write, text)
}

/// Prints what a command has to say.
fn print(out: &mut dyn io::Write, text: &str) -> Result<(), String> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Whoever reads it, `head` say, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|error| format!("cannot print: {error}")),
    }
}
