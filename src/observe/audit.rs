//! The audit log: what happened to sessions and sign-ins, a line an event.

use std::io::Write;
use std::net::IpAddr;

use crate::base::clock::Timestamp;
use crate::observe::access_log::without_parameters;
use crate::observe::correlation;
use crate::observe::sink::{LogFormat, LogSink, json_string, plain_value};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// Somebody signed in.
    LoginSucceeded,
    /// Somebody tried to.
    LoginFailed,
    /// There were too many tries, or too many at once.
    LoginRefused,
    /// A session began.
    SessionCreated,
    /// The secret of a session was replaced by its successor.
    SessionRotated,
    /// A session was locked, because nothing happened.
    SessionLocked,
    /// A session ended.
    SessionEnded,
    /// The person of a session has other roles or groups, or another address.
    SessionChanged,
    /// A request came from elsewhere than its session was made.
    BindingMismatch,
    /// A cookie came that opens to nothing, or whose proof does not hold.
    CookieRefused,
    /// An address sends one bad cookie after the other: it tries them out.
    CookiesGuessed,
    /// A form met an ended session and is kept for its person.
    PostParked,
    /// It is not kept.
    PostNotParked,
    /// Its person had it sent.
    PostSent,
    /// Its person had it thrown away.
    PostDiscarded,
    /// Another site caused a request.
    CrossSite,
    /// The session store failed.
    StoreFailed,
    /// The operator ended sessions.
    AdminEnded,
    /// The operator had everything stored sealed anew.
    AdminResealed,
    /// Somebody wanted to do what the operator may, and was not let in.
    AdminRefused,
    /// The configuration was read again, and is in force.
    ConfigurationReloaded,
    /// The users were read again, and are in force, while the configuration is the one before.
    UsersReloaded,
    /// The configuration was read again, and is not: the one before still is.
    ConfigurationRefused,
}

impl AuditEvent {
    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoginSucceeded => "login.succeeded",
            Self::LoginFailed => "login.failed",
            Self::LoginRefused => "login.refused",
            Self::SessionCreated => "session.created",
            Self::SessionRotated => "session.rotated",
            Self::SessionLocked => "session.locked",
            Self::SessionEnded => "session.ended",
            Self::SessionChanged => "session.changed",
            Self::BindingMismatch => "binding.mismatch",
            Self::CookieRefused => "cookie.refused",
            Self::CookiesGuessed => "cookies.guessed",
            Self::PostParked => "post.parked",
            Self::PostNotParked => "post.not_parked",
            Self::PostSent => "post.sent",
            Self::PostDiscarded => "post.discarded",
            Self::CrossSite => "request.cross_site",
            Self::StoreFailed => "store.failed",
            Self::AdminEnded => "admin.ended",
            Self::AdminResealed => "admin.resealed",
            Self::AdminRefused => "admin.refused",
            Self::ConfigurationReloaded => "configuration.reloaded",
            Self::UsersReloaded => "users.reloaded",
            Self::ConfigurationRefused => "configuration.refused",
        }
    }
}

/// Who and what an event is about; what is not known is left out.
#[derive(Clone, Copy, Default)]
pub struct AuditFields<'a> {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The session's public handle.
    pub session: Option<&'a dyn std::fmt::Display>,
    /// The person.
    pub user: Option<&'a str>,
    /// The tenant, where it is not the one that every gateway has.
    pub tenant: Option<&'static str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// What followed, where that is the operator's choice.
    pub answer: Option<&'a str>,
    /// Which of the operators; of a configuration that is read again, also a signal, or the file that has changed.
    pub by: Option<&'a str>,
    /// The path of the request that it is about, without its query.
    pub path: Option<&'a str>,
    /// Where a request says it came from.
    pub origin: Option<&'a str>,
    /// Of how many it is true.
    pub count: Option<usize>,
}

/// Writes audit lines.
#[derive(Clone)]
pub struct AuditLog {
    format: LogFormat,
    sink: LogSink,
}

impl AuditLog {
    /// A log that writes lines in `format` to `sink`.
    pub const fn new(format: LogFormat, sink: LogSink) -> Self {
        Self { format, sink }
    }

    /// Writes an event.
    pub fn write(&self, now: Timestamp, event: AuditEvent, fields: AuditFields<'_>) {
        let mut line = Vec::with_capacity(192);
        let client = fields.client.map(|client| client.to_string());
        let session = fields.session.map(|session| session.to_string());
        let path = fields.path.map(without_parameters);
        // Of the request that is worked for, if it is for one.
        let request_id = correlation::current();
        let named = [
            ("request_id", request_id.as_ref().and_then(|id| id.to_str().ok())),
            ("client", client.as_deref()),
            ("session", session.as_deref()),
            ("user", fields.user),
            ("tenant", fields.tenant),
            ("reason", fields.reason),
            ("answer", fields.answer),
            ("by", fields.by),
            ("path", path.as_deref()),
            ("origin", fields.origin),
        ];
        let named = named.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        match self.format {
            LogFormat::Text => {
                let _ = write!(line, "{now} audit {}", event.name());
                for (name, value) in named {
                    let _ = write!(line, " {name}=");
                    plain_value(&mut line, value);
                }
                if let Some(count) = fields.count {
                    let _ = write!(line, " count={count}");
                }
                line.push(b'\n');
            }
            LogFormat::Json => {
                let _ = write!(line, "{{\"time\":\"{now}\",\"log\":\"audit\",\"event\":\"{}\"", event.name());
                for (name, value) in named {
                    let _ = write!(line, ",\"{name}\":");
                    json_string(&mut line, value);
                }
                if let Some(count) = fields.count {
                    let _ = write!(line, ",\"count\":{count}");
                }
                line.extend_from_slice(b"}\n");
            }
        }
        self.sink.write(line);
    }
}
