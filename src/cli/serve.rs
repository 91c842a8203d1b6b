//! `vestibule serve`: the gateway as a process, from its configuration to its last request.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::{self, Parts, Running};
use crate::config::{Plan, StoreKind};

/// Runs the gateway until it is told to stop.
pub(super) fn run(config: &Path) -> Result<(), String> {
    log_to_stderr();
    let plan = Plan::load(config).map_err(|mistakes| mistakes.to_string())?;
    let running = app::start(&plan, Parts::default())?;
    for address in &running.addresses {
        tracing::info!("listening on https://{address}");
    }
    for address in &running.redirect_addresses {
        tracing::info!("redirecting http://{address} to https");
    }
    if let Some(address) = running.metrics_address {
        tracing::info!("metrics on http://{address}/metrics");
    }
    let count = running.shared.store.active();
    match &plan.session.store {
        StoreKind::Memory => tracing::info!("sessions are kept in memory: a restart signs everybody out"),
        StoreKind::Disk(path) => tracing::info!("sessions are kept in {}; live ones: {count}", path.display()),
    }
    wait_for_stop(running, false)
}

/// Operational messages, for whoever runs the gateway, go to standard error.
pub(super) fn log_to_stderr() {
    // What libraries say is for those who write them.
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), tracing::Level::INFO);
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).finish().with(ours).init();
}

/// How often it is looked whether everything has stopped.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

/// Waits for SIGTERM or Ctrl-C, lets what is under way end, and returns. A second signal ends at once. SIGHUP has the
/// log files opened again, or, with `hangup_stops`, is one more way to stop.
pub(super) fn wait_for_stop(running: Running, hangup_stops: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("signals cannot be waited for: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    if hangup_stops {
                        break;
                    }
                    running.reopen_logs();
                    tracing::info!("SIGHUP: log files are opened again; a new configuration takes a restart");
                }
            }
        }
        tracing::info!("stopping: no new connections, and what is under way may end");
        running.stop();
        let stopped = std::thread::spawn(move || running.wait());
        while !stopped.is_finished() {
            tokio::select! {
                _ = terminate.recv() => return Err("stopped at once: a second signal came".to_owned()),
                _ = interrupt.recv() => return Err("stopped at once: a second signal came".to_owned()),
                _ = hangup.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        tracing::info!("stopped");
        Ok(())
    })
}
