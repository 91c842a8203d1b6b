//! One connection to a server: its socket, what was read and not yet used, what is to be written and not yet gone.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is read at once, in bytes: at first, and at most. In between it follows what comes, so that a page with its
/// pictures inlined comes in one read and an idle connection holds little.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 256 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    /// What was read and not yet used.
    pub(super) input: BytesMut,
    /// What is to be written before `data`.
    pub(super) output: Vec<u8>,
    written: usize,
    /// What is to be written after `output`.
    pub(super) data: Bytes,
    next_read: usize,
    counted: Counted,
}

impl Link {
    /// A link over `stream`, counted in `open` for as long as it is.
    ///
    /// # Errors
    /// When the socket cannot be set up.
    pub fn new(stream: TcpStream, counted: Counted) -> io::Result<Box<Self>> {
        stream.set_nodelay(true)?;
        Ok(Box::new(Self {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            data: Bytes::new(),
            next_read: FIRST_READ,
            counted,
        }))
    }

    /// Whether it is as an idle connection must be: open, and nothing said that nobody asked for. Costs a call of the
    /// kernel only if something has happened on it.
    pub fn is_quiet(&self) -> bool {
        let has_news = || match self.stream.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => false,
            // Either it was closed, or there are bytes, or it was a false alarm.
            Poll::Ready(Ok(())) => {
                !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Poll::Ready(Err(_)) => true,
        };
        self.input.is_empty() && !has_news()
    }

    /// The socket, and what was read of it already.
    pub fn into_parts(self) -> (Switched, Bytes) {
        (Switched { stream: self.stream, _counted: self.counted }, self.input.freeze())
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
        Poll::Ready(Ok(()))
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

/// A connection that no longer speaks HTTP. It counts as one all the same.
#[derive(Debug)]
pub struct Switched {
    stream: TcpStream,
    _counted: Counted,
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

/// A count of open connections, one higher for as long as this lives.
#[derive(Debug)]
pub struct Counted(Rc<Cell<usize>>);

impl Counted {
    /// Counts one more.
    pub fn new(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
