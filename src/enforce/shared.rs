//! What all workers and the background share.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{Either, select};

use crate::base::clock::{Clock, Timestamp};
use crate::base::random::Random;
use crate::enforce::cross_site;
use crate::enforce::lease::Leases;
use crate::enforce::parking::{NotKept, ParkingLot};
use crate::enforce::reloads::Reloads;
use crate::enforce::snapshot::Snapshot;
use crate::limit::connections::OpenConnections;
use crate::limit::rate::PerAddress;
use crate::login::password::PasswordPool;
use crate::observe::audit::{AuditEvent, AuditFields, AuditLog};
use crate::observe::metrics::{Answered, Elsewhere, Metrics, OfTenant};
use crate::observe::sink::Logs;
use crate::policy::verdict::{CrossSite, Reason, Stale};
use crate::session::handle::SessionHandle;
use crate::session::kv::KvStore;
use crate::session::live::Live;
use crate::session::record::{EndReason, Owner};
use crate::session::store::{Lookup, SessionStore, StoreError};
use crate::session::tenant::TenantId;
use crate::session::timeouts::Over;

/// How long the store may take: it is in the same house, and a person waits for it before their request even begins.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What all workers and the background share.
pub struct Shared {
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// The sessions.
    pub store: Arc<dyn SessionStore>,
    /// What is kept beside them.
    pub values: Arc<dyn KvStore>,
    /// The forms that are being kept.
    pub parking: ParkingLot,
    /// The open connections of each address.
    pub connections: OpenConnections,
    /// The streams that end with their session.
    pub leases: Leases,
    /// The threads that check passwords.
    pub passwords: PasswordPool,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// The numbers.
    pub metrics: Metrics,
    /// The audit log.
    pub audit: AuditLog,
    /// Where log lines go.
    pub logs: Logs,
    /// Whether the gateway takes new connections.
    pub is_ready: AtomicBool,
    /// When it started.
    pub started_at: Timestamp,
    /// The way to whoever reads the configuration again.
    pub reloads: Reloads,
    /// Bounds what is reported of other sites' doings from each address; all of it is counted.
    pub cross_site_reports: PerAddress,
}

/// How much of that is reported from one address: enough to see which page and which site it is.
pub const CROSS_SITE_REPORTS: &str = "10/m";

/// What came of ending sessions.
#[derive(Debug, Default)]
pub struct Ended {
    /// How many were ended by it, here and at once.
    pub count: usize,
    /// What the store failed at, if it did. It writes down later what has ended all the same.
    pub failure: Option<StoreError>,
}

impl Ended {
    fn written(self) -> Result<usize, StoreError> {
        self.failure.map_or(Ok(self.count), Err)
    }
}

/// The limits, by the names under which what they refuse is counted.
const LIMITS: [&str; 11] = [
    "account_limit",
    "address_connections",
    "address_limit",
    "anonymous_sessions",
    "cookie_limit",
    "http2_frames",
    "login_limit",
    "parallel_limit",
    "route_limit",
    "session_limit",
    "user_limit",
];

/// Numbers in which everything that may happen to sessions, sign-ins and limits stands at zero.
pub fn metrics() -> Metrics {
    let metrics = Metrics::default();
    Metrics::expect(&metrics.sessions_created, ["user", "anonymous"]);
    Metrics::expect(&metrics.sessions_ended, EndReason::ALL.map(EndReason::name));
    Metrics::expect(&metrics.logins, ["succeeded", "failed", "stale", "refused", "busy", "full"]);
    let stale = [Stale::Idle, Stale::Absolute, Stale::Proof].map(Stale::name);
    Metrics::expect(
        &metrics.challenges,
        stale.into_iter().chain([Reason::NoSession, Reason::Locked(Duration::ZERO)].map(Reason::name)),
    );
    Metrics::expect(&metrics.limited, LIMITS);
    let parked = ["parked", "sent", "put_back", "discarded"].into_iter().chain(NotKept::ALL.map(NotKept::name));
    Metrics::expect(&metrics.parked_posts, parked);
    for (found, answer) in CrossSite::ALL.iter().flat_map(|found| cross_site::ANSWERS.map(|answer| (found, answer))) {
        drop(metrics.cross_site.get_or_create(&Answered { reason: found.name(), answer }));
    }
    Metrics::expect(&metrics.reloads, ["taken", "users_taken", "refused"]);
    metrics
}

