//! The one suite that every session store passes.

mod limits;

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::random::Random;
use crate::session::binding::Bound;
use crate::session::concurrency::Limit;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Owner, Person, Record};
use crate::session::store::{Created, Lookup, SessionStore};
use crate::session::tenant::{ByTenant, TenantId};
use crate::session::timeouts::{Lifetime, Lifetimes, OnIdle, Over, RoleLifetime};

const START: Timestamp = Timestamp::from_millis(1_763_000_000_000);

fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

fn owner(user: &str) -> Owner {
    Owner::user(TenantId::DEFAULT, user)
}

struct Case<S> {
    store: Arc<S>,
    random: Random,
    runtime: tokio::runtime::Runtime,
}

impl<S: SessionStore + 'static> Case<S> {
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn record(&self, user: &str) -> Record {
        let principal = (!user.is_empty()).then(|| Arc::new(Principal::new(user, None, &[], &[])));
        let bound = Bound::of("192.0.2.1".parse().expect("an address"), b"agent");
        Record::new(&self.random, principal, bound, START)
    }

    fn create(&self, user: &str) -> Arc<Live> {
        match self.run(self.store.create(self.record(user), None)).expect("the store works") {
            Created::Session { live, ended } if ended.is_empty() => live,
            Created::Session { .. } | Created::Full | Created::Taken => panic!("no limit was given"),
        }
    }

    fn find(&self, handle: SessionHandle) -> Option<Arc<Live>> {
        match self.store.lookup(handle) {
            Lookup::Hit(live) => Some(live),
            Lookup::Miss => None,
            Lookup::Later(later) => self.run(later).expect("the store works"),
        }
    }

    fn revoke(&self, handle: SessionHandle, reason: EndReason, now: Timestamp) -> bool {
        self.run(self.store.revoke(handle, reason, now)).expect("the store works")
    }

    /// Every page of `most`, one after another.
    fn walk(&self, most: usize, mut beside: impl FnMut()) -> Vec<Vec<SessionHandle>> {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = self.run(self.store.page(after, most)).expect("the store works");
            assert!(pages.len() < 1000, "a walk that does not end");
            pages.push(page.sessions.iter().map(|live| live.handle()).collect());
            match page.next {
                Some(next) => after = Some(next),
                None => return pages,
            }
            beside();
        }
    }

    fn count(&self, user: &str) -> usize {
        self.run(self.store.list(owner(user))).expect("the store works").len()
    }
}

/// Runs every case, each against a new, empty store.
pub(super) fn suite<S: SessionStore + 'static>(new_store: impl Fn() -> Arc<S>) {
    let cases: [fn(&Case<S>); 22] = [
        finds_what_was_created,
        ends_once_and_for_the_first_reason,
        ends_all_of_one_owner_only,
        activity_goes_forward_and_revives_nothing,
        rotates_to_what_is_later_only,
        changes_rights_for_whoever_holds_the_session,
        names_everybody_who_has_a_session_once,
        a_name_at_another_tenant_is_somebody_else,
        sweeps_by_the_limits_it_is_given,
        sweeps_by_the_roles_of_the_moment,
        locks_what_is_idle_until_its_absolute_limit,
        counts_and_adds_in_one_step,
        limits::the_least_recently_used_end_in_the_step_that_adds,
        limits::what_makes_way_ends_only_for_a_session_that_begins,
        limits::what_is_over_keeps_nobody_out,
        limits::a_name_is_given_once,
        limits::never_more_than_they_may_have_at_any_moment,
        limits::races_of_ends_and_beginnings_keep_the_count,
        limits::ends_what_is_above_a_limit_that_was_lowered,
        what_races_with_an_end_does_not_undo_it,
        pages_hold_every_session_once_and_no_more_than_they_may,
        a_walk_beside_changes_misses_nobody_who_stays,
    ];
    for case in cases {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        case(&Case { store: new_store(), random: Random::seeded(1), runtime: runtime.expect("a runtime") });
    }
}

fn finds_what_was_created<S: SessionStore + 'static>(case: &Case<S>) {
    let (alice, bob) = (case.create("alice"), case.create("bob"));
    assert_eq!(case.find(alice.handle()).expect("it exists").record(), alice.record());
    assert_eq!(case.find(bob.handle()).expect("it exists").record(), bob.record());
    assert!(case.find(SessionHandle::from_bytes([0; 16])).is_none());
    assert_eq!((case.count("alice"), case.count("nobody"), case.store.active()), (1, 0, 2));
}

