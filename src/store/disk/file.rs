//! The file of the disk store: a redb database, one row a session, each sealed under a key of its own handle.
//!
//! redb believes what stands in a page that it reads: after a crash it checks the beginning of the file alone, because to
//! check all of it takes as long as reading it three times. So what was read is checked here. A row that was altered does
//! not open. That none is missing, comes twice or is of yesterday, is told by a sum over the seals of all rows, which is
//! written with every change of them.
//!
//! What that does not tell: a change of the one bit that says which of the last two commits counts takes the last one back,
//! sum and all, as does whoever puts an older file in its place. A named value that is missing is not missed, because
//! nothing reads all of them; one that was altered does not open. What is only read to be written again, as the list of
//! free pages, is found damaged when it is used, and what came of it at the next start.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    StorageError, TableDefinition,
};

use crate::base::place;
use crate::session::handle::SessionHandle;
use crate::session::store::StoreError;
use crate::store::disk::identity::Identity;
use crate::store::disk::leftovers;
use crate::store::disk::sealing::Sealing;
use crate::store::disk::untouched::Untouched;
use crate::store::disk::values::{self, Answer, VALUES, Wish};

/// The sessions: handle, sealed record.
const SESSIONS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("sessions");

/// What the file says of itself.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The name of the layout's version in [`ABOUT`], the one that is written, and one that is read and brought up to it.
const FORMAT: &str = "format";
const FORMAT_NOW: u64 = 2;
const FORMAT_WITHOUT_SUM: u64 = 1;

/// The name of the sum in [`ABOUT`]: of the last bytes of every sealed record, which are random, as [`mark`] has it.
const SUM: &str = "sum";

/// The least that a row takes in the file, in bytes: a handle, and the key's id, nonce and tag of a sealed record.
const LEAST_ROW: u64 = 16 + 4 + 12 + 16;

/// What every redb database begins with (redb's docs/design.md, "Database header").
const MAGIC: &[u8; 4] = b"redb";

/// What is said of a file that does not begin so.
const FOREIGN: &str = "it is no session store of vestibule's";

/// How much of the file is held in memory, in bytes: what writes touch again and again. The sessions themselves are in
/// memory anyway.
const CACHE: usize = 32 << 20;

/// A row to be written, or taken away.
pub(super) type Row = (SessionHandle, Option<Vec<u8>>);

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// To go on from "the session store PATH cannot be written to: ".
    pub(super) words: String,
    /// Whether the file is not at its place any more.
    pub(super) is_away: bool,
}

/// A file that was looked at.
pub(super) enum Seen {
    /// There is none yet, and it could be made.
    ToBeMade,
    /// Another process has it open.
    InUse,
    /// It is good, as far as can be told without its rows.
    File(SessionFile),
}

/// The open file. Nobody else can open it meanwhile.
pub(super) struct SessionFile {
    path: PathBuf,
    /// `None` while it cannot be opened again after a failure.
    database: Option<Database>,
    /// Of the file as it was opened.
    format: u64,
    /// Which file that is.
    identity: Identity,
}

