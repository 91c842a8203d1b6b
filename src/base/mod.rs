//! Floor 0: time, randomness, network and unit types, streams of HTTP/2, files that change, and the shell's quotes. Nothing
//! here knows what a session is.

pub mod clock;
pub mod deadline;
pub mod http2;
pub mod net;
pub mod place;
pub mod random;
pub mod secret;
pub mod shell;
pub mod stamp;
pub mod units;
