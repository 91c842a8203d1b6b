//! The bodies that go out: an application's, or our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::enforce::lease::Leased;
use crate::upstream::forward::UpstreamBody;
use crate::upstream::upload::Upload;

/// The body of a request on its way to an application.
pub type RequestBody = Upload<Leased<Incoming>>;

/// The body of an answer.
pub enum AnswerBody {
    /// One of our own pages.
    Own(Full<Bytes>),
    /// What an application sends, for as long as the session lasts.
    Upstream(Leased<UpstreamBody<RequestBody>>),
}

impl AnswerBody {
    /// A body of ours.
    pub fn own(content: impl Into<Bytes>) -> Self {
        Self::Own(Full::new(content.into()))
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}
