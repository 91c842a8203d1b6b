//! The decision table: what `policy::decide` says of every kind of session on every kind of route, and what holds for
//! all of them.
//!
//! The table is the specification. A row is a session, described from the defaults below; a column is a route. A cell
//! says as whom the request passes, that a stranger is given a new session (`new`), why somebody must sign in (`ask`:
//! the reason of the row), that they may not (`deny`), or that an anonymous session is not enough (`who?`). The last
//! two columns say what is done to the session where the request passes with it, and why it ends, wherever it is read.
//!
//! A session is made ten minutes ago, has been active ten seconds ago, stands at generation 7 since ten seconds ago and
//! is presented with that. It may be idle for 30 minutes and last 12 hours; its secret rotates every 15 minutes with a
//! grace of a minute. `admin` has the role that the last route asks for, `user` another one, `staff`. A role may have
//! limits of its own, as in `admin idle 10m`. Where to be remembered is `offered`, a session that is `remembered` may be
//! idle for 7 days and last 30, but for people with a role of which is said `not admin`; who is not any more has another
//! secret after a minute, in a cookie that goes with their browser. Where what is idle `locks`, the
//! last column says of a session that it does so now; one may be `locked` before.

mod csrf;
mod navigation;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request};
use proptest::prelude::*;
use proptest::sample::select;
use vestibule::base::clock::Timestamp;
use vestibule::base::random::Random;
use vestibule::policy::decide::{Presented, decide};
use vestibule::policy::facts::Facts;
use vestibule::policy::route_policy::{Access, Recency, RoutePolicy, SessionRules};
use vestibule::policy::trace::{NoTrace, Steps};
use vestibule::policy::verdict::{Decision, Reason, RotationStep, Subject, Upkeep, Verdict};
use vestibule::session::binding::{
    AddressMode, AgentMode, Answer, BindingRules, Bound, Factor, TlsFingerprint, TlsMode,
};
use vestibule::session::level::Level;
use vestibule::session::live::{Live, MAX_GENERATION};
use vestibule::session::principal::Principal;
use vestibule::session::record::{EndReason, Record};
use vestibule::session::rotation::{Rotation, RotationRule};
use vestibule::session::tenant::TenantId;
use vestibule::session::timeouts::{Lifetime, Lifetimes, OnIdle, RoleLifetime};

use super::harness::START;

/// The same for routes that ask for what is recent. The first is `admin`'s and may be idle for ten minutes; the second
/// lasts an hour; the third asks for a proof of the last five minutes, the fourth only for POST, and the last is `POST`ed to.
const RECENT: &str = "
| what came                                  | admin, idle 10m | absolute 1h    | fresh 5m     | fresh to post | posted to    |
| ------------------------------------------ | --------------- | -------------- | ------------ | ------------- | ------------ |
| nothing                                    | no_session      | no_session     | no_session   | no_session    | no_session   |
| an invalid cookie                          | invalid_cookie  | invalid_cookie | invalid_cookie | invalid_cookie | invalid_cookie |
| anonymous                                  | anonymous       | anonymous      | anonymous    | anonymous     | anonymous    |
| admin, age 4m59s                           | admin           | admin          | admin        | admin         | admin        |
| admin, age 5m                              | admin           | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 5m, active 0s                   | admin           | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 5m, shows 8                     | admin           | admin          | max_auth_age | admin         | max_auth_age |
| user, age 4m59s                            | missing_role    | user           | user         | user          | user         |
| user, age 5m                               | missing_role    | user           | max_auth_age | user          | max_auth_age |
| admin, age 9m59s, active 9m59s             | admin           | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 10m, active 10m                 | route_idle      | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 29m, active 29m                 | route_idle      | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 15m, paused 9m59s               | admin           | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 15m, paused 10m                 | route_idle      | admin          | max_auth_age | admin         | max_auth_age |
| user, age 15m, active 15m                  | missing_role    | user           | max_auth_age | user          | max_auth_age |
| admin, age 59m59s                          | admin           | admin          | max_auth_age | admin         | max_auth_age |
| admin, age 1h                              | admin           | route_absolute | max_auth_age | admin         | max_auth_age |
| admin, age 2h, active 30m                  | idle            | idle           | idle         | idle          | idle         |
| admin, age 12h                             | absolute        | absolute       | absolute     | absolute      | absolute     |
| admin, age 4m, admin absolute 3m           | absolute        | absolute       | absolute     | absolute      | absolute     |
| admin, age 6m, elsewhere, ip step_up       | other_ip        | other_ip       | other_ip     | other_ip      | other_ip     |
| ended logout, admin                        | logout          | logout         | logout       | logout        | logout       |
| ended displaced, admin, age 6m             | displaced       | displaced      | displaced    | displaced     | displaced    |
| admin, age 6m, shows 5                     | reuse           | reuse          | reuse        | reuse         | reuse        |
";

/// The same for routes that ask for a level: `known` is reached five minutes after sign-in, `established` after nine, and
/// lost by ten minutes without a request. A cell says the level that the application is told, too. The third route is
/// `admin`'s, and the last asks for a proof of the last half an hour.
const LEVELS: &str = "
| what came                      | known             | established       | admin, established | known, fresh 30m  |
| ------------------------------ | ----------------- | ----------------- | ------------------ | ----------------- |
| nothing                        | no_session        | no_session        | no_session         | no_session        |
| an invalid cookie              | invalid_cookie    | invalid_cookie    | invalid_cookie     | invalid_cookie    |
| anonymous                      | anonymous         | anonymous         | anonymous          | anonymous         |
| user, age 0s                   | level_not_reached | level_not_reached | missing_role       | level_not_reached |
| user, age 4m59s                | level_not_reached | level_not_reached | missing_role       | level_not_reached |
| user, age 5m                   | user known        | level_not_reached | missing_role       | user known        |
| admin, age 5m                  | admin known       | level_not_reached | level_not_reached  | admin known       |
| admin, age 8m59s               | admin known       | level_not_reached | level_not_reached  | admin known       |
| user, age 9m                   | user established  | user established  | missing_role       | user established  |
| admin, age 9m                  | admin established | admin established | admin established  | admin established |
| admin, age 9m59s, active 9m59s | admin established | admin established | admin established  | admin established |
| admin, age 10m, active 10m     | admin known       | level_lost        | level_lost         | admin known       |
| admin, age 12m                 | admin established | admin established | admin established  | admin established |
| admin, age 12m, paused 9m59s   | admin established | admin established | admin established  | admin established |
| admin, age 12m, paused 10m     | admin known       | level_lost        | level_lost         | admin known       |
| user, age 12m, paused 10m      | user known        | level_lost        | missing_role       | user known        |
| admin, age 30m, active 20m     | admin known       | level_lost        | level_lost         | max_auth_age      |
| admin, age 6m, shows 8         | admin known       | level_not_reached | level_not_reached  | admin known       |
| admin, age 6m, shows 5         | reuse             | reuse             | reuse              | reuse             |
| admin, age 2h, active 30m      | idle              | idle              | idle               | idle              |
| admin, locks, age 2h, active 30m | locked          | locked            | locked             | locked            |
| admin, age 12h                 | absolute          | absolute          | absolute           | absolute          |
| ended logout, admin, age 9m    | logout            | logout            | logout             | logout            |
| admin, age 9m, elsewhere, ip step_up | other_ip    | other_ip          | other_ip           | other_ip          |
";