fn ends_once_and_for_the_first_reason<S: SessionStore + 'static>(case: &Case<S>) {
    let alice = case.create("alice");
    assert!(case.revoke(alice.handle(), EndReason::Logout, after(5)));
    assert!(!case.revoke(alice.handle(), EndReason::Revoked, after(6)));
    assert!(!case.revoke(SessionHandle::from_bytes([0; 16]), EndReason::Revoked, after(6)));
    // An ended session of a person still knows why.
    let ended = case.find(alice.handle()).expect("it is remembered").ended();
    assert_eq!(ended, Some((EndReason::Logout, after(5))));
    assert_eq!((case.count("alice"), case.store.active()), (0, 0));
}

fn ends_all_of_one_owner_only<S: SessionStore + 'static>(case: &Case<S>) {
    let handles: Vec<_> = (0..3).map(|_| case.create("alice").handle()).collect();
    let bob = case.create("bob");
    case.revoke(handles[0], EndReason::Logout, after(1));
    let ended = case.run(case.store.revoke_all(owner("alice"), EndReason::Revoked, after(2))).expect("the store works");
    assert_eq!(ended.len(), 2);
    assert!(handles.iter().all(|handle| case.find(*handle).is_none_or(|live| live.ended().is_some())));
    assert_eq!((bob.ended(), case.store.active()), (None, 1));
}

fn activity_goes_forward_and_revives_nothing<S: SessionStore + 'static>(case: &Case<S>) {
    let alice = case.create("alice");
    case.store.touch(&alice, after(10));
    case.store.touch(&alice, after(5));
    assert_eq!(case.find(alice.handle()).expect("it exists").active_at(), after(10));
    case.revoke(alice.handle(), EndReason::Logout, after(11));
    case.store.touch(&alice, after(12));
    assert!(case.find(alice.handle()).is_none_or(|live| live.ended().is_some()));
}

fn rotates_to_what_is_later_only<S: SessionStore + 'static>(case: &Case<S>) {
    let alice = case.create("alice");
    let rotate = |generation, secs| {
        case.run(case.store.rotate(alice.handle(), generation, after(secs))).expect("the store works")
    };
    assert!(rotate(1, 2));
    // A parallel request that presents the same successor finds it current, and does not move its beginning.
    assert!(rotate(1, 3));
    let rotation = || case.find(alice.handle()).expect("it exists").rotation();
    assert_eq!((rotation().generation, rotation().presented_at), (1, after(2)));
    // What the store lost between two rotations is left out.
    assert!(rotate(3, 4) && !rotate(2, 5));
    assert_eq!((rotation().generation, rotation().presented_at), (3, after(4)));
    case.revoke(alice.handle(), EndReason::Logout, after(6));
    assert!(!rotate(3, 7) && !rotate(4, 7));
}

fn changes_rights_for_whoever_holds_the_session<S: SessionStore + 'static>(case: &Case<S>) {
    let (alice, stranger) = (case.create("alice"), case.create(""));
    let admin = |user: &str| Arc::new(Principal::new(user, None, &[], &["admin".to_owned()]));
    let change = |handle, user: &str, expected| {
        case.run(case.store.change_principal(handle, admin(user), expected)).expect("the store works")
    };
    assert!(!change(alice.handle(), "bob", 0) && !change(stranger.handle(), "alice", 0), "nobody becomes another");
    assert!(change(alice.handle(), "alice", 0));
    assert!(!change(alice.handle(), "alice", 0), "another change came first");
    for held in [&alice, &case.find(alice.handle()).expect("it exists")] {
        assert!(held.version() == 1 && held.principal().is_some_and(|principal| principal.has_role("admin")));
    }
    case.revoke(alice.handle(), EndReason::Revoked, after(1));
    assert!(alice.ended().is_some() && !change(alice.handle(), "alice", 1));
    assert!(!change(SessionHandle::from_bytes([0; 16]), "alice", 0));
}

fn names_everybody_who_has_a_session_once<S: SessionStore + 'static>(case: &Case<S>) {
    let names = || {
        let mut names = case.run(case.store.users()).expect("the store works");
        names.sort();
        names
    };
    assert_eq!(names(), []);
    let (_alice, _again, bob, _stranger) =
        (case.create("alice"), case.create("alice"), case.create("bob"), case.create(""));
    assert_eq!(names(), ["alice", "bob"].map(|name| Person::new(TenantId::DEFAULT, name)));
    case.revoke(bob.handle(), EndReason::Revoked, after(1));
    assert_eq!(names(), ["alice"].map(|name| Person::new(TenantId::DEFAULT, name)));
}

