//! A real application of many methods and large files: WsgiDAV on cheroot, used by a WebDAV client of our own, by curl,
//! and by litmus, which tries what WebDAV servers must do.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Method;
use tempfile::TempDir;

use super::harness::process::{Server, part};
use super::harness::{ALICE, Client, Dice, Gateway, Raw, Request, Setup, USER_AGENT, Version};

/// WsgiDAV with its files in a folder of its own.
struct WsgiDav {
    server: Server,
    data: TempDir,
}

impl WsgiDav {
    fn start() -> Self {
        let folder = part("wsgidav", "requirements.txt");
        let data = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(data.path().join("files")).expect("a folder");
        let server = Server::start(|address| Self::command(&folder, data.path(), address));
        Self { server, data }
    }

    fn command(folder: &Path, data: &Path, address: SocketAddr) -> Command {
        let config = data.join("wsgidav.json");
        let text = serde_json::json!({
            "host": address.ip().to_string(),
            "port": address.port(),
            "server": "cheroot",
            "provider_mapping": { "/": data.join("files") },
            "simple_dc": { "user_mapping": { "*": true } },
            "property_manager": true,
            "verbose": 1,
        });
        std::fs::write(&config, text.to_string()).expect("written");
        let mut command = Command::new(folder.join("bin/python3"));
        command.args(["-m", "wsgidav.server.server_cli", "--config"]).arg(config).current_dir(data);
        command
    }

    /// The gateway in front of it.
    fn gateway(&self, access: &str) -> Gateway {
        let mut setup = Setup::new().unlimited();
        setup.routes = format!("[[route]]\npath = \"/\"\nupstream = \"app\"\naccess = \"{access}\"\n");
        setup.servers = Some(vec![self.server.url()]);
        setup.start()
    }

    /// What it keeps under a name.
    fn kept(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.data.path().join("files").join(name)).expect("a file")
    }
}

fn asked<'a>(client: &'a Client, method: &str, target: &str) -> Request<'a> {
    client.request(method.parse().expect("a method"), target)
}

const CONTENT: &str = "0123456789abcdef";

#[test]
fn files_are_kept_through_the_gateway_as_webdav_has_it() {
    let dav = WsgiDav::start();
    let gateway = dav.gateway("authenticated");
    for method in ["OPTIONS", "PROPFIND", "MKCOL", "PUT", "COPY", "LOCK", "DELETE"] {
        assert_eq!(asked(&gateway.client(), method, "/new").send().status, 401, "{method}");
    }
    for version in [Version::H1, Version::H2] {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let options = alice.request(Method::OPTIONS, "/").send();
        assert_eq!((options.status, options.header("dav").starts_with("1,2")), (200, true), "{:?}", options.headers);
        assert!(options.header("allow").contains("PROPFIND"), "{:?}", options.headers);
        assert_eq!(asked(&alice, "MKCOL", "/office/").send().status, 201);
        assert_eq!(asked(&alice, "MKCOL", "/office/").send().status, 405);
        let name = "/office/caf%C3%A9%20&%20co;v=1.txt";
        assert_eq!(alice.request(Method::PUT, name).body(CONTENT).send().status, 201);
        assert_eq!(dav.kept("office/caf\u{e9} & co;v=1.txt"), CONTENT.as_bytes());
        assert_eq!(alice.request(Method::PUT, name).body("").send().status, 204);
        assert_eq!(dav.kept("office/caf\u{e9} & co;v=1.txt"), b"");
        assert_eq!(alice.request(Method::PUT, "/office/a").body(CONTENT).send().status, 201);
        properties(&alice);
        pieces(&alice);
        copies(&dav, &alice);
        locks(&alice);
        assert_eq!(alice.request(Method::DELETE, "/office/").send().status, 204);
        assert_eq!(alice.get("/office/a").send().status, 404);
    }
}

/// Finds and sets properties.
fn properties(alice: &Client) {
    let listed = asked(alice, "PROPFIND", "/office/").header("depth", "1").send();
    assert_eq!(listed.status, 207);
    assert!(listed.text().contains("caf%C3%A9%20"), "{}", listed.text());
    let set = "<?xml version=\"1.0\"?><D:propertyupdate xmlns:D=\"DAV:\" xmlns:X=\"urn:x\"><D:set><D:prop><X:colour>r\u{f6}d\
               </X:colour></D:prop></D:set></D:propertyupdate>";
    assert_eq!(asked(alice, "PROPPATCH", "/office/a").body(set).send().status, 207);
    let find = "<?xml version=\"1.0\"?><D:propfind xmlns:D=\"DAV:\" xmlns:X=\"urn:x\"><D:prop><X:colour/></D:prop></D:propfind>";
    let found = asked(alice, "PROPFIND", "/office/a").header("depth", "0").body(find).send();
    assert_eq!((found.status, found.text().contains("r\u{f6}d")), (207, true), "{}", found.text());
}

