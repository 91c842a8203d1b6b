//! One measurement: a load on a contestant, and what the contestant spent on it.
//!
//! CPU time and requests are both read at the beginning and at the end of a window within the load, so that neither
//! connecting nor closing counts. The requests are those the application behind has seen: one counter for every load
//! generator, and one that a contestant cannot please by answering on its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustls::{ClientConnection, StreamOwned};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;

use crate::cases::{Case, MESSAGE, Shape, USER_AGENT};
use crate::configs::Behind;
use crate::contestants::{Contestant, loopback};
use crate::lab::{self, Lab};
use crate::loads::{self, LoadPlan};
use crate::options::Options;
use crate::process::CpuTime;
use crate::tls_client::{self, Ask};
use crate::tools::Tools;

/// Length of the load before each measurement: fills caches and connection pools, raises the clock.
const WARM_UP_SECONDS: u64 = 1;
/// From the first requests of a load to the window.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a generator may take to send its first requests.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);
/// So many requests show that a load has begun.
const BEGUN: u64 = 100;
/// How much longer than the window a load runs: settling before it, and a remainder after it.
const MARGIN_SECONDS: u64 = 1;
/// Longest wait for the application's counter.
const COUNT_LIMIT: Duration = Duration::from_secs(5);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    /// CPU time the contestant spent on a request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Median latency in microseconds.
    pub(crate) p50_us: u64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99_us: u64,
    /// Share of its core the contestant used. Well below 1 it was not the bottleneck, and idles between requests,
    /// which makes each of them dearer.
    pub(crate) core: f64,
    /// Share of the time it waited for its core while something else ran there. The machine should be quieter.
    pub(crate) waited: f64,
    /// Bytes of memory after the load.
    pub(crate) memory: u64,
}

/// Where and with what to measure.
pub(crate) struct Bench<'a> {
    /// What was asked for.
    pub(crate) options: &'a Options,
    /// The generators.
    pub(crate) tools: &'a Tools,
    /// The run's directory.
    pub(crate) lab: &'a Lab,
    /// The application's ports.
    pub(crate) behind: Behind,
}

/// A reading at one end of a window.
struct Reading {
    /// When.
    at: Instant,
    /// The contestant's CPU time so far.
    cpu: CpuTime,
    /// What the application has seen so far.
    requests: u64,
}

