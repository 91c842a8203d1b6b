//! The gateway under test: this binary, started again with `gateway` as its first argument.
//!
//! The contract with the harness, which other builds of this binary must keep too (`--gateway-binary`):
//!
//! 1. Arguments: `--config FILE --sessions N --cookies-out FILE`. The configuration is [`crate::configs::gateway`]'s.
//! 2. Start the library as the shipped binary would: system clock, the same allocator (a `#[global_allocator]` belongs
//!    in this file), one worker.
//! 3. Make `N` sessions straight through the store, each of another user, signed in just now, bound to the address
//!    127.0.0.1 and to [`crate::cases::USER_AGENT`], as a login would have left them. `N` may be 0.
//! 4. Write one `Cookie:` header's value a line (`__Host-session=…`) to the cookies' file, and have it complete before
//!    going on. Write while making them: `--memory` measures this process, which must not keep the cookies.
//! 5. Listen, then print `ready` as a line of its own on standard output, and serve until killed.
//!
//! Whatever goes wrong is an `Err`; it is printed and ends the process, and the harness repeats it.

use std::path::PathBuf;

/// The arguments, read.
#[derive(Debug)]
struct Arguments {
    /// The configuration to start with.
    config: PathBuf,
    /// Sessions to make before serving.
    sessions: usize,
    /// Where their cookies go.
    cookies_out: PathBuf,
}

/// Serves until killed.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    serve(&parse(args)?)
}

/// Starts the gateway, makes its sessions, says `ready`, serves.
fn serve(arguments: &Arguments) -> Result<(), String> {
    Err(format!(
        "the gateway is not wired yet (would serve {} with {} sessions, cookies to {})",
        arguments.config.display(),
        arguments.sessions,
        arguments.cookies_out.display()
    ))
}

/// Reads the arguments.
fn parse(args: &[String]) -> Result<Arguments, String> {
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag);
        at.and_then(|at| args.get(at + 1)).ok_or_else(|| format!("gateway: {flag} is missing"))
    };
    let sessions = value("--sessions")?;
    Ok(Arguments {
        config: PathBuf::from(value("--config")?),
        sessions: sessions.parse().map_err(|_| format!("gateway: --sessions {sessions}: not a number"))?,
        cookies_out: PathBuf::from(value("--cookies-out")?),
    })
}
