//! h2load: HTTP/1.1 and HTTP/2 with one cookie. It counts status codes and body bytes, and logs every request.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cases::{Case, Shape, USER_AGENT};
use crate::loads::{LoadPlan, Outcome, percentile};
use crate::tools::Tools;

/// The command that makes this load. Suite and group are what browsers and these servers agree on, and the same for
/// every contestant.
pub(crate) fn command(tools: &Tools, plan: &LoadPlan<'_>, request_log: &Path) -> Command {
    let mut command = tools.pinned(plan.core, &tools.h2load);
    if plan.case.shape == Shape::Http1 {
        command.arg("--h1");
    }
    command.arg(format!("--clients={}", plan.case.connections));
    command.arg(format!("--max-concurrent-streams={}", plan.case.streams));
    command.arg(format!("--duration={}", plan.seconds));
    command.args(["--threads=1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]);
    command.arg(format!("--header=user-agent: {USER_AGENT}"));
    command.arg(format!("--header=cookie: {}", plan.target.cookie));
    command.arg(format!("--log-file={}", request_log.display()));
    command.arg(format!("https://{}{}", plan.target.address, plan.case.document.path));
    command
}

/// Reads and checks its summary and its log.
pub(crate) fn outcome(
    output: &str,
    case: &Case,
    request_log: &Path,
    window: (SystemTime, SystemTime),
) -> Result<Outcome, String> {
    let requests = check_summary(output, case)?;
    let log = fs::read_to_string(request_log).map_err(|error| format!("{}: {error}", request_log.display()))?;
    let (begin, end) = (micros(window.0), micros(window.1));
    let mut latencies = Vec::new();
    for line in log.lines() {
        let mut columns = line.split('\t');
        let mut column = || columns.next().and_then(|value| value.parse::<i64>().ok());
        let (Some(start), Some(status), Some(latency)) = (column(), column(), column()) else {
            return Err(format!("h2load's log has a line that is none: {line}"));
        };
        if status != 200 {
            return Err(format!("an answer with status {status}"));
        }
        if (begin..end).contains(&start) {
            latencies.push(u64::try_from(latency).unwrap_or(0));
        }
    }
    if latencies.is_empty() {
        return Err("h2load logged no request".to_owned());
    }
    latencies.sort_unstable();
    Ok(Outcome { requests, p50_us: percentile(&latencies, 50), p99_us: percentile(&latencies, 99) })
}

/// Checks that nothing failed, that everything was a 200, and that every body was whole. Returns the requests done.
fn check_summary(output: &str, case: &Case) -> Result<u64, String> {
    let line = |prefix: &str| {
        output.lines().find_map(|line| line.strip_prefix(prefix)).ok_or_else(|| format!("h2load printed no {prefix}"))
    };
    let wrong = |what: &str| Err(format!("{what}; h2load said:\n{}", tail(output)));
    let requests = line("requests: ")?;
    let done = before(requests, "done")?;
    if before(requests, "succeeded")? != done
        || ["failed", "errored", "timeout"].iter().any(|what| before(requests, what) != Ok(0))
    {
        return wrong("some requests failed");
    }
    // When its time is up, answers under way have been counted by the head and the byte, but not as requests.
    let codes = line("status codes: ")?;
    if done == 0
        || !(done..=done + case.in_flight()).contains(&before(codes, "2xx")?)
        || ["3xx", "4xx", "5xx"].iter().any(|class| before(codes, class) != Ok(0))
    {
        return wrong("some answers were not 2xx");
    }
    let protocol = if case.shape == Shape::Http1 { "http/1.1" } else { "h2" };
    if line("TLS Protocol: ")? != "TLSv1.3" || line("Application protocol: ")? != protocol {
        return wrong("not the protocol that was to be measured");
    }
    let data = line("traffic: ")?.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(") data"));
    let data: u64 = data.and_then(|data| data.parse().ok()).ok_or("h2load printed no data bytes")?;
    let size = case.document.size;
    if data < done * size || data > (done + case.in_flight()) * size {
        return wrong(&format!("{data} bytes are not {done} bodies of {size}"));
    }
    Ok(done)
}

/// The number before a word: `85004 done` in a list with commas.
fn before(list: &str, word: &str) -> Result<u64, String> {
    let found = list.split(',').find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
    found.ok_or_else(|| format!("h2load printed no number of {word}"))
}

/// Microseconds since the epoch, as h2load's log counts.
fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The summary, without the tales of progress before it.
fn tail(output: &str) -> &str {
    output.find("finished in").and_then(|at| output.get(at..)).unwrap_or(output)
}
