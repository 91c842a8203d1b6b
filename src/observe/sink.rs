//! Where log lines go: through a bounded queue to one thread that writes, so that a slow reader of the logs never
//! stops a request. Nor does a full disk: what cannot be written is lost, counted, and told once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::base::{place, shell};

/// How many pieces may wait to be written. A piece is a buffer of access log lines or one audit line; when the queue
/// is full, pieces are dropped and counted.
const QUEUE: usize = 1024;

/// The mode of a log file that is made: its group may read it, as a collector of logs does, and nobody else. One that is
/// there keeps its own.
const MODE: u32 = 0o640;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: the default.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// Standard output: the default.
    #[default]
    Stdout,
    /// A file, at its end.
    File(PathBuf),
}

/// The queue to a writer. Clones share it.
#[derive(Clone)]
pub struct LogSink {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    must_reopen: Arc<AtomicBool>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

enum Message {
    Lines(Vec<u8>),
    Close,
}

impl LogSink {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(output: Box<dyn Write + Send>) -> io::Result<Self> {
        Self::start(output, None)
    }

    /// Opens the file at `path`, or makes it, and starts the thread that writes to its end.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        Self::start(Box::new(open(path)?), Some(path.to_owned()))
    }

    fn start(output: Box<dyn Write + Send>, path: Option<PathBuf>) -> io::Result<Self> {
        let (queue, received) = sync_channel(QUEUE);
        let (lost, must_reopen) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let writer = Writer { output, path, lost: Arc::clone(&lost), lost_in_a_row: 0, is_torn: false };
        let reopen = Arc::clone(&must_reopen);
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&received, &reopen))?;
        Ok(Self { queue, lost, must_reopen, writer: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Hands over whole lines.
    pub fn write(&self, lines: Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        match self.queue.try_send(Message::Lines(lines)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Has the file opened again by its name: somebody has given the old one another, to begin a new one. What still waits
    /// to be written goes to the new one. A file that cannot be opened is told, and the old one is written on.
    pub fn reopen(&self) {
        self.must_reopen.store(true, Ordering::Release);
        // To wake the writer. If there is no place, it is awake.
        let _ = self.queue.try_send(Message::Lines(Vec::new()));
    }

    /// How many pieces were lost because the queue was full or the output could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over so far is written, and stops the writer.
    pub fn close(&self) {
        let _ = self.queue.send(Message::Close);
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

/// The logs of a gateway.
#[derive(Clone)]
pub struct Logs {
    /// Where access lines go, if they are written.
    pub access: Option<LogSink>,
    /// Where audit lines go; the same queue where it is the same place.
    pub audit: LogSink,
}

impl Logs {
    /// Opens the logs. `stdout` is what is written to for standard output.
    ///
    /// # Errors
    /// A sentence that says which cannot be opened, and why.
    pub fn open(
        access: Option<&Destination>,
        audit: &Destination,
        stdout: Box<dyn Write + Send>,
    ) -> Result<Self, String> {
        let mut stdout = Some(stdout);
        let mut open = |destination: &Destination| match destination {
            // It is asked for once: a second log that goes there shares the first one's queue.
            Destination::Stdout => LogSink::to(stdout.take().unwrap_or_else(|| Box::new(io::sink())))
                .map_err(|error| format!("a thread cannot be started: {error}")),
            Destination::File(path) => {
                LogSink::to_file(path).map_err(|error| format!("the log {} cannot be opened: {error}", path.display()))
            }
        };
        let of_audit = open(audit)?;
        let access = match access {
            Some(destination) if destination == audit => Some(of_audit.clone()),
            Some(destination) => Some(open(destination)?),
            None => None,
        };
        Ok(Self { access, audit: of_audit })
    }

    fn all(&self) -> impl Iterator<Item = &LogSink> {
        let own = self.access.iter().filter(|access| !Arc::ptr_eq(&access.writer, &self.audit.writer));
        own.chain([&self.audit])
    }

    /// Has log files opened again by their names. What goes to standard output goes on as it is.
    pub fn reopen(&self) {
        self.all().for_each(LogSink::reopen);
    }

    /// How many pieces were lost.
    pub fn lost(&self) -> u64 {
        self.all().map(LogSink::lost).sum()
    }

    /// Waits until everything is written, and stops the writers.
    pub fn close(&self) {
        self.all().for_each(LogSink::close);
    }
}

/// Opens a log file at its end, or makes it.
fn open(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads would be waited for.
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is a pipe, and no file"));
    }
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Why no log can be written to `path`, and what to do; without making it.
pub fn no_place(path: &Path) -> Option<(String, String)> {
    let (shown, other) = (path.display(), || "write another path".to_owned());
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Some((format!("{shown} is a folder"), "write the path of a file".to_owned())),
        Ok(found) if found.is_file() || found.file_type().is_char_device() => {
            let opened = OpenOptions::new().append(true).open(path);
            opened.err().map(|error| (format!("{shown} cannot be written: {error}"), other()))
        }
        Ok(_) => Some((format!("{shown} is no file"), other())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = place::folder_of(path);
            if !folder.exists() {
                let help = format!("write another path, or make it with: mkdir -p {}", shell::quoted(folder));
                return Some((format!("there is no folder {}", folder.display()), help));
            }
            place::can_make_in(folder).err().map(|error| {
                let shown = folder.display();
                let message = if error.kind() == ErrorKind::PermissionDenied {
                    format!("this user may not write in the folder {shown}")
                } else {
                    format!("nothing can be made in the folder {shown}: {error}")
                };
                (message, other())
            })
        }
        Err(error) => Some((format!("{shown} cannot be used: {error}"), other())),
    }
}

/// What writes.
struct Writer {
    output: Box<dyn Write + Send>,
    /// Where the output can be opened again.
    path: Option<PathBuf>,
    lost: Arc<AtomicU64>,
    /// How many pieces were lost since the last one that was written.
    lost_in_a_row: u64,
    /// Whether the last line is there in part: the next begins on a line of its own.
    is_torn: bool,
}

impl Writer {
    fn run(mut self, received: &Receiver<Message>, must_reopen: &AtomicBool) {
        while let Ok(message) = received.recv() {
            if must_reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            match message {
                Message::Lines(lines) => self.write(&lines),
                Message::Close => return,
            }
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => (self.output, self.is_torn) = (Box::new(file), false),
            Err(error) => {
                tracing::error!(
                    "the log {} cannot be opened again, and the file it had is used on: {error}",
                    self.name()
                );
            }
        }
    }

    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        match self.try_write(lines) {
            Ok(()) if self.lost_in_a_row > 0 => {
                tracing::warn!("the log {} can be written again; pieces lost: {}", self.name(), self.lost_in_a_row);
                self.lost_in_a_row = 0;
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                if self.lost_in_a_row == 0 {
                    let name = self.name();
                    tracing::error!("the log {name} cannot be written, and what would be in it is lost: {error}");
                }
                self.lost_in_a_row += 1;
            }
        }
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.output.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.flush()
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "on standard output".to_owned(), |path| path.display().to_string())
    }
}

/// Writes `text` as a JSON string.
pub fn json_string(line: &mut Vec<u8>, text: &str) {
    // Writing a string into memory does not fail.
    let _ = serde_json::to_writer(line, text);
}

/// Writes `text` as a value behind `name=`, as logfmt has it: bare if it is one word of visible ASCII, and else in quotes,
/// with what could end them or the line, and whatever is not visible ASCII, escaped.
pub fn plain_value(line: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\') {
        return plain_word(line, text);
    }
    line.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', byte]),
            b' '..=b'~' => line.push(byte),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b'\t' => line.extend(b"\\t"),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
    line.push(b'"');
}

/// Writes `text` so that it stays one word of a line: what is not visible ASCII, and quotes and backslashes, escaped.
pub fn plain_word(line: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        line.push(b'-');
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', byte]),
            b'!'..=b'~' => line.push(byte),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_broken_out_of() {
        let mut line = Vec::new();
        plain_word(&mut line, "a b\r\n\"\\é");
        assert_eq!(line, br#"a\x20b\x0d\x0a\"\\\xc3\xa9"#);
        line.clear();
        json_string(&mut line, "a\n\"");
        assert_eq!(line, br#""a\n\"""#);
    }

    #[test]
    fn a_value_is_quoted_where_it_must_be_and_cannot_be_broken_out_of() {
        for (value, shown) in [
            ("idle", "idle"),
            ("admin:uid=0", "admin:uid=0"),
            ("", "-"),
            ("the disk is full", r#""the disk is full""#),
            ("a\" user=\"root", r#""a\" user=\"root""#),
            ("ends in \\", r#""ends in \\""#),
            ("\"", r#""\"""#),
            ("one\r\n2026 audit login.succeeded\tx", r#""one\r\n2026 audit login.succeeded\tx""#),
            ("\u{1b}[2J\u{202e}\0\u{7f}", r#""\x1b[2J\xe2\x80\xae\x00\x7f""#),
        ] {
            let mut line = Vec::new();
            plain_value(&mut line, value);
            assert_eq!(String::from_utf8_lossy(&line), shown);
        }
    }

    #[test]
    fn close_waits_for_what_was_written() {
        #[derive(Clone, Default)]
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("not poisoned").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let output = Shared::default();
        let sink = LogSink::to(Box::new(output.clone())).expect("a thread");
        for line in ["one\n", "two\n"] {
            sink.write(line.as_bytes().to_vec());
        }
        sink.close();
        sink.write(b"after the end\n".to_vec());
        assert_eq!(*output.0.lock().expect("not poisoned"), b"one\ntwo\n");
    }

    /// An output that takes so many bytes before it is full, until somebody makes room.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().expect("not poisoned");
            let fits = bytes.len().min(disk.1);
            if fits == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.0.extend_from_slice(&bytes[..fits]);
            disk.1 -= fits;
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_next_line_is_whole() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 9))));
        let lost = Arc::<AtomicU64>::default();
        let output = Box::new(disk.clone());
        let mut writer = Writer { output, path: None, lost: Arc::clone(&lost), lost_in_a_row: 0, is_torn: false };
        for line in ["one\n", "two-and-more\n", "three\n"] {
            writer.write(line.as_bytes());
        }
        assert_eq!((lost.load(Ordering::Relaxed), writer.lost_in_a_row), (2, 2));
        disk.0.lock().expect("not poisoned").1 = 100;
        writer.write(b"four\n");
        writer.write(b"five\n");
        assert_eq!(String::from_utf8_lossy(&disk.0.lock().expect("not poisoned").0), "one\ntwo-a\nfour\nfive\n");
        assert_eq!((lost.load(Ordering::Relaxed), writer.lost_in_a_row), (2, 0));
    }
}
