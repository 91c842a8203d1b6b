//! What a route changes of a request on its way to the application, and of the answer on its way back. Pure.

use http::HeaderValue;

use crate::route::pattern::PathPrefix;

/// What a route changes. A route that changes nothing has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRewriting {
    /// The host that the application is asked for, in place of the one that the client asked for.
    pub host: Option<HeaderValue>,
    /// What stands in place of the route's path.
    pub prefix: Option<PrefixChange>,
    /// Whether addresses in the answer's head are made the ones that clients know.
    pub location: bool,
    /// Whether path and domain of its cookies are.
    pub cookies: bool,
}

/// One beginning of a path in place of another, both in whole segments, percent-encoded and without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixChange {
    outside: Box<str>,
    inside: Box<str>,
    /// Both as a person reads them.
    read: Box<(PathPrefix, PathPrefix)>,
}

impl PrefixChange {
    /// `inside` towards the application in place of `outside`.
    pub fn new(outside: &PathPrefix, inside: &PathPrefix) -> Self {
        let read = Box::new((outside.clone(), inside.clone()));
        Self { outside: outside.encoded().into(), inside: inside.encoded().into(), read }
    }

    /// What stands in place of the route's path.
    pub fn inside(&self) -> &PathPrefix {
        &self.read.1
    }

    /// The prefix by which clients come to what the application has under `inside`, if they come to all of it.
    pub fn named_outside(&self, inside: &PathPrefix) -> Option<PathPrefix> {
        let (outside, own) = &*self.read;
        let rest = inside.as_str().strip_prefix(own.as_str()).filter(|_| own.covers(inside))?;
        PathPrefix::parse(&format!("{}{rest}", outside.as_str())).ok()
    }

    /// What clients know the application under; empty when it is the whole host.
    pub fn outside(&self) -> &str {
        &self.outside
    }

    /// The path that the application is sent for one that begins with the route's, as it is forwarded. The route was
    /// found in the path as policy reads it, which may be written in many ways: so segments are counted, not compared.
    pub fn inward(&self, path: &str) -> String {
        let (mut rest, mut left) = (path, self.read.0.depth());
        while left > 0 && !rest.is_empty() {
            let (segment, after) = first_segment(rest);
            if is_named(segment) {
                left -= 1;
            }
            rest = after;
        }
        or_root(format!("{}{rest}", self.inside))
    }

    /// The path that clients know for one of the application's, or `None` when it has none.
    pub fn outward(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(&*self.inside)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| or_root(format!("{}{rest}", self.outside)))
    }

    /// The same for the path of a cookie, where the root stands for everything below.
    pub fn cookie_outward(&self, path: &str) -> Option<String> {
        if path == "/" && self.inside.is_empty() { self.outward("") } else { self.outward(path) }
    }
}

fn or_root(path: String) -> String {
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The first segment of a path without the slash before it, and what follows.
fn first_segment(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_at(path.find('/').unwrap_or(path.len()))
}

/// Whether policy sees the segment: one of nothing but parameters it does not (see [`crate::policy::path`]).
fn is_named(segment: &str) -> bool {
    let is_encoded = segment.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%3b"));
    !segment.is_empty() && !segment.starts_with(';') && !is_encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::path::RequestPath;

    fn change(outside: &str, inside: &str) -> PrefixChange {
        let prefix = |text| PathPrefix::parse(text).expect("a prefix");
        PrefixChange::new(&prefix(outside), &prefix(inside))
    }

    #[test]
    fn a_prefix_is_stripped_replaced_or_added_in_whole_segments() {
        for (outside, inside, path, sent) in [
            ("/app", "/", "/app", "/"),
            ("/app", "/", "/app/", "/"),
            ("/app", "/", "/app/x/y/", "/x/y/"),
            ("/app", "/", "/%61pp;a=b/x;c=d", "/x;c=d"),
            ("/app", "/", "/;a/app/x", "/x"),
            ("/app", "/", "/%3Ba/app/;b/x", "/;b/x"),
            ("/app", "/", "/app/app/x", "/app/x"),
            ("/a/b", "/c", "/a/b/d", "/c/d"),
            ("/a/b", "/c", "/a/;x/b", "/c"),
            ("/", "/x", "/", "/x/"),
            ("/", "/x", "/y?", "/x/y?"),
            ("/", "/caf\u{e9}", "/y", "/caf%C3%A9/y"),
        ] {
            assert_eq!(change(outside, inside).inward(path), sent, "{path}");
        }
    }

    #[test]
    fn what_the_application_names_is_named_as_clients_know_it() {
        for (outside, inside, path, named) in [
            ("/app", "/", "/", Some("/app/")),
            ("/app", "/", "/x", Some("/app/x")),
            ("/app", "/x", "/x", Some("/app")),
            ("/app", "/x", "/x/y", Some("/app/y")),
            ("/app", "/x", "/xy", None),
            ("/app", "/x", "/", None),
            ("/", "/x", "/x", Some("/")),
            ("/", "/x", "/x/", Some("/")),
        ] {
            assert_eq!(change(outside, inside).outward(path).as_deref(), named, "{path}");
        }
        assert_eq!(change("/app", "/").cookie_outward("/").as_deref(), Some("/app"));
        assert_eq!(change("/app", "/").cookie_outward("/x/").as_deref(), Some("/app/x/"));
        assert_eq!(change("/app", "/x").cookie_outward("/"), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 4096,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..Default::default()
        })]

        /// However a path is written: what policy would read of what is sent is what it read, one beginning for the other.
        #[test]
        fn what_is_sent_is_what_was_decided_on(
            before in "(/;[a/]?)?",
            name in "(a|%61)(;[bc=;]{0,3}|%3[bB]x)?",
            after in "(/[ab;.=%]{0,6}){0,4}",
            inside in "(/[xy]{1,2}){0,2}",
        ) {
            let raw = format!("{before}/{name}{after}");
            let Ok(path) = RequestPath::read(&raw) else { return Ok(()) };
            let matched = String::from_utf8_lossy(&path.matched).into_owned();
            let Some(rest) = matched.strip_prefix("/a").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
                return Ok(());
            };
            let shown = if inside.is_empty() { "/" } else { inside.as_str() };
            let sent = change("/a", shown).inward(&path.forwarded);
            let again = RequestPath::read(&sent).expect("it was accepted once");
            proptest::prop_assert!(again.changed().is_none(), "{} is sent for {}", sent, raw);
            let expected = or_root(format!("{inside}{rest}"));
            proptest::prop_assert_eq!(String::from_utf8_lossy(&again.matched), expected, "{} is sent for {}", sent, raw);
        }
    }
}
