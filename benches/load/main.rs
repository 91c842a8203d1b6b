//! The end-to-end load benchmark: vestibule beside nginx and HAProxy, in one run on one machine.
//!
//! `cargo bench --bench load -- --help` lists the flags. What is compared is the CPU time a contestant's process spends
//! on a request, since wall-clock figures do not carry over from one machine to the next. Contestants run one worker
//! each, all pinned to one core; the load generator and the application behind them share another. Every case is
//! measured for every contestant in turn, round after round, so that a machine that speeds up or slows down during the
//! run does so for all of them. Every answer is checked, and a run with one wrong answer is a failed run: a proxy that
//! refuses quickly is not a quick proxy.
//!
//! The binary also plays other parts, chosen by its first argument, so that nothing else need be built: `gateway` is the
//! gateway under test (see [`gateway`]), `handshakes` the generator of the `hs` case, `websockets` that of the `ws` case,
//! and `echo` the application behind the latter. Other modes measure what other than CPU time grows with load: memory
//! (`--memory`, `--idle`, `--websockets`, `--files`), the patience of others (`--slow`, with `visitors`; `origin` is the
//! application behind these two), what starting again costs (`--restart`), and what grows with time when it should
//! not (`--soak`).

mod cases;
mod client;
mod configs;
mod content;
mod contestants;
mod crowd;
mod echo;
mod files;
mod frames;
mod gateway;
mod h2load;
mod handshakes;
mod lab;
mod loads;
mod measure;
mod memory;
mod options;
mod origin;
mod process;
mod report;
mod restart;
mod run;
mod slow;
mod soak;
mod tls_client;
mod tools;
mod visitors;
mod websockets;
mod wrk;

use std::process::ExitCode;

use options::{Mode, Options, Parsed};

/// Exit status when the machine lacks a tool or the command line is wrong: nothing was measured.
const EXIT_USAGE: u8 = 2;

/// Chooses the part to play.
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("gateway") => finish(gateway::run(args.get(1..).unwrap_or_default())),
        Some("handshakes") => finish(handshakes::main(args.get(1..).unwrap_or_default())),
        Some("websockets") => finish(websockets::main(args.get(1..).unwrap_or_default())),
        Some("visitors") => finish(visitors::main(args.get(1..).unwrap_or_default())),
        Some("echo") => finish(echo::main(args.get(1..).unwrap_or_default())),
        Some("origin") => finish(origin::main(args.get(1..).unwrap_or_default())),
        _ => match options::parse(&args) {
            Ok(Parsed::Run(options)) => harness(&options),
            Ok(Parsed::Help) => {
                println!("{}", options::HELP);
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("load: {message}\n\n{}", options::HELP);
                ExitCode::from(EXIT_USAGE)
            }
        },
    }
}

/// The benchmark itself.
fn harness(options: &Options) -> ExitCode {
    let tools = match tools::find(options) {
        Ok(tools) => tools,
        Err(message) => {
            eprintln!("load: {message}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    finish(match options.mode {
        Mode::Load => run::run(options, &tools),
        Mode::Memory => memory::run(options, &tools),
        Mode::Crowd(crowd) => crowd::run(options, crowd, &tools),
        Mode::Files(gib) => files::run(options, gib, &tools),
        Mode::Slow => slow::run(options, &tools),
        Mode::Restart => restart::run(options, &tools),
        Mode::Soak(minutes) => soak::run(options, minutes, &tools),
    })
}

/// Turns a result into an exit status, and says what went wrong.
fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("load: {message}");
            ExitCode::FAILURE
        }
    }
}
