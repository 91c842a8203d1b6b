//! The bodies that go out: an application's, or our own.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::base::http2::Received;
use crate::enforce::lease::{Lease, Leased};
use crate::policy::compression::Coding;
use crate::rewrite::compress::{Compressed, Place};
use crate::upstream::answer::UpstreamBody;
use crate::upstream::http1::link::Link;
use crate::upstream::upload::Upload;

/// The body of a request on its way to an application.
pub type RequestBody = Upload<Leased<ClientBody>>;

/// The body of an answer.
pub enum AnswerBody {
    /// One of our own pages.
    Own(Full<Bytes>),
    /// What an application sends, for as long as the session lasts.
    Upstream(Leased<UpstreamBody<RequestBody>>),
    /// The same, compressed.
    Compressed(Box<Leased<Compressed<UpstreamBody<RequestBody>>>>),
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
        Self::Own(Full::new(content.into()))
    }

    /// What an application sends, compressed on its way, for as long as `lease` lasts.
    pub fn compressed(body: UpstreamBody<RequestBody>, coding: Coding, place: Place, lease: Option<Lease>) -> Self {
        Self::Compressed(Box::new(Leased::new(Compressed::new(body, coding, place), lease)))
    }

    /// The WebSocket, if it is to become one.
    pub const fn take_switched(&mut self) -> Option<Box<Switched>> {
        if let Self::Switched(switched) = self { switched.take() } else { None }
    }

    /// Takes a body of ours out of the answer to a HEAD, which has only its length (RFC 9110 section 9.3.2). Over
    /// HTTP/2 nobody else does. An application has left its own out already.
    pub fn leave_out(response: &mut Response<Self>) {
        if let Self::Own(body) = response.body_mut() {
            let length = body.size_hint().exact().unwrap_or_default();
            *body = Full::default();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// The body of a request, as it comes in.
pub enum Incoming {
    /// None, whatever follows the head.
    Nothing,
    /// Over HTTP/1.
    Http1(hyper::body::Incoming),
    /// Over HTTP/2.
    Http2(Received),
    /// Some time ago, or just now: it was kept.
    Kept(Full<Bytes>),
}

/// The body of a request, as the client sends it.
pub struct ClientBody {
    incoming: Incoming,
    /// Until it is over, or given up, the client's connection is at work.
    _at_work: Option<Box<dyn Any>>,
}

impl ClientBody {
    /// A body that holds on to `at_work`.
    pub fn new(incoming: Incoming, at_work: Option<Box<dyn Any>>) -> Self {
        Self { incoming, _at_work: at_work }
    }

    /// Puts back what was read, or what is left of it, to be read again.
    pub fn put_back(&mut self, content: Bytes) {
        self.incoming = Incoming::Kept(Full::new(content));
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Nothing => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Kept(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Kept(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Kept(body) => body.size_hint(),
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
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
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Upstream(body) => Pin::new(body).poll_frame(context),
            Self::Compressed(body) => Pin::new(&mut **body).poll_frame(context),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Compressed(body) => body.is_end_stream(),
            Self::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
            Self::Compressed(body) => body.size_hint(),
            Self::Switched(_) => SizeHint::with_exact(0),
        }
    }
}
