//! A load that runs, whichever program makes it, and what it reports when it has ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::cases::{Case, Shape};
use crate::contestants::Contestant;
use crate::lab::Lab;
use crate::process::Process;
use crate::tools::Tools;
use crate::{h2load, handshakes, websockets, wrk};

/// How much longer than asked for a load may take.
const OVERTIME: Duration = Duration::from_secs(30);

/// What a load found. Every answer was a 200 of full length, or there would be an error in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Median latency in microseconds.
    pub(crate) p50_us: u64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99_us: u64,
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Load {
    /// The generator.
    pub(crate) process: Process,
    /// Its shape.
    case: Case,
    /// When to give it up.
    limit: Duration,
    /// Where h2load logs its requests.
    request_log: PathBuf,
    /// Bytes of one right answer.
    wire_bytes: u64,
}

/// Everything a load needs to know.
pub(crate) struct LoadPlan<'a> {
    /// Its shape.
    pub(crate) case: &'a Case,
    /// Its victim.
    pub(crate) target: &'a Contestant,
    /// Bytes of one right answer, head and body.
    pub(crate) wire_bytes: u64,
    /// How long.
    pub(crate) seconds: u64,
    /// Where its generator runs.
    pub(crate) core: usize,
}

/// Starts a load.
pub(crate) fn start(plan: &LoadPlan<'_>, tools: &Tools, lab: &Lab) -> Result<Load, String> {
    let name = format!("load-{}-{}", plan.target.name, plan.case.key);
    let request_log = lab.path(&format!("{name}.requests"));
    // h2load appends.
    let _ = std::fs::remove_file(&request_log);
    let command = match plan.case.shape {
        Shape::Http1 | Shape::Http2 => h2load::command(tools, plan, &request_log),
        Shape::Handshakes => handshakes::command(tools, plan.core, plan.case, plan.target, plan.seconds, lab)?,
        Shape::ManySessions => wrk::command(tools, plan, lab)?,
        Shape::WebSockets => websockets::command(tools, plan, lab)?,
    };
    Ok(Load {
        process: Process::start(&name, command, lab.dir())?,
        case: *plan.case,
        limit: Duration::from_secs(plan.seconds) + OVERTIME,
        request_log,
        wire_bytes: plan.wire_bytes,
    })
}

impl Load {
    /// Waits for its end and checks its answers. Latencies are those of requests begun within the window, where the
    /// generator tells when each began.
    pub(crate) fn finish(self, window: (SystemTime, SystemTime)) -> Result<Outcome, String> {
        let output = self.process.finish(self.limit)?;
        match self.case.shape {
            Shape::Http1 | Shape::Http2 => h2load::outcome(&output, &self.case, &self.request_log, window),
            Shape::Handshakes => handshakes::outcome(&output),
            Shape::ManySessions => wrk::outcome(&output, &self.case, self.wire_bytes),
            Shape::WebSockets => websockets::outcome(&output),
        }
    }
}

/// The `name=number` pairs of the output's last line.
pub(crate) fn fields(output: &str) -> Result<HashMap<&str, u64>, String> {
    let line = output.lines().last().unwrap_or_default();
    let pairs = line.split_ascii_whitespace().map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name, value.parse().ok()?))
    });
    pairs.collect::<Option<_>>().ok_or_else(|| format!("cannot read the load generator's result: {line}"))
}

/// A percentile of sorted values; 0 of none.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}
