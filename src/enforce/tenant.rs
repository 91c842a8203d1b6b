//! Who a host belongs to: a tenant has users, a cookie, keys and rules of its own, and nothing that one of them has given
//! out is good at another.
//!
//! It is chosen once a request, by the same host that was compared with the connection's and that finds the route. Three
//! things then keep tenants apart, each by itself: what the gateway gives out (the session cookie, tokens of the login
//! page, the cookie of a browser that is known) is sealed under keys derived with the tenant's name; the record of a
//! session says at which tenant it was made, and anywhere else it is none; and people are looked up among the tenant's
//! users alone, so that alice of one is not alice of another.

use std::sync::Arc;

use crate::crypto::keyring::KeyRing;
use crate::enforce::pages::look::Look;
use crate::enforce::parking::Parking;
use crate::enforce::snapshot::Limits;
use crate::login::attempt::Attempts;
use crate::login::device::Devices;
use crate::login::users::Users;
use crate::policy::route_policy::SessionRules;
use crate::session::cookie::SessionCookie;
use crate::session::tenant::TenantId;

/// One tenant, ready for use.
pub struct Tenant {
    /// Which.
    pub id: TenantId,
    /// The keys that its cookies and tokens are sealed under, by keys derived with its name. Whatever else is sealed for
    /// it must be so, too.
    pub ring: Arc<KeyRing>,
    /// What holds for each of its sessions.
    pub rules: SessionRules,
    /// Its session cookie.
    pub cookie: SessionCookie,
    /// Tokens of its login page.
    pub attempts: Attempts,
    /// What is kept of forms that meet an ended session, unless they are not.
    pub parking: Option<Parking>,
    /// Cookies of browsers that are known to it.
    pub devices: Devices,
    /// Its local users, when that source is configured.
    pub users: Option<Arc<Users>>,
    /// The limits that hold for it.
    pub limits: Limits,
    /// How its pages look.
    pub look: Look,
}
