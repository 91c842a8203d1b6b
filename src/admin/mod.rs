//! Floor 5: the operator's own listeners, apart from everybody else's.
//!
//! Their API is JSON over HTTP, on a Unix socket that only its owner may open, or on a loopback address, where it asks for a
//! token. A session's secret is nowhere in it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | version, since when, whether ready, configuration, sessions, store, upstreams; and since when and why the configuration on disk is refused (`configuration_refused`) or the store cannot be written to (`store_failed`), if so; which keys have changed and take a restart (`takes_restart`) |
//! | `GET /upstreams` | every server: whether it is well, since when, why not |
//! | `GET /users` | the local users as they were loaded: names, roles, whether disabled |
//! | `GET /sessions` | sessions, in the order of their handles, of which [`sessions::MOST`] at a time; a `Link` header with `rel="next"` leads to more |
//! | `GET /sessions/HANDLE` | one of them in full |
//! | `DELETE /sessions/HANDLE` | ends it |
//! | `DELETE /sessions?user=NAME` | ends every session of a person |
//! | `DELETE /sessions?all=true` | ends every session there is |
//! | `GET /explain?request=GET https://…` | what would be decided on a request by the configuration in force, check by check, with the lines behind it; with `session=HANDLE`, of whoever has that session; `address=` where it comes from, `headers=` its headers, one a line |
//! | `POST /sessions/reseal` | seals what is stored anew under the active key; how many sessions that were |
//! | `POST /reload` | reads the configuration again: the version in force, or what is wrong with it |
//! | `GET /ping`, `/ready`, `/metrics` | as [`metrics`] has them |
//!
//! What ends sessions while the store cannot write that down is answered 503 with `ended` and `unwritten` beside `error`:
//! they have ended, and a restart could bring them back until it is written.
//!
//! `GET /sessions` takes `user=NAME`, `address=` an address or a network, `older=` and `newer=` the age of a session like
//! `30m`, `state=` `active` (the default), `ended` or `all`, `limit=`, and `after=` the handle to begin behind. Ended
//! sessions are remembered for a day, anonymous ones not at all.

pub mod guard;
pub mod listen;
pub mod metrics;
pub mod sessions;

mod api;
mod explain;
mod query;
mod reload;
mod status;
