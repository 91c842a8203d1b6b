//! What belongs to a host: looked up by name, the most particular pattern first.

use std::collections::HashMap;

use crate::route::pattern::HostPattern;

/// Something for each host pattern.
#[derive(Debug)]
pub struct HostTable<T> {
    exact: HashMap<Box<str>, T>,
    /// Longest suffix first.
    below: Vec<(Box<str>, T)>,
    any: Option<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: Vec::new(), any: None }
    }
}

impl<T> HostTable<T> {
    /// What is there for a pattern, made by `new` if there is nothing yet.
    pub fn entry(&mut self, pattern: &HostPattern, new: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_with(new),
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_insert_with(new),
            HostPattern::Below(suffix) => {
                let place = self.below.iter().position(|(other, _)| other == suffix).unwrap_or_else(|| {
                    let longer = self.below.iter().take_while(|(other, _)| other.len() >= suffix.len()).count();
                    self.below.insert(longer, (suffix.clone(), new()));
                    longer
                });
                &mut self.below[place].1
            }
        }
    }

    /// What there is for `host` (lower case, no port): of its own, then of what it is below, then of every host.
    pub fn of(&self, host: &str) -> impl Iterator<Item = &T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let below = self.below.iter().filter(move |(suffix, _)| is_below(host, suffix)).map(|(_, own)| own);
        exact.into_iter().chain(below).chain(&self.any)
    }
}

/// Whether `host` has a label before `suffix`, which begins with a dot.
fn is_below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
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
