//! Files of any size that are on no disk: made on the way out, compared byte by byte on the way in.
//!
//! Their bytes repeat, but only after a prime number of them, so that a piece that is lost, doubled or moved is noticed
//! wherever buffers and records begin.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::cases::Document;
use crate::lab;

/// After how many bytes they repeat.
const PERIOD: usize = 1_048_573;
/// How much is handed out at once.
const CHUNK: usize = 64 * 1024;
/// Who takes a file of at least this many bytes pauses in the middle of it ...
const PAUSES_FROM: u64 = 1 << 29;
/// ... for so long, while whoever sends it would like to go on.
const PAUSE: Duration = Duration::from_secs(3);

/// The bytes of all files.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Bytes);

/// A file on its way out.
#[derive(Debug)]
pub(crate) struct Generated {
    pattern: Pattern,
    at: u64,
    size: u64,
}

impl Pattern {
    /// Makes the bytes.
    pub(crate) fn new() -> Self {
        let mut bytes = lab::body(Document { path: "", size: PERIOD as u64 });
        // So that no chunk need be put together of two.
        bytes.extend_from_within(..CHUNK);
        Self(bytes.into())
    }

    /// A file of this size.
    pub(crate) fn file(&self, size: u64) -> Generated {
        Generated { pattern: self.clone(), at: 0, size }
    }

    /// What comes at this place: a chunk, or what is left of a file that ends at `size`.
    fn chunk(&self, at: u64, size: u64) -> Bytes {
        let length = size.saturating_sub(at).min(CHUNK as u64) as usize;
        let start = (at % PERIOD as u64) as usize;
        self.0.slice(start..start + length)
    }

    /// Takes a file, and compares it with the one that has this size.
    pub(crate) async fn compare(&self, mut body: Incoming, size: u64) -> Result<(), String> {
        let mut at = 0;
        let mut is_rested = size < PAUSES_FROM;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("it broke off after {at} bytes: {error}"))?;
            let Some(mut data) = frame.into_data().ok().filter(|data| !data.is_empty()) else { continue };
            while !data.is_empty() {
                let expected = self.chunk(at, size);
                let length = expected.len().min(data.len());
                if length == 0 {
                    return Err(format!("there is more of it than {size} bytes"));
                }
                if data.split_to(length)[..] != expected[..length] {
                    return Err(format!("it is another one from byte {at} on, or a few further"));
                }
                at += length as u64;
            }
            if !is_rested && at >= size / 2 {
                is_rested = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
        if at == size { Ok(()) } else { Err(format!("it ended after {at} of {size} bytes")) }
    }
}

impl Body for Generated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.at == self.size {
            return Poll::Ready(None);
        }
        let chunk = self.pattern.chunk(self.at, self.size);
        self.at += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.at)
    }
}
