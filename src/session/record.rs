//! The record of a session: what a store keeps, its codec and its sealed form.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::clock::Timestamp;
use crate::base::random::Random;
use crate::base::secret::Secret;
use crate::crypto::keyring::{KeyId, KeyRing, Purpose};
use crate::session::binding::{Bound, Factor, TlsFingerprint};
use crate::session::device::Device;
use crate::session::handle::SessionHandle;
use crate::session::principal::{PasswordStamp, Principal, PrincipalRef};
use crate::session::rotation::Rotation;
use crate::session::tenant::TenantId;

pub use crate::session::owner::{Owner, Person};

/// The codec's version, the first byte of an encoded record.
const CODEC_VERSION: u8 = 4;

/// The largest encoded record that is read, in bytes: a principal with many groups is a few kilobytes.
pub const MAX_ENCODED: usize = 64 * 1024;

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// The person signed out.
    Logout,
    /// The same browser signed in again.
    Replaced,
    /// Nothing happened for too long.
    Idle,
    /// It was as old as a session may get.
    Absolute,
    /// A cookie that had been replaced was used again: somebody has a copy.
    Reuse,
    /// The request came from elsewhere than the session is bound to.
    Binding(Factor),
    /// Somebody with the right to do so ended it.
    Revoked,
    /// The person is not among the users any more, or may not sign in for now.
    AccountDisabled,
    /// The person's password was changed.
    PasswordChanged,
    /// The person has other sessions, and no more than so many at once are allowed.
    Displaced,
    /// The person ended it from another of their sessions.
    EndedElsewhere,
}

impl EndReason {
    /// Every reason, for metrics and tests.
    pub const ALL: [Self; 13] = [
        Self::Logout,
        Self::Replaced,
        Self::Idle,
        Self::Absolute,
        Self::Reuse,
        Self::Binding(Factor::Address),
        Self::Binding(Factor::UserAgent),
        Self::Binding(Factor::Tls),
        Self::Revoked,
        Self::AccountDisabled,
        Self::PasswordChanged,
        Self::Displaced,
        Self::EndedElsewhere,
    ];

    /// The name used in logs, metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Replaced => "replaced",
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::Reuse => "reuse",
            Self::Binding(Factor::Address) => "binding_ip",
            Self::Binding(Factor::UserAgent) => "binding_user_agent",
            Self::Binding(Factor::Tls) => "binding_tls",
            Self::Revoked => "revoked",
            Self::AccountDisabled => "account_disabled",
            Self::PasswordChanged => "password_changed",
            Self::Displaced => "displaced",
            Self::EndedElsewhere => "ended_elsewhere",
        }
    }

    /// What the person is told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Logout => "You signed out. To go on, please sign in again.",
            Self::Replaced => {
                "You signed in again in this browser, which ended the earlier session. Load this once more, or sign in here."
            }
            Self::Idle => "You were signed out because nothing happened for a while. To go on, please sign in again.",
            Self::Absolute => {
                "You were signed out because your session reached its full length. To go on, please sign in again."
            }
            Self::Reuse => {
                "You were signed out because an outdated copy of your session was used. Please sign in again. If this keeps \
                 happening, have whoever runs this service change your password."
            }
            Self::Binding(Factor::Address) => {
                "You were signed out because your network address changed. Please sign in again. If it did not change, tell \
                 whoever runs this service."
            }
            Self::Binding(Factor::UserAgent) => {
                "You were signed out because your session was used by another browser. Please sign in again. If that was \
                 not you, tell whoever runs this service."
            }
            Self::Binding(Factor::Tls) => {
                "You were signed out because your browser connects in another way than when you signed in, as after an \
                 update. Please sign in again. If this keeps happening, tell whoever runs this service."
            }
            Self::Revoked => {
                "Your session was ended by an administrator. You can sign in again, or ask whoever runs this service why."
            }
            Self::AccountDisabled => {
                "You were signed out because your account cannot be used at the moment. Please ask whoever runs this service."
            }
            Self::PasswordChanged => {
                "You were signed out because your password was changed. Please sign in with the new one. If you did not ask \
                 for that, tell whoever runs this service."
            }
            Self::Displaced => {
                "You were signed out here because you signed in elsewhere, and only so many sessions at once are allowed. \
                 You can sign in again. If it was not you, have whoever runs this service change your password."
            }
            Self::EndedElsewhere => {
                "You were signed out because you ended this session from another one. You can sign in again. If it was not \
                 you, have whoever runs this service change your password."
            }
        }
    }
}

