//! Requests, in the model's words.

use super::rules::Config;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: &'static str,
    pub agent: &'static str,
}

/// A cookie as the model knows it.
#[derive(Clone, Copy, Debug)]
pub enum Cookie {
    /// Opens to nothing.
    Garbage,
    /// Was sealed here, for this tenant.
    Sealed { tenant: usize, session: usize, generation: u32, day: u64, is_proven: bool },
}

/// What a route asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Public,
    Optional,
    Anonymous,
    User,
    Admin,
    Level,
    /// That sign-in and activity are recent.
    Fresh,
    /// The session's token.
    Token,
}

/// What made a browser ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Read,
    ReadElsewhere,
    Own,
    /// By a browser that has only `Referer` to say so.
    OwnOld,
    Elsewhere,
    /// By another host of the same domain.
    Sibling,
    Unsaid,
    Socket,
    SocketElsewhere,
}

impl Sent {
    /// Whether it may change something.
    pub const fn changes(self) -> bool {
        matches!(self, Self::Own | Self::OwnOld | Self::Elsewhere | Self::Sibling | Self::Unsaid)
    }

    /// Why another site may have made it.
    pub const fn foreign(self, has_cookie: bool) -> Option<&'static str> {
        match self {
            Self::Elsewhere | Self::Sibling => Some("cross_site"),
            Self::Unsaid if has_cookie => Some("no_origin"),
            Self::SocketElsewhere => Some("websocket_origin"),
            Self::Read | Self::ReadElsewhere | Self::Own | Self::OwnOld | Self::Unsaid | Self::Socket => None,
        }
    }
}

/// What a request says beside its cookies.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub host: usize,
    pub asks: Asks,
    pub sent: Sent,
    pub place: Place,
    /// The session whose token it shows.
    pub token: Option<usize>,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub now: u64,
    pub head: Head,
    pub cookies: Vec<Cookie>,
    /// The configuration that was in force when it did.
    pub config: Config,
}

impl Request {
    /// Whose host it asks for.
    pub const fn tenant(&self) -> usize {
        self.config.tenant_at(self.head.host)
    }
}
