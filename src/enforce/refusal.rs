//! Why a request is not answered by its application: the kinds of refusals, and what each is called and says.

use std::time::Duration;

use http::StatusCode;

use crate::limit::rate::Exceeded;
use crate::policy::facts::BadRequest;
use crate::policy::verdict::{CrossSite, Reason};
use crate::session::level::Shortfall;
use crate::upstream::http1::Broken;
use crate::upstream::pool::UpstreamError;

/// After how long what passes by itself is worth another try: most of it has passed by then.
const SOON: Duration = Duration::from_secs(2);

/// What too many wrong passwords for one name are called.
pub const ACCOUNT_LIMIT: &str = "account_limit";

/// Why a request is not answered by its application.
#[derive(Debug)]
pub enum Refusal {
    /// It is malformed.
    Malformed(BadRequest),
    /// Its host is not one that this connection is for (RFC 9110 section 15.5.20).
    Misdirected,
    /// No route leads anywhere.
    NoRoute,
    /// One of our own pages does not exist.
    NoPage,
    /// It expects what nobody here knows.
    Expectation,
    /// One of our own pages takes other methods.
    Method(&'static str),
    /// The body sent to one of our own pages is too large.
    TooLarge,
    /// What was sent to one of our own pages cannot be read.
    BadForm,
    /// It came from a page of another origin.
    CrossSite,
    /// It was not a person who went there.
    NoNavigation,
    /// One of our own pages is asked for in a frame, and shown in none.
    InFrame,
    /// The user name or the password is wrong.
    WrongPassword,
    /// They are right, and their owner has as many sessions as they may have.
    SessionsFull,
    /// Nobody is signed in, and it is no navigation.
    Unauthenticated(Reason),
    /// The person may not.
    Forbidden(Reason),
    /// Too many requests, counted by what.
    TooMany(&'static str, Exceeded),
    /// Too many people sign in at once.
    LoginBusy,
    /// The session store fails.
    Store,
    /// The session store cannot write down what has become of a session.
    Unwritten,
    /// The request's body broke off on its way here.
    BrokenUpload,
    /// The body of the request came too slowly.
    SlowUpload,
    /// The upstream fails.
    Upstream(UpstreamError),
    /// A fault of ours.
    Internal,
}

impl Refusal {
    /// The status it is answered with.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::BadForm | Self::BrokenUpload => StatusCode::BAD_REQUEST,
            Self::SlowUpload => StatusCode::REQUEST_TIMEOUT,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::NoRoute | Self::NoPage => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SessionsFull => StatusCode::CONFLICT,
            Self::CrossSite | Self::NoNavigation | Self::InFrame | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::WrongPassword | Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::TooMany(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::LoginBusy | Self::Store | Self::Unwritten => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(UpstreamError::ConnectTimeout { .. } | UpstreamError::FirstByteTimeout { .. }) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Upstream(UpstreamError::Exhausted) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(UpstreamError::Connect { .. } | UpstreamError::Exchange { .. }) => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether nothing of the request can have reached an application.
    pub const fn is_before_sending(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::Misdirected
            | Self::NoRoute
            | Self::NoPage
            | Self::Expectation
            | Self::Method(_)
            | Self::TooLarge
            | Self::BadForm
            | Self::CrossSite
            | Self::NoNavigation
            | Self::InFrame
            | Self::WrongPassword
            | Self::SessionsFull
            | Self::Forbidden(_)
            | Self::TooMany(..)
            | Self::LoginBusy
            | Self::Store
            | Self::Unwritten
            | Self::Upstream(
                UpstreamError::Connect { .. } | UpstreamError::ConnectTimeout { .. } | UpstreamError::Exhausted,
            ) => true,
            // The session may have ended while the application was at it.
            Self::Unauthenticated(_)
            | Self::BrokenUpload
            | Self::SlowUpload
            | Self::Upstream(UpstreamError::FirstByteTimeout { .. } | UpstreamError::Exchange { .. })
            | Self::Internal => false,
        }
    }

    /// The name used in logs and JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::NoPage => "not_found",
            Self::Expectation => "expectation_failed",
            Self::Method(_) => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::BadForm => "bad_form",
            Self::CrossSite => "cross_site",
            Self::NoNavigation => "not_navigation",
            Self::InFrame => "in_frame",
            Self::WrongPassword => "wrong_password",
            Self::SessionsFull => "max_sessions",
            Self::Unauthenticated(reason) | Self::Forbidden(reason) => reason.name(),
            Self::TooMany(what, _) => what,
            Self::LoginBusy => "login_busy",
            Self::Store | Self::Unwritten => "store_unavailable",
            Self::BrokenUpload => "upload_broken",
            Self::SlowUpload => "upload_slow",
            Self::Upstream(error) => error.name(),
            Self::Internal => "internal_error",
        }
    }

