//! How long requests take, by route and class of status. Each worker counts for itself, in words that nobody else writes;
//! they are added up when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The upper bounds of the buckets, in milliseconds: what Prometheus' own libraries take, since a page is as slow for
/// people as a call. Times are known by the millisecond.
const BOUNDS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Classes of status.
pub const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How many routes have series of their own: 200, some fifteen thousand lines at the most. The others share one.
const MOST_ROUTES: usize = 200;

/// How many series are kept of routes that are no more.
const MOST_PAST: usize = 4 * MOST_ROUTES;

/// What no host and no path can be called.
const OTHER_ROUTES: &str = "(other)";
const OWN_PAGES: &str = "(own pages)";
const NOWHERE: &str = "(none)";

/// Adds to a word that only this thread writes: no instruction that would have to lock it.
pub(super) fn add(word: &AtomicU64, count: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// The class of a status, by its place in [`CLASSES`].
pub(super) fn class(status: u16) -> usize {
    Some(usize::from(status / 100)).filter(|class| *class < CLASSES.len()).unwrap_or(0)
}

/// Where a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere: it was refused before that.
    #[default]
    Nowhere,
    /// To one of our own pages.
    OwnPage,
    /// Along a route, by its place.
    Route(u32),
}

/// The times of one route and class, or of several added up.
#[derive(Debug)]
struct Times<N> {
    buckets: [N; BUCKETS],
    millis: N,
}

type Cell = Times<AtomicU64>;
type Sum = Times<u64>;

impl Default for Cell {
    fn default() -> Self {
        Self { buckets: Default::default(), millis: AtomicU64::new(0) }
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], millis: 0 }
    }
}

impl Sum {
    fn of(cell: &Cell) -> Self {
        let mut sum = Self::default();
        for (sum, count) in sum.buckets.iter_mut().zip(&cell.buckets) {
            *sum = count.load(Ordering::Relaxed);
        }
        sum.millis = cell.millis.load(Ordering::Relaxed);
        sum
    }

    fn merge(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += count;
        }
        self.millis += other.millis;
    }

    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What one worker measures for as long as the routes are what they are.
#[derive(Debug)]
pub struct RouteTimes {
    /// The routes, then [`OTHER_ROUTES`], [`OWN_PAGES`] and [`NOWHERE`].
    names: Vec<Box<str>>,
    /// For each name, a cell for each class.
    cells: Box<[[Cell; CLASSES.len()]]>,
}

impl RouteTimes {
    fn new(routes: impl Iterator<Item = String>) -> Self {
        let mut names: Vec<Box<str>> = routes.take(MOST_ROUTES).map(Into::into).collect();
        names.extend([OTHER_ROUTES, OWN_PAGES, NOWHERE].map(Box::from));
        let cells = names.iter().map(|_| Default::default()).collect();
        Self { names, cells }
    }

    /// Counts a request that has ended. Only ever called by the worker it was made for.
    pub fn ended(&self, destination: Destination, status: u16, took: Duration) {
        // The three last are no routes.
        let routes = self.cells.len().saturating_sub(3);
        let place = match destination {
            Destination::Route(route) => routes.min(route as usize),
            Destination::OwnPage => routes + 1,
            Destination::Nowhere => routes + 2,
        };
        let Some(cell) = self.cells.get(place).and_then(|classes| classes.get(class(status))) else { return };
        let millis = took.as_millis() as u64;
        let bucket = BOUNDS.iter().position(|bound| millis <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = cell.buckets.get(bucket) {
            add(bucket, 1);
        }
        add(&cell.millis, millis);
    }
}

impl RouteTimes {
    /// What there is, by name and class.
    fn sums(&self) -> impl Iterator<Item = (&str, usize, Sum)> {
        self.names.iter().zip(&self.cells).flat_map(|(name, classes)| {
            classes.iter().enumerate().filter_map(move |(class, cell)| {
                let sum = Sum::of(cell);
                (sum.count() > 0).then_some((&**name, class, sum))
            })
        })
    }
}

/// By route and class.
type Sums = BTreeMap<(Box<str>, usize), Sum>;

/// What all workers have measured.
#[derive(Debug, Default)]
pub struct Timings {
    in_use: Vec<Arc<RouteTimes>>,
    /// Of routes that were replaced, and of workers that have ended.
    past: Sums,
}

impl Timings {
    /// A worker's own words for these routes.
    pub(super) fn begin(&mut self, routes: impl Iterator<Item = String>) -> Arc<RouteTimes> {
        self.put_by();
        let times = Arc::new(RouteTimes::new(routes));
        self.in_use.push(Arc::clone(&times));
        times
    }

