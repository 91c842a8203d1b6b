//! Filling memory from the file at the start. What is the same for many sessions is done once: a start with a million of
//! them may take one and a half seconds of CPU time, which is one and a half microseconds each.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::session::handle::SessionHandle;
use crate::session::principal::Principal;
use crate::session::record::{Owner, Person, Record, RecordError};
use crate::session::tenant::TenantId;
use crate::store::disk::Known;
use crate::store::disk::file::SessionFile;
use crate::store::disk::sealing::Sealing;
use crate::store::memory::MemoryStore;

/// Somebody who is known, and their sessions that have not ended.
struct Restoring {
    principal: Arc<Principal>,
    sessions: Vec<SessionHandle>,
}

/// What was in the file.
pub(super) struct Restored {
    pub(super) memory: MemoryStore,
    /// Who has sessions that have not ended and are not just what is known of their person.
    pub(super) unlike: Vec<Person>,
}

/// Reads every session there is.
///
/// # Errors
/// A sentence that says what is wrong and what to do.
pub(super) fn restore(
    file: &mut SessionFile,
    path: &Path,
    sealing: &Sealing,
    known: Known,
) -> Result<Restored, String> {
    let memory = MemoryStore::with_room_for(file.count(), known.values().map(HashMap::len).sum());
    let begin = |(name, principal)| (name, Restoring { principal, sessions: Vec::new() });
    let mut people: HashMap<TenantId, HashMap<Box<str>, Restoring>> =
        known.into_iter().map(|(tenant, known)| (tenant, known.into_iter().map(begin).collect())).collect();
    let mut unlike = HashSet::new();
    let mut opener = sealing.opener();
    file.read_all(|handle, sealed| {
        let (mut found, people) = (None, &mut people);
        let slot = &mut found;
        let opened = opener.open(handle, sealed, move |tenant, parts| {
            let person = people.get_mut(&tenant).and_then(|people| people.get_mut(parts.user));
            let person = person.filter(|person| parts.may_be(&person.principal));
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
            (None, Record { principal, tenant, .. }) => {
                if let Some(principal) = principal {
                    unlike.insert(Person::new(*tenant, &principal.user));
                }
                memory.add(record, None);
            }
        }
        Ok(())
    })?;
    for (tenant, people) in people {
        for (name, person) in people {
            memory.restore_owner(Owner::User(Person { tenant, name }), person.sessions);
        }
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
        let opened = opener.open(handle, sealed, |_, parts| Arc::new(Principal::from(*parts)));
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
