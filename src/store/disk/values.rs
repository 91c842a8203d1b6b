//! Named values in the file of the disk store. A row's head, its version and its end, is in the clear, so that rows can be
//! listed and forgotten without opening them; it is sealed against change together with the name. Names are in the clear.

use redb::{ReadableTable, Table, TableDefinition};

use crate::base::clock::Timestamp;
use crate::session::kv::{Entry, Expected, Space};
use crate::session::store::StoreError;
use crate::store::disk::sealing::Sealing;
use crate::store::memory_kv::{lasts, next_version};

/// The values: space and name, head and sealed value.
pub(super) const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// What is between a space and a name.
const BETWEEN: char = '\0';

/// The head: the version and the end in milliseconds, or the largest number for none.
const HEAD: usize = 16;
const NEVER: u64 = u64::MAX;

/// Something that is asked of the values.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) what: What,
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum What {
    Get(Space, String),
    Put {
        space: Space,
        name: String,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    },
    Delete(Space, String),
    List {
        space: Space,
        prefix: String,
        most: usize,
    },
    Expire,
    /// Seal everything under the active key.
    Reseal,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Found(Option<Entry>),
    Version(Option<u64>),
    WasThere(bool),
    Names(Vec<String>),
    Count(usize),
}

impl Wish {
    /// Whether it leaves everything as it is.
    pub(super) const fn only_reads(&self) -> bool {
        match self.what {
            What::Get(..) | What::List { .. } => true,
            What::Put { .. } | What::Delete(..) | What::Expire | What::Reseal => false,
        }
    }
}

/// Answers what changes nothing; `None` for anything else.
pub(super) fn read(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    wish: &Wish,
    sealing: &Sealing,
) -> Result<Option<Result<Answer, StoreError>>, redb::Error> {
    Ok(match &wish.what {
        What::Get(space, name) => {
            let key = key(*space, name);
            let row = table.get(&*key)?;
            Some(row.map_or(Ok(None), |row| open(&key, row.value(), wish.now, sealing)).map(Answer::Found))
        }
        What::List { space, prefix, most } => {
            let start = key(*space, prefix);
            let mut names = Vec::new();
            for row in table.range(&*start..)? {
                let (found, row) = row?;
                let Some(name) = found.value().strip_prefix(&*start) else { break };
                if names.len() >= *most {
                    break;
                }
                if head(row.value()).is_some_and(|head| lasts(&head, wish.now)) {
                    names.push(format!("{prefix}{name}"));
                }
            }
            Some(Ok(Answer::Names(names)))
        }
        What::Put { .. } | What::Delete(..) | What::Expire | What::Reseal => None,
    })
}

/// Does what is asked.
pub(super) fn apply(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    wish: &Wish,
    sealing: &Sealing,
) -> Result<Result<Answer, StoreError>, redb::Error> {
    if let Some(answer) = read(table, wish, sealing)? {
        return Ok(answer);
    }
    Ok(Ok(match &wish.what {
        What::Put { space, name, expected, value, expires_at } => {
            let key = key(*space, name);
            let there = table.get(&*key)?.and_then(|row| head(row.value())).filter(|head| lasts(head, wish.now));
            let version = next_version(there.as_ref(), *expected);
            if let Some(version) = version {
                table.insert(&*key, &*seal(&key, version, *expires_at, value, sealing))?;
            }
            Answer::Version(version)
        }
        What::Delete(space, name) => {
            let row = table.remove(&*key(*space, name))?;
            Answer::WasThere(row.and_then(|row| head(row.value())).is_some_and(|head| lasts(&head, wish.now)))
        }
        What::Expire => {
            let before = redb::ReadableTableMetadata::len(table)?;
            table.retain(|_, row| head(row).is_none_or(|head| lasts(&head, wish.now)))?;
            let after = redb::ReadableTableMetadata::len(table)?;
            Answer::Count(usize::try_from(before - after).unwrap_or(usize::MAX))
        }
        What::Reseal => {
            let mut names = Vec::new();
            for row in table.iter()? {
                names.push(row?.0.value().to_owned());
            }
            for name in &names {
                let resealed = table.get(&**name)?.and_then(|row| {
                    let (head, sealed) = row.value().split_at_checked(HEAD)?;
                    let value = sealing.open_value(name, head, sealed)?;
                    Some([head, &sealing.seal_value(name, head, &value)].concat())
                });
                match resealed {
                    Some(row) => drop(table.insert(&**name, &*row)?),
                    None => return Ok(Err(StoreError(format!("the value {name:?} does not open")))),
                }
            }
            Answer::Count(names.len())
        }
        What::Get(..) | What::List { .. } => Answer::Count(0),
    }))
}

fn key(space: Space, name: &str) -> String {
    format!("{}{BETWEEN}{name}", space.name())
}

/// What a row says in the clear, as an entry without its value.
fn head(row: &[u8]) -> Option<Entry> {
    let (version, rest) = row.split_first_chunk::<8>()?;
    let (ends, _) = rest.split_first_chunk::<8>()?;
    let ends = u64::from_le_bytes(*ends);
    let expires_at = (ends != NEVER).then(|| Timestamp::from_millis(ends));
    Some(Entry { value: Vec::new(), version: u64::from_le_bytes(*version), expires_at })
}

fn seal(key: &str, version: u64, expires_at: Option<Timestamp>, value: &[u8], sealing: &Sealing) -> Vec<u8> {
    let ends = expires_at.map_or(NEVER, Timestamp::as_millis);
    let mut row = [version.to_le_bytes(), ends.to_le_bytes()].concat();
    let sealed = sealing.seal_value(key, &row, value);
    row.extend(sealed);
    row
}

fn open(key: &str, row: &[u8], now: Timestamp, sealing: &Sealing) -> Result<Option<Entry>, StoreError> {
    let damaged = || StoreError(format!("the value {key:?} does not open"));
    let Some(entry) = head(row).filter(|head| lasts(head, now)) else { return Ok(None) };
    let (head, sealed) = row.split_at_checked(HEAD).ok_or_else(damaged)?;
    let value = sealing.open_value(key, head, sealed).ok_or_else(damaged)?;
    Ok(Some(Entry { value, ..entry }))
}