fn levels() -> [Arc<Level>; 2] {
    let level = |name: &str, minutes: u64, idle: Option<u64>| {
        let (after, idle) = (Duration::from_secs(60 * minutes), idle.map(Duration::from_secs));
        Arc::new(Level { name: name.into(), after, idle })
    };
    [level("known", 5, None), level("established", 9, Some(600))]
}

/// Those routes.
fn leveled() -> [RoutePolicy; 4] {
    let [known, established] = levels();
    let with = |roles: &[&str], level: &Arc<Level>| {
        let level = Some(Arc::clone(level));
        RoutePolicy { level, ..route(Access::Authenticated, roles) }
    };
    let fresh = Recency { max_auth_age: Some(Duration::from_secs(1800)), ..Recency::default() };
    [
        with(&[], &known),
        with(&[], &established),
        with(&["admin"], &established),
        RoutePolicy { recency: Some(Box::new(fresh)), ..with(&[], &known) },
    ]
}

/// Those routes.
fn recent() -> [(RoutePolicy, Method); 5] {
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let fresh =
        |methods: &[Method]| Recency { max_auth_age: minutes(5), methods: methods.into(), ..Recency::default() };
    let with = |roles: &[&str], recency| RoutePolicy {
        recency: Some(Box::new(recency)),
        ..route(Access::Authenticated, roles)
    };
    let (put, post) = (Method::PUT, Method::POST);
    [
        (with(&["ops", "admin"], Recency { idle: minutes(10), ..Recency::default() }), Method::GET),
        (with(&[], Recency { absolute: minutes(60), ..Recency::default() }), Method::GET),
        (with(&[], fresh(&[])), Method::HEAD),
        (with(&[], fresh(&[put.clone(), post.clone()])), Method::GET),
        (with(&[], fresh(&[put, post.clone()])), post),
    ]
}

