//! `[server]`: where the gateway listens, and how.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use nix::unistd::{Gid, Uid, User};

use crate::base::net::{TrustedProxies, canonical};
use crate::base::shell;
use crate::config::hsts::{self, Hsts};
use crate::config::profile::{self, Profile};
use crate::policy::client_address::ForwardedHeader;
use crate::reader::mistake::Mistake;
use crate::reader::{Located, Section};
use crate::server::certificate::{CertificateFiles, Fault, Side};
use crate::server::listener::overlap;
use crate::server::sockets::Sockets;

/// Default: off. A gateway that waits for a header which nobody sends serves nobody.
const PROXY_PROTOCOL: bool = false;

/// Default: a browser that cannot shake hands in ten seconds has gone; a thousand half-open connections have too.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Default: a request's head is a few packets, also over the slowest line; longer is an attack.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Default: what nginx keeps an idle connection for; browsers give up theirs sooner or later than that.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// Default: what container platforms wait, by default, before they kill.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Default, over all workers: a connection costs some tens of kilobytes.
const MAX_CONNECTIONS: usize = 20_000;

/// Default: a tenth of those, so that it takes ten addresses to use them up; a whole office behind one stays below.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 2_000;

/// Default, in bytes a second: a modem was faster. Kestrel asks for as much.
const MIN_BODY_RATE: u32 = 240;

/// The most workers that make sense.
const MAX_WORKERS: usize = 256;

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// Whether a self-signed one is made when the files do not exist.
    pub generate: bool,
    /// An OCSP response for it, DER.
    pub ocsp: Option<PathBuf>,
}

impl CertificatePlan {
    /// Its files.
    pub fn files(&self) -> CertificateFiles<'_> {
        CertificateFiles { cert: &self.cert, key: &self.key, generate: self.generate, ocsp: self.ocsp.as_deref() }
    }
}

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    /// The name.
    pub name: Box<str>,
    /// The number.
    pub uid: Uid,
    /// The number of its group.
    pub gid: Gid,
}

/// What `[server]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPlan {
    /// Addresses to listen on with TLS.
    pub listen: Vec<SocketAddr>,
    /// Addresses to listen on without TLS, only to redirect to the first of the others.
    pub redirect: Vec<SocketAddr>,
    /// The folder of answers to ACME challenges.
    pub acme_challenges: Option<PathBuf>,
    /// What browsers are told of https, if anything.
    pub hsts: Option<Hsts>,
    /// Who the gateway becomes once its ports are open.
    pub user: Option<ServiceUser>,
    /// How many worker threads; `None` is one for each core.
    pub workers: Option<usize>,
    /// Certificates; the first is shown to clients that name no known host.
    pub certificates: Vec<CertificatePlan>,
    /// Proxies that are believed.
    pub trusted_proxies: TrustedProxies,
    /// Whether they say whose a connection is by the PROXY protocol, and nobody else may connect.
    pub proxy_protocol: bool,
    /// Which header they write.
    pub forwarded_header: ForwardedHeader,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive_timeout: Duration,
    /// How long requests under way may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// How many client connections there may be, over all workers.
    pub max_connections: usize,
    /// How many one address may have open.
    pub max_connections_per_address: usize,
    /// How many bytes a second a body must bring, or zero.
    pub min_body_rate: u32,
}

