//! A client's TCP connection, shared between TLS, which reads and writes it, and the watch that looks whether the client
//! is still there.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadlines;

/// The connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Tcp {
    stream: Rc<RefCell<TcpStream>>,
    deadlines: Rc<Deadlines>,
    wrote_at: Rc<Cell<Timestamp>>,
}

impl Tcp {
    /// Shares a connection. `deadlines` know the time.
    pub fn new(stream: TcpStream, deadlines: &Rc<Deadlines>) -> Self {
        let wrote_at = Rc::new(Cell::new(deadlines.recent()));
        Self { stream: Rc::new(RefCell::new(stream)), deadlines: Rc::clone(deadlines), wrote_at }
    }

    /// When the kernel last took something of what is to be sent.
    pub fn wrote_at(&self) -> Timestamp {
        self.wrote_at.get()
    }

    fn note(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.wrote_at.set(self.deadlines.recent());
        }
        polled
    }

    /// Whether the client has closed its side. Asks the runtime, not the kernel.
    pub fn is_closed_by_peer(&self) -> bool {
        let stream = self.stream.borrow();
        let ready = pin!(stream.ready(Interest::READABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes);
        self.note(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// One piece, as nearly every answer is once TLS has made a record of it, is written by the plain call: the kernel
    /// need not first read a list.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let polled = match pieces {
            [only] => Pin::new(&mut *stream).poll_write(context, only),
            all => Pin::new(&mut *stream).poll_write_vectored(context, all),
        };
        self.note(polled)
    }
}
