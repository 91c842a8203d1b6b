//! May this person pass this route?

use std::sync::Arc;

use crate::policy::route_policy::RoutePolicy;
use crate::policy::trace::Trace;
use crate::session::principal::Principal;

/// Whether a signed-in person has one of the roles that the route asks for.
pub fn has_role(policy: &RoutePolicy, principal: &Arc<Principal>, trace: &mut impl Trace) -> bool {
    let has = policy.roles.is_empty() || policy.roles.iter().any(|role| principal.has_role(role));
    let found = match (policy.roles.is_empty(), has) {
        (true, _) => "none are asked for",
        (false, true) => "has one",
        (false, false) => "has none of them",
    };
    trace.step("roles", found);
    has
}