impl Shared {
    /// Writes an audit event now.
    pub fn audit(&self, event: AuditEvent, fields: AuditFields<'_>) {
        if let Some(tenant) = fields.tenant {
            self.metrics.tenant_events.get_or_create(&OfTenant { tenant, event: event.name() }).inc();
        }
        self.audit.write(self.clock.now(), event, fields);
    }

    /// Ends a session, everywhere at once: in the store, and its open streams. Returns whether this call ended it.
    ///
    /// # Errors
    /// When the store fails; the streams are cut nevertheless.
    pub async fn end_session(
        &self,
        handle: SessionHandle,
        reason: EndReason,
        client: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.end_here(handle, reason, client, now).await.written().map(|count| count > 0)
    }

    /// As [`Shared::end_session`], and says of a store that fails whether the session has ended all the same.
    pub async fn end_here(
        &self,
        handle: SessionHandle,
        reason: EndReason,
        client: Option<IpAddr>,
        now: Timestamp,
    ) -> Ended {
        let live = self.at_hand(handle).filter(|live| live.ended().is_none());
        let ended = self.asked("revoke", self.store.revoke(handle, reason, now)).await;
        self.leases.end(handle);
        let (is_over, failure) = match ended {
            Ok(ended) => (ended, None),
            Err(error) => (live.as_ref().is_some_and(|live| live.ended().is_some()), Some(error)),
        };
        if is_over {
            self.note_end(handle, live.as_deref().map(whose), reason, client);
        }
        Ended { count: usize::from(is_over), failure }
    }

