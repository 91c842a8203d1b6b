//! The disk store: what it keeps, what it refuses, and what its file shows.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::base::secret::Secret;
use crate::session::binding::Bound;
use crate::session::principal::Principal;
use crate::store::{contract, kv_contract};

const START: Timestamp = Timestamp::from_millis(1_763_000_000_000);

fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

fn settings(path: &Path, key: u8) -> DiskSettings {
    DiskSettings {
        path: path.to_owned(),
        ring: Arc::new(KeyRing::new(Secret::new([key; 32]), [])),
        tenant: "default".into(),
        idle: Duration::from_secs(1800),
        random: Random::System,
        clock: Clock::System,
        known: HashMap::new(),
    }
}

fn open(path: &Path) -> DiskStore {
    DiskStore::open(settings(path, 1)).unwrap_or_else(|error| panic!("{error}")).0
}

fn record(user: &str) -> Record {
    let principal = (!user.is_empty()).then(|| Arc::new(Principal::new(user, None, &[], &["staff".to_owned()])));
    Record::new(&Random::System, principal, Bound::of(IpAddr::from([192, 0, 2, 1]), b"agent"), START)
}

/// Waits for what the store does in its own thread.
fn wait<T>(future: impl Future<Output = Result<T, StoreError>>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future).expect("the store works")
}

fn create(store: &DiskStore, user: &str) -> Arc<Live> {
    match wait(store.create(record(user), None)) {
        Created::Session(live) => live,
        Created::Full => panic!("no limit was given"),
    }
}

fn find(store: &DiskStore, handle: SessionHandle) -> Option<Record> {
    match store.lookup(handle) {
        Lookup::Hit(live) => Some(live.record()),
        Lookup::Miss => None,
        Lookup::Later(later) => later.now_or_never().expect("at once").expect("it works").map(|live| live.record()),
    }
}

#[test]
fn keeps_the_contract() {
    let (folder, count) = (TempDir::new().expect("a folder"), AtomicUsize::new(0));
    contract::suite(|| {
        let file = format!("{}.redb", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(open(&folder.path().join(file)))
    });
}

#[test]
fn keeps_the_contract_of_named_values() {
    let (folder, count) = (TempDir::new().expect("a folder"), AtomicUsize::new(0));
    kv_contract::suite(|| {
        let file = format!("{}.redb", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(open(&folder.path().join(file)))
    });
}

#[test]
fn named_values_are_there_when_it_is_opened_again_and_show_nothing() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let put = store.put_if(Space::Factors, "alice", Expected::Nothing, b"a secret factor".to_vec(), None, START);
    assert_eq!(wait(put), Some(1));
    drop(store);
    let bytes = fs::read(&path).expect("the file");
    assert!(!bytes.windows(15).any(|window| window == b"a secret factor"));
    let found = wait(KvStore::get(&open(&path), Space::Factors, "alice", START)).expect("it is there");
    assert_eq!(found, Entry { value: b"a secret factor".to_vec(), version: 1, expires_at: None });
    // A row does not open under another name, or with another head.
    let sealing = Sealing::new(settings(&path, 1).ring, "default", Random::System);
    let sealed = sealing.seal_value("name", b"head", b"value");
    assert_eq!(sealing.open_value("name", b"head", &sealed).as_deref(), Some(&b"value"[..]));
    assert_eq!(sealing.open_value("other", b"head", &sealed), None);
    assert_eq!(sealing.open_value("name", b"tail", &sealed), None);
}

#[test]
fn what_was_acknowledged_is_there_when_it_is_opened_again() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let (alice, bob, carol) = (create(&store, "alice"), create(&store, "bob"), create(&store, "carol"));
    let stranger = create(&store, "");
    assert!(wait(store.rotate(bob.handle(), 1, after(5))));
    assert!(wait(store.revoke(carol.handle(), EndReason::Logout, after(6))));
    let principal = Some(Arc::new(Principal::new("alice", None, &[], &["admin".to_owned()])));
    assert!(wait(store.replace(Record { version: 1, principal, ..alice.record() }, 0)));
    // As after `kill -9`: nothing is closed.
    let copy = folder.path().join("copy.redb");
    fs::copy(&path, &copy).expect("a copy");
    let (expected, active) = ([&alice, &bob, &carol].map(|live| find(&store, live.handle())), store.active());
    for path in [&copy, &path] {
        if path == &path.with_file_name("sessions.redb") {
            store.close();
        }
        let again = open(path);
        assert_eq!([&alice, &bob, &carol].map(|live| find(&again, live.handle())), expected);
        assert_eq!((again.active(), find(&again, stranger.handle())), (active - 1, None));
        let ended = find(&again, carol.handle()).expect("it is remembered").ended;
        assert_eq!(ended, Some((EndReason::Logout, after(6))));
        assert_eq!(wait(SessionStore::list(&again, Owner::User("bob".into()))).len(), 1);
    }
}

#[test]
fn activity_is_written_behind_and_now_and_then() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let alice = create(&store, "alice");
    let mut written = 0;
    let mut before = START;
    for second in 1..=900 {
        written += usize::from(store.is_to_be_written(alice.handle(), before, after(second)));
        store.touch(&alice, after(second));
        before = after(second);
    }
    assert_eq!(written, 10, "every ninety seconds, a twentieth of the idle limit");
    store.close();
    let again = open(&path);
    let active_at = find(&again, alice.handle()).expect("it is there").active_at;
    assert!(active_at > after(900 - 90) && active_at <= after(900), "{active_at}");
}

