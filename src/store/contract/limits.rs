//! What every store keeps of the limits on how many sessions somebody may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Case, after, owner};
use crate::session::concurrency::{Concurrency, Limit, WhenFull};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Record};
use crate::session::store::{Created, SessionStore};
use crate::session::tenant::ByTenant;
use crate::session::timeouts::Lifetime;

/// A limit on a person's sessions as signing in has it.
fn limit(max: usize, ends_oldest: bool) -> Limit {
    let lifetimes = Lifetime { idle: Duration::from_secs(100), absolute: Duration::from_secs(1000) };
    Limit { max, ends_oldest, making_way: Vec::new(), lifetimes: Some(lifetimes.into()) }
}

/// A session, and what has ended for it.
type Begun = (Arc<Live>, Vec<(SessionHandle, EndReason)>);

fn everywhere(allowed: Concurrency) -> ByTenant<Option<Arc<Concurrency>>> {
    ByTenant::new(Some(Arc::new(allowed)), [])
}

impl<S: SessionStore + 'static> Case<S> {
    /// A session that is begun under a limit, and what has ended for it; `None` when there is no room.
    fn begin(&self, secs: u64, limit: Limit) -> Option<Begun> {
        let record = Record { authenticated_at: after(secs), active_at: after(secs), ..self.record("alice") };
        match self.run(self.store.create(record, Some(limit))).expect("the store works") {
            Created::Session { live, ended } => Some((live, ended)),
            Created::Full => None,
            Created::Taken => panic!("it has a new name"),
        }
    }
}

pub(super) fn the_least_recently_used_end_in_the_step_that_adds<S: SessionStore + 'static>(case: &Case<S>) {
    let begin = |secs| case.begin(secs, limit(3, true)).expect("room is made");
    let ((first, _), (second, _), (third, _)) = (begin(1), begin(2), begin(3));
    let bob = case.create("bob");
    // The one that began first is the one that is worked in.
    case.store.touch(&first, after(10));
    let (fourth, ended) = begin(20);
    assert_eq!(ended, [(second.handle(), EndReason::Displaced)]);
    let found = case.find(second.handle()).expect("it is remembered").ended();
    assert_eq!(found, Some((EndReason::Displaced, after(20))));
    assert_eq!((case.count("alice"), case.store.active()), (3, 4));
    // One that fewer are allowed to than there are.
    let (fifth, ended) = case.begin(21, limit(2, true)).expect("room is made");
    assert_eq!(ended, [(third.handle(), EndReason::Displaced), (first.handle(), EndReason::Displaced)]);
    assert!(fourth.ended().is_none() && fifth.ended().is_none() && bob.ended().is_none());
    assert!(case.begin(22, limit(0, true)).is_none(), "there is no room for what does not fit alone");
    assert_eq!((case.count("alice"), case.store.active()), (2, 3));
}

pub(super) fn what_makes_way_ends_only_for_a_session_that_begins<S: SessionStore + 'static>(case: &Case<S>) {
    let begin = |secs| case.begin(secs, limit(3, false));
    let all: Vec<_> = (1..4).map(|secs| begin(secs).expect("there is room").0).collect();
    assert!(begin(4).is_none());
    let making_way =
        |live: &Live, max| Limit { making_way: vec![(live.handle(), EndReason::Replaced)], ..limit(max, false) };
    let bob = case.create("bob");
    assert!(case.begin(5, making_way(&bob, 3)).is_none(), "somebody else's makes no room");
    assert!(case.begin(5, making_way(&all[0], 2)).is_none(), "nor does one where two are too many");
    assert!(all.iter().chain([&bob]).all(|live| live.ended().is_none()), "nothing has ended in vain");
    let (fourth, ended) = case.begin(6, making_way(&all[0], 3)).expect("it takes its place");
    assert_eq!(ended, [(all[0].handle(), EndReason::Replaced)]);
    assert_eq!(all[0].ended(), Some((EndReason::Replaced, after(6))));
    // One that has made way makes no room again.
    assert!(case.begin(7, making_way(&all[0], 3)).is_none());
    // With room to spare, it ends all the same: it is the same browser's.
    case.revoke(all[1].handle(), EndReason::Logout, after(8));
    let (_, ended) = case.begin(9, making_way(&fourth, 3)).expect("there is room");
    assert_eq!((ended, case.count("alice")), (vec![(fourth.handle(), EndReason::Replaced)], 2));
    // Also when it is the only one.
    case.run(case.store.revoke_all(owner("alice"), EndReason::Revoked, after(10))).expect("the store works");
    let (alone, _) = case.begin(11, limit(1, false)).expect("there is room");
    let (_, ended) = case.begin(12, making_way(&alone, 1)).expect("it takes its place");
    assert_eq!((ended.len(), case.count("alice"), case.store.active()), (1, 1, 2));
}

