//! What the service manager is told of the process (sd_notify(3)), if it wants to know: a few words to a Unix socket.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who is told.
#[derive(Debug, Default)]
pub(super) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that everything goes on, if it does.
    pub(super) every: Option<Duration>,
}

impl Notify {
    /// Whoever the environment names.
    pub(super) fn from_environment() -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|place| {
            let opened = open(&place);
            if opened.is_none() {
                tracing::warn!("NOTIFY_SOCKET names {}, which cannot be used", place.display());
            }
            opened
        });
        let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        // It may be meant for the process that has started this one.
        let is_ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|patience| *patience > 0 && is_ours && to.is_some());
        // Half of it, as sd_watchdog_enabled(3) recommends.
        Self { to, every: patience.map(|patience| Duration::from_micros(patience / 2)) }
    }

    /// Says it. Nobody is left to be told when that fails.
    pub(super) fn say(&self, state: &str) {
        if let Some((socket, to)) = &self.to {
            let _ = socket.send_to_addr(state.as_bytes(), to);
        }
    }
}

/// A path, or a name that is in no folder, which begins with `@`.
fn open(place: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(place),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A manager that does not listen is no reason to stand still.
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}
