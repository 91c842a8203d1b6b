//! The load of the `hs` case: one full TLS 1.3 handshake and one request a connection.
//!
//! It is a process of its own, so that it can be pinned to the other core. Neither wrk nor h2load will do: told to close
//! the connection after each answer, both resume the session at every server that lets them (seen in a log of nginx's
//! `$ssl_session_reused`), and h2load then does not end when its time is up. This client cannot resume at all, and
//! looks at every handshake's kind.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::cases::{Case, SMALL};
use crate::contestants::Contestant;
use crate::lab::Lab;
use crate::loads::{Outcome, fields, percentile};
use crate::tls_client::{self, Ask};
use crate::tools::Tools;

/// No load is longer than this, whatever it is asked for.
const MAX_CONNECTIONS_EACH: usize = 1_000_000;

/// The command that makes this load.
pub(crate) fn command(
    tools: &Tools,
    core: usize,
    case: &Case,
    target: &Contestant,
    seconds: u64,
    lab: &Lab,
) -> Result<Command, String> {
    let certificate = lab.write("cert.der", &lab.certificate)?;
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = tools.pinned(core, &own);
    command.args(["handshakes", &target.address.to_string(), &seconds.to_string(), &case.connections.to_string()]);
    command.arg(certificate).arg(&target.cookie);
    Ok(command)
}

/// What it printed, understood. It checks every answer itself, and prints nothing if one was wrong.
pub(crate) fn outcome(output: &str) -> Result<Outcome, String> {
    let fields = fields(output)?;
    let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("handshakes did not print {name}"));
    Ok(Outcome { requests: field("requests")?, p50_us: field("p50")?, p99_us: field("p99")? })
}

/// The process itself: `ADDRESS SECONDS CONNECTIONS CERTIFICATE COOKIE`.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [address, seconds, connections, certificate, cookie] = args else {
        return Err("usage: handshakes ADDRESS SECONDS CONNECTIONS CERTIFICATE COOKIE".to_owned());
    };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let seconds: u64 = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    let connections: usize = connections.parse().map_err(|error| format!("{connections}: {error}"))?;
    let certificate = fs::read(Path::new(certificate)).map_err(|error| format!("{certificate}: {error}"))?;
    let config = tls_client::config(certificate)?;
    let ask = Ask { address, document: SMALL, cookie: cookie.clone(), close: true };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..connections)
        .map(|_| {
            let (config, ask) = (Arc::clone(&config), ask.clone());
            thread::spawn(move || connect_again_and_again(&config, &ask, deadline))
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.join().map_err(|_| "a thread panicked".to_owned())??);
    }
    latencies.sort_unstable();
    println!("requests={} p50={} p99={}", latencies.len(), percentile(&latencies, 50), percentile(&latencies, 99));
    Ok(())
}

/// One connection after the other until the deadline; microseconds each, from connecting to the server's closing.
fn connect_again_and_again(config: &Arc<ClientConfig>, ask: &Ask, deadline: Instant) -> Result<Vec<u64>, String> {
    let mut latencies = Vec::new();
    while latencies.len() < MAX_CONNECTIONS_EACH {
        let begin = Instant::now();
        if begin >= deadline {
            break;
        }
        tls_client::fetch(config, ask)?;
        latencies.push(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(latencies)
}