impl Bench<'_> {
    /// Measures a case on a contestant.
    pub(crate) fn measure(&self, case: &Case, target: &mut Contestant) -> Result<Measurement, String> {
        let wire_bytes = self.probe(case, target)?;
        let plan = |seconds| LoadPlan { case, target, wire_bytes, seconds, core: self.options.load_core };
        let now = SystemTime::now();
        let warm_up = loads::start(&plan(WARM_UP_SECONDS), self.tools, self.lab)?;
        warm_up.finish((now, now + Duration::from_secs(3600))).map_err(|error| format!("warm-up: {error}"))?;

        let seen_before = self.count(case)?;
        let mut load = loads::start(&plan(self.options.seconds + MARGIN_SECONDS), self.tools, self.lab)?;
        load.process.wait_until(BEGIN_LIMIT, |_| Ok(self.count(case)? > seen_before + BEGUN))?;
        thread::sleep(SETTLE);
        let begin_time = SystemTime::now();
        let begin = self.read(case, target)?;
        thread::sleep(Duration::from_secs(self.options.seconds));
        let end = self.read(case, target)?;
        let window = (begin_time, SystemTime::now());
        load.process.check_running().map_err(|error| format!("the load was over too soon: {error}"))?;
        let outcome = load.finish(window)?;
        target.process.check_running()?;
        self.compare(case, outcome.requests, self.count(case)?.saturating_sub(seen_before))?;

        // The reading at the end is itself a request.
        let requests = end.requests.saturating_sub(begin.requests + 1);
        let wall = (end.at - begin.at).as_secs_f64();
        let used = end.cpu.used_ns.saturating_sub(begin.cpu.used_ns) as f64;
        let waited = end.cpu.waited_ns.saturating_sub(begin.cpu.waited_ns) as f64;
        if requests == 0 {
            return Err("no request within the window".to_owned());
        }
        Ok(Measurement {
            cpu_us: used / 1e3 / requests as f64,
            rate: requests as f64 / wall,
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
            core: used / 1e9 / wall,
            waited: waited / 1e9 / wall,
            memory: target.process.memory()?,
        })
    }

    /// Asks once and compares the answer byte by byte. Returns how long a right answer on a kept connection is.
    fn probe(&self, case: &Case, target: &Contestant) -> Result<u64, String> {
        let config = tls_client::config(self.lab.certificate.clone())?;
        if case.shape == Shape::WebSockets {
            let stream = tls_client::connect(&config, target.address)?;
            // There is no answer's length to count by: the client compares every message.
            return first_message(stream, target).map(|()| 0).map_err(|error| format!("first message: {error}"));
        }
        let ask = Ask { address: target.address, document: case.document, cookie: target.cookie.clone(), close: false };
        let answer = tls_client::fetch(&config, &ask).map_err(|error| format!("first request: {error}"))?;
        if answer.body != lab::body(case.document) {
            return Err("first request: the body is not the application's".to_owned());
        }
        Ok(answer.wire_bytes)
    }

    /// Every answer that the generator saw must have come from the application, once.
    fn compare(&self, case: &Case, answered: u64, seen: u64) -> Result<(), String> {
        // One in a hundred: health checks, the readings, and what was under way when the time was up.
        if seen < answered || seen > answered + answered / 100 + 2 * case.in_flight() + 100 {
            return Err(format!("{answered} requests were answered, but the application has seen {seen}"));
        }
        Ok(())
    }

    /// Reads CPU time and requests as of the same moment.
    fn read(&self, case: &Case, target: &Contestant) -> Result<Reading, String> {
        // The counter takes a moment under load; the CPU time that goes with it is the one in the middle of it.
        let (early, from) = (target.process.cpu_time()?, Instant::now());
        let requests = self.count(case)?;
        let (late, to) = (target.process.cpu_time()?, Instant::now());
        let cpu = CpuTime {
            used_ns: early.used_ns.midpoint(late.used_ns),
            waited_ns: early.waited_ns.midpoint(late.waited_ns),
        };
        Ok(Reading { at: from + (to - from) / 2, cpu, requests })
    }

    /// Requests the application has had so far, this one included.
    fn count(&self, case: &Case) -> Result<u64, String> {
        let address = loopback(match case.shape {
            Shape::WebSockets => self.behind.echo,
            Shape::Http1 | Shape::Http2 | Shape::Handshakes | Shape::ManySessions => self.behind.application,
        });
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, COUNT_LIMIT)?;
            stream.set_read_timeout(Some(COUNT_LIMIT))?;
            stream.write_all(b"GET /.count HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|error| format!("the application's counter: {error}"))?;
        // The line after this one holds accepted and handled connections, then requests.
        let numbers = answer.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1).unwrap_or_default();
        let requests = numbers.split_ascii_whitespace().nth(2).and_then(|number| number.parse().ok());
        requests.ok_or_else(|| format!("the application's counter says: {answer}"))
    }
}

/// Asks for a WebSocket and says one thing on it, by a library: the load's own frames could be wrong in the same way at
/// both ends.
fn first_message(stream: StreamOwned<ClientConnection, TcpStream>, target: &Contestant) -> Result<(), String> {
    let said = |error: tungstenite::Error| error.to_string();
    let mut request = format!("wss://{}{}", target.address, MESSAGE.path).into_client_request().map_err(said)?;
    for (name, value) in [("cookie", target.cookie.as_str()), ("user-agent", USER_AGENT)] {
        request.headers_mut().insert(name, value.parse().map_err(|_| format!("{name}: {value}"))?);
    }
    let (mut socket, _) = tungstenite::client(request, stream).map_err(|error| error.to_string())?;
    let message = Message::text("as the crow flies");
    socket.send(message.clone()).map_err(said)?;
    if socket.read().map_err(said)? != message {
        return Err("what came back is something else".to_owned());
    }
    socket.close(None).map_err(said)?;
    while socket.read().is_ok() {}
    Ok(())
}
