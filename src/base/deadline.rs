//! Deadlines of one worker, all looked at together a few times a second: setting one costs no timer and no lock.
//!
//! They come late by up to [`TICK`], which is nothing to a time-out of seconds.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::base::clock::{Clock, Timestamp};

/// How often the deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(250);

/// The deadlines of one worker.
#[derive(Debug)]
pub struct Deadlines {
    slots: RefCell<Slab<Slot>>,
    looked_at: Cell<Timestamp>,
}

#[derive(Debug)]
struct Slot {
    at: Option<Timestamp>,
    has_passed: bool,
    waker: Option<Waker>,
}

/// A deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed;

impl Deadlines {
    /// No deadlines yet, at `now`.
    pub fn new(now: Timestamp) -> Rc<Self> {
        Rc::new(Self { slots: RefCell::default(), looked_at: Cell::new(now) })
    }

    /// When they were last looked at: the time, to within [`TICK`], without asking for it.
    pub fn recent(&self) -> Timestamp {
        self.looked_at.get()
    }

    /// A deadline at `at`, or none yet.
    pub fn set(self: &Rc<Self>, at: Option<Timestamp>) -> Deadline {
        let key = self.slots.borrow_mut().insert(Slot { at, has_passed: false, waker: None });
        Deadline { all: Rc::clone(self), key }
    }

    /// Wakes everyone whose deadline has passed.
    pub fn look(&self, now: Timestamp) {
        self.looked_at.set(now);
        let mut woken = Vec::new();
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            if slot.at.is_some_and(|at| now >= at) && !slot.has_passed {
                slot.has_passed = true;
                woken.extend(slot.waker.take());
            }
        }
        // Woken when nothing is borrowed any more: waking may run a drop that takes a deadline away.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Lets every deadline pass now, also those that wait for nothing.
    pub fn pass_all(&self) {
        let now = self.looked_at.get();
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            slot.at = Some(now);
        }
        self.look(now);
    }

    /// Looks at the deadlines for ever. Run once by each worker.
    pub async fn watch(self: Rc<Self>, clock: Clock) {
        loop {
            clock.sleep(TICK).await;
            self.look(clock.now());
        }
    }
}

/// One deadline; gone when dropped.
#[derive(Debug)]
pub struct Deadline {
    all: Rc<Deadlines>,
    key: usize,
}

impl Deadline {
    /// Moves the deadline; `None` means that nothing is waited for now.
    pub fn move_to(&self, at: Option<Timestamp>) {
        if let Some(slot) = self.all.slots.borrow_mut().get_mut(self.key) {
            slot.at = at;
            slot.has_passed = false;
        }
    }

    /// Ready once it has passed.
    pub fn poll_passed(&self, context: &mut Context<'_>) -> Poll<Passed> {
        let mut slots = self.all.slots.borrow_mut();
        let Some(slot) = slots.get_mut(self.key) else { return Poll::Ready(Passed) };
        if slot.has_passed {
            return Poll::Ready(Passed);
        }
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            slot.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// What `future` comes to, unless the deadline passes first.
    ///
    /// # Errors
    /// [`Passed`].
    pub async fn limit<T>(&self, future: impl Future<Output = T>) -> Result<T, Passed> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_passed(context).map(Err),
        })
        .await
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.slots.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_when_looked_at_after_its_time_and_can_be_moved() {
        let at = Timestamp::from_millis;
        let all = Deadlines::new(at(0));
        let (deadline, never) = (all.set(Some(at(100))), all.set(None));
        let mut context = Context::from_waker(Waker::noop());
        all.look(at(99));
        assert_eq!(deadline.poll_passed(&mut context), Poll::Pending);
        deadline.move_to(Some(at(200)));
        all.look(at(199));
        assert_eq!(deadline.poll_passed(&mut context), Poll::Pending);
        all.look(at(200));
        assert_eq!(deadline.poll_passed(&mut context), Poll::Ready(Passed));
        assert_eq!(never.poll_passed(&mut context), Poll::Pending);
        drop((deadline, never));
        assert!(all.slots.borrow().is_empty());
    }
}
