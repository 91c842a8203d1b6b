//! A real application that lives by a WebSocket: Node-RED, whose editor is one page that is told of everything over
//! `/comms`. With a sign-in of its own it asks for `Authorization: Bearer`, which is between it and its client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::harness::process::{Server, part};
use super::harness::{ALICE, Answer, Client, Gateway, Setup, Version, eventually, patiently};
use super::http2::{Connection, DATA, END_STREAM, HEADERS, RST_STREAM, frame};
use super::websockets::{STATUS_200, Socket, closed_with, masked, open, over_http_2};

/// Node-RED with its flows in a folder of its own.
struct NodeRed {
    server: Server,
    _data: TempDir,
}

impl NodeRed {
    /// Starts it with `more` settings.
    fn start(more: &str) -> Self {
        let folder = part("node-red", "package-lock.json").join("node_modules");
        let data = tempfile::tempdir().expect("a folder");
        let server = Server::start(|address| Self::command(&folder, data.path(), address, more));
        // Its editor is there before what it edits.
        patiently("it runs its flows", || server.process.stdout.text().contains("Started flows"));
        Self { server, _data: data }
    }

    fn command(folder: &Path, data: &Path, address: SocketAddr, more: &str) -> Command {
        let settings = data.join("settings.js");
        let bcrypt = folder.join("bcryptjs");
        let text = format!(
            r#"
            const bcrypt = require({bcrypt:?});
            module.exports = {{
                uiHost: "{}", uiPort: {}, flowFile: "flows.json", credentialSecret: "none", lang: "en-US",
                telemetry: {{ enabled: false, updateNotification: false }},
                externalModules: {{ autoInstall: false, palette: {{ allowInstall: false, allowUpload: false }} }},
                {more}
            }};
            "#,
            address.ip(),
            address.port()
        );
        std::fs::write(&settings, text).expect("written");
        let mut command = Command::new("node");
        command.arg(folder.join("node-red/red.js")).arg("--userDir").arg(data).arg("--settings").arg(settings);
        command
    }

    /// The gateway in front of it.
    fn gateway(&self) -> Gateway {
        let mut setup = Setup::new().unlimited();
        setup.routes = "[[route]]\npath = \"/\"\nupstream = \"app\"\n".to_owned();
        setup.servers = Some(vec![self.server.url()]);
        setup.start()
    }

    /// The body of what it answers without the gateway.
    fn straight(&self, target: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.server.address).expect("connected");
        let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{target}");
        answer.split_off(end + 4)
    }
}

/// What answers `POST /hello/:name`, and a button whose message is shown.
fn flows() -> Value {
    let function = "msg.payload = {
        name: msg.req.params.name, said: msg.payload, user: msg.req.headers['x-forwarded-user'],
        authorization: msg.req.headers.authorization, cookie: msg.req.headers.cookie,
    }; return msg;";
    json!({ "flows": [
        { "id": "flow", "type": "tab", "label": "a flow" },
        { "id": "hello-in", "type": "http in", "z": "flow", "url": "/hello/:name", "method": "post", "wires": [["hello-function"]] },
        { "id": "hello-function", "type": "function", "z": "flow", "func": function, "outputs": 1, "wires": [["hello-out"]] },
        { "id": "hello-out", "type": "http response", "z": "flow", "statusCode": "201", "wires": [] },
        { "id": "button", "type": "inject", "z": "flow", "props": [{ "p": "payload" }], "payload": "the crane moves",
          "payloadType": "str", "wires": [["show"]] },
        { "id": "show", "type": "debug", "z": "flow", "active": true, "tosidebar": true, "complete": "payload",
          "targetType": "msg", "wires": [] },
    ] })
}

/// Deploys the flows as the editor's button does, and waits until they run, which may be after that is answered.
fn deploy(client: &Client, authorization: &str) -> Answer {
    let deployed = client
        .request(Method::POST, "/flows")
        .header("content-type", "application/json")
        .header("node-red-api-version", "v2")
        .header("node-red-deployment-type", "full")
        .header("authorization", authorization)
        .body(flows().to_string())
        .send();
    assert_eq!(deployed.status, 200, "{}", deployed.text());
    eventually("the flows run", || client.request(Method::POST, "/hello/x").send().status == 201);
    deployed
}

/// The editor's end of `/comms`.
enum Comms {
    Http1(Box<Socket>),
    /// A stream of HTTP/2, and what has been read of it.
    Http2(Box<Connection>, Vec<u8>),
}

