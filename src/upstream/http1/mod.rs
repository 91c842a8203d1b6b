//! Our own end of HTTP/1.1 towards an application: one task drives request and answer, without a channel or a second
//! task between them.

mod body;
pub mod exchange;
pub(super) mod head;
pub mod link;
#[doc(hidden)]
pub mod offline;

use std::io;

/// What can go wrong with a request and its answer on a connection that was made.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// It was closed before any of an answer came.
    #[error("it hung up without an answer")]
    NoAnswer,
    /// It was closed in the middle of an answer.
    #[error("it hung up in the middle of its answer")]
    Truncated,
    /// What came is not HTTP/1.
    #[error("its answer is not HTTP/1: {0}")]
    NotHttp(&'static str),
    /// The head of the answer has more bytes than are read.
    #[error("the head of its answer is larger than {} bytes", head::MAX_ANSWER_HEAD)]
    HeadTooLarge,
    /// It wants to speak another protocol, which nobody asked for.
    #[error("it switches protocols unasked")]
    Switched,
    /// It gives another answer to who asks for a WebSocket by HTTP/2, which would there be read as one that is open.
    #[error("it answers {0} and opens no WebSocket")]
    NoWebSocket(http::StatusCode),
    /// The stream or the connection broke, over HTTP/2.
    #[error("HTTP/2 broke: {0}")]
    Http2(#[from] h2::Error),
    /// It stopped in the middle of an answer.
    #[error("it said nothing more in the middle of its answer")]
    Silent,
    /// The request's own body came too slowly, or not at all: its sender's doing.
    #[error("the request's body did not come in time")]
    SlowUpload,
    /// The request's own body broke off or was not as long as it said: its sender's doing.
    #[error("the request's body broke off: {0}")]
    Upload(Box<dyn std::error::Error + Send + Sync>),
}

impl Broken {
    /// Whether the connection may simply have been closed while it was idle: nothing came back on it.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Io(_) | Self::NoAnswer => true,
            // Of these it says itself that it has done nothing about them (RFC 9113 sections 6.8 and 8.7).
            Self::Http2(error) => {
                error.is_io() || error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM)
            }
            Self::Truncated
            | Self::NotHttp(_)
            | Self::HeadTooLarge
            | Self::Switched
            | Self::NoWebSocket(_)
            | Self::Silent
            | Self::SlowUpload
            | Self::Upload(_) => false,
        }
    }
}

impl From<httparse::Error> for Broken {
    fn from(error: httparse::Error) -> Self {
        Self::NotHttp(match error {
            httparse::Error::HeaderName => "a header's name has bytes that none may have",
            httparse::Error::HeaderValue => "a header's value has bytes that none may have",
            httparse::Error::NewLine => "a line does not end as it must",
            httparse::Error::Status => "the status is not three digits and a reason",
            httparse::Error::TooManyHeaders => "too many headers",
            httparse::Error::Version => "another version, or another protocol",
            httparse::Error::Token => "bytes where none may be",
        })
    }
}

#[cfg(test)]
mod tests;
