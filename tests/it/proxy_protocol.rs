//! The PROXY protocol before TLS: whom it is believed from, what it changes, and what is cut without a word.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::harness::process::{Process, vestibule};
use super::harness::{ALICE, Client, Gateway, Hello, Raw, Setup, Version, advance_until, eventually, users};

const GET: &str = "GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Where connections come from that the gateway trusts, in these tests.
const PROXY: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";

/// A gateway behind a proxy on this machine.
fn behind_a_proxy(extra: &str) -> Gateway {
    let mut setup = Setup::new().extra(extra);
    // The second is 10.0.0.0/8 as it is written in IPv6.
    let trusted = format!("[\"{PROXY}\", \"::ffff:10.0.0.0/104\"]");
    setup.server = format!("proxy_protocol = true\ntrusted_proxies = {trusted}");
    setup.start()
}

/// A line of version 1.
fn line(source: IpAddr) -> Vec<u8> {
    let (family, destination) = if source.is_ipv4() { ("TCP4", "198.51.100.7") } else { ("TCP6", "2001:db8::7") };
    format!("PROXY {family} {source} {destination} 56324 443\r\n").into_bytes()
}

/// A header of version 2, with something behind its addresses.
fn binary(source: IpAddr) -> Vec<u8> {
    let (family, mut addresses) = match source {
        IpAddr::V4(source) => (0x11, [source.octets(), [198, 51, 100, 7]].concat()),
        IpAddr::V6(source) => (0x21, [source.octets(), [7; 16]].concat()),
    };
    addresses.extend([0xdc, 4, 1, 0xbb]);
    addresses.extend(b"\x02\0\x09app.test.\x04\0\0");
    unfit(0x21, family, &addresses)
}

fn unfit(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A plain connection from one of this machine's addresses.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(ip(from), 0).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("connected");
    TcpStream::from(socket)
}

/// Everything that comes before a connection is closed, which must be soon.
fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut read = Vec::new();
    if let Err(error) = stream.read_to_end(&mut read) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    read
}

/// Sends one request behind `header`, with `fields`, and gives what the application is told of the client: the address,
/// the chain, `Forwarded`.
fn told(gateway: &Gateway, header: &[u8], fields: &str) -> [String; 3] {
    gateway.application.forget();
    let tcp = connect(PROXY, gateway.address);
    let mut connection = Raw::over(tcp, header, Hello::default()).expect("a handshake");
    let answer = connection.ask(GET.replace("\r\n\r\n", &format!("\r\n{fields}\r\n"))).expect("an answer");
    assert_eq!(answer.status, 200);
    let received = gateway.application.last();
    ["x-real-ip", "x-forwarded-for", "forwarded"].map(|name| received.header(name).unwrap_or_default().to_owned())
}

fn assert_serves(gateway: &Gateway) {
    assert_eq!(told(gateway, &line(ip("203.0.113.9")), "")[0], "203.0.113.9");
}

#[test]
fn the_application_and_the_log_are_told_the_address_that_the_proxy_says() {
    let gateway = behind_a_proxy("");
    for (source, shown) in [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.2", "203.0.113.2"),
        ("255.255.255.255", "255.255.255.255"),
    ] {
        for header in [line(ip(source)), binary(ip(source))] {
            let [real_ip, chain, forwarded] =
                told(&gateway, &header, "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n");
            assert_eq!((real_ip.as_str(), chain.as_str()), (shown, shown), "a client is believed nothing");
            let node = if shown.contains(':') { format!("\"[{shown}]\"") } else { shown.to_owned() };
            assert!(forwarded.starts_with(&format!("for={node};")), "{forwarded}");
            gateway.log.wait_for(&[&format!(" access {shown} "), " 200 "]);
        }
    }
    assert!(!gateway.log.text().contains(PROXY), "{}", gateway.log.text());
}

