//! The file of the disk store: a redb database, one row a session, each sealed under a key of its own handle.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError,
    TableDefinition,
};

use crate::session::handle::SessionHandle;
use crate::session::store::StoreError;
use crate::store::disk::sealing::Sealing;
use crate::store::disk::values::{self, Answer, VALUES, Wish};

/// The sessions: handle, sealed record.
const SESSIONS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("sessions");

/// What the file says of itself.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The name of the layout's version in [`ABOUT`], and the one that is written and read.
const FORMAT: &str = "format";
const FORMAT_NOW: u64 = 1;

/// What every redb database begins with (redb's docs/design.md, "Database header").
const MAGIC: &[u8; 4] = b"redb";

/// How much of the file is held in memory, in bytes: what writes touch again and again. The sessions themselves are in
/// memory anyway.
const CACHE: usize = 32 << 20;

/// A row to be written, or taken away.
pub(super) type Row = (SessionHandle, Option<Vec<u8>>);

/// The open file. Nobody else can open it meanwhile.
pub(super) struct SessionFile {
    path: PathBuf,
    /// `None` while it cannot be opened again after a failure.
    database: Option<Database>,
}

impl SessionFile {
    /// Opens the file, and makes it if there is none; whether it was made. One that is there is never replaced, whatever
    /// is wrong with it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), String> {
        let is_new = match fs::metadata(path) {
            Ok(about) if about.len() == 0 => return Err(no_store(path, "it is empty")),
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(path).map_err(|error| unusable(path, &error))?;
                true
            }
            Err(error) => return Err(unusable(path, &error)),
        };
        let database = open_database(path)?;
        match format_of(&database) {
            Ok(Some(FORMAT_NOW)) => Ok((Self { path: path.to_owned(), database: Some(database) }, is_new)),
            Ok(Some(other)) => Err(no_store(path, &format!("a later version of vestibule wrote it (format {other})"))),
            Ok(None) => Err(no_store(path, "it is a database of something else")),
            Err(error) => Err(no_store(path, &error.to_string())),
        }
    }

    /// How many rows there are; nought when that cannot be read, which reading them will say.
    pub(super) fn count(&self) -> usize {
        let count = || {
            let table = self.database.as_ref()?.begin_read().ok()?.open_table(SESSIONS).ok()?;
            usize::try_from(table.len().ok()?).ok()
        };
        catch_unwind(AssertUnwindSafe(count)).ok().flatten().unwrap_or_default()
    }

    /// Hands every row to `take`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file, or what `take` says.
    pub(super) fn read_all(
        &self,
        mut take: impl FnMut(SessionHandle, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let damaged = |error: &dyn std::fmt::Display| no_store(&self.path, &format!("it is damaged ({error})"));
        let Some(database) = &self.database else { return Err(damaged(&"it is closed")) };
        let read = catch_unwind(AssertUnwindSafe(|| {
            let table = database
                .begin_read()
                .map_err(|error| damaged(&error))?
                .open_table(SESSIONS)
                .map_err(|error| damaged(&error))?;
            for row in table.iter().map_err(|error| damaged(&error))? {
                let (handle, sealed) = row.map_err(|error| damaged(&error))?;
                take(SessionHandle::from_bytes(*handle.value()), sealed.value())?;
            }
            Ok(())
        }));
        read.unwrap_or_else(|_| Err(damaged(&"it contradicts itself")))
    }

    /// Writes rows and does what is asked of the values, all or none; when it returns, it is on the disk. What came of each
    /// wish.
    ///
    /// # Errors
    /// A sentence. The file is then opened again with the next call: after a failure redb does not go on by itself.
    pub(super) fn write(
        &mut self,
        rows: &[Row],
        wishes: &[Wish],
        sealing: &Sealing,
    ) -> Result<Vec<Result<Answer, StoreError>>, String> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path)?,
        };
        // Kept only if all went well.
        let written = catch_unwind(AssertUnwindSafe(|| {
            if rows.is_empty() && wishes.iter().all(Wish::only_reads) {
                look(&database, wishes, sealing)
            } else {
                put(&database, rows, wishes, sealing)
            }
        }));
        let written = written.unwrap_or_else(|_| Err(redb::Error::Corrupted("the file contradicts itself".to_owned())));
        let answers = written.map_err(|error| error.to_string())?;
        self.database = Some(database);
        Ok(answers)
    }
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
    {
        let mut table = writing.open_table(SESSIONS)?;
        for (handle, sealed) in rows {
            match sealed {
                Some(sealed) => drop(table.insert(handle.as_bytes(), sealed.as_slice())?),
                None => drop(table.remove(handle.as_bytes())?),
            }
        }
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

/// Makes a new file beside its place, and puts it there when it is whole: a crash leaves no half of one, and a file that
/// has come to be there meanwhile stays.
fn make(path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    let made = fill(&unfinished).and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    made?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn fill(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let fill = || -> Result<(), redb::Error> {
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        let writing = database.begin_write()?;
        writing.open_table(SESSIONS)?;
        writing.open_table(VALUES)?;
        writing.open_table(ABOUT)?.insert(FORMAT, FORMAT_NOW)?;
        writing.commit()?;
        Ok(())
    };
    fill().map_err(|error| if let redb::Error::Io(error) = error { error } else { io::Error::other(error) })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn open_database(path: &Path) -> Result<Database, String> {
    // What stands in a damaged file is believed in places, until it contradicts itself.
    match catch_unwind(|| builder().open(path)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => Err(format!(
            "the session store {} is in use by another process: a gateway is running already, or this one needs a path \
             of its own in [session.store]",
            path.display()
        )),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            Err(unusable(path, &error))
        }
        Ok(Err(_)) if is_foreign(path) => Err(no_store(path, "it is no session store of vestibule's")),
        Ok(Err(error)) => Err(no_store(path, &format!("it is damaged ({error})"))),
        Err(_) => Err(no_store(path, "it is damaged")),
    }
}

/// Whether a file does not begin as the store's format has it.
fn is_foreign(path: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_err() || begin != *MAGIC
}

fn format_of(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => Ok(about.get(FORMAT)?.map(|format| format.value())),
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
    } else {
        error.to_string()
    };
    format!("the session store {} cannot be used: {why}", path.display())
}
