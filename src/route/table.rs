//! Finding the route of a request: the most particular host that has a matching prefix, and of its prefixes the
//! longest.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::units::Rate;
use crate::policy::compression::Coding;
use crate::policy::route_policy::RoutePolicy;
use crate::route::hosts::HostTable;
use crate::route::pattern::{HostPattern, PathPrefix};
use crate::route::rewriting::RouteRewriting;

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPrefix,
    /// What it asks.
    pub policy: RoutePolicy,
    /// Which of the upstreams, by place.
    pub upstream: usize,
    /// How long a WebSocket may say nothing.
    pub websocket_timeout: Duration,
    /// What it changes on the way to the application and back, if anything.
    pub rewriting: Option<Box<RouteRewriting>>,
    /// How answers may be compressed, the best first.
    pub compress: Box<[Coding]>,
    /// How much each client may ask of it, if that has a limit.
    pub limit: Option<RouteLimit>,
}

/// The limit of a route on each of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimit {
    /// How much.
    pub rate: Rate,
    /// Which of the limited routes it is, by place: where what it counts is found.
    pub place: usize,
}

/// Default for `websocket_timeout`: many applications send a sign of life every half minute, some none at all, and a
/// page left open over lunch should still be alive. Its session's own limits end a WebSocket too.
pub const DEFAULT_WEBSOCKET_TIMEOUT: Duration = Duration::from_secs(3600);

/// All routes, ready to be looked up.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    hosts: HostTable<Prefixes>,
}

/// The routes of one host pattern by prefix.
#[derive(Debug, Default)]
struct Prefixes {
    /// The route of the whole host.
    whole: Option<usize>,
    by_path: HashMap<Box<[u8]>, usize>,
    deepest: usize,
}

impl Prefixes {
    fn insert(&mut self, path: &PathPrefix, route: usize) {
        if path.as_str().is_empty() {
            self.whole = Some(route);
        } else {
            self.by_path.insert(path.as_str().as_bytes().into(), route);
            self.deepest = self.deepest.max(path.depth());
        }
    }

    /// The longest prefix of whole segments, found by taking segments off the end.
    fn find(&self, path: &[u8]) -> Option<usize> {
        if self.deepest == 0 {
            return self.whole;
        }
        // No prefix is deeper than the deepest, however many segments the request has.
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let end = slashes.skip(1).nth(self.deepest - 1).unwrap_or(path.len());
        let mut rest = path[..end].strip_suffix(b"/").unwrap_or(&path[..end]);
        while !rest.is_empty() {
            if let Some(route) = self.by_path.get(rest) {
                return Some(*route);
            }
            rest = &rest[..rest.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        }
        self.whole
    }
}

impl RouteTable {
    /// A table of these routes. Of two with the same host and path, which the configuration refuses, the later counts.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self::default();
        for (at, route) in routes.iter().enumerate() {
            table.hosts.entry(&route.host, Prefixes::default).insert(&route.path, at);
        }
        table.routes = routes;
        table
    }

    /// The route of a request for `host` (lower case, no port) and `path` (as [`crate::policy::path`] matches it).
    pub fn find(&self, host: &str, path: &[u8]) -> Option<&Route> {
        self.find_place(host, path).map(|(_, route)| route)
    }

    /// The same, with its place among [`RouteTable::routes`].
    pub fn find_place(&self, host: &str, path: &[u8]) -> Option<(u32, &Route)> {
        let place = self.hosts.of(host).find_map(|prefixes| prefixes.find(path))?;
        self.routes.get(place).map(|route| (place as u32, route))
    }

    /// Whether there is any route for `host` (lower case, no port).
    pub fn is_for(&self, host: &str) -> bool {
        self.hosts.of(host).next().is_some()
    }

    /// All routes, as configured.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::route_policy::Access;

    fn table(routes: &[(&str, &str)]) -> RouteTable {
        let policy = RoutePolicy::new(Access::Public, Vec::new());
        let route = |(at, (host, path)): (usize, &(&str, &str))| Route {
            host: HostPattern::parse(host).expect("a host"),
            path: PathPrefix::parse(path).expect("a path"),
            policy: policy.clone(),
            upstream: at,
            websocket_timeout: DEFAULT_WEBSOCKET_TIMEOUT,
            rewriting: None,
            compress: Box::default(),
            limit: None,
        };
        RouteTable::new(routes.iter().enumerate().map(route).collect())
    }

    #[test]
    fn the_longest_prefix_of_whole_segments() {
        let table = table(&[("*", "/"), ("*", "/admin"), ("*", "/admin/help/public"), ("*", "/a")]);
        for (path, expected) in [
            ("/", 0),
            ("/administrator", 0),
            ("/admin", 1),
            ("/admin/", 1),
            ("/admin/x", 1),
            ("/admin/help", 1),
            ("/admin/help/publicly", 1),
            ("/admin/help/public", 2),
            ("/admin/help/public/", 2),
            ("/admin/help/public/deep/er/still", 2),
            ("/a/admin", 3),
            ("/ADMIN", 0),
            ("/b/a/admin/help/public", 0),
        ] {
            assert_eq!(table.find("x", path.as_bytes()).map(|route| route.upstream), Some(expected), "{path}");
        }
    }

    #[test]
    fn the_most_particular_host_that_has_a_route() {
        let table =
            table(&[("*", "/"), ("*.example.test", "/"), ("*.app.example.test", "/x"), ("app.example.test", "/admin")]);
        for (host, path, expected) in [
            ("other.test", "/", 0),
            ("example.test", "/", 0),
            ("a.example.test", "/", 1),
            ("app.example.test", "/admin/x", 3),
            ("app.example.test", "/", 1),
            ("a.app.example.test", "/x", 2),
            ("a.app.example.test", "/y", 1),
        ] {
            assert_eq!(table.find(host, path.as_bytes()).map(|route| route.upstream), Some(expected), "{host}{path}");
        }
        assert!(RouteTable::new(Vec::new()).find("a", b"/").is_none());
        assert!(table.is_for("other.test") && !RouteTable::new(Vec::new()).is_for("other.test"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 4096,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..Default::default()
        })]

        /// The look-up agrees with the rule said naively.
        #[test]
        fn agrees_with_the_naive_rule(
            prefixes in proptest::collection::btree_set("(/[ab]{1,2}){0,3}", 1..8),
            path in "(/[ab]{0,2}){1,5}",
        ) {
            let prefixes: Vec<String> = prefixes.into_iter().collect();
            let shown: Vec<(&str, &str)> =
                prefixes.iter().map(|prefix| ("*", if prefix.is_empty() { "/" } else { prefix.as_str() })).collect();
            let path = if path.contains("//") { "/".to_owned() } else { path };
            let naive = prefixes
                .iter()
                .enumerate()
                .filter(|(_, prefix)| path == **prefix || path.starts_with(&format!("{prefix}/")))
                .max_by_key(|(_, prefix)| prefix.len())
                .map(|(at, _)| at);
            let found = table(&shown).find("x", path.as_bytes()).map(|route| route.upstream);
            proptest::prop_assert_eq!(found, naive);
        }
    }
}
