//! Floor 2: what a session is. Pure: nothing here waits, reads a clock or opens a socket.
//!
//! A session is found by its public [`handle`] and opened by a secret that exists only in the [`cookie`]: the handle,
//! a generation that counts rotations, and a proof that is an HMAC of the generation under the record's seed.

pub mod binding;
pub mod concurrency;
pub mod cookie;
pub mod csrf_token;
pub mod device;
pub mod handle;
pub mod kv;
pub mod level;
pub mod live;
pub mod owner;
pub mod principal;
pub mod record;
pub mod rotation;
pub mod store;
pub mod tenant;
pub mod timeouts;
