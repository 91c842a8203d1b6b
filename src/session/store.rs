//! The contract every session store keeps. The one suite that tests it is `store::contract`.
//!
//! No operation writes a whole record blindly, so a request in flight can never bring back a session that was just
//! ended. Deadlines come from the caller's `now`; a store never reads a clock.

use std::sync::Arc;

use futures_core::future::BoxFuture;

use crate::base::clock::Timestamp;
use crate::crypto::keyring::KeyRing;
use crate::session::concurrency::{Concurrency, Limit};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Owner, Person, Record};
use crate::session::tenant::ByTenant;
use crate::session::timeouts::{Lifetimes, Over};

/// A store could not do what it was asked. The request at hand is refused, never let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session store: {0}")]
pub struct StoreError(pub String);

/// A store that cannot keep what it is told, as its operator is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// What is wrong, and what follows from it, in the words of the log.
    pub words: String,
    /// What to do about it.
    pub help: &'static str,
    /// Since when it works again, if it does. It is over once that has held for a while.
    pub works_since: Option<Timestamp>,
}

/// What a store says when asked for a session.
pub enum Lookup {
    /// It was at hand, ended ones included: they still know why they ended.
    Hit(Arc<Live>),
    /// There is none of this handle.
    Miss,
    /// It has to be fetched.
    Later(BoxFuture<'static, Result<Option<Arc<Live>>, StoreError>>),
}

/// What came of [`SessionStore::create`].
#[derive(Clone, Debug)]
pub enum Created {
    /// The session exists.
    Session {
        /// The session.
        live: Arc<Live>,
        /// Those of its owner that ended for it, and why.
        ended: Vec<(SessionHandle, EndReason)>,
    },
    /// Its owner has as many live sessions as they may have; nothing was created, and nothing has ended.
    Full,
    /// There is a session of this name, or was one that is remembered; nothing was created, and nothing has ended.
    Taken,
}

/// A part of all sessions, as [`SessionStore::page`] gives it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The sessions.
    pub sessions: Vec<Arc<Live>>,
    /// What the next part begins behind; none when this is the last.
    pub next: Option<SessionHandle>,
}

/// A session store. Every operation is durable, as far as the store is, when its future is done.
pub trait SessionStore: Send + Sync {
    /// Finds a session. On the hot path: a store that has it in memory answers at once.
    fn lookup(&self, handle: SessionHandle) -> Lookup;

    /// Adds a new session, if the limit leaves room for it and none has had its name. Counting, ending what makes way for it
    /// ([`Limit::room`]), and adding are one step: at no moment has the owner more than they may. Nothing ends where
    /// nothing is added, but for a store that turns out to be unable to keep it: what has made way then stays ended.
    fn create(&self, record: Record, limit: Option<Limit>) -> BoxFuture<'_, Result<Created, StoreError>>;

    /// Notes activity. Never goes back, never revives; stores beyond memory write it behind.
    fn touch(&self, live: &Arc<Live>, now: Timestamp);

    /// Locks a session. Never locks an ended one; stores beyond memory write it behind, since time locks it again. Returns
    /// whether this call did.
    fn lock(&self, live: &Arc<Live>) -> bool;

    /// Changes what is known of who is signed in, as [`Live::change_principal`] has it: whoever holds the session sees it
    /// at once. Returns whether it did.
    fn change_principal(
        &self,
        handle: SessionHandle,
        principal: Arc<Principal>,
        expected_version: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Makes `generation` the current one if it is a later one and the session lasts; the ones between were lost with a
    /// full disk or a crash. Returns whether it is the current one now.
    fn rotate(&self, handle: SessionHandle, generation: u32, now: Timestamp)
    -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Ends a session; the first reason stays. Returns whether this call ended it. Of one that has ended before, too, the
    /// future is done when that is durable, and fails while it cannot be.
    fn revoke(
        &self,
        handle: SessionHandle,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Ends every live session of an owner and returns which these were.
    fn revoke_all(
        &self,
        owner: Owner,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>>;

    /// Everybody who has a session that has not ended, each once.
    fn users(&self) -> BoxFuture<'_, Result<Vec<Person>, StoreError>>;

    /// Seals what leaves the process under these keys from now on, and what has left it anew: when the future is done, no
    /// key is needed any more that is not among them.
    fn use_keys(&self, _ring: Arc<KeyRing>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The sessions of an owner that have not ended.
    fn list(&self, owner: Owner) -> BoxFuture<'_, Result<Vec<Arc<Live>>, StoreError>>;

    /// A part of all sessions, in the order of their handles: at most `most`, beginning behind `after`, ended ones included
    /// for as long as they are remembered. Whatever is there all the while that somebody walks from page to page comes
    /// exactly once, and no request waits for it.
    fn page(&self, after: Option<SessionHandle>, most: usize) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Ends, or locks, the sessions that are over by `lifetimes`, forgets those that ended long ago, and returns which it
    /// ended and why, or locked.
    fn sweep(
        &self,
        lifetimes: ByTenant<Lifetimes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(SessionHandle, Over)>, StoreError>>;

    /// Ends, of everybody who has more sessions than they may ([`Concurrency::above`]), those above it, and returns which
    /// it ended: after a change of what is allowed, or of roles.
    fn end_above(
        &self,
        allowed: ByTenant<Option<Arc<Concurrency>>>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>>;

    /// How many sessions have not ended.
    fn active(&self) -> usize;

    /// Whether it cannot keep what it is told, as far as it knows.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// How often it has failed at what nobody waited for, as what it tries again by itself.
    fn failures_behind(&self) -> u64 {
        0
    }

    /// What it is called in the configuration.
    fn kind(&self) -> &'static str;

    /// Seals everything anew under the active key, so that retired ones can be taken away. How many sessions that were;
    /// nought for a store that seals nothing.
    fn reseal(&self) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Writes down what is behind, and lets go of what the store holds. Nothing is asked of it afterwards.
    fn close(&self) {}
}
