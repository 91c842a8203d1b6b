//! How many requests of one session may be under way at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::limit::rate::{Allowed, Exceeded};
use crate::session::live::Live;

/// When a client that has too many under way is asked to come back: nobody knows when one of them ends.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request under way, counted in its session until it is dropped.
pub struct UnderWay(Arc<Live>);

impl UnderWay {
    /// Counts one more request of a session.
    ///
    /// # Errors
    /// [`Exceeded`] when it has `most` already.
    pub fn begin(live: &Arc<Live>, most: NonZeroU32) -> Result<Self, Exceeded> {
        let one_more = |count: u32| (count < most.get()).then(|| count + 1);
        match live.under_way().fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Self(Arc::clone(live))),
            Err(_) => Err(Exceeded { retry_after: RETRY_AFTER, allowed: Allowed::Requests(most.get()) }),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way().fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::random::Random;
    use crate::session::binding::Bound;
    use crate::session::record::Record;

    #[test]
    fn counts_what_is_under_way() {
        let bound = Bound::of(IpAddr::from([192, 0, 2, 1]), b"");
        let live = Arc::new(Live::new(Record::new(&Random::seeded(1), None, bound, Timestamp::default())));
        let most = NonZeroU32::new(2).expect("not zero");
        let (one, two) = (UnderWay::begin(&live, most), UnderWay::begin(&live, most));
        assert!(one.is_ok() && two.is_ok() && UnderWay::begin(&live, most).is_err());
        drop(one);
        assert!(UnderWay::begin(&live, most).is_ok());
        drop(two);
        assert_eq!(live.under_way().load(Ordering::Relaxed), 0);
    }
}
