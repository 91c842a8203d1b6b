//! Starting what is compared, and the application behind it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::configs::{self, Behind, Room};
use crate::lab::Lab;
use crate::options::{GatewayBinary, Options};
use crate::process::Process;
use crate::tools::Tools;
use vestibule::login::users::hash_password;

/// How long nginx and HAProxy may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a gateway may take to make its sessions and listen.
const GATEWAY_START_LIMIT: Duration = Duration::from_secs(300);
/// What a gateway prints when it serves.
const READY: &str = "ready";

/// A server that was started.
#[derive(Debug)]
pub(crate) struct Contestant {
    /// Its name on the command line and in the JSON.
    pub(crate) name: String,
    /// Its row in the table.
    pub(crate) title: String,
    /// Whether it is a vestibule.
    pub(crate) is_gateway: bool,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The process.
    pub(crate) process: Process,
    /// A file of `Cookie:` values it knows (a peer ignores them), one a line.
    pub(crate) cookies: PathBuf,
    /// The first of them.
    pub(crate) cookie: String,
}

/// The application and all that is compared in front of it.
#[derive(Debug)]
pub(crate) struct Field {
    /// The application's ports.
    pub(crate) behind: Behind,
    /// The contestants.
    pub(crate) contestants: Vec<Contestant>,
    /// Never read: held so that the application lives as long as the rest.
    _application: [Process; 2],
}

/// A gateway to start.
pub(crate) struct GatewayStart<'a> {
    /// Which one.
    pub(crate) binary: &'a GatewayBinary,
    /// Where it shall listen.
    pub(crate) port: u16,
    /// The application's ports.
    pub(crate) behind: Behind,
    /// What clients there is room for.
    pub(crate) room: Room,
    /// Live sessions to make.
    pub(crate) sessions: usize,
    /// Its core.
    pub(crate) core: usize,
}

/// Starts everything the options ask for.
pub(crate) fn start(options: &Options, tools: &Tools, lab: &Lab) -> Result<Field, String> {
    let gateways = gateways(options)?;
    let ports = crate::lab::free_ports(4 + gateways.len())?;
    let [application, echo, nginx_port, haproxy_port, gateway_ports @ ..] = ports.as_slice() else {
        return Err("no free ports".to_owned());
    };
    let behind = Behind { application: *application, echo: *echo };
    let config = configs::upstream(lab.dir(), *application);
    let application = [
        start_nginx("upstream", &config, *application, options.load_core, tools, lab)?,
        start_part("echo", *echo, options.load_core, tools, lab)?,
    ];
    let mut running = Vec::new();
    for (binary, port) in gateways.iter().zip(gateway_ports) {
        let what = GatewayStart {
            binary,
            port: *port,
            behind,
            room: Room::Load,
            sessions: options.sessions,
            core: options.server_core,
        };
        let started = start_gateway(&what, tools, lab)
            .map_err(|error| format!("{error}\n(--only nginx,haproxy runs without a gateway)"))?;
        running.push(started);
    }
    // The peers carry the cookies of the first gateway: the very same load, byte for byte.
    let cookies = match running.first() {
        Some(gateway) => gateway.cookies.clone(),
        None => lab.made_up_cookies(options.sessions)?,
    };
    let mut peers = Vec::new();
    if options.wants("nginx") {
        let config = configs::nginx(lab.dir(), *nginx_port, behind, configs::NGINX_CONNECTIONS);
        let process = start_nginx("nginx", &config, *nginx_port, options.server_core, tools, lab)?;
        peers.push(peer("nginx", "nginx, plain proxy", *nginx_port, process, &cookies)?);
    }
    if options.wants("haproxy") {
        let process = start_haproxy(*haproxy_port, behind, options.server_core, tools, lab)?;
        peers.push(peer("haproxy", "HAProxy, plain proxy", *haproxy_port, process, &cookies)?);
    }
    peers.append(&mut running);
    if peers.is_empty() {
        return Err("nobody to measure".to_owned());
    }
    Ok(Field { behind, contestants: peers, _application: application })
}

/// The gateways that take part: this very binary, with its sessions in memory and on disk, and the other builds of it.
pub(crate) fn gateways(options: &Options) -> Result<Vec<GatewayBinary>, String> {
    let own = [own("vestibule", false)?, own("disk", true)?];
    Ok(own.into_iter().chain(options.binaries.iter().cloned()).filter(|b| options.wants(&b.label)).collect())
}

/// This very binary as a gateway.
pub(crate) fn own(label: &str, on_disk: bool) -> Result<GatewayBinary, String> {
    let path = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    Ok(GatewayBinary { label: label.to_owned(), path, on_disk })
}

/// Starts a gateway and waits until it serves.
pub(crate) fn start_gateway(what: &GatewayStart<'_>, tools: &Tools, lab: &Lab) -> Result<Contestant, String> {
    if !lab.path("users.toml").exists() {
        // Once: a gateway that runs already would read it again.
        lab.write("users.toml", users()?.as_bytes())?;
    }
    let store = what.binary.on_disk.then(|| store_of(what.binary, lab));
    let config = configs::gateway(lab.dir(), what.port, what.behind, what.room, store.as_deref());
    start_configured(what, &config, tools, lab)
}

