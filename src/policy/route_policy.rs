//! What a route asks of those who come to it, and the rules that hold for every session.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::session::binding::BindingRules;
use crate::session::concurrency::Concurrency;
use crate::session::level::Level;
use crate::session::rotation::RotationRule;
use crate::session::tenant::TenantId;
use crate::session::timeouts::Lifetimes;

/// Who may pass a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone; the cookie is not read.
    Public,
    /// Everyone; who is signed in is told to the application.
    Optional,
    /// Everyone, each with a session: strangers are given an anonymous one.
    Anonymous,
    /// Whoever is signed in: the default.
    Authenticated,
}

impl Access {
    /// The name used in configuration and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Optional => "optional",
            Self::Anonymous => "anonymous",
            Self::Authenticated => "authenticated",
        }
    }
}

/// How a route is shielded from what other sites make browsers ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shield {
    /// Whether what is found is refused; otherwise it is only reported.
    pub is_enforced: bool,
    /// Whether other sites may send what they like, as a webhook's route lets them: then it is for WebSockets alone.
    pub is_for_sockets_alone: bool,
    /// Whose WebSockets are let in, beside the route's own origin.
    pub websocket_origins: Box<[Box<str>]>,
    /// Where the session's token is looked for, if it is asked for.
    pub token: Option<Arc<TokenNames>>,
}

impl Shield {
    /// Whether something passes here that does not pass `other`.
    pub fn asks_less_than(&self, other: &Self) -> bool {
        let lets_in_more = || self.websocket_origins.iter().any(|origin| !other.websocket_origins.contains(origin));
        let asks_for_less = || {
            (other.token.is_some() && self.token.is_none())
                || (self.is_for_sockets_alone && !other.is_for_sockets_alone)
        };
        other.is_enforced && (!self.is_enforced || asks_for_less() || lets_in_more())
    }
}

/// What the token is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenNames {
    /// The header that hands it to the application, and brings it back.
    pub header: HeaderName,
    /// The field of a form that brings it back.
    pub field: Box<str>,
}

/// What one route asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Who may pass.
    pub access: Access,
    /// Of these roles, one is needed; empty asks for none. Only with [`Access::Authenticated`].
    pub roles: Vec<Box<str>>,
    /// How recent sign-in and activity must be. Only with [`Access::Authenticated`].
    pub recency: Option<Box<Recency>>,
    /// How it is shielded from other sites, if it is.
    pub csrf: Option<Box<Shield>>,
    /// The level that the session must have reached. Only with [`Access::Authenticated`].
    pub level: Option<Arc<Level>>,
}

/// How recent sign-in and activity must be: who is beyond it is asked for their password, and their session goes on
/// elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recency {
    /// The longest time without activity since sign-in. What somebody did elsewhere in the meantime does not make up for
    /// it: they might be somebody else.
    pub idle: Option<Duration>,
    /// From sign-in.
    pub absolute: Option<Duration>,
    /// From the last proof of who they are.
    pub max_auth_age: Option<Duration>,
    /// The methods for which the last one counts; empty is all of them. HEAD counts as GET.
    pub methods: Box<[Method]>,
}

impl Recency {
    /// Whether the age of the last proof counts for this method.
    pub fn is_for(&self, method: &Method) -> bool {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method)
    }

    fn asks_less_than(&self, other: &Self) -> bool {
        let is_looser = |own: Option<Duration>, asked: Option<Duration>| {
            asked.is_some_and(|asked| own.is_none_or(|own| own > asked))
        };
        let is_for_all = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|method| self.is_for(method)));
        is_looser(self.idle, other.idle)
            || is_looser(self.absolute, other.absolute)
            || is_looser(self.max_auth_age, other.max_auth_age)
            || (other.max_auth_age.is_some() && !is_for_all)
    }
}

impl RoutePolicy {
    /// What asks for somebody with one of `roles`, or for nothing of the kind.
    pub const fn new(access: Access, roles: Vec<Box<str>>) -> Self {
        Self { access, roles, recency: None, csrf: None, level: None }
    }

