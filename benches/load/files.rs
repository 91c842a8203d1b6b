//! `--files`: files of any size pass through the gateway, and its memory stays flat.
//!
//! One file down and one up, over HTTP/1.1 and over HTTP/2, through a gateway started afresh for each, so that each peak
//! is its own. In the middle whoever takes the file pauses, while whoever sends it does not: what is held back then must
//! be held back at its sender.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::cases::USER_AGENT;
use crate::client;
use crate::configs::{Behind, Room};
use crate::content::{Generated, Pattern};
use crate::contestants::{self, Contestant, GatewayStart};
use crate::lab::{self, Lab};
use crate::options::{GatewayBinary, Options};
use crate::origin::{AS_SENT, FILES};
use crate::run;
use crate::tls_client;
use crate::tools::Tools;

/// The most memory a gateway may have used at any moment, in bytes.
const MOST_MEMORY: u64 = 100 << 20;
/// How long a transfer may take, and how much longer for each GiB.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_PER_GIB: Duration = Duration::from_secs(60);
/// How much an HTTP/2 client takes before it says that there is room for more: what browsers take.
const WINDOW: u32 = 6 << 20;
/// The longest answer to an upload.
const MOST_WORDS: usize = 1024;

/// Which way a file goes, and by which protocol.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    title: &'static str,
    is_upload: bool,
    is_h2: bool,
}

/// All of them.
const TRANSFERS: [Transfer; 4] = [
    Transfer { title: "download, HTTP/1.1", is_upload: false, is_h2: false },
    Transfer { title: "upload, HTTP/1.1", is_upload: true, is_h2: false },
    Transfer { title: "download, HTTP/2", is_upload: false, is_h2: true },
    Transfer { title: "upload, HTTP/2", is_upload: true, is_h2: true },
];

/// What a transfer took.
struct Reading {
    transfer: Transfer,
    binary: String,
    seconds: f64,
    before: u64,
    peak: u64,
}

/// Makes all transfers, and prints a table.
pub(crate) fn run(options: &Options, gib: usize, tools: &Tools) -> Result<(), String> {
    let lab = Lab::new()?;
    run::tidy_up_on_interrupt(lab.dir().to_owned())?;
    let mut readings = Vec::new();
    for binary in contestants::gateways(options)? {
        for transfer in TRANSFERS {
            let reading = measure(transfer, gib, &binary, options, tools, &lab)
                .map_err(|error| format!("{}, {}: {error}", binary.label, transfer.title))?;
            eprintln!("{}, {}: {:.0} s", binary.label, transfer.title, reading.seconds);
            readings.push(reading);
        }
    }
    print!("{}", table(gib, &readings));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json(gib, &readings)).map_err(|error| error.to_string())?;
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    match readings.iter().find(|reading| reading.peak >= MOST_MEMORY) {
        Some(Reading { transfer, binary, peak, .. }) => {
            Err(format!("{binary}, {}: a peak of {} MiB, and less than 100 was promised", transfer.title, peak >> 20))
        }
        None => Ok(()),
    }
}

/// Makes one transfer through a gateway of its own.
fn measure(
    transfer: Transfer,
    gib: usize,
    binary: &GatewayBinary,
    options: &Options,
    tools: &Tools,
    lab: &Lab,
) -> Result<Reading, String> {
    let ports = lab::free_ports(2)?;
    let [port, application] = ports.as_slice() else { return Err("no free ports".to_owned()) };
    let _application = contestants::start_part("origin", *application, options.load_core, tools, lab)?;
    let behind = Behind { application: *application, echo: *application };
    let what = GatewayStart { binary, port: *port, behind, room: Room::Load, sessions: 1, core: options.server_core };
    let mut target = contestants::start_gateway(&what, tools, lab)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    let mut config = ClientConfig::clone(&*tls_client::config(lab.certificate.clone())?);
    config.alpn_protocols = vec![if transfer.is_h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let config = Arc::new(config);
    let before = target.process.memory()?;
    let begun = Instant::now();
    let limit = LIMIT + LIMIT_PER_GIB * u32::try_from(gib).unwrap_or(u32::MAX);
    runtime.block_on(async {
        let made = make(transfer, (gib as u64) << 30, &target, &config);
        timeout(limit, made).await.unwrap_or_else(|_| Err(format!("it takes longer than {limit:?}")))
    })?;
    target.process.check_running()?;
    let peak = target.process.peak_memory()?;
    Ok(Reading { transfer, binary: binary.label.clone(), seconds: begun.elapsed().as_secs_f64(), before, peak })
}

/// Sends or fetches the file, and sees to it that every byte is right.
async fn make(transfer: Transfer, size: u64, target: &Contestant, config: &Arc<ClientConfig>) -> Result<(), String> {
    let stream = client::connect(config, target.address, std::net::Ipv4Addr::LOCALHOST).await?;
    let io = TokioIo::new(stream);
    let pattern = Pattern::new();
    let (method, body) = if transfer.is_upload { (Method::POST, size) } else { (Method::GET, 0) };
    let (path, host) = (format!("{FILES}{size}"), target.address.to_string());
    let request = Request::builder()
        .method(method)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ORIGIN, format!("https://{host}"))
        .header(header::COOKIE, target.cookie.as_str());
    let request = if transfer.is_h2 {
        request.uri(format!("https://{host}{path}"))
    } else {
        request.uri(path).header(header::HOST, host)
    };
    let request = request.body(pattern.file(body)).map_err(|error| error.to_string())?;
    let said = |error: hyper::Error| error.to_string();
    let response = if transfer.is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (mut sender, connection) = builder.handshake(io).await.map_err(said)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(said)?
    } else {
        let (mut sender, connection) = http1::handshake::<_, Generated>(io).await.map_err(said)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(said)?
    };
    check(transfer, response, size, &pattern).await
}

/// Looks at the answer.
async fn check(transfer: Transfer, response: Response<Incoming>, size: u64, pattern: &Pattern) -> Result<(), String> {
    let status = response.status();
    if !transfer.is_upload && status == StatusCode::OK {
        return pattern.compare(response.into_body(), size).await;
    }
    let words = http_body_util::Limited::new(response.into_body(), MOST_WORDS).collect().await;
    let words = words.map_err(|error| format!("an answer with status {status}: {error}"))?.to_bytes();
    if transfer.is_upload && status == StatusCode::OK && words == AS_SENT {
        return Ok(());
    }
    Err(format!("an answer with status {status}: {}", String::from_utf8_lossy(&words)))
}

/// The table.
fn table(gib: usize, readings: &[Reading]) -> String {
    let mut text = format!("| {gib} GiB through | | seconds | MiB before | MiB at the peak |\n|---|---|--:|--:|--:|\n");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for Reading { transfer, binary, seconds, before, peak } in readings {
        let (before, peak) = (mib(*before), mib(*peak));
        text += &format!("| {binary} | {} | {seconds:.1} | {before:.1} | {peak:.1} |\n", transfer.title);
    }
    text
}

/// The same for programs.
fn json(gib: usize, readings: &[Reading]) -> serde_json::Value {
    let one = |reading: &Reading| {
        serde_json::json!({ "contestant": reading.binary, "transfer": reading.transfer.title, "gib": gib,
            "seconds": reading.seconds, "before_bytes": reading.before, "peak_bytes": reading.peak })
    };
    readings.iter().map(one).collect()
}