const TABLE: &str = "
| what came                                  | public | optional  | anonymous | signed in | admin | ask                | upkeep                | ends               |
| ------------------------------------------ | ------ | --------- | --------- | --------- | ----- | ------------------ | --------------------- | ------------------ |
| nothing                                    | nobody | nobody    | new       | ask       | ask   | no_session         |                       |                    |
| an invalid cookie                          | nobody | nobody    | new       | ask       | ask   | invalid_cookie     |                       |                    |
| several sessions                           | nobody | nobody    | new       | ask       | ask   | several_sessions   |                       |                    |
| an unknown session                         | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| a wrong proof                              | nobody | nobody    | new       | ask       | ask   | invalid_proof      |                       |                    |
| of another tenant, anonymous               | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, user                    | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, admin                   | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, ended logout, admin     | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, admin, age 12h          | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, admin, active 30m       | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, admin, shows 5          | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of another tenant, admin, other browser    | nobody | nobody    | new       | ask       | ask   | unknown_session    |                       |                    |
| of this tenant, user                       | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| of this tenant, admin                      | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| anonymous                                  | nobody | anonymous | anonymous | who?      | who?  |                    | touch                 |                    |
| user                                       | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| admin                                      | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| user, active 999ms                         | nobody | user      | user      | user      | deny  |                    |                       |                    |
| user, active 1s                            | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, age 0s                               | nobody | user      | user      | user      | deny  |                    |                       |                    |
| ended logout, anonymous                    | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| ended logout, user                         | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| ended replaced, admin                      | nobody | nobody    | new       | ask       | ask   | replaced           |                       |                    |
| ended revoked, admin                       | nobody | nobody    | new       | ask       | ask   | revoked            |                       |                    |
| ended reuse, admin                         | nobody | nobody    | new       | ask       | ask   | reuse              |                       |                    |
| ended idle, admin                          | nobody | nobody    | new       | ask       | ask   | idle               |                       |                    |
| ended binding_ip, admin                    | nobody | nobody    | new       | ask       | ask   | binding_ip         |                       |                    |
| ended displaced, user                      | nobody | nobody    | new       | ask       | ask   | displaced          |                       |                    |
| ended displaced, admin, active 31m         | nobody | nobody    | new       | ask       | ask   | displaced          |                       |                    |
| ended ended_elsewhere, user, shows 5       | nobody | nobody    | new       | ask       | ask   | ended_elsewhere    |                       |                    |
| ended logout, admin, active 31m            | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| ended logout, admin, shows 3               | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| ended logout, admin, shows 8               | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| user, age 2h, active 29m59s                | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, age 2h, active 30m                   | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| admin, age 2h, active 30m                  | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| anonymous, age 2h, active 30m              | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| user, age 11h59m59s                        | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, age 12h                              | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| anonymous, age 12h                         | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, age 13h, active 40m                  | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| admin, admin idle 10m, age 2h, active 9m59s | nobody | admin    | admin     | admin     | admin |                    | touch                 |                    |
| admin, admin idle 10m, age 2h, active 10m  | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| user, admin idle 10m, age 2h, active 10m   | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| anonymous, admin idle 10m, age 2h, active 10m | nobody | anonymous | anonymous | who? | who?  |                    | touch                 |                    |
| user, admin idle 10m, age 2h, active 30m   | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| admin, admin absolute 1h, age 59m59s       | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| admin, admin absolute 1h, age 1h           | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| admin, admin absolute 1h, age 1h, shows 8  | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| admin, admin absolute 1h, age 1h, shows 5  | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| admin, admin absolute 1h, active 30m, age 50m | nobody | nobody | new       | ask       | ask   | idle               |                       | idle               |
| user, admin absolute 1h, age 1h            | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| admin, staff idle 10m, age 2h, active 10m  | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| user, staff idle 10m, admin idle 5m, age 2h, active 9m59s | nobody | user | user | user  | deny  |                    | touch                 |                    |
| user, staff idle 10m, admin idle 5m, age 2h, active 10m | nobody | nobody | new | ask   | ask   | idle               |                       | idle               |
| user, offered, age 2h, active 30m          | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| user, offered, age 12h                     | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, remembered, age 2h, active 30m       | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| user, remembered, age 12h                  | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, remembered, age 10m, since 59s       | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, remembered, age 10m, since 60s       | nobody | user      | user      | user      | deny  |                    | touch, offer 8        |                    |
| user, remembered, never, age 10m, since 60s | nobody | user     | user      | user      | deny  |                    | touch, offer 8        |                    |
| user, remembered, age 10m, since 60s, shows 8 | nobody | user   | user      | user      | deny  |                    | touch, commit 8       |                    |
| user, age 10m, since 60s                   | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, offered, remembered, age 10m, since 60s | nobody | user   | user      | user      | deny  |                    | touch                 |                    |
| admin, offered, remembered, not admin, age 10m, since 60s | nobody | admin | admin | admin | admin |                 | touch, offer 8        |                    |
| anonymous, remembered, age 10m, since 60s  | nobody | anonymous | anonymous | who?      | who?  |                    | touch                 |                    |
| user, remembered, at the last, age 10m, since 60s | nobody | user | user    | user      | deny  |                    | touch                 |                    |
| user, offered, remembered, age 2h, active 30m | nobody | user   | user      | user      | deny  |                    | touch                 |                    |
| admin, offered, remembered, age 12h        | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| user, offered, remembered, age 29d, active 167h | nobody | user | user      | user      | deny  |                    | touch                 |                    |
| user, offered, remembered, age 29d, active 7d | nobody | nobody | new       | ask       | ask   | idle               |                       | idle               |
| user, offered, remembered, age 719h        | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, offered, remembered, age 30d         | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, offered, remembered, age 30d, shows 5 | nobody | nobody   | new       | ask       | ask   | reuse              |                       | reuse              |
| user, offered, remembered, age 2d, elsewhere, ip end | nobody | nobody | new | ask      | ask   | binding_ip         |                       | binding_ip         |
| user, offered, remembered, age 2d, since 15m | nobody | user    | user      | user      | deny  |                    | touch, offer 8        |                    |
| admin, offered, remembered, admin idle 10m, age 2d, active 9m59s | nobody | admin | admin | admin | admin |          | touch                 |                    |
| admin, offered, remembered, admin idle 10m, age 2d, active 10m | nobody | nobody | new | ask | ask | idle            |                       | idle               |
| admin, offered, remembered, admin absolute 1d, age 1d | nobody | nobody | new | ask     | ask   | absolute           |                       | absolute           |
| user, offered, remembered, admin idle 10m, age 2d, active 6d | nobody | user | user | user | deny |                 | touch                 |                    |
| admin, offered, remembered, not admin, age 2h, active 30m | nobody | nobody | new | ask | ask   | idle               |                       | idle               |
| admin, offered, remembered, not admin, age 12h | nobody | nobody | new      | ask       | ask   | absolute           |                       | absolute           |
| admin, offered, remembered, not admin, age 2h | nobody | admin  | admin     | admin     | admin |                    | touch                 |                    |
| user, offered, remembered, not admin, age 2d, active 1d | nobody | user | user | user    | deny  |                    | touch                 |                    |
| admin, offered, remembered, not staff, age 2d, active 1d | nobody | admin | admin | admin | admin |                    | touch                 |                    |
| ended logout, user, offered, remembered    | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| user, locks, age 2h, active 29m59s         | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, locks, age 2h, active 30m            | nobody | nobody    | nobody    | ask       | ask   | locked             |                       | lock               |
| admin, locks, age 2h, active 30m           | nobody | nobody    | nobody    | ask       | ask   | locked             |                       | lock               |
| user, locks, locked, age 2h, active 30m    | nobody | nobody    | nobody    | ask       | ask   | locked             |                       |                    |
| user, locks, locked                        | nobody | nobody    | nobody    | ask       | ask   | locked             |                       |                    |
| user, locks, locked, active 0s             | nobody | nobody    | nobody    | ask       | ask   | locked             |                       |                    |
| user, locked                               | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| anonymous, locks, age 2h, active 30m       | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| anonymous, locks                           | nobody | anonymous | anonymous | who?      | who?  |                    | touch                 |                    |
| user, locks, age 12h, active 30m           | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, locks, locked, age 12h               | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, locks, age 2h, active 30m, shows 5   | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, locks, locked, shows 5               | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, locks, age 2h, active 30m, shows 8   | nobody | nobody    | nobody    | ask       | ask   | locked             |                       | lock               |
| user, locks, age 2h, active 30m, since 2h  | nobody | nobody    | nobody    | ask       | ask   | locked             |                       | lock               |
| user, locks, age 2h, active 30m, elsewhere, ip end | nobody | nobody | new  | ask       | ask   | binding_ip         |                       | binding_ip         |
| user, locks, locked, elsewhere, ip step_up | nobody | nobody    | new       | ask       | ask   | other_ip           |                       |                    |
| user, locks, age 2h, active 30m, elsewhere, ip log | nobody | nobody | nobody | ask     | ask   | locked             |                       | lock               |
| admin, locks, admin idle 10m, age 2h, active 10m | nobody | nobody | nobody | ask       | ask   | locked             |                       | lock               |
| user, locks, admin idle 10m, age 2h, active 10m | nobody | user | user      | user      | deny  |                    | touch                 |                    |
| user, locks, offered, remembered, age 9d, active 6d | nobody | user | user  | user      | deny  |                    | touch                 |                    |
| user, locks, offered, remembered, age 9d, active 7d | nobody | nobody | nobody | ask    | ask   | locked             |                       | lock               |
| ended logout, user, locks, locked          | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| ended idle, user, locks                    | nobody | nobody    | new       | ask       | ask   | idle               |                       |                    |
| user, age 2h, since 14m59s                 | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, age 2h, since 15m                    | nobody | user      | user      | user      | deny  |                    | touch, offer 8        |                    |
| admin, age 2h, since 15m                   | nobody | admin     | admin     | admin     | admin |                    | touch, offer 8        |                    |
| anonymous, age 2h, since 15m               | nobody | anonymous | anonymous | who?      | who?  |                    | touch, offer 8        |                    |
| user, age 2h, since 15m, active 0s         | nobody | user      | user      | user      | deny  |                    | offer 8               |                    |
| user, age 2h, since 2h                     | nobody | user      | user      | user      | deny  |                    | touch, offer 8        |                    |
| user, age 2h, since 2h, never rotates      | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, age 2h, since 15m, at the last       | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other rights                         | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other rights, since 59s              | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other rights, since 60s              | nobody | user      | user      | user      | deny  |                    | touch, offer 8        |                    |
| admin, other rights, since 60s, never rotates | nobody | admin  | admin     | admin     | admin |                    | touch, offer 8        |                    |
| user, other rights, since 59s, shows 6     | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other rights, shows 8                | nobody | user      | user      | user      | deny  |                    | touch, commit 8       |                    |
| user, other rights, since 60s, at the last | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other rights, since 60s, shows 6     | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, other rights, since 60s, elsewhere, ip end | nobody | nobody | new    | ask       | ask   | binding_ip         |                       | binding_ip         |
| ended logout, user, other rights           | nobody | nobody    | new       | ask       | ask   | logout             |                       |                    |
| user, shows 8                              | nobody | user      | user      | user      | deny  |                    | touch, commit 8       |                    |
| admin, shows 8                             | nobody | admin     | admin     | admin     | admin |                    | touch, commit 8       |                    |
| anonymous, shows 8                         | nobody | anonymous | anonymous | who?      | who?  |                    | touch, commit 8       |                    |
| user, age 2h, since 15m, shows 8           | nobody | user      | user      | user      | deny  |                    | touch, commit 8       |                    |
| user, shows 8, never rotates               | nobody | user      | user      | user      | deny  |                    | touch, commit 8       |                    |
| user, age 2h, active 30m, shows 8          | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| user, age 12h, shows 8                     | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, since 59s, shows 6                   | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| admin, since 59s, shows 6                  | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| anonymous, since 59s, shows 6              | nobody | anonymous | anonymous | who?      | who?  |                    | touch                 |                    |
| user, since 60s, shows 6                   | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| anonymous, since 60s, shows 6              | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, since 60s, shows 6, never rotates    | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, age 2h, since 16m, shows 6           | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, since 1s, shows 5                    | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| admin, since 1s, shows 5                   | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, since 1s, shows 0                    | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, age 2h, active 30m, shows 5          | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, elsewhere, shows 5                   | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, shows 9                              | nobody | user      | user      | user      | deny  |                    | touch, commit 9       |                    |
| user, shows 4294967295                     | nobody | nobody    | new       | ask       | ask   | invalid_proof      |                       |                    |
| user, age 2h, active 30m, shows 9          | nobody | nobody    | new       | ask       | ask   | idle               |                       | idle               |
| user, elsewhere, ip off                    | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, elsewhere, ip log                    | nobody | user      | user      | user      | deny  |                    | touch, report ip      |                    |
| admin, elsewhere, ip log                   | nobody | admin     | admin     | admin     | admin |                    | touch, report ip      |                    |
| anonymous, elsewhere, ip log               | nobody | anonymous | anonymous | who?      | who?  |                    | touch, report ip      |                    |
| user, elsewhere, ip step_up                | nobody | nobody    | new       | ask       | ask   | other_ip           |                       |                    |
| anonymous, elsewhere, ip step_up           | nobody | nobody    | new       | ask       | ask   | other_ip           |                       |                    |
| user, elsewhere, ip end                    | nobody | nobody    | new       | ask       | ask   | binding_ip         |                       | binding_ip         |
| anonymous, elsewhere, ip end               | nobody | nobody    | new       | ask       | ask   | binding_ip         |                       | binding_ip         |
| user, next door, ip end                    | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, next door, ip exact end              | nobody | nobody    | new       | ask       | ask   | binding_ip         |                       | binding_ip         |
| user, other browser, agent off             | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other browser, agent log             | nobody | user      | user      | user      | deny  |                    | touch, report agent   |                    |
| user, other browser, agent step_up         | nobody | nobody    | new       | ask       | ask   | other_user_agent   |                       |                    |
| user, other browser                        | nobody | nobody    | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| anonymous, other browser                   | nobody | nobody    | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| admin, updated browser                     | nobody | admin     | admin     | admin     | admin |                    | touch                 |                    |
| admin, updated browser, agent exact end    | nobody | nobody    | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| user, no browser                           | nobody | nobody    | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| user, elsewhere, ip log, other browser     | nobody | nobody    | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| user, elsewhere, ip end, other browser, agent log | nobody | nobody | new   | ask       | ask   | binding_ip         |                       | binding_ip         |
| user, elsewhere, ip step_up, other browser, agent log | nobody | nobody | new | ask     | ask   | other_ip           |                       |                    |
| user, other tls                            | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other tls, tls log                   | nobody | user      | user      | user      | deny  |                    | touch, report tls     |                    |
| user, other tls, tls step_up               | nobody | nobody    | new       | ask       | ask   | other_tls          |                       |                    |
| user, other tls, tls end                   | nobody | nobody    | new       | ask       | ask   | binding_tls        |                       | binding_tls        |
| anonymous, other tls, tls end              | nobody | nobody    | new       | ask       | ask   | binding_tls        |                       | binding_tls        |
| user, same tls, tls end                    | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, unknown tls, tls end                 | nobody | nobody    | new       | ask       | ask   | binding_tls        |                       | binding_tls        |
| user, made without tls, other tls, tls end | nobody | user      | user      | user      | deny  |                    | touch                 |                    |
| user, other tls, tls end, shows 5          | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| user, other tls, tls step_up, other browser | nobody | nobody   | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| user, other tls, tls end, other browser    | nobody | nobody    | new       | ask       | ask   | binding_user_agent |                       | binding_user_agent |
| user, other tls, tls log, elsewhere, ip log | nobody | user     | user      | user      | deny  |                    | touch, report tls, report ip |             |
| ended binding_tls, admin                   | nobody | nobody    | new       | ask       | ask   | binding_tls        |                       |                    |
| shadow, user, elsewhere, ip log            | nobody | user      | user      | user      | deny  |                    | touch, report ip      |                    |
| shadow, user, elsewhere, ip step_up        | nobody | user      | user      | user      | deny  |                    | touch, would step up ip |                  |
| shadow, admin, elsewhere, ip end           | nobody | admin     | admin     | admin     | admin |                    | touch, would end ip   |                    |
| shadow, anonymous, other browser           | nobody | anonymous | anonymous | who?      | who?  |                    | touch, would end agent |                   |
| shadow, user, other tls, tls end, elsewhere, ip step_up, other browser | nobody | user | user | user | deny | | touch, would end tls, would step up ip, would end agent | |
| shadow, user, elsewhere, ip end, shows 8   | nobody | user      | user      | user      | deny  |                    | touch, commit 8, would end ip |            |
| shadow, user, elsewhere, ip end, shows 5   | nobody | nobody    | new       | ask       | ask   | reuse              |                       | reuse              |
| shadow, user, elsewhere, ip end, age 12h   | nobody | nobody    | new       | ask       | ask   | absolute           |                       | absolute           |
| user, elsewhere, ip end, age 2h, active 30m | nobody | nobody   | new       | ask       | ask   | idle               |                       | idle               |
| user, elsewhere, ip log, age 2h, since 15m | nobody | user      | user      | user      | deny  |                    | touch, offer 8, report ip |                |
| user, elsewhere, ip log, shows 8           | nobody | user      | user      | user      | deny  |                    | touch, commit 8, report ip |               |
| user, elsewhere, ip end, shows 8           | nobody | nobody    | new       | ask       | ask   | binding_ip         |                       | binding_ip         |
| user, elsewhere, ip step_up, shows 8       | nobody | nobody    | new       | ask       | ask   | other_ip           |                       |                    |
";

