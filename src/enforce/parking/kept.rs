//! A form that is kept: its name, and what is written down of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN, REFERER};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::clock::Timestamp;
use crate::base::random::Random;
use crate::enforce::challenge::back_to;
use crate::login::attempt::Browser;
use crate::policy::return_to::ReturnTo;

/// What each takes is counted in these, in bytes.
pub(super) const GRAIN: u64 = 1024;

/// What is between the owner and the id in a name.
const BETWEEN: char = '/';

/// The name of a form that is kept: 128 random bits, and how much it takes, so that this is known of all without opening any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostId([u8; 20]);

impl PostId {
    /// Of what length it is, in characters.
    pub const CHARACTERS: usize = 27;

    /// A new one for something that takes so many [`GRAIN`]s.
    pub(super) fn new(random: &Random, weight: u32) -> Self {
        let (mut id, name): (_, [u8; 16]) = ([0; 20], random.bytes());
        id[..16].copy_from_slice(&name);
        id[16..].copy_from_slice(&weight.to_be_bytes());
        Self(id)
    }

    /// One that was remembered.
    pub const fn from_bytes(id: [u8; 20]) -> Self {
        Self(id)
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 20] {
        self.0
    }

    /// Reads what [`std::fmt::Display`] writes.
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() != Self::CHARACTERS {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The one in a store's name.
    pub(super) fn in_name(name: &str) -> Option<Self> {
        Self::read(name.split_once(BETWEEN)?.1.as_bytes())
    }

    /// How many bytes it takes.
    pub(super) fn bytes_taken(self) -> u64 {
        let [.., a, b, c, d] = self.0;
        u64::from(u32::from_be_bytes([a, b, c, d])) * GRAIN
    }
}

impl std::fmt::Display for PostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// How many [`GRAIN`]s so many bytes take, with what sealing adds and a store needs for each.
pub(super) fn weight_of(length: usize) -> u32 {
    const OVERHEAD: u64 = 256;
    u32::try_from((length as u64 + OVERHEAD).div_ceil(GRAIN)).unwrap_or(u32::MAX)
}

/// Whose it is, as names have it, which stores keep in the clear, and links to the login page: a hash, so that nobody reads
/// there who was working.
pub fn owner_of(tenant: &str, user: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"vestibule parked post");
    hash.update((tenant.len() as u64).to_be_bytes());
    hash.update(tenant.as_bytes());
    hash.update(user.as_bytes());
    let digest = hash.finalize();
    let mut owner = [0; 16];
    owner.copy_from_slice(&digest[..16]);
    owner
}

/// The name in a store, or, without an id, how all of one owner begin.
pub(super) fn name_of(owner: [u8; 16], id: Option<PostId>) -> String {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    format!("{}{BETWEEN}{id}", URL_SAFE_NO_PAD.encode(owner))
}

/// A form that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// When it was sent.
    pub at: Timestamp,
    /// The host it was sent to, as it was written.
    pub authority: String,
    /// The path and query it was sent to.
    pub target: String,
    /// The page it was sent from.
    pub back: String,
    /// What it says of its content.
    pub content_type: HeaderValue,
    origin: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    browser: Browser,
    /// Its content.
    pub content: Bytes,
}

/// As it is written down; the content follows.
#[derive(Serialize, Deserialize)]
struct Head {
    at: Timestamp,
    authority: String,
    target: String,
    back: String,
    content_type: Vec<u8>,
    origin: Option<Vec<u8>>,
    referer: Option<Vec<u8>>,
    browser: [u8; 16],
}

impl Posted {
    /// What is kept of a request.
    pub(super) fn new(parts: &Parts, authority: &str, browser: Browser, at: Timestamp, content: Bytes) -> Option<Self> {
        let header = |name: HeaderName| parts.headers.get(name).cloned();
        Some(Self {
            at,
            authority: authority.to_owned(),
            target: parts.uri.path_and_query()?.as_str().to_owned(),
            back: back_to(parts, authority).unwrap_or_else(ReturnTo::start).as_str().to_owned(),
            content_type: header(CONTENT_TYPE)?,
            origin: header(ORIGIN),
            referer: header(REFERER),
            browser,
            content,
        })
    }

    /// Whether this browser sent it.
    pub(super) fn is_from(&self, browser: Option<Browser>) -> bool {
        browser.is_some_and(|browser| browser.is(&self.browser))
    }

    /// What of the head goes with it when it is sent: each header that is there, and those that must not be.
    pub fn headers(&self) -> [(HeaderName, Option<&HeaderValue>); 3] {
        [(CONTENT_TYPE, Some(&self.content_type)), (ORIGIN, self.origin.as_ref()), (REFERER, self.referer.as_ref())]
    }

    /// As bytes.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let bytes = |value: &HeaderValue| value.as_bytes().to_vec();
        let head = Head {
            at: self.at,
            authority: self.authority.clone(),
            target: self.target.clone(),
            back: self.back.clone(),
            content_type: bytes(&self.content_type),
            origin: self.origin.as_ref().map(bytes),
            referer: self.referer.as_ref().map(bytes),
            browser: self.browser.bytes(),
        };
        // Serialising plain data into memory does not fail; an empty head is read as none.
        let head = postcard::to_stdvec(&head).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or_default().to_be_bytes();
        [&length, &*head, &*self.content].concat()
    }

    /// From bytes.
    pub(super) fn decoded(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (head, content) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let head: Head = postcard::from_bytes(head).ok()?;
        let value = |bytes: Vec<u8>| HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok();
        Some(Self {
            at: head.at,
            authority: head.authority,
            target: head.target,
            back: head.back,
            content_type: value(head.content_type)?,
            origin: head.origin.and_then(value),
            referer: head.referer.and_then(value),
            browser: Browser::from_bytes(head.browser),
            content: Bytes::copy_from_slice(content),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let request = Request::post("https://a.test/save?x=%00")
            .header("content-type", "multipart/form-data; boundary=\"\u{e9}\"")
            .header("referer", "https://a.test/form")
            .body(())
            .expect("a request");
        let (browser, at) = (Browser::from_bytes([7; 16]), Timestamp::from_millis(1_763_000_000_000));
        let content = Bytes::from_static(b"\0\xff\r\n--");
        let posted = Posted::new(&request.into_parts().0, "a.test", browser, at, content).expect("a form");
        assert_eq!((&*posted.target, &*posted.back), ("/save?x=%00", "/form"));
        let encoded = posted.encoded();
        assert_eq!(Posted::decoded(&encoded), Some(posted.clone()));
        for length in 0..encoded.len() - posted.content.len() {
            assert_eq!(Posted::decoded(&encoded[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn a_name_says_how_much_it_takes_and_not_whose_it_is() {
        let id = PostId::new(&Random::seeded(1), weight_of(3000));
        assert_eq!(id.bytes_taken(), 4096);
        assert_eq!(PostId::read(id.to_string().as_bytes()), Some(id));
        let name = name_of(owner_of("default", "alice"), Some(id));
        assert_eq!(PostId::in_name(&name), Some(id));
        assert!(!name.contains("alice") && name.starts_with(&name_of(owner_of("default", "alice"), None)));
        assert_ne!(owner_of("default", "alice"), owner_of("defaulta", "lice"));
        for wrong in ["", "short", &"A".repeat(28), &"!".repeat(27)] {
            assert_eq!(PostId::read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