#[test]
fn what_is_forgotten_leaves_the_file() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let (alice, bob) = (create(&store, "alice"), create(&store, "bob"));
    let lifetime = Lifetime { idle: Duration::from_secs(100), absolute: Duration::from_secs(1000) };
    assert_eq!(wait(store.sweep(lifetime, after(100))).len(), 2);
    store.close();
    let store = open(&path);
    let idle = Some((EndReason::Idle, after(100)));
    assert_eq!(find(&store, alice.handle()).and_then(|record| record.ended), idle);
    wait(store.sweep(lifetime, after(100 + 24 * 3600)));
    store.close();
    let store = open(&path);
    assert_eq!((find(&store, alice.handle()), find(&store, bob.handle())), (None, None));
}

#[test]
fn the_file_shows_nothing_and_opens_under_its_keys_only() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let alice = create(&store, "alice-of-the-file");
    store.close();
    let bytes = fs::read(&path).expect("the file");
    for secret in [&b"alice-of-the-file"[..], b"staff", &alice.seed().expose()[..]] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    let refusal = DiskStore::open(settings(&path, 2)).err().expect("another key");
    assert!(refusal.contains("put back the key"), "{refusal}");
    let refusal = DiskStore::open(DiskSettings { tenant: "other".into(), ..settings(&path, 1) });
    assert!(refusal.is_err(), "another tenant's");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("the file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
}

#[test]
fn sealed_anew_it_needs_the_former_key_no_more() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let all: Vec<_> = (0..3000).map(|at| record(&format!("user-{at}"))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(futures_util::future::join_all(all.iter().map(|record| store.create(record.clone(), None))));
    wait(store.put_if(Space::Factors, "alice", Expected::Nothing, b"factor".to_vec(), None, START));
    drop(store);
    let both = KeyRing::new(Secret::new([2; 32]), [Secret::new([1; 32])]);
    let (store, _) = DiskStore::open(DiskSettings { ring: Arc::new(both), ..settings(&path, 0) }).expect("both keys");
    assert_eq!(wait(store.reseal()), 3000);
    drop(store);
    let (store, _) = DiskStore::open(settings(&path, 2)).expect("the new key is enough");
    assert!(all.iter().all(|record| find(&store, record.handle).as_ref() == Some(record)));
    let factor = wait(KvStore::get(&store, Space::Factors, "alice", START)).expect("it is there");
    assert_eq!(factor.value, b"factor");
    drop(store);
    assert!(DiskStore::open(settings(&path, 1)).is_err());
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().expect("a folder");
    let good = folder.path().join("good.redb");
    let store = open(&good);
    for at in 0..50 {
        create(&store, &format!("user-{at}"));
    }
    store.close();
    let good = fs::read(good).expect("the file");
    let mut all = vec![Vec::new(), b"something else".to_vec(), vec![0; 8192], good[..good.len() / 2].to_vec()];
    all.push(good[..4096].to_vec());
    all.push([&b"x"[..], &good].concat());
    let other = folder.path().join("other.redb");
    {
        let database = redb::Database::create(&other).expect("a database");
        let writing = database.begin_write().expect("it begins");
        writing.open_table(redb::TableDefinition::<u64, u64>::new("x")).expect("a table");
        writing.commit().expect("it commits");
    }
    all.push(fs::read(&other).expect("the file"));
    for bytes in all {
        let path = folder.path().join("tried.redb");
        fs::write(&path, &bytes).expect("a file");
        let refusal = DiskStore::open(settings(&path, 1)).err().expect("no store");
        assert!(refusal.contains("cannot be used as the session store"), "{refusal}");
        assert_eq!(fs::read(&path).expect("the file").len(), bytes.len());
    }
}

#[test]
fn damage_is_an_error_or_harmless_and_never_another_session() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let all: Vec<Record> = (0..20).map(|at| create(&store, &format!("user-{at}")).record()).collect();
    store.close();
    let good = fs::read(&path).expect("the file");
    let step = good.len() / 97;
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(&path, &bad).expect("a file");
        let Ok((store, is_new)) = DiskStore::open(settings(&path, 1)) else { continue };
        assert!(!is_new);
        for record in &all {
            assert!(find(&store, record.handle).is_none_or(|found| found == *record), "byte {at}");
        }
    }
}

#[test]
fn nobody_else_opens_it_meanwhile() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let refusal = DiskStore::open(settings(&path, 1)).err().expect("it is open");
    assert!(refusal.contains("in use by another process"), "{refusal}");
    store.close();
    open(&path);
    let missing = DiskStore::open(settings(&folder.path().join("no/such/sessions.redb"), 1)).err().expect("no folder");
    assert!(missing.contains("no such folder"), "{missing}");
}

#[test]
fn the_file_stays_small_while_sessions_come_and_go() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let lifetime = Lifetime { idle: Duration::from_secs(10), absolute: Duration::from_secs(100) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut sizes = Vec::new();
    for round in 0..60 {
        let now = START.plus(Duration::from_secs(round * 2 * 24 * 3600));
        runtime.block_on(async {
            let records =
                (0..200).map(|at| Record { authenticated_at: now, active_at: now, ..record(&format!("user-{at}")) });
            let creating = records.map(|record| store.create(record, None));
            for created in futures_util::future::join_all(creating).await {
                created.expect("the store works");
            }
            store.sweep(lifetime, now.plus(Duration::from_secs(60))).await.expect("the store works");
        });
        sizes.push(fs::metadata(&path).expect("the file").len());
    }
    // It grows by doubling. What is written from then on is three times what had been written.
    assert!(sizes[59] <= 2 * sizes[19], "{sizes:?}");
}