    /// Ends every session of an owner. Returns how many these were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_all_sessions(&self, owner: Owner, reason: EndReason, now: Timestamp) -> Result<usize, StoreError> {
        self.end_all_here(owner, reason, now).await.written()
    }

    /// As [`Shared::end_all_sessions`], and says of a store that fails how many have ended all the same.
    pub async fn end_all_here(&self, owner: Owner, reason: EndReason, now: Timestamp) -> Ended {
        let held = match self.asked("list", self.store.list(owner.clone())).await {
            Ok(held) => held,
            Err(error) => return Ended { count: 0, failure: Some(error) },
        };
        let person = match &owner {
            Owner::User(person) => Some(person.clone()),
            Owner::Address(_) => None,
        };
        let ended = self.asked("revoke_all", self.store.revoke_all(owner, reason, now)).await;
        let (ended, failure) = match ended {
            Ok(ended) => (ended, None),
            Err(error) => {
                let over = held.iter().filter(|live| live.ended().is_some());
                (over.map(|live| live.handle()).collect(), Some(error))
            }
        };
        for handle in &ended {
            self.leases.end(*handle);
            let whose = person.as_ref().map(|person| (person.tenant, Some(&*person.name)));
            self.note_end(*handle, whose, reason, None);
        }
        Ended { count: ended.len(), failure }
    }

    /// Ends what is over, and forgets what has been over for long.
    pub async fn sweep(&self, now: Timestamp) {
        let snapshot = self.snapshot.load_full();
        snapshot.sweep_limits();
        self.cross_site_reports.keys().sweep();
        if let Ok(ended) = self.asked("sweep", self.store.sweep(snapshot.lifetimes(), now)).await {
            for (handle, over) in ended {
                match over {
                    Over::End(reason) => self.note_ended(&[(handle, reason)], None),
                    Over::Lock(_) => {
                        self.leases.end(handle);
                        self.note_lock(handle, self.at_hand(handle).as_deref().map(whose), None);
                    }
                }
            }
        }
        if let Some(allowed) = snapshot.concurrency()
            && let Ok(ended) = self.asked("end_above", self.store.end_above(allowed, now)).await
        {
            let ended: Vec<_> = ended.into_iter().map(|handle| (handle, EndReason::Displaced)).collect();
            self.note_ended(&ended, None);
        }
    }

    /// Cuts the streams of sessions that the store has ended by itself, and writes down that they have.
    pub fn note_ended(&self, ended: &[(SessionHandle, EndReason)], client: Option<IpAddr>) {
        for (handle, reason) in ended {
            self.leases.end(*handle);
            // It is remembered, if it was somebody's.
            self.note_end(*handle, self.at_hand(*handle).as_deref().map(whose), *reason, client);
        }
    }

    /// Locks a session: nothing passes with it, and its open streams are cut, until its person has proved again who they
    /// are.
    pub fn lock_session(&self, live: &Arc<Live>, client: Option<IpAddr>) {
        let is_done = self.store.lock(live);
        self.leases.end(live.handle());
        if is_done {
            self.note_lock(live.handle(), Some(whose(live)), client);
        }
    }

    /// Ends, or locks, the sessions that are over and still have open streams: looked at more often than all the others.
    pub async fn sweep_streams(&self, now: Timestamp) {
        let over = self.leases.over(&self.snapshot.load().lifetimes(), now);
        for (live, over) in over {
            match over {
                // A failure is reported where it happens, and the next look tries again.
                Over::End(reason) => drop(self.end_session(live.handle(), reason, None, now).await),
                Over::Lock(_) => self.lock_session(&live, None),
            }
        }
    }

    /// What the store answers, if it does so in time. How long it took is measured; a failure is counted and reported on
    /// its way.
    ///
    /// # Errors
    /// The failure itself.
    pub async fn asked<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.measured(operation, async {
            // The timer is made when the answer is first waited for: a store that has it at hand costs none.
            match select(pin!(answer), pin!(self.clock.sleep(STORE_TIMEOUT))).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(((), _)) => Err(StoreError("no answer in time".to_owned())),
            }
        })
        .await
    }

    /// The same, however long it takes: for what nobody waits for.
    ///
    /// # Errors
    /// The failure itself.
    pub async fn measured<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let stopwatch = self.clock.stopwatch();
        let outcome = answer.await;
        self.metrics.store_took(operation, stopwatch.elapsed());
        if let Err(error) = &outcome {
            self.metrics.store_errors.inc();
            self.audit(AuditEvent::StoreFailed, AuditFields { reason: Some(&error.0), ..AuditFields::default() });
        }
        outcome
    }

    /// The numbers, in the OpenMetrics text format.
    pub fn render_metrics(&self) -> String {
        let snapshot = self.snapshot.load();
        self.metrics.render(&Elsewhere {
            sessions: self.store.active(),
            streams: self.leases.open(),
            is_store_writable: self.store.trouble().is_none(),
            store_errors: self.store.failures_behind(),
            log_lost: self.logs.lost(),
            snapshot_version: snapshot.version,
            snapshot_loaded_at: snapshot.loaded_at.as_millis(),
            started_at: self.started_at.as_millis(),
        })
    }

    /// Whether the gateway takes new connections.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// A session that the store has at hand.
    fn at_hand(&self, handle: SessionHandle) -> Option<Arc<Live>> {
        match self.store.lookup(handle) {
            Lookup::Hit(live) => Some(live),
            Lookup::Miss | Lookup::Later(_) => None,
        }
    }

    fn note_lock(&self, handle: SessionHandle, whose: Option<(TenantId, Option<&str>)>, client: Option<IpAddr>) {
        let (tenant, user) = whose.map_or((None, None), |(tenant, user)| (tenant.told(), user));
        self.metrics.sessions_locked.inc();
        let session: Option<&dyn std::fmt::Display> = Some(&handle);
        self.audit(AuditEvent::SessionLocked, AuditFields { client, session, user, tenant, ..AuditFields::default() });
    }

    fn note_end(
        &self,
        handle: SessionHandle,
        whose: Option<(TenantId, Option<&str>)>,
        reason: EndReason,
        client: Option<IpAddr>,
    ) {
        let (tenant, user) = whose.map_or((None, None), |(tenant, user)| (tenant.told(), user));
        Metrics::count(&self.metrics.sessions_ended, reason.name());
        let (session, reason): (Option<&dyn std::fmt::Display>, _) = (Some(&handle), Some(reason.name()));
        self.audit(
            AuditEvent::SessionEnded,
            AuditFields { client, session, user, tenant, reason, ..AuditFields::default() },
        );
    }
}

/// Whose session it is: at which tenant, and nobody's there where that is a stranger.
fn whose(live: &Live) -> (TenantId, Option<&str>) {
    (live.tenant(), live.principal().map(|principal| &*principal.user))
}
