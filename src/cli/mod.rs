//! Floor 8: the command line.

mod demo;
mod demo_app;
mod serve;
mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::base::random::Random;
use crate::config::Plan;

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
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Try it: a small old-fashioned application behind the gateway, with two users, in one command.
    Demo(demo::DemoCommand),
    /// Add, change, disable and list the people in a users file.
    User(user::UserCommand),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => check(&config),
        Command::Demo(command) => demo::run(&command),
        Command::User(command) => user::run(command, &Random::System),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn check(config: &Path) -> Result<(), String> {
    let plan = Plan::load(config).map_err(|mistakes| mistakes.to_string())?;
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let (routes, upstreams) = (counted(plan.routes.len(), "route"), counted(plan.upstreams.len(), "upstream"));
    println!("{}: good: {routes} to {upstreams}", config.display());
    Ok(())
}
