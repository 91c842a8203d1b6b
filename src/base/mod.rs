//! Floor 0: time, randomness, network and unit types. Nothing here knows what a session is.

pub mod clock;
pub mod deadline;
pub mod net;
pub mod random;
pub mod secret;
pub mod units;
