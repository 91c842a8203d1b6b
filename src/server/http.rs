//! Serving one connection after its handshake: HTTP/1.1 or HTTP/2, with its time-outs.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::service::service_fn;
use slab::Slab;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;
use crate::enforce::body::Incoming;
use crate::observe::metrics::Metrics;
use crate::server::conn::ConnInfo;
use crate::server::handle::handle;
use crate::server::http1::serve_http_1;
use crate::server::http2::serve_http_2;
use crate::server::plain::{self, PlainHttp};
use crate::server::tcp::Tcp;
use crate::server::tunnel::Tunnel;
use crate::server::worker::Worker;

/// How often it is looked whether the client of a request under way is still there.
const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// The same while every answer waits for its client: what it is sent then tells whether it is there. A thousand clients
/// that read slowly are not to be looked at all the time.
const READER_CHECK: Duration = Duration::from_secs(5);

/// How long a client may leave an answer where it is before the connection is cut: what nginx allows between two writes.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for a client that keeps the connection busy with something else meanwhile, or reads what the kernel holds
/// for it very slowly.
const SLOWEST_READER: Duration = Duration::from_secs(600);

/// How long a closed connection's client may say nothing before it is forgotten, and how long it is listened to at most:
/// what nginx allows. Closing at once would throw away what the client has not read yet (RFC 9112 section 9.6).
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_secs(30);

/// The largest head of a request, in bytes: what common servers take in all.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// What the handler of a request tells its connection beside the answer.
#[derive(Default)]
pub struct Aside {
    /// What announces the answer (1xx, RFC 9110 section 15.2), to be sent before it.
    interims: Cell<Vec<Response<()>>>,
    /// What the connection, or the stream, becomes when the answer has left.
    tunnel: Cell<Option<Tunnel>>,
}

/// Where the handler of a request finds it.
pub enum AsideOf<'a> {
    /// The connection's: HTTP/1.1 has one request at a time.
    Connection(Rc<ConnState>),
    /// A stream's own.
    Stream(&'a Aside),
}

impl Deref for AsideOf<'_> {
    type Target = Aside;

    fn deref(&self) -> &Aside {
        match self {
            Self::Connection(state) => &state.aside,
            Self::Stream(aside) => aside,
        }
    }
}

impl Aside {
    /// Lets something be sent before the answer.
    pub fn announce(&self, interim: Response<()>) {
        let mut interims = self.interims.take();
        interims.push(interim);
        self.interims.set(interims);
    }

    /// What is to be sent before the answer, and has not been asked for.
    pub fn take_interims(&self) -> Vec<Response<()>> {
        self.interims.take()
    }

    /// After the answer comes no more HTTP.
    pub fn hand_over(&self, tunnel: Tunnel) {
        self.tunnel.set(Some(tunnel));
    }

    /// What comes after the answer, if it is no HTTP.
    pub fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }
}

/// What a connection is doing, and until when it may go on like that.
pub struct ConnState {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// What is said beside the answer to the one request that HTTP/1.1 has under way.
    pub aside: Aside,
    tcp: Tcp,
    /// Until when it may go on.
    pub deadline: Deadline,
    is_h2: bool,
    /// The requests under way, each with when its answer last moved; `None` while the application is waited for.
    under_way: RefCell<Slab<Option<Timestamp>>>,
    /// When the last request ended, if there was one.
    idle_since: Cell<Option<Timestamp>>,
    is_reading_head: Cell<bool>,
    /// Whether the client may be sending while we close: a body that nobody reads, or what HTTP/2 says on its own.
    pub may_send: Cell<bool>,
}

impl ConnState {
    /// A connection whose deadline is `deadline`, just after its handshake.
    pub fn new(worker: &Rc<Worker>, tcp: Tcp, deadline: Deadline, is_h2: bool) -> Rc<Self> {
        let worker = Rc::clone(worker);
        let (under_way, is_reading_head, may_send) = (RefCell::default(), Cell::new(false), Cell::new(is_h2));
        let (aside, idle_since) = (Aside::default(), Cell::new(None));
        let state = Self { worker, aside, tcp, deadline, under_way, idle_since, is_reading_head, is_h2, may_send };
        // A handshake that was under way when the gateway stopped has come too late.
        let patience = if state.worker.is_stopping() { Duration::ZERO } else { state.worker.limits.get().header };
        state.deadline.move_to(Some(state.now().plus(patience)));
        Rc::new(state)
    }

