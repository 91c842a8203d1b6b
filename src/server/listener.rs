//! Listening: a socket a worker on the same address (SO_REUSEPORT), so that the kernel shares connections out and no
//! worker waits for another.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::HandshakeKind;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::base::clock::Timestamp;
use crate::base::deadline::{Deadline, Passed};
use crate::base::net::canonical;
use crate::observe::metrics::{Handshake, Metrics};
use crate::server::conn::ConnInfo;
use crate::server::http;
use crate::server::plain::PlainHttp;
use crate::server::proxy_protocol::{Header, Unread, read_header};
use crate::server::tcp::Tcp;
use crate::server::tls::{Tls, shake_hands};
use crate::server::worker::Worker;
use crate::session::binding::TlsFingerprint;
use crate::upstream::forward::KnownFields;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How much of an answer is made into TLS records before it is written, in bytes: as much as is read from an application
/// at once. Held only while a client is slow to read.
const TLS_BUFFER: usize = 96 * 1024;

/// How much of an answer the system holds of what it may not send yet, in bytes. Left to itself it takes megabytes of one
/// that its client does not read, and a thousand such clients have all the memory that it has for connections.
const UNSENT: u32 = 64 * 1024;

/// How long accepting pauses when it fails for want of something, like file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How often that is told while it lasts.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A socket for each of `workers` workers on one address; on port 0, on the same free port.
///
/// # Errors
/// When the address cannot be listened on, another process listening there included.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    // With SO_REUSEPORT a second gateway of the same user would quietly take half of the connections. So the address is
    // first taken without it: that fails when anybody listens there.
    let mut address = address;
    let exclusive = socket(address)?;
    exclusive.bind(&address.into())?;
    if address.port() == 0 {
        address = exclusive.local_addr()?.as_socket().unwrap_or(address);
    }
    exclusive.listen(1)?;
    drop(exclusive);
    (0..workers.max(1))
        .map(|_| {
            let socket = socket(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

/// Takes an address for a moment, without listening there.
///
/// # Errors
/// As [`bind`].
pub fn take(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

/// Whether one gateway cannot listen on both addresses. A socket on every address takes the port on each of them, and one
/// on every IPv6 address takes IPv4 as well.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // On port 0, each is given a free port of its own.
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        wide.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || canonical(wide.ip()) == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && canonical(narrow.ip()).is_ipv4()
    };
    // The same link-local address may be there on several links.
    let scope = |address| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    canonical(one.ip()) == canonical(other.ip()) && scope(one) == scope(other)
        || covers(one, other)
        || covers(other, one)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for the connections of the run before.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// What is spoken on an address.
#[derive(Clone)]
pub enum Scheme {
    /// Everything, over TLS.
    Https(Arc<ArcSwap<Tls>>),
    /// What there is without TLS.
    Http(Arc<PlainHttp>),
}

/// Accepts connections for as long as the worker runs, and serves each in a task of its own.
pub async fn accept_all(worker: Rc<Worker>, listener: Rc<TcpListener>, scheme: Scheme) {
    let mut was_told: Option<Timestamp> = None;
    loop {
        if worker.connections.get() >= worker.limits.get().most {
            // The others wait in the kernel's queue until somebody leaves or is cut.
            worker.clock().sleep(PAUSE).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                let serving = Serving::begin(&worker);
                tokio::task::spawn_local(serve(serving, stream, peer, scheme.clone()));
            }
            Err(error) => {
                let now = worker.clock().now();
                if was_told.is_none_or(|told| now >= told.plus(TELL_EVERY)) {
                    tracing::warn!("connections cannot be accepted: {error}");
                    was_told = Some(now);
                }
                worker.clock().sleep(PAUSE).await;
            }
        }
    }
}

/// Counts a connection for as long as it is served.
struct Serving(Rc<Worker>);

impl Serving {
    fn begin(worker: &Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        worker.counters.opened();
        Self(Rc::clone(worker))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.counters.closed();
        self.0.closed.notify_one();
    }
}

async fn serve(serving: Serving, mut stream: TcpStream, peer: SocketAddr, scheme: Scheme) {
    let worker = &serving.0;
    // Answers are written whole; waiting for more would only delay their end.
    let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
    // Where it cannot be said, it is as it was.
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
    let deadline = worker.connection_deadlines.set(Some(worker.clock().now().plus(worker.limits.get().handshake)));
    let socket = Ends { peer: plain(peer), local, may_forward: true };
    let Some(Ends { peer, local, may_forward }) = introduced(worker, &deadline, &mut stream, socket).await else {
        return;
    };
    // A proxy that speaks for others, and does not say for whom until a request comes, has everybody's connections.
    let is_everybody =
        !worker.current().snapshot.proxy_protocol && worker.current().snapshot.rewriting.trusted.trusts(peer.ip());
    let most = if is_everybody { usize::MAX } else { worker.limits.get().per_address };
    let Some(_counted) = worker.shared.connections.open(peer.ip(), most) else {
        Metrics::count(&worker.shared.metrics.limited, "address_connections");
        return tell_refused(worker, peer.ip(), &"this address has max_connections_per_address open");
    };
    let tcp = Tcp::new(stream, &worker.connection_deadlines);
    let tls = match scheme {
        Scheme::Https(tls) => tls.load_full(),
        Scheme::Http(plain) => return http::serve_plain(Rc::clone(worker), plain, peer.ip(), tcp, deadline).await,
    };
    // Who does not manage a handshake is not told why in more words than TLS has.
    let shaken = deadline.limit(shake_hands(Arc::clone(&tls.config), tcp.clone())).await;
    let Ok(Ok((mut stream, fingerprint))) = shaken else {
        return worker.counters.shaken_hands(Handshake::Failed);
    };
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let session = stream.get_ref().1;
    let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    worker.counters.shaken_hands(if is_resumed { Handshake::Resumed } else { Handshake::Full });
    let sni: Option<Box<str>> = session.server_name().map(Into::into);
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let shown = sni.as_deref().and_then(|name| tls.certificates.shown(Some(name)));
    let conn = Rc::new(ConnInfo {
        peer,
        local,
        may_forward,
        tls: if is_everybody { TlsFingerprint::UNKNOWN } else { fingerprint },
        sni,
        shown,
        covered: RefCell::default(),
        known_fields: KnownFields::default(),
    });
    http::serve(Rc::clone(worker), conn, stream, tcp, deadline, is_h2).await;
}

/// Between whom a connection is.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    local: SocketAddr,
    /// As in [`ConnInfo`].
    may_forward: bool,
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(address.ip()), address.port())
}

