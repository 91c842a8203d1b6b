//! HTTP/1.1 towards a client: by hyper, and what hyper does not do, which is to announce an answer before it comes, and to
//! refuse every head that has two readings.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::finish::{self, FinishedBody};
use crate::server::heads::HeadWatch;
use crate::server::http::{ConnState, End, MAX_HEAD, drive};

/// How many header fields a request may have.
const MAX_HEADERS: usize = 128;

/// Serves a connection by `service` until it speaks HTTP no more.
pub async fn serve_http_1<I, S>(state: &Rc<ConnState>, io: I, service: S, peer: IpAddr) -> End
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: HttpService<Incoming, ResBody = FinishedBody, Error = Infallible> + Unpin,
{
    let io = Watched { io, state: Rc::clone(state), heads: HeadWatch::default(), owed: Owed::default() };
    let mut connection = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .header_read_timeout(None)
        // hyper would try to read during every answer, only to learn whether the client has left. That is looked
        // at by `drive`, now and then.
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    // What ends a connection early is its client's affair; what it asked for has been logged, but for what hyper cannot
    // read and answers by itself.
    let end = drive(state, |context, is_over| {
        let mut connection = Pin::new(&mut connection);
        if is_over {
            connection.as_mut().graceful_shutdown();
        }
        connection.poll(context).map(|ended| match ended {
            Ok(()) => End::Closed,
            Err(error) if error.is_parse() || error.is_parse_too_large() => {
                finish::unreadable(&state.worker, peer, error.is_parse_too_large());
                state.may_send.set(true);
                End::Closed
            }
            Err(_) => End::Gone,
        })
    })
    .await;
    // Taken whatever became of the connection: it must not keep itself alive.
    let tunnel = state.aside.take_tunnel();
    if let (End::Closed, Some(tunnel)) = (end, tunnel) {
        let parts = connection.into_parts();
        state.deadline.move_to(None);
        Box::pin(tunnel.run(parts.io.into_inner().io, parts.read_buf)).await;
        return End::Gone;
    }
    end
}

/// A connection's bytes: watched for the beginning of a request and what must not pass in its head, and with what
/// announces an answer put in before it.
struct Watched<I> {
    io: I,
    state: Rc<ConnState>,
    heads: HeadWatch,
    owed: Owed,
}

/// What is to be written before hyper goes on.
#[derive(Default)]
struct Owed {
    bytes: Vec<u8>,
    /// Whether hyper has written something and more of it may follow: it flushes when there is no more.
    is_within: bool,
}

impl Owed {
    /// Announces an answer. In the middle of the one before there is no place for that; nobody relies on being told.
    fn announce(&mut self, interims: &[Response<()>]) {
        if !self.is_within {
            interims.iter().for_each(|interim| write_head(&mut self.bytes, interim));
        }
    }
}

impl<I: AsyncWrite + Unpin> Watched<I> {
    /// Writes what announces the answer that is still to come.
    fn poll_announce(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let interims = self.state.aside.take_interims();
        self.owed.announce(&interims);
        while !self.owed.bytes.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, &self.owed.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.owed.bytes.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

/// The head of an answer before the answer (RFC 9112 section 4).
fn write_head(output: &mut Vec<u8>, interim: &Response<()>) {
    let status = interim.status();
    for piece in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        output.extend_from_slice(piece.as_bytes());
    }
    for (name, value) in interim.headers() {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            output.extend_from_slice(piece);
        }
    }
    output.extend_from_slice(b"\r\n");
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heads.is_refused() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.state.was_read();
        if let Some(bytes) = buffer.filled_mut().get_mut(before..) {
            let count = self.heads.received(bytes);
            buffer.set_filled(before + count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_announce(context))?;
        self.owed.is_within = true;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.owed.is_within = false;
        ready!(self.poll_announce(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_announce(context))?;
        self.owed.is_within = true;
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode, header};

    use super::*;

    #[test]
    fn an_answer_is_announced_between_answers_only() {
        let mut hints = Response::new(());
        *hints.status_mut() = StatusCode::EARLY_HINTS;
        hints.headers_mut().insert(header::LINK, HeaderValue::from_static("</style.css>"));
        let hints = [hints];
        let mut owed = Owed { is_within: true, ..Owed::default() };
        owed.announce(&hints);
        assert_eq!(owed.bytes, b"");
        owed.is_within = false;
        owed.announce(&hints);
        assert_eq!(owed.bytes, b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
    }
}
