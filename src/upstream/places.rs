//! How many connections there may be to the servers of one upstream, over all workers. They are counted through changes of
//! the configuration: an old application must not get twice as many because a time-out was changed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    bound: Mutex<Bound>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Bound {
    /// How many places there are to be.
    most: usize,
    /// How many more than that are taken still: those are not given out again when they come back.
    owed: usize,
}

/// A place for one connection, taken up until it is dropped.
#[derive(Debug)]
pub struct TakenPlace {
    permit: Option<OwnedSemaphorePermit>,
    all: Arc<Shared>,
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        let mut bound = self.all.bound();
        if bound.owed > 0
            && let Some(permit) = self.permit.take()
        {
            bound.owed -= 1;
            permit.forget();
        }
        // Given back before anybody can change how many there are.
        drop(self.permit.take());
    }
}

/// Waits for a place; forgotten about when dropped.
pub struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// So many places, all of them free.
    pub fn new(most: usize) -> Self {
        let (free, bound) = (Arc::new(Semaphore::new(most)), Mutex::new(Bound { most, owed: 0 }));
        Self(Arc::new(Shared { free, bound, waiting: AtomicUsize::new(0) }))
    }

    /// Has so many places from now on. Of those that are taken and too many, none is given out again.
    pub fn resize(&self, most: usize) {
        let mut bound = self.0.bound();
        let (more, fewer) = (most.saturating_sub(bound.most), bound.most.saturating_sub(most));
        bound.most = most;
        let paid = bound.owed.min(more);
        bound.owed -= paid;
        self.0.free.add_permits(more - paid);
        bound.owed += fewer - self.0.free.forget_permits(fewer);
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        let bound = self.0.bound();
        (bound.most + bound.owed).saturating_sub(self.0.free.available_permits())
    }

    /// A place, if one is free.
    pub fn take(&self) -> Option<TakenPlace> {
        let permit = Arc::clone(&self.0.free).try_acquire_owned().ok()?;
        Some(TakenPlace { permit: Some(permit), all: Arc::clone(&self.0) })
    }

    /// Waits for a place; `None` when `most` wait already.
    pub async fn wait(&self, most: usize) -> Option<TakenPlace> {
        let _waiting = self.queue(most)?;
        let permit = Arc::clone(&self.0.free).acquire_owned().await.ok()?;
        Some(TakenPlace { permit: Some(permit), all: Arc::clone(&self.0) })
    }

    /// Counts a request that waits, until it is dropped; `None` when `most` wait already.
    pub fn queue(&self, most: usize) -> Option<Waiting<'_>> {
        let waiting = Waiting(&self.0.waiting);
        (self.0.waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waiting)
    }

    /// How many requests wait for a place.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_through_every_change() {
        let places = Places::new(4);
        let mut held: Vec<_> = (0..4).map_while(|_| places.take()).collect();
        assert!(held.len() == 4 && places.take().is_none());
        // Fewer: three come back, and the fourth is one too many still.
        places.resize(2);
        held.truncate(2);
        assert!(places.take().is_none(), "two are taken, and there are two");
        assert_eq!(places.taken(), 2);
        held.truncate(1);
        held.extend(places.take());
        assert!(held.len() == 2 && places.take().is_none());
        // More again, while some are owed.
        places.resize(1);
        places.resize(3);
        assert_eq!(places.taken(), 2);
        held.extend(places.take());
        assert!(held.len() == 3 && places.take().is_none());
        places.resize(1);
        drop(held);
        assert_eq!(places.taken(), 0);
        let last = places.take();
        assert!(last.is_some() && places.take().is_none());
    }

    #[test]
    fn what_is_given_back_while_it_changes_is_never_too_many() {
        let places = Places::new(8);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        drop((places.take(), places.take()));
                    }
                });
            }
            for turn in 0..2_000 {
                places.resize(1 + turn % 8);
            }
        });
        places.resize(3);
        let held: Vec<_> = std::iter::from_fn(|| places.take()).take(9).collect();
        assert_eq!(held.len(), 3);
    }
}
