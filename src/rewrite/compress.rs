//! A body that is compressed on its way, a piece at a time.

use std::cell::Cell;
use std::io::{self, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::policy::compression::Coding;

/// How many answers a worker compresses at once; the others go out as they are. Each takes up to about 1.1 MiB, measured,
/// for as long as its client takes to read it, so this is 70 MiB a worker.
const MOST_AT_ONCE: usize = 64;

/// How much is compressed before others have their turn, in bytes: well under a millisecond.
const PIECE: usize = 16 * 1024;

/// What each coding is told. Above these, pages get hardly shorter, and take twice the time and more. Of pages of HTML and
/// scripts, measured a mebibyte at a time: gzip leaves 22 % at 110 MB/s and 0.3 MiB of memory, brotli 19.5 % at 95 MB/s
/// and 1.1 MiB, zstd 18.6 % at 350 MB/s and 1.0 MiB. Windows are far below what clients must take (RFC 9659: 8 MiB).
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 17;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;

/// How much brotli hands on at once, in bytes.
const BROTLI_BUFFER: usize = 4096;

/// The places of a worker for answers that are compressed. Clones share them.
#[derive(Clone, Default)]
pub struct Places(Rc<Cell<usize>>);

/// One of them, until it is dropped.
pub struct Place(Places);

impl Places {
    /// A place, if there is one.
    pub fn take(&self) -> Option<Place> {
        let taken = self.0.get();
        (taken < MOST_AT_ONCE).then(|| {
            self.0.set(taken + 1);
            Place(self.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.0.0;
        places.set(places.get() - 1);
    }
}

/// What compresses one answer.
enum Encoder {
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
            Coding::Brotli => {
                let writer = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    /// What has come out so far and was not taken yet.
    fn take(&mut self) -> Bytes {
        std::mem::take(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        })
        .into()
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// How far a body has come.
enum State {
    /// Nothing has come.
    Before,
    Within(Encoder),
    /// All of it has been compressed.
    After,
}

/// A body, compressed. What has come of it so far is sent on when no more comes at once.
pub struct Compressed<B> {
    inner: B,
    coding: Coding,
    encoder: State,
    /// What was read and not compressed yet.
    held: Bytes,
    /// Whether a piece was compressed in this turn.
    has_worked: bool,
    /// Whether the encoder holds something that would be missed.
    is_behind: bool,
    trailers: Option<HeaderMap>,
    _place: Place,
}

impl<B> Compressed<B> {
    /// `inner` in `coding`.
    pub const fn new(inner: B, coding: Coding, place: Place) -> Self {
        Self {
            inner,
            coding,
            encoder: State::Before,
            held: Bytes::new(),
            has_worked: false,
            is_behind: false,
            trailers: None,
            _place: place,
        }
    }

    /// Compresses what is held, a piece a turn, so that others have theirs; what came out.
    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if std::mem::take(&mut self.has_worked) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if matches!(self.encoder, State::Before) {
            self.encoder = State::Within(Encoder::new(self.coding)?);
        }
        let State::Within(encoder) = &mut self.encoder else { return Poll::Ready(Ok(Bytes::new())) };
        encoder.writer().write_all(&self.held.split_to(PIECE.min(self.held.len())))?;
        (self.has_worked, self.is_behind) = (true, true);
        Poll::Ready(Ok(encoder.take()))
    }

    /// What the encoder has kept back so far.
    fn flush(&mut self) -> io::Result<Bytes> {
        match &mut self.encoder {
            State::Within(encoder) if std::mem::take(&mut self.is_behind) => {
                encoder.writer().flush()?;
                Ok(encoder.take())
            }
            State::Before | State::Within(_) | State::After => Ok(Bytes::new()),
        }
    }

    /// What is still to come when nothing more is to be compressed.
    fn finish(&mut self) -> io::Result<Bytes> {
        match std::mem::replace(&mut self.encoder, State::After) {
            State::Before => Encoder::new(self.coding)?.finish(),
            State::Within(encoder) => encoder.finish(),
            State::After => Ok(Bytes::new()),
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Compressed<B> {
    /// The next bytes that come out; none at the end.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        while !matches!(self.encoder, State::After) {
            let out = if !self.held.is_empty() {
                ready!(self.poll_held(context))?
            } else {
                match Pin::new(&mut self.inner).poll_frame(context) {
                    Poll::Ready(Some(frame)) => match frame.map_err(Into::into)?.into_data() {
                        Ok(data) => {
                            self.held = data;
                            continue;
                        }
                        Err(frame) => {
                            self.trailers = frame.into_trailers().ok();
                            self.finish()?
                        }
                    },
                    Poll::Ready(None) => self.finish()?,
                    Poll::Pending => {
                        self.has_worked = false;
                        let out = self.flush()?;
                        if out.is_empty() {
                            return Poll::Pending;
                        }
                        out
                    }
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Ok(out));
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }
}

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Body for Compressed<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = ready!(self.poll_bytes(context));
        Poll::Ready(match polled {
            Ok(bytes) if !bytes.is_empty() => Some(Ok(Frame::data(bytes))),
            Ok(_) => self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.encoder, State::After) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

#[cfg(test)]
mod tests;