/// One session as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub handle: SessionHandle,
    /// Counts changes of the record, so that a change can be refused when another came first.
    pub version: u64,
    /// What the proofs of its cookies are derived from.
    pub seed: Secret<[u8; 32]>,
    /// Who is signed in; `None` is an anonymous session.
    pub principal: Option<Arc<Principal>>,
    /// When they proved who they are; for an anonymous session, when it was made.
    pub authenticated_at: Timestamp,
    /// The last activity that was noted.
    pub active_at: Timestamp,
    /// Where the rotation of its secret stands.
    pub rotation: Rotation,
    /// Where it was made.
    pub bound: Bound,
    /// Why and when it ended.
    pub ended: Option<(EndReason, Timestamp)>,
    /// What it was made with, as a person is told.
    pub device: Device,
    /// At which tenant it was made; anywhere else it is none.
    pub tenant: TenantId,
}

/// What version 4 has behind what the versions before it had.
#[derive(Default, Serialize, Deserialize)]
struct Added {
    device: Device,
    tenant: TenantId,
}

/// What [`Record`] is encoded as, with who is signed in and what it is bound to as that version has them.
#[derive(Serialize, Deserialize)]
struct Encoded<P, B> {
    version: u64,
    seed: [u8; 32],
    principal: Option<P>,
    authenticated_at: Timestamp,
    active_at: Timestamp,
    generation: u32,
    presented_at: Timestamp,
    bound: B,
    ended: Option<(EndReason, Timestamp)>,
}

/// [`PrincipalRef`] in versions 1 and 2, which knew of no stamps.
#[derive(Serialize, Deserialize)]
struct PrincipalV2<'parts> {
    user: &'parts str,
    email: Option<&'parts str>,
    groups: &'parts str,
    roles: &'parts str,
}

impl<'parts> From<PrincipalV2<'parts>> for PrincipalRef<'parts> {
    fn from(PrincipalV2 { user, email, groups, roles }: PrincipalV2<'parts>) -> Self {
        Self { user, email, groups, roles, password: PasswordStamp::UNKNOWN }
    }
}

/// [`Bound`] in version 1, which knew of no TLS fingerprints.
#[derive(Serialize, Deserialize)]
struct BoundV1 {
    address: IpAddr,
    agent: u64,
    agent_family: u64,
}

impl From<BoundV1> for Bound {
    fn from(BoundV1 { address, agent, agent_family }: BoundV1) -> Self {
        Self { address, agent, agent_family, tls: TlsFingerprint::UNKNOWN }
    }
}

/// Why a stored record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a later version of the gateway.
    #[error("the record was written by a later version of vestibule (codec {0})")]
    Version(u8),
    /// Not a record.
    #[error("the record is damaged")]
    Damaged,
    /// Sealed under another key, for another handle or tenant, or altered.
    #[error("the record does not open: it was altered, or sealed under a key that is not in the key ring")]
    Sealed,
}

impl Record {
    /// A new session that begins at `now`, with a handle and seed of its own.
    pub fn new(random: &Random, principal: Option<Arc<Principal>>, bound: Bound, now: Timestamp) -> Self {
        Self {
            handle: SessionHandle::random(random),
            version: 0,
            seed: Secret::new(random.bytes()),
            principal,
            authenticated_at: now,
            active_at: now,
            rotation: Rotation { generation: 0, presented_at: now },
            bound,
            ended: None,
            device: Device::default(),
            tenant: TenantId::DEFAULT,
        }
    }

    /// Whose session it is.
    pub fn owner(&self) -> Owner {
        Owner::of(self.tenant, self.principal.as_deref(), &self.bound)
    }

