//! What is looked at while the load goes on: the process from outside, and what the gateway says of its sessions.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::process::Process;
use crate::soak::tally::Tally;

/// How long the gateway may take to tell its numbers.
const LIMIT: Duration = Duration::from_secs(10);

/// What must stay at nought.
const NONE: [(&str, &str); 3] = [
    ("vestibule_store_errors", "_total"),
    ("vestibule_log_lost", "_total"),
    ("vestibule_reloads", "_total{reason=\"refused\"}"),
];

/// One look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// Since the load began.
    pub(super) seconds: f64,
    /// Bytes of resident memory.
    pub(super) memory: u64,
    /// Open file descriptors.
    pub(super) files: u64,
    /// Bytes of the session store.
    pub(super) store: u64,
    /// Sessions that last.
    pub(super) active: u64,
    /// Sessions that have ended and are remembered: all that ever did, because none is forgotten within a day.
    pub(super) remembered: u64,
    /// Secrets of sessions replaced by their successor.
    pub(super) rotations: u64,
    /// How often the configuration was read again, and taken.
    pub(super) reloads: u64,
    /// Seconds of CPU time so far.
    pub(super) cpu: f64,
    /// Requests so far.
    pub(super) requests: u64,
    /// What went wrong so far.
    pub(super) failed: u64,
}

/// What goes up and down between two looks.
#[derive(Debug, Default)]
pub(super) struct Glances {
    memory: u64,
    files: Vec<usize>,
}

impl Glances {
    /// Glances. Of memory, the most counts: hashing a password takes 19 MiB, and gives them back soon after. Of open
    /// files, the median: visitors do the same things at the same times.
    pub(super) fn glance(&mut self, process: &Process) -> Result<(), String> {
        self.memory = process.memory()?.max(self.memory);
        self.files.push(process.open_files()?);
        Ok(())
    }

    fn files(&mut self) -> u64 {
        self.files.sort_unstable();
        self.files.get(self.files.len() / 2).copied().unwrap_or(0) as u64
    }
}

/// Where to look.
pub(super) struct Sampler {
    /// Where the gateway tells its numbers.
    pub(super) metrics: SocketAddr,
    /// Its session store.
    pub(super) store: PathBuf,
}

impl Sampler {
    /// Looks, after some glances.
    pub(super) async fn look(
        &self,
        process: &Process,
        mut glances: Glances,
        tally: &Tally,
        begin: Instant,
    ) -> Result<Sample, String> {
        let numbers = timeout(LIMIT, self.numbers()).await;
        let numbers = numbers.unwrap_or_else(|_| Err(format!("nothing within {LIMIT:?}")));
        let numbers = numbers.map_err(|error| format!("the gateway's numbers: {error}"))?;
        let store = fs::metadata(&self.store).map_err(|error| format!("{}: {error}", self.store.display()))?;
        for (family, line) in NONE {
            if sum(&numbers, family, line)? > 0 {
                return Err(format!("{family}{line} should be nought:\n{numbers}"));
            }
        }
        Ok(Sample {
            seconds: begin.elapsed().as_secs_f64(),
            memory: glances.memory,
            files: glances.files(),
            store: store.len(),
            active: sum(&numbers, "vestibule_sessions_active", "")?,
            remembered: sum(&numbers, "vestibule_sessions_ended", "_total")?,
            rotations: sum(&numbers, "vestibule_session_rotations", "_total")?,
            reloads: sum(&numbers, "vestibule_reloads", "_total{reason=\"taken\"}")?,
            cpu: process.cpu_time()?.used_ns as f64 / 1e9,
            requests: tally.requests(),
            failed: tally.failed(),
        })
    }

    async fn numbers(&self) -> Result<String, String> {
        let broken = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(self.metrics).await.map_err(broken)?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.metrics);
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(broken)?;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(answer) }
    }
}

/// The sum of all of a family's lines that begin like this.
fn sum(numbers: &str, family: &str, line: &str) -> Result<u64, String> {
    // One that is called otherwise by now would be nought for ever.
    if !numbers.contains(&format!("# TYPE {family} ")) {
        return Err(format!("the gateway does not tell {family}"));
    }
    let of_line = |text: &str| {
        let rest = text.strip_prefix(family)?.strip_prefix(line)?;
        if rest.starts_with([' ', '{']) { rest.rsplit(' ').next()?.parse::<u64>().ok() } else { None }
    };
    Ok(numbers.lines().filter_map(of_line).sum())
}