impl SessionFile {
    /// Opens the file, and makes it if there is none; whether it was made. One that is there is never replaced, whatever
    /// is wrong with it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), String> {
        let is_new = !is_there(path)?;
        if is_new {
            make(path).map_err(|error| unusable(path, &error))?;
        }
        let identity = Identity::at(path).map_err(|error| unusable(path, &error))?;
        let file = Self::of(path, open_database(path)?, identity)?;
        file.is_in_place().map_err(|away| no_store(path, &away.words))?;
        // Whoever makes one this very moment could not put it in its place any more.
        leftovers::remove(path);
        Ok((file, is_new))
    }

    /// Looks at the file as [`SessionFile::open`] would open it, and changes nothing: whoever starts meanwhile finds it
    /// free.
    ///
    /// # Errors
    /// As [`SessionFile::open`].
    pub(super) fn look(path: &Path) -> Result<Seen, String> {
        if !is_there(path)? {
            can_be_made(path)?;
            return Ok(Seen::ToBeMade);
        }
        // The right to write is asked for, and not used.
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| unusable(path, &error))?;
        if is_in_use(path) {
            return Ok(Seen::InUse);
        }
        let identity = Identity::at(path).map_err(|error| unusable(path, &error))?;
        let seen = Untouched::new(file).map_err(|error| unusable(path, &error))?;
        let database = opened(path, || builder().create_with_backend(seen))?;
        Self::of(path, database, identity).map(Seen::File)
    }

    fn of(path: &Path, database: Database, identity: Identity) -> Result<Self, String> {
        match believing(|| about(&database, FORMAT)) {
            Ok(Ok(Some(format @ (FORMAT_NOW | FORMAT_WITHOUT_SUM)))) => {
                Ok(Self { path: path.to_owned(), database: Some(database), format, identity })
            }
            Ok(Ok(Some(other))) => {
                Err(no_store(path, &format!("a later version of vestibule wrote it (format {other})")))
            }
            Ok(Ok(None)) => Err(no_store(path, "it is a database of something else")),
            Ok(Err(error)) => Err(no_store(path, &error.to_string())),
            Err(_) => Err(no_store(path, "it is damaged")),
        }
    }

    /// How many rows there are, as far as that can be believed: no more than fit into the file.
    pub(super) fn count(&self) -> usize {
        let count = || {
            let table = self.database.as_ref()?.begin_read().ok()?.open_table(SESSIONS).ok()?;
            let most = fs::metadata(&self.path).ok()?.len() / LEAST_ROW;
            usize::try_from(table.len().ok()?.min(most)).ok()
        };
        believing(count).ok().flatten().unwrap_or_default()
    }

    /// Hands every row to `take`, and makes sure that these were all. A file of before there was a sum is given one.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file, or what `take` says.
    pub(super) fn read_all(
        &mut self,
        mut take: impl FnMut(SessionHandle, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let damaged = |error: &dyn std::fmt::Display| no_store(&self.path, &format!("it is damaged ({error})"));
        let Some(database) = &self.database else { return Err(damaged(&"it is closed")) };
        let read = believing(|| {
            let reading = database.begin_read().map_err(|error| damaged(&error))?;
            let table = reading.open_table(SESSIONS).map_err(|error| damaged(&error))?;
            let (mut sum, mut last) = (0_u64, None);
            for row in table.iter().map_err(|error| damaged(&error))? {
                let (handle, sealed) = row.map_err(|error| damaged(&error))?;
                let handle = SessionHandle::from_bytes(*handle.value());
                // A page that leads back to one before it would be read for ever.
                if last.is_some_and(|last| last >= handle) {
                    return Err(damaged(&"it contradicts itself"));
                }
                last = Some(handle);
                sum = sum.wrapping_add(mark(sealed.value()));
                take(handle, sealed.value())?;
            }
            Ok(sum)
        });
        let sum = read.unwrap_or_else(|_| Err(damaged(&"it contradicts itself")))?;
        if self.format == FORMAT_WITHOUT_SUM {
            let brought = believing(|| bring_up(database, sum));
            let brought = brought.unwrap_or_else(|_| Err(contradiction()));
            return brought.map_err(|error| unusable(&self.path, &io_error(error)));
        }
        match believing(|| about(database, SUM)) {
            Ok(Ok(Some(expected))) if expected == sum => Ok(()),
            Ok(Ok(_)) => {
                Err(damaged(&"it has not all the sessions that were written, or not as they were written last"))
            }
            Ok(Err(error)) => Err(damaged(&error)),
            Err(_) => Err(damaged(&"it contradicts itself")),
        }
    }

    /// Whether the file is still where the next start would look for it.
    ///
    /// # Errors
    /// What is there instead.
    pub(super) fn is_in_place(&self) -> Result<(), Failure> {
        self.identity.is_still_at(&self.path).map_err(|words| Failure { words, is_away: true })
    }

    /// Writes rows and does what is asked of the values, all or none; when it returns, it is on the disk, in the file that
    /// the next start reads. What came of each wish.
    ///
    /// # Errors
    /// Why not. After a failure of the file itself, it is opened again with the next call: redb does not go on by itself.
    pub(super) fn write(
        &mut self,
        rows: &[Row],
        wishes: &[Wish],
        sealing: &Sealing,
    ) -> Result<Vec<Result<Answer, StoreError>>, Failure> {
        self.is_in_place()?;
        let failed = |words| Failure { words, is_away: false };
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path).map_err(failed)?,
        };
        // Kept only if all went well.
        let written = believing(|| {
            if rows.is_empty() && wishes.iter().all(Wish::only_reads) {
                look(&database, wishes, sealing)
            } else {
                put(&database, rows, wishes, sealing)
            }
        });
        match written.unwrap_or_else(|_| Err(contradiction())) {
            Ok(answers) => {
                self.database = Some(database);
                // It may have been taken away meanwhile.
                self.is_in_place().map(|()| answers)
            }
            Err(error) => {
                let_go(database);
                Err(failed(error.to_string()))
            }
        }
    }
}

