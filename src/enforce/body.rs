//! The bodies that go out: an application's, or our own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::base::deadline::Deadline;
use crate::enforce::lease::{Lease, Leased};
use crate::upstream::forward::UpstreamBody;
use crate::upstream::http1::link::Link;
use crate::upstream::upload::Upload;

/// The body of a request on its way to an application.
pub type RequestBody = Upload<Leased<Incoming>>;

/// The body of an answer.
pub enum AnswerBody {
    /// One of our own pages.
    Own(OwnBody),
    /// What an application sends, for as long as the session lasts.
    Upstream(Leased<UpstreamBody<RequestBody>>),
    /// None: what follows the head is a WebSocket.
    Switched(Option<Box<Switched>>),
}

/// What a WebSocket is made of.
pub struct Switched {
    /// The connection to the application.
    pub link: Box<Link>,
    /// It ends with this.
    pub lease: Option<Lease>,
    /// How long both sides may say nothing.
    pub silence: Duration,
}

impl AnswerBody {
    /// A body of ours.
    pub fn own(content: impl Into<Bytes>) -> Self {
        Self::Own(OwnBody { content: Full::new(content.into()), unread: None })
    }

    /// Ends our own answer only after `unread`, what is left of its request's body, has been taken and thrown away, or
    /// was too much of it, or `deadline` passed. Over HTTP/2 an end before would reset the stream under a client that is
    /// still sending, and some clients then throw the answer away.
    pub fn end_after(&mut self, unread: Incoming, deadline: Deadline) {
        if let Self::Own(body) = self {
            body.unread = Some(Box::new(Unread { body: unread, left: MAX_DISCARDED, deadline }));
        }
    }

    /// The WebSocket, if it is to become one.
    pub const fn take_switched(&mut self) -> Option<Box<Switched>> {
        if let Self::Switched(switched) = self { switched.take() } else { None }
    }

    /// Takes a body of ours out of the answer to a HEAD, which has only its length (RFC 9110 section 9.3.2). Over
    /// HTTP/2 nobody else does. An application has left its own out already.
    pub fn leave_out(response: &mut Response<Self>) {
        if let Self::Own(body) = response.body_mut() {
            let length = body.content.size_hint().exact().unwrap_or_default();
            body.content = Full::default();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// How much of a refused request's body is taken in vain, in bytes: a form with a few pictures, not a film.
const MAX_DISCARDED: usize = 1024 * 1024;

/// The body of an answer of ours.
pub struct OwnBody {
    content: Full<Bytes>,
    unread: Option<Box<Unread>>,
}

/// What is left of the body of a request that has been answered.
struct Unread {
    body: Incoming,
    /// How many bytes are still taken.
    left: usize,
    deadline: Deadline,
}

impl OwnBody {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if let Some(Ok(frame)) = ready!(Pin::new(&mut self.content).poll_frame(context)) {
            return Poll::Ready(Some(frame));
        }
        if let Some(unread) = &mut self.unread {
            ready!(unread.poll_over(context));
            self.unread = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream() && self.unread.is_none()
    }
}

impl Unread {
    /// Ready when nothing more is taken.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            let length = frame.data_ref().map_or(0, Bytes::len);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
        self.deadline.poll_passed(context).map(drop)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Own(body) => body.poll_frame(context).map(|frame| frame.map(Ok)),
            Self::Upstream(body) => Pin::new(body).poll_frame(context),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.content.size_hint(),
            Self::Upstream(body) => body.size_hint(),
            Self::Switched(_) => SizeHint::with_exact(0),
        }
    }
}
