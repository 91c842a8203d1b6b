//! A session in memory: the fixed part of its record, and what changes with every request in single atomic words.
//!
//! No lock: threads that serve one session at once meet only when something really changes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use once_cell::race::OnceBox;

use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::session::binding::{Bound, Report};
use crate::session::device::Device;
use crate::session::handle::SessionHandle;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Owner, Record};
use crate::session::rotation::Rotation;
use crate::session::tenant::TenantId;

/// The last generation a session can reach; from then on it keeps its secret. At one rotation a second, 194 days.
pub const MAX_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

const GENERATION_BITS: u32 = 24;
/// Of rotation: one bit less is left for the time, which is enough for 17 years.
const MILLIS_BITS: u32 = 63 - GENERATION_BITS;
const MUST_RENEW: u64 = 1 << MILLIS_BITS;
const REASON_BITS: u32 = 8;

/// The longest pause that can be told from longer ones, in milliseconds, which is 49 days: longer than any limit of those
/// who are not remembered. What is as long counts as longer than every limit.
const LONGEST_PAUSE: u32 = u32::MAX;

/// The mark of a locked session. Reports have the lowest 18 bits.
const LOCKED: u32 = 1 << 31;

/// A session that requests are served from.
#[derive(Debug)]
pub struct Live {
    handle: SessionHandle,
    /// A session changes when its person signs in or does something as rare: more than this holds never happen.
    version: u32,
    seed: Secret<[u8; 32]>,
    principal: Option<Arc<Principal>>,
    authenticated_at: Timestamp,
    bound: Bound,
    device: Device,
    tenant: TenantId,
    is_remembered: bool,
    active_at: AtomicU64,
    /// The generation in the upper 24 bits, then whether it must be renewed, and in the lower 39 the milliseconds from
    /// authentication to when it was first presented: one word, so that no reader sees one without the other.
    rotation: AtomicU64,
    /// Zero while it lasts, then the reason's code in the upper 8 bits and the time in milliseconds in the lower 56.
    ended: AtomicU64,
    allowance: AtomicU64,
    under_way: AtomicU32,
    /// The differences that were reported, a bit each, and in the highest bit whether it is locked.
    marks: AtomicU32,
    /// The longest time without activity since authentication, in milliseconds: at most [`LONGEST_PAUSE`].
    longest_pause: AtomicU32,
    changed: Changed,
}

/// How often it can be changed who a session is of. Each change stays in memory for as long as the session does, so that
/// whoever looked before may still look at what they saw; nobody is given other roles that often in a day.
pub const MAX_CHANGES: u64 = 64;

/// The next of the changes of who is signed in, if there is one: eight bytes, of which every session has its own.
type Changed = OnceBox<Change>;

/// Who is signed in since a change, and the change after it.
#[derive(Debug)]
struct Change {
    principal: Arc<Principal>,
    next: Changed,
}

/// What is asked of a session in one look, so that a decision rests on one state of it.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'live> {
    /// Its name.
    pub handle: SessionHandle,
    /// At which tenant it was made.
    pub tenant: TenantId,
    /// Who is signed in.
    pub principal: Option<&'live Arc<Principal>>,
    /// When they proved it.
    pub authenticated_at: Timestamp,
    /// Whether they asked to be remembered.
    pub is_remembered: bool,
    /// Whether nothing passes with it until they have proved again who they are.
    pub is_locked: bool,
    /// The last activity that was noted.
    pub active_at: Timestamp,
    /// The longest time without activity between the two.
    pub longest_pause: Duration,
    /// Where its rotation stands.
    pub rotation: Rotation,
    /// Where it was made.
    pub bound: &'live Bound,
    /// Whether, why and when it ended.
    pub ended: Option<(EndReason, Timestamp)>,
    /// What its tokens are derived from.
    pub seed: &'live Secret<[u8; 32]>,
}

impl Live {
    /// Brings a record to life.
    pub fn new(record: Record) -> Self {
        let rotation = pack_rotation(record.rotation, record.authenticated_at);
        Self {
            handle: record.handle,
            version: u32::try_from(record.version).unwrap_or(u32::MAX),
            seed: record.seed,
            principal: record.principal,
            authenticated_at: record.authenticated_at,
            bound: record.bound,
            device: record.device,
            tenant: record.tenant,
            is_remembered: record.is_remembered,
            active_at: AtomicU64::new(record.active_at.as_millis()),
            rotation: AtomicU64::new(rotation),
            ended: AtomicU64::new(record.ended.map_or(0, |(reason, at)| pack_end(reason, at))),
            allowance: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            marks: AtomicU32::new(if record.is_locked { LOCKED } else { 0 }),
            longest_pause: AtomicU32::new(pack_pause(record.longest_pause)),
            changed: Changed::new(),
        }
    }

