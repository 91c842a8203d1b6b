//! `--idle` and `--websockets`: what an open connection costs in bytes, when there are thousands.
//!
//! A gateway and an nginx, each started afresh: their memory with nobody there, with the idle connections, with the
//! WebSockets as well, when all have left, and when as many have come again. In between every connection is used once
//! more: one that was quietly dropped would cost nothing. What the kernel holds for a connection is not in it, which is
//! the same for both.
//!
//! Allocators give only some of it back to the system, and keep the rest for the next crowd. So that is what is asked of
//! a gateway: the second crowd must find the memory of the first.

use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::cases::SMALL;
use crate::client::{self, Browser, Tls};
use crate::configs::{self, Behind, NGINX_CONNECTIONS, Room};
use crate::contestants::{self, Contestant, GatewayStart};
use crate::lab::{self, Lab};
use crate::options::{Crowd, GatewayBinary, Options};
use crate::process::Process;
use crate::run;
use crate::tls_client::{self, Ask};
use crate::tools::Tools;
use crate::websockets::Socket;

/// How many connections are opened, or used, at a time: short of any queue of connections not yet accepted.
const AT_A_TIME: usize = 64;
/// How long opening them all, or using them all, may take.
const STEP_LIMIT: Duration = Duration::from_secs(300);
/// From the last answer to a reading: allocators give memory back a little later.
const SETTLE: Duration = Duration::from_secs(2);
/// How much more the second crowd may need than the first.
const MAY_GROW: f64 = 1.1;
/// Descriptors that are needed beside those of the crowd.
const FILES_BESIDE: usize = 200;

/// What was read of one contestant, in bytes.
#[derive(Debug, Clone, Copy)]
struct Reading {
    alone: u64,
    with_idle: u64,
    with_all: u64,
    after_use: u64,
    after: u64,
    again: u64,
}

/// Who comes, and whereto.
struct Visit<'a> {
    config: Arc<ClientConfig>,
    crowd: Crowd,
    target: &'a Contestant,
    cookies: Vec<String>,
    body: Arc<[u8]>,
}

/// Measures everybody who takes part, and prints a table.
pub(crate) fn run(options: &Options, crowd: Crowd, tools: &Tools) -> Result<(), String> {
    let both_sides = crowd.idle + 2 * crowd.websockets;
    ensure_files(both_sides + FILES_BESIDE, tools)?;
    let lab = Lab::new()?;
    run::tidy_up_on_interrupt(lab.dir().to_owned())?;
    let mut readings = Vec::new();
    for binary in contestants::gateways(options)? {
        let reading = start_gateway(&binary, crowd, options, tools, &lab)
            .and_then(|(mut target, _application)| measure(crowd, &mut target, &lab))
            .map_err(|error| format!("{}: {error}", binary.label))?;
        readings.push((binary.label, reading));
    }
    if options.wants("nginx") {
        let (mut target, _application) = start_nginx(crowd, options, tools, &lab)?;
        readings
            .push(("nginx".to_owned(), measure(crowd, &mut target, &lab).map_err(|error| format!("nginx: {error}"))?));
    }
    print!("{}", table(crowd, &readings));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json(crowd, &readings)).map_err(|error| error.to_string())?;
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    match readings.iter().find(|(name, reading)| name != "nginx" && reading.growth() > MAY_GROW) {
        Some((name, reading)) => {
            Err(format!("{name}: a second crowd needs {:.2} times the memory of the first", reading.growth()))
        }
        None => Ok(()),
    }
}

