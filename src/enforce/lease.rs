//! Streams that end with their session: a long answer, an upload, a stream of events.
//!
//! Nothing is registered for an answer that is sent without waiting, so an ordinary request costs nothing here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dashmap::DashMap;
use http_body::{Body, Frame, SizeHint};
use slab::Slab;

use crate::base::clock::Timestamp;
use crate::limit::parallel::UnderWay;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::tenant::ByTenant;
use crate::session::timeouts::{Lifetimes, Over};

/// The open streams of every session. Clones share it.
#[derive(Clone, Default)]
pub struct Leases(Arc<DashMap<SessionHandle, Streams>>);

struct Streams {
    live: Arc<Live>,
    wakers: Slab<Waker>,
}

/// The session a stream belongs to has ended, or is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session of this stream has ended")]
pub struct SessionEnded;

impl Leases {
    /// Wakes the streams of a session that has ended or has other rights, so that they notice.
    pub fn end(&self, handle: SessionHandle) {
        let woken: Vec<Waker> = match self.0.get_mut(&handle) {
            Some(streams) => streams.wakers.iter().map(|(_, waker)| waker.clone()).collect(),
            None => return,
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// The sessions with open streams that are over by their limits at `now`.
    pub fn over(&self, lifetimes: &ByTenant<Lifetimes>, now: Timestamp) -> Vec<(Arc<Live>, Over)> {
        let over = |live: &Arc<Live>| {
            let view = live.view();
            lifetimes.of(view.tenant).over(&view, now).map(|over| (Arc::clone(live), over))
        };
        self.0.iter().filter_map(|streams| over(&streams.live)).collect()
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.0.iter().map(|streams| streams.wakers.len()).sum()
    }

    /// How many of them are one session's.
    pub fn open_of(&self, handle: SessionHandle) -> usize {
        self.0.get(&handle).map_or(0, |streams| streams.wakers.len())
    }

    fn register(&self, live: &Arc<Live>, waker: Waker) -> usize {
        let new = || Streams { live: Arc::clone(live), wakers: Slab::new() };
        self.0.entry(live.handle()).or_insert_with(new).wakers.insert(waker)
    }

    fn renew(&self, handle: SessionHandle, key: usize, waker: &Waker) {
        if let Some(mut streams) = self.0.get_mut(&handle)
            && let Some(known) = streams.wakers.get_mut(key)
        {
            known.clone_from(waker);
        }
    }

    fn forget(&self, handle: SessionHandle, key: usize) {
        self.0.remove_if_mut(&handle, |_, streams| {
            streams.wakers.try_remove(key);
            streams.wakers.is_empty()
        });
    }
}

/// A stream's hold on its session, for as long as the person may do what they could when the stream was allowed. With
/// other rights it begins anew: its application was told of the former.
pub struct Lease {
    leases: Leases,
    live: Arc<Live>,
    /// Which of the session's principals it was allowed for, by its place in memory, which it keeps.
    allowed_for: usize,
    key: Option<usize>,
    under_way: Option<UnderWay>,
}

impl Lease {
    /// A lease on `live`, for what was allowed to `principal`.
    pub fn new(leases: Leases, live: Arc<Live>, principal: Option<&Principal>) -> Self {
        Self { leases, live, allowed_for: place(principal), key: None, under_way: None }
    }

    /// For as long as it is held, its request is under way.
    pub fn holding(mut self, under_way: Option<UnderWay>) -> Self {
        self.under_way = under_way;
        self
    }

    fn check(&self) -> Result<(), SessionEnded> {
        if self.live.is_open() { Ok(()) } else { Err(SessionEnded) }
    }

    /// Called before waiting: from now on the end of the session wakes the stream.
    fn watch(&mut self, context: &Context<'_>) -> Result<(), SessionEnded> {
        match self.key {
            Some(key) => self.leases.renew(self.live.handle(), key, context.waker()),
            None => self.key = Some(self.leases.register(&self.live, context.waker().clone())),
        }
        // It may have ended between the first look and the registration. What goes on without waiting is soon over, and
        // is not cut for other rights.
        if self.has_ended() { Err(SessionEnded) } else { Ok(()) }
    }

    /// Whether its session has ended, or has other rights.
    pub fn has_ended(&self) -> bool {
        let principal = self.live.principal().map(|principal| &**principal);
        self.check().is_err() || place(principal) != self.allowed_for
    }

    /// Ready once its session has ended; until then, that wakes whoever asked.
    pub fn poll_ended(&mut self, context: &Context<'_>) -> Poll<SessionEnded> {
        match self.watch(context) {
            Err(ended) => Poll::Ready(ended),
            Ok(()) => Poll::Pending,
        }
    }
}

/// What tells a session's principals apart.
fn place(principal: Option<&Principal>) -> usize {
    principal.map_or(0, |principal| std::ptr::from_ref(principal).addr())
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.leases.forget(self.live.handle(), key);
        }
    }
}

/// A body that breaks off when the session ends that it belongs to.
pub struct Leased<B> {
    inner: B,
    lease: Option<Lease>,
}

impl<B> Leased<B> {
    /// `inner` under `lease`; without one it just passes.
    pub const fn new(inner: B, lease: Option<Lease>) -> Self {
        Self { inner, lease }
    }

    /// What it is a lease on.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B> Body for Leased<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Some(Err(ended)) = this.lease.as_ref().map(Lease::check) {
            return Poll::Ready(Some(Err(ended.into())));
        }
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Pending => match this.lease.as_mut().map(|lease| lease.watch(context)) {
                Some(Err(ended)) => Poll::Ready(Some(Err(ended.into()))),
                Some(Ok(())) | None => Poll::Pending,
            },
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;
    use crate::base::random::Random;
    use crate::session::binding::Bound;
    use crate::session::record::{EndReason, Record};
    use crate::session::timeouts::Lifetime;

    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waiting_stream_ends_with_its_session_and_leaves_nothing_behind() {
        let start = Timestamp::from_millis(1_763_000_000_000);
        let bound = Bound::of(IpAddr::from([127, 0, 0, 1]), b"");
        let live = Arc::new(Live::new(Record::new(&Random::seeded(1), None, bound, start)));
        let leases = Leases::default();
        let mut stream = Leased::new(Never, Some(Lease::new(leases.clone(), Arc::clone(&live), None)));
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut stream).poll_frame(&mut context).is_pending());
        assert!(Pin::new(&mut stream).poll_frame(&mut context).is_pending());
        assert_eq!(leases.open(), 1);
        let limits = Lifetime { idle: Duration::from_secs(5), absolute: Duration::from_secs(50) }.into();
        assert_eq!(
            leases.over(&limits, start.plus(Duration::from_secs(5))),
            [(Arc::clone(&live), Over::End(EndReason::Idle))]
        );
        live.end(EndReason::Revoked, start);
        leases.end(live.handle());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(matches!(Pin::new(&mut stream).poll_frame(&mut context), Poll::Ready(Some(Err(_)))));
        drop(stream);
        assert!(leases.0.is_empty());
    }
}
