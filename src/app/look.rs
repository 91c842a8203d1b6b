//! What a start would meet, looked at without starting: what is opened and made then is neither opened nor made here.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::listen::{self, Opening, Place};
use crate::app;
use crate::app::keys::{Keys, Moment, keys};
use crate::base::clock::Clock;
use crate::base::random::Random;
use crate::config::{Plan, StoreKind};
use crate::crypto::key_file;
use crate::crypto::keyring::KeyRing;
use crate::server::sockets;
use crate::session::tenant::DEFAULT_TENANT;
use crate::store::disk::{DiskStore, Found};

/// Looks whether the addresses that people come to are there. Gives what is to be said although nothing is wrong. Whether a
/// port is free is not looked at: the gateway whose next configuration this is has it.
///
/// # Errors
/// Which of them this machine does not have, in the words of the start.
pub(crate) fn people(plan: &Plan) -> Result<Vec<String>, String> {
    can_be_bound(plan.server.listen.iter().chain(&plan.server.redirect))
}

fn can_be_bound<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> Result<Vec<String>, String> {
    let said = addresses.map(|address| sockets::can_be_bound(*address)).collect::<Result<Vec<_>, _>>()?;
    // The right to it may come with the start: a unit gives it, or has the port open.
    let without = |port: u16| {
        format!(
            "this user may not listen on port {port}: a start needs the capability CAP_NET_BIND_SERVICE, or the port from a \
             socket unit"
        )
    };
    let mut said: Vec<String> = said.into_iter().flatten().map(without).collect();
    said.dedup();
    Ok(said)
}

/// Looks at all else that a start opens or makes beside what the plan was read from, as the user who runs this. Gives what is
/// to be said although nothing is wrong.
///
/// # Errors
/// Everything that would keep the gateway from starting, in the words of the start, a line each.
pub(crate) fn rest(plan: &Plan) -> Result<Vec<String>, String> {
    let metrics = can_be_bound(plan.admin.metrics.iter());
    let door = match &plan.admin.listen {
        Some(Place::Unix(path)) => listen::can_be_opened(path).map(|opening| (opening, Vec::new())),
        Some(Place::Tcp { address, .. }) => can_be_bound([address].into_iter()).map(|said| (Opening::Free, said)),
        None => Ok((Opening::Free, Vec::new())),
    };
    let ring = ring(plan);
    let said = ring.as_ref().map_err(String::clone).and_then(|ring| store(plan, ring));
    let ring = ring.unwrap_or_else(|_| Arc::new(KeyRing::ephemeral(&Random::System)));
    let snapshot = app::snapshot(plan, &ring, &Clock::System, None).map(drop);
    let wrong = [metrics.as_ref().err(), door.as_ref().err(), said.as_ref().err(), snapshot.as_ref().err()];
    let wrong: Vec<&str> = wrong.into_iter().flatten().map(String::as_str).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let (ports, (opening, port), store) = (metrics?, door?, said?);
    // Where the store is in use as well, that is the gateway whose next configuration this is.
    let answered = (opening == Opening::Answered && store.is_none()).then(|| {
        "another process answers at the admin socket, as it does while a gateway runs: if it is not the one that this \
         configuration is for, it must go, or \"listen\" in [admin] be another, before this can start"
            .to_owned()
    });
    Ok(ports.into_iter().chain(port).chain(store).chain(answered).collect())
}

/// The keys, or others in the place of those that are to be made: nothing is sealed yet that they would have to open.
fn ring(plan: &Plan) -> Result<Arc<KeyRing>, String> {
    match keys(plan, &Random::System, Moment::Start)? {
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
    Ok(match DiskStore::look(path, Arc::clone(ring), DEFAULT_TENANT)? {
        Found::ToBeMade | Found::Good => None,
        Found::InUse => Some(format!(
            "the session store {} is in use by another process, as it is while a gateway runs: what is in it was not \
             looked at",
            path.display()
        )),
    })
}