    /// Another sentence than the status alone would have, where one says more.
    pub(super) fn message(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(fault) => Some(fault.sentence()),
            Self::NoRoute => Some("No application is configured for this address."),
            Self::Expectation => Some("The request expects something that is not done here."),
            Self::Method(_) => Some("This page cannot be used in that way."),
            Self::TooLarge => Some("What was sent is too large for this page."),
            Self::BadForm => Some("The form could not be read."),
            Self::CrossSite => Some(CrossSite::Elsewhere.sentence()),
            Self::NoNavigation => Some(
                "This page is for people who go there in a window of their browser, and not for scripts or frames.",
            ),
            Self::InFrame => Some("This page is not shown in a part of another one."),
            Self::Forbidden(Reason::Level(shortfall)) => Some(shortfall.sentence()),
            Self::WrongPassword => Some("The user name or the password is not right."),
            Self::SessionsFull => Some(
                "You have as many sessions as you may have at a time. Sign out in another place, then sign in here, or have \
                 whoever runs this service end one.",
            ),
            Self::Forbidden(Reason::CrossSite(found)) => Some(found.sentence()),
            Self::Unauthenticated(reason) => Some(match reason.sentence() {
                Some(sentence) => sentence,
                None => "Please sign in.",
            }),
            Self::LoginBusy => Some("Many people are signing in right now. Please try again in a moment."),
            Self::Store => Some("Sessions cannot be checked right now. Please try again in a moment."),
            Self::Unwritten => {
                Some("Who signs in and out cannot be written down right now. Please try again in a moment.")
            }
            Self::BrokenUpload => Some("What was being sent broke off."),
            Self::SlowUpload => Some("What was being sent came too slowly."),
            Self::TooMany(ACCOUNT_LIMIT, _) => Some(
                "There were many wrong passwords for this name. Please wait a while, or sign in with a browser that you \
                 have signed in with before.",
            ),
            Self::TooMany(..)
            | Self::Misdirected
            | Self::NoPage
            | Self::Forbidden(_)
            | Self::Upstream(_)
            | Self::Internal => None,
        }
    }

    /// What another site is refused for.
    pub(super) const fn cross_site(&self) -> Option<CrossSite> {
        if let Self::Forbidden(Reason::CrossSite(found)) = self {
            Some(*found)
        } else if let Self::CrossSite = self {
            Some(CrossSite::Elsewhere)
        } else {
            None
        }
    }

    /// The name that the client is told. What is the matter with an application is for the log alone.
    pub(super) fn shown(&self) -> &'static str {
        if let Self::Upstream(_) = self { "upstream" } else { self.name() }
    }

    /// How long to wait before another try, where that is known.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::TooMany(_, exceeded) = self {
            return Some(exceeded.retry_after);
        }
        if let Self::Forbidden(Reason::Level(Shortfall::TooNew(wait))) = self {
            return Some(*wait);
        }
        let passes_soon =
            matches!(self, Self::LoginBusy | Self::Store | Self::Unwritten | Self::Upstream(UpstreamError::Exhausted));
        passes_soon.then_some(SOON)
    }
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        // What is the sender's doing is no fault of the application's.
        if let UpstreamError::Exchange { source: Broken::Upload(_), .. } = error {
            Self::BrokenUpload
        } else if let UpstreamError::Exchange { source: Broken::SlowUpload, .. } = error {
            Self::SlowUpload
        } else {
            Self::Upstream(error)
        }
    }
}