    /// Whether somebody may pass here who may not pass where `other` is asked, be it only that they would have to prove
    /// anew there who they are.
    pub fn asks_less_than(&self, other: &Self) -> bool {
        let is_less_recent = other.recency.as_ref().is_some_and(|other| match &self.recency {
            Some(own) => own.asks_less_than(other),
            None => Recency::default().asks_less_than(other),
        });
        self.is_for_more_than(other)
            || (other.access == Access::Authenticated && (is_less_recent || self.is_of_lower_level_than(other)))
    }

    /// Whether sessions pass here that have not reached the level that `other` asks for.
    pub fn is_of_lower_level_than(&self, other: &Self) -> bool {
        let is_lower = |asked: &Arc<Level>| self.level.as_ref().is_none_or(|own| own.asks_less_than(asked));
        other.level.as_ref().is_some_and(is_lower)
    }

    /// Whether another site may make people's browsers ask here for what it may not where `other` is asked. Where the
    /// cookie is not read, nobody's rights are used.
    pub fn shields_less_than(&self, other: &Self) -> bool {
        self.access != Access::Public
            && other
                .csrf
                .as_ref()
                .is_some_and(|other| self.csrf.as_ref().map_or(other.is_enforced, |own| own.asks_less_than(other)))
    }

    /// Whether it is open to people who may not pass where `other` is asked, however recently they signed in.
    pub fn is_for_more_than(&self, other: &Self) -> bool {
        if other.access != Access::Authenticated {
            return false;
        }
        let has_other_role = self.roles.iter().any(|role| !other.roles.contains(role));
        let roles_differ = !other.roles.is_empty() && (self.roles.is_empty() || has_other_role);
        self.access != Access::Authenticated || roles_differ
    }
}

/// What holds for every session of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRules {
    /// Whose sessions these are; those of others are none.
    pub tenant: TenantId,
    /// How long it lasts, and how much shorter for people with certain roles.
    pub lifetimes: Lifetimes,
    /// When its secret changes.
    pub rotation: RotationRule,
    /// Where it may be used from.
    pub binding: BindingRules,
    /// How many one person may have at once. Looked at when they sign in, and when what is allowed changes.
    pub concurrency: Option<Arc<Concurrency>>,
    /// The levels that it may reach, from the lowest to the highest.
    pub levels: Arc<[Arc<Level>]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_recent_asks_less() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let with = |recency| RoutePolicy { recency: Some(Box::new(recency)), ..plain() };
        let fresh = |age, methods: &[&Method]| {
            let methods = methods.iter().copied().cloned().collect();
            with(Recency { max_auth_age: age, methods, ..Recency::default() })
        };
        fn plain() -> RoutePolicy {
            RoutePolicy::new(Access::Authenticated, Vec::new())
        }
        let idle = |idle| with(Recency { idle, ..Recency::default() });
        let absolute = |absolute| with(Recency { absolute, ..Recency::default() });
        let (get, post) = (Method::GET, Method::POST);
        let stricter_first = [
            (idle(minutes(5)), plain()),
            (idle(minutes(5)), idle(minutes(6))),
            (absolute(minutes(5)), plain()),
            (absolute(minutes(5)), absolute(minutes(6))),
            (fresh(minutes(5), &[]), plain()),
            (fresh(minutes(5), &[]), fresh(minutes(6), &[])),
            (fresh(minutes(5), &[]), fresh(minutes(5), &[&get, &post])),
            (fresh(minutes(5), &[&get, &post]), fresh(minutes(5), &[&post])),
        ];
        for (strict, loose) in &stricter_first {
            assert!(loose.asks_less_than(strict) && !strict.asks_less_than(loose), "{strict:?} {loose:?}");
            assert!(!strict.asks_less_than(strict) && !loose.asks_less_than(loose));
            assert!(!loose.is_for_more_than(strict));
            let public = RoutePolicy::new(Access::Public, Vec::new());
            assert!(public.asks_less_than(strict) && !strict.asks_less_than(&public));
        }
        let (reads, writes) = (fresh(minutes(5), &[&get]), fresh(minutes(5), &[&post]));
        assert!(reads.asks_less_than(&writes) && writes.asks_less_than(&reads));
        assert!(!reads.asks_less_than(&fresh(minutes(5), &[&Method::HEAD])), "HEAD counts as GET");
    }
}
