//! Floor 3: the applications behind the gateway, and how a request gets there.

pub mod answer;
pub mod forward;
pub mod group;
pub mod headers;
pub mod health;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod own;
pub mod places;
pub mod pool;
pub mod reach;
pub mod rewriting;
pub mod settings;
pub mod tls;
pub mod trailers;
pub mod upload;
pub mod websocket;
