//! The application of the differential test: it answers each request as was laid down for it, and writes down exactly
//! what it received.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::generate::Script;
use super::wire::{Body, Delimited, Fields, Wire};
use crate::harness::Scripted;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
    pub body: Body,
    /// Whether all of it came.
    pub is_whole: bool,
}

/// The field that says which request it is.
pub const CASE: &str = "x-case";

/// The application. Its threads end with the test's process.
pub struct Upstream {
    pub server: Scripted,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<u64, Script>>,
    received: Mutex<HashMap<u64, Vec<Received>>>,
    arrived: Condvar,
}

impl Upstream {
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        let server = Scripted::start(move |line| its.serve(line.into_stream()));
        Self { server, shared }
    }

    /// Lays down how a request is answered, and forgets the earlier ones.
    pub fn prepare(&self, scripts: HashMap<u64, Script>) {
        *self.shared.scripts.lock().expect("scripts") = scripts;
        self.shared.received.lock().expect("requests").clear();
    }

    /// Takes what has arrived of a request since it was last asked: waits for the first.
    pub fn take(&self, case: u64) -> Vec<Received> {
        let received = self.shared.received.lock().expect("requests");
        let waited = self.shared.arrived.wait_timeout_while(received, Duration::from_secs(10), |received| {
            received.get(&case).is_none_or(Vec::is_empty)
        });
        waited.expect("requests").0.remove(&case).unwrap_or_default()
    }

    /// Whether nothing of a request has arrived.
    pub fn has_not_heard_of(&self, case: u64) -> bool {
        self.shared.received.lock().expect("requests").get(&case).is_none_or(Vec::is_empty)
    }
}

impl Shared {
    fn serve(&self, stream: std::net::TcpStream) {
        // The pieces of an answer shall travel as they are written.
        stream.set_nodelay(true).expect("set");
        let mut wire = Wire::new(stream.try_clone().expect("the same connection"));
        while let Some(head) = wire.head() {
            let Some(case) = head.all(CASE).next().and_then(|case| std::str::from_utf8(case).ok()?.parse().ok()) else {
                return;
            };
            let Some(script) = self.scripts.lock().expect("scripts").get(&case).cloned() else { return };
            let expects = head.says("expect", "100-continue");
            if script.is_early {
                wire.send_all(&script.pieces);
            } else if expects {
                wire.send(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            // Whoever waits for consent has got an answer instead.
            let body = if script.is_early && expects { None } else { wire.request_body(&head) };
            let [method, target, version] = head.words();
            let (is_whole, body) = (body.is_some(), body.unwrap_or(Body::none(Delimited::Absent)));
            let received = Received { method, target, version, fields: head.fields, body, is_whole };
            self.received.lock().expect("requests").entry(case).or_default().push(received);
            self.arrived.notify_all();
            if !script.is_early {
                wire.send_all(&script.pieces);
            }
            if script.closes {
                let _ = stream.shutdown(Shutdown::Write);
                // Closing while something is on its way here would throw away what is on its way there.
                while !wire.is_at_end() {
                    wire.forget();
                }
                return;
            }
        }
    }
}
