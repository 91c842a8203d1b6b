//! `--memory`: what a live session costs in bytes.
//!
//! A gateway with no sessions and one with many, started afresh, nobody asking for anything: the difference of what
//! they occupy, divided by the sessions. Indexes, allocator overhead and half-full tables are in it, as they should.

use std::thread;
use std::time::Duration;

use crate::configs::{Behind, Room};
use crate::contestants::{self, GatewayStart};
use crate::lab::{self, Lab};
use crate::options::{GatewayBinary, Options};
use crate::run;
use crate::tools::Tools;

/// Allocators give memory back a little later.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures every gateway that takes part and prints a table.
pub(crate) fn run(options: &Options, tools: &Tools) -> Result<(), String> {
    let lab = Lab::new()?;
    run::tidy_up_on_interrupt(lab.dir().to_owned())?;
    let mut lines = Vec::new();
    let mut results = Vec::new();
    for binary in contestants::gateways(options)? {
        let empty = occupied(&binary, 0, options, tools, &lab)?;
        let full = occupied(&binary, options.sessions, options, tools, &lab)?;
        let each = full.saturating_sub(empty) as f64 / options.sessions as f64;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        lines.push(format!("| {} | {:.1} | {:.1} | {each:.0} |", binary.label, mib(empty), mib(full)));
        results.push(serde_json::json!({ "contestant": binary.label, "sessions": options.sessions,
            "empty_bytes": empty, "full_bytes": full, "bytes_per_session": each }));
    }
    println!("| memory | no sessions, MiB | {} sessions, MiB | bytes a session |\n|---|--:|--:|--:|", options.sessions);
    println!("{}", lines.join("\n"));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Bytes a fresh gateway occupies with so many sessions.
fn occupied(
    binary: &GatewayBinary,
    sessions: usize,
    options: &Options,
    tools: &Tools,
    lab: &Lab,
) -> Result<u64, String> {
    // No application: nobody asks for one.
    let ports = lab::free_ports(3)?;
    let [port, application, echo] = ports.as_slice() else { return Err("no free ports".to_owned()) };
    let behind = Behind { application: *application, echo: *echo };
    let what = GatewayStart { binary, port: *port, behind, room: Room::Load, sessions, core: options.server_core };
    let gateway = contestants::start_gateway(&what, tools, lab)?;
    thread::sleep(SETTLE);
    gateway.process.memory()
}