impl Drop for SessionFile {
    fn drop(&mut self) {
        self.database.take().into_iter().for_each(let_go);
    }
}

/// Closes it. Something is written for that, and what stands in a damaged file may be in the way.
fn let_go(database: Database) {
    let _ = believing(|| drop(database));
}

fn look(
    database: &Database,
    wishes: &[Wish],
    sealing: &Sealing,
) -> Result<Vec<Result<Answer, StoreError>>, redb::Error> {
    let table = database.begin_read()?.open_table(VALUES)?;
    let mut answers = Vec::new();
    for wish in wishes {
        answers.extend(values::read(&table, wish, sealing)?);
    }
    Ok(answers)
}

fn put(
    database: &Database,
    rows: &[Row],
    wishes: &[Wish],
    sealing: &Sealing,
) -> Result<Vec<Result<Answer, StoreError>>, redb::Error> {
    let mut answers = Vec::new();
    let mut writing = database.begin_write()?;
    // The commit says which pages are free, so that opening the file after a crash need not walk through all of it.
    writing.set_quick_repair(true);
    if !rows.is_empty() {
        let mut table = writing.open_table(SESSIONS)?;
        let mut change = 0_u64;
        for (handle, sealed) in rows {
            let former = match sealed {
                Some(sealed) => table.insert(handle.as_bytes(), sealed.as_slice())?,
                None => table.remove(handle.as_bytes())?,
            };
            let [former, now] =
                [former.as_ref().map(|row| row.value()), sealed.as_deref()].map(|row| row.map_or(0, mark));
            change = change.wrapping_add(now).wrapping_sub(former);
        }
        let mut about = writing.open_table(ABOUT)?;
        let sum = about.get(SUM)?.map_or(0, |sum| sum.value());
        about.insert(SUM, sum.wrapping_add(change))?;
    }
    if !wishes.is_empty() {
        let mut table = writing.open_table(VALUES)?;
        for wish in wishes {
            answers.push(values::apply(&mut table, wish, sealing)?);
        }
    }
    writing.commit()?;
    Ok(answers)
}

/// Whether there is a file.
fn is_there(path: &Path) -> Result<bool, String> {
    match fs::metadata(path) {
        Ok(about) if about.len() == 0 => Err(no_store(path, "it is empty")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// Whether a new file could be made by [`make`], which also reads the folder.
///
/// # Errors
/// A sentence that says why not.
pub(super) fn can_be_made(path: &Path) -> Result<(), String> {
    let can = place::can_make(path).and_then(|()| File::open(place::folder_of(path)));
    can.map(drop).map_err(|error| unusable(path, &error))
}

/// Whether another process has the file open as its store. That is asked for, and nothing is locked by it: one that starts
/// finds it free.
pub(super) fn is_in_use(path: &Path) -> bool {
    let Some(file) = File::open(path).ok().and_then(|file| FileBackend::new(file).ok()) else { return false };
    file.query_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap_or(false)
}

/// Makes a new file beside its place, and puts it there when it is whole: a crash leaves no half of one, and a file that
/// has come to be there meanwhile stays.
fn make(path: &Path) -> io::Result<()> {
    let unfinished = leftovers::name(path);
    let made = fill(&unfinished).and_then(|()| fs::hard_link(&unfinished, path));
    // Another gateway that has made one, and holds it, has removed this one.
    fs::remove_file(&unfinished)
        .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    made?;
    File::open(place::folder_of(path))?.sync_all()
}

fn fill(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let fill = || -> Result<(), redb::Error> {
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        let writing = database.begin_write()?;
        writing.open_table(SESSIONS)?;
        writing.open_table(VALUES)?;
        let mut about = writing.open_table(ABOUT)?;
        about.insert(FORMAT, FORMAT_NOW)?;
        about.insert(SUM, 0)?;
        drop(about);
        writing.commit()?;
        Ok(())
    };
    fill().map_err(io_error)
}

/// Gives a file of before there was a sum the one of its rows.
fn bring_up(database: &Database, sum: u64) -> Result<(), redb::Error> {
    let mut writing = database.begin_write()?;
    writing.set_quick_repair(true);
    let mut about = writing.open_table(ABOUT)?;
    about.insert(FORMAT, FORMAT_NOW)?;
    about.insert(SUM, sum)?;
    drop(about);
    writing.commit()?;
    Ok(())
}

/// What a row adds to the sum: the end of its seal's tag, which is another one whenever it is written.
fn mark(sealed: &[u8]) -> u64 {
    sealed.last_chunk().map_or(0, |end| u64::from_le_bytes(*end))
}

/// What stands in a damaged file is believed, until it contradicts itself: redb then panics.
struct Contradiction;

/// Does something with the file. A contradiction is told by whoever finds it, in a sentence, and not by redb as well.
fn believing<T>(what: impl FnOnce() -> T) -> Result<T, Contradiction> {
    static QUIET: Once = Once::new();
    thread_local! { static BELIEVES: Cell<bool> = const { Cell::new(false) } }
    QUIET.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            if !BELIEVES.get() {
                tell(what);
            }
        }));
    });
    BELIEVES.set(true);
    let done = catch_unwind(AssertUnwindSafe(what));
    BELIEVES.set(false);
    done.map_err(|_| Contradiction)
}

