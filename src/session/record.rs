//! The record of a session: what a store keeps, its codec and its sealed form.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
const CODEC_VERSION: u8 = 5;

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
                "Somebody signed in anew in this browser, which ended the earlier session. Load this once more, or sign in here."
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
                "You were signed out here because only so many sessions at once are allowed, and you use others. \
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
    /// The longest time without activity between the two.
    pub longest_pause: Duration,
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
    /// Whether its person asked to be remembered.
    pub is_remembered: bool,
    /// Whether nothing passes with it until its person has proved again who they are.
    pub is_locked: bool,
}

/// What version 4 has behind what the versions before it had.
#[derive(Default, Serialize, Deserialize)]
struct Added {
    device: Device,
    tenant: TenantId,
    is_remembered: bool,
    must_renew: bool,
    is_locked: bool,
}

/// What version 5 has behind that.
#[derive(Serialize, Deserialize)]
struct Pauses {
    longest_millis: u64,
}

/// What came with version 4 and later.
type Later = (Added, Option<Pauses>);

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
            longest_pause: Duration::ZERO,
            rotation: Rotation { generation: 0, presented_at: now, must_renew: false },
            bound,
            ended: None,
            device: Device::default(),
            tenant: TenantId::DEFAULT,
            is_remembered: false,
            is_locked: false,
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
        let added = Added {
            device: self.device,
            tenant: self.tenant,
            is_remembered: self.is_remembered,
            must_renew: self.rotation.must_renew,
            is_locked: self.is_locked,
        };
        let pauses = Pauses { longest_millis: u64::try_from(self.longest_pause.as_millis()).unwrap_or(u64::MAX) };
        // Serialising plain data into memory does not fail; were it to, the record would read as damaged.
        Zeroizing::new(postcard::to_extend(&(record, added, pauses), vec![CODEC_VERSION]).unwrap_or_default())
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
            1 => Self::decode_as::<PrincipalV2<'_>, BoundV1>(handle, rest, who, before_4),
            2 => Self::decode_as::<PrincipalV2<'_>, Bound>(handle, rest, who, before_4),
            3 => Self::decode_as::<PrincipalRef<'_>, Bound>(handle, rest, who, before_4),
            4 => Self::decode_as::<PrincipalRef<'_>, Bound>(handle, rest, who, before_5),
            CODEC_VERSION => Self::decode_as::<PrincipalRef<'_>, Bound>(handle, rest, who, everything),
            later => Err(RecordError::Version(later)),
        }
    }

    fn decode_as<'bytes, P, B>(
        handle: SessionHandle,
        bytes: &'bytes [u8],
        who: impl FnOnce(TenantId, &PrincipalRef<'_>) -> Arc<Principal>,
        rest: impl FnOnce(&'bytes [u8]) -> postcard::Result<(Later, &'bytes [u8])>,
    ) -> Result<Self, RecordError>
    where
        P: Deserialize<'bytes> + Into<PrincipalRef<'bytes>>,
        B: Deserialize<'bytes> + Into<Bound>,
    {
        let (record, left) = postcard::take_from_bytes::<Encoded<P, B>>(bytes).map_err(|_| RecordError::Damaged)?;
        let ((added, pauses), left) = rest(left).map_err(|_| RecordError::Damaged)?;
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
            // Where it was not written down, all of its time may have been one.
            longest_pause: pauses.map_or_else(
                || record.active_at.since(record.authenticated_at),
                |pauses| Duration::from_millis(pauses.longest_millis),
            ),
            rotation: Rotation {
                generation: record.generation,
                presented_at: record.presented_at,
                must_renew: added.must_renew,
            },
            bound: record.bound.into(),
            ended: record.ended,
            device: added.device,
            tenant: added.tenant,
            is_remembered: added.is_remembered,
            is_locked: added.is_locked,
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

/// What the versions before 4 have of what came with it and after it.
fn before_4(left: &[u8]) -> postcard::Result<(Later, &[u8])> {
    Ok(((Added::default(), None), left))
}

fn everything(left: &[u8]) -> postcard::Result<(Later, &[u8])> {
    postcard::take_from_bytes(left).map(|((added, pauses), left)| ((added, Some(pauses)), left))
}

/// What version 4 has of it.
fn before_5(left: &[u8]) -> postcard::Result<(Later, &[u8])> {
    postcard::take_from_bytes(left).map(|(added, left)| ((added, None), left))
}

fn own(_: TenantId, parts: &PrincipalRef<'_>) -> Arc<Principal> {
    Arc::new(Principal::from(*parts))
}

#[cfg(test)]
mod tests;
