//! What the disk store keeps of sessions that end to make room for another.

use super::*;
use crate::session::timeouts::Lifetimes;

#[test]
fn what_made_way_stays_ended_when_it_is_opened_again_and_ends_for_nothing_that_cannot_be_kept() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sessions.redb");
    let limit = || Limit { max: 2, ends_oldest: true, lifetimes: Some(Lifetimes::default()), ..Limit::default() };
    let begin = |store: &DiskStore, secs| {
        let record = Record { authenticated_at: after(secs), active_at: after(secs), ..record("alice") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        (record.handle, runtime.block_on(store.create(record, Some(limit()))))
    };
    let store = open(&path);
    let handles = [1, 2, 3].map(|secs| begin(&store, secs).0);
    // As after a crash: nothing is written at the end.
    let copy = folder.path().join("copy.redb");
    fs::copy(&path, &copy).expect("copied");
    let again = open(&copy);
    let ended = handles.map(|handle| find(&again, handle).expect("it is there").ended);
    assert_eq!(ended, [Some((EndReason::Displaced, after(3))), None, None]);

    fs::rename(&path, folder.path().join("away.redb")).expect("moved");
    while store.trouble().is_none() {
        std::thread::yield_now();
    }
    assert!(begin(&store, 4).1.is_err());
    let ended = handles.map(|handle| find(&store, handle).expect("it is there").ended.is_some());
    assert_eq!((ended, store.active()), ([true, false, false], 2), "nothing has ended for it");
    fs::rename(folder.path().join("away.redb"), &path).expect("moved back");
}
