//! Streams of HTTP/2 as bodies and as bytes (RFC 9113), for both of our ends: clients and applications.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a stream brings, as a body. Whoever takes a piece lets the other side send as much again.
#[derive(Debug)]
pub struct Received {
    stream: RecvStream,
    /// How much is still to come, if it was said.
    left: Option<u64>,
    has_data: bool,
}

impl Received {
    /// The body of a message with these headers.
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let length = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let left = if stream.is_end_stream() { Some(0) } else { length.and_then(|length| length.parse().ok()) };
        Self { stream, left, has_data: true }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while self.has_data {
            match ready!(self.stream.poll_data(context)).transpose()? {
                Some(data) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if data.is_empty() && !self.stream.is_end_stream() {
                        continue;
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                None => self.has_data = false,
            }
        }
        Poll::Ready(ready!(self.stream.poll_trailers(context)).transpose().map(|read| read.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    /// The other side has reset the stream, or the connection broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] h2::Error),
    /// The body itself broke off; the stream was reset.
    #[error("the body broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends a body as the data of a stream, to its end; the stream is reset when the body breaks off.
///
/// # Errors
/// When not all of it was sent.
pub async fn send_body<B>(stream: &mut SendStream<Bytes>, body: B) -> Result<(), Unsent>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let mut body = pin!(body);
    // A piece that waits for the other side's window, and whether it is the last.
    let mut waiting: Option<(Bytes, bool)> = None;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(reason) = stream.poll_reset(context)? {
                return Poll::Ready(Err(h2::Error::from(reason).into()));
            }
            if waiting.is_some() {
                ready!(poll_window(stream, context))?;
            }
            if let Some((data, is_last)) = waiting.take() {
                stream.send_data(data, is_last)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            // Asked for before any of the connection's window is: what waits for its body must not hold others up.
            match ready!(body.as_mut().poll_frame(context)) {
                None => return Poll::Ready(stream.send_data(Bytes::new(), true).map_err(Unsent::from)),
                Some(Err(error)) => {
                    stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(Unsent::Body(error.into())));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        stream.reserve_capacity(1);
                        waiting = Some((data, body.is_end_stream()));
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(stream.send_trailers(trailers).map_err(Unsent::from));
                    }
                },
            }
        }
    })
    .await
}

/// Ready when the other side takes at least a byte, which has been asked for. What is sent then may be more: it waits
/// in the stream's buffer for the rest of the window.
fn poll_window(stream: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(context)) {
            Some(granted) => granted.map(drop)?,
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
    Poll::Ready(Ok(()))
}

/// A stream as bytes both ways, once both sides have agreed on that (RFC 8441).
#[derive(Debug)]
pub struct Duplex {
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    /// What was received and not yet read.
    rest: Bytes,
    is_asking: bool,
    is_shut: bool,
}

impl Duplex {
    /// Of its two halves.
    pub const fn new(sending: SendStream<Bytes>, receiving: RecvStream) -> Self {
        Self { sending, receiving, rest: Bytes::new(), is_asking: false, is_shut: false }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receiving.poll_data(context)).transpose().map_err(io_error)? {
                Some(data) => self.rest = data,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        let _ = self.receiving.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !self.is_asking {
            self.sending.reserve_capacity(1);
            self.is_asking = true;
        }
        ready!(poll_window(&mut self.sending, context)).map_err(io_error)?;
        self.is_asking = false;
        self.sending.send_data(Bytes::copy_from_slice(bytes), false).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection writes what is to be written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            self.is_shut = true;
            self.sending.send_data(Bytes::new(), true).map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}
