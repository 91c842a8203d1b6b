//! How records are sealed before they leave the process.

use std::sync::Arc;

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::base::random::Random;
use crate::crypto::keyring::{KeyId, KeyRing, Purpose};
use crate::session::handle::SessionHandle;
use crate::session::record::{Record, RecordError};

/// The keys, whose records they are, and where nonces come from.
pub(super) struct Sealing {
    /// Exchanged when the keys are.
    pub(super) ring: ArcSwap<KeyRing>,
    tenant: Box<str>,
    random: Random,
}

impl Sealing {
    pub(super) fn new(ring: Arc<KeyRing>, tenant: &str, random: Random) -> Self {
        Self { ring: ArcSwap::new(ring), tenant: tenant.into(), random }
    }

    pub(super) fn seal(&self, record: &Record) -> Vec<u8> {
        record.seal(&self.ring.load(), &self.tenant, &self.random)
    }

    /// Seals a named value; `head` is bound to it.
    pub(super) fn seal_value(&self, name: &str, head: &[u8], value: &[u8]) -> Vec<u8> {
        let ring = self.ring.load();
        let id = ring.active();
        let mut sealed = id.to_vec();
        if let Some(key) = ring.derive(id, Purpose::Value, &self.tenant, name.as_bytes()) {
            sealed.extend(key.seal(self.random.bytes(), head, value));
        }
        sealed
    }

    /// Opens what was sealed so.
    pub(super) fn open_value(&self, name: &str, head: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (id, sealed): (&KeyId, _) = sealed.split_first_chunk()?;
        let key = self.ring.load().derive(*id, Purpose::Value, &self.tenant, name.as_bytes())?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        key.open(head, &mut sealed).map(<[u8]>::to_vec)
    }

    pub(super) fn open(&self, handle: SessionHandle, sealed: &[u8]) -> Result<Record, RecordError> {
        Record::open(handle, &self.ring.load(), &self.tenant, sealed)
    }
}