    /// The record of this moment.
    pub fn record(&self) -> Record {
        Record {
            handle: self.handle,
            version: self.version(),
            seed: self.seed.clone(),
            principal: self.principal().cloned(),
            authenticated_at: self.authenticated_at,
            active_at: self.active_at(),
            longest_pause: self.longest_pause(),
            rotation: self.rotation(),
            bound: self.bound,
            ended: self.ended(),
            device: self.device,
            tenant: self.tenant,
            is_remembered: self.is_remembered,
            is_locked: self.is_locked(),
        }
    }

    /// One look at everything a decision needs.
    pub fn view(&self) -> SessionView<'_> {
        SessionView {
            handle: self.handle,
            tenant: self.tenant,
            principal: self.principal(),
            authenticated_at: self.authenticated_at,
            is_remembered: self.is_remembered,
            is_locked: self.is_locked(),
            active_at: self.active_at(),
            longest_pause: self.longest_pause(),
            rotation: self.rotation(),
            bound: &self.bound,
            ended: self.ended(),
            seed: &self.seed,
        }
    }

    /// Its name.
    pub const fn handle(&self) -> SessionHandle {
        self.handle
    }

    /// Which change of the record this is.
    pub fn version(&self) -> u64 {
        u64::from(self.version).saturating_add(self.changes().count() as u64)
    }

    /// What the proofs of its cookies are derived from.
    pub const fn seed(&self) -> &Secret<[u8; 32]> {
        &self.seed
    }

    /// Who is signed in, as it was last changed.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.changes().last().map_or(self.principal.as_ref(), |change| Some(&change.principal))
    }

    /// Changes what is known of who is signed in, for everybody who holds the session; the person stays the same. `true`
    /// when this call did so: `expected_version` is still the session's, it lasts, and it was not changed too often.
    pub fn change_principal(&self, principal: Arc<Principal>, expected_version: u64) -> bool {
        let fits = self.principal.as_ref().is_some_and(|own| own.user == principal.user)
            && self.version() == expected_version
            && (self.changes().count() as u64) < MAX_CHANGES
            && self.ended().is_none();
        let place = self.changes().last().map_or(&self.changed, |change| &change.next);
        let has_other_rights =
            |known: &Arc<Principal>| known.roles != principal.roles || known.groups != principal.groups;
        // Before anybody has them: no request passes with other rights whose answer does not offer another secret.
        if fits && self.principal().is_some_and(has_other_rights) {
            self.rotation.fetch_or(MUST_RENEW, Ordering::AcqRel);
        }
        // Of two at once, one is first, and the other finds another version.
        fits && place.set(Box::new(Change { principal, next: Changed::new() })).is_ok()
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        std::iter::successors(self.changed.get(), |change| change.next.get())
    }

    /// When they proved it; of a stranger's session, when it was made.
    pub const fn authenticated_at(&self) -> Timestamp {
        self.authenticated_at
    }

    /// What it was made with, as a person is told.
    pub const fn device(&self) -> Device {
        self.device
    }

    /// At which tenant it was made.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Whether its person asked to be remembered.
    pub const fn is_remembered(&self) -> bool {
        self.is_remembered
    }

    /// Whose session it is.
    pub fn owner(&self) -> Owner {
        Owner::of(self.tenant, self.principal.as_deref(), &self.bound)
    }

    /// The last activity that was noted.
    pub fn active_at(&self) -> Timestamp {
        Timestamp::from_millis(self.active_at.load(Ordering::Acquire))
    }

    fn longest_pause(&self) -> Duration {
        match self.longest_pause.load(Ordering::Relaxed) {
            LONGEST_PAUSE => Duration::from_millis(u64::MAX),
            millis => Duration::from_millis(millis.into()),
        }
    }

    /// Notes activity. Never goes back, and does not bring an ended session back.
    pub fn note_activity(&self, now: Timestamp) {
        let before = self.active_at.load(Ordering::Relaxed);
        // Noted first: who sees the activity sees what was before it.
        let pause = pack_pause(now.since(Timestamp::from_millis(before)));
        if pause > self.longest_pause.load(Ordering::Relaxed) {
            self.longest_pause.fetch_max(pause, Ordering::Release);
        }
        self.active_at.fetch_max(now.as_millis(), Ordering::Release);
    }

    /// Where its rotation stands.
    pub fn rotation(&self) -> Rotation {
        unpack_rotation(self.rotation.load(Ordering::Acquire), self.authenticated_at)
    }

    /// Makes `generation` the current one if it is a later one; `true` when this call did so.
    pub fn commit_rotation(&self, generation: u32, now: Timestamp) -> bool {
        let current = self.rotation.load(Ordering::Acquire);
        let is_later = generation > unpack_rotation(current, self.authenticated_at).generation;
        if !is_later || generation > MAX_GENERATION || self.ended().is_some() {
            return false;
        }
        let next = pack_rotation(Rotation { generation, presented_at: now, must_renew: false }, self.authenticated_at);
        self.rotation.compare_exchange(current, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether, why and when it ended.
    pub fn ended(&self) -> Option<(EndReason, Timestamp)> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            packed => Some(unpack_end(packed)),
        }
    }

    /// Ends the session; the first reason stays. `true` when this call ended it.
    pub fn end(&self, reason: EndReason, now: Timestamp) -> bool {
        self.ended.compare_exchange(0, pack_end(reason, now), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether nothing passes with it until its person has proved again who they are.
    pub fn is_locked(&self) -> bool {
        self.marks.load(Ordering::Acquire) & LOCKED != 0
    }

    /// Locks it, for as long as it lasts: who proves again who they are is given another. `true` when this call did so.
    pub fn lock(&self) -> bool {
        self.ended().is_none() && self.marks.fetch_or(LOCKED, Ordering::AcqRel) & LOCKED == 0
    }

    /// Whether a stream of it may go on: it has neither ended, nor is it locked.
    pub fn is_open(&self) -> bool {
        self.ended().is_none() && !self.is_locked()
    }

    /// Notes that a difference is reported; `true` when it was not before, as far as this process knows.
    pub fn note_report(&self, report: Report) -> bool {
        let bit = report.bit();
        self.marks.load(Ordering::Relaxed) & bit == 0 && self.marks.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// The word in which the rate limit of this session keeps its state.
    pub const fn allowance(&self) -> &AtomicU64 {
        &self.allowance
    }

    /// How many of its requests are under way, where that has a limit.
    pub const fn under_way(&self) -> &AtomicU32 {
        &self.under_way
    }
}

impl PartialEq for Live {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle
    }
}

impl Eq for Live {}

/// A session is told apart by its handle alone: what keyed limits ask for.
impl Hash for Live {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.handle.hash(state);
    }
}

