//! The gateway under test: this binary, started again with `gateway` as its first argument.
//!
//! The contract with the harness, which other builds of this binary must keep too (`--gateway-binary`):
//!
//! 1. Arguments: `--config FILE --sessions N --cookies-out FILE`, and for some `--users N`. The configuration is [`crate::configs::gateway`]'s.
//! 2. Start the library as the shipped binary would: system clock, the same allocator (a `#[global_allocator]` belongs
//!    in this file), one worker.
//! 3. Make `N` sessions straight through the store, each of another user or of so many in turn, signed in just now, bound to the address
//!    127.0.0.1 and to [`crate::cases::USER_AGENT`], as a login would have left them. `N` may be 0.
//! 4. Write one `Cookie:` header's value a line (`__Host-session=…`) to the cookies' file, and have it complete before
//!    going on. Write while making them: `--memory` measures this process, which must not keep the cookies.
//! 5. Listen, then print `ready` as a line of its own on standard output, and serve until killed. SIGHUP has the
//!    configuration read again.
//!
//! Whatever goes wrong is an `Err`; it is printed and ends the process, and the harness repeats it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use vestibule::app::{self, Parts};
use vestibule::config::Plan;
use vestibule::enforce::establish;
use vestibule::enforce::reloads::Cause;
use vestibule::enforce::shared::Shared;
use vestibule::login::users::User;
use vestibule::reload;
use vestibule::session::binding::Bound;
use vestibule::session::principal::Principal;
use vestibule::session::record::Record;
use vestibule::session::store::Created;

/// The shipped binary's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many sessions are made at once: on disk, they are written in one go.
const AT_ONCE: usize = 4096;

/// The arguments, read.
#[derive(Debug)]
struct Arguments {
    /// The configuration to start with.
    config: PathBuf,
    /// Sessions to make before serving.
    sessions: usize,
    /// How many people have them.
    users: usize,
    /// Where their cookies go.
    cookies_out: PathBuf,
}

/// Serves until killed.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    serve(&parse(args)?)
}

/// Starts the gateway, makes its sessions, says `ready`, serves.
fn serve(arguments: &Arguments) -> Result<(), String> {
    let plan = Plan::load(&arguments.config).map_err(|mistakes| mistakes.to_string())?;
    let mut running = app::start(&plan, Parts { log: Box::new(std::io::sink()), ..Parts::default() })?;
    reload::start(&mut running, &arguments.config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(make_sessions(&running.shared, arguments))?;
    let mut hangup = runtime.block_on(async { signal(SignalKind::hangup()) }).map_err(|error| error.to_string())?;
    let shared = Arc::clone(&running.shared);
    thread::spawn(move || {
        while runtime.block_on(hangup.recv()).is_some() {
            shared.reloads.ask_for(Cause::signal());
        }
    });
    println!("ready");
    running.wait();
    Ok(())
}

/// Makes the sessions and writes their cookies down.
async fn make_sessions(shared: &Shared, arguments: &Arguments) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", arguments.cookies_out.display());
    let mut cookies = BufWriter::new(File::create(&arguments.cookies_out).map_err(failed)?);
    let snapshot = shared.snapshot.load_full();
    let now = shared.clock.now();
    let bound = Bound::of(IpAddr::from([127, 0, 0, 1]), crate::cases::USER_AGENT.as_bytes());
    for first in (0..arguments.sessions).step_by(AT_ONCE) {
        let records = (first..arguments.sessions.min(first + AT_ONCE)).map(|at| {
            let user = format!("user-{}", at % arguments.users);
            let email = format!("{user}@example.test");
            let known = snapshot.default.users.as_ref().and_then(|users| users.get(&user));
            let principal = known
                .map(User::principal)
                .unwrap_or_else(|| Principal::new(&user, Some(&email), &["staff".to_owned()], &["reader".to_owned()]));
            Record::new(&shared.random, Some(Arc::new(principal)), bound, now)
        });
        let creating = records.map(|record| shared.store.create(record, None));
        for created in futures_util::future::join_all(creating).await {
            let Created::Session { live, .. } = created.map_err(|error| error.to_string())? else {
                return Err("the store is full".to_owned());
            };
            let cookie =
                establish::cookie(shared, &snapshot.default, &live, 0, now).ok_or("a cookie could not be made")?;
            let cookie = cookie.to_str().map_err(|error| error.to_string())?;
            writeln!(cookies, "{}", cookie.split(';').next().unwrap_or_default()).map_err(failed)?;
        }
    }
    cookies.flush().map_err(failed)
}

/// Reads the arguments.
fn parse(args: &[String]) -> Result<Arguments, String> {
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag);
        at.and_then(|at| args.get(at + 1)).ok_or_else(|| format!("gateway: {flag} is missing"))
    };
    let sessions = value("--sessions")?;
    let users = value("--users").ok().and_then(|users| users.parse().ok()).unwrap_or(usize::MAX);
    Ok(Arguments {
        users,
        config: PathBuf::from(value("--config")?),
        sessions: sessions.parse().map_err(|_| format!("gateway: --sessions {sessions}: not a number"))?,
        cookies_out: PathBuf::from(value("--cookies-out")?),
    })
}