/// One situation, in full.
#[derive(Clone, Debug)]
struct Situation {
    rules: SessionRules,
    /// What came instead of a session, if none did.
    unusable: Option<Reason>,
    record: Record,
    shows: u32,
    client: IpAddr,
    agent: &'static str,
    tls: TlsFingerprint,
    method: Method,
}

const NOW: Timestamp = START;
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const NEXT_DOOR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
const AGENTS: [&str; 4] = ["Chrome/130.0 (Linux)", "Chrome/131.2 (Linux)", "Firefox/140", ""];

/// The fingerprint of a hello with this cipher suite.
fn hello(suite: u16) -> TlsFingerprint {
    TlsFingerprint::of([suite], [0x001d], [0x0403])
}

fn tenant(name: &str) -> TenantId {
    TenantId::of(name).expect("room")
}

fn ago(text: &str) -> Timestamp {
    let span = vestibule::base::units::duration(text).expect("a duration");
    Timestamp::from_millis(NOW.as_millis() - span.as_millis() as u64)
}

fn of(user: Option<&str>) -> Record {
    let role = |user: &str| if user == "admin" { "admin" } else { "staff" }.to_owned();
    let principal = user.map(|user| Arc::new(Principal::new(user, None, &[], &[role(user)])));
    let bound = Bound { tls: hello(1), ..Bound::of(HOME, AGENTS[0].as_bytes()) };
    let mut record = Record::new(&Random::seeded(1), principal, bound, ago("10m"));
    record.active_at = ago("10s");
    record.rotation = Rotation { generation: 7, presented_at: ago("10s"), must_renew: false };
    record
}

impl Situation {
    /// Reads a row's first column.
    fn of(text: &str) -> Self {
        let mut found = Self {
            rules: SessionRules::default(),
            unusable: None,
            record: of(None),
            shows: 7,
            client: HOME,
            agent: AGENTS[0],
            tls: hello(1),
            method: Method::GET,
        };
        let mut words: Vec<&str> = text.split(", ").collect();
        // Who it is replaces the whole record, so it comes first.
        words.sort_by_key(|word| !matches!(*word, "user" | "admin" | "anonymous"));
        words.into_iter().for_each(|word| found.read(word));
        found
    }

