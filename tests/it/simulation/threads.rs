//! Several threads on one store. Nothing is replayed here: what is checked holds for every order of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use vestibule::base::clock::Timestamp;
use vestibule::enforce::establish::{self, SignedIn};
use vestibule::policy::verdict::{Subject, Verdict};
use vestibule::session::live::Live;
use vestibule::session::record::{EndReason, Owner};
use vestibule::session::store::SessionStore;
use vestibule::session::tenant::TenantId;

use super::model::{Asks, Head, Place, Sent};
use super::rules::{Answer, Compared, Config, Entry, Limits, Rules, Shield, USERS};
use super::value_of;
use super::world::{self, World};
use crate::harness::Dice;

const THREADS: u64 = 4;
const STEPS: usize = 1500;
const SESSIONS: usize = 240;
/// Half of all that happens, happens to the last of these, so that threads meet.
const BUSY: usize = 40;
const HERE: Place = Place { address: "192.0.2.1", agent: "Firefox/140" };
const HEAD: Head = Head { host: 0, asks: Asks::User, sent: Sent::Read, place: HERE, token: None };

/// What all threads know of one session.
struct Known {
    live: Arc<Live>,
    user: &'static str,
    /// Somebody saw that it had ended.
    has_ended: AtomicBool,
    /// The highest generation somebody saw as the current one.
    generation: AtomicU32,
}

struct Field {
    world: World,
    known: Vec<Known>,
    allowed: AtomicU64,
    committed: AtomicU64,
}

#[test]
fn what_always_holds_also_holds_among_threads() {
    for seed in 0..4 {
        play(seed);
    }
}

fn play(seed: u64) {
    let rules = Rules {
        level: (0, None),
        fresh: (None, None, None),
        shield: Shield::Enforce,
        every: Some(2000),
        grace: 1000,
        address: (Compared::Not, Answer::End),
        agent: (Compared::Roughly, Answer::End),
        lookup_waits: false,
    };
    let limits = Limits {
        idle: 1_800_000,
        absolute: 43_200_000,
        offered: None,
        of_admins: None,
        forgets_admins: false,
        locks: false,
        max: None,
        max_of_admins: None,
    };
    let users = USERS.map(|_| Some(Entry { is_admin: false, password: 0 }));
    let config = Config { limits: [Some(limits), None, None], users: [users; 3] };
    let field = Field::new(World::new(&rules, &config, &[0, 400], seed));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let field = &field;
            scope.spawn(move || {
                let mut dice = Dice(seed * 1000 + thread);
                (0..STEPS).for_each(|_| field.step(&mut dice));
            });
        }
    });
    field.check_the_end();
}

impl Field {
    fn new(world: World) -> Self {
        let from = world::from(HERE);
        let begin = |at: usize| {
            let (user, now) = (USERS[at % USERS.len()], world.now());
            let made = establish::sign_in(
                world.shared(),
                &world.snapshot().default,
                world::principal(user, false, 0),
                None,
                from,
                None,
                None,
                now,
            );
            let SignedIn::Yes(made) = world::finish(made).expect("memory works") else { panic!("nobody is limited") };
            let live = made.live;
            Known { live, user, has_ended: AtomicBool::new(false), generation: AtomicU32::new(0) }
        };
        let known = (0..SESSIONS).map(begin).collect();
        Self { world, known, allowed: AtomicU64::new(0), committed: AtomicU64::new(0) }
    }

    fn step(&self, dice: &mut Dice) {
        let among = if dice.percent(50) { BUSY } else { self.known.len() };
        let known = &self.known[dice.below(among)];
        match dice.below(10_000) {
            0..9000 => self.request(known, dice),
            9000..9800 => self.world.advance(Duration::from_millis(dice.below(40) as u64)),
            9800..9900 => self.sweep(),
            9900..9930 => self.revoke(known),
            9930 => self.revoke_all(known.user),
            _ => self.list(known.user),
        }
    }

