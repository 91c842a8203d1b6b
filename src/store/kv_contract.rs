//! The one suite that every store of named values passes.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::session::kv::{Entry, Expected, KvStore, MAX_NAME, MAX_VALUE, Space};

const START: Timestamp = Timestamp::from_millis(1_763_000_000_000);
const NAME: &str = "alice/1";

fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

struct Case<S> {
    store: Arc<S>,
    runtime: tokio::runtime::Runtime,
}

impl<S: KvStore + 'static> Case<S> {
    fn put(&self, name: &str, expected: Expected, value: &[u8], ends: Option<u64>, now: u64) -> Option<u64> {
        let put = self.store.put_if(Space::Parked, name, expected, value.to_vec(), ends.map(after), after(now));
        self.runtime.block_on(put).expect("the store works")
    }

    fn get(&self, name: &str, now: u64) -> Option<Entry> {
        self.runtime.block_on(self.store.get(Space::Parked, name, after(now))).expect("the store works")
    }

    fn delete(&self, name: &str, now: u64) -> bool {
        self.runtime.block_on(self.store.delete(Space::Parked, name, after(now))).expect("the store works")
    }

    fn list(&self, prefix: &str, most: usize, now: u64) -> Vec<String> {
        self.runtime.block_on(self.store.list(Space::Parked, prefix, most, after(now))).expect("the store works")
    }
}

/// Runs every case, each against a new, empty store.
pub(super) fn suite<S: KvStore + 'static>(new_store: impl Fn() -> Arc<S>) {
    let cases: [fn(&Case<S>); 6] = [
        keeps_what_was_put,
        puts_only_where_what_is_expected_is,
        spaces_know_nothing_of_each_other,
        what_has_ended_is_not_there,
        lists_by_prefix_in_order,
        of_those_that_race_one_is_first,
    ];
    for case in cases {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        case(&Case { store: new_store(), runtime: runtime.expect("a runtime") });
    }
}

fn keeps_what_was_put<S: KvStore + 'static>(case: &Case<S>) {
    assert_eq!(case.get(NAME, 0), None);
    assert_eq!(case.put(NAME, Expected::Nothing, b"one", None, 0), Some(1));
    assert_eq!(case.get(NAME, 1), Some(Entry { value: b"one".to_vec(), version: 1, expires_at: None }));
    let large = vec![7; 1 << 20];
    assert_eq!(case.put("large", Expected::Whatever, &large, None, 0), Some(1));
    assert_eq!(case.get("large", 1).expect("it is there").value, large);
    assert_eq!(case.put("empty", Expected::Whatever, b"", None, 0), Some(1));
    assert_eq!(case.get("empty", 1).expect("it is there").value, b"");
    assert!(case.delete(NAME, 2) && !case.delete(NAME, 2));
    assert_eq!(case.get(NAME, 3), None);
    for (name, length) in [("", 0), (&*"x".repeat(MAX_NAME + 1), 0), (NAME, MAX_VALUE + 1)] {
        let put = case.store.put_if(Space::Parked, name, Expected::Whatever, vec![0; length], None, after(0));
        assert!(case.runtime.block_on(put).is_err());
    }
}

fn puts_only_where_what_is_expected_is<S: KvStore + 'static>(case: &Case<S>) {
    assert_eq!(case.put(NAME, Expected::Version(1), b"x", None, 0), None);
    assert_eq!(case.put(NAME, Expected::Nothing, b"one", None, 0), Some(1));
    assert_eq!(case.put(NAME, Expected::Nothing, b"x", None, 0), None);
    assert_eq!(case.put(NAME, Expected::Version(2), b"x", None, 0), None);
    assert_eq!(case.put(NAME, Expected::Version(1), b"two", None, 0), Some(2));
    assert_eq!(case.put(NAME, Expected::Whatever, b"three", Some(9), 0), Some(3));
    let expected = Entry { value: b"three".to_vec(), version: 3, expires_at: Some(after(9)) };
    assert_eq!(case.get(NAME, 0), Some(expected));
}

fn spaces_know_nothing_of_each_other<S: KvStore + 'static>(case: &Case<S>) {
    for (at, space) in Space::ALL.into_iter().enumerate() {
        let put = case.store.put_if(space, NAME, Expected::Nothing, vec![at as u8], None, after(0));
        assert_eq!(case.runtime.block_on(put), Ok(Some(1)), "{space:?}");
    }
    assert!(case.delete(NAME, 0));
    for (at, space) in Space::ALL.into_iter().enumerate() {
        let found = case.runtime.block_on(case.store.get(space, NAME, after(0))).expect("the store works");
        assert_eq!(found.map(|entry| entry.value), (space != Space::Parked).then(|| vec![at as u8]));
    }
}

fn what_has_ended_is_not_there<S: KvStore + 'static>(case: &Case<S>) {
    case.put("short", Expected::Nothing, b"x", Some(10), 0);
    case.put("long", Expected::Nothing, b"x", Some(100), 0);
    case.put("for ever", Expected::Nothing, b"x", None, 0);
    assert!(case.get("short", 9).is_some());
    assert!(case.get("short", 10).is_none() && !case.delete("short", 10));
    assert_eq!(case.list("", 10, 10), ["for ever", "long"]);
    assert_eq!(case.put("short", Expected::Version(1), b"y", None, 10), None);
    assert_eq!(case.put("short", Expected::Nothing, b"y", Some(20), 10), Some(1));
    let expired = |now| case.runtime.block_on(case.store.expire(after(now))).expect("the store works");
    assert_eq!((expired(15), expired(20), expired(20), expired(1000), expired(1000)), (0, 1, 0, 1, 0));
    assert_eq!(case.list("", 10, 1000), ["for ever"]);
}

fn lists_by_prefix_in_order<S: KvStore + 'static>(case: &Case<S>) {
    for name in ["bob/1", "alice/2", "alice/1", "alice", "alic", "alice0", "alicf", "\u{10ffff}"] {
        case.put(name, Expected::Nothing, b"x", None, 0);
    }
    assert_eq!(case.list("alice/", 10, 0), ["alice/1", "alice/2"]);
    assert_eq!(case.list("alice", 10, 0), ["alice", "alice/1", "alice/2", "alice0"]);
    assert_eq!(case.list("alice", 2, 0), ["alice", "alice/1"]);
    assert_eq!(case.list("\u{10ffff}", 2, 0), ["\u{10ffff}"]);
    assert_eq!(case.list("", 100, 0).len(), 8);
    assert_eq!(case.list("x", 100, 0).len() + case.list("", 0, 0).len(), 0);
}

fn of_those_that_race_one_is_first<S: KvStore + 'static>(case: &Case<S>) {
    for (expected, before) in [(Expected::Nothing, 0), (Expected::Version(1), 1)] {
        let racing: Vec<_> = (0..20)
            .map(|at| {
                let store = Arc::clone(&case.store);
                case.runtime.spawn(async move {
                    store.put_if(Space::Parked, NAME, expected, vec![at], None, after(0)).await.expect("it works")
                })
            })
            .collect();
        let put: Vec<_> =
            racing.into_iter().filter_map(|task| case.runtime.block_on(task).expect("no panic")).collect();
        assert_eq!(put, [before + 1]);
    }
}