impl Comms {
    fn open(gateway: &Gateway, client: &Client) -> Self {
        if client.version == Version::H1 {
            return Self::Http1(Box::new(open(client, "/comms", &[]).expect("it opens").0));
        }
        let mut connection = over_http_2(gateway, "/comms", &client.cookies());
        assert_eq!(connection.next_of(HEADERS).payload.first(), Some(&STATUS_200));
        Self::Http2(Box::new(connection), Vec::new())
    }

    fn say(&mut self, what: &Value) {
        let text = what.to_string();
        match self {
            Self::Http1(socket) => socket.send(Message::text(text)).expect("sent"),
            Self::Http2(connection, _) => connection.send(&[frame(DATA, 0, 1, &masked(&text))]),
        }
    }

    /// The next thing it is told.
    fn hear(&mut self) -> Value {
        let text = match self {
            Self::Http1(socket) => loop {
                if let Message::Text(text) = socket.read().expect("a message") {
                    break text.as_bytes().to_vec();
                }
            },
            Self::Http2(connection, read) => loop {
                // RFC 6455 section 5.2, for what is short and comes from a server.
                let header = match read.get(..4) {
                    Some([0x81, 126, high, low]) => Some((4, usize::from(*high) << 8 | usize::from(*low))),
                    Some([0x81, length @ 0..126, ..]) => Some((2, usize::from(*length))),
                    Some(other) => panic!("no short text: {other:?}"),
                    None => None,
                };
                match header {
                    Some((begin, length)) if read.len() >= begin + length => {
                        let rest = read.split_off(begin + length);
                        break std::mem::replace(read, rest).split_off(begin);
                    }
                    Some(_) | None => read.extend(connection.next_of(DATA).payload),
                }
            },
        };
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Waits until it is told of `topic`, and gives what.
    fn hear_of(&mut self, topic: &str) -> Value {
        loop {
            let heard = self.hear();
            let all = heard.as_array().unwrap_or_else(|| panic!("a list: {heard}"));
            if let Some(about) = all.iter().find(|about| about["topic"] == topic) {
                return about["data"].clone();
            }
        }
    }

    /// Asserts that it is closed, and told why.
    fn assert_closed(self) {
        match self {
            Self::Http1(mut socket) => {
                let closed = closed_with(&mut socket).expect("it is closed in words");
                assert_eq!(closed, (CloseCode::Policy, "the session has ended".to_owned()));
            }
            Self::Http2(mut connection, mut said) => loop {
                let read = connection.next().expect("a frame");
                if read.kind == DATA {
                    said.extend(&read.payload);
                }
                if read.kind == RST_STREAM || (read.kind == DATA && read.flags & END_STREAM != 0) {
                    return assert!(String::from_utf8_lossy(&said).contains("the session has ended"), "{said:?}");
                }
            },
        }
    }
}

/// What a page links to on its own host.
fn links(page: &str) -> Vec<String> {
    let links = page.split(['\n', ' ']).filter_map(|word| {
        let (_, link) = word.split_once("src=\"").or_else(|| word.split_once("href=\""))?;
        link.split('"').next().map(|link| format!("/{link}"))
    });
    links.collect()
}

#[test]
fn its_editor_loads_whole_for_who_is_signed_in() {
    let node_red = NodeRed::start("");
    let gateway = node_red.gateway();
    let stranger = gateway.client();
    assert_eq!(stranger.visit("/").send().status, 302);
    for target in ["/flows", "/settings", "/red/red.min.js", "/comms"] {
        assert_eq!(stranger.get(target).send().status, 401, "{target}");
    }
    for version in [Version::H1, Version::H2] {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let page = alice.visit("/").send();
        assert_eq!(page.status, 200);
        let links = links(&page.text());
        assert!(links.len() > 5 && links.iter().any(|link| link.starts_with("/red/red.min.js")), "{links:?}");
        for target in links.iter().map(String::as_str).chain(["/", "/settings", "/flows", "/locales/editor?lng=en-US"])
        {
            let loaded = alice.get(target).send();
            assert_eq!((loaded.status, loaded.body[..] == node_red.straight(target)), (200, true), "{target}");
            let again = alice.get(target).header("if-none-match", loaded.header("etag")).send();
            assert_eq!((again.status, again.body.len()), (304, 0), "{target}");
            assert_eq!(again.header("etag"), loaded.header("etag"));
        }
        // One address, two forms.
        let nodes = alice.get("/nodes").header("accept", "application/json").send();
        assert!(nodes.json().as_array().is_some_and(|nodes| nodes.len() > 10), "{}", nodes.text());
        let nodes = alice.get("/nodes").header("accept", "text/html").send();
        assert!(nodes.text().contains("RED.nodes.registerType"));
    }
}

#[test]
fn its_editor_deploys_and_is_told_by_websocket_until_its_person_signs_out() {
    let node_red = NodeRed::start("");
    let gateway = node_red.gateway();
    for version in [Version::H1, Version::H2] {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let mut comms = Comms::open(&gateway, &alice);
        for topic in ["notification/#", "debug"] {
            comms.say(&json!({ "subscribe": topic }));
        }
        // What was published before is told at once; it has heard what it said.
        comms.hear_of("notification/runtime-state");
        let deployed = deploy(&alice, "");
        let told = comms.hear_of("notification/runtime-deploy");
        assert_eq!(told["revision"], deployed.json()["rev"]);
        assert_eq!(alice.get("/flows").send().json().as_array().map(Vec::len), Some(6));
        for _ in 0..3 {
            let pressed = alice.request(Method::POST, "/inject/button").send();
            assert_eq!((pressed.status, &*pressed.text()), (200, "OK"));
            assert_eq!(comms.hear_of("debug")["msg"], "the crane moves");
        }
        let said = json!({ "load": [1, 2, 3], "unit": "t" });
        let hello = alice.request(Method::POST, "/hello/crane%207").header("content-type", "application/json");
        let hello = hello.header("cookie", "theirs=1").body(said.to_string()).send();
        let heard = hello.json();
        assert_eq!((hello.status, &heard["name"], &heard["said"]), (201, &"crane 7".into(), &said));
        assert_eq!((&heard["user"], &heard["cookie"]), (&"alice".into(), &"theirs=1".into()));
        assert_eq!(gateway.open_streams(), 1);
        assert!(alice.post_form("/.vestibule/logout", &[]).send().status < 400);
        comms.assert_closed();
        assert_eq!(alice.get("/flows").send().status, 401);
        eventually("nothing is left", || gateway.open_streams() == 0);
    }
}

#[test]
fn its_own_tokens_pass_and_open_nothing_here() {
    let node_red = NodeRed::start(
        r#"
        adminAuth: {
            type: "credentials",
            users: [{ username: "operator", password: bcrypt.hashSync("lift it", 4), permissions: "*" }],
            tokens: async token => token === "of-a-machine" ? { username: "machine", permissions: "*" } : null,
        },
        "#,
    );
    let gateway = node_red.gateway();
    for version in [Version::H1, Version::H2] {
        let alice = gateway.signed_in(ALICE).speaking(version);
        // Its own refusal, not the gateway's.
        let refused = alice.get("/flows").send();
        assert_eq!((refused.status, &*refused.text()), (401, "Unauthorized"));
        let fields =
            [("client_id", "node-red-editor"), ("grant_type", "password"), ("scope", "*"), ("username", "operator")];
        let sign_in =
            |password| alice.post_form("/auth/token", &[&fields[..], &[("password", password)]].concat()).send();
        assert_ne!(sign_in("drop it").status, 200);
        let token = sign_in("lift it").json()["access_token"].as_str().expect("a token").to_owned();
        let bearer = format!("Bearer {token}");
        deploy(&alice, &bearer);
        assert_eq!(alice.get("/flows").header("authorization", "Bearer another").send().status, 401);
        let heard = alice.request(Method::POST, "/hello/x").header("authorization", &bearer).send().json();
        assert_eq!((&heard["authorization"], &heard["user"]), (&Value::from(&*bearer), &"alice".into()));
        // Who is not signed in here has nothing of it.
        let stranger = gateway.client().speaking(version);
        let refused = stranger.get("/flows").header("authorization", &bearer).send();
        assert_eq!((refused.status, &refused.json()["error"]), (401, &"unauthenticated".into()));
        assert_eq!(open(&stranger, "/comms", &[("authorization", &bearer)]).err(), Some(401));
        let mut comms = Comms::open(&gateway, &alice);
        comms.say(&json!({ "auth": "another" }));
        assert_eq!(comms.hear(), json!({ "auth": "fail" }));
        let mut comms = Comms::open(&gateway, &alice);
        comms.say(&json!({ "auth": token }));
        assert_eq!(comms.hear(), json!({ "auth": "ok" }));
        // A machine need not say it again behind the handshake.
        let signed = |bearer| open(&alice, "/comms", &[("authorization", bearer)]).map(|(socket, _)| socket);
        assert_eq!(signed("Bearer another").err(), Some(502), "it hangs up");
        let mut signed = Comms::Http1(Box::new(signed("Bearer of-a-machine").expect("it opens")));
        for comms in [&mut comms, &mut signed] {
            comms.say(&json!({ "subscribe": "debug" }));
            let pressed = alice.request(Method::POST, "/inject/button").header("authorization", &bearer).send();
            assert_eq!(pressed.status, 200, "{}", pressed.text());
            assert_eq!(comms.hear_of("debug")["msg"], "the crane moves");
        }
    }
}
