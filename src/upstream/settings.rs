//! One upstream as configured: its servers, and how they are reached and shared out.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

/// Default for `upstream.connect_timeout`: a server in the same building answers in milliseconds, one across an ocean
/// in a third of a second; three tries of TCP fit in between.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Default for `upstream.first_byte_timeout`: what nginx, Apache and most applications' own servers allow.
pub const DEFAULT_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);

/// Default for `upstream.idle_timeout`: an application that works on a long report may be silent for minutes; one that is
/// for longer has lost its way more often than not. Envoy allows as much.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Default for `upstream.resolve_every`: what names of servers that move are good for, as a rule.
pub const DEFAULT_RESOLVE_EVERY: Duration = Duration::from_secs(60);

/// Default for `upstream.max_connections`: over all workers; more than most old applications can serve at once.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// Default for `upstream.max_waiting`: as many again. A request that waits costs little; one that is refused costs a
/// person's patience.
pub const DEFAULT_MAX_WAITING: usize = 1024;

/// Default for `upstream.health.every`: a server that went away is noticed within half a minute, by six questions a minute.
pub const DEFAULT_HEALTH_EVERY: Duration = Duration::from_secs(10);

/// Default for `upstream.health.timeout`: who needs that long for a short answer does not serve people either.
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Default for `upstream.health.unhealthy_after`: one answer that is lost is no outage.
pub const DEFAULT_UNHEALTHY_AFTER: u32 = 3;

/// Default for `upstream.health.healthy_after`: one that begins to work may still stumble.
pub const DEFAULT_HEALTHY_AFTER: u32 = 2;

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The name routes call it by.
    pub name: Box<str>,
    /// Its servers.
    pub servers: Vec<ServerAddress>,
    /// Which of them is chosen for a request.
    pub balance: Balance,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// How TLS is spoken to those that are reached by it.
    pub tls: TlsSettings,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin.
    pub first_byte_timeout: Duration,
    /// How long an answer may then stand still.
    pub idle_timeout: Duration,
    /// How long the name of a server is taken to mean the same address.
    pub resolve_every: Duration,
    /// How many connections there may be, over all workers.
    pub max_connections: usize,
    /// How many requests may wait for one, over all workers.
    pub max_waiting: usize,
    /// How its servers are asked whether they are well, if they are.
    pub health: Option<HealthSettings>,
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// For what.
    pub path: PathAndQuery,
    /// How long after one check the next begins.
    pub every: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// After how many failures in a row a server is passed over.
    pub unhealthy_after: u32,
    /// After how many answers in a row it is used again.
    pub healthy_after: u32,
    /// The host that is asked for, if it is not the server's address.
    pub host: Option<HeaderValue>,
}

/// What is spoken to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: what every application knows.
    Http1,
    /// HTTP/2, for all but WebSockets, which go by HTTP/1.1. In the clear, the server must know of it beforehand
    /// (RFC 9113 section 3.3).
    Http2,
}

/// Which server is chosen for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastRequests,
    /// The same one for all requests of a session; in turn for those without.
    Sticky,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// `host:port`, spoken to in the clear.
    Tcp(Box<str>),
    /// `host:port`, spoken to by TLS.
    Tls(Box<str>),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Display for ServerAddress {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Tls(address) => write!(formatter, "{address} (TLS)"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// How TLS is spoken to servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whose certificates are believed: a file of PEM.
    pub ca: Option<PathBuf>,
    /// The name that is asked for and must be in the certificate, if it is not the host of the address.
    pub server_name: Option<Box<str>>,
    /// What we show who asks for it: the files of a certificate and of its key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl TlsSettings {
    /// The files that it needs.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(client).map(PathBuf::as_path)
    }
}

impl UpstreamSettings {
    /// Whether any of its servers is reached by TLS.
    pub fn has_tls(&self) -> bool {
        self.servers.iter().any(|server| matches!(server, ServerAddress::Tls(_)))
    }
}
