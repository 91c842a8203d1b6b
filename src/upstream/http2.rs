//! Our own end of HTTP/2 towards an application (RFC 9113), when it is asked for: one connection carries many requests.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadlines;
use crate::base::http2::{Received, Unsent, send_body};
use crate::upstream::http1::Broken;
use crate::upstream::http1::exchange::{MAX_ANNOUNCED, MAX_INTERIM_HEADS};
use crate::upstream::http1::head::MAX_ANSWER_HEAD;
use crate::upstream::http1::link::Stream;
use crate::upstream::places::TakenPlace;
use crate::upstream::upload::{DISCARDING, SEND_TIMEOUT, Upload, discard, stands_still};

/// How much of an answer's body is taken in advance on a stream, and on all of a connection's: as much as on all streams
/// together, so that clients that do not read hold up nobody else.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = MAX_STREAMS as u32 * STREAM_WINDOW;

/// How much of a request's body is buffered for a stream.
const SEND_BUFFER: usize = 256 * 1024;

/// How many requests one connection carries at once, if its server lets us.
const MAX_STREAMS: usize = 100;

/// How long a connection is kept that nobody needs: as one of HTTP/1.1.
const MAX_REST: Duration = Duration::from_secs(60);

/// One connection to a server, for many requests at once.
#[derive(Debug)]
pub struct Shared {
    sending: SendRequest<Bytes>,
    scheme: &'static str,
    /// How many requests are under way on it.
    under_way: Cell<usize>,
    /// Since when there has been none.
    rested_at: Cell<Timestamp>,
    /// Until when the name of its server is taken to mean the one it leads to.
    known_until: Timestamp,
    is_over: Rc<Cell<bool>>,
    /// Told when a request has ended, or the connection.
    freed: Rc<Notify>,
}

impl Shared {
    /// Begins to speak HTTP/2 on `stream`, which takes up `place` for as long as it is.
    ///
    /// # Errors
    /// When the server does not.
    pub async fn begin(
        stream: Stream,
        place: TakenPlace,
        deadlines: &Rc<Deadlines>,
        known_until: Timestamp,
    ) -> Result<Rc<Self>, h2::Error> {
        let scheme = scheme(&stream);
        let (sending, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_ANSWER_HEAD as u32)
            .initial_max_send_streams(MAX_STREAMS)
            .handshake(stream)
            .await?;
        let (is_over, freed) = (Rc::new(Cell::new(false)), Rc::<Notify>::default());
        let (ended, told) = (Rc::clone(&is_over), Rc::clone(&freed));
        tokio::task::spawn_local(async move {
            // What it broke with is told by the requests on it.
            let _ = connection.await;
            ended.set(true);
            told.notify_waiters();
            drop(place);
        });
        let rested_at = Cell::new(deadlines.recent());
        Ok(Rc::new(Self { sending, scheme, under_way: Cell::new(0), rested_at, known_until, is_over, freed }))
    }

    /// Whether another request may be sent on it, and at once.
    pub fn has_room(&self, now: Timestamp) -> bool {
        self.is_open() && now < self.known_until && !self.is_full()
    }

    /// Whether it carries as many requests as it may.
    pub fn is_full(&self) -> bool {
        self.under_way.get() >= self.sending.current_max_send_streams().min(MAX_STREAMS)
    }

    /// Whether more may be asked on it: it has not ended, and is not about to.
    pub fn is_open(&self) -> bool {
        !self.is_over.get()
    }

    /// Nothing more is asked on it: its server takes nothing more, or gives no sign of life. What is under way goes on.
    pub fn retire(&self) {
        self.is_over.set(true);
        self.freed.notify_waiters();
    }

    /// Whether it is kept: open, and not idle for too long.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.is_open()
            && now < self.known_until
            && (self.under_way.get() > 0 || now < self.rested_at.get().plus(MAX_REST))
    }

    /// How many requests are under way on it.
    pub fn under_way(&self) -> usize {
        self.under_way.get()
    }
}

/// A request under way on a connection.
struct UnderWay {
    shared: Rc<Shared>,
    deadlines: Rc<Deadlines>,
}

impl UnderWay {
    /// Waits for room on the connection, or its end.
    async fn begin(shared: &Rc<Shared>, deadlines: &Rc<Deadlines>) -> Self {
        while shared.is_open() && shared.is_full() {
            shared.freed.notified().await;
        }
        shared.under_way.set(shared.under_way.get() + 1);
        Self { shared: Rc::clone(shared), deadlines: Rc::clone(deadlines) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.under_way.set(self.shared.under_way.get() - 1);
        self.shared.rested_at.set(self.deadlines.recent());
        self.shared.freed.notify_one();
    }
}

/// What whoever sends the body of a request and whoever awaits its answer know of each other.
#[derive(Default)]
struct Halves {
    /// What the request's body broke off with.
    failed: RefCell<Option<Broken>>,
    /// Nobody waits for the answer any more, and it was not over.
    is_abandoned: Cell<bool>,
    sender: RefCell<Option<Waker>>,
}

/// The half that awaits the answer.
struct Awaiting {
    halves: Rc<Halves>,
    is_over: bool,
}

impl Awaiting {
    /// What broke the exchange: the request's body, if that broke off first.
    fn blame(&self, error: h2::Error) -> Broken {
        self.halves.failed.borrow_mut().take().unwrap_or(Broken::Http2(error))
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        if !self.is_over {
            self.halves.is_abandoned.set(true);
            if let Some(sender) = self.halves.sender.take() {
                sender.wake();
            }
        }
    }
}

/// A request on its way, and its answer.
pub struct Exchange {
    under_way: UnderWay,
    answering: ResponseFuture,
    awaiting: Awaiting,
    announced: usize,
}

impl Exchange {
    /// Sends a request, as soon as the server lets another begin. Its body is sent by a task of its own.
    ///
    /// # Errors
    /// When the connection is none any more. The body is left where it is.
    pub async fn begin<B>(
        shared: &Rc<Shared>,
        deadlines: &Rc<Deadlines>,
        parts: &Parts,
        body: &mut Option<Upload<B>>,
    ) -> Result<Self, Broken>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin> + Unpin + 'static,
    {
        let under_way = UnderWay::begin(shared, deadlines).await;
        let request = request(shared.scheme, parts)?;
        let begun = match shared.sending.clone().ready().await {
            Ok(mut sending) => sending.send_request(request, body.is_none()),
            Err(error) => Err(error),
        };
        let (answering, stream) = begun.inspect_err(|_| shared.retire())?;
        let halves = Rc::<Halves>::default();
        if let Some(body) = body.take() {
            tokio::task::spawn_local(upload(stream, body, Rc::clone(&halves), Rc::clone(deadlines)));
        }
        Ok(Self { under_way, answering, awaiting: Awaiting { halves, is_over: false }, announced: 0 })
    }

