//! The tenants of a plan, made ready for use.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::keys::ring_of;
use crate::base::clock::Clock;
use crate::config::{LocalUsers, Plan, TenantPlan};
use crate::crypto::keyring::KeyRing;
use crate::enforce::pages::look::{Look, LookSettings};
use crate::enforce::parking::Parking;
use crate::enforce::snapshot::{Limits, Snapshot, Tenants};
use crate::enforce::tenant::Tenant;
use crate::login::attempt::{self, Attempts};
use crate::login::device::{self, Devices};
use crate::login::users::User;
use crate::policy::route_policy::SessionRules;
use crate::session::cookie::{CookieSettings, SessionCookie};
use crate::store::disk::Known;

/// The plan and the snapshot that were in force before.
type Before<'a> = Option<(&'a Plan, &'a Snapshot)>;

/// The tenant that the tables at the top of a plan are for.
pub(super) fn default(plan: &Plan, ring: &Arc<KeyRing>, clock: &Clock, before: Before<'_>) -> Tenant {
    let before = before.map(|(plan, snapshot)| (&plan.limits, &*plan.routes, &snapshot.default.limits));
    let limits = plan.limits.counting(&plan.routes, clock, before);
    let (rules, cookie) = (plan.session.rules.clone(), plan.session.cookie.clone());
    made(plan, ring, rules, cookie, plan.users.as_ref(), limits, &plan.look)
}

/// The others, if there are any, beside the default one.
///
/// # Errors
/// A sentence that says what is wrong with the keys of one.
pub(super) fn others(
    plan: &Plan,
    ring: &Arc<KeyRing>,
    default: &Tenant,
    clock: &Clock,
    before: Before<'_>,
) -> Result<Option<Box<Tenants>>, String> {
    if plan.tenants.is_empty() {
        return Ok(None);
    }
    let mut all = Tenants::default();
    for own in &plan.tenants {
        let ring = match &own.keys {
            Some(keys) => Arc::new(ring_of(keys)?),
            None => Arc::clone(ring),
        };
        let former = before.and_then(|(plan, snapshot)| {
            let former = plan.tenants.iter().find(|former| former.id == own.id)?;
            Some((&former.limits, &snapshot.tenant_named(own.id)?.limits))
        });
        let limits = own.limits.counting_beside((&plan.limits, &default.limits), clock, former);
        let TenantPlan { rules, cookie, users, look, hosts, .. } = own;
        let tenant = made(plan, &ring, rules.clone(), cookie.clone(), users.as_ref(), limits, look);
        all.add(Arc::new(tenant), hosts);
    }
    Ok(Some(Box::new(all)))
}

fn made(
    plan: &Plan,
    ring: &Arc<KeyRing>,
    rules: SessionRules,
    cookie: CookieSettings,
    users: Option<&LocalUsers>,
    limits: Limits,
    look: &LookSettings,
) -> Tenant {
    let (id, longest) = (rules.tenant, rules.lifetimes.longest().absolute);
    Tenant {
        id,
        ring: Arc::clone(ring),
        rules,
        cookie: SessionCookie::new(cookie, Arc::clone(ring), id.name(), longest),
        attempts: Attempts::new(Arc::clone(ring), id.name()),
        parking: plan.session.parked_posts.map(|settings| Parking::new(settings, Arc::clone(ring), id.name())),
        devices: Devices::new(Arc::clone(ring), id.name()),
        users: users.map(|local| Arc::clone(&local.users)),
        limits,
        look: Look::new(look),
    }
}

/// The names of our cookies at whichever tenant. All of them are taken out everywhere: that no browser sends one to another
/// tenant's application is not for browsers to see to.
pub(super) fn cookie_names(plan: &Plan) -> Box<[Box<str>]> {
    let of_sessions = plan.tenants.iter().map(|tenant| &tenant.cookie).chain([&plan.session.cookie]);
    let names: BTreeSet<Box<str>> = of_sessions.map(|cookie| cookie.name.clone()).collect();
    names.into_iter().chain([attempt::COOKIE.into(), device::COOKIE.into()]).collect()
}

/// Who may have sessions, at each tenant.
pub(super) fn known(plan: &Plan) -> Known {
    let one = |user: &User| (user.name.as_str().into(), Arc::new(user.principal()));
    let of = |local: &LocalUsers| local.users.iter().filter(|user| !user.disabled).map(one).collect();
    plan.local_users().map(|(tenant, local)| (tenant, of(local))).collect()
}
