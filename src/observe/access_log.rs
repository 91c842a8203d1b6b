//! The access log: a line a request. Each worker fills a buffer of its own, and hands it over when it is full or a
//! moment has passed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::observe::sink::{LogFormat, LogSink, json_string, plain_value, plain_word};

/// A buffer this full is handed over at once, in bytes.
const FULL: usize = 16 * 1024;

/// Nothing waits longer than about this to be handed over.
pub const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// What is written of one request. The query is not: it is where applications put tokens. Nor are the path's parameters,
/// where they put their sessions (`;jsessionid=`).
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
    /// The request's id.
    pub request_id: &'a str,
    /// The id of the trace it belongs to.
    pub trace_id: &'a str,
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
        plain_word(out, &without_parameters(line.path));
    }
    let _ = write!(out, "\" {} {} {}ms", line.status, line.bytes, line.took.as_millis());
    for (name, value) in optional(line) {
        let _ = write!(out, " {name}=");
        plain_value(out, value);
    }
    out.push(b'\n');
}

/// What not every request has.
fn optional<'a>(line: &AccessLine<'a>) -> impl Iterator<Item = (&'static str, &'a str)> {
    let all = [
        ("request_id", line.request_id),
        ("trace_id", line.trace_id),
        ("session", line.session),
        ("user", line.user),
        ("reason", line.reason),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty())
}

/// A path with `;*` for whatever parameters its segments have, however their semicolon is written.
pub(super) fn without_parameters(path: &str) -> Cow<'_, str> {
    let begin = |segment: &str| {
        let encoded = segment.as_bytes().windows(3).position(|three| three.eq_ignore_ascii_case(b"%3b"));
        segment.find(';').into_iter().chain(encoded).min()
    };
    if begin(path).is_none() {
        return Cow::Borrowed(path);
    }
    let shorten = |segment: &str| match begin(segment) {
        Some(at) => format!("{};*", &segment[..at]),
        None => segment.to_owned(),
    };
    Cow::Owned(path.split('/').map(shorten).collect::<Vec<_>>().join("/"))
}

fn json(out: &mut Vec<u8>, line: &AccessLine<'_>) {
    let _ = write!(out, "{{\"time\":\"{}\",\"log\":\"access\",\"client\":\"{}\"", line.at, line.client);
    let path = without_parameters(line.path);
    let texts = [("method", line.method), ("host", line.host), ("path", &*path)];
    for (name, value) in texts.into_iter().chain(optional(line)) {
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
        request_id: "0af7651916cd43dd8448eb211c80319c",
        trace_id: "",
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
             request_id=0af7651916cd43dd8448eb211c80319c session=AAAAAAAAAAAAAAAAAAAAAA user=alice\n"
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

    #[test]
    fn parameters_of_a_path_are_nobodys_to_read() {
        for (path, shown) in [
            ("/a/b", "/a/b"),
            ("/a;jsessionid=0123456789ABCDEF", "/a;*"),
            ("/a;jsessionid=0123;x=y/b.jsp", "/a;*/b.jsp"),
            ("/a%3Bjsessionid=0123/b;c", "/a;*/b;*"),
            ("/a%3bs=1;b", "/a;*"),
            ("/;a", "/;*"),
            ("/%3", "/%3"),
        ] {
            assert_eq!(without_parameters(path), shown);
        }
    }
}
