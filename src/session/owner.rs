//! Whose a session is.

use std::net::IpAddr;

use crate::base::net;
use crate::session::binding::Bound;
use crate::session::principal::Principal;
use crate::session::tenant::TenantId;

/// A person, by name. Whoever has the same name at another tenant is somebody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person {
    /// Among whose users they are.
    pub tenant: TenantId,
    /// Their name.
    pub name: Box<str>,
}

impl Person {
    /// The one of this name at `tenant`.
    pub fn new(tenant: TenantId, name: &str) -> Self {
        Self { tenant, name: name.into() }
    }
}

/// Whose session it is: what sessions are counted and listed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A signed-in person.
    User(Person),
    /// A stranger with an anonymous session, by network address (an IPv6 one by its /64). At whichever tenant: what one
    /// address may have of the memory does not grow with the number of tenants.
    Address(IpAddr),
}

impl Owner {
    /// The person of this name at `tenant`.
    pub fn user(tenant: TenantId, name: &str) -> Self {
        Self::User(Person::new(tenant, name))
    }

    /// The owner of a session of this principal, made there.
    pub fn of(tenant: TenantId, principal: Option<&Principal>, bound: &Bound) -> Self {
        match principal {
            Some(principal) => Self::user(tenant, &principal.user),
            None => Self::Address(net::limit_key(bound.address)),
        }
    }
}
