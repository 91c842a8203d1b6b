//! Fields behind a body, and the one that announces them: they come after everything was checked, and some servers and
//! clients merge them into the head.

use http::{HeaderMap, HeaderValue, header};

use crate::upstream::headers::{is_a_proxys_word, is_for_the_gateway_to_say, is_hop_by_hop, remove_hop_by_hop};
use crate::upstream::identity::IdentityHeaders;

/// Whether a field of a request may only be said in its head (RFC 9110 section 6.5.1), or only by the gateway.
fn is_barred_of_request(name: &str, identity: &IdentityHeaders) -> bool {
    name.starts_with("content-")
        || name.starts_with("if-")
        || name.starts_with("sec-")
        || matches!(
            name,
            "authorization"
                | "cache-control"
                | "cookie"
                | "expect"
                | "host"
                | "max-forwards"
                | "origin"
                | "pragma"
                | "range"
                | "referer"
                | "trailer"
        )
        || identity.is_ours(name.as_bytes())
        || is_a_proxys_word(name, None)
}

/// Whether a field of an answer may only be said in its head (RFC 9110 section 6.5.1): what frames it, what sets cookies
/// or signs in; or only by the gateway.
fn is_barred_of_answer(name: &str) -> bool {
    name.starts_with("content-")
        || matches!(name, "set-cookie" | "www-authenticate" | "proxy-authenticate" | "location" | "trailer")
        || is_for_the_gateway_to_say(name)
}

/// Takes out of the trailers of a request what must not be said there.
pub fn guard_of_request(trailers: &mut HeaderMap, identity: &IdentityHeaders) {
    remove_hop_by_hop(trailers, |name| is_barred_of_request(name, identity));
}

/// Takes out of the trailers of an answer what must not be said there.
pub fn guard_of_answer(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers, is_barred_of_answer);
}

/// Takes out of what a request announces what will then not follow.
pub fn announce_of_request(headers: &mut HeaderMap, identity: &IdentityHeaders) {
    announce(headers, |name| is_barred_of_request(name, identity));
}

/// Takes out of what an answer announces what will then not follow.
pub fn announce_of_answer(headers: &mut HeaderMap) {
    announce(headers, is_barred_of_answer);
}

/// Takes what `is_barred`, or is for one connection only, out of `Trailer` (RFC 9110 section 6.6.2). What has nothing of
/// it stays as it was written.
fn announce(headers: &mut HeaderMap, is_barred: impl Fn(&str) -> bool) {
    if !headers.contains_key(header::TRAILER) {
        return;
    }
    let members = |value: &HeaderValue| {
        let members = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.filter(|member| !member.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let passes = |member: &Vec<u8>| {
        let name = String::from_utf8_lossy(member).to_ascii_lowercase();
        !is_hop_by_hop(&name) && !is_barred(&name)
    };
    let all: Vec<HeaderValue> = headers.get_all(header::TRAILER).iter().cloned().collect();
    if all.iter().flat_map(members).all(|member| passes(&member)) {
        return;
    }
    headers.remove(header::TRAILER);
    for value in all {
        let (mut kept, count) = (members(&value), members(&value).len());
        kept.retain(passes);
        let written = if kept.len() == count { Some(value) } else { HeaderValue::try_from(kept.join(&b", "[..])).ok() };
        if let Some(written) = written.filter(|written| !written.is_empty()) {
            headers.append(header::TRAILER, written);
        }
    }
}
