//! What is measured: the files that are fetched, and the shape of each load.

/// What the simulated browser calls itself. Sessions are bound to it.
pub(crate) const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";

/// A static file of the application behind the contestants, or where its WebSockets are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document {
    /// Its path, with the leading slash.
    pub(crate) path: &'static str,
    /// Its size in bytes, or that of a message.
    pub(crate) size: u64,
}

/// The small file.
pub(crate) const SMALL: Document = Document { path: "/1k", size: 1024 };
/// The large file.
pub(crate) const LARGE: Document = Document { path: "/64k", size: 64 * 1024 };

/// What is said on a WebSocket, and said back by the application.
pub(crate) const MESSAGE: Document = Document { path: "/ws", size: 64 };

/// How a load is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// HTTP/1.1, keep-alive, one cookie.
    Http1,
    /// HTTP/2, one cookie.
    Http2,
    /// A new connection with a full TLS 1.3 handshake for each request, one cookie.
    Handshakes,
    /// HTTP/1.1, keep-alive, the cookies of all sessions in turn.
    ManySessions,
    /// WebSockets over HTTP/1.1, one cookie: a message there and back counts as a request.
    WebSockets,
}

/// One column of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Its name on the command line and in the JSON.
    pub(crate) key: &'static str,
    /// Its name in the table.
    pub(crate) title: &'static str,
    /// What is fetched.
    pub(crate) document: Document,
    /// How.
    pub(crate) shape: Shape,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Requests at a time on a connection.
    pub(crate) streams: usize,
}

impl Case {
    /// Requests that may be under way at any moment: what counters may differ by.
    pub(crate) fn in_flight(&self) -> u64 {
        (self.connections * self.streams) as u64
    }
}

/// All cases, in the order of the table.
const ALL: [Case; 6] = [
    Case { key: "h1-1k", title: "1 KiB h1", document: SMALL, shape: Shape::Http1, connections: 64, streams: 1 },
    Case { key: "h2-1k", title: "1 KiB h2", document: SMALL, shape: Shape::Http2, connections: 16, streams: 8 },
    Case { key: "h1-64k", title: "64 KiB h1", document: LARGE, shape: Shape::Http1, connections: 64, streams: 1 },
    Case { key: "hs", title: "hs", document: SMALL, shape: Shape::Handshakes, connections: 16, streams: 1 },
    Case {
        key: "many",
        title: "1 KiB h1, all sessions in turn",
        document: SMALL,
        shape: Shape::ManySessions,
        connections: 64,
        streams: 1,
    },
    Case {
        key: "ws",
        title: "64 B WebSocket echo",
        document: MESSAGE,
        shape: Shape::WebSockets,
        connections: 64,
        streams: 1,
    },
];

/// The cases of these names; all if there are none.
pub(crate) fn select(keys: &[String]) -> Result<Vec<Case>, String> {
    if let Some(unknown) = keys.iter().find(|key| ALL.iter().all(|case| case.key != key.as_str())) {
        let known: Vec<&str> = ALL.iter().map(|case| case.key).collect();
        return Err(format!("--cases {unknown}: the cases are {}", known.join(", ")));
    }
    Ok(ALL.into_iter().filter(|case| keys.is_empty() || keys.iter().any(|key| key == case.key)).collect())
}
