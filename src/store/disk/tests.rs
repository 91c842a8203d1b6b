//! The disk store: what it keeps, what it refuses, and what its file shows.

mod limits;

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::base::secret::Secret;
use crate::session::binding::Bound;
use crate::session::principal::{PasswordStamp, Principal};
use crate::session::timeouts::Lifetime;
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
    DiskStore::open(settings(path, 1)).unwrap_or_else(|error| panic!("{error}")).store
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
        Created::Session { live, .. } => live,
        Created::Full | Created::Taken => panic!("no limit was given"),
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
    let principal = Arc::new(Principal::new("alice", None, &[], &["admin".to_owned()]));
    assert!(wait(store.change_principal(alice.handle(), principal, 0)));
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
        assert_eq!(wait(SessionStore::list(&again, Owner::user(TenantId::DEFAULT, "bob"))).len(), 1);
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
    assert_eq!(wait(store.sweep(lifetime.into(), after(100))).len(), 2);
    store.close();
    let store = open(&path);
    let idle = Some((EndReason::Idle, after(100)));
    assert_eq!(find(&store, alice.handle()).and_then(|record| record.ended), idle);
    wait(store.sweep(lifetime.into(), after(100 + 24 * 3600)));
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
    let both = DiskSettings { ring: Arc::new(both), ..settings(&path, 0) };
    let store = DiskStore::open(both).unwrap_or_else(|error| panic!("both keys: {error}")).store;
    assert_eq!(wait(store.reseal()), 3000);
    drop(store);
    let store = DiskStore::open(settings(&path, 2)).unwrap_or_else(|error| panic!("the new key: {error}")).store;
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