/// How many people have the sessions of a gateway that keeps them on disk: at its next start it asks the users file who
/// may still have one.
const USERS: usize = 1000;

/// A users file with all of them, under one password that nobody signs in with.
fn users() -> Result<String, String> {
    let hash = hash_password("nobody signs in with this", [7; 16]).map_err(|error| error.to_string())?;
    let user = |at: usize| {
        format!(
            "[[user]]\nname = \"user-{at}\"\npassword = \"{hash}\"\nemail = \"user-{at}@example.test\"\ngroups = \
             [\"staff\"]\nroles = [\"reader\"]\n"
        )
    };
    Ok((0..USERS).map(user).collect())
}

/// Where a gateway that keeps its sessions on disk does so.
pub(crate) fn store_of(binary: &GatewayBinary, lab: &Lab) -> PathBuf {
    lab.path(&format!("{}.redb", binary.label))
}

/// Starts a gateway with this configuration, and waits until it serves.
pub(crate) fn start_configured(
    what: &GatewayStart<'_>,
    config: &str,
    tools: &Tools,
    lab: &Lab,
) -> Result<Contestant, String> {
    let label = what.binary.label.as_str();
    let config = lab.write(&format!("{label}.toml"), config.as_bytes())?;
    let cookies = lab.path(&format!("{label}.cookies"));
    let mut command = tools.pinned(what.core, &what.binary.path);
    command.arg("gateway").arg("--config").arg(config);
    command.arg("--sessions").arg(what.sessions.to_string()).arg("--cookies-out").arg(&cookies);
    if what.binary.on_disk {
        command.arg("--users").arg(USERS.to_string());
    }
    let mut process = Process::start(label, command, lab.dir())?;
    process.wait_until(GATEWAY_START_LIMIT, |process| Ok(process.output()?.lines().any(|line| line == READY)))?;
    Ok(Contestant {
        name: label.to_owned(),
        title: if what.binary.on_disk {
            "vestibule, the same with the sessions on disk".to_owned()
        } else {
            format!("{label}, every session check on")
        },
        is_gateway: true,
        address: loopback(what.port),
        process,
        // With no sessions there is no cookie, and nothing that would send one.
        cookie: if what.sessions == 0 { String::new() } else { first_line(&cookies)? },
        cookies,
    })
}

/// Starts an nginx, as the application or as a contestant.
pub(crate) fn start_nginx(
    name: &str,
    config: &str,
    port: u16,
    core: usize,
    tools: &Tools,
    lab: &Lab,
) -> Result<Process, String> {
    let config = lab.write(&format!("{name}.conf"), config.as_bytes())?;
    let mut command = tools.pinned(core, &tools.nginx);
    // -e: before it has read its configuration it would complain to a log of the system's.
    command.arg("-p").arg(lab.dir()).arg("-e").arg("stderr").arg("-c").arg(config);
    listening(Process::start(name, command, lab.dir())?, port)
}

/// Starts a part of the application: this very binary, told to play it on this port.
pub(crate) fn start_part(name: &str, port: u16, core: usize, tools: &Tools, lab: &Lab) -> Result<Process, String> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = tools.pinned(core, &own);
    command.arg(name).arg(port.to_string());
    listening(Process::start(name, command, lab.dir())?, port)
}

/// Starts HAProxy.
fn start_haproxy(port: u16, behind: Behind, core: usize, tools: &Tools, lab: &Lab) -> Result<Process, String> {
    let config = lab.write("haproxy.cfg", configs::haproxy(lab.dir(), port, behind).as_bytes())?;
    let mut command = tools.pinned(core, &tools.haproxy);
    // -db: in the foreground, one process.
    command.arg("-db").arg("-f").arg(config);
    listening(Process::start("haproxy", command, lab.dir())?, port)
}

/// Waits until a process listens on its port.
fn listening(mut process: Process, port: u16) -> Result<Process, String> {
    process.wait_until(START_LIMIT, |_| Ok(TcpStream::connect(loopback(port)).is_ok()))?;
    Ok(process)
}

/// A contestant that is not a gateway.
pub(crate) fn peer(name: &str, title: &str, port: u16, process: Process, cookies: &Path) -> Result<Contestant, String> {
    Ok(Contestant {
        name: name.to_owned(),
        title: title.to_owned(),
        is_gateway: false,
        address: loopback(port),
        process,
        cookies: cookies.to_owned(),
        cookie: first_line(cookies)?,
    })
}

/// A port on the IPv4 loopback, where everything here listens.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The first cookie of a file.
fn first_line(path: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut line = String::new();
    BufReader::new(fs::File::open(path).map_err(fail)?).read_line(&mut line).map_err(fail)?;
    match line.trim_end() {
        "" => Err(format!("{}: no cookie in it", path.display())),
        cookie => Ok(cookie.to_owned()),
    }
}
