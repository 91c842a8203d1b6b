//! One connection to a server: its socket, what was read and not yet used, what is to be written and not yet gone.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::base::clock::Timestamp;
use crate::upstream::places::TakenPlace;

/// How much is read at once, in bytes: at first, and at most. In between it follows what comes, so that a page with its
/// pictures inlined comes in one read and an idle connection holds little.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 80 * 1024;

/// How long a connection is kept that nobody needs: what nginx keeps one.
const MAX_REST: Duration = Duration::from_secs(60);

/// How long before its server would close it a connection is no longer used.
const BEFORE_CLOSE: Duration = Duration::from_secs(1);

/// What a connection to a server is made of.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    /// What was read and not yet used.
    pub(super) input: BytesMut,
    /// What is to be written before `data`.
    pub(super) output: Vec<u8>,
    written: usize,
    /// What is to be written after `output`.
    pub(super) data: Bytes,
    next_read: usize,
    /// Since when nothing was asked on it.
    pub rested_at: Timestamp,
    /// How long the server says that it keeps it.
    pub(super) kept_for: Option<Duration>,
    /// Until when the name of its server is taken to mean the one it leads to.
    known_until: Timestamp,
    place: TakenPlace,
}

impl Link {
    /// A link over `stream`, which takes up `place` for as long as it is, to a server whose name is known until then.
    pub fn new(stream: Stream, known_until: Timestamp, place: TakenPlace) -> Box<Self> {
        Box::new(Self {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            data: Bytes::new(),
            next_read: FIRST_READ,
            rested_at: Timestamp::default(),
            kept_for: None,
            known_until,
            place,
        })
    }

    /// Whether it has not been idle for too long: for longer than its server keeps it, or than a firewall may remember it;
    /// and its server's name need not be looked up again.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        // A second earlier than the server closes it: what is on its way then would meet a closed door.
        let kept_for = self.kept_for.map_or(MAX_REST, |kept_for| kept_for.saturating_sub(BEFORE_CLOSE).min(MAX_REST));
        now < self.rested_at.plus(kept_for.max(BEFORE_CLOSE)).min(self.known_until)
    }

    /// Whether it is as an idle connection must be: open, and nothing said that nobody asked for. Costs a call of the
    /// kernel only if something has happened on it.
    pub fn is_quiet(&mut self) -> bool {
        let (mut byte, mut context) = ([0], Context::from_waker(Waker::noop()));
        // What is read is either the end, or bytes that nobody asked for.
        let is_silent =
            || Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending();
        self.input.is_empty() && { is_silent }()
    }

    /// The socket, and what was read of it already.
    pub fn into_parts(self) -> (Switched, Bytes) {
        (Switched { stream: self.stream, _place: self.place }, self.input.freeze())
    }

    /// Gives back the memory that it needed while it was in use.
    pub fn rest(&mut self) {
        (self.input, self.output) = (BytesMut::new(), Vec::new());
    }

    /// Whether something is still to be written.
    pub(super) fn has_output(&self) -> bool {
        self.written < self.output.len() || self.data.has_remaining()
    }

    /// Writes what is to be written.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_output() {
            let head = self.output.get(self.written..).unwrap_or_default();
            let stream = Pin::new(&mut self.stream);
            let count = if self.data.is_empty() {
                ready!(stream.poll_write(context, head))?
            } else {
                ready!(stream.poll_write_vectored(context, &[IoSlice::new(head), IoSlice::new(&self.data)]))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            self.written += of_head;
            self.data.advance(count - of_head);
        }
        self.output.clear();
        self.written = 0;
        // TLS may hold bytes back.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Reads what has come; how much it was, nothing being the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.next_read);
        let capacity = self.input.capacity() - self.input.len();
        let count = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(context))?;
        if count == capacity {
            self.next_read = (self.next_read * 2).min(LARGEST_READ);
        } else if count < self.next_read / 4 {
            self.next_read = (self.next_read / 2).max(FIRST_READ);
        }
        Poll::Ready(Ok(count))
    }
}

/// A connection that no longer speaks HTTP. It takes up a place all the same.
#[derive(Debug)]
pub struct Switched {
    stream: Stream,
    _place: TakenPlace,
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, pieces),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