    fn read(&mut self, word: &str) {
        let answer = |text: &str| match text {
            "log" => Answer::Log,
            "step_up" => Answer::StepUp,
            _ => Answer::End,
        };
        let binding = &mut self.rules.binding;
        match word.split_once(' ').unwrap_or((word, "")) {
            ("nothing", _) => self.unusable = Some(Reason::NoSession),
            ("an", "invalid cookie") => self.unusable = Some(Reason::InvalidCookie),
            ("an", "unknown session") => self.unusable = Some(Reason::UnknownSession),
            ("of", "another tenant") => self.record.tenant = tenant("acme"),
            ("of", _) => (self.record.tenant, self.rules.tenant) = (tenant("acme"), tenant("acme")),
            ("several", _) => self.unusable = Some(Reason::SeveralSessions),
            ("a", _) => self.unusable = Some(Reason::InvalidProof),
            ("anonymous", _) => self.record = of(None),
            ("user" | "admin", "") => self.record = of(Some(word)),
            (role @ ("admin" | "staff"), limit) => {
                let (which, span) = limit.split_once(' ').expect("a limit");
                let span = |name| (which == name).then(|| vestibule::base::units::duration(span).expect("a duration"));
                let limits = RoleLifetime {
                    role: role.into(),
                    idle: span("idle"),
                    absolute: span("absolute"),
                    ..RoleLifetime::default()
                };
                let before = self.rules.lifetimes.roles.iter().cloned();
                self.rules.lifetimes.roles = before.chain([limits]).collect();
            }
            ("ended", why) => {
                let reason = EndReason::ALL.into_iter().find(|reason| reason.name() == why).expect("a reason");
                self.record.ended = Some((reason, ago("5s")));
            }
            ("age", span) => {
                self.record.authenticated_at = ago(span);
                self.record.active_at = self.record.active_at.max(ago(span));
                self.record.rotation.presented_at = self.record.rotation.presented_at.max(ago(span));
            }
            ("active", span) => self.record.active_at = ago(span),
            ("paused", span) => self.record.longest_pause = NOW.since(ago(span)),
            ("since", span) => self.record.rotation.presented_at = ago(span),
            ("shows", generation) => self.shows = generation.parse().expect("a generation"),
            ("offered", _) => {
                let span = |text| vestibule::base::units::duration(text).expect("a duration");
                self.rules.lifetimes.remembered = Some(Lifetime { idle: span("7d"), absolute: span("30d") });
            }
            ("locks", _) => self.rules.lifetimes.on_idle = OnIdle::Lock,
            ("locked", _) => self.record.is_locked = true,
            ("remembered", _) => self.record.is_remembered = true,
            ("not", role) => {
                let limits = RoleLifetime { role: role.into(), forbids_remembering: true, ..RoleLifetime::default() };
                let before = self.rules.lifetimes.roles.iter().cloned();
                self.rules.lifetimes.roles = before.chain([limits]).collect();
            }
            ("other", "rights") => self.record.rotation.must_renew = true,
            ("never", _) => self.rules.rotation.every = None,
            ("at", _) => (self.record.rotation.generation, self.shows) = (MAX_GENERATION, MAX_GENERATION),
            ("elsewhere", _) => self.client = ELSEWHERE,
            ("next", _) => self.client = NEXT_DOOR,
            ("updated", _) => self.agent = AGENTS[1],
            ("other", "tls") => self.tls = hello(2),
            ("same", _) => self.tls = hello(1),
            ("unknown", _) => self.tls = TlsFingerprint::UNKNOWN,
            ("made", _) => self.record.bound.tls = TlsFingerprint::UNKNOWN,
            ("shadow", _) => binding.is_shadow = true,
            ("tls", text) => (binding.tls, binding.tls_answer) = (TlsMode::Exact, answer(text)),
            ("other", _) => self.agent = AGENTS[2],
            ("no", _) => self.agent = AGENTS[3],
            ("ip", "off") => binding.address = AddressMode::Off,
            ("ip", "exact end") => binding.address = AddressMode::Exact,
            ("ip", text) => {
                (binding.address, binding.address_answer) = (AddressMode::Prefix { v4: 24, v6: 56 }, answer(text));
            }
            ("agent", "off") => binding.agent = AgentMode::Off,
            ("agent", "exact end") => binding.agent = AgentMode::Exact,
            ("agent", text) => binding.agent_answer = answer(text),
            _ => panic!("\"{word}\" says nothing"),
        }
    }

    fn decide(&self, route: &RoutePolicy, now: Timestamp) -> Decision {
        self.decide_and_trace(route, now).0
    }

    /// Decides twice: what is traced is what is decided.
    fn decide_and_trace(&self, route: &RoutePolicy, now: Timestamp) -> (Decision, Steps) {
        let live = Live::new(self.record.clone());
        let presented = match self.unusable {
            Some(reason) => Presented::Unusable(reason),
            None => Presented::Session { session: live.view(), generation: self.shows },
        };
        let parts = parts(self.agent, &self.method);
        let facts = Facts { tls: self.tls, ..Facts::read(&parts, self.client).expect("a good request") };
        let mut steps = Steps::default();
        let traced = decide(&self.rules, route, presented, &facts, now, &mut steps);
        let plain = decide(&self.rules, route, presented, &facts, now, &mut NoTrace);
        assert_eq!(format!("{traced:?}"), format!("{plain:?}"), "the trace changes the decision");
        (plain, steps)
    }
}

fn parts(agent: &str, method: &Method) -> Parts {
    let request =
        Request::builder().method(method).uri("/").header("host", "app.example.test").header("user-agent", agent);
    request.body(()).expect("a request").into_parts().0
}

fn route(access: Access, roles: &[&str]) -> RoutePolicy {
    RoutePolicy::new(access, roles.iter().map(|role| Box::from(*role)).collect())
}

fn routes() -> [RoutePolicy; 5] {
    [
        route(Access::Public, &[]),
        route(Access::Optional, &[]),
        route(Access::Anonymous, &[]),
        route(Access::Authenticated, &[]),
        route(Access::Authenticated, &["ops", "admin"]),
    ]
}

/// As whom a request passes with its session; `None` when it does not.
fn passes(decision: &Decision) -> Option<&Subject> {
    match &decision.verdict {
        Verdict::Allow(grant) if *grant.subject() != Subject::Nobody => Some(grant.subject()),
        Verdict::Allow(_) | Verdict::AllowWithNewSession(_) | Verdict::Challenge(_) | Verdict::Deny(_) => None,
    }
}

/// A decision in the words of the table: cell, reason, upkeep, end.
fn shown(decision: &Decision) -> [String; 4] {
    let (cell, reason) = match &decision.verdict {
        Verdict::Allow(grant) => match grant.subject() {
            Subject::Nobody => ("nobody".to_owned(), ""),
            Subject::Anonymous(_) => ("anonymous".to_owned(), ""),
            Subject::User(_, principal) => (principal.user.to_string(), ""),
        },
        Verdict::AllowWithNewSession(_) => ("new".to_owned(), ""),
        Verdict::Challenge(Reason::Anonymous) => ("who?".to_owned(), ""),
        Verdict::Challenge(reason) => ("ask".to_owned(), reason.name()),
        Verdict::Deny(_) => ("deny".to_owned(), ""),
    };
    let Upkeep { touch, rotation, report } = decision.upkeep;
    let rotation = match rotation {
        RotationStep::None => None,
        RotationStep::Offer(generation) => Some(format!("offer {generation}")),
        RotationStep::Commit(generation) => Some(format!("commit {generation}")),
    };
    let report = report.all().map(|(factor, answer)| {
        let factor = match factor {
            Factor::Address => "ip",
            Factor::UserAgent => "agent",
            Factor::Tls => "tls",
        };
        let words = match answer {
            Answer::Log => "report",
            Answer::StepUp => "would step up",
            Answer::End => "would end",
        };
        format!("{words} {factor}")
    });
    let upkeep: Vec<String> = touch.then(|| "touch".to_owned()).into_iter().chain(rotation).chain(report).collect();
    let ends = decision.ends.map_or(if decision.locks { "lock" } else { "" }, EndReason::name);
    [cell, reason.to_owned(), upkeep.join(", "), ends.to_owned()]
}

