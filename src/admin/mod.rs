//! Floor 5: the operator's own listeners, apart from everybody else's.
//!
//! Their API is JSON over HTTP, on a Unix socket that only its owner may open, or on a loopback address, where it asks for a
//! token. A session's secret is nowhere in it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | version, since when, whether ready, configuration, sessions, store, upstreams |
//! | `GET /upstreams` | every server: whether it is well, since when, why not |
//! | `GET /users` | the local users as they were loaded: names, roles, whether disabled |
//! | `GET /sessions` | sessions, in the order of their handles, of which [`sessions::MOST`] at a time; a `Link` header with `rel="next"` leads to more |
//! | `GET /sessions/HANDLE` | one of them in full |
//! | `DELETE /sessions/HANDLE` | ends it |
//! | `DELETE /sessions?user=NAME` | ends every session of a person |
//! | `DELETE /sessions?all=true` | ends every session there is |
//! | `POST /reload` | reads the configuration again: its version, what takes a restart, how many sessions ended or have other rights; 422 and what is wrong, in the words of `check`, when it is not taken |
//! | `GET /ping`, `/ready`, `/metrics` | as [`metrics`] has them |
//!
//! `GET /sessions` takes `user=NAME`, `address=` an address or a network, `older=` and `newer=` the age of a session like
//! `30m`, `state=` `active` (the default), `ended` or `all`, `limit=`, and `after=` the handle to begin behind. Ended
//! sessions are remembered for a day, anonymous ones not at all.

pub mod guard;
pub mod listen;
pub mod metrics;
pub mod sessions;

mod api;
mod query;
mod status;