pub(super) fn what_is_over_keeps_nobody_out<S: SessionStore + 'static>(case: &Case<S>) {
    let begin = |secs| case.begin(secs, limit(2, false));
    let ((first, _), (second, _)) = (begin(0).expect("there is room"), begin(50).expect("there is room"));
    assert!(begin(99).is_none());
    let (third, ended) = begin(100).expect("the first is over, and nobody has swept it");
    assert_eq!((ended, third.ended()), (vec![(first.handle(), EndReason::Idle)], None));
    assert!(begin(149).is_none() && second.ended().is_none());
    let (fourth, ended) = begin(150).expect("so is the second");
    assert_eq!(ended, [(second.handle(), EndReason::Idle)]);
    for secs in (150..1100).step_by(50) {
        case.store.touch(&third, after(secs));
    }
    case.store.touch(&third, after(1099));
    let (_, mut ended) = begin(1100).expect("both are over");
    ended.sort_unstable_by_key(|(_, why)| why.name());
    assert_eq!(ended, [(third.handle(), EndReason::Absolute), (fourth.handle(), EndReason::Idle)]);
    assert_eq!(case.count("alice"), 1);
}

pub(super) fn a_name_is_given_once<S: SessionStore + 'static>(case: &Case<S>) {
    let record = case.record("alice");
    let create = |record: &Record, limit| case.run(case.store.create(record.clone(), limit)).expect("the store works");
    let other = case.create("alice");
    assert!(matches!(create(&record, Some(limit(3, false))), Created::Session { .. }));
    let making_way = Limit { making_way: vec![(other.handle(), EndReason::Displaced)], ..limit(1, true) };
    for limit in [None, Some(limit(9, false)), Some(making_way)] {
        assert!(matches!(create(&record, limit), Created::Taken));
    }
    assert!(other.ended().is_none() && case.count("alice") == 2, "nothing has ended for it");
    case.revoke(record.handle, EndReason::Logout, after(1));
    assert!(matches!(create(&record, None), Created::Taken), "nor is it given again while it is remembered");
    assert!(case.find(record.handle).expect("it is remembered").ended().is_some());
}

/// Fifty begin at once, again and again, and somebody looks all the while.
pub(super) fn never_more_than_they_may_have_at_any_moment<S: SessionStore + 'static>(case: &Case<S>) {
    const MAX: usize = 3;
    let is_over = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = (0..2)
        .map(|_| {
            let (store, is_over) = (Arc::clone(&case.store), Arc::clone(&is_over));
            case.runtime.spawn(async move {
                let mut most = 0;
                while !is_over.load(Ordering::SeqCst) {
                    most = most.max(store.list(owner("alice")).await.expect("the store works").len());
                    tokio::task::yield_now().await;
                }
                most
            })
        })
        .collect();
    let (mut begun, mut displaced) = (0, 0);
    for round in 0..4 {
        for ends_oldest in [true, false] {
            let racing: Vec<_> = (0..50)
                .map(|_| {
                    let (store, record) = (Arc::clone(&case.store), case.record("alice"));
                    let create = async move { store.create(record, Some(limit(MAX, ends_oldest))).await };
                    case.runtime.spawn(create)
                })
                .collect();
            for task in racing {
                match case.run(task).expect("no panic").expect("the store works") {
                    Created::Session { ended, .. } => {
                        begun += 1;
                        displaced += ended.len();
                    }
                    Created::Full => assert!(!ends_oldest, "room is made for everybody"),
                    Created::Taken => panic!("they have new names"),
                }
            }
            assert_eq!(case.count("alice"), MAX, "round {round}");
        }
    }
    is_over.store(true, Ordering::SeqCst);
    for watcher in watchers {
        assert_eq!(case.run(watcher).expect("no panic"), MAX, "the most that were ever there");
    }
    assert_eq!((begun, displaced), (200, 200 - MAX), "each that ended was told once");
    assert_eq!(case.store.active(), MAX);
}