#[test]
fn every_row_of_the_table() {
    let rows: Vec<Vec<&str>> =
        TABLE.trim().lines().skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() * routes().len() > 400, "only {} rows", rows.len());
    for row in rows {
        let [what, cells @ .., ask, upkeep, ends] = row.as_slice() else { panic!("{row:?}") };
        let situation = Situation::of(what);
        for ((policy, cell), column) in routes().iter().zip(cells).zip(0..) {
            let decision = situation.decide(policy, NOW);
            let passes = passes(&decision).is_some();
            let expected = [
                *cell,
                if *cell == "ask" { ask } else { "" },
                if passes { upkeep } else { "" },
                if column > 0 { ends } else { "" },
            ];
            assert_eq!(shown(&decision), expected, "{what}, column {column}");
        }
    }
}

#[test]
fn every_row_of_what_is_recent() {
    let rows = RECENT.trim().lines().skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim));
    for row in rows {
        let [what, cells @ ..] = &*row.collect::<Vec<_>>() else { panic!("an empty row") };
        for ((policy, method), expected) in recent().into_iter().zip(cells) {
            let mut situation = Situation::of(what);
            situation.method = method;
            let decision = situation.decide(&policy, NOW);
            let found = match &decision.verdict {
                Verdict::Challenge(reason) | Verdict::Deny(reason) => reason.name(),
                Verdict::Allow(grant) => grant.principal().map_or("nobody", |principal| &principal.user),
                Verdict::AllowWithNewSession(_) => "new",
            };
            assert_eq!(found, *expected, "{what}: {policy:?}");
            let is_stale = matches!(decision.verdict, Verdict::Challenge(Reason::Stale(_)));
            assert!(!is_stale || (decision.ends.is_none() && decision.upkeep == Upkeep::default()), "{what}");
        }
    }
    let traced = Situation::of("admin").decide_and_trace(&recent()[0].0, NOW).1;
    assert_eq!(traced.0.last(), Some(&("recency", "recent enough")));
}

#[test]
fn every_row_of_levels() {
    for row in LEVELS.trim().lines().skip(2) {
        let row: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, cells @ ..] = &*row else { panic!("an empty row") };
        for (policy, expected) in leveled().into_iter().zip(cells) {
            let mut situation = Situation::of(what);
            situation.rules.levels = levels().into();
            let decision = situation.decide(&policy, NOW);
            let found = match &decision.verdict {
                Verdict::Challenge(reason) | Verdict::Deny(reason) => reason.name().to_owned(),
                Verdict::Allow(grant) => {
                    let user = grant.principal().map_or("nobody", |principal| &principal.user);
                    format!("{user} {}", grant.level().map_or("", |level| &*level.name))
                }
                Verdict::AllowWithNewSession(_) => "new".to_owned(),
            };
            assert_eq!(found, *expected, "{what}: {policy:?}");
        }
    }
    let traced = Situation::of("admin, age 9m").decide_and_trace(&leveled()[1], NOW).1;
    assert_eq!(traced.0.last(), Some(&("level", "reached")));
    let plain = Situation::of("admin, age 9m").decide(&leveled()[1], NOW);
    let Verdict::Allow(grant) = plain.verdict else { panic!("it is reached") };
    assert!(grant.level().is_none(), "where there are none, none is told");
}

#[test]
fn the_trace_tells_the_checks_in_their_order() {
    let steps = |what: &str| Situation::of(what).decide_and_trace(&routes()[4], NOW).1.0;
    let all = ["access", "session", "revoked", "generation", "lifetime", "binding", "roles"];
    let checks = |what: &str| steps(what).into_iter().map(|(check, _)| check).collect::<Vec<_>>();
    assert_eq!(checks("admin"), all);
    assert_eq!(checks("user"), all);
    for (what, last) in
        [("ended logout, user", 3), ("user, shows 5", 4), ("user, age 12h", 5), ("user, other browser", 6)]
    {
        let mut expected = all[..last].to_vec();
        expected.push("without a session");
        assert_eq!(checks(what), expected, "{what}");
    }
    let locked = [&all[..6], &["lock", "without a session"]].concat();
    assert_eq!(checks("user, locks, age 2h, active 30m"), locked, "that it is locked is told last");
    let public = Situation::of("admin").decide_and_trace(&routes()[0], NOW).1;
    assert_eq!(public.0, [("access", "public")], "the session of a public route is not looked at");
}

fn millis() -> impl Strategy<Value = u64> {
    let edges = select(vec![0, 1, 999, 1000, 59_999, 60_000, 899_999, 900_000, 1_799_999, 1_800_000, 43_200_000]);
    prop_oneof![2 => edges, 1 => 0..50_000_000_u64]
}

fn rules() -> impl Strategy<Value = SessionRules> {
    let answer = || select(vec![Answer::Log, Answer::StepUp, Answer::End]);
    let address = select(vec![AddressMode::Off, AddressMode::Exact, AddressMode::Prefix { v4: 24, v6: 56 }]);
    let agent = select(vec![AgentMode::Off, AgentMode::Exact, AgentMode::Family]);
    let span = || millis().prop_map(Duration::from_millis);
    let tls = (select(vec![TlsMode::Off, TlsMode::Exact]), answer());
    let is_shadow = proptest::bool::weighted(0.2);
    let binding = (address, answer(), agent, answer(), tls, is_shadow).prop_map(
        |(address, address_answer, agent, agent_answer, (tls, tls_answer), is_shadow)| BindingRules {
            address,
            address_answer,
            agent,
            agent_answer,
            tls,
            tls_answer,
            is_shadow,
        },
    );
    let offered = (span(), span()).prop_map(|(idle, absolute)| Lifetime { idle, absolute });
    let offered = proptest::option::of(offered);
    (binding, span(), span(), proptest::option::of(span()), span(), (role_limits(), offered, any::<bool>())).prop_map(
        |(binding, idle, absolute, every, grace, (roles, remembered, locks))| SessionRules {
            lifetimes: Lifetimes {
                remembered: remembered
                    .map(|more| Lifetime { idle: idle + more.idle, absolute: absolute + more.absolute }),
                on_idle: if locks { OnIdle::Lock } else { OnIdle::End },
                ..Lifetimes::new(Lifetime { idle, absolute }, roles)
            },
            rotation: RotationRule { every, grace },
            binding,
            ..SessionRules::default()
        },
    )
}

/// What some roles get less of, as tight or loose as it comes.
fn role_limits() -> impl Strategy<Value = Vec<RoleLifetime>> {
    let span = || proptest::option::of(millis().prop_map(Duration::from_millis));
    let limits = (select(vec!["admin", "staff", "ops"]), span(), span(), proptest::bool::weighted(0.3));
    let limits = limits.prop_map(|(role, idle, absolute, forbids_remembering)| RoleLifetime {
        role: role.into(),
        idle,
        absolute,
        forbids_remembering,
    });
    proptest::collection::vec(limits, 0..3)
}

/// What a route may ask of how recent sign-in and activity are. HEAD, which counts as GET, is not named.
fn recency() -> impl Strategy<Value = Recency> {
    let span = || proptest::option::of((1..40_000_u64).prop_map(Duration::from_secs));
    let methods = proptest::collection::vec(select(vec![Method::POST, Method::DELETE]), 0..3);
    (span(), span(), span(), methods).prop_map(|(idle, absolute, max_auth_age, methods)| Recency {
        idle,
        absolute,
        max_auth_age,
        methods: methods.into(),
    })
}

