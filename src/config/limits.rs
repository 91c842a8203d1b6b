//! `[limits]`: how much is too much.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::units::{self, Rate};
use crate::enforce::snapshot::Limits;
use crate::limit::guesses::{CookieGuesses, DEFAULT_BAD_COOKIES};
use crate::limit::rate::{
    DEFAULT_LOGIN, DEFAULT_PER_ADDRESS, DEFAULT_PER_SESSION, DEFAULT_PER_USER, PerAddress, PerClient, PerSession,
};
use crate::limit::wrong_passwords::{DEFAULT_WRONG_PASSWORDS, WrongPasswords};
use crate::reader::Section;
use crate::route::table::Route;

/// The most that `limits.parallel` can be: more connections than that nobody can have.
const MAX_PARALLEL: u32 = 1_000_000;

/// What `[limits]` says; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitPlan {
    /// Requests of one session.
    pub per_session: Option<Rate>,
    /// Requests from one address.
    pub per_address: Option<Rate>,
    /// Requests of one person.
    pub per_user: Option<Rate>,
    /// Requests of one session at once.
    pub parallel: Option<NonZeroU32>,
    /// Sign-ins from one address.
    pub login: Option<Rate>,
    /// Wrong passwords for one name.
    pub wrong_passwords: Option<Rate>,
    /// Bad cookies from one address.
    pub bad_cookies: Option<Rate>,
}

impl LimitPlan {
    /// The limits and those of `routes`. One that was so in the plan `before`, with its routes and limits, goes on with what
    /// it has counted; the others have counted nothing yet.
    pub fn counting(&self, routes: &[Route], clock: &Clock, before: Option<(&Self, &[Route], &Limits)>) -> Limits {
        let was = before.map(|(plan, _, limits)| (plan, limits));
        let per_address = |rate| PerAddress::new(rate, clock.clone());
        let per_client = |rate| PerClient::new(rate, clock.clone());
        let of_route = |route: &Route| {
            let limit = route.limit?;
            let kept = before.and_then(|(_, routes, limits)| {
                let is_it = |former: &&Route| (&former.host, &former.path) == (&route.host, &route.path);
                let former = routes.iter().find(is_it)?.limit.filter(|former| former.rate == limit.rate)?;
                limits.routes.get(former.place).cloned()
            });
            Some(kept.unwrap_or_else(|| Arc::new(per_client(limit.rate))))
        };
        Limits {
            per_session: kept(self.per_session, was.map(|(plan, all)| (plan.per_session, &all.per_session)), |rate| {
                PerSession::new(rate, clock.clone())
            }),
            per_address: kept(
                self.per_address,
                was.map(|(plan, all)| (plan.per_address, &all.per_address)),
                per_address,
            ),
            per_user: kept(self.per_user, was.map(|(plan, all)| (plan.per_user, &all.per_user)), per_client),
            parallel: self.parallel,
            routes: routes.iter().filter_map(of_route).collect(),
            login: kept(self.login, was.map(|(plan, all)| (plan.login, &all.login)), per_address),
            wrong_passwords: kept(
                self.wrong_passwords,
                was.map(|(plan, all)| (plan.wrong_passwords, &all.wrong_passwords)),
                |rate| WrongPasswords::new(rate, clock.clone()),
            ),
            bad_cookies: kept(self.bad_cookies, was.map(|(plan, all)| (plan.bad_cookies, &all.bad_cookies)), |rate| {
                CookieGuesses::new(rate, clock.clone())
            }),
        }
    }

    /// The limits of a tenant beside those of all. One that was so `before` goes on with what it has counted.
    pub fn counting_beside(&self, all: (&Self, &Limits), clock: &Clock, before: Option<(&Self, &Limits)>) -> Limits {
        let (of_all, all) = all;
        Limits {
            per_session: beside(
                self.per_session,
                (of_all.per_session, &all.per_session),
                before.map(|(plan, limits)| (plan.per_session, &limits.per_session)),
                |rate| PerSession::new(rate, clock.clone()),
            ),
            per_user: beside(
                self.per_user,
                (of_all.per_user, &all.per_user),
                before.map(|(plan, limits)| (plan.per_user, &limits.per_user)),
                |rate| PerClient::new(rate, clock.clone()),
            ),
            parallel: self.parallel,
            login: beside(
                self.login,
                (of_all.login, &all.login),
                before.map(|(plan, limits)| (plan.login, &limits.login)),
                |rate| PerAddress::new(rate, clock.clone()),
            ),
            wrong_passwords: beside(
                self.wrong_passwords,
                (of_all.wrong_passwords, &all.wrong_passwords),
                before.map(|(plan, limits)| (plan.wrong_passwords, &limits.wrong_passwords)),
                |rate| WrongPasswords::new(rate, clock.clone()),
            ),
            ..all.clone()
        }
    }
}

/// The limit of a tenant's rate. Where it is the one of all, both count in the same place, each by itself: the memory that
/// counting takes does not grow with the number of tenants.
fn beside<T>(
    rate: Option<Rate>,
    (of_all, all): (Option<Rate>, &Option<Arc<T>>),
    was: Option<(Option<Rate>, &Option<Arc<T>>)>,
    new: impl Fn(Rate) -> T,
) -> Option<Arc<T>> {
    if rate == of_all { all.clone() } else { kept(rate, was, new) }
}

/// The limit of a rate: the one that was there if it has the same, otherwise a new one.
fn kept<T>(
    rate: Option<Rate>,
    was: Option<(Option<Rate>, &Option<Arc<T>>)>,
    new: impl Fn(Rate) -> T,
) -> Option<Arc<T>> {
    match was {
        Some((before, limit)) if before == rate => limit.clone(),
        Some(_) | None => rate.map(|rate| Arc::new(new(rate))),
    }
}

/// Reads `[tenant.limits]`; what is not said there is as it is for all. What counts by address alone is left out: to
/// count it by tenant would give every address as many allowances as there are tenants.
pub(super) fn of_tenant(tenant: &Section<'_>, all: &LimitPlan) -> LimitPlan {
    let section = tenant.section_or_empty("limits");
    LimitPlan {
        per_session: section.rate("per_session").unwrap_or(all.per_session),
        per_user: section.rate("per_user").unwrap_or(all.per_user),
        parallel: section.integer("parallel", 1..=MAX_PARALLEL).and_then(NonZeroU32::new).or(all.parallel),
        login: section.rate("login").unwrap_or(all.login),
        wrong_passwords: section.rate("wrong_passwords").unwrap_or(all.wrong_passwords),
        per_address: all.per_address,
        bad_cookies: all.bad_cookies,
    }
}

/// Reads `[limits]`.
pub(super) fn read(root: &Section<'_>) -> LimitPlan {
    let section = root.section_or_empty("limits");
    let rate = |key, default| section.rate(key).unwrap_or_else(|| units::rate(default).unwrap_or_default());
    LimitPlan {
        per_session: rate("per_session", DEFAULT_PER_SESSION),
        per_address: rate("per_address", DEFAULT_PER_ADDRESS),
        per_user: rate("per_user", DEFAULT_PER_USER),
        parallel: section.integer("parallel", 1..=MAX_PARALLEL).and_then(NonZeroU32::new),
        login: rate("login", DEFAULT_LOGIN),
        wrong_passwords: rate("wrong_passwords", DEFAULT_WRONG_PASSWORDS),
        bad_cookies: rate("bad_cookies", DEFAULT_BAD_COOKIES),
    }
}
