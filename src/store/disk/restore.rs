//! Filling memory from the file at the start. What is the same for many sessions is done once: a start with a million of
//! them may take one and a half seconds of CPU time, which is one and a half microseconds each.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::session::handle::SessionHandle;
use crate::session::principal::Principal;
use crate::session::record::{Owner, Record, RecordError};
use crate::store::disk::file::SessionFile;
use crate::store::disk::sealing::Sealing;
use crate::store::memory::MemoryStore;

/// Somebody who is known, and their sessions that have not ended.
struct Person {
    principal: Arc<Principal>,
    sessions: Vec<SessionHandle>,
}

/// What was in the file.
pub(super) struct Restored {
    pub(super) memory: MemoryStore,
    /// Who has sessions that have not ended and are not just what is known of their person.
    pub(super) unlike: Vec<Box<str>>,
}

/// Reads every session there is.
///
/// # Errors
/// A sentence that says what is wrong and what to do.
pub(super) fn restore(
    file: &mut SessionFile,
    path: &Path,
    sealing: &Sealing,
    known: HashMap<Box<str>, Arc<Principal>>,
) -> Result<Restored, String> {
    let memory = MemoryStore::with_room_for(file.count(), known.len());
    let mut people: HashMap<Box<str>, Person> =
        known.into_iter().map(|(name, principal)| (name, Person { principal, sessions: Vec::new() })).collect();
    let mut unlike = HashSet::new();
    let mut opener = sealing.opener();
    file.read_all(|handle, sealed| {
        let (mut found, people) = (None, &mut people);
        let slot = &mut found;
        let opened = opener.open(handle, sealed, move |parts| {
            let person = people.get_mut(parts.user).filter(|person| parts.may_be(&person.principal));
            let principal = person
                .as_ref()
                .map_or_else(|| Arc::new(Principal::from(*parts)), |person| Arc::clone(&person.principal));
            *slot = person;
            principal
        });
        let record = opened.map_err(|error| refusal(path, error))?;
        match (found, &record) {
            (_, Record { ended: Some(_), .. }) => memory.restore(record),
            (Some(person), _) => {
                person.sessions.push(handle);
                memory.restore(record);
            }
            (None, Record { principal, .. }) => {
                if let Some(principal) = principal.as_ref().filter(|principal| !unlike.contains(&principal.user)) {
                    unlike.insert(principal.user.clone());
                }
                memory.add(record, None);
            }
        }
        Ok(())
    })?;
    for (name, person) in people {
        memory.restore_owner(Owner::User(name), person.sessions);
    }
    Ok(Restored { memory, unlike: unlike.into_iter().collect() })
}

/// Opens every session there is, and keeps none.
///
/// # Errors
/// As [`restore`].
pub(super) fn read_through(file: &mut SessionFile, path: &Path, sealing: &Sealing) -> Result<(), String> {
    let mut opener = sealing.opener();
    file.read_all(|handle, sealed| {
        let opened = opener.open(handle, sealed, |parts| Arc::new(Principal::from(*parts)));
        opened.map(drop).map_err(|error| refusal(path, error))
    })
}

fn refusal(path: &Path, error: RecordError) -> String {
    let path = path.display();
    match error {
        RecordError::Sealed => format!(
            "the session store {path} has sessions that its keys do not open: put back the key that it was written with, \
             behind the others, or move the file away, and everybody signs in again. If the key is there, the file is \
             damaged"
        ),
        error @ (RecordError::Damaged | RecordError::Version(_)) => {
            format!("the session store {path} cannot be read: {error}")
        }
    }
}
