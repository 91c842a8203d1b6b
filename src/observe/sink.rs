//! Where log lines go: through a bounded queue to one thread that writes, so that a slow reader of the logs never
//! stops a request.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How many pieces may wait to be written. A piece is a buffer of access log lines or one audit line; when the queue
/// is full, pieces are dropped and counted.
const QUEUE: usize = 1024;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: the default.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The queue to the writer. Clones share it.
#[derive(Clone)]
pub struct LogSink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
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
    pub fn to(output: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (queue, received) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, &received))?;
        Ok(Self { queue, dropped: Arc::default(), writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Hands over whole lines.
    pub fn write(&self, lines: Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        match self.queue.try_send(Message::Lines(lines)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many pieces were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over so far is written, and stops the writer.
    pub fn close(&self) {
        let _ = self.queue.send(Message::Close);
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

fn write_all(mut output: Box<dyn Write + Send>, received: &Receiver<Message>) {
    while let Ok(message) = received.recv() {
        match message {
            // Nobody is left to be told when the log itself cannot be written; requests go on.
            Message::Lines(lines) => {
                let _ = output.write_all(&lines).and_then(|()| output.flush());
            }
            Message::Close => return,
        }
    }
}

/// Writes `text` as a JSON string.
pub fn json_string(line: &mut Vec<u8>, text: &str) {
    // Writing a string into memory does not fail.
    let _ = serde_json::to_writer(line, text);
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
}
