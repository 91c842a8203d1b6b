//! Streams end with their session in real time, too: by the binary as it is shipped, whose clock nobody moves.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::binary::{folder, signed_in};
use super::harness::process::{Process, plain};
use super::harness::{ALICE, Client, Scripted, Stream, Version};
use super::websockets::{Socket, closed_with, open};

/// How long a stream may outlive its session.
const LEASE: Duration = Duration::from_secs(1);

/// An application that sends one event and then says nothing more, until it is hung up on.
fn events() -> Scripted {
    Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: first\n\n");
        }
    })
}

/// One that takes WebSockets, says one word, and listens.
fn sockets() -> Scripted {
    Scripted::start(|line| {
        if let Ok(mut socket) = tungstenite::accept(line.into_stream()) {
            socket.send("first".into()).expect("sent");
            while socket.read().is_ok() {}
        }
    })
}

/// What goes on for long and belongs to one session: events over each HTTP, and a WebSocket.
struct Open<'a> {
    events: [Stream<'a>; 2],
    socket: Socket,
}

impl<'a> Open<'a> {
    fn of(clients: &'a [Client; 2]) -> Self {
        let events = clients.each_ref().map(|client| {
            let (answer, mut stream) = client.get("/events").open();
            assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
            assert_eq!(&*stream.next().expect("a piece").expect("data"), b"data: first\n\n");
            stream
        });
        let (mut socket, _) = open(&clients[0], "/socket", &[]).expect("it opens");
        assert_eq!(socket.read().expect("a message"), "first".into());
        Self { events, socket }
    }

    /// Reads on until all of it has ended.
    fn wait(mut self) {
        for stream in &mut self.events {
            assert!(stream.next().is_some_and(|piece| piece.is_err()), "nothing more comes, and it is no whole answer");
        }
        assert!(closed_with(&mut self.socket).is_some(), "it is closed in words");
    }
}

/// The same person in two browsers' worth of HTTP, with one session.
fn clients(gateway: &Process) -> [Client; 2] {
    let first = signed_in(gateway.address(), ALICE);
    let second = Client::new(gateway.address()).speaking(Version::H2);
    second.set_session(&first.session());
    [first, second]
}

#[test]
fn streams_end_within_a_second_of_their_session() {
    let (events, sockets) = (events(), sockets());
    let more = format!(
        "[[route]]\npath = \"/socket\"\nupstream = \"sockets\"\n[[upstream]]\nname = \"sockets\"\nservers = [\"{}\"]",
        sockets.url()
    );
    let folder = folder(events.address(), &more);
    let gateway = Process::serve(folder.path());
    let by_admin = || {
        let socket = UnixStream::connect(folder.path().join("admin.sock")).expect("connected");
        assert_eq!(plain(socket, "DELETE", "/sessions?user=alice").0, 200);
    };
    let by_logout = |client: &Client| assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
    for is_logout in [true, false] {
        let clients = clients(&gateway);
        let open = Open::of(&clients);
        if is_logout {
            by_logout(&clients[0])
        } else {
            by_admin()
        }
        let ended = Instant::now();
        open.wait();
        let elapsed = ended.elapsed();
        assert!(elapsed < LEASE, "by logout: {is_logout}: {elapsed:?} after the session has ended");
    }
}

#[test]
fn streams_end_within_a_second_of_the_time_that_their_session_has() {
    // The shortest that may be configured.
    const LIFE: Duration = Duration::from_secs(10);
    let (events, sockets) = (events(), sockets());
    let more = format!(
        "[[route]]\npath = \"/socket\"\nupstream = \"sockets\"\n[[upstream]]\nname = \"sockets\"\nservers = [\"{}\"]\n\
         [session.lifetime]\nidle = \"10s\"\nabsolute = \"10s\"",
        sockets.url()
    );
    let folder = folder(events.address(), &more);
    let gateway = Process::serve(folder.path());
    let begun = Instant::now();
    let clients = clients(&gateway);
    let signed_in = Instant::now();
    Open::of(&clients).wait();
    assert!(begun.elapsed() >= LIFE, "not before its time");
    assert!(signed_in.elapsed() < LIFE + LEASE, "{:?} after signing in", signed_in.elapsed());
}