/// Sees to it that this process and its children may have so many files open; if they may not yet, begins again as one
/// that may.
fn ensure_files(needed: usize, tools: &Tools) -> Result<(), String> {
    let text = fs::read_to_string("/proc/self/limits").map_err(|error| format!("/proc/self/limits: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut limits = line.split_ascii_whitespace().map(|limit| limit.parse().unwrap_or(usize::MAX));
    let (Some(soft), Some(hard)) = (limits.next(), limits.next()) else {
        return Err("/proc/self/limits does not tell of open files".to_owned());
    };
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(format!(
            "so many connections need {needed} open files, and {hard} are allowed here: \
             ask for fewer, or raise the limit (ulimit -Hn) as root"
        ));
    }
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let error = Command::new(&tools.prlimit)
        .arg(format!("--nofile={needed}:"))
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(format!("{}: {error}", tools.prlimit.display()))
}

/// The application, and the gateway in front of it.
fn start_gateway(
    binary: &GatewayBinary,
    crowd: Crowd,
    options: &Options,
    tools: &Tools,
    lab: &Lab,
) -> Result<(Contestant, [Process; 2]), String> {
    let (port, behind, application) = start_application(options, tools, lab)?;
    let room = Room::Crowd(crowd.idle + crowd.websockets + FILES_BESIDE);
    let what = GatewayStart { binary, port, behind, room, sessions: options.sessions, core: options.server_core };
    Ok((contestants::start_gateway(&what, tools, lab)?, application))
}

/// The application, and nginx in front of it.
fn start_nginx(
    crowd: Crowd,
    options: &Options,
    tools: &Tools,
    lab: &Lab,
) -> Result<(Contestant, [Process; 2]), String> {
    let (port, behind, application) = start_application(options, tools, lab)?;
    let needed = crowd.idle + 2 * crowd.websockets + FILES_BESIDE;
    // When less than a sixteenth is free, nginx closes idle ones to make room.
    let connections = NGINX_CONNECTIONS.max(needed + needed / 8);
    let config = configs::nginx(lab.dir(), port, behind, connections);
    let process = contestants::start_nginx("nginx", &config, port, options.server_core, tools, lab)?;
    let cookies = lab.made_up_cookies(options.sessions)?;
    Ok((contestants::peer("nginx", "nginx, plain proxy", port, process, &cookies)?, application))
}

/// The application, and a port for what is to be in front of it.
fn start_application(options: &Options, tools: &Tools, lab: &Lab) -> Result<(u16, Behind, [Process; 2]), String> {
    let ports = lab::free_ports(3)?;
    let [port, application, echo] = ports.as_slice() else { return Err("no free ports".to_owned()) };
    let config = configs::upstream(lab.dir(), *application);
    let processes = [
        contestants::start_nginx("upstream", &config, *application, options.load_core, tools, lab)?,
        contestants::start_part("echo", *echo, options.load_core, tools, lab)?,
    ];
    Ok((*port, Behind { application: *application, echo: *echo }, processes))
}

/// Lets the crowd come, use what it came for, and leave.
fn measure(crowd: Crowd, target: &mut Contestant, lab: &Lab) -> Result<Reading, String> {
    let cookies = fs::read_to_string(&target.cookies).map_err(|error| error.to_string())?;
    let visit = Visit {
        config: tls_client::config(lab.certificate.clone())?,
        crowd,
        target,
        cookies: cookies.lines().map(str::to_owned).collect(),
        body: lab::body(SMALL).into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    let read = || {
        thread::sleep(SETTLE);
        visit.target.process.memory()
    };
    let step = |what| move |error| format!("{what}: {error}");
    // The first of all, which a program may have to make ready for.
    runtime.block_on(limited(visit.browsers(0..1))).map_err(step("the first request"))?;
    let alone = read()?;
    let mut idle = runtime.block_on(limited(visit.browsers(0..crowd.idle))).map_err(step("opening connections"))?;
    let with_idle = read()?;
    let mut sockets = runtime.block_on(limited(visit.sockets())).map_err(step("opening WebSockets"))?;
    let with_all = read()?;
    runtime.block_on(limited(use_again(&mut idle, &mut sockets))).map_err(step("using them once more"))?;
    let after_use = read()?;
    runtime.block_on(limited(close(idle, sockets))).map_err(step("closing them"))?;
    let after = read()?;
    let idle = runtime.block_on(limited(visit.browsers(0..crowd.idle))).map_err(step("connections again"))?;
    let sockets = runtime.block_on(limited(visit.sockets())).map_err(step("WebSockets again"))?;
    let again = read()?;
    runtime.block_on(limited(close(idle, sockets))).map_err(step("closing them again"))?;
    target.process.check_running()?;
    Ok(Reading { alone, with_idle, with_all, after_use, after, again })
}

/// What comes to its end within the limit.
async fn limited<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(STEP_LIMIT, step).await.unwrap_or_else(|_| Err(format!("it takes longer than {STEP_LIMIT:?}")))
}

impl Visit<'_> {
    /// Opens connections and asks once on each.
    async fn browsers(&self, numbers: Range<usize>) -> Result<Vec<Browser>, String> {
        let open = |number: usize| async move {
            let cookie = self.cookie(number)?;
            let ask = Ask { address: self.target.address, document: SMALL, cookie, close: false };
            let mut browser = Browser::open(&self.config, &ask, &self.body, client::source(number)).await?;
            browser.get().await?;
            Ok(browser)
        };
        stream::iter(numbers).map(open).buffered(AT_A_TIME).try_collect().await
    }

    /// Opens WebSockets, each of another session, and says something on each.
    async fn sockets(&self) -> Result<Vec<Socket<Tls>>, String> {
        let open = |number: usize| async move {
            let from = client::source(self.crowd.idle + number);
            let stream = client::connect(&self.config, self.target.address, from).await?;
            let mut socket = Socket::ask(stream, &self.target.address.to_string(), &self.cookie(number)?).await?;
            socket.echo(number as u64).await?;
            Ok(socket)
        };
        stream::iter(0..self.crowd.websockets).map(open).buffered(AT_A_TIME).try_collect().await
    }

    /// The cookie of this client; sessions are used in turn.
    fn cookie(&self, number: usize) -> Result<String, String> {
        let at = number.checked_rem(self.cookies.len()).unwrap_or(0);
        self.cookies.get(at).cloned().ok_or_else(|| "there are no sessions".to_owned())
    }
}

