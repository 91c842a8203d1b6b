//! The end of a request: exactly one line in the access log and one count, whatever became of it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use std::net::IpAddr;

use crate::base::clock::Timestamp;
use crate::enforce::body::AnswerBody;
use crate::observe::access_log::AccessLine;
use crate::policy::verdict::Subject;
use crate::server::http::Activity;
use crate::server::worker::Worker;
use crate::session::handle::SessionHandle;

/// What is noted of a request while it is answered, for the line at its end.
#[derive(Debug, Default)]
pub struct Noted {
    /// Who the client is.
    pub client: Option<IpAddr>,
    /// The session that was used.
    pub session: Option<SessionHandle>,
    /// Who is signed in.
    pub user: Option<Box<str>>,
    /// Why the application did not answer.
    pub reason: Option<&'static str>,
}

impl Noted {
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
    at: Timestamp,
}

/// A request that has begun and must end.
pub struct Finish {
    worker: Rc<Worker>,
    activity: Activity,
    head: Option<Box<Head>>,
}

impl Finish {
    /// Notes that a request has begun.
    pub fn begin(worker: &Rc<Worker>, activity: Activity, parts: &Parts, now: Timestamp) -> Self {
        // Without an access log nothing is copied.
        let head = worker.access.is_some().then(|| {
            let host = parts.uri.host().map(str::as_bytes);
            let host = host.or_else(|| parts.headers.get(header::HOST).map(|host| host.as_bytes())).unwrap_or_default();
            let host = String::from_utf8_lossy(host).into();
            Box::new(Head { method: parts.method.clone(), uri: parts.uri.clone(), host, at: now })
        });
        Self { worker: Rc::clone(worker), activity, head }
    }

    /// Sends the answer on its way; the line is written when its body is done.
    pub fn answer(self, response: Response<AnswerBody>, peer: IpAddr, noted: Noted) -> Response<FinishedBody> {
        let status = response.status().as_u16();
        self.worker.counters.answered(status);
        let Self { worker, activity, head } = self;
        let line = head.map(|head| Box::new(Line { worker, head, peer, noted, status, bytes: 0 }));
        response.map(|body| FinishedBody { body, line, _activity: activity })
    }
}

struct Line {
    worker: Rc<Worker>,
    head: Box<Head>,
    peer: IpAddr,
    noted: Noted,
    status: u16,
    bytes: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(access) = &self.worker.access else { return };
        let session = self.noted.session.map(|handle| handle.to_string());
        access.write(&AccessLine {
            at: self.head.at,
            took: self.worker.clock().now().since(self.head.at),
            client: self.noted.client.unwrap_or(self.peer),
            method: self.head.method.as_str(),
            host: &self.head.host,
            path: self.head.uri.path(),
            status: self.status,
            bytes: self.bytes,
            session: session.as_deref().unwrap_or_default(),
            user: self.noted.user.as_deref().unwrap_or_default(),
            reason: self.noted.reason.unwrap_or_default(),
        });
    }
}

/// The body of an answer, counted. Its request has ended when it is dropped.
pub struct FinishedBody {
    body: AnswerBody,
    line: Option<Box<Line>>,
    _activity: Activity,
}

impl Body for FinishedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Some(line), Poll::Ready(Some(Ok(frame)))) = (&mut self.line, &polled) {
            line.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
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
