//! Floor 2: who may do what. Pure: [`decide::decide`] awaits nothing, reads no clock and changes nothing; the shell
//! carries out what it says.

pub mod check;
pub mod client_address;
pub mod compression;
pub mod decide;
pub mod facts;
pub mod navigation;
pub mod origin;
pub mod path;
pub mod return_to;
pub mod route_policy;
pub mod trace;
pub mod verdict;