fn pack_pause(pause: Duration) -> u32 {
    u32::try_from(pause.as_millis()).unwrap_or(LONGEST_PAUSE)
}

const fn pack_rotation(rotation: Rotation, since: Timestamp) -> u64 {
    let millis = rotation.presented_at.as_millis().saturating_sub(since.as_millis());
    let longest = (1 << MILLIS_BITS) - 1;
    let millis = if millis > longest { longest } else { millis };
    let generation = if rotation.generation > MAX_GENERATION { MAX_GENERATION } else { rotation.generation };
    ((generation as u64) << (64 - GENERATION_BITS)) | if rotation.must_renew { MUST_RENEW } else { 0 } | millis
}

const fn unpack_rotation(packed: u64, since: Timestamp) -> Rotation {
    let millis = packed & ((1 << MILLIS_BITS) - 1);
    Rotation {
        generation: (packed >> (64 - GENERATION_BITS)) as u32,
        presented_at: Timestamp::from_millis(since.as_millis().saturating_add(millis)),
        must_renew: packed & MUST_RENEW != 0,
    }
}

fn pack_end(reason: EndReason, at: Timestamp) -> u64 {
    let code = EndReason::ALL.iter().position(|known| *known == reason).unwrap_or(EndReason::ALL.len() - 1) as u64 + 1;
    (code << (64 - REASON_BITS)) | (at.as_millis() & (u64::MAX >> REASON_BITS))
}

