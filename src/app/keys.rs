//! The keys of a plan: configured ones, or the gateway's own.

use std::path::PathBuf;

use crate::base::random::Random;
use crate::base::secret::Secret;
use crate::config::{Plan, StoreKind};
use crate::crypto::key_file;
use crate::crypto::keyring::KeyRing;
use crate::store::disk;

/// When keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At a start, or to see what it would meet.
    Start,
    /// While the gateway runs, which has some.
    Reload,
}

/// The keys of a plan.
pub(super) enum Keys {
    There(KeyRing),
    /// In this file, beside a store that is not there either.
    ToBeMade(PathBuf),
}

/// The keys that are configured, or those of the gateway's own making: beside the sessions, so that they last as long.
pub(super) fn keys(plan: &Plan, random: &Random, moment: Moment) -> Result<Keys, String> {
    if let Some(keys) = &plan.keys {
        return ring_of(keys).map(Keys::There);
    }
    let (StoreKind::Disk(store), Some(path)) = (&plan.session.store, plan.own_keys()) else {
        return Ok(Keys::There(KeyRing::ephemeral(random)));
    };
    if let Some(keys) = key_file::read(&path)? {
        return ring_of(&keys).map(Keys::There);
    }
    if moment == Moment::Reload || disk::is_in_use(store) {
        return Err(format!(
            "the keys {} of the session store are not there any more: put them back. The gateway that runs goes on with \
             those it has, and without them the next start cannot read the store",
            path.display()
        ));
    }
    if store.exists() {
        disk::can_be_one(store)?;
        return Err(format!(
            "the session store {} is there, and its keys {} are not: put them back, or move the store away, and \
             everybody signs in again",
            store.display(),
            path.display()
        ));
    }
    disk::can_be_made(store)?;
    Ok(Keys::ToBeMade(path))
}

pub(super) fn ring_of(keys: &[Secret<[u8; 32]>]) -> Result<KeyRing, String> {
    let (active, retired) = keys.split_first().ok_or("there is no key")?;
    Ok(KeyRing::new(active.clone(), retired.iter().cloned()))
}

/// The keys of a plan, made if they are to be.
///
/// # Errors
/// A sentence that says what is wrong with them.
pub(crate) fn key_ring(plan: &Plan, random: &Random, moment: Moment) -> Result<KeyRing, String> {
    let path = match keys(plan, random, moment)? {
        Keys::There(ring) => return Ok(ring),
        Keys::ToBeMade(path) => path,
    };
    let keys = key_file::make(&path, random)?;
    tracing::info!("keys for the sessions were made: {}. Whoever has them and the store can read it", path.display());
    ring_of(&keys)
}
