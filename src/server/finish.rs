//! The end of a request: exactly one line in the access log and one count, whatever became of it.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use std::net::IpAddr;

use crate::base::clock::Timestamp;
use crate::enforce::body::AnswerBody;
use crate::enforce::lease::SessionEnded;
use crate::enforce::tenant::Tenant;
use crate::observe::access_log::AccessLine;
use crate::observe::correlation;
use crate::observe::timings::Destination;
use crate::policy::verdict::Subject;
use crate::server::http::Activity;
use crate::server::worker::{Current, Worker};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::tenant::TenantId;

/// What is noted of a request while it is answered, for the line at its end.
#[derive(Debug, Default)]
pub struct Noted {
    /// Its id, where one is given.
    pub request_id: Option<HeaderValue>,
    /// Who the client is.
    pub client: Option<IpAddr>,
    /// Whose host it came by, once that is known.
    pub tenant: Option<TenantId>,
    /// The session that was used.
    pub session: Option<SessionHandle>,
    /// Who is signed in.
    pub user: Option<Box<str>>,
    /// Why the application did not answer.
    pub reason: Option<&'static str>,
    /// Where the request went.
    pub destination: Destination,
}

impl Noted {
    /// Notes whose host a request came by.
    pub fn at<'a>(&mut self, tenant: &'a Tenant) -> &'a Tenant {
        self.tenant = Some(tenant.id);
        tenant
    }

    /// Notes whose session a request brought that was refused.
    pub fn session(&mut self, live: Option<&Live>) {
        self.session = live.map(Live::handle);
        self.user = live.and_then(Live::principal).map(|principal| principal.user.clone());
    }

    /// Notes as whom a request passed.
    pub fn subject(&mut self, subject: &Subject) {
        match subject {
            Subject::Nobody => {}
            Subject::Anonymous(handle) => self.session = Some(*handle),
            Subject::User(handle, principal) => {
                self.session = Some(*handle);
                self.user = Some(principal.user.clone());
            }
        }
    }
}

/// What the line at the end needs of the request's head.
struct Head {
    method: Method,
    uri: Uri,
    host: Box<str>,
    trace_id: Option<Box<str>>,
}

/// The status in the log of a request whose client left before its answer began, as nginx writes it. Nobody is sent it.
const CLIENT_LEFT: u16 = 499;

/// A request that has begun and must end. Dropped without an answer, its client has left.
pub struct Finish {
    /// What is noted of it.
    pub noted: RefCell<Noted>,
    /// The configuration it is answered by.
    pub current: Rc<Current>,
    worker: Rc<Worker>,
    activity: Option<Activity>,
    head: Option<Box<Head>>,
    peer: IpAddr,
    begun: Timestamp,
}

impl Finish {
    /// Notes that a request has begun.
    pub fn begin(worker: &Rc<Worker>, activity: Activity, parts: &Parts, peer: IpAddr, now: Timestamp) -> Self {
        // Without an access log nothing is copied.
        let head = worker.access.is_some().then(|| {
            let host = parts.uri.host().map(str::as_bytes);
            let host = host.or_else(|| parts.headers.get(header::HOST).map(|host| host.as_bytes())).unwrap_or_default();
            let host = String::from_utf8_lossy(host).into();
            let trace_id = correlation::trace_id(&parts.headers);
            Box::new(Head { method: parts.method.clone(), uri: parts.uri.clone(), host, trace_id })
        });
        let (noted, current, worker) = (RefCell::default(), worker.current(), Rc::clone(worker));
        Self { noted, current, worker, activity: Some(activity), head, peer, begun: now }
    }

    /// Notes the request's id, if there is a line that it will stand in.
    pub fn note_id(&self, id: Option<&HeaderValue>) {
        if self.head.is_some() {
            self.noted.borrow_mut().request_id = id.cloned();
        }
    }

    /// A hold on the connection for what goes on beside the answer.
    pub fn beside(&self) -> Option<Box<dyn Any>> {
        self.activity.as_ref().map(|activity| Box::new(activity.beside()) as Box<dyn Any>)
    }

    /// Notes that the answer closes the connection.
    pub fn closes(&self) {
        if let Some(activity) = &self.activity {
            activity.closes();
        }
    }

    /// Sends the answer on its way; the line is written when its body is done.
    pub fn answer(mut self, response: Response<AnswerBody>) -> Response<FinishedBody> {
        let status = response.status().as_u16();
        self.worker.counters.answered(status);
        let taken = self.taken(status);
        let (line, activity) = (self.line(status), self.activity.take());
        if let Some(activity) = &activity {
            activity.moved();
        }
        response.map(|body| FinishedBody { body, taken: Some(taken), line, activity })
    }

    /// Sends the answer on its way that makes the connection a WebSocket; the line is written when that ends.
    pub fn switch(mut self, response: Response<AnswerBody>) -> (Response<FinishedBody>, Rest, Option<Activity>) {
        let status = response.status().as_u16();
        self.worker.counters.answered(status);
        // What the two then say to each other takes as long as it takes, and is no request's time.
        self.taken(status).end();
        let (mut line, activity) = (self.line(status), self.activity.take());
        if let Some(line) = &mut line {
            // Either side ends it as it likes.
            line.is_whole = true;
        }
        let rest = Rest(line);
        (response.map(|body| FinishedBody { body, taken: None, line: None, activity: None }), rest, activity)
    }

