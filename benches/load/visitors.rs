//! Ordinary visitors, who measure what they feel while somebody attacks: some ask on connections that they keep, others
//! come anew each time, with a full handshake.
//!
//! They are a process of their own, so that they can be pinned, and ask at their own pace however long the answers take.
//! They come from addresses that nobody else uses.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::cases::SMALL;
use crate::client::{self, Browser};
use crate::contestants::Contestant;
use crate::lab::{self, Lab};
use crate::loads::{fields, percentile};
use crate::tls_client::{self, Ask};
use crate::tools::Tools;

/// How many keep their connection, and how often each asks.
const REGULARS: usize = 8;
const REGULAR_PACE: Duration = Duration::from_millis(20);
/// How many come anew, and how often each does.
const NEWCOMERS: usize = 8;
const NEWCOMER_PACE: Duration = Duration::from_millis(80);
/// Longest wait for an answer; whoever waits that long has been denied service.
const PATIENCE: Duration = Duration::from_secs(10);

/// What they felt, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Felt {
    /// The 99th percentile of a request on a kept connection.
    pub(crate) kept_p99: f64,
    /// Median of that.
    pub(crate) kept_p50: f64,
    /// The 99th percentile of a connection, its handshake and a request.
    pub(crate) new_p99: f64,
    /// Median of that.
    pub(crate) new_p50: f64,
}

/// The command that lets them come for so long.
pub(crate) fn command(
    tools: &Tools,
    core: usize,
    target: &Contestant,
    seconds: u64,
    lab: &Lab,
) -> Result<Command, String> {
    let certificate = lab.write("cert.der", &lab.certificate)?;
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = tools.pinned(core, &own);
    command.args(["visitors", &target.address.to_string(), &seconds.to_string()]);
    command.arg(certificate).arg(&target.cookie);
    Ok(command)
}

/// What they printed, understood. They check every answer themselves, and print nothing if one was wrong.
pub(crate) fn felt(output: &str) -> Result<Felt, String> {
    let fields = fields(output)?;
    let field = |name: &str| {
        fields.get(name).map(|value| *value as f64).ok_or_else(|| format!("the visitors did not print {name}"))
    };
    Ok(Felt {
        kept_p99: field("kept_p99")?,
        kept_p50: field("kept_p50")?,
        new_p99: field("new_p99")?,
        new_p50: field("new_p50")?,
    })
}

/// The process itself: `ADDRESS SECONDS CERTIFICATE COOKIE`.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [address, seconds, certificate, cookie] = args else {
        return Err("usage: visitors ADDRESS SECONDS CERTIFICATE COOKIE".to_owned());
    };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let seconds: u64 = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    let certificate = fs::read(certificate).map_err(|error| format!("{certificate}: {error}"))?;
    let config = tls_client::config(certificate)?;
    let ask = Ask { address, document: SMALL, cookie: cookie.clone(), close: false };
    let body: Arc<[u8]> = lab::body(SMALL).into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    let (kept, new) = LocalSet::new().block_on(&runtime, async move {
        let begin = Instant::now() + Duration::from_millis(100);
        let end = begin + Duration::from_secs(seconds);
        let (mut regulars, mut newcomers) = (JoinSet::new(), JoinSet::new());
        for number in 0..REGULARS {
            let visit =
                Visit { config: config.clone(), ask: ask.clone(), body: body.clone(), from: client::source(number) };
            // Not all at once.
            let begin = begin + REGULAR_PACE * number as u32 / REGULARS as u32;
            regulars.spawn_local(visit.stay(begin, end));
        }
        for number in 0..NEWCOMERS {
            let from = client::source(REGULARS + number);
            let visit = Visit { config: config.clone(), ask: ask.clone(), body: body.clone(), from };
            let begin = begin + NEWCOMER_PACE * number as u32 / NEWCOMERS as u32;
            newcomers.spawn_local(visit.come_anew(begin, end));
        }
        Ok::<_, String>((all(regulars).await?, all(newcomers).await?))
    })?;
    println!(
        "kept={} kept_p50={} kept_p99={} new={} new_p50={} new_p99={}",
        kept.len(),
        percentile(&kept, 50),
        percentile(&kept, 99),
        new.len(),
        percentile(&new, 50),
        percentile(&new, 99)
    );
    Ok(())
}

/// The sorted latencies of all.
async fn all(mut visits: JoinSet<Result<Vec<u64>, String>>) -> Result<Vec<u64>, String> {
    let mut latencies = Vec::new();
    while let Some(visit) = visits.join_next().await {
        latencies.extend(visit.map_err(|error| error.to_string())??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// One visitor.
struct Visit {
    config: Arc<ClientConfig>,
    ask: Ask,
    body: Arc<[u8]>,
    from: Ipv4Addr,
}

impl Visit {
    async fn open(&self) -> Result<Browser, String> {
        Browser::open(&self.config, &self.ask, &self.body, self.from).await
    }

    /// Asks on one connection, again and again.
    async fn stay(self, begin: Instant, end: Instant) -> Result<Vec<u64>, String> {
        let mut browser = patiently(self.open()).await?;
        let mut pace = Pace { next: begin, every: REGULAR_PACE };
        let mut latencies = Vec::new();
        while pace.next < end {
            let begun = pace.wait().await;
            patiently(browser.get()).await?;
            latencies.push(microseconds(begun));
        }
        Ok(latencies)
    }

    /// Asks once on a connection, and again on another.
    async fn come_anew(self, begin: Instant, end: Instant) -> Result<Vec<u64>, String> {
        let mut pace = Pace { next: begin, every: NEWCOMER_PACE };
        let mut latencies = Vec::new();
        while pace.next < end {
            let begun = pace.wait().await;
            patiently(async { self.open().await?.get().await }).await?;
            latencies.push(microseconds(begun));
        }
        Ok(latencies)
    }
}

/// When somebody asks.
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    /// Waits for the next time to ask. Who is late because the last answer was, began when it was time: what waits behind
    /// a slow answer waits as well.
    async fn wait(&mut self) -> Instant {
        let due = self.next;
        self.next += self.every;
        if due < Instant::now() {
            return due;
        }
        sleep_until(due).await;
        Instant::now()
    }
}

/// An answer, or that it did not come.
async fn patiently<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
