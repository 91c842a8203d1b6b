//! The limits on a request that is permitted: of its session, its person, and its route.

use std::net::IpAddr;
use std::sync::Arc;

use crate::enforce::refusal::Refusal;
use crate::enforce::snapshot::Limits;
use crate::limit::parallel::UnderWay;
use crate::limit::rate::Client;
use crate::policy::verdict::Subject;
use crate::route::table::Route;
use crate::session::live::Live;
use crate::session::tenant::TenantId;

/// Counts a request that `subject` may make on `route`. Where requests under way are counted, it is one of them until what
/// is returned is dropped.
///
/// # Errors
/// When it is one too many for one of the limits.
pub fn admit(
    limits: &Limits,
    tenant: TenantId,
    route: &Route,
    subject: &Subject,
    live: Option<&Arc<Live>>,
    client: IpAddr,
) -> Result<Option<UnderWay>, Refusal> {
    let mut under_way = None;
    if let Some(live) = live {
        let begin = limits.parallel.map(|most| UnderWay::begin(live, most)).transpose();
        under_way = begin.map_err(|exceeded| Refusal::TooMany("parallel_limit", exceeded))?;
        if let Some(limit) = &limits.per_session {
            limit.admit(live).map_err(|exceeded| Refusal::TooMany("session_limit", exceeded))?;
        }
    }
    if let (Subject::User(_, principal), Some(limit)) = (subject, &limits.per_user) {
        let person = Client::User(tenant, &principal.user);
        limit.admit(person).map_err(|exceeded| Refusal::TooMany("user_limit", exceeded))?;
    }
    if let Some(limit) = route.limit.and_then(|limit| limits.routes.get(limit.place)) {
        // By name where there is one: more sessions are no way around it, and an office does not share it.
        let client = match subject {
            Subject::User(_, principal) => Client::User(tenant, &principal.user),
            Subject::Nobody | Subject::Anonymous(_) => Client::Address(client),
        };
        limit.admit(client).map_err(|exceeded| Refusal::TooMany("route_limit", exceeded))?;
    }
    Ok(under_way)
}
