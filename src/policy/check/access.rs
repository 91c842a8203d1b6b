//! May this person pass this route?

use std::sync::Arc;

use crate::policy::route_policy::RoutePolicy;
use crate::policy::trace::Trace;
use crate::session::principal::Principal;

/// Whether a signed-in person has one of the roles that the route asks for.
pub fn has_role(policy: &RoutePolicy, principal: &Arc<Principal>, trace: &mut impl Trace) -> bool {
    let has = policy.roles.is_empty() || policy.roles.iter().any(|role| principal.has_role(role));
    trace.step("roles", if has { "has one" } else { "has none of them" });
    has
}
