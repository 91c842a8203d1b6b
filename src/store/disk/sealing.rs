//! How records are sealed before they leave the process.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::random::Random;
use crate::crypto::keyring::KeyRing;
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

    pub(super) fn open(&self, handle: SessionHandle, sealed: &[u8]) -> Result<Record, RecordError> {
        Record::open(handle, &self.ring.load(), &self.tenant, sealed)
    }
}
