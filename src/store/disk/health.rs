//! Whether the file takes what is written, for those who look at it and for the log.
//!
//! On a disk that is nearly full, a short write succeeds, and the next does not. So what went wrong is only over once it
//! has not happened again for a while: the log has two lines of it then, and not two a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::session::store::Trouble;

/// How long every write must have succeeded before it is over: activity of sessions is written once a minute
/// ([`super::TOUCH_EVERY`]), so that a disk in use was tried by then.
pub(super) const HOLDS_AFTER: Duration = Duration::from_secs(60);

/// What is known of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<Option<Trouble>>>);

impl Health {
    /// What is wrong, if something is.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a write failed, and what to do about it. Whether that is news: nothing was wrong, or something else.
    pub(super) fn failed(&self, now: Timestamp, words: &str, help: &'static str) -> bool {
        let mut trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().map_or(now, |before| before.since);
        let is_news = trouble.as_ref().is_none_or(|before| before.help != help);
        *trouble = Some(Trouble { since, words: words.to_owned(), help, works_since: None });
        is_news
    }

    /// Notes that a write succeeded.
    pub(super) fn succeeded(&self, now: Timestamp) {
        if let Some(trouble) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            trouble.works_since.get_or_insert(now);
        }
    }

    /// Whether something was wrong, and has been over for long enough by `now`, which is asked only then; true once.
    pub(super) fn is_over(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let mut trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let works_since = trouble.as_ref().and_then(|trouble| trouble.works_since);
        let is_over = works_since.is_some_and(|since| now() >= since.plus(HOLDS_AFTER));
        if is_over {
            *trouble = None;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_told_of_twice_and_not_twice_a_second() {
        let (health, start) = (Health::default(), Timestamp::from_millis(1_763_000_000_000));
        let at = |secs| start.plus(Duration::from_secs(secs));
        let (mut begins, mut ends) = (0, Vec::new());
        assert!(!health.is_over(|| start), "nothing was wrong");
        for second in 0..7200 {
            // An hour of it: what is short succeeds, what is longer does not.
            if second < 3600 && second % 2 == 0 {
                begins += usize::from(health.failed(at(second), &format!("full {second}"), "make room"));
            } else {
                health.succeeded(at(second));
            }
            ends.extend(health.is_over(|| at(second)).then_some(second));
            if second == 3598 {
                let expected =
                    Trouble { since: start, words: "full 3598".to_owned(), help: "make room", works_since: None };
                assert_eq!(health.trouble(), Some(expected));
            }
            if second == 3605 {
                assert_eq!(health.trouble().and_then(|trouble| trouble.works_since), Some(at(3599)));
            }
        }
        assert_eq!((begins, ends, health.trouble()), (1, vec![3599 + 60], None));
        assert!(health.failed(at(7200), "again", "make room"), "and the next time is news");
        assert!(health.failed(at(7201), "gone", "put it back"), "so is something else");
    }
}