#[test]
fn a_proxy_behind_the_proxy_is_believed_what_it_says_of_its_clients() {
    let gateway = behind_a_proxy("");
    for header in [line(ip("10.0.0.9")), binary(ip("10.0.0.9"))] {
        let [real_ip, chain, _] = told(&gateway, &header, "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n");
        assert_eq!((real_ip.as_str(), chain.as_str()), ("203.0.113.7", "6.6.6.6, 203.0.113.7, 10.0.0.9"));
    }
}

#[test]
fn what_does_not_say_whose_it_is_is_the_proxys_and_its_words_are_anybodys() {
    let gateway = behind_a_proxy("");
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 203.0.113.1 203.0.113.2 1 2\r\n".to_vec(),
        unfit(0x20, 0x00, b""),
        unfit(0x20, 0x11, &[203, 0, 113, 1, 203, 0, 113, 2, 0, 1, 0, 2]),
        unfit(0x21, 0x00, b""),
        unfit(0x21, 0x12, &[203, 0, 113, 1, 203, 0, 113, 2, 0, 1, 0, 2]),
        unfit(0x21, 0x31, &[b'/'; 216]),
    ] {
        let [real_ip, chain, forwarded] =
            told(&gateway, &header, "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n");
        assert_eq!((real_ip.as_str(), chain.as_str()), (PROXY, PROXY), "{header:?}");
        assert!(!forwarded.contains("6.6.6.6"), "{forwarded}");
    }
}

