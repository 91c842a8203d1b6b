//! Floor 4: decisions carried out. From the cookie to the store to the verdict, and from a refusal to an answer.

pub mod admit;
pub mod authorize;
pub mod body;
pub mod challenge;
pub mod cross_site;
pub mod establish;
pub mod explain;
pub mod form;
pub mod form_token;
pub mod framed;
pub mod lease;
pub mod lookup;
pub mod pages;
pub mod parking;
pub mod people;
pub mod refusal;
pub mod reloads;
pub mod respond;
pub mod shared;
pub mod snapshot;
pub mod tenant;