    fn line(&mut self, status: u16) -> Option<Box<Line>> {
        let (head, worker, noted) = (self.head.take()?, Rc::clone(&self.worker), self.noted.take());
        let (peer, begun) = (self.peer, self.begun);
        Some(Box::new(Line { worker, head, peer, noted, status, bytes: 0, is_whole: false, begun, ended: None }))
    }

    fn taken(&self, status: u16) -> Taken {
        let (worker, current) = (Rc::clone(&self.worker), Rc::clone(&self.current));
        Taken { worker, current, begun: self.begun, destination: self.noted.borrow().destination, status }
    }
}

/// What a request takes, measured when it has ended.
struct Taken {
    worker: Rc<Worker>,
    current: Rc<Current>,
    begun: Timestamp,
    destination: Destination,
    status: u16,
}

impl Taken {
    /// Measures it, and says when that was.
    fn end(&self) -> Timestamp {
        let now = self.worker.clock().now();
        self.current.times.ended(self.destination, self.status, now.since(self.begun));
        now
    }
}

impl Drop for FinishedBody {
    fn drop(&mut self) {
        let ended = self.taken.as_ref().map(Taken::end);
        if let Some(line) = &mut self.line {
            line.ended = ended;
        }
        // Nobody asks again for what says that it is at its end.
        if let Some(line) = &mut self.line
            && self.body.is_end_stream()
        {
            line.is_whole = true;
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if self.activity.is_some() {
            self.worker.counters.answered(CLIENT_LEFT);
            self.noted.get_mut().reason.get_or_insert("client_left");
            let ended = self.taken(CLIENT_LEFT).end();
            if let Some(mut line) = self.line(CLIENT_LEFT) {
                line.ended = Some(ended);
            }
        }
    }
}

/// Writes down a request that could not be read and has been refused by hyper: once a connection, which has ended by it.
pub fn unreadable(worker: &Worker, peer: IpAddr, is_too_large: bool) {
    let (status, now) = (if is_too_large { 431 } else { 400 }, worker.clock().now());
    worker.counters.answered(status);
    if let Some(access) = &worker.access {
        access.write(&AccessLine {
            at: now,
            took: Duration::ZERO,
            client: peer,
            method: "",
            host: "",
            path: "",
            status,
            bytes: 0,
            request_id: "",
            trace_id: "",
            session: "",
            user: "",
            reason: "unreadable_request",
        });
    }
}

struct Line {
    worker: Rc<Worker>,
    head: Box<Head>,
    peer: IpAddr,
    noted: Noted,
    status: u16,
    bytes: u64,
    /// Whether all of the answer has been handed over.
    is_whole: bool,
    begun: Timestamp,
    /// When it ended, if that is known already.
    ended: Option<Timestamp>,
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_whole {
            self.noted.reason.get_or_insert("client_left");
        }
        let Some(access) = &self.worker.access else { return };
        let session = self.noted.session.map(|handle| handle.to_string());
        access.write(&AccessLine {
            at: self.begun,
            took: self.ended.unwrap_or_else(|| self.worker.clock().now()).since(self.begun),
            client: self.noted.client.unwrap_or(self.peer),
            method: self.head.method.as_str(),
            host: &self.head.host,
            path: self.head.uri.path(),
            status: self.status,
            bytes: self.bytes,
            request_id: self.noted.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(),
            trace_id: self.head.trace_id.as_deref().unwrap_or_default(),
            session: session.as_deref().unwrap_or_default(),
            user: self.noted.user.as_deref().unwrap_or_default(),
            reason: self.noted.reason.unwrap_or_default(),
        });
    }
}

/// What is left of a request that has become a WebSocket. It has ended when this is dropped.
pub struct Rest(Option<Box<Line>>);

impl Rest {
    /// Counts bytes that were passed on.
    pub fn count(&mut self, bytes: u64) {
        if let Some(line) = &mut self.0 {
            line.bytes += bytes;
        }
    }
}

/// The body of an answer, counted. Its request has ended when it is dropped.
pub struct FinishedBody {
    body: AnswerBody,
    taken: Option<Taken>,
    line: Option<Box<Line>>,
    activity: Option<Activity>,
}

impl Body for FinishedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Some(activity), Poll::Ready(Some(Err(error)))) = (&self.activity, &polled)
            && !error.is::<SessionEnded>()
        {
            activity.answer_broke(error);
        }
        match (&mut self.line, &polled) {
            (Some(line), Poll::Ready(Some(Ok(frame)))) => {
                line.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            (Some(line), Poll::Ready(Some(Err(error)))) => {
                let is_session = error.is::<SessionEnded>();
                line.noted.reason = Some(if is_session { "session_ended" } else { "upstream_broken" });
            }
            (Some(line), Poll::Ready(None)) => line.is_whole = true,
            (Some(_), Poll::Pending) | (None, _) => {}
        }
        if let Some(activity) = &self.activity {
            if polled.is_pending() { activity.waits() } else { activity.moved() }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
