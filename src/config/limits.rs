//! `[limits]`: how much is too much.

use std::num::NonZeroU32;

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
    /// The limits, with nothing counted yet, and those of `routes`.
    pub fn counting(&self, routes: &[Route], clock: &Clock) -> Limits {
        let per_address = |rate| PerAddress::new(rate, clock.clone());
        let per_client = |rate| PerClient::new(rate, clock.clone());
        Limits {
            per_session: self.per_session.map(|rate| PerSession::new(rate, clock.clone())),
            per_address: self.per_address.map(per_address),
            per_user: self.per_user.map(per_client),
            parallel: self.parallel,
            routes: routes.iter().filter_map(|route| route.limit).map(|limit| per_client(limit.rate)).collect(),
            login: self.login.map(per_address),
            wrong_passwords: self.wrong_passwords.map(|rate| WrongPasswords::new(rate, clock.clone())),
            bad_cookies: self.bad_cookies.map(|rate| CookieGuesses::new(rate, clock.clone())),
        }
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