    /// The time, to within a tick.
    pub fn now(&self) -> Timestamp {
        self.worker.connection_deadlines.recent()
    }

    fn is_busy(&self) -> bool {
        !self.under_way.borrow().is_empty()
    }

    /// When it is to be looked at the client again.
    fn next_check(&self) -> Timestamp {
        let waits_for_client = self.under_way.borrow().iter().all(|(_, moved)| moved.is_some());
        self.now().plus(if waits_for_client { READER_CHECK } else { CLIENT_CHECK })
    }

    /// Whether the client has left an answer where it is for too long.
    fn has_stalled(&self) -> bool {
        let now = self.now();
        let patience = if now >= self.tcp.wrote_at().plus(SEND_TIMEOUT) { SEND_TIMEOUT } else { SLOWEST_READER };
        self.under_way.borrow().iter().any(|(_, moved)| moved.is_some_and(|moved| now >= moved.plus(patience)))
    }

    /// A request has come.
    pub fn begin(self: &Rc<Self>, has_body: bool) -> Activity {
        self.may_send.set(self.is_h2 || has_body);
        let key = self.under_way.borrow_mut().insert(None);
        self.is_reading_head.set(false);
        self.deadline.move_to(Some(self.now().plus(CLIENT_CHECK)));
        Activity { state: Rc::clone(self), key }
    }

    /// Until when a client without a request under way may read on, if it still reads what it was sent: over HTTP/2 as fast
    /// as it lets us send. A client that keeps the connection busy with something else does not read for ever.
    fn reads_until(&self, was_told: bool) -> Option<Timestamp> {
        let limits = self.worker.limits.get();
        let patience = if was_told { limits.header } else { limits.keep_alive };
        let until = self.tcp.wrote_at().plus(patience).min(self.idle_since.get()?.plus(SLOWEST_READER));
        (self.now() < until).then_some(until)
    }

    /// Something was read: if no request is under way, it is the beginning of a head, which has its own time. Not so
    /// with HTTP/2, where it may be a ping or a window: such a connection is idle until a request has come.
    pub fn was_read(&self) {
        if !self.is_h2 && !self.is_busy() && !self.is_reading_head.replace(true) {
            self.deadline.move_to(Some(self.now().plus(self.worker.limits.get().header)));
        }
    }
}

/// A request under way on a connection. While there is one, the connection is not idle.
pub struct Activity {
    state: Rc<ConnState>,
    key: usize,
}

impl Activity {
    /// Its answer moved on; the next move is the client's.
    pub fn moved(&self) {
        self.set(Some(self.state.now()));
    }

    /// The next move is the application's.
    pub fn waits(&self) {
        self.set(None);
    }

    /// Another hold on the connection, for what goes on beside the answer.
    pub fn beside(&self) -> Self {
        let key = self.state.under_way.borrow_mut().insert(None);
        Self { state: Rc::clone(&self.state), key }
    }

    /// The answer says that the connection closes; more may be on its way here.
    pub fn closes(&self) {
        self.state.may_send.set(true);
    }

    /// The application's answer broke off.
    pub fn answer_broke(&self, error: &dyn std::fmt::Display) {
        Metrics::count(&self.state.worker.shared.metrics.upstream_errors, "upstream_broken");
        tracing::warn!("upstream_broken: an answer broke off: {error}");
    }

    fn set(&self, moved: Option<Timestamp>) {
        if let Some(known) = self.state.under_way.borrow_mut().get_mut(self.key) {
            *known = moved;
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        let state = &self.state;
        state.under_way.borrow_mut().try_remove(self.key);
        if !state.is_busy() {
            state.idle_since.set(Some(state.now()));
            state.deadline.move_to(Some(state.now().plus(state.worker.limits.get().keep_alive)));
        }
    }
}

/// Serves a connection until it ends.
pub async fn serve<I>(worker: Rc<Worker>, conn: Rc<ConnInfo>, io: I, tcp: Tcp, deadline: Deadline, is_h2: bool)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let state = ConnState::new(&worker, tcp, deadline, is_h2);
    if is_h2 {
        let end = serve_http_2(&state, &conn, io).await;
        return close(&state, end).await;
    }
    let peer = conn.peer.ip();
    let service = {
        let state = Rc::clone(&state);
        service_fn(move |request: Request<hyper::body::Incoming>| {
            let activity = state.begin(!request.body().is_end_stream());
            let (parts, body) = request.into_parts();
            let (worker, conn, aside) = (Rc::clone(&worker), Rc::clone(&conn), AsideOf::Connection(Rc::clone(&state)));
            handle(worker, conn, activity, parts, Incoming::Http1(body), aside)
        })
    };
    let end = serve_http_1(&state, io, service, peer).await;
    close(&state, end).await;
}

