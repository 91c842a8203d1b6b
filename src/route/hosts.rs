//! What belongs to a host: looked up by name, the most particular pattern first.

use std::collections::HashMap;

use crate::route::pattern::HostPattern;

/// Something for each host pattern.
#[derive(Debug)]
pub struct HostTable<T> {
    exact: HashMap<Box<str>, T>,
    /// By what comes behind the first labels, with its dot: however many there are, a host asks as often as it has labels.
    below: HashMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: None }
    }
}

impl<T> HostTable<T> {
    /// What is there for a pattern, made by `new` if there is nothing yet.
    pub fn entry(&mut self, pattern: &HostPattern, new: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_with(new),
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_insert_with(new),
            HostPattern::Below(suffix) => self.below.entry(suffix.clone()).or_insert_with(new),
        }
    }

    /// What there is for `host` (lower case, no port): of its own, then of what it is below, then of every host.
    pub fn of(&self, host: &str) -> impl Iterator<Item = &T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let dots = if self.below.is_empty() { "" } else { host }.match_indices('.').map(|(at, _)| at);
        let below = dots.filter(|at| *at > 0).filter_map(move |at| self.below.get(&host[at..]));
        exact.into_iter().chain(below).chain(&self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_comes_first() {
        let mut table = HostTable::default();
        for pattern in ["*.test", "*", "a.b.test", "*.b.test"] {
            let parsed = HostPattern::parse(pattern).expect("a pattern");
            assert_eq!(*table.entry(&parsed, || pattern), pattern);
            assert_eq!(*table.entry(&parsed, || "another"), pattern, "it stays");
        }
        for (host, expected) in [
            ("a.b.test", &["a.b.test", "*.b.test", "*.test", "*"][..]),
            ("c.b.test", &["*.b.test", "*.test", "*"]),
            ("b.test", &["*.test", "*"]),
            ("test", &["*"]),
            (".test", &["*"]),
            ("xtest", &["*"]),
        ] {
            assert_eq!(table.of(host).copied().collect::<Vec<_>>(), expected, "{host}");
        }
    }
}