/// Uses every connection once more.
async fn use_again(idle: &mut [Browser], sockets: &mut [Socket<Tls>]) -> Result<(), String> {
    let requests = stream::iter(idle).map(Browser::get).buffered(AT_A_TIME);
    requests.try_for_each(|()| std::future::ready(Ok(()))).await?;
    let echoes = stream::iter(sockets).map(|socket| socket.echo(u64::MAX)).buffered(AT_A_TIME);
    echoes.try_for_each(|()| std::future::ready(Ok(()))).await
}

/// Closes every connection; WebSockets as they should be.
async fn close(idle: Vec<Browser>, sockets: Vec<Socket<Tls>>) -> Result<(), String> {
    drop(idle);
    let closings = stream::iter(sockets).map(Socket::close).buffered(AT_A_TIME);
    closings.try_for_each(|()| std::future::ready(Ok(()))).await
}

impl Reading {
    /// Bytes of one of so many connections.
    fn each(more: u64, less: u64, count: usize) -> Option<f64> {
        (count > 0).then(|| more.saturating_sub(less) as f64 / count as f64)
    }

    /// The memory with the second crowd as a multiple of that with the first.
    fn growth(&self) -> f64 {
        self.again as f64 / (self.with_all.max(self.after_use) as f64).max(1.0)
    }
}

/// The table.
fn table(crowd: Crowd, readings: &[(String, Reading)]) -> String {
    let mut text = format!(
        "| resident memory | alone, MiB | KiB an idle connection ({}) | KiB a WebSocket ({}) | all, MiB | \
         used once more, MiB | all closed, MiB | all again, MiB |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
        crowd.idle, crowd.websockets
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let kib = |each: Option<f64>| each.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0));
    for (name, reading) in readings {
        let Reading { alone, with_idle, with_all, after_use, after, again } = *reading;
        let idle = kib(Reading::each(with_idle, alone, crowd.idle));
        let websocket = kib(Reading::each(with_all, with_idle, crowd.websockets));
        text += &format!(
            "| {name} | {:.1} | {idle} | {websocket} | {:.1} | {:.1} | {:.1} | {:.1} |\n",
            mib(alone),
            mib(with_all),
            mib(after_use),
            mib(after),
            mib(again)
        );
    }
    text
}

/// The same for programs.
fn json(crowd: Crowd, readings: &[(String, Reading)]) -> serde_json::Value {
    let one = |(name, reading): &(String, Reading)| {
        serde_json::json!({ "contestant": name, "idle": crowd.idle, "websockets": crowd.websockets,
            "alone_bytes": reading.alone, "with_idle_bytes": reading.with_idle, "with_all_bytes": reading.with_all,
            "after_use_bytes": reading.after_use, "after_bytes": reading.after, "again_bytes": reading.again })
    };
    readings.iter().map(one).collect()
}