fn unpack_end(packed: u64) -> (EndReason, Timestamp) {
    let code = (packed >> (64 - REASON_BITS)) as usize;
    let reason = EndReason::ALL.get(code.wrapping_sub(1)).copied().unwrap_or(EndReason::Revoked);
    (reason, Timestamp::from_millis(packed & (u64::MAX >> REASON_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn live() -> Live {
        let bound = Bound::of("192.0.2.1".parse().expect("an address"), b"agent");
        Live::new(Record::new(&Random::seeded(1), None, bound, Timestamp::from_millis(1_700_000_000_000)))
    }

    #[test]
    fn a_record_survives_being_live() {
        let live = live();
        live.commit_rotation(1, Timestamp::from_millis(1_700_000_900_000));
        live.note_activity(Timestamp::from_millis(1_700_000_900_001));
        assert!(live.is_open() && live.lock() && !live.lock() && live.is_locked() && !live.is_open());
        for reason in EndReason::ALL {
            let mut record = live.record();
            record.ended = Some((reason, Timestamp::from_millis(1_700_001_000_000)));
            assert_eq!(Live::new(record.clone()).record(), record);
        }
    }

    #[test]
    fn activity_never_goes_back_and_the_first_end_stays() {
        let live = live();
        live.note_activity(Timestamp::from_millis(5));
        assert_eq!(live.active_at(), Timestamp::from_millis(1_700_000_000_000));
        assert!(live.end(EndReason::Logout, Timestamp::from_millis(9)));
        assert!(!live.end(EndReason::Revoked, Timestamp::from_millis(10)));
        live.note_activity(Timestamp::from_millis(1_800_000_000_000));
        assert_eq!(live.ended(), Some((EndReason::Logout, Timestamp::from_millis(9))));
    }

    #[test]
    fn the_longest_pause_is_remembered_to_the_millisecond() {
        let live = live();
        let at = |millis: u64| Timestamp::from_millis(1_700_000_000_000 + millis);
        let pause = |live: &Live| live.view().longest_pause.as_millis();
        assert_eq!(pause(&live), 0);
        let longest = u64::from(LONGEST_PAUSE);
        for (millis, expected) in [
            (4_000, 4_000),
            (10_001, 6_001),
            (10_000, 6_001),
            (12_000, 6_001),
            (19_001, 7_001),
            (19_001 + longest - 1, longest - 1),
            (19_001 + 2 * longest, u64::MAX),
        ] {
            live.note_activity(at(millis));
            assert_eq!(pause(&live), u128::from(expected), "{millis}");
            assert_eq!(pause(&Live::new(live.record())), u128::from(expected), "written down after {millis}");
        }
    }

    #[test]
    fn only_a_later_generation_is_committed_and_only_while_it_lasts() {
        let live = live();
        let at = Timestamp::from_millis(1_700_000_000_500);
        assert!(!live.commit_rotation(0, at) && !live.commit_rotation(MAX_GENERATION + 1, at));
        assert!(live.commit_rotation(1, at) && !live.commit_rotation(1, at));
        assert_eq!(live.rotation(), Rotation { generation: 1, presented_at: at, must_renew: false });
        assert!(live.commit_rotation(3, at) && !live.commit_rotation(2, at));
        live.end(EndReason::Revoked, at);
        assert!(!live.commit_rotation(4, at));
    }

    #[test]
    fn a_difference_is_reported_once_and_another_by_itself() {
        use crate::session::binding::{Answer, Factor};
        let live = live();
        let report = |factor, is_shadow| Report { factor, answer: Answer::StepUp, is_shadow };
        assert!(live.note_report(report(Factor::Address, false)) && !live.note_report(report(Factor::Address, false)));
        assert!(live.note_report(report(Factor::Tls, false)) && live.note_report(report(Factor::Address, true)));
        assert!(!live.note_report(report(Factor::Address, false)));
    }

    #[test]
    fn a_change_of_rights_is_seen_by_whoever_holds_the_session() {
        let bound = Bound::of("192.0.2.1".parse().expect("an address"), b"agent");
        let principal = |user, role: u64| Arc::new(Principal::new(user, None, &[], &[role.to_string()]));
        let record = Record::new(&Random::seeded(1), Some(principal("a", 0)), bound, Timestamp::from_millis(1));
        let live = Live::new(record);
        let before = live.principal().expect("a principal");
        assert!(!live.change_principal(principal("a", 1), 7) && !live.change_principal(principal("b", 1), 0));
        for change in 1..=MAX_CHANGES {
            assert!(live.change_principal(principal("a", change), change - 1));
            assert!(!live.change_principal(principal("a", 99), change - 1), "another change came first");
            assert!(live.rotation().must_renew && live.record().rotation.must_renew);
            assert!(live.commit_rotation(change as u32, Timestamp::from_millis(2)) && !live.rotation().must_renew);
            assert_eq!((live.version(), live.record().principal), (change, Some(principal("a", change))));
            assert_eq!(live.view().principal, Some(&principal("a", change)));
        }
        assert_eq!(before, &principal("a", 0), "what was handed out stays what it was");
        assert!(!live.change_principal(principal("a", 1), MAX_CHANGES), "as often as it can be");
        let again = Live::new(live.record());
        assert!(again.version() == MAX_CHANGES && again.change_principal(principal("a", 1), MAX_CHANGES));
        again.end(EndReason::Logout, Timestamp::from_millis(2));
        assert!(!again.change_principal(principal("a", 2), MAX_CHANGES + 1));
    }

    /// With the two counts of its `Arc` it takes one of the allocator's blocks of 192 bytes; the next smaller ones have 160.
    #[test]
    fn is_small() {
        assert!(size_of::<Live>() <= 192 - 2 * size_of::<usize>(), "a live session takes {} bytes", size_of::<Live>());
    }
}
