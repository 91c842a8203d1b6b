//! A request's body on its way, watched: while it moves, its application is not yet late with the answer.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use crate::base::clock::{Clock, Timestamp};

/// When a body last moved.
pub type Progress = Rc<Cell<Timestamp>>;

/// A body that notes when it moves.
pub struct Upload<B> {
    inner: B,
    watch: Option<(Progress, Clock)>,
}

impl<B: Body> Upload<B> {
    /// Watches `inner` by `clock`; a body that is over before it begins is not.
    pub fn new(inner: B, clock: &Clock) -> Self {
        let watch = (!inner.is_end_stream()).then(|| (Rc::new(Cell::new(clock.now())), clock.clone()));
        Self { inner, watch }
    }
}

impl<B> Upload<B> {
    /// When it last moved, for as long as somebody asks.
    pub fn progress(&self) -> Option<Progress> {
        self.watch.as_ref().map(|(progress, _)| Rc::clone(progress))
    }
}

impl<B: Body + Unpin> Body for Upload<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(_), Some((progress, clock))) = (&polled, &self.watch) {
            progress.set(clock.now());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