fn a_name_at_another_tenant_is_somebody_else<S: SessionStore + 'static>(case: &Case<S>) {
    let acme = TenantId::of("acme").expect("room");
    let record = Record { tenant: acme, ..case.record("alice") };
    let theirs = case.run(case.store.create(record.clone(), None)).expect("the store works");
    let Created::Session { live: theirs, ended: _ } = theirs else { panic!("there is room") };
    let ours = case.create("alice");
    assert_eq!((theirs.tenant(), ours.tenant()), (acme, TenantId::DEFAULT));
    let mut people = case.run(case.store.users()).expect("the store works");
    people.sort();
    assert_eq!(people, [TenantId::DEFAULT, acme].map(|tenant| Person::new(tenant, "alice")));
    let listed = case.run(case.store.list(Owner::user(acme, "alice"))).expect("the store works");
    assert_eq!(listed.iter().map(|live| live.handle()).collect::<Vec<_>>(), [record.handle]);
    // Each by the limits of its tenant.
    let (short, long) = (Lifetime { idle: Duration::from_secs(5), ..Lifetime::default() }, Lifetime::default());
    let limits = ByTenant::new(long.into(), [(acme, short.into())]);
    assert_eq!(case.run(case.store.sweep(limits, after(5))), Ok(vec![(record.handle, Over::End(EndReason::Idle))]));
    let ended = case.run(case.store.revoke_all(Owner::user(acme, "alice"), EndReason::Revoked, after(6)));
    assert_eq!(ended, Ok(Vec::new()), "nobody else's");
    assert_eq!(case.count("alice"), 1);
}

fn sweeps_by_the_limits_it_is_given<S: SessionStore + 'static>(case: &Case<S>) {
    let limits = Lifetime { idle: Duration::from_secs(100), absolute: Duration::from_secs(1000) };
    let sweep = |secs| case.run(case.store.sweep(limits.into(), after(secs))).expect("the store works");
    let (idle, busy, stranger) = (case.create("idle"), case.create("busy"), case.create(""));
    case.store.touch(&busy, after(90));
    assert!(sweep(99).is_empty());
    let mut ended = sweep(100);
    ended.sort_by_key(|(handle, _)| *handle);
    let mut expected =
        vec![(idle.handle(), Over::End(EndReason::Idle)), (stranger.handle(), Over::End(EndReason::Idle))];
    expected.sort_by_key(|(handle, _)| *handle);
    assert_eq!(ended, expected);
    assert!(sweep(100).is_empty(), "nothing ends twice");
    case.store.touch(&busy, after(950));
    assert_eq!(sweep(1000), [(busy.handle(), Over::End(EndReason::Absolute))]);
    assert_eq!(busy.ended().map(|(reason, _)| reason), Some(EndReason::Absolute));
    assert!(case.find(stranger.handle()).is_none(), "a stranger's session is forgotten at once");
    assert!(case.find(idle.handle()).is_some(), "a person's is remembered");
    sweep(100 + 24 * 3600);
    assert!(case.find(idle.handle()).is_none(), "for a day");
    assert_eq!(case.store.active(), 0);
}

fn sweeps_by_the_roles_of_the_moment<S: SessionStore + 'static>(case: &Case<S>) {
    let limits = Lifetime { idle: Duration::from_secs(100), absolute: Duration::from_secs(1000) };
    let admin = RoleLifetime {
        role: "admin".into(),
        idle: Some(Duration::from_secs(10)),
        absolute: None,
        ..RoleLifetime::default()
    };
    let limits = Lifetimes::new(limits, [admin]);
    let sweep = |secs| case.run(case.store.sweep(limits.clone().into(), after(secs))).expect("the store works");
    let (alice, bob, stranger) = (case.create("alice"), case.create("bob"), case.create(""));
    assert!(sweep(99).is_empty(), "nobody has the role");
    let with_role = Arc::new(Principal::new("alice", None, &[], &["staff".to_owned(), "admin".to_owned()]));
    assert!(case.run(case.store.change_principal(alice.handle(), with_role, 0)).expect("the store works"));
    assert_eq!(sweep(99), [(alice.handle(), Over::End(EndReason::Idle))], "she was given it");
    assert!(bob.ended().is_none() && stranger.ended().is_none());
}

fn locks_what_is_idle_until_its_absolute_limit<S: SessionStore + 'static>(case: &Case<S>) {
    let all = Lifetime { idle: Duration::from_secs(100), absolute: Duration::from_secs(1000) };
    let lock = Lifetimes { on_idle: OnIdle::Lock, ..all.into() };
    let sweep = |limits: &Lifetimes, secs| {
        case.run(case.store.sweep(limits.clone().into(), after(secs))).expect("the store works")
    };
    let (alice, bob, stranger) = (case.create("alice"), case.create("bob"), case.create(""));
    let mut over = sweep(&lock, 100);
    over.sort_by_key(|(handle, _)| *handle);
    let locked = Over::Lock(all.idle);
    let mut expected =
        vec![(alice.handle(), locked), (bob.handle(), locked), (stranger.handle(), Over::End(EndReason::Idle))];
    expected.sort_by_key(|(handle, _)| *handle);
    assert_eq!(over, expected);
    assert!(alice.is_locked() && alice.ended().is_none() && !case.store.lock(&alice));
    assert!(sweep(&lock, 101).is_empty(), "once");
    assert_eq!((case.count("alice"), case.store.active()), (1, 2), "it is there");
    case.store.touch(&alice, after(150));
    assert!(case.find(alice.handle()).expect("it exists").is_locked(), "what was under way opens nothing");
    case.revoke(bob.handle(), EndReason::Logout, after(200));
    assert!(sweep(&lock, 999).is_empty());
    assert_eq!(sweep(&lock, 1000), [(alice.handle(), Over::End(EndReason::Absolute))]);
    let carol = case.create("carol");
    assert!(case.store.lock(&carol) && case.find(carol.handle()).expect("it exists").record().is_locked);
    assert_eq!(sweep(&all.into(), 1), [(carol.handle(), Over::End(EndReason::Idle))], "where idle sessions end");
    assert!(!case.store.lock(&carol), "it has ended");
}

