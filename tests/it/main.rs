//! Integration tests: the gateway on real sockets, with real TLS clients in front and real servers behind.

#![allow(unreachable_pub, missing_docs, reason = "nobody outside uses a test binary")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

mod access;
mod binding;
mod cookies;
mod fixation;
mod leases;
mod limits;
mod login;
mod rotation;
mod walk;