/// Between whom a connection is that may be relayed: its socket's ends, or what a trusted proxy says by the PROXY
/// protocol where that is configured. `None` for connections that are not to be served: they are closed without a word,
/// since TLS has not begun in which it could be said; the operator is told.
async fn introduced(worker: &Worker, deadline: &Deadline, stream: &mut TcpStream, socket: Ends) -> Option<Ends> {
    let current = worker.current();
    if !current.snapshot.proxy_protocol {
        return Some(socket);
    }
    let address = socket.peer.ip();
    // Not one byte of a stranger's is read: what looks like a header may be of their own making, and what does not has
    // come around the proxy.
    if !current.snapshot.rewriting.trusted.trusts(address) {
        tell_refused(worker, address, &"proxy_protocol is on, and this address is not one of trusted_proxies");
        return None;
    }
    match deadline.limit(read_header(stream)).await {
        Ok(Ok(Header::Relayed { source, destination })) => {
            Some(Ends { peer: plain(source), local: plain(destination), may_forward: true })
        }
        Ok(Ok(Header::Unspecified)) => Some(Ends { may_forward: false, ..socket }),
        Ok(Err(Unread::Malformed(fault))) => {
            tell_refused(worker, address, &fault);
            None
        }
        // A proxy that looks whether anybody listens says nothing and leaves.
        Ok(Err(Unread::Broken(_))) | Err(Passed) => None,
    }
}

/// Tells the operator why a connection was not served; once in a while, however many there are.
fn tell_refused(worker: &Worker, address: IpAddr, why: &dyn std::fmt::Display) {
    let now = worker.clock().now();
    if worker.refusal_told.get().is_none_or(|told| now >= told.plus(TELL_EVERY)) {
        worker.refusal_told.set(Some(now));
        tracing::warn!("a connection from {address} was closed: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_when_the_system_says_so() {
        let all = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"];
        let all = all.map(|address| address.parse::<IpAddr>().expect("an address"));
        // Some machines have no IPv6.
        let there = all.into_iter().filter(|address| bind((*address, 0).into(), 1).is_ok());
        let there: Vec<IpAddr> = there.collect();
        assert!(there.len() >= 3, "{there:?}");
        for (one, other) in there.iter().flat_map(|one| there.iter().map(move |other| (*one, *other))) {
            // Somebody else may have the port on the other address, so that it is tried with several.
            let both = (0..20).any(|_| {
                let held = bind((one, 0).into(), 1).expect("a port");
                let port = held[0].local_addr().expect("an address").port();
                let both = bind((other, port).into(), 1).is_ok();
                assert!(!(both && overlap((one, port).into(), (other, port).into())), "{one} and {other}");
                both
            });
            assert_eq!(!both, overlap((one, 1).into(), (other, 1).into()), "{one} and {other}");
        }
        assert!(!overlap(([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()));
        let on_links = ["[fe80::1%1]:1", "[fe80::1%2]:1"].map(|address| address.parse().expect("an address"));
        assert!(overlap(on_links[0], on_links[0]) && !overlap(on_links[0], on_links[1]));
    }
}