/// A store of two hundred sessions, some of them written more than once so that there are pages of before, and the
/// bytes of its file: as after `kill -9`, and closed.
fn two_hundred(folder: &Path) -> (Vec<Record>, [Vec<u8>; 2]) {
    let path = folder.join("good.redb");
    let store = open(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let all: Vec<Record> = (0..200).map(|at| record(&format!("user-{}", at % 50))).collect();
    for part in all.chunks(50) {
        let creating = part.iter().map(|record| store.create(record.clone(), None));
        for created in runtime.block_on(futures_util::future::join_all(creating)) {
            created.expect("the store works");
        }
        wait(store.rotate(part[0].handle, 1, after(5)));
        wait(store.revoke(part[1].handle, EndReason::Logout, after(6)));
    }
    let all = all.iter().map(|record| find(&store, record.handle).expect("it is there")).collect();
    let killed = fs::read(&path).expect("the file");
    store.close();
    (all, [killed, fs::read(&path).expect("the file")])
}

/// Opens a store whose file is damaged `at` a place: a clear refusal, or every session as it was, also when it is opened
/// once more. Whether it was refused.
fn hold_against_damage(path: &Path, all: &[Record], at: &str) -> bool {
    for _ in 0..2 {
        match DiskStore::open(settings(path, 1)) {
            Ok(Opened { store, is_new, .. }) => {
                assert!(!is_new, "{at}");
                assert_eq!(store.memory.handles().len(), all.len(), "{at}");
                for record in all {
                    assert_eq!(find(&store, record.handle).as_ref(), Some(record), "{at}");
                }
            }
            Err(refusal) => {
                let path = path.display().to_string();
                let is_clear = ["cannot be used as the session store", "the file is damaged", "cannot be read"];
                assert!(
                    refusal.contains(&path) && is_clear.iter().any(|said| refusal.contains(said)),
                    "{at}: {refusal}"
                );
                return true;
            }
        }
    }
    false
}

#[test]
fn a_damaged_byte_is_a_refusal_or_harmless_and_never_another_session_or_one_less() {
    let folder = TempDir::new().expect("a folder");
    let (all, files) = two_hundred(folder.path());
    let path = folder.path().join("tried.redb");
    let random = Random::seeded(20_261_129);
    let mut refused = 0;
    for (good, file) in files.iter().zip(["killed", "closed"]) {
        let at_random = (0..100).map(|_| usize::from_le_bytes(random.bytes()) % good.len());
        // The header with its two commits, and the rows that say where each table begins and how long it is.
        let header = (0..64).chain((64..320).step_by(5));
        let tables = good.windows(8).enumerate().filter(|(_, name)| name == b"sessions").map(|(at, _)| at);
        let near_tables = tables.flat_map(|at| at..(at + 80).min(good.len())).step_by(3);
        for at in at_random.chain(header).chain(near_tables.take(100)) {
            // Which of the two commits is the newer one is told by the lowest bit of byte 9 alone. Closing makes one more
            // that changes nothing.
            let bit = if at == 9 && file == "closed" { 1 } else { 1 << (1 + random.bytes::<1>()[0] % 7) };
            let mut bad = good.clone();
            bad[at] ^= bit;
            fs::write(&path, &bad).expect("a file");
            refused += usize::from(hold_against_damage(&path, &all, &format!("{file}, byte {at}, bit {bit:#x}")));
        }
    }
    assert!(refused > 50, "{refused}");
}

/// What no seal tells: a page of before in the place of the one of now, or one that nothing leads to any more.
#[test]
fn a_session_that_is_missing_or_of_before_is_told() {
    const SESSIONS: redb::TableDefinition<'_, &[u8; 16], &[u8]> = redb::TableDefinition::new("sessions");
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let (alice, bob) = (create(&store, "alice"), create(&store, "bob"));
    store.close();
    let change = |handle: SessionHandle, row: Option<&[u8]>| {
        let database = redb::Database::open(&path).expect("the file");
        let writing = database.begin_write().expect("it begins");
        let former = {
            let mut table = writing.open_table(SESSIONS).expect("the table");
            let former = match row {
                Some(row) => table.insert(handle.as_bytes(), row),
                None => table.remove(handle.as_bytes()),
            };
            former.expect("it is written").map(|row| row.value().to_vec())
        };
        writing.commit().expect("it commits");
        former.expect("it was there")
    };
    let before = change(bob.handle(), None);
    let refusal = DiskStore::open(settings(&path, 1)).err().expect("one is missing");
    assert!(refusal.contains("it has not all the sessions"), "{refusal}");
    let put_back = |row: &[u8]| {
        let database = redb::Database::open(&path).expect("the file");
        let writing = database.begin_write().expect("it begins");
        writing.open_table(SESSIONS).expect("the table").insert(bob.handle().as_bytes(), row).expect("written");
        writing.commit().expect("it commits");
    };
    put_back(&before);
    let store = open(&path);
    assert!(wait(store.revoke(bob.handle(), EndReason::Logout, after(1))));
    store.close();
    let now = change(bob.handle(), Some(&before));
    let refusal = DiskStore::open(settings(&path, 1)).err().expect("one is of before, and would be back");
    assert!(refusal.contains("not as they were written last"), "{refusal}");
    change(bob.handle(), Some(&now));
    let store = open(&path);
    assert_eq!(find(&store, alice.handle()), Some(alice.record()));
    assert!(find(&store, bob.handle()).is_some_and(|record| record.ended.is_some()));
}

/// Files of the first format have no sum. They are opened and given one; what wrote them knows the new format for a later
/// one.
#[test]
fn a_file_of_before_there_was_a_sum_is_taken_up() {
    const ABOUT: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("about");
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let alice = create(&store, "alice");
    store.close();
    {
        let database = redb::Database::open(&path).expect("the file");
        let writing = database.begin_write().expect("it begins");
        {
            let mut about = writing.open_table(ABOUT).expect("the table");
            about.insert("format", 1).expect("written");
            about.remove("sum").expect("removed");
        }
        writing.commit().expect("it commits");
    }
    for _ in 0..2 {
        let store = open(&path);
        assert_eq!(find(&store, alice.handle()), Some(alice.record()));
        create(&store, "bob");
        store.close();
    }
    let database = redb::Database::open(&path).expect("the file");
    let about = redb::ReadableDatabase::begin_read(&database).expect("it reads").open_table(ABOUT).expect("the table");
    assert_eq!(about.get("format").expect("it reads").map(|format| format.value()), Some(2));
}

#[test]
fn whoever_is_not_as_known_is_told_and_who_is_shares_it() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let store = open(&path);
    let person = |user: &str, role: &str, password: PasswordStamp| {
        Arc::new(Principal { password, ..Principal::new(user, None, &[], &[role.to_owned()]) })
    };
    let (new, old) = (PasswordStamp::of("new"), PasswordStamp::of("old"));
    let began = [
        person("same", "staff", new),
        person("same", "staff", PasswordStamp::UNKNOWN),
        person("other-role", "staff", new),
        person("other-role", "admin", new),
        person("other-password", "staff", new),
        person("other-password", "staff", old),
        person("gone", "staff", new),
        person("gone-and-ended", "staff", new),
    ];
    let began = began.map(|principal| {
        let record = Record { principal: Some(principal), ..record("") };
        wait(store.create(record.clone(), None));
        record
    });
    assert!(wait(store.revoke(began[7].handle, EndReason::Logout, after(1))));
    store.close();
    let known = ["same", "other-role", "other-password", "never-seen"].map(|user| person(user, "staff", new));
    let known: HashMap<_, _> = known.into_iter().map(|person| (person.user.clone(), person)).collect();
    let opened =
        DiskStore::open(DiskSettings { known: [(TenantId::DEFAULT, known.clone())].into(), ..settings(&path, 1) });
    let Opened { store, mut unlike, .. } = opened.unwrap_or_else(|error| panic!("{error}"));
    unlike.sort();
    let person_of = |name| Person::new(TenantId::DEFAULT, name);
    assert_eq!(unlike, ["gone", "other-password", "other-role"].map(person_of));
    for (record, shares) in began.iter().zip([true, true, true, false, true, false, false, false]) {
        let principal = find(&store, record.handle).and_then(|found| found.principal).expect("a person");
        let shared = known.get(&principal.user).is_some_and(|known| Arc::ptr_eq(known, &principal));
        assert_eq!(shared, shares, "{principal:?}");
    }
    // Everybody's sessions are found by their name, however they came to be there.
    let count = |user: &str| wait(SessionStore::list(&store, Owner::user(TenantId::DEFAULT, user))).len();
    let counts = ["same", "other-role", "other-password", "gone", "gone-and-ended", "never-seen"].map(count);
    assert_eq!((counts, store.active()), ([2, 2, 2, 1, 0, 0], 7));
    let mut users = wait(store.users());
    users.sort();
    assert_eq!(users, ["gone", "other-password", "other-role", "same"].map(person_of));
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
            store.sweep(lifetime.into(), now.plus(Duration::from_secs(60))).await.expect("the store works");
        });
        sizes.push(fs::metadata(&path).expect("the file").len());
    }
    // It grows by doubling. What is written from then on is three times what had been written.
    assert!(sizes[59] <= 2 * sizes[19], "{sizes:?}");
}
