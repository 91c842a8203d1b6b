//! Integration tests: the gateway on real sockets, with real TLS clients in front and real servers behind.

#![allow(unreachable_pub, missing_docs, reason = "nobody outside uses a test binary")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

mod access;
mod access_log;
mod admin;
mod beforehand;
mod binary;
mod binding;
mod binding_promise;
mod binding_tls;
mod bodies;
mod certificates;
mod check;
mod closing;
mod compression;
mod connections;
mod cookies;
mod corpus;
mod decision_table;
mod differential;
mod durable;
mod faults;
mod fixation;
mod full_disk;
mod grpc;
mod guessing;
mod health;
mod hosts;
mod hsts;
mod http2;
mod http2_upstreams;
mod identity;
mod leases;
mod lifetimes;
mod limits;
mod login;
mod logs;
mod metrics;
mod node_red;
mod operator;
mod packaging;
mod paths;
mod plain_http;
mod proxy_protocol;
mod radicale;
mod real_time;
mod reference;
mod reload;
mod rewriting;
mod rotation;
mod service;
mod simulation;
mod smuggling;
mod stolen;
mod streams;
mod taken_away;
mod told;
mod upstream_faults;
mod upstreams;
mod walk;
mod websockets;
mod words;
mod wsgidav;
