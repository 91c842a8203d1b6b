//! What is known of a request before anything is decided: what it says of itself, and what its connection says of it.

use std::net::IpAddr;

use http::request::Parts;

use crate::enforce::refusal::Refusal;
use crate::enforce::snapshot::Snapshot;
use crate::policy::client_address::client_address;
use crate::policy::facts::Facts;
use crate::server::conn::ConnInfo;

/// Whose a request is.
pub fn client_of(conn: &ConnInfo, parts: &Parts, snapshot: &Snapshot) -> IpAddr {
    let peer = conn.peer.ip();
    if !conn.may_forward {
        return peer;
    }
    client_address(peer, &parts.headers, &snapshot.rewriting.trusted, snapshot.forwarded_header)
}

/// What a request says of itself, and its connection of it.
///
/// # Errors
/// Why it must not be decided on.
pub fn facts_of<'a>(
    conn: &ConnInfo,
    parts: &'a Parts,
    snapshot: &Snapshot,
    client: IpAddr,
) -> Result<Facts<'a>, Refusal> {
    let trusted = &snapshot.rewriting.trusted;
    let is_by_proxy = conn.may_forward && !trusted.is_empty() && trusted.trusts(conn.peer.ip());
    let forwarded = is_by_proxy.then_some(snapshot.forwarded_header);
    let facts = Facts { tls: conn.tls, forwarded, ..Facts::read(parts, client).map_err(Refusal::Malformed)? };
    if conn.serves(&facts.host) { Ok(facts) } else { Err(Refusal::Misdirected) }
}
