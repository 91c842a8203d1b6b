//! How records are sealed before they leave the process.

use std::sync::Arc;

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::base::random::Random;
use crate::crypto::keyring::{KeyId, KeyRing, Purpose};
use crate::session::handle::SessionHandle;
use crate::session::principal::{Principal, PrincipalRef};
use crate::session::record::{Record, RecordError};
use crate::session::tenant::TenantId;

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

    /// What opens one record after another under the keys of this moment.
    pub(super) fn opener(&self) -> Opener<'_> {
        Opener { ring: self.ring.load_full(), tenant: &self.tenant, opened: Zeroizing::default() }
    }
}

/// Opens records, all in the same memory.
pub(super) struct Opener<'sealing> {
    ring: Arc<KeyRing>,
    tenant: &'sealing str,
    opened: Zeroizing<Vec<u8>>,
}

impl Opener<'_> {
    /// As [`Record::open_with`].
    pub(super) fn open(
        &mut self,
        handle: SessionHandle,
        sealed: &[u8],
        who: impl FnOnce(TenantId, &PrincipalRef<'_>) -> Arc<Principal>,
    ) -> Result<Record, RecordError> {
        self.opened.clear();
        self.opened.extend_from_slice(sealed);
        Record::open_with(handle, &self.ring, self.tenant, &mut self.opened, who)
    }
}