#[test]
fn a_header_may_come_in_pieces_and_loses_nothing_of_what_follows() {
    let gateway = behind_a_proxy("");
    let source = ip("203.0.113.3");
    // Much behind the addresses, so that it is not all looked at at once.
    let long = unfit(0x21, 0x11, &[&[203, 0, 113, 3, 1, 1, 1, 1, 0, 1, 0, 2, 4, 4, 0], &[0; 1024][..]].concat());
    for (header, piece) in
        [(line(source), 1), (binary(source), 1), (binary(source), 16), (long.clone(), 97), (long, 4096)]
    {
        let mut tcp = connect(PROXY, gateway.address);
        tcp.set_nodelay(true).expect("set");
        let (last, before) = header.split_last().expect("a header");
        for piece in before.chunks(piece) {
            tcp.write_all(piece).expect("sent");
            // So that most pieces are read alone.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let mut connection = Raw::over(tcp, &[*last], Hello::default()).expect("a handshake");
        assert_eq!(connection.ask(GET).expect("an answer").status, 200);
        assert_eq!(gateway.application.last().header("x-real-ip"), Some("203.0.113.3"));
    }
    for version in [Version::H1, Version::H2] {
        let mut client = gateway.client().speaking(version);
        client.before = binary(source);
        assert_eq!(client.get("/public").send().status, 200, "{version:?}");
    }
}

#[test]
fn what_is_malformed_is_closed_at_once_without_a_byte() {
    let gateway = behind_a_proxy("");
    let long_line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    let without_end = format!("PROXY TCP4 {}", "1".repeat(200));
    for bytes in [
        GET.as_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 203.0.113.1 203.0.113.2 1 2\n",
        b"PROXY TCP4 203.0.113.1 203.0.113.2 1\r\n",
        b"PROXY TCP4 203.0.113.1 203.0.113.2 1 65536\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 203.0.113.1 203.0.113.2 1 2\r\n",
        b"PROXY UDP4 203.0.113.1 203.0.113.2 1 2\r\n",
        b"proxy TCP4 203.0.113.1 203.0.113.2 1 2\r\n",
        long_line.as_bytes(),
        without_end.as_bytes(),
        &unfit(0x11, 0x11, &[1; 12]),
        &unfit(0x2f, 0x11, &[1; 12]),
        &unfit(0x21, 0x51, &[1; 12]),
        &unfit(0x21, 0x11, &[1; 11]),
        &unfit(0x21, 0x21, &[1; 12]),
        &unfit(0x21, 0x11, &[&[1; 12], &b"\x04\xff\xff"[..]].concat()),
        &unfit(0x21, 0x11, &[&[1; 12], &b"\x03\0\x04abcd"[..]].concat()),
        // Only its beginning: nobody waits for the rest.
        &unfit(0x21, 0x11, &[1; 0xffff])[..16],
    ] {
        let mut stream = connect(PROXY, gateway.address);
        stream.write_all(bytes).expect("sent");
        assert_eq!(until_closed(stream), b"", "after {:?}", String::from_utf8_lossy(bytes));
    }
    eventually("all are forgotten", || gateway.connections() == 0);
    gateway.application.assert_untouched();
    assert_serves(&gateway);
}

#[test]
fn a_header_that_never_ends_has_the_time_of_a_handshake() {
    let gateway = behind_a_proxy("");
    let half: Vec<TcpStream> = [
        &b""[..],
        b"P",
        b"PROXY TCP4 203.0.113.1 ",
        b"PROXY UNKNOWN\r",
        b"\r\n\r\n",
        &unfit(0x21, 0x11, &[1; 12])[..27],
    ]
    .iter()
    .map(|bytes| {
        let mut stream = connect(PROXY, gateway.address);
        stream.write_all(bytes).expect("sent");
        stream
    })
    .collect();
    eventually("all are accepted", || gateway.connections() == half.len());
    assert_serves(&gateway);
    let before = gateway.clock.now();
    advance_until(&gateway, "all are cut", || gateway.connections() == 0);
    assert!(gateway.clock.now().since(before) >= Duration::from_secs(9), "they had their time");
    half.into_iter().for_each(|stream| assert_eq!(until_closed(stream), b""));
}

#[test]
fn header_and_handshake_have_their_time_together() {
    let gateway = behind_a_proxy("");
    let mut stream = connect(PROXY, gateway.address);
    stream.write_all(b"PROXY TCP4").expect("sent");
    eventually("it is accepted", || gateway.connections() == 1);
    let begun = gateway.clock.now();
    gateway.advance(8);
    stream.write_all(b" 203.0.113.1 203.0.113.2 1 2\r\n\x16\x03\x01").expect("sent");
    assert_serves(&gateway);
    advance_until(&gateway, "it is cut", || gateway.connections() == 0);
    // It is noticed late by a second of the tests' clock, and some.
    assert!(gateway.clock.now().since(begun) < Duration::from_secs(16), "it had no time twice");
    assert_eq!(until_closed(stream), b"");
}

#[test]
fn a_proxy_that_only_looks_whether_somebody_listens_leaves_nothing_behind() {
    let gateway = behind_a_proxy("");
    for bytes in [&b""[..], b"PROXY TCP4 203", &line(ip("203.0.113.1")), &unfit(0x20, 0x00, b"")] {
        let mut stream = connect(PROXY, gateway.address);
        stream.write_all(bytes).expect("sent");
        drop(stream);
    }
    eventually("all are gone", || gateway.connections() == 0);
    assert_serves(&gateway);
}

#[test]
fn who_is_not_trusted_is_closed_without_a_byte_whatever_they_say() {
    let gateway = behind_a_proxy("");
    let trusted_source = line(ip(PROXY));
    for bytes in [
        &b""[..],
        &trusted_source,
        &binary(ip("10.0.0.9")),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        GET.as_bytes(),
    ] {
        let mut stream = connect(STRANGER, gateway.address);
        // It may be closed already.
        let _ = stream.write_all(bytes);
        assert_eq!(until_closed(stream), b"");
    }
    for before in [&b""[..], &trusted_source, &binary(ip("10.0.0.9"))] {
        let shaken = Raw::over(connect(STRANGER, gateway.address), before, Hello::default());
        assert!(shaken.is_err(), "a stranger shakes hands after {before:?}");
    }
    gateway.application.assert_untouched();
    assert!(!gateway.log.text().contains("access"), "{}", gateway.log.text());
    assert_serves(&gateway);
}

#[test]
fn a_client_cannot_bring_a_header_of_its_own() {
    let gateway = behind_a_proxy("");
    let (real, made_up) = (line(ip("203.0.113.5")), line(ip("6.6.6.6")));
    // Behind the proxy's own, it is no TLS.
    for (first, second) in [(&real, &made_up), (&real, &binary(ip("6.6.6.6"))), (&binary(ip("203.0.113.5")), &made_up)]
    {
        let mut stream = connect(PROXY, gateway.address);
        stream.write_all(&[first.as_slice(), second, GET.as_bytes()].concat()).expect("sent");
        let answer = until_closed(stream);
        // An alert (21), and nothing else.
        assert!(answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
        let shaken = Raw::over(connect(PROXY, gateway.address), &[first.as_slice(), second].concat(), Hello::default());
        assert!(shaken.is_err(), "after a second header");
    }
    // Within TLS, it is no HTTP.
    for inside in [&made_up, &binary(ip("6.6.6.6"))] {
        let mut connection = Raw::over(connect(PROXY, gateway.address), &real, Hello::default()).expect("a handshake");
        connection.send([inside.as_slice(), GET.as_bytes()].concat());
        let answer = connection.rest();
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    gateway.application.assert_untouched();
    assert!(!gateway.log.text().contains("6.6.6.6"), "{}", gateway.log.text());
    assert_serves(&gateway);
}

#[test]
fn without_the_key_nobody_is_heard_who_speaks_it() {
    let mut setup = Setup::new();
    setup.server = format!("trusted_proxies = [\"{PROXY}\"]");
    let gateway = setup.start();
    for header in [line(ip("203.0.113.1")), binary(ip("203.0.113.1"))] {
        assert!(Raw::over(connect(PROXY, gateway.address), &header, Hello::default()).is_err());
    }
    gateway.application.assert_untouched();
    assert_eq!(gateway.client().get("/public").send().status, 200);
}

/// A client behind the proxy.
fn client(gateway: &Gateway, address: &str) -> Client {
    let mut client = gateway.client();
    client.before = binary(ip(address));
    client
}

#[test]
fn limits_and_binding_go_by_the_address_that_the_proxy_says() {
    let gateway = behind_a_proxy("[limits]\nper_address = \"2/m\"\n");
    for address in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
        let statuses = [(); 3].map(|()| client(&gateway, address).get("/public").send().status);
        assert_eq!(statuses, [200, 200, 429], "{address} has a limit of its own");
    }
    let gateway = behind_a_proxy("[session.binding.ip]\nmode = \"exact\"\nanswer = \"end\"\n");
    let mut alice = client(&gateway, "203.0.113.1");
    assert_eq!(alice.sign_in(ALICE, "/").status, 303);
    assert_eq!(alice.get("/").send().status, 200);
    let stolen = client(&gateway, "203.0.113.66");
    stolen.set_session(&alice.session());
    assert_eq!(stolen.get("/").header("x-forwarded-for", "203.0.113.1").send().status, 401);
    alice.before = line(ip("203.0.113.1"));
    assert_eq!(alice.get("/").send().status, 401, "a cookie that was elsewhere ends its session");
}

#[test]
fn the_operator_is_told_why_connections_are_closed() {
    for (trusted, said) in [
        ("192.0.2.1", "127.0.0.1 was closed: proxy_protocol is on, and this address is not one of trusted_proxies"),
        ("127.0.0.1", "127.0.0.1 was closed: it does not begin with a PROXY protocol header"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("users.toml"), users()).expect("written");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\nproxy_protocol = true\ntrusted_proxies = \
             [\"{trusted}\"]\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\ngenerate = \
             true\n[login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = \
             [\"http://127.0.0.1:9\"]\n[[route]]\npath = \"/\"\nupstream = \"app\"\n"
        );
        fs::write(folder.path().join("gateway.toml"), text).expect("written");
        let gateway = Process::start(vestibule(folder.path(), &["serve"]).stdin(Stdio::null()));
        gateway.stderr.wait_for(&["sessions are kept in"]);
        for _ in 0..5 {
            assert!(Raw::shaking(gateway.address(), Hello::default()).is_err());
        }
        gateway.stderr.wait_for(&[said]);
        let ended = gateway.stop("TERM");
        assert_eq!(ended.stderr.matches(" was closed").count(), 1, "once a minute: {}", ended.stderr);
    }
}

/// Debian puts it where only root looks.
fn haproxy() -> Command {
    let debian = "/usr/sbin/haproxy";
    Command::new(if fs::exists(debian).is_ok_and(|exists| exists) { debian } else { "haproxy" })
}

/// HAProxy in front of a gateway, with a port for each way to say whose a connection is.
struct HaProxy {
    ports: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
    _process: Process,
}

impl HaProxy {
    fn start(gateway: &Gateway, servers: &[&str]) -> Self {
        let is_installed = haproxy().arg("-v").stdout(Stdio::null()).status().is_ok();
        assert!(is_installed, "haproxy is not installed; tests/run installs it, or: apt-get install haproxy");
        // It cannot say which free port it took, so it is given ones that were free a moment ago.
        for _ in 0..5 {
            let free: Vec<TcpListener> =
                servers.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
            let ports: Vec<SocketAddr> = free.iter().map(|free| free.local_addr().expect("an address")).collect();
            drop(free);
            let mut text =
                "defaults\n mode tcp\n timeout connect 10s\n timeout client 30s\n timeout server 30s\n".to_owned();
            for (at, (port, server)) in ports.iter().zip(servers).enumerate() {
                // It leaves from an address that is not its clients'.
                let _ = writeln!(
                    text,
                    "listen way{at}\n bind {port}\n server gateway {} source {PROXY} {server}",
                    gateway.address
                );
            }
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("haproxy.cfg");
            fs::write(&file, text).expect("written");
            let mut process = Process::start(haproxy().arg("-db").arg("-f").arg(&file).stdin(Stdio::null()));
            let mut is_there = false;
            eventually("haproxy listens, or ends because somebody else does", || {
                is_there = ports.iter().all(|port| TcpStream::connect(port).is_ok());
                is_there || process.has_ended()
            });
            if is_there && !process.has_ended() {
                return Self { ports, _folder: folder, _process: process };
            }
        }
        panic!("haproxy found no port to listen on");
    }
}

#[test]
fn behind_haproxy_the_application_sees_the_client() {
    let gateway = behind_a_proxy("");
    let haproxy = HaProxy::start(
        &gateway,
        &[
            "send-proxy",
            "send-proxy-v2",
            "send-proxy-v2 proxy-v2-options crc32c",
            "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,cert-cn,authority",
        ],
    );
    for (at, port) in haproxy.ports.iter().enumerate() {
        for from in ["127.0.0.3", "127.0.0.4"] {
            let mut connection = Raw::over(connect(from, *port), b"", Hello::default()).expect("a handshake");
            let spoofed = GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
            assert_eq!(connection.ask(spoofed).expect("an answer").status, 200);
            let received = gateway.application.last();
            assert_eq!(received.header("x-real-ip"), Some(from), "by way {at}");
            assert_eq!(received.header("x-forwarded-for"), Some(from), "by way {at}");
            gateway.log.wait_for(&[&format!(" access {from} "), " 200 "]);
        }
        // A client that begins with a header of its own.
        let made_up = line(ip("6.6.6.6"));
        assert!(Raw::over(connect("127.0.0.3", *port), &made_up, Hello::default()).is_err(), "by way {at}");
    }
    assert!(!gateway.log.text().contains("6.6.6.6"), "{}", gateway.log.text());
}

#[test]
fn the_health_checks_of_haproxy_are_its_own_requests() {
    let gateway = behind_a_proxy("");
    let server = "send-proxy-v2 check check-ssl verify none check-send-proxy check-alpn http/1.1 inter 200ms";
    let request = "option httpchk\n http-check send meth GET uri /public ver HTTP/1.1 hdr Host localhost";
    let _haproxy = HaProxy::start(&gateway, &[&format!("{server}\n {request}")]);
    gateway.log.wait_for(&[&format!(" access {PROXY} \"GET localhost/public\" 200 ")]);
}
