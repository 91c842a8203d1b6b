//! What a route asks of those who come to it, and the rules that hold for every session.

use crate::session::binding::BindingRules;
use crate::session::rotation::RotationRule;
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

/// What one route asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Who may pass.
    pub access: Access,
    /// Of these roles, one is needed; empty asks for none. Only with [`Access::Authenticated`].
    pub roles: Vec<Box<str>>,
}

impl RoutePolicy {
    /// Whether somebody may pass here who may not pass where `other` is asked.
    pub fn asks_less_than(&self, other: &Self) -> bool {
        if other.access != Access::Authenticated {
            return false;
        }
        let has_other_role = self.roles.iter().any(|role| !other.roles.contains(role));
        let roles_differ = !other.roles.is_empty() && (self.roles.is_empty() || has_other_role);
        self.access != Access::Authenticated || roles_differ
    }
}

/// What holds for every session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRules {
    /// How long it lasts, and how much shorter for people with certain roles.
    pub lifetimes: Lifetimes,
    /// When its secret changes.
    pub rotation: RotationRule,
    /// Where it may be used from.
    pub binding: BindingRules,
}
