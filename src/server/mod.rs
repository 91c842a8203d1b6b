//! Floor 6: connections in, answers out.

pub mod certificate;
pub mod challenges;
pub mod conn;
pub mod facts;
pub mod finish;
pub mod frames;
pub mod handle;
pub mod heads;
pub mod http;
pub mod http1;
pub mod http2;
pub mod listener;
pub mod ocsp;
pub mod own_page;
pub mod plain;
pub mod proxy_protocol;
pub mod renewal;
pub mod sockets;
pub mod tcp;
pub mod tls;
pub mod tunnel;
pub mod worker;
