//! Floor 3: how people prove who they are.

pub mod attempt;
pub mod device;
pub mod password;
pub mod users;