    /// Ready with the head of the answer. What announces it is given to `announce` as it comes.
    ///
    /// # Errors
    /// When none came, or not one that can be passed on.
    pub fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        announce: impl Fn(Response<()>),
    ) -> Poll<Result<Response<RecvStream>, Broken>> {
        let mut interims = 0;
        while let Poll::Ready(Some(interim)) = self.answering.poll_informational(context) {
            interims += 1;
            if interims > MAX_INTERIM_HEADS {
                return Poll::Ready(Err(Broken::NotHttp("it announces an answer without end")));
            }
            let interim = interim.map_err(|error| self.awaiting.blame(error))?;
            if interim.status() != StatusCode::CONTINUE && self.announced < MAX_ANNOUNCED {
                self.announced += 1;
                announce(interim);
            }
        }
        let answered =
            ready!(Pin::new(&mut self.answering).poll(context)).map_err(|error| self.awaiting.blame(error))?;
        if answered.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Poll::Ready(Err(Broken::Switched));
        }
        Poll::Ready(Ok(answered))
    }

    /// The body of the answer.
    pub fn into_body(self, stream: RecvStream, headers: &HeaderMap) -> Answer {
        Answer { received: Received::new(stream, headers), awaiting: self.awaiting, under_way: self.under_way }
    }
}

/// The scheme of what is asked for on a stream.
pub(super) const fn scheme(stream: &Stream) -> &'static str {
    match stream {
        Stream::Tls(_) => "https",
        Stream::Tcp(_) | Stream::Unix(_) => "http",
    }
}

/// The head of a request as HTTP/2 has it (RFC 9113 section 8.3.1): its host in the target, and nothing about the
/// connection.
pub(super) fn request(scheme: &str, parts: &Parts) -> Result<Request<()>, Broken> {
    const UNFIT: Broken = Broken::NotHttp("the request cannot be written as HTTP/2");
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(target).build();
    let mut headers = parts.headers.clone();
    headers.remove(header::HOST);
    headers.remove(header::CONNECTION);
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri.map_err(|_| UNFIT)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends the body of a request to its end, while its answer is waited for and read. What the application does not want is
/// taken for a while all the same, so that its sender reads the answer.
async fn upload<B>(mut stream: SendStream<Bytes>, mut body: Upload<B>, halves: Rc<Halves>, deadlines: Rc<Deadlines>)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin> + Unpin,
{
    let progress = body.progress();
    let deadline = deadlines.set(None);
    let sent = {
        let mut sending = pin!(send_body(&mut stream, &mut body));
        let mut sent = pin!(poll_fn(|context| {
            if halves.is_abandoned.get() {
                return Poll::Ready(None);
            }
            halves.sender.replace(Some(context.waker().clone()));
            sending.as_mut().poll(context).map(Some)
        }));
        loop {
            let before = progress.as_ref().map(|progress| progress.bytes());
            deadline.move_to(Some(deadlines.recent().plus(SEND_TIMEOUT)));
            match deadline.limit(sent.as_mut()).await {
                Ok(sent) => break sent,
                // The answer is over, and nobody else waits.
                Err(_) if Rc::strong_count(&halves) == 1 && stands_still(progress.as_deref(), before) => break None,
                Err(_) => {}
            }
        }
    };
    match sent {
        Some(Err(Unsent::Body(error))) => {
            halves.failed.borrow_mut().get_or_insert(Broken::Upload(error));
        }
        Some(Err(Unsent::Stream(_))) | None => {
            stream.send_reset(Reason::CANCEL);
            deadline.move_to(Some(deadlines.recent().plus(DISCARDING)));
            discard(body, deadline).await;
        }
        Some(Ok(())) => {}
    }
}

/// The body of an answer.
pub struct Answer {
    received: Received,
    awaiting: Awaiting,
    under_way: UnderWay,
}

impl Answer {
    /// Nothing more is asked on its connection, which gives no sign of life.
    pub fn retire(&self) {
        self.under_way.shared.retire();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.awaiting.is_over = self.received.is_end_stream();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = ready!(Pin::new(&mut self.received).poll_frame(context)).transpose();
        Poll::Ready(polled.map_err(|error| self.awaiting.blame(error)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}
