//! What a decision says.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::base::units;
use crate::session::binding::{Differences, Factor};
use crate::session::handle::SessionHandle;
use crate::session::level::{Level, Shortfall};
use crate::session::principal::Principal;
use crate::session::record::EndReason;

/// What is not recent enough for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// There was too long a time without activity.
    Idle,
    /// Sign-in was too long ago.
    Absolute,
    /// So was the last proof of who they are.
    Proof,
}

impl Stale {
    /// The name used in logs, traces and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "route_idle",
            Self::Absolute => "route_absolute",
            Self::Proof => "max_auth_age",
        }
    }

    /// What the person is told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Idle => {
                "You were away for a while. To go on here, please enter your password again; everything else stays as it was."
            }
            Self::Absolute => {
                "You signed in some time ago. To go on here, please enter your password again; everything else stays as it was."
            }
            Self::Proof => {
                "Please enter your password again: what you want to do asks for it if you signed in some time ago."
            }
        }
    }
}

/// Why a request is taken for another site's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrossSite {
    /// It came from a page of another origin, or what it says of that is garbled.
    Elsewhere,
    /// It came with a session cookie, and does not say from where.
    Unsaid,
    /// It opens a WebSocket for a page of another origin.
    WebSocket,
    /// It lacks the session's token.
    Token,
}

impl CrossSite {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Elsewhere, Self::Unsaid, Self::WebSocket, Self::Token];

    /// The name used in logs, metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elsewhere => "cross_site",
            Self::Unsaid => "no_origin",
            Self::WebSocket => "websocket_origin",
            Self::Token => "csrf_token",
        }
    }

    /// What the person is told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Elsewhere => {
                "This was sent from another website, not from a page of this one, so it was not carried out."
            }
            Self::Unsaid => "Your browser did not say from which page this was sent, so it was not carried out.",
            Self::WebSocket => "A page of another website wanted to connect to this one, and was not let in.",
            Self::Token => {
                "This was not sent from a page that was opened since you signed in, so it was not carried out."
            }
        }
    }

    /// What a program is told.
    pub const fn sentence_for_programs(self) -> &'static str {
        match self {
            Self::Elsewhere | Self::WebSocket => self.sentence(),
            Self::Unsaid => {
                "The request came with a session cookie and does not say which page it is from, so it was not carried out. \
                 Send an Origin header with this site's own origin, as browsers do."
            }
            Self::Token => {
                "The request lacks the token of its session, so it was not carried out. Ask /.vestibule/api/csrf for it, and \
                 send it as is said there."
            }
        }
    }

    /// What they can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Elsewhere | Self::WebSocket => {
                "If you meant to do this, open this site by itself and do it there. If you did not, nothing has \
                 happened, and there is nothing you need to do."
            }
            Self::Unsaid => {
                "Go back, open the page again and send it once more. If that does not help, an add-on of your browser \
                 may be hiding where you come from, or the browser is very old."
            }
            Self::Token => {
                "Go back, keep a copy of what you wrote, open the page again, and send it from there. You may have signed \
                 in again since you opened it."
            }
        }
    }
}

/// Why a request was not simply allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No session cookie came with it.
    NoSession,
    /// A cookie of our name came that opens to nothing: altered, foreign, or sealed under a key that is gone.
    InvalidCookie,
    /// Several cookies of our name came and more than one opens to a session that lasts.
    SeveralSessions,
    /// The cookie opens, but the store does not know the session.
    UnknownSession,
    /// The proof is not the session's, or its generation was never given out.
    InvalidProof,
    /// The session is over.
    Ended(EndReason),
    /// The session is locked because nothing happened for this long; the person proves again who they are.
    Locked(Duration),
    /// The request came from elsewhere than the session was made; the person proves again who they are.
    Elsewhere(Factor),
    /// The session can be used, but not here without proving again who they are.
    Stale(Stale),
    /// The session is anonymous and the route asks for somebody.
    Anonymous,
    /// None of the roles the route asks for.
    MissingRole,
    /// It is another site's doing.
    CrossSite(CrossSite),
    /// The session has not reached the level the route asks for.
    Level(Shortfall),
}