/// Asks for parts of a file, and only for what is new.
fn pieces(alice: &Client) {
    let whole = alice.get("/office/a").send();
    assert_eq!((whole.status, &*whole.text(), whole.header("accept-ranges")), (200, CONTENT, "bytes"));
    let etag = whole.header("etag").to_owned();
    let head = alice.request(Method::HEAD, "/office/a").send();
    assert_eq!((head.status, head.header("content-length"), head.header("etag")), (200, "16", &*etag));
    assert!(head.body.is_empty());
    let get = |fields: &[(&str, &str)]| {
        let request = alice.get("/office/a");
        fields.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    // Of several ranges this server gives the last.
    for (range, place, content) in [
        ("bytes=2-5", "bytes 2-5/16", "2345"),
        ("bytes=12-", "bytes 12-15/16", "cdef"),
        ("bytes=-3", "bytes 13-15/16", "def"),
        ("bytes=0-1,6-8", "bytes 6-8/16", "678"),
    ] {
        let part = get(&[("range", range), ("if-range", &etag)]);
        let length = content.len().to_string();
        assert_eq!((part.status, &*part.text(), part.header("content-range")), (206, content, place), "{range}");
        assert_eq!(part.header("content-length"), length);
    }
    assert_eq!(get(&[("range", "bytes=2-5"), ("if-range", "\"another\"")]).text(), CONTENT);
    assert_eq!(get(&[("range", "bytes=99-")]).status, 416);
    let same = get(&[("if-none-match", &etag)]);
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(get(&[("if-none-match", "\"another\"")]).status, 200);
    assert_eq!(get(&[("if-match", "\"another\"")]).status, 412);
}

/// Copies and moves: where to is said by a whole URL, which must be the one that the client knows.
fn copies(dav: &WsgiDav, alice: &Client) {
    let to = |method: &str, target: &str, destination: &str, overwrite: &str| {
        asked(alice, method, target).header("destination", destination).header("overwrite", overwrite).send().status
    };
    let here = |path: &str| format!("https://{}{path}", alice.authority());
    assert_eq!(to("COPY", "/office/a", &here("/office/b%20b"), "T"), 201);
    assert_eq!(dav.kept("office/b b"), CONTENT.as_bytes());
    assert_eq!(to("COPY", "/office/a", &here("/office/b%20b"), "F"), 412);
    assert_eq!(to("MOVE", "/office/b%20b", "/office/c", "T"), 201);
    assert_eq!(dav.kept("office/c"), CONTENT.as_bytes());
    assert_eq!(alice.get("/office/b%20b").send().status, 404);
    assert_eq!(to("MOVE", "/office/c", "https://elsewhere.example.test/c", "T"), 502);
    assert_eq!(to("COPY", "/office/", &here("/archive/"), "T"), 201);
    assert_eq!(dav.kept("archive/c"), CONTENT.as_bytes());
    assert_eq!(alice.request(Method::DELETE, "/archive/").send().status, 204);
}

/// Locks a file, and changes it with the lock's token alone.
fn locks(alice: &Client) {
    let body = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/>\
                </D:locktype><D:owner>alice</D:owner></D:lockinfo>";
    let locked =
        asked(alice, "LOCK", "/office/a").header("timeout", "Second-600").header("depth", "0").body(body).send();
    let token = locked.header("lock-token").to_owned();
    assert_eq!((locked.status, token.starts_with('<')), (200, true), "{}", locked.text());
    let put = || alice.request(Method::PUT, "/office/a").body("changed");
    assert_eq!(put().send().status, 423);
    assert_eq!(put().header("if", &format!("({token})")).send().status, 204);
    assert_eq!(asked(alice, "UNLOCK", "/office/a").header("lock-token", &token).send().status, 204);
    assert_eq!(put().send().status, 204);
}

#[test]
fn an_upload_in_chunks_is_one_file() {
    let dav = WsgiDav::start();
    let gateway = dav.gateway("public");
    let mut connection = Raw::to(gateway.address);
    for (at, body) in
        ["0\r\n\r\n", "1\r\na\r\n0\r\n\r\n", "5;x=y\r\nhello\r\n00A\r\n, all of y\r\n2\r\nou\r\n0\r\n\r\n"]
            .iter()
            .enumerate()
    {
        let head = format!("PUT /{at} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(connection.ask(head + body).expect("an answer").status, 201);
    }
    assert_eq!(
        (dav.kept("0"), dav.kept("1"), dav.kept("2")),
        (b"".to_vec(), b"a".to_vec(), b"hello, all of you".to_vec())
    );
}

/// How large a large file is.
const LARGE: usize = 64 << 20;

#[test]
fn a_large_file_goes_up_and_comes_down_as_it_is() {
    let dav = WsgiDav::start();
    let gateway = dav.gateway("authenticated");
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice(1);
    let content: Vec<u8> = (0..LARGE / 8).flat_map(|_| dice.next().to_le_bytes()).collect();
    let (file, back) = (folder.path().join("large"), folder.path().join("back"));
    std::fs::write(&file, &content).expect("written");
    let (file, back) = (file.to_str().expect("text"), back.to_str().expect("text"));
    let alice = gateway.signed_in(ALICE);
    for (version, shown) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let curl = |arguments: &[&str], status: &str| {
            let said = curl(&alice, version, arguments);
            assert_eq!(said, format!("{status} {shown}"), "{version} {arguments:?}");
        };
        let url = format!("https://{}/large{shown}", alice.authority());
        // With its length, and with none known.
        curl(&["--upload-file", file, &url], "201");
        assert!(dav.kept(&format!("large{shown}")) == content, "what arrives is what was sent");
        curl(&["--upload-file", "-", &format!("{url}.piped")], "201");
        assert!(dav.kept(&format!("large{shown}.piped")) == PIPED.repeat(PIPES), "what arrives is what was sent");
        curl(&["--output", back, &url], "200");
        assert!(std::fs::read(back).expect("a file") == content, "what comes back is what was sent");
        // What was broken off goes on from there.
        std::fs::write(back, &content[..LARGE - 12_345]).expect("written");
        curl(&["--continue-at", "-", "--output", back, &url], "206");
        assert!(std::fs::read(back).expect("a file") == content, "the two parts are the whole");
        curl(&["--range", "1000000-1999999", "--output", back, &url], "206");
        assert!(std::fs::read(back).expect("a file") == content[1_000_000..2_000_000]);
    }
}

/// What is piped into an upload: short pieces, written by themselves.
const PIPED: &[u8] = b"a line that somebody writes, now and then, while it is sent\n";
const PIPES: usize = 50_000;

/// Runs curl as `client`, and gives the status and the version of HTTP.
fn curl(client: &Client, version: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--insecure", "--ipv4", "--max-time", "60", version]);
    command.args([
        "--user-agent",
        USER_AGENT,
        "--cookie",
        &client.cookies(),
        "--header",
        &format!("Origin: https://{}", client.authority()),
        "--write-out",
        "\n%{http_code} %{http_version}",
    ]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("curl is not installed; tests/run installs it, or: apt-get install curl");
    let mut stdin = child.stdin.take().expect("piped");
    if arguments.contains(&"-") && arguments.contains(&"--upload-file") {
        for _ in 0..PIPES {
            stdin.write_all(PIPED).expect("it takes what it sends");
        }
    }
    drop(stdin);
    let output = child.wait_with_output().expect("curl ends");
    assert!(output.status.success(), "curl {arguments:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn what_webdav_servers_must_do_it_does_through_the_gateway_too() {
    let dav = WsgiDav::start();
    let gateway = dav.gateway("public");
    let (straight, warnings) = litmus(&dav.server.url());
    assert_eq!(warnings, [""; 0]);
    let (through, warnings) = litmus(&format!("https://{}", gateway.address));
    // A target with a fragment is malformed, and should be refused. What reads requests leaves the fragment out, so what
    // arrives has none: known, and nothing else is.
    assert!(warnings.iter().all(|warning| warning.contains("Request-URI including fragment")), "{warnings:?}");
    // It does not try `Expect: 100-continue` over TLS.
    assert_eq!(straight[..4], through[..4]);
    for summary in straight.iter().chain(&through) {
        assert!(summary.contains("0 failed"), "{summary}");
    }
}

/// What litmus says of each of its five suites, and what it warns of.
fn litmus(url: &str) -> (Vec<String>, Vec<String>) {
    // It leaves its logs where it is started.
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("litmus");
    let output = command.args(["--keep-going", &format!("{url}/")]).current_dir(&folder).stdin(Stdio::null()).output();
    let output = output.expect("litmus is not installed; tests/run installs it, or: apt-get install litmus");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = |word: &str| said.lines().filter(|line| line.contains(word)).map(str::to_owned).collect::<Vec<_>>();
    let summaries = lines("summary for");
    assert_eq!(summaries.len(), 5, "{said}");
    assert!(!said.contains("FAIL"), "{said}");
    (summaries, lines("WARNING"))
}
