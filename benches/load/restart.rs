//! `--restart N`: what it costs to start again with N sessions on disk, after `kill -9`.
//!
//! A gateway makes the sessions and is killed without a word; the next one on the same file is timed until it serves, in
//! CPU time of the whole process. The bound is that of the design, for a million of them.

use crate::configs::{Behind, Room};
use crate::contestants::{self, GatewayStart};
use crate::lab::{self, Lab};
use crate::options::Options;
use crate::run;
use crate::tools::Tools;

/// How long starting may take for a million sessions, in seconds of CPU time.
const MOST: f64 = 1.5;

/// How many sessions that is for.
const PER: f64 = 1_000_000.0;

/// Measures it, as often as there are rounds.
pub(crate) fn run(options: &Options, tools: &Tools) -> Result<(), String> {
    let lab = Lab::new()?;
    run::tidy_up_on_interrupt(lab.dir().to_owned())?;
    let binary = contestants::own("disk", true)?;
    let ports = lab::free_ports(3)?;
    let [port, application, echo] = ports.as_slice() else { return Err("no free ports".to_owned()) };
    let behind = Behind { application: *application, echo: *echo };
    let start = |sessions| {
        let core = options.server_core;
        let what = GatewayStart { binary: &binary, port: *port, behind, room: Room::Load, sessions, core };
        contestants::start_gateway(&what, tools, &lab)
    };
    // Dropped: killed.
    drop(start(options.sessions)?);
    let file = std::fs::metadata(lab.path("disk.redb")).map_err(|error| error.to_string())?.len();
    println!("| start after kill -9 | sessions | file, MiB | CPU, s | memory, MiB |\n|---|--:|--:|--:|--:|");
    let mut least = f64::MAX;
    for round in 0..options.rounds {
        let gateway = start(0)?;
        let seconds = gateway.process.cpu_time()?.used_ns as f64 / 1e9;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (file, memory) = (mib(file), mib(gateway.process.memory()?));
        println!("| {} | {} | {file:.0} | {seconds:.2} | {memory:.0} |", round + 1, options.sessions);
        least = least.min(seconds);
    }
    let most = MOST * options.sessions as f64 / PER;
    if least <= most {
        Ok(())
    } else {
        Err(format!("starting took {least:.2} s of CPU time, and {most:.2} is the bound"))
    }
}
