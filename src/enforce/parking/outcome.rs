//! What became of a form that somebody must sign in for, and what they are told of it.

use crate::enforce::parking::PostId;

/// Why a form is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// Nobody knows whose it is.
    Stranger,
    /// It is larger than it may be.
    TooLarge,
    /// Its person has as many as they may have, or sends them all at once.
    TooMany,
    /// All of them together are as many as may be.
    Full,
    /// It did not arrive, or not in time.
    Broken,
    /// The store fails.
    Store,
    /// It is no form, or of no kind that browsers send.
    OtherKind,
    /// Its route asks for a token, and it has none of its session.
    Token,
    /// Nothing is kept at all.
    Off,
}

impl NotKept {
    /// Every reason, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Stranger,
        Self::TooLarge,
        Self::TooMany,
        Self::Full,
        Self::Broken,
        Self::Store,
        Self::OtherKind,
        Self::Token,
        Self::Off,
    ];

    /// The name used in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Full => "full",
            Self::Broken => "broken",
            Self::Store => "store_failed",
            Self::OtherKind => "other_kind",
            Self::Token => "csrf_token",
            Self::Off => "off",
        }
    }

    /// What the person is told on the login page.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Stranger => {
                "What you sent was not carried out, and could not be kept. Sign in first, then fill it in and send it again."
            }
            Self::TooLarge => {
                "What you sent was not carried out. It is too large to be kept here: sign in, then send it again."
            }
            Self::TooMany => {
                "What you sent was not carried out. It could not be kept, because other things that you sent are being \
                 kept already: sign in, then send it again."
            }
            Self::Full | Self::Store => {
                "What you sent was not carried out, and could not be kept just now: sign in, then send it again."
            }
            Self::OtherKind => {
                "What you sent was not carried out. It is not a form that can be kept here: sign in, then send it again."
            }
            Self::Token => {
                "What you sent was not carried out. It was not sent from a page that was opened in your session: sign in, \
                 open that page again, then send it."
            }
            Self::Off => "What you sent was not carried out: sign in, then send it again.",
            Self::Broken => {
                "What you sent did not arrive whole, so it was not carried out and could not be kept: sign in, then send \
                 it again."
            }
        }
    }
}

/// What the person is told whose form is kept.
const KEPT: &str = "What you sent is kept for you. Once you have signed in, you can look at it and send it.";

/// What became of the form that somebody must sign in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none, or it is from elsewhere.
    NoForm,
    /// It is kept.
    Kept(PostId),
    /// It is not.
    NotKept(NotKept),
}

impl Outcome {
    /// What the person is told on the login page, behind what they are told anyway.
    pub fn notice(self, before: &str) -> String {
        let more = match self {
            Self::NoForm => return before.to_owned(),
            Self::Kept(_) => KEPT,
            Self::NotKept(why) => why.sentence(),
        };
        if before.is_empty() { more.to_owned() } else { format!("{before} {more}") }
    }

    /// What the way to the login page remembers of it.
    pub const fn kept(self) -> Option<PostId> {
        match self {
            Self::Kept(kept) => Some(kept),
            Self::NoForm | Self::NotKept(_) => None,
        }
    }
}