impl ServerPlan {
    /// How many worker threads there are on this machine.
    pub fn workers_here(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Opens the sockets to listen on, but for those that were `given`.
    ///
    /// # Errors
    /// As [`Sockets::open`].
    pub fn open_sockets(&self, given: Vec<TcpListener>) -> Result<Sockets, String> {
        Sockets::open(&self.listen, &self.redirect, self.workers_here(), given)
    }
}

/// Reads `[server]`: what it says, and where each address to listen on is written.
pub(super) fn read(root: &Section<'_>, profile: Option<Profile>) -> (ServerPlan, Vec<Located<SocketAddr>>) {
    let section = root.section_or_empty("server");
    section.require("listen", r#"listen = ["127.0.0.1:8443"]"#);
    let listen = section.parsed_list("listen", address);
    if section.is_written_empty("listen") {
        section.mistake_at("listen", "there is no address to listen on", "write listen = [\"127.0.0.1:8443\"]");
    }
    let listen = listen.unwrap_or_default();
    let redirect = section.parsed_list("redirect", address).unwrap_or_default();
    let bound: Vec<_> = listen.iter().chain(&redirect).cloned().collect();
    taken_twice(&section, &bound);
    let certificates = certificates(&section);
    let trusted_proxies = trusted_proxies(&section);
    let proxy_protocol = proxy_protocol(&section);
    let forwarded = [("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)];
    let plan = ServerPlan {
        listen: listen.iter().map(|address| address.value).collect(),
        redirect: redirect.iter().map(|address| address.value).collect(),
        acme_challenges: acme_challenges(&section),
        hsts: hsts::read(&section, profile::hsts(profile)),
        user: section.parsed("user", service_user),
        workers: section.integer("workers", 1..=MAX_WORKERS),
        certificates,
        trusted_proxies,
        proxy_protocol,
        forwarded_header: section.one_of("forwarded_header", &forwarded).unwrap_or_default(),
        handshake_timeout: positive(&section, "handshake_timeout", HANDSHAKE_TIMEOUT),
        header_timeout: positive(&section, "header_timeout", HEADER_TIMEOUT),
        keep_alive_timeout: positive(&section, "keep_alive_timeout", KEEP_ALIVE_TIMEOUT),
        drain_timeout: section.duration("drain_timeout").unwrap_or(DRAIN_TIMEOUT),
        max_connections: section.integer("max_connections", 1..=10_000_000).unwrap_or(MAX_CONNECTIONS),
        max_connections_per_address: section
            .integer("max_connections_per_address", 1..=10_000_000)
            .unwrap_or(MAX_CONNECTIONS_PER_ADDRESS),
        min_body_rate: section.integer_or_none("min_body_rate", 1..=1_000_000_000).unwrap_or(MIN_BODY_RATE),
    };
    (plan, bound)
}

fn proxy_protocol(section: &Section<'_>) -> bool {
    let is_on = section.bool("proxy_protocol").unwrap_or(PROXY_PROTOCOL);
    // A list whose entries were refused is not an empty one.
    if is_on && (!section.has("trusted_proxies") || section.is_written_empty("trusted_proxies")) {
        section.mistake_at(
            "proxy_protocol",
            "only trusted proxies may connect by the PROXY protocol, and there are none, so nobody could",
            "add trusted_proxies = [\"10.0.0.7\"]: the addresses of your proxies",
        );
    }
    is_on
}

/// Notes every address that cannot be listened on beside one before it.
fn taken_twice(section: &Section<'_>, bound: &[Located<SocketAddr>]) {
    for (at, address) in bound.iter().enumerate() {
        if let Some((first, line)) = taken(section, address.value, &bound[..at]) {
            let (message, help) = if canonical(first.ip()) == canonical(address.value.ip()) {
                (format!("this address is written twice, first in line {line}"), "keep one of them")
            } else if is_wide(address.value) && !is_wide(first) {
                let message = format!("this takes the port on every address, and line {line} takes it on one of them");
                (message, "keep one of them, or write another port")
            } else {
                (format!("line {line} takes this port on every address"), "keep one of them, or write another port")
            };
            section.mistake(&address.span, message, help);
        }
    }
}

fn acme_challenges(section: &Section<'_>) -> Option<PathBuf> {
    let folder = section.path_to("acme_challenges")?;
    if section.document().is_whole() && (!section.has("redirect") || section.is_written_empty("redirect")) {
        let message = "challenges are asked for by plain HTTP, and there is no address for it";
        section.mistake_at("acme_challenges", message, "add redirect = [\"0.0.0.0:80\"]");
    }
    let shown = folder.display();
    // Looked at from inside, which takes the right to look for a file there.
    if let Err(error) = fs::metadata(folder.join(".")) {
        let (kind, mut help) = (error.kind(), "write another path".to_owned());
        let message = if kind == ErrorKind::NotFound {
            help = format!("write another path, or make it with: mkdir -p {}", shell::quoted(&folder));
            format!("there is no folder {shown}")
        } else if kind == ErrorKind::NotADirectory {
            format!("{shown} is not a folder")
        } else {
            format!("the folder {shown} cannot be used: {error}")
        };
        section.mistake_at("acme_challenges", message, help);
    }
    Some(folder)
}

/// The first of the `others` that cannot be listened on beside `address`, and its line.
pub(super) fn taken(
    section: &Section<'_>,
    address: SocketAddr,
    others: &[Located<SocketAddr>],
) -> Option<(SocketAddr, usize)> {
    let other = others.iter().find(|other| overlap(address, other.value))?;
    Some((other.value, section.document().line(&other.span)))
}

/// Whether it stands for every address of the machine.
fn is_wide(address: SocketAddr) -> bool {
    canonical(address.ip()).is_unspecified()
}

fn certificates(section: &Section<'_>) -> Vec<CertificatePlan> {
    if section.document().is_whole() && !section.has("certificate") {
        let message = "there is no certificate, and the gateway only speaks TLS";
        let mistake = Mistake::new(section.span(), message, "add at the end of the file, for a self-signed one:");
        let lines = "[[server.certificate]]\ncert = \"certs/dev.crt\"\nkey = \"certs/dev.key\"\ngenerate = true";
        section.document().note(mistake.with_lines(lines));
    }
    let mut all: Vec<CertificatePlan> = Vec::new();
    for one in section.sections("certificate") {
        one.require("cert", r#"cert = "certs/dev.crt""#).require("key", r#"key = "certs/dev.key""#);
        let (cert, key, generate) = (one.path_to("cert"), one.path_to("key"), one.bool("generate").unwrap_or(false));
        let ocsp = one.path_to("ocsp");
        let (Some(cert), Some(key)) = (cert, key) else { continue };
        let plan = CertificatePlan { cert, key, generate, ocsp };
        for Fault { side, message, help } in plan.files().faults() {
            one.mistake_at(key_of(side), message, help);
        }
        if plan.files().are_to_be_made() {
            made_twice(&one, &plan, &all);
        }
        all.push(plan);
    }
    all
}

const fn key_of(side: Side) -> &'static str {
    match side {
        Side::Cert => "cert",
        Side::Key => "key",
        Side::Ocsp => "ocsp",
    }
}

/// Notes a file that is to be made for one of the certificates before, with another beside it: there would be one of
/// the two when this one's turn comes.
fn made_twice(section: &Section<'_>, plan: &CertificatePlan, before: &[CertificatePlan]) {
    let differs = |other: &&CertificatePlan| (&other.cert, &other.key) != (&plan.cert, &plan.key);
    let made: Vec<_> = before.iter().filter(differs).filter(|other| other.files().are_to_be_made()).collect();
    for (side, path) in [(Side::Cert, &plan.cert), (Side::Key, &plan.key)] {
        if made.iter().any(|other| other.cert == *path || other.key == *path) {
            section.mistake_at(key_of(side), "this file is made for another certificate", "write another path");
        }
    }
}

/// A time-out that is not zero: zero would refuse everyone.
pub(super) fn positive(section: &Section<'_>, key: &str, default: Duration) -> Duration {
    let value = section.duration(key).unwrap_or(default);
    if value.is_zero() {
        section.mistake_at(key, "zero would leave no time at all", "write a time like \"10s\"");
    }
    value
}

fn service_user(name: &str) -> Result<ServiceUser, String> {
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => {
            Err(format!("\"{name}\" has all rights, and none shall be left; write the name of another user"))
        }
        Ok(Some(user)) => Ok(ServiceUser { name: name.into(), uid: user.uid, gid: user.gid }),
        Ok(None) => Err(format!(
            "there is no user \"{name}\"; write another, or make it with: useradd --system {}",
            shell::quoted(name)
        )),
        Err(error) => Err(format!("the user \"{name}\" cannot be looked up: {error}")),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is not an address with a port; write one like \"127.0.0.1:8443\", \"0.0.0.0:443\" or \"[::]:443\"")
    })
}

/// `trusted_proxies`, without any list of networks that together hold every address.
fn trusted_proxies(section: &Section<'_>) -> TrustedProxies {
    let networks = section.parsed_list("trusted_proxies", trusted_network).unwrap_or_default();
    let networks: Vec<IpNet> = networks.into_iter().map(|network| network.value).collect();
    if IpNet::aggregate(&networks).iter().any(|network| network.prefix_len() == 0) {
        let message = "together, these networks are everybody, so every client could claim to be another";
        section.mistake_at("trusted_proxies", message, "write the networks of your own proxies, like \"10.0.0.0/8\"");
    }
    TrustedProxies::new(networks)
}

fn trusted_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    match network.map(plain_network) {
        Ok(network) if network.prefix_len() == 0 => Err(format!(
            "\"{text}\" trusts everybody, so every client could claim to be another; \
             write the networks of your own proxies, like \"10.0.0.0/8\""
        )),
        Ok(network) => Ok(network),
        Err(_) => Err(format!("\"{text}\" is not a network; write one like \"10.0.0.0/8\" or \"192.0.2.7\"")),
    }
}

/// IPv4 networks that are written as IPv6 (RFC 4291 section 2.5.5.2): as the addresses are that they are compared with.
fn plain_network(network: IpNet) -> IpNet {
    let plain =
        network.prefix_len().checked_sub(IPV4_MAPPED).map(|prefix| IpNet::new(canonical(network.addr()), prefix));
    match plain {
        Some(Ok(plain)) if network.addr().is_ipv6() && plain.addr().is_ipv4() => plain,
        Some(_) | None => network,
    }
}

/// How many bits of an IPv6 address say that it stands for an IPv4 address.
const IPV4_MAPPED: u8 = 96;