    /// Keeps the sums alone of what nobody writes into any more.
    fn put_by(&mut self) {
        let past = &mut self.past;
        self.in_use.retain(|times| {
            if Arc::strong_count(times) > 1 {
                return true;
            }
            for (name, class, sum) in times.sums() {
                let has_place = past.len() < MOST_PAST || past.contains_key(&(name.into(), class));
                past.entry((if has_place { name } else { OTHER_ROUTES }.into(), class)).or_default().merge(&sum);
            }
            false
        });
    }

    /// All there is to tell.
    fn sums(&mut self) -> Sums {
        self.put_by();
        let mut sums = Sums::new();
        for ((name, class), sum) in &self.past {
            sums.entry((name.clone(), *class)).or_default().merge(sum);
        }
        for (name, class, sum) in self.in_use.iter().flat_map(|times| times.sums()) {
            sums.entry((name.into(), class)).or_default().merge(&sum);
        }
        sums
    }
}

/// Tells what was measured to whoever scrapes.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Arc<Mutex<Timings>>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner).sums();
        let help = "How long requests took until their answer was handed over, by route and class of status";
        let mut family =
            encoder.encode_descriptor("request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for ((route, class), sum) in &sums {
            let labels = [("route", &**route), ("status", CLASSES.get(*class).copied().unwrap_or_default())];
            let bounds = BOUNDS.iter().map(|millis| *millis as f64 / 1000.0).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(sum.buckets).collect();
            let seconds = sum.millis as f64 / 1000.0;
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds, sum.count(), &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(timings: &mut Timings) -> Vec<(String, u64)> {
        let sums = timings.sums();
        sums.iter().map(|((name, class), sum)| (format!("{name} {}", CLASSES[*class]), sum.count())).collect()
    }

    fn names(all: &[&str]) -> impl Iterator<Item = String> {
        all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn workers_are_added_up_and_those_that_have_ended_are_not_forgotten() {
        let mut timings = Timings::default();
        let (one, two) = (timings.begin(names(&["*/", "*/a"])), timings.begin(names(&["*/", "*/a"])));
        one.ended(Destination::Route(0), 200, Duration::from_millis(5));
        two.ended(Destination::Route(0), 204, Duration::from_millis(6));
        two.ended(Destination::Route(1), 503, Duration::from_secs(60));
        two.ended(Destination::Nowhere, 400, Duration::ZERO);
        two.ended(Destination::OwnPage, 999, Duration::ZERO);
        let expected = [("(none) 4xx", 1), ("(own pages) other", 1), ("*/ 2xx", 2), ("*/a 5xx", 1)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(counts(&mut timings), expected);
        let sums = timings.sums();
        let sum = &sums[&("*/".into(), 2)];
        assert_eq!((sum.buckets[0], sum.buckets[1], sum.millis), (1, 1, 11), "a bound is in its bucket");
        drop(two);
        assert_eq!(counts(&mut timings), expected);
        assert_eq!((counts(&mut timings), timings.in_use.len()), (expected.to_vec(), 1));
    }

    #[test]
    fn however_many_routes_there_are_the_series_are_few() {
        let mut timings = Timings::default();
        for round in 0..10 {
            let times = timings.begin((0..1000).map(|at| format!("*/{round}/{at}")));
            (0..1000).for_each(|at| times.ended(Destination::Route(at), 200, Duration::ZERO));
            assert!(timings.sums().len() <= MOST_ROUTES + 1 + MOST_PAST + 1);
        }
        assert!(timings.sums().len() <= MOST_PAST + 1);
        assert_eq!(timings.sums().values().map(Sum::count).sum::<u64>(), 10_000);
    }
}
