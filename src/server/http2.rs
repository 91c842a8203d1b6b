//! HTTP/2 towards a client (RFC 9113): each stream is a request, answered in a task of its own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::clock::Timestamp;
use crate::base::http2::{Duplex, Received, send_body};
use crate::enforce::body::Incoming;
use crate::observe::metrics::Metrics;
use crate::server::conn::ConnInfo;
use crate::server::finish::FinishedBody;
use crate::server::frames::FrameWatch;
use crate::server::handle::handle;
use crate::server::http::{Aside, AsideOf, ConnState, End, MAX_HEAD, drive};

/// How many requests of one connection are served at once: RFC 9113 section 6.5.2 asks for at least 100.
const MAX_STREAMS: u32 = 128;

/// How much of a request's body is taken in advance on a stream, and on all of a connection's.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How much of an answer is buffered for a stream.
const SEND_BUFFER: usize = 256 * 1024;

/// How far a connection is.
enum Phase<I> {
    Shaking(Handshake<Watched<I>, Bytes>),
    Serving(Connection<Watched<I>, Bytes>),
}

/// Serves a connection until it ends.
pub async fn serve_http_2<I>(state: &Rc<ConnState>, conn: &Rc<ConnInfo>, io: I) -> End
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let frames = Rc::new(RefCell::new(FrameWatch::new(state.now())));
    let io = Watched { io, state: Rc::clone(state), frames: Rc::clone(&frames) };
    let shaking = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .enable_connect_protocol()
        .handshake(io);
    let mut phase = Phase::Shaking(shaking);
    let (mut must_end, mut is_refused) = (false, false);
    drive(state, |context, is_over| {
        must_end |= is_over;
        loop {
            let connection = match &mut phase {
                Phase::Shaking(shaking) => match Pin::new(shaking).poll(context) {
                    Poll::Ready(Ok(connection)) => {
                        phase = Phase::Serving(connection);
                        continue;
                    }
                    // Browsers open connections in advance. One that is closed they leave alone; one on which their first
                    // request meets a GOAWAY has cost some of them a form with a file (Chromium waits for ever).
                    Poll::Pending if must_end => return Poll::Ready(End::Gone),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                },
                Phase::Serving(connection) => connection,
            };
            if std::mem::take(&mut must_end) {
                connection.graceful_shutdown();
            }
            let next = connection.poll_accept(context);
            if !is_refused && frames.borrow().is_flood() {
                is_refused = true;
                Metrics::count(&state.worker.shared.metrics.limited, "http2_frames");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            match ready!(next) {
                Some(Ok((request, respond))) => {
                    // Boxed, so that it is not copied into its task, and out of it at its end.
                    tokio::task::spawn_local(Box::pin(answer(Rc::clone(state), Rc::clone(conn), request, respond)));
                }
                Some(Err(_)) => return Poll::Ready(End::Gone),
                // Who floods is not listened to any longer.
                None if is_refused => return Poll::Ready(End::Gone),
                None => return Poll::Ready(End::Closed),
            }
        }
    })
    .await
}

/// Answers the request of one stream.
async fn answer(
    state: Rc<ConnState>,
    conn: Rc<ConnInfo>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, stream) = request.into_parts();
    // What follows a CONNECT is no body, but what the stream is to become (RFC 9113 section 8.5).
    let (stream, body) = if parts.method == Method::CONNECT {
        (Some(stream), Incoming::Nothing)
    } else {
        (None, Incoming::Http2(Received::new(stream, &parts.headers)))
    };
    let aside = Aside::default();
    let answered = {
        let activity = state.begin(!body.is_end_stream());
        // In a box, so that the task is small while it is made and moved about.
        let mut handling =
            Box::pin(handle(Rc::clone(&state.worker), conn, activity, parts, body, AsideOf::Stream(&aside)));
        poll_fn(|context| {
            let polled = handling.as_mut().poll(context);
            for interim in aside.take_interims() {
                // Who has left needs no announcement either.
                let _ = respond.send_informational(interim);
            }
            if polled.is_pending() && respond.poll_reset(context).is_ready() {
                return Poll::Ready(None);
            }
            polled.map(Result::ok)
        })
        .await
    };
    let Some(response) = answered else { return };
    let (head, body) = response.into_parts();
    let tunnel = aside.take_tunnel();
    let mut head = Response::from_parts(head, ());
    head.headers_mut().entry(header::DATE).or_insert_with(|| date(&state));
    if let (Some(tunnel), Some(stream)) = (tunnel, stream) {
        if let Ok(sending) = respond.send_response(head, false) {
            Box::pin(tunnel.run(Duplex::new(sending, stream), Bytes::new())).await;
        }
        return;
    }
    if let Some(mut sending) = begin(head, &body, &mut respond) {
        // Who has left, or whose answer broke off, has been told by the stream's end.
        let _ = send_body(&mut sending, body).await;
    }
}

/// Sends the head of an answer; the stream for its body, if there is one to send.
fn begin(mut head: Response<()>, body: &FinishedBody, respond: &mut SendResponse<Bytes>) -> Option<SendStream<Bytes>> {
    let is_whole = body.is_end_stream();
    if let (false, Some(length)) = (is_whole, body.size_hint().exact()) {
        head.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    match respond.send_response(head, is_whole) {
        Ok(sending) => (!is_whole).then_some(sending),
        Err(_) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            None
        }
    }
}

thread_local! {
    /// The second that was last written as a date, and how.
    static DATE: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
}

/// The time of an answer whose application has not said it (RFC 9110 section 6.6.1).
fn date(state: &ConnState) -> HeaderValue {
    let now = state.now();
    DATE.with_borrow_mut(|(second, written)| {
        if *second != now.as_secs() {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
            if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(time)) {
                (*second, *written) = (now.as_secs(), value);
            }
        }
        written.clone()
    })
}

/// A connection's bytes, watched for floods.
struct Watched<I> {
    io: I,
    state: Rc<ConnState>,
    frames: Rc<RefCell<FrameWatch>>,
}

impl<I> Watched<I> {
    fn now(&self) -> Timestamp {
        self.state.now()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames.borrow().is_flood() {
            // Not one more of them.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.frames.borrow_mut().received(read, self.now());
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.frames.borrow_mut().sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(context, pieces))?;
        self.frames.borrow_mut().sent(count);
        Poll::Ready(Ok(count))
    }
}