pub(super) fn races_of_ends_and_beginnings_keep_the_count<S: SessionStore + 'static>(case: &Case<S>) {
    let racing: Vec<_> = (0..4_u64)
        .map(|at| {
            let records: Vec<_> = (0..40).map(|_| case.record("alice")).collect();
            let store = Arc::clone(&case.store);
            case.runtime.spawn(async move {
                for (turn, record) in records.into_iter().enumerate() {
                    let _ = store
                        .create(record, Some(limit(1 + turn % 3, at.is_multiple_of(2))))
                        .await
                        .expect("the store works");
                    let held = store.list(owner("alice")).await.expect("the store works");
                    if let Some(live) = held.first().filter(|_| turn % 4 == 1) {
                        let _ =
                            store.revoke(live.handle(), EndReason::Logout, after(1)).await.expect("the store works");
                    }
                    if turn % 9 == 8 {
                        let all = store.revoke_all(owner("alice"), EndReason::Revoked, after(1));
                        let _ = all.await.expect("the store works");
                    }
                    let allowed = Concurrency { all: Some(2), roles: Arc::default(), when_full: WhenFull::EndOldest };
                    let _ = store.end_above(everywhere(allowed), after(1)).await.expect("the store works");
                }
            })
        })
        .collect();
    racing.into_iter().for_each(|task| case.run(task).expect("no panic"));
    let held = case.run(case.store.list(owner("alice"))).expect("the store works");
    assert_eq!(case.store.active(), held.len(), "as many as are counted");
    let ended = case.run(case.store.revoke_all(owner("alice"), EndReason::Revoked, after(2))).expect("the store works");
    assert_eq!((ended.len(), case.count("alice"), case.store.active()), (held.len(), 0, 0));
    assert_eq!(case.run(case.store.users()).expect("the store works"), [], "nobody is left in the index");
}

pub(super) fn ends_what_is_above_a_limit_that_was_lowered<S: SessionStore + 'static>(case: &Case<S>) {
    let all: Vec<_> = (1..5).map(|secs| case.begin(secs, limit(9, true)).expect("there is room").0).collect();
    let (bob, strangers) = (case.create("bob"), [case.create(""), case.create("")]);
    case.store.touch(&all[0], after(10));
    let allow = |all, roles: &[(&str, usize)]| {
        let roles = roles.iter().map(|(role, max)| ((*role).into(), *max)).collect();
        let allowed = Concurrency { all, roles, when_full: WhenFull::Refuse };
        case.run(case.store.end_above(everywhere(allowed), after(20))).expect("the store works")
    };
    assert_eq!(allow(Some(4), &[("admin", 1)]), []);
    assert_eq!(allow(Some(3), &[("admin", 1)]), [all[1].handle()]);
    assert_eq!(all[1].ended(), Some((EndReason::Displaced, after(20))));
    // By the roles of the moment.
    let admin = Arc::new(Principal::new("alice", None, &[], &["admin".to_owned()]));
    for live in &all {
        let _ = case.run(case.store.change_principal(live.handle(), Arc::clone(&admin), 0)).expect("the store works");
    }
    assert_eq!(allow(None, &[("staff", 1), ("admin", 1)]), [all[2].handle(), all[3].handle()]);
    assert_eq!((case.count("alice"), all[0].ended()), (1, None), "the one that was used last stays");
    assert!(bob.ended().is_none() && strangers.iter().all(|live| live.ended().is_none()));
    assert_eq!(case.store.active(), 4);
}
