//! A request's body on its way, watched: while it moves, its application is not yet late with the answer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::base::clock::{Clock, Timestamp};
use crate::base::deadline::Deadline;
use crate::upstream::identity::IdentityHeaders;
use crate::upstream::trailers;

/// How many bytes must come of what is left of a body once its answer is over, each minute: what `min_body_rate` asks for
/// by default.
const LEAST: u64 = 60 * 240;

/// How far a body has come.
#[derive(Debug)]
pub struct Progress {
    moved_at: Cell<Timestamp>,
    is_awaited: Cell<bool>,
    bytes: Cell<u64>,
    has_length: bool,
}

impl Progress {
    /// When it last moved.
    pub fn moved_at(&self) -> Timestamp {
        self.moved_at.get()
    }

    /// Whether it was said how long it is.
    pub const fn has_length(&self) -> bool {
        self.has_length
    }

    /// How many bytes have come.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether it is its sender who keeps everybody waiting.
    pub fn is_awaited(&self) -> bool {
        self.is_awaited.get()
    }
}

/// How long what is left of a request may stand still once its answer is over.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How long what the application does not want may still come.
pub(super) const DISCARDING: Duration = Duration::from_secs(5);

/// How much of a body is taken in vain, in bytes: a form with a few pictures, not a film.
const MAX_DISCARDED: usize = 1024 * 1024;

/// Whether a body has come by less than a trickle since there were `before` bytes of it, [`SEND_TIMEOUT`] ago.
pub(super) fn stands_still(progress: Option<&Progress>, before: Option<u64>) -> bool {
    progress.zip(before).is_none_or(|(progress, before)| progress.bytes() < before + LEAST)
}

/// A body that notes when it moves.
pub struct Upload<B: Body> {
    inner: B,
    watch: Option<(Rc<Progress>, Clock)>,
    /// What its trailers may not say.
    identity: Arc<IdentityHeaders>,
    /// What was asked for before its turn.
    held: VecDeque<B::Data>,
    /// What of that came in small pieces, behind the rest. Copied: a piece may keep the whole buffer alive that it was
    /// read into, however small it is.
    small: BytesMut,
    /// And what came behind that: trailers, or that it broke off.
    peeked: Option<FrameOf<B>>,
}

/// What a body gives.
type FrameOf<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

impl<B: Body> Upload<B> {
    /// Watches `inner` by `clock`; a body that is over before it begins is not. Its trailers say nothing that is for
    /// `identity` to say.
    pub fn new(inner: B, clock: &Clock, identity: &Arc<IdentityHeaders>) -> Self {
        let progress = || Progress {
            moved_at: Cell::new(clock.now()),
            is_awaited: Cell::new(false),
            bytes: Cell::new(0),
            has_length: inner.size_hint().exact().is_some(),
        };
        let watch = (!inner.is_end_stream()).then(|| (Rc::new(progress()), clock.clone()));
        Self {
            inner,
            watch,
            identity: Arc::clone(identity),
            held: VecDeque::new(),
            small: BytesMut::new(),
            peeked: None,
        }
    }
}

/// Below this, in bytes, a piece is small.
const SMALL: usize = 4 * 1024;

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Upload<B> {
    /// Ready when the body is here, or `most` bytes of it, or it broke off.
    pub fn poll_gather(&mut self, context: &mut Context<'_>, most: usize) -> Poll<()> {
        let mut have = self.small.len() + self.held.iter().map(Bytes::len).sum::<usize>();
        while have < most && self.peeked.is_none() && !self.inner.is_end_stream() {
            match ready!(self.poll_inner(context)) {
                None => break,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        have += data.len();
                        self.hold(data);
                    }
                    Err(frame) => self.peeked = Some(Ok(frame)),
                },
                Some(Err(error)) => self.peeked = Some(Err(error)),
            }
        }
        Poll::Ready(())
    }

    fn hold(&mut self, data: Bytes) {
        let is_alone = self.held.is_empty() && self.small.is_empty() && self.inner.is_end_stream();
        if data.len() < SMALL && !is_alone {
            return self.small.extend_from_slice(&data);
        }
        if !self.small.is_empty() {
            self.held.push_back(self.small.split().freeze());
        }
        self.held.push_back(data);
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Upload<B> {
    /// Whether it turns out to be over at once: HTTP/2 can say so only behind the head.
    pub async fn is_empty(&mut self) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if self.size_hint().exact().is_some() {
            return false;
        }
        // The end may come in a frame of its own, which is empty.
        for _ in 0..2 {
            match poll_fn(|context| Poll::Ready(self.poll_inner(context))).await {
                Poll::Pending => return false,
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| !data.has_remaining()) => {}
                Poll::Ready(some) => {
                    self.peeked = some;
                    return false;
                }
            }
        }
        self.is_end_stream()
    }

    /// The next frame that comes in, noted.
    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<FrameOf<B>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Some((progress, clock)) = &self.watch {
            progress.is_awaited.set(polled.is_pending());
            if polled.is_ready() {
                progress.moved_at.set(clock.now());
            }
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                let count = frame.data_ref().map_or(0, Buf::remaining);
                progress.bytes.set(progress.bytes.get() + count as u64);
            }
        }
        polled
    }

    /// The body itself.
    pub fn into_inner(self) -> B {
        self.inner
    }

    /// How far it is, for as long as somebody asks.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        self.watch.as_ref().map(|(progress, _)| Rc::clone(progress))
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Body for Upload<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(data) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.small.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.small.split().freeze()))));
        }
        let polled = match self.peeked.take() {
            Some(peeked) => Poll::Ready(Some(peeked)),
            None => self.poll_inner(context),
        };
        polled.map_ok(|frame| match frame.into_trailers() {
            Ok(mut fields) => {
                trailers::guard_of_request(&mut fields, &self.identity);
                Frame::trailers(fields)
            }
            Err(frame) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.small.is_empty() && self.peeked.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = (self.small.len() + self.held.iter().map(Bytes::len).sum::<usize>()) as u64;
        self.inner.size_hint().exact().map_or_else(SizeHint::new, |left| SizeHint::with_exact(left + held))
    }
}

/// Takes what is left of a request's body and throws it away, until it is over, too much, or `deadline` passes. Who is
/// still sending when the answer comes reads it only if nobody hangs up on them.
pub async fn discard(mut body: impl Body<Data = Bytes> + Unpin, deadline: Deadline) {
    let mut left = MAX_DISCARDED;
    let all = poll_fn(|context| {
        loop {
            let Some(Ok(frame)) = ready!(Pin::new(&mut body).poll_frame(context)) else { return Poll::Ready(()) };
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return Poll::Ready(()),
            }
        }
    });
    let _ = deadline.limit(all).await;
}