fn situation() -> impl Strategy<Value = Situation> {
    let unusable = select(vec![
        Reason::NoSession,
        Reason::InvalidCookie,
        Reason::SeveralSessions,
        Reason::UnknownSession,
        Reason::InvalidProof,
    ]);
    let unusable = proptest::option::weighted(0.1, unusable);
    let ended = proptest::option::weighted(0.15, select(EndReason::ALL.to_vec()));
    let user = select(vec![None, Some("user"), Some("admin")]);
    let shows = prop_oneof![4 => 5..10_u32, 1 => any::<u32>()];
    let tls = || select(vec![TlsFingerprint::UNKNOWN, hello(1), hello(2)]);
    let place = (select(vec![HOME, NEXT_DOOR, ELSEWHERE]), select(AGENTS.to_vec()), tls(), tls());
    (
        rules(),
        unusable,
        ended,
        (user, any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1)),
        (millis(), millis(), millis(), millis()),
        shows,
        place,
    )
        .prop_map(
            |(
                rules,
                unusable,
                ended,
                (user, asked, must_renew, is_locked),
                (age, active, since, pause),
                shows,
                (client, agent, tls, made_by),
            )| {
                let mut record = of(user);
                (record.is_remembered, record.is_locked) = (asked, is_locked);
                record.rotation.must_renew = must_renew;
                record.bound.tls = made_by;
                let before = |millis: u64| Timestamp::from_millis(NOW.as_millis() - millis.min(age));
                record.authenticated_at = before(age);
                record.active_at = before(active);
                record.longest_pause = record.active_at.since(before(active.saturating_add(pause)));
                record.rotation.presented_at = before(since);
                record.ended = ended.map(|reason| (reason, record.active_at));
                Situation { rules, unusable, record, shows, client, agent, tls, method: Method::GET }
            },
        )
}