    /// The record as bytes, wiped when dropped because they hold the seed. The handle is not in it: it is the key it
    /// is stored under.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let record = Encoded {
            version: self.version,
            seed: *self.seed.expose(),
            principal: self.principal.as_deref().map(Principal::parts),
            authenticated_at: self.authenticated_at,
            active_at: self.active_at,
            generation: self.rotation.generation,
            presented_at: self.rotation.presented_at,
            bound: self.bound,
            ended: self.ended,
        };
        let added = Added { device: self.device, tenant: self.tenant };
        // Serialising plain data into memory does not fail; were it to, the record would read as damaged.
        Zeroizing::new(postcard::to_extend(&(record, added), vec![CODEC_VERSION]).unwrap_or_default())
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// [`RecordError::Version`] or [`RecordError::Damaged`].
    pub fn decode(handle: SessionHandle, bytes: &[u8]) -> Result<Self, RecordError> {
        Self::decode_with(handle, bytes, own)
    }

    fn decode_with(
        handle: SessionHandle,
        bytes: &[u8],
        who: impl FnOnce(TenantId, &PrincipalRef<'_>) -> Arc<Principal>,
    ) -> Result<Self, RecordError> {
        let (&version, rest) = bytes.split_first().ok_or(RecordError::Damaged)?;
        if bytes.len() > MAX_ENCODED {
            return Err(RecordError::Damaged);
        }
        match version {
            0 => Err(RecordError::Damaged),
            1 => Self::decode_as::<PrincipalV2<'_>, BoundV1>(handle, rest, who, former),
            2 => Self::decode_as::<PrincipalV2<'_>, Bound>(handle, rest, who, former),
            3 => Self::decode_as::<PrincipalRef<'_>, Bound>(handle, rest, who, former),
            CODEC_VERSION => Self::decode_as::<PrincipalRef<'_>, Bound>(handle, rest, who, postcard::take_from_bytes),
            later => Err(RecordError::Version(later)),
        }
    }

    fn decode_as<'bytes, P, B>(
        handle: SessionHandle,
        bytes: &'bytes [u8],
        who: impl FnOnce(TenantId, &PrincipalRef<'_>) -> Arc<Principal>,
        added: impl FnOnce(&'bytes [u8]) -> postcard::Result<(Added, &'bytes [u8])>,
    ) -> Result<Self, RecordError>
    where
        P: Deserialize<'bytes> + Into<PrincipalRef<'bytes>>,
        B: Deserialize<'bytes> + Into<Bound>,
    {
        let (record, left) = postcard::take_from_bytes::<Encoded<P, B>>(bytes).map_err(|_| RecordError::Damaged)?;
        let (added, left) = added(left).map_err(|_| RecordError::Damaged)?;
        if !left.is_empty() {
            return Err(RecordError::Damaged);
        }
        Ok(Self {
            handle,
            version: record.version,
            seed: Secret::new(record.seed),
            principal: record.principal.map(|principal| who(added.tenant, &principal.into())),
            authenticated_at: record.authenticated_at,
            active_at: record.active_at,
            rotation: Rotation { generation: record.generation, presented_at: record.presented_at },
            bound: record.bound.into(),
            ended: record.ended,
            device: added.device,
            tenant: added.tenant,
        })
    }

    /// The record sealed under a key of its own handle: what may leave the process.
    pub fn seal(&self, ring: &KeyRing, tenant: &str, random: &Random) -> Vec<u8> {
        let id = ring.active();
        let mut sealed = id.to_vec();
        if let Some(key) = ring.derive(id, Purpose::Record, tenant, self.handle.as_bytes()) {
            sealed.extend(key.seal(random.bytes(), self.handle.as_bytes(), &self.encode()));
        }
        sealed
    }

    /// Opens what [`Record::seal`] sealed.
    ///
    /// # Errors
    /// [`RecordError::Sealed`] when it does not open, otherwise as [`Record::decode`].
    pub fn open(handle: SessionHandle, ring: &KeyRing, tenant: &str, sealed: &[u8]) -> Result<Self, RecordError> {
        Self::open_with(handle, ring, tenant, &mut Zeroizing::new(sealed.to_vec()), own)
    }

    /// Opens it in place, and asks `who` for the person: of a million sessions most share theirs, and none needs memory
    /// for one that is there already.
    ///
    /// # Errors
    /// As [`Record::open`].
    pub fn open_with(
        handle: SessionHandle,
        ring: &KeyRing,
        tenant: &str,
        sealed: &mut [u8],
        who: impl FnOnce(TenantId, &PrincipalRef<'_>) -> Arc<Principal>,
    ) -> Result<Self, RecordError> {
        let (id, sealed): (&mut KeyId, _) = sealed.split_first_chunk_mut().ok_or(RecordError::Sealed)?;
        let key = ring.derive(*id, Purpose::Record, tenant, handle.as_bytes()).ok_or(RecordError::Sealed)?;
        let plain = key.open(handle.as_bytes(), sealed).ok_or(RecordError::Sealed)?;
        Self::decode_with(handle, plain, who)
    }
}

/// What the versions before 4 have of what came with it.
fn former(left: &[u8]) -> postcard::Result<(Added, &[u8])> {
    Ok((Added::default(), left))
}

fn own(_: TenantId, parts: &PrincipalRef<'_>) -> Arc<Principal> {
    Arc::new(Principal::from(*parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let principal =
            Principal::new("alice", Some("alice@example.test"), &["staff".to_owned()], &["admin".to_owned()]);
        let principal = Principal { password: PasswordStamp::of("$argon2id$"), ..principal };
        let tls = TlsFingerprint::of([0x1301, 0x1303], [0x001d], [0x0403]);
        let bound = Bound { tls, ..Bound::of("2001:db8::1".parse().expect("an address"), b"agent/1") };
        let mut record = Record::new(
            &Random::seeded(1),
            Some(Arc::new(principal)),
            bound,
            Timestamp::from_millis(1_700_000_000_000),
        );
        record.rotation.generation = 12;
        record.device = Device::of(b"Firefox/140.0 (X11)");
        record.tenant = TenantId::of("acme").expect("room");
        record.ended = Some((EndReason::Binding(Factor::UserAgent), Timestamp::from_millis(1_700_000_100_000)));
        record
    }

    #[test]
    fn comes_back_as_it_was_encoded_and_sealed() {
        let (record, ring) = (record(), KeyRing::ephemeral(&Random::seeded(2)));
        assert_eq!(Record::decode(record.handle, &record.encode()), Ok(record.clone()));
        let sealed = record.seal(&ring, "default", &Random::seeded(3));
        assert_eq!(Record::open(record.handle, &ring, "default", &sealed), Ok(record.clone()));
        assert!(!sealed.windows(5).any(|window| window == b"alice"), "readable in the sealed form");
        let another = SessionHandle::random(&Random::seeded(9));
        assert_eq!(Record::open(another, &ring, "default", &sealed), Err(RecordError::Sealed));
        assert_eq!(Record::open(record.handle, &ring, "other", &sealed), Err(RecordError::Sealed));
    }

    #[test]
    fn records_of_former_versions_are_read_without_what_they_do_not_know() {
        let record = record();
        let Bound { address, agent, agent_family, .. } = record.bound;
        let known = record.principal.clone().expect("a person");
        let person = Some(Arc::new(Principal { password: PasswordStamp::UNKNOWN, ..Principal::clone(&known) }));
        for ended in EndReason::ALL {
            let ended = Some((ended, Timestamp::from_millis(1_700_000_100_000)));
            let second = Encoded {
                version: record.version,
                seed: *record.seed.expose(),
                principal: Some(PrincipalV2 {
                    user: &known.user,
                    email: known.email.as_deref(),
                    groups: &known.groups,
                    roles: &known.roles,
                }),
                authenticated_at: record.authenticated_at,
                active_at: record.active_at,
                generation: record.rotation.generation,
                presented_at: record.rotation.presented_at,
                bound: record.bound,
                ended,
            };
            let encoded = postcard::to_extend(&second, vec![2]).expect("bytes");
            let (device, tenant) = (Device::default(), TenantId::DEFAULT);
            let expected = Record { principal: person.clone(), ended, device, tenant, ..record.clone() };
            assert_eq!(Record::decode(record.handle, &encoded), Ok(expected.clone()));
            if ended.is_some_and(|(reason, _)| reason == EndReason::Binding(Factor::Tls)) {
                continue;
            }
            let Encoded { version, seed, principal, authenticated_at, active_at, generation, presented_at, .. } =
                second;
            let bound = BoundV1 { address, agent, agent_family };
            let first = Encoded {
                version,
                seed,
                principal,
                authenticated_at,
                active_at,
                generation,
                presented_at,
                bound,
                ended,
            };
            let encoded = postcard::to_extend(&first, vec![1]).expect("bytes");
            let bound = Bound { tls: TlsFingerprint::UNKNOWN, ..record.bound };
            assert_eq!(Record::decode(record.handle, &encoded), Ok(Record { bound, ..expected }));
        }
    }

    /// What version 1 wrote, to the byte: the reasons of an end keep the places that they have in it.
    #[test]
    fn the_places_of_the_reasons_stay() {
        let places = EndReason::ALL.map(|reason| postcard::to_allocvec(&reason).expect("bytes"));
        let expected: [&[u8]; 13] =
            [&[0], &[1], &[2], &[3], &[4], &[5, 0], &[5, 1], &[5, 2], &[6], &[7], &[8], &[9], &[10]];
        assert_eq!(places, expected);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let record = record();
        let encoded = record.encode();
        for length in 0..encoded.len() {
            assert_eq!(Record::decode(record.handle, &encoded[..length]), Err(RecordError::Damaged), "{length}");
        }
        let mut longer = encoded.to_vec();
        longer.push(0);
        assert_eq!(Record::decode(record.handle, &longer), Err(RecordError::Damaged));
        longer[0] = 5;
        assert_eq!(Record::decode(record.handle, &longer), Err(RecordError::Version(5)));
        for at in 1..encoded.len() {
            let mut mutated = encoded.to_vec();
            mutated[at] = mutated[at].wrapping_add(101);
            let _ = Record::decode(record.handle, &mutated);
        }
    }

    #[test]
    fn every_reason_has_its_own_name_and_sentence() {
        for (at, reason) in EndReason::ALL.iter().enumerate() {
            for other in &EndReason::ALL[at + 1..] {
                assert_ne!(reason.name(), other.name());
                assert_ne!(reason.sentence(), other.sentence());
            }
        }
    }
}