fn contradiction() -> redb::Error {
    redb::Error::Corrupted("the file contradicts itself".to_owned())
}

fn io_error(error: redb::Error) -> io::Error {
    if let redb::Error::Io(error) = error { error } else { io::Error::other(error) }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn open_database(path: &Path) -> Result<Database, String> {
    opened(path, || builder().open(path))
}

fn opened(path: &Path, open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<Database, String> {
    match believing(open) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => Err(format!(
            "the session store {} is in use by another process: a gateway is running already, or this one needs a path \
             of its own in [session.store]",
            path.display()
        )),
        // What lies behind the end of the file is asked for by a damaged one.
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if ![ErrorKind::InvalidData, ErrorKind::UnexpectedEof].contains(&error.kind()) =>
        {
            Err(unusable(path, &error))
        }
        Ok(Err(_)) if is_foreign(path) => Err(no_store(path, FOREIGN)),
        Ok(Err(error)) => Err(no_store(path, &format!("it is damaged ({error})"))),
        Err(_) => Err(no_store(path, "it is damaged")),
    }
}

/// Whether a file does not begin as the store's format has it.
fn is_foreign(path: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_err() || begin != *MAGIC
}

/// Whether what is there can be told to be no store without opening it, and so without its keys.
///
/// # Errors
/// A sentence that says so.
pub(super) fn can_be_one(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() && about.len() == 0 => Err(no_store(path, "it is empty")),
        Ok(about) if about.is_file() && File::open(path).is_ok() && is_foreign(path) => Err(no_store(path, FOREIGN)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What the file says of itself under this name.
fn about(database: &Database, name: &str) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => Ok(about.get(name)?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is said of a file that is there and cannot be used as a store.
fn no_store(path: &Path, why: &str) -> String {
    format!(
        "{} cannot be used as the session store: {why}. Write another \"path\" in [session.store], or put the store back \
         from a copy, or move this file away: the gateway then begins with a new one, and everybody signs in again",
        path.display()
    )
}

fn unusable(path: &Path, error: &io::Error) -> String {
    let kind = error.kind();
    let why = if kind == ErrorKind::PermissionDenied {
        "this user may not read and write it".to_owned()
    } else if kind == ErrorKind::ReadOnlyFilesystem {
        "its file system is read-only".to_owned()
    } else if kind == ErrorKind::StorageFull {
        "its file system is full".to_owned()
    } else if kind == ErrorKind::NotFound {
        "there is no such folder; make it, or write another \"path\" in [session.store]".to_owned()
    } else if kind == ErrorKind::NotADirectory {
        "what should be its folder is none; write another \"path\" in [session.store]".to_owned()
    } else {
        error.to_string()
    };
    format!("the session store {} cannot be used: {why}", path.display())
}
