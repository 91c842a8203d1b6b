//! `vestibule serve`: the gateway as a process, from its configuration to its last request.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::{self, Parts, Running, files};
use crate::cli::notify::Notify;
use crate::cli::process;
use crate::config::{Plan, StoreKind};
use crate::enforce::reloads::Cause;
use crate::reload;

/// Runs the gateway until it is told to stop.
pub(super) fn run(config: &Path) -> Result<(), String> {
    log_to_stderr();
    process::gain_no_rights()?;
    // From the beginning on, so that whoever rotates logs while it starts does not end it.
    let signals = Signals::listen()?;
    let notify = Notify::from_environment();
    let given = process::given_sockets()?;
    let plan = Plan::load(config).map_err(|mistakes| mistakes.to_string())?;
    let too_few_files = files::raise_limit(&plan);
    let sockets = plan.server.open_sockets(given)?;
    let plan = process::as_its_user(config, plan)?;
    let mut running = app::start_on(sockets, &plan, Parts::default())?;
    reload::start(&mut running, config);
    process::warn_of_root();
    if let Some(warning) = too_few_files {
        tracing::warn!("{warning}");
    }
    for address in &running.addresses {
        tracing::info!("listening on https://{address}");
    }
    for address in &running.redirect_addresses {
        tracing::info!("redirecting http://{address} to https");
    }
    if let Some(address) = running.metrics_address {
        tracing::info!("metrics on http://{address}/metrics");
    }
    if let Some(address) = running.admin_address {
        tracing::info!("listening to the operator on http://{address}");
    }
    let count = running.shared.store.active();
    match &plan.session.store {
        StoreKind::Memory => tracing::info!("sessions are kept in memory: a restart signs everybody out"),
        StoreKind::Disk(path) => tracing::info!("sessions are kept in {}; live ones: {count}", path.display()),
    }
    wait_for_stop(signals, running, OnHangup::Reload, &notify)
}

/// The signals that this process heeds, from when they are listened to.
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens to them.
    ///
    /// # Errors
    /// A sentence, when the system does not let it.
    pub(super) fn listen() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("signals cannot be waited for: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listening = {
            let _entered = runtime.enter();
            let listen = |kind| signal(kind).map_err(failed);
            // Where files may not grow any further (LimitFSIZE=, ulimit -f), a write is to fail as on a full disk, and not
            // to end the process. What was said once of a signal holds for as long as that lives.
            drop(listen(SignalKind::from_raw(libc::SIGXFSZ))?);
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?)
        };
        let (terminate, interrupt, hangup) = listening;
        Ok(Self { runtime, terminate, interrupt, hangup })
    }
}

/// Operational messages, for whoever runs the gateway, go to standard error.
pub(super) fn log_to_stderr() {
    // What libraries say is for those who write them.
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), tracing::Level::INFO);
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).finish().with(ours).init();
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnHangup {
    /// Logs are to be opened again, and the configuration is to be read again.
    Reload,
    /// One more way to stop.
    Stop,
}

/// How often it is looked whether everything has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Says that the gateway is there, waits for SIGTERM or Ctrl-C, lets what is under way end, and returns. A second signal
/// ends at once.
pub(super) fn wait_for_stop(
    signals: Signals,
    running: Running,
    on_hangup: OnHangup,
    notify: &Notify,
) -> Result<(), String> {
    let Signals { runtime, mut terminate, mut interrupt, mut hangup } = signals;
    runtime.block_on(async {
        notify.say("READY=1");
        let mut reloading = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => match on_hangup {
                    OnHangup::Stop => break,
                    OnHangup::Reload => {
                        notify.say("RELOADING=1");
                        running.reopen_logs();
                        tracing::info!("SIGHUP: log files are opened again, and the configuration is read again");
                        let shared = Arc::clone(&running.shared);
                        // What comes of it is told there.
                        reloading = Some(Box::pin(async move { drop(shared.reloads.ask(Cause::signal()).await) }));
                    }
                },
                () = done(&mut reloading) => {
                    reloading = None;
                    notify.say("READY=1");
                }
                () = half_of_patience(notify) => {
                    // Whoever waits for a word that does not come ends this process, and begins another.
                    if running.have_all_moved() {
                        notify.say("WATCHDOG=1");
                    }
                }
            }
        }
        notify.say("STOPPING=1");
        tracing::info!("stopping: no new connections, and what is under way may end");
        running.stop();
        let stopped = std::thread::spawn(move || running.wait());
        while !stopped.is_finished() {
            tokio::select! {
                _ = terminate.recv() => return Err("stopped at once: a second signal came".to_owned()),
                _ = interrupt.recv() => return Err("stopped at once: a second signal came".to_owned()),
                _ = hangup.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {
                    // It has a time of its own to end in.
                    if notify.every.is_some() {
                        notify.say("WATCHDOG=1");
                    }
                }
            }
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Until the configuration has been read again; for ever if it is not being read.
async fn done(reloading: &mut Option<BoxFuture<'static, ()>>) {
    match reloading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Until the service manager is to hear that everything goes on; for ever if it does not want to.
async fn half_of_patience(notify: &Notify) {
    match notify.every {
        Some(every) => tokio::time::sleep(every).await,
        None => std::future::pending().await,
    }
}