    /// A request with the current generation, its successor, its former or an older one.
    fn request(&self, known: &Known, dice: &mut Dice) {
        let had_ended = known.has_ended.load(Ordering::SeqCst);
        let floor = known.generation.load(Ordering::SeqCst);
        let shown = match dice.below(2000) {
            0..1200 => floor,
            1200..1960 => floor + 1,
            1960..1998 => floor.saturating_sub(1),
            _ => floor.saturating_sub(2),
        };
        let now = self.world.now();
        // A successor exists only once it was offered: then the current one is old enough.
        let rotation = known.live.rotation();
        if shown > rotation.generation && now.since(rotation.presented_at) < Duration::from_secs(2) {
            return;
        }
        let (said, generation) = (self.ask(&known.live, shown, now), known.live.rotation().generation);
        let passed = matches!(&said, Verdict::Allow(grant) if matches!(grant.subject(), Subject::User(..)));
        assert!(!(passed && had_ended), "a session that had ended was used");
        assert!(generation >= floor, "the current generation went back from {floor} to {generation}");
        assert!(!(passed && shown + 2 <= floor), "generation {shown} was good when {floor} was current");
        if passed {
            self.allowed.fetch_add(1, Ordering::Relaxed);
            // Whoever showed it is answered: it is the current one, or was when this began.
            let before = known.generation.fetch_max(shown.min(generation), Ordering::SeqCst);
            self.committed.fetch_add(u64::from(shown > before), Ordering::Relaxed);
        }
        if known.live.ended().is_some() {
            known.has_ended.store(true, Ordering::SeqCst);
        }
    }

    fn ask(&self, live: &Live, shown: u32, now: Timestamp) -> Verdict {
        let (shared, snapshot) = (self.world.shared(), self.world.snapshot());
        let set = establish::cookie(shared, &snapshot.default, live, shown, now).expect("a cookie");
        let value = value_of(set.to_str().expect("text")).to_owned();
        world::finish(self.world.request(&HEAD, &[value], None)).expect("memory works").verdict
    }

    fn revoke(&self, known: &Known) {
        let (now, had_ended) = (self.world.now(), known.has_ended.load(Ordering::SeqCst));
        let end = self.world.shared().end_session(known.live.handle(), EndReason::Revoked, None, now);
        let ended = world::finish(end).expect("memory works");
        assert!(known.live.ended().is_some(), "it has ended when the call returns");
        assert!(!(ended && had_ended), "it ended twice");
        known.has_ended.store(true, Ordering::SeqCst);
    }

    fn revoke_all(&self, user: &'static str) {
        let now = self.world.now();
        let of_user: Vec<&Known> = self.known.iter().filter(|known| known.user == user).collect();
        let end = self.world.shared().end_all_sessions(Owner::user(TenantId::DEFAULT, user), EndReason::Revoked, now);
        world::finish(end).expect("memory works");
        for known in of_user {
            assert!(known.live.ended().is_some(), "all of {user} have ended");
            known.has_ended.store(true, Ordering::SeqCst);
        }
    }

    fn sweep(&self) {
        world::finish(self.world.shared().sweep(self.world.now()));
    }

    fn list(&self, user: &'static str) {
        let had_ended: Vec<_> = self.known.iter().map(|known| known.has_ended.load(Ordering::SeqCst)).collect();
        let list =
            world::finish(self.world.shared().store.list(Owner::user(TenantId::DEFAULT, user))).expect("memory works");
        for (known, had_ended) in self.known.iter().zip(had_ended) {
            assert!(!(had_ended && list.contains(&known.live)), "an ended session is listed");
        }
    }

    /// When everybody is done, the counts agree.
    fn check_the_end(&self) {
        let lasting = self.known.iter().filter(|known| known.live.ended().is_none()).count();
        assert_eq!(self.world.store.active(), lasting, "sessions that last");
        for user in USERS {
            let list = world::finish(self.world.shared().store.list(Owner::user(TenantId::DEFAULT, user)))
                .expect("memory works");
            let expected = self.known.iter().filter(|known| known.user == user && known.live.ended().is_none()).count();
            assert_eq!(list.len(), expected, "the sessions of {user}");
        }
        for known in &self.known {
            assert!(!(known.has_ended.load(Ordering::SeqCst) && known.live.ended().is_none()), "one came back");
        }
        let (allowed, committed) = (self.allowed.load(Ordering::Relaxed), self.committed.load(Ordering::Relaxed));
        assert!(allowed > 1000 && committed > 10, "{allowed} allowed, {committed} committed");
    }
}