fn counts_and_adds_in_one_step<S: SessionStore + 'static>(case: &Case<S>) {
    let most = 3;
    let racing: Vec<_> = (0..50)
        .map(|_| {
            let (store, record) = (Arc::clone(&case.store), case.record("alice"));
            case.runtime
                .spawn(async move { store.create(record, Some(Limit::counting(most))).await.expect("the store works") })
        })
        .collect();
    let created = racing
        .into_iter()
        .map(|task| case.run(task).expect("no panic"))
        .filter(|created| matches!(created, Created::Session { .. }))
        .count();
    assert_eq!((created, case.count("alice")), (most, most));
    case.run(case.store.revoke_all(owner("alice"), EndReason::Revoked, after(1))).expect("the store works");
    let again =
        case.run(case.store.create(case.record("alice"), Some(Limit::counting(most)))).expect("the store works");
    assert!(matches!(again, Created::Session { .. }), "ended sessions do not count");
}

fn what_races_with_an_end_does_not_undo_it<S: SessionStore + 'static>(case: &Case<S>) {
    for round in 0..200 {
        let alice = case.create("alice");
        let (store, live) = (Arc::clone(&case.store), Arc::clone(&alice));
        let racing = case.runtime.spawn(async move {
            let admin = Arc::new(Principal::new("alice", None, &[], &["admin".to_owned()]));
            for version in 0..20 {
                store.touch(&live, after(version));
                let _ = store.rotate(live.handle(), 1, after(version)).await;
                let _ = store.change_principal(live.handle(), Arc::clone(&admin), version).await;
            }
        });
        case.revoke(alice.handle(), EndReason::Logout, after(1));
        case.run(racing).expect("no panic");
        let found = case.find(alice.handle());
        assert!(found.is_none_or(|live| live.ended().is_some()), "round {round}: it came back");
    }
}

fn pages_hold_every_session_once_and_no_more_than_they_may<S: SessionStore + 'static>(case: &Case<S>) {
    assert_eq!(case.walk(3, || {}), [[]], "nobody is there");
    let mut all: Vec<_> = (0..25).map(|at| case.create(&format!("user{}", at % 4)).handle()).collect();
    all.sort_unstable();
    // Ended ones are shown for as long as they are remembered, and know why they ended.
    case.revoke(all[7], EndReason::Logout, after(1));
    for most in [1, 2, 5, 24, 25, 26, 1000] {
        let pages = case.walk(most, || {});
        assert!(pages.iter().all(|page| page.len() <= most), "pages of {most}: {pages:?}");
        assert_eq!(pages.concat(), all, "pages of {most}, in the order of their handles");
    }
    let page = case.run(case.store.page(Some(all[6]), 1)).expect("the store works");
    assert_eq!(page.sessions[0].ended(), Some((EndReason::Logout, after(1))));
    assert_eq!(case.run(case.store.page(Some(all[24]), 5)).expect("the store works").sessions.len(), 0);
    // A page that nobody can have asked for has something in it all the same: a walk goes on.
    assert_eq!(case.walk(0, || {}).concat(), all);
}

fn a_walk_beside_changes_misses_nobody_who_stays<S: SessionStore + 'static>(case: &Case<S>) {
    let mut stay: Vec<_> = (0..40).map(|_| case.create("alice").handle()).collect();
    let mut leave: Vec<_> = (0..40).map(|_| case.create("").handle()).collect();
    stay.sort_unstable();
    let seen = case.walk(7, || {
        // A stranger's session is forgotten as soon as it ends.
        if let Some(handle) = leave.pop() {
            case.revoke(handle, EndReason::Revoked, after(1));
        }
        case.create("bob");
    });
    let seen: Vec<_> = seen.concat().into_iter().filter(|handle| stay.binary_search(handle).is_ok()).collect();
    assert_eq!(seen, stay);
}
