//! The state of a limit that counts many apart: by address, by name. However many there are, it stays within a bound.
//!
//! A key that is not known yet gets a word of its own, until there are as many as may be. From then on strangers share a
//! few words between them: who is known is counted as before, and a flood of new addresses has as much together as the
//! shared words allow. What does not fit is limited with others, never let through uncounted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// How many addresses a limit remembers apart: a million, in 36 MB and at most 45 with what the allocator keeps.
pub(super) const MAX_ADDRESSES: usize = 1 << 20;

/// How many of anything else: names, browsers, clients of one route. In some 2.5 MB.
pub(super) const MAX_OTHERS: usize = 1 << 16;

/// How many words those share that are more than may be known. Enough that a few strangers seldom meet, few enough that
/// all of them together are no flood: of the sign-ins that an address may try by default, 340 a second.
const SHARED: usize = 1024;

/// Parts of the map. Whoever cleans one up or lets it grow holds up the others on that part only, at a million entries
/// for some ten microseconds.
const SHARDS: usize = 256;

/// Words by key, within a bound. Clones share them.
#[derive(Clone)]
pub(super) struct Bounded(Arc<Words>);

struct Words {
    own: DashMap<u64, AtomicU64>,
    known: AtomicUsize,
    most: usize,
    shared: Box<[AtomicU64]>,
}

impl Bounded {
    /// Room for `most` keys, and a few more that come at the same moment.
    pub(super) fn new(most: usize) -> Self {
        let shared = std::iter::repeat_with(AtomicU64::default).take(SHARED).collect();
        Self(Arc::new(Words { own: DashMap::with_shard_amount(SHARDS), known: AtomicUsize::new(0), most, shared }))
    }

    /// How many keys have a word of their own.
    pub(super) fn known(&self) -> usize {
        self.0.known.load(Ordering::Relaxed)
    }

    /// About how much memory it takes: a word each for key and state, and one byte, for as many as there is room for
    /// (of which the map fills seven eighths).
    pub(super) fn bytes(&self) -> usize {
        self.0.own.capacity() * 8 / 7 * (2 * size_of::<u64>() + 1) + SHARED * size_of::<u64>()
    }

    /// Does `act` with the word of `key`, if it has been counted.
    pub(super) fn with(&self, key: u64, act: impl FnOnce(&AtomicU64)) {
        match self.0.own.get(&key) {
            Some(word) => act(&word),
            None => act(self.shared(key)),
        }
    }

    fn shared(&self, key: u64) -> &AtomicU64 {
        // Spread by the map's own secret, or a stranger could choose whom to share with.
        &self.0.shared[self.0.own.hash_usize(&key) % SHARED]
    }
}

impl StateStore for Bounded {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let words = &*self.0;
        if let Some(word) = words.own.get(key) {
            return measure(&word, decide);
        }
        if self.known() >= words.most {
            return measure(self.shared(*key), decide);
        }
        match words.own.entry(*key) {
            Entry::Occupied(entry) => measure(entry.get(), decide),
            Entry::Vacant(entry) => {
                words.known.fetch_add(1, Ordering::Relaxed);
                measure(&entry.insert(AtomicU64::new(0)), decide)
            }
        }
    }
}

impl ShrinkableKeyedStateStore<u64> for Bounded {
    fn retain_recent(&self, drop_below: Nanos) {
        let words = &*self.0;
        words.own.retain(|_, word| {
            let is_recent = *word.get_mut() > drop_below.as_u64();
            if !is_recent {
                words.known.fetch_sub(1, Ordering::Relaxed);
            }
            is_recent
        });
        // What a flood took is given back.
        words.own.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known()
    }

    fn is_empty(&self) -> bool {
        self.known() == 0
    }
}

/// Changes a word as `decide` says, whoever else does so at the same time. Zero is a word that nothing was counted in.
pub(super) fn measure<T, E>(word: &AtomicU64, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
    let mut seen = word.load(Ordering::Acquire);
    loop {
        let (outcome, next) = decide((seen != 0).then(|| Nanos::from(seen)))?;
        match word.compare_exchange_weak(seen, next.as_u64(), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Ok(outcome),
            Err(now) => seen = now,
        }
    }
}
