//! What a start would meet, looked at without starting: what is opened and made then is neither opened nor made here.

use std::sync::Arc;

use crate::admin::listen::{self, Place};
use crate::app::keys::{Keys, keys};
use crate::app::{self, TENANT};
use crate::base::clock::Clock;
use crate::base::random::Random;
use crate::config::{Plan, StoreKind};
use crate::crypto::key_file;
use crate::crypto::keyring::KeyRing;
use crate::store::disk::{DiskStore, Found};

/// Looks at all that a start opens or makes beside what the plan was read from, as the user who runs this. Gives what is to
/// be said although nothing is wrong. Whether ports are free is not looked at: the gateway whose next configuration this is
/// has them.
///
/// # Errors
/// Everything that would keep the gateway from starting, in the words of the start, a line each.
pub(crate) fn look(plan: &Plan) -> Result<Option<String>, String> {
    let door = match &plan.admin.listen {
        Some(Place::Unix(path)) => listen::can_be_opened(path),
        Some(Place::Tcp { .. }) | None => Ok(()),
    };
    let ring = ring(plan);
    let said = ring.as_ref().map_err(String::clone).and_then(|ring| store(plan, ring));
    let ring = ring.unwrap_or_else(|_| Arc::new(KeyRing::ephemeral(&Random::System)));
    let snapshot = app::snapshot(plan, &ring, &Clock::System, None).map(drop);
    let wrong: Vec<String> = [door.err(), said.as_ref().err().cloned(), snapshot.err()].into_iter().flatten().collect();
    if wrong.is_empty() { said } else { Err(wrong.join("\n")) }
}

/// The keys, or others in the place of those that are to be made: nothing is sealed yet that they would have to open.
fn ring(plan: &Plan) -> Result<Arc<KeyRing>, String> {
    match keys(plan, &Random::System)? {
        Keys::There(ring) => Ok(Arc::new(ring)),
        Keys::ToBeMade(path) => {
            key_file::can_be_made(&path)?;
            Ok(Arc::new(KeyRing::ephemeral(&Random::System)))
        }
    }
}

fn store(plan: &Plan, ring: &Arc<KeyRing>) -> Result<Option<String>, String> {
    let path = match &plan.session.store {
        StoreKind::Memory => return Ok(None),
        StoreKind::Disk(path) => path,
    };
    Ok(match DiskStore::look(path, Arc::clone(ring), TENANT)? {
        Found::ToBeMade | Found::Good => None,
        Found::InUse => Some(format!(
            "the session store {} is in use by another process, as it is while a gateway runs: what is in it was not \
             looked at",
            path.display()
        )),
    })
}