impl Reason {
    /// The name used in logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::InvalidCookie => "invalid_cookie",
            Self::SeveralSessions => "several_sessions",
            Self::UnknownSession => "unknown_session",
            Self::InvalidProof => "invalid_proof",
            Self::Ended(reason) => reason.name(),
            Self::Locked(_) => "locked",
            Self::Elsewhere(Factor::Address) => "other_ip",
            Self::Elsewhere(Factor::UserAgent) => "other_user_agent",
            Self::Elsewhere(Factor::Tls) => "other_tls",
            Self::Stale(stale) => stale.name(),
            Self::Anonymous => "anonymous",
            Self::MissingRole => "missing_role",
            Self::CrossSite(found) => found.name(),
            Self::Level(shortfall) => shortfall.name(),
        }
    }

    /// Whether there was a session and nothing passes with it any more.
    pub const fn is_end(self) -> bool {
        match self {
            Self::UnknownSession | Self::Ended(_) | Self::Locked(_) => true,
            Self::NoSession
            | Self::InvalidCookie
            | Self::SeveralSessions
            | Self::InvalidProof
            | Self::Elsewhere(_)
            | Self::Stale(_)
            | Self::Anonymous
            | Self::MissingRole
            | Self::CrossSite(_)
            | Self::Level(_) => false,
        }
    }

    /// What the person is told on the login page; `None` when there is nothing to explain.
    pub fn notice(self) -> Option<Cow<'static, str>> {
        if let Self::Locked(idle) = self {
            let span = units::in_words(idle);
            let words =
                format!("Your session was locked because nothing happened for {span}. Enter your password to go on.");
            return Some(words.into());
        }
        self.sentence().map(Cow::Borrowed)
    }

    /// The same where nothing in it varies.
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Ended(reason) => Some(reason.sentence()),
            Self::Stale(stale) => Some(stale.sentence()),
            Self::Locked(_) => {
                Some("Your session is locked because nothing happened for a while. Enter your password to go on.")
            }
            Self::Elsewhere(Factor::Address) => Some("Your network address changed. Please sign in again."),
            Self::Elsewhere(Factor::UserAgent) => Some("Your browser looks different. Please sign in again."),
            Self::Elsewhere(Factor::Tls) => {
                Some("Your browser connects in another way than before, as after an update. Please sign in again.")
            }
            Self::SeveralSessions => Some("Your browser sent more than one session. Please sign in again."),
            Self::NoSession
            | Self::InvalidCookie
            | Self::UnknownSession
            | Self::InvalidProof
            | Self::Anonymous
            | Self::MissingRole
            | Self::Level(_)
            | Self::CrossSite(_) => None,
        }
    }
}

/// As whom a request passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// As nobody: the route is public, or optional and nobody is signed in.
    Nobody,
    /// As a stranger with a session.
    Anonymous(SessionHandle),
    /// As a signed-in person.
    User(SessionHandle, Arc<Principal>),
}

/// Permission to forward one request. Only a decision makes one; what forwards takes nothing else.
#[derive(Debug)]
pub struct Grant {
    subject: Subject,
    level: Option<Arc<Level>>,
}

impl Grant {
    pub(in crate::policy) const fn new(subject: Subject) -> Self {
        Self { subject, level: None }
    }

    pub(in crate::policy) fn at(self, level: Option<&Arc<Level>>) -> Self {
        Self { level: level.cloned(), ..self }
    }

    /// The highest level that the session has reached.
    pub const fn level(&self) -> Option<&Arc<Level>> {
        self.level.as_ref()
    }

    /// As whom the request passes.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Who is signed in.
    pub fn principal(&self) -> Option<&Principal> {
        match &self.subject {
            Subject::User(_, principal) => Some(principal),
            Subject::Nobody | Subject::Anonymous(_) => None,
        }
    }
}

/// The answer.
#[derive(Debug)]
pub enum Verdict {
    /// Forward it.
    Allow(Grant),
    /// The route is anonymous and there is no session: make one, then forward.
    AllowWithNewSession(Grant),
    /// Ask them to sign in.
    Challenge(Reason),
    /// They are known and may not.
    Deny(Reason),
}

/// What happens to the secret of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotationStep {
    /// Nothing.
    #[default]
    None,
    /// The answer offers the cookie of this generation, the current one's successor.
    Offer(u32),
    /// This generation, presented for the first time, becomes the current one.
    Commit(u32),
}

/// What is done to the session beside answering. Only together with a permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// The request counts as activity.
    pub touch: bool,
    /// What happens to its secret.
    pub rotation: RotationStep,
    /// Differences that are reported and otherwise ignored.
    pub report: Differences,
}

/// The whole of a decision.
#[derive(Debug)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// What is done to the session.
    pub upkeep: Upkeep,
    /// The session ends, for this reason, before the answer goes out.
    pub ends: Option<EndReason>,
    /// For what it would have been refused, were the shield not told only to report.
    pub cross_site: Option<CrossSite>,
    /// The session is locked, before the answer goes out.
    pub locks: bool,
}