/// Serves a connection without TLS until it ends: HTTP/1.1, with the time-outs and bounds of one with it.
pub async fn serve_plain(worker: Rc<Worker>, plain: Arc<PlainHttp>, peer: IpAddr, tcp: Tcp, deadline: Deadline) {
    let state = ConnState::new(&worker, tcp.clone(), deadline, false);
    let service = {
        let state = Rc::clone(&state);
        service_fn(move |request: Request<hyper::body::Incoming>| {
            // The one answer closes the connection, whatever else its client is about to send.
            plain::handle(Rc::clone(&worker), Arc::clone(&plain), peer, state.begin(true), request)
        })
    };
    let end = serve_http_1(&state, tcp, service, peer).await;
    close(&state, end).await;
}

/// Closes a connection on which everything has been said.
async fn close(state: &ConnState, end: End) {
    if end == End::Closed && state.may_send.get() {
        // Boxed, so that a connection at work does not carry the buffer about.
        Box::pin(linger(state)).await;
    }
}

/// How serving a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// We have said everything, and that it was everything.
    Closed,
    /// It broke, was cut, or is none any more.
    Gone,
}

/// Takes what the client still sends, and throws it away, until it closes too, or has had its time.
async fn linger(state: &ConnState) {
    let (begun, mut tcp) = (state.now(), state.tcp.clone());
    // Where hyper gives up, it says nothing; otherwise this has been said already.
    let _ = tcp.shutdown().await;
    let mut buffer = [0; 4096];
    loop {
        let until = state.now().plus(LINGER_SILENCE).min(begun.plus(LINGER));
        state.deadline.move_to(Some(until));
        match state.deadline.limit(tcp.read(&mut buffer)).await {
            Ok(Ok(1..)) if state.now() < begun.plus(LINGER) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Drives a connection to its end, and ends it when its deadline passes: at once if nothing is under way, otherwise,
/// when the gateway stops, after what is.
///
/// An HTTP/2 connection is driven one turn late: by then the runtime has looked for what else has arrived, and the
/// answers of several streams leave in one write, which is half of what an answer costs.
pub async fn drive(state: &ConnState, mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<End>) -> End {
    let mut was_told = false;
    let mut has_waited = false;
    poll_fn(|context| {
        if state.is_h2 {
            has_waited = !has_waited;
            if has_waited && pin!(tokio::task::yield_now()).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        if let Poll::Ready(end) = poll(context, false) {
            return Poll::Ready(end);
        }
        if state.deadline.poll_passed(context).is_pending() {
            return Poll::Pending;
        }
        if state.is_busy() {
            // Whoever has left gets no answer, and the application need not go on with it.
            if state.tcp.is_closed_by_peer() || state.has_stalled() {
                return Poll::Ready(End::Gone);
            }
            state.deadline.move_to(Some(state.next_check()));
            let _ = state.deadline.poll_passed(context);
            if !state.worker.is_stopping() {
                return Poll::Pending;
            }
        } else if state.is_reading_head.get() {
            return Poll::Ready(End::Gone);
        } else if was_told || !state.worker.is_stopping() {
            if let Some(until) = state.reads_until(was_told) {
                state.deadline.move_to(Some(until));
                let _ = state.deadline.poll_passed(context);
                return Poll::Pending;
            }
            if was_told {
                // What it was sent it may still read.
                return Poll::Ready(End::Closed);
            }
        }
        was_told = true;
        if state.is_busy() {
            state.may_send.set(true);
        } else {
            // What does not end by itself now is cut when it is looked at again.
            state.deadline.move_to(Some(state.now().plus(state.worker.limits.get().header)));
            let _ = state.deadline.poll_passed(context);
        }
        poll(context, true)
    })
    .await
}