/// Whether the session can be used, said once more and naively.
fn is_usable(situation: &Situation) -> bool {
    let Situation { rules, record, shows, .. } = situation;
    let passed = |since: Timestamp| NOW.since(since);
    let good_generation = match i64::from(*shows) - i64::from(record.rotation.generation) {
        _ if *shows > MAX_GENERATION => false,
        0.. => true,
        -1 => passed(record.rotation.presented_at) < rules.rotation.grace,
        _ => false,
    };
    let has = |role: &str| record.principal.as_ref().is_some_and(|principal| principal.has_role(role));
    let lasts = |idle: Option<Duration>, absolute: Option<Duration>| {
        idle.is_none_or(|idle| passed(record.active_at) < idle)
            && absolute.is_none_or(|absolute| passed(record.authenticated_at) < absolute)
    };
    let is_kept = record.is_remembered
        && rules.lifetimes.roles.iter().all(|limits| !limits.forbids_remembering || !has(&limits.role));
    let all = rules.lifetimes.remembered.filter(|_| is_kept).unwrap_or(rules.lifetimes.all);
    let agent = situation.agent.as_bytes();
    let differences = record.bound.differences(&rules.binding, situation.client, agent, situation.tls);
    situation.unusable.is_none()
        && record.ended.is_none()
        && !record.is_locked
        && good_generation
        && lasts(Some(all.idle), Some(all.absolute))
        && rules.lifetimes.roles.iter().all(|limits| !has(&limits.role) || lasts(limits.idle, limits.absolute))
        && (rules.binding.is_shadow || differences.all().all(|(_, answer)| answer == Answer::Log))
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 4096,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    /// Who has no usable session passes as nobody, where that is enough; who has one passes as themselves.
    #[test]
    fn only_a_usable_session_speaks_for_somebody(situation in situation()) {
        for policy in routes() {
            let decision = situation.decide(&policy, NOW);
            let is_nobody = matches!(&decision.verdict, Verdict::Allow(grant) if *grant.subject() == Subject::Nobody);
            let is_new = matches!(&decision.verdict, Verdict::AllowWithNewSession(_));
            let (access, principal) = (policy.access, situation.record.principal.as_ref());
            let usable = is_usable(&situation) && access != Access::Public;
            let has_role = policy.roles.is_empty() || principal.is_some_and(|principal| &*principal.user == "admin");
            let enough = access != Access::Authenticated || principal.is_some() && has_role;
            prop_assert_eq!(passes(&decision).is_some(), usable && enough);
            // Whose session is locked is not given another.
            let asked = situation.decide(&routes()[3], NOW);
            let is_locked = matches!(asked.verdict, Verdict::Challenge(Reason::Locked(_)));
            let may_be_nobody = matches!(access, Access::Public | Access::Optional);
            prop_assert!(!is_locked || !is_usable(&situation) && principal.is_some() && asked.ends.is_none());
            prop_assert_eq!(is_nobody, !usable && (may_be_nobody || is_locked && access == Access::Anonymous));
            prop_assert_eq!(is_new, !usable && !is_locked && access == Access::Anonymous);
            prop_assert_eq!(decision.ends.is_some() && usable, false);
        }
    }

    /// A session that a decision ends, and one that had ended, is over at every later time, for every later cookie.
    #[test]
    fn once_ended_ended_at_every_later_time(situation in situation(), later in millis(), shows in 5..10_u32) {
        let now = NOW.plus(Duration::from_millis(later));
        for policy in &routes()[1..] {
            let first = situation.decide(policy, NOW);
            if let Some(reason) = first.ends.or(situation.record.ended.map(|(reason, _)| reason)) {
                let mut after = Situation { shows, client: HOME, agent: AGENTS[0], ..situation.clone() };
                after.record.ended = after.record.ended.or(Some((reason, NOW)));
                let decision = after.decide(policy, now);
                prop_assert!(passes(&decision).is_none() && decision.ends.is_none());
                let is_told = matches!(decision.verdict, Verdict::Challenge(why) if why == Reason::Ended(reason));
                prop_assert!(policy.access != Access::Authenticated || after.unusable.is_some() || is_told);
            }
            // Also when nobody carried the end out.
            if passes(&first).is_none() && first.ends.is_some() {
                prop_assert!(passes(&situation.decide(policy, now)).is_none());
            }
        }
    }

    /// A session that a decision locks, and one that was locked, lets nobody through at any later time, whatever its limits
    /// have become. Locking lets in nobody whom ending keeps out.
    #[test]
    fn once_locked_never_open(situation in situation(), later in millis(), shows in 5..10_u32, other in rules()) {
        let now = NOW.plus(Duration::from_millis(later));
        for policy in &routes()[1..] {
            let first = situation.decide(policy, NOW);
            prop_assert!(!first.locks || (passes(&first).is_none() && first.ends.is_none()));
            if first.locks || situation.record.is_locked {
                let mut after = Situation { shows, client: HOME, agent: AGENTS[0], rules: other.clone(), ..situation.clone() };
                after.record.is_locked = true;
                let decision = after.decide(policy, now);
                prop_assert!(passes(&decision).is_none() && !decision.locks, "{decision:?}");
            }
            let mut ends = situation.clone();
            ends.rules.lifetimes.on_idle = OnIdle::End;
            prop_assert_eq!(passes(&first).is_some(), passes(&ends.decide(policy, NOW)).is_some());
        }
    }

    /// Who loses a role is never let in by that, but for what the role itself made end sooner.
    #[test]
    fn losing_a_role_opens_nothing(
        situation in situation(),
        roles in proptest::collection::vec(select(vec!["admin", "staff", "ops", "night"]), 0..4),
        lost in 0..4_usize,
        asked in proptest::collection::vec(select(vec!["admin", "staff", "ops", "night"]), 0..3),
    ) {
        let decided = |roles: &[&str], limits: Arc<[RoleLifetime]>| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let mut changed = situation.clone();
            changed.record.principal = Some(Arc::new(Principal::new("alice", None, &[], &roles)));
            changed.rules.lifetimes.roles = limits;
            changed.decide(&route(Access::Authenticated, &asked), NOW)
        };
        let limits = &situation.rules.lifetimes.roles;
        let with = |roles: &[&str]| passes(&decided(roles, Arc::default())).is_some();
        let mut fewer = roles.clone();
        if lost < fewer.len() {
            fewer.remove(lost);
        }
        prop_assert!(with(&roles) || !with(&fewer));
        let is_denied = matches!(decided(&roles, Arc::clone(limits)).verdict, Verdict::Deny(_));
        prop_assert!(!is_denied || passes(&decided(&fewer, Arc::clone(limits))).is_none());
    }

    /// Shorter limits let in nobody whom longer ones keep out.
    #[test]
    fn shorter_limits_allow_no_more(
        situation in situation(),
        less in (millis(), millis(), millis()),
        more in role_limits(),
    ) {
        let mut stricter = situation.clone();
        let shorter = |span: &mut Duration, less: u64| *span = span.saturating_sub(Duration::from_millis(less));
        let mut lifetimes = situation.rules.lifetimes.clone();
        shorter(&mut lifetimes.all.idle, less.0);
        shorter(&mut lifetimes.all.absolute, less.1);
        // Who offers to remember offers more to those who ask, and takes that away again.
        lifetimes.remembered.iter_mut().for_each(|limits| shorter(&mut limits.idle, less.0));
        lifetimes.remembered.iter_mut().for_each(|limits| shorter(&mut limits.absolute, less.1));
        let mut roles: Vec<_> = lifetimes.roles.iter().cloned().collect();
        for limits in &mut roles {
            limits.idle.iter_mut().for_each(|idle| shorter(idle, less.2));
            limits.absolute.iter_mut().for_each(|absolute| shorter(absolute, less.2));
        }
        stricter.rules.lifetimes = Lifetimes { roles: roles.into_iter().chain(more).collect(), ..lifetimes };
        shorter(&mut stricter.rules.rotation.grace, less.2);
        for policy in routes() {
            let (before, after) = (situation.decide(&policy, NOW), stricter.decide(&policy, NOW));
            prop_assert!(passes(&before).is_some() || passes(&after).is_none());
        }
    }

    /// A route that asks for what is recent lets nobody in who is not let in without, and ends nothing; the stricter it is,
    /// the fewer it lets in; and whoever has just proved who they are is not asked again.
    #[test]
    fn what_is_recent_is_asked_beside_everything_else(
        situation in situation(),
        asked in recency(),
        stricter in recency(),
        method in select(vec![Method::GET, Method::HEAD, Method::POST, Method::DELETE]),
    ) {
        let mut situation = situation;
        situation.method = method.clone();
        let tightest = |own: Option<Duration>, other: Option<Duration>| own.into_iter().chain(other).min();
        let both = Recency {
            idle: tightest(asked.idle, stricter.idle),
            absolute: tightest(asked.absolute, stricter.absolute),
            max_auth_age: tightest(asked.max_auth_age, stricter.max_auth_age),
            methods: Box::default(),
        };
        for plain in &routes()[3..] {
            let with = |recency: &Recency| RoutePolicy { recency: Some(Box::new(recency.clone())), ..plain.clone() };
            let without = situation.decide(plain, NOW);
            let (one, two) = (situation.decide(&with(&asked), NOW), situation.decide(&with(&both), NOW));
            prop_assert!(!with(&both).asks_less_than(&with(&asked)));
            prop_assert!(passes(&without).is_some() || passes(&one).is_none());
            prop_assert!(passes(&one).is_some() || passes(&two).is_none());
            prop_assert_eq!(without.ends, one.ends);
            let is_stale = matches!(one.verdict, Verdict::Challenge(Reason::Stale(_)));
            prop_assert_eq!(is_stale, passes(&without).is_some() && passes(&one).is_none());
            let record = &situation.record;
            let age = NOW.since(record.authenticated_at);
            let is_for = asked.methods.is_empty() || asked.methods.contains(&method);
            let is_over = |limit: Option<Duration>| limit.is_some_and(|limit| age >= limit);
            let is_idle =
                asked.idle.is_some_and(|limit| NOW.since(record.active_at).max(record.longest_pause) >= limit);
            prop_assert!(!is_stale || is_over(asked.absolute) || is_idle || (is_for && is_over(asked.max_auth_age)));
            let is_too_old = is_over(asked.absolute) || (is_for && is_over(asked.max_auth_age));
            prop_assert!(!is_too_old || passes(&one).is_none());
            prop_assert!(!is_idle || passes(&one).is_none());
        }
    }

    /// A route that asks for a level lets nobody in who is not let in without, ends nothing and asks for no password; the
    /// higher the level, the fewer it lets in; and which is told is the highest that is reached.
    #[test]
    fn a_level_is_asked_beside_everything_else(
        situation in situation(),
        (after, idle) in (millis(), proptest::option::of(millis())),
        (more, less) in (millis(), proptest::option::of(millis())),
    ) {
        let span = Duration::from_millis;
        let low = Level { name: "low".into(), after: span(after), idle: idle.map(span) };
        let idle = less.into_iter().chain(idle).min();
        let high = Level { name: "high".into(), after: span(after + more), idle: idle.map(span) };
        let levels = [Arc::new(low), Arc::new(high)];
        let mut situation = situation;
        situation.rules.levels = levels.clone().into();
        for plain in &routes()[3..] {
            let with = |level: &Arc<Level>| RoutePolicy { level: Some(Arc::clone(level)), ..plain.clone() };
            let without = situation.decide(plain, NOW);
            let [one, two] = [0, 1].map(|at| situation.decide(&with(&levels[at]), NOW));
            prop_assert!(!with(&levels[1]).asks_less_than(&with(&levels[0])));
            prop_assert!(passes(&without).is_some() || passes(&one).is_none());
            prop_assert!(passes(&one).is_some() || passes(&two).is_none());
            for decision in [&one, &two] {
                prop_assert_eq!((without.ends, without.locks), (decision.ends, decision.locks));
                let is_too_low = matches!(decision.verdict, Verdict::Deny(Reason::Level(_)));
                prop_assert_eq!(is_too_low, passes(&without).is_some() && passes(decision).is_none());
                prop_assert!(!is_too_low || decision.upkeep == Upkeep::default());
            }
            if let Verdict::Allow(grant) = &without.verdict {
                let told = grant.level().map_or("", |level| &*level.name);
                let reached = [&one, &two].map(|decision| passes(decision).is_some());
                let expected = match reached {
                    [_, true] => "high",
                    [true, false] => "low",
                    [false, false] => "",
                };
                prop_assert_eq!(told, expected);
            }
        }
    }

    /// Nothing is done to a session but where the request passes with it, and what passes with it never ends it.
    #[test]
    fn upkeep_comes_with_permission_only(situation in situation()) {
        for policy in routes() {
            let decision = situation.decide(&policy, NOW);
            if passes(&decision).is_none() {
                prop_assert_eq!(decision.upkeep, Upkeep::default());
            } else {
                prop_assert!(decision.ends.is_none());
            }
            if let RotationStep::Offer(generation) = decision.upkeep.rotation {
                prop_assert_eq!(generation, situation.record.rotation.generation + 1);
            }
        }
    }
}
