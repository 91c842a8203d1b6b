//! The access log: a line a request. Each worker fills a buffer of its own, and hands it over when it is full or a
//! moment has passed.

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::observe::sink::{LogFormat, LogSink, json_string, plain_word};

/// A buffer this full is handed over at once, in bytes.
const FULL: usize = 16 * 1024;

/// Nothing waits longer than about this to be handed over.
pub const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// What is written of one request. The query is not: it is where applications put tokens.
#[derive(Clone, Debug)]
pub struct AccessLine<'a> {
    /// When the request's head had been read.
    pub at: Timestamp,
    /// From then to the end of the answer.
    pub took: Duration,
    /// The client.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The host as asked for.
    pub host: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// How many bytes of body were sent.
    pub bytes: u64,
    /// The session's public handle, if one was used.
    pub session: &'a str,
    /// Who is signed in.
    pub user: &'a str,
    /// Why the request was not allowed, or what went wrong.
    pub reason: &'a str,
}

/// One worker's buffer.
pub struct AccessLog {
    format: LogFormat,
    sink: LogSink,
    buffer: RefCell<Vec<u8>>,
}

impl AccessLog {
    /// A log that writes lines in `format` to `sink`.
    pub fn new(format: LogFormat, sink: LogSink) -> Self {
        Self { format, sink, buffer: RefCell::default() }
    }

    /// Writes a line.
    pub fn write(&self, line: &AccessLine<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        match self.format {
            LogFormat::Text => text(&mut buffer, line),
            LogFormat::Json => json(&mut buffer, line),
        }
        if buffer.len() >= FULL {
            self.sink.write(std::mem::take(&mut buffer));
        }
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        self.sink.write(std::mem::take(&mut self.buffer.borrow_mut()));
    }
}

fn text(out: &mut Vec<u8>, line: &AccessLine<'_>) {
    let _ = write!(out, "{} access {} \"", line.at, line.client);
    plain_word(out, line.method);
    out.push(b' ');
    plain_word(out, line.host);
    if !line.path.is_empty() {
        plain_word(out, line.path);
    }
    let _ = write!(out, "\" {} {} {}ms", line.status, line.bytes, line.took.as_millis());
    for (name, value) in [("session", line.session), ("user", line.user), ("reason", line.reason)] {
        if !value.is_empty() {
            let _ = write!(out, " {name}=");
            plain_word(out, value);
        }
    }
    out.push(b'\n');
}

fn json(out: &mut Vec<u8>, line: &AccessLine<'_>) {
    let _ = write!(out, "{{\"time\":\"{}\",\"log\":\"access\",\"client\":\"{}\"", line.at, line.client);
    let texts = [("method", line.method), ("host", line.host), ("path", line.path)];
    let optional = [("session", line.session), ("user", line.user), ("reason", line.reason)];
    for (name, value) in texts.into_iter().chain(optional.into_iter().filter(|(_, value)| !value.is_empty())) {
        let _ = write!(out, ",\"{name}\":");
        json_string(out, value);
    }
    let took = line.took.as_millis();
    let _ = writeln!(out, ",\"status\":{},\"bytes\":{},\"duration_ms\":{took}}}", line.status, line.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: AccessLine<'_> = AccessLine {
        at: Timestamp::from_millis(1_763_000_000_123),
        took: Duration::from_millis(7),
        client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        method: "GET",
        host: "app.test",
        path: "/a\"b",
        status: 200,
        bytes: 1024,
        session: "AAAAAAAAAAAAAAAAAAAAAA",
        user: "alice",
        reason: "",
    };

    #[test]
    fn reads_well() {
        let mut out = Vec::new();
        text(&mut out, &LINE);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "2025-11-13T02:13:20.123Z access 192.0.2.1 \"GET app.test/a\\\"b\" 200 1024 7ms \
             session=AAAAAAAAAAAAAAAAAAAAAA user=alice\n"
        );
    }

    #[test]
    fn is_json_when_asked() {
        let mut out = Vec::new();
        json(&mut out, &LINE);
        let value: serde_json::Value = serde_json::from_slice(&out).expect("one object a line");
        assert_eq!(
            (&value["path"], &value["status"], &value["duration_ms"]),
            (&"/a\"b".into(), &200.into(), &7.into())
        );
        assert_eq!(value.get("reason"), None);
    }
}
