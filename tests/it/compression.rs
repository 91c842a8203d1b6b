//! Answers that are compressed where a route asks for it, and what never is.

use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use http::Method;

use super::harness::{ALICE, Answer, Client, Gateway, Request, Scripted, Setup, Stream, Version, eventually};

/// What nobody but the person whose page it is may know.
const SECRET: &str = "csrf=7d1e90b3a26f48c5";

const ALL: &str = r#"["zstd", "br", "gzip"]"#;

/// A route for everybody and one for those who are signed in, which compress.
fn started(codings: &str, server: &Scripted) -> Gateway {
    let mut setup = Setup::new().unlimited().in_front_of(server);
    setup.workers = 1;
    setup.routes = format!(
        "[[route]]\npath = \"/\"\nupstream = \"app\"\ncompress = {codings}\n\
         [[route]]\npath = \"/public\"\nupstream = \"app\"\naccess = \"public\"\ncompress = {codings}\n\
         [[route]]\npath = \"/off\"\nupstream = \"app\"\naccess = \"public\"\n"
    );
    setup.start()
}

/// A page of some length, with a secret in it and, as searches do, with what was searched for.
fn page(query: &str) -> String {
    let rows: String = (0..60).map(|row| format!("<tr><td>Row {row}</td><td>{}</td></tr>\n", row * 7919)).collect();
    format!("<h1>You searched for {query}</h1>\n{rows}<input type=\"hidden\" value=\"{SECRET}\">\n")
}

/// An application that answers with a page, and with the fields and the status that the last part of the path names.
fn application() -> Scripted {
    Scripted::start(|mut line| {
        while let Some(request) = line.request() {
            let mut words = request.split(' ');
            let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let body = page(query);
            let (status, fields, body) = match path.rsplit('/').next().unwrap_or_default() {
                "tagged" => ("200 OK", "etag: \"x\"\r\naccept-ranges: bytes\r\n", body.as_str()),
                "encoded" => ("200 OK", "content-encoding: identity\r\n", body.as_str()),
                "as-it-is" => ("200 OK", "cache-control: no-transform\r\n", body.as_str()),
                "part" => ("206 Partial Content", "content-range: bytes 0-99/2000\r\n", &body[..100]),
                "wrong" => ("500 Internal Server Error", "", body.as_str()),
                "short" => ("200 OK", "", "short"),
                "known" => ("304 Not Modified", "etag: \"x\"\r\n", ""),
                _ => ("200 OK", "", body.as_str()),
            };
            let kind = if path.ends_with("picture") { "image/png" } else { "text/html" };
            let length =
                if status.starts_with("304") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
            let sent = if method == "HEAD" { "" } else { body };
            line.say(format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{length}{fields}\r\n{sent}"));
        }
    })
}

fn both(gateway: &Gateway) -> [Client; 2] {
    [gateway.client(), gateway.client().speaking(Version::H2)]
}

fn taking<'a>(request: Request<'a>, codings: &str) -> Request<'a> {
    request.header("accept-encoding", codings)
}

/// What a browser makes of an answer's body.
fn read(answer: &Answer) -> String {
    let bytes = &*answer.body;
    let mut text = String::new();
    match answer.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip"),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text).expect("brotli"),
        "zstd" => zstd::stream::read::Decoder::new(bytes).expect("zstd").read_to_string(&mut text).expect("zstd"),
        other => panic!("{other:?}"),
    };
    text
}

/// How much comes back for a page with a guess in it, asked for with these fields.
fn length_of(client: &Client, guess: &str, fields: &[(&str, &str)]) -> usize {
    let mut request = taking(client.get(&format!("/found?{guess}")), "gzip, br, zstd");
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let answer = request.send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body.len()
}

#[test]
fn the_length_of_a_page_does_not_betray_what_is_in_it() {
    let server = application();
    let (right, wrong) = (SECRET, ["csrf=f0c2d6e81b97a354", "csrf=19ab5c37e02d8f64", "csrf=5f8e3c6071d4a9b2"]);
    for coding in ["zstd", "br", "gzip"] {
        let gateway = started(&format!("[\"{coding}\"]"), &server);
        let client = gateway.signed_in(ALICE);
        // The attack: whoever can make the browser ask, and see how long the answers are, sees which guess is right.
        let own_page = [("sec-fetch-site", "same-origin")];
        let betrays = |fields: &[(&str, &str)]| {
            let right = length_of(&client, right, fields);
            wrong.iter().all(|wrong| right < length_of(&client, wrong, fields))
        };
        assert!(betrays(&own_page), "{coding}: the attack works where it is not stopped");
        // No other site can ask like that. What it can ask with is not compressed.
        for site in ["cross-site", "same-site", "none"] {
            assert!(!betrays(&[("sec-fetch-site", site)]), "{coding}, {site}");
        }
        assert!(!betrays(&[]), "{coding}, from a browser that does not say");
        let stranger = gateway.client();
        let asked = || taking(stranger.get("/public?x"), coding);
        assert_eq!(asked().header("authorization", "Basic YTpi").send().header("content-encoding"), "");
        for cookie in ["a=b", "__Host-session=x"] {
            let answer = asked().header("cookie", cookie).send();
            assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", "Accept-Encoding"), "{cookie}");
        }
        assert_eq!(asked().send().header("content-encoding"), coding);
    }
}

#[test]
fn an_answer_comes_in_the_coding_that_client_and_route_like_best() {
    let server = application();
    let gateway = started(ALL, &server);
    for client in both(&gateway) {
        for (codings, expected) in
            [("gzip, deflate, br, zstd", "zstd"), ("gzip, br", "br"), ("gzip", "gzip"), ("zstd;q=0.5, gzip", "gzip")]
        {
            let answer = taking(client.get("/public/tagged?x"), codings).send();
            assert_eq!((answer.status, answer.header("content-encoding")), (200, expected));
            assert_eq!(read(&answer), page("x"));
            assert!(answer.body.len() < page("x").len() / 2);
            assert_eq!((answer.header("etag"), answer.header("vary")), ("W/\"x\"", "Accept-Encoding"));
            for absent in ["accept-ranges", "content-length"] {
                assert_eq!(answer.header(absent), "", "{absent}");
            }
            let head = taking(client.request(Method::HEAD, "/public/tagged?x"), codings).send();
            let fields = |answer: &Answer| {
                let of_message = ["date", "transfer-encoding", "x-request-id"];
                let mut all: Vec<_> =
                    answer.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                all.retain(|(name, _)| !of_message.contains(&name.as_str()));
                all.sort_by_key(|(name, _)| name.to_string());
                all
            };
            assert_eq!((head.status, fields(&head)), (200, fields(&answer)), "HEAD agrees with GET");
            assert!(head.body.is_empty());
        }
    }
    let client = gateway.client();
    let known = taking(client.get("/public/known"), "gzip").header("if-none-match", "W/\"x\"").send();
    assert_eq!((known.status, known.header("etag")), (304, "W/\"x\""));
    gateway.log.wait_for(&["/public/tagged", "200"]);
}

#[test]
fn what_is_not_to_be_touched_comes_as_the_application_made_it() {
    let server = application();
    let gateway = started(ALL, &server);
    for client in both(&gateway) {
        for (path, vary) in [
            ("/off/x", ""),
            ("/public/encoded", ""),
            ("/public/as-it-is", ""),
            ("/public/part", ""),
            ("/public/wrong", ""),
            ("/public/short", ""),
            ("/public/picture", ""),
        ] {
            let asked = || client.get(path).header("accept-encoding", "gzip;q=0.9, *;q=0.1");
            let (answer, plain) = (asked().send(), client.get(path).send());
            assert_eq!((answer.body.clone(), answer.header("vary")), (plain.body, vary), "{path}");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{path}");
        }
        for (name, value, vary) in [
            ("range", "bytes=0-9", ""),
            ("cache-control", "no-transform", ""),
            ("accept-encoding", "identity", "Accept-Encoding"),
            ("accept-encoding", "gzip;q=0, br;q=0, zstd;q=0", "Accept-Encoding"),
            ("accept", "text/html", "Accept-Encoding"),
        ] {
            let mut request = client.get("/public/tagged?x").header(name, value);
            if !name.starts_with("accept") {
                request = taking(request, "gzip");
            }
            let answer = request.send();
            assert_eq!((answer.text(), answer.header("vary")), (page("x"), vary), "{name}: {value}");
            assert_eq!((answer.header("etag"), answer.header("accept-ranges")), ("\"x\"", "bytes"), "{name}: {value}");
        }
    }
    let asked = server.received().iter().any(|request| request.contains("accept-encoding: gzip;q=0.9, *;q=0.1"));
    assert!(asked, "the application is asked as we are");
}

/// Whether a stream is cut in the end.
fn is_cut(stream: &mut Stream<'_>) -> bool {
    loop {
        match stream.next() {
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
            None => return false,
        }
    }
}

#[test]
fn a_page_that_drips_passes_as_it_is_sent_and_ends_with_its_session() {
    let (go_on, goes_on) = channel();
    let goes_on = Mutex::new(goes_on);
    let server = Scripted::start(move |mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n");
            while let Ok(word) = goes_on.lock().expect("a gate").recv() {
                let word: &str = word;
                if word == "break" {
                    return;
                }
                line.say(format!("{:x}\r\n{word}\r\n", word.len()));
            }
        }
    });
    let gateway = started("[\"gzip\"]", &server);
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        // The answer to signing in is a redirect of our own, and nothing has asked the server yet.
        let open = || taking(client.get("/x"), "gzip").header("sec-fetch-site", "same-origin").open();
        let (answer, mut stream) = open();
        assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip"));
        let (mut bytes, mut sent) = (Vec::new(), String::new());
        for word in ["one ", "two ", "three "] {
            go_on.send(word).expect("it waits");
            sent += word;
            let mut text = String::new();
            while text != sent {
                bytes.extend(stream.next().expect("more").expect("a piece"));
                text.clear();
                // As far as it has come.
                let _ = flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text);
            }
        }
        gateway.revoke(ALICE.0);
        assert!(is_cut(&mut stream), "it is not ended");
        // What the application breaks off does not look whole either.
        let client = gateway.signed_in(ALICE).speaking(version);
        go_on.send("break").expect("it waits");
        let open = || taking(client.get("/x"), "gzip").header("sec-fetch-site", "same-origin").open();
        let (_, mut stream) = open();
        go_on.send("one ").expect("it waits");
        go_on.send("break").expect("it waits");
        assert!(is_cut(&mut stream), "it is not ended");
    }
}

#[test]
fn who_only_takes_its_time_holds_a_place_and_nobody_up() {
    // More than there are places for: the rest comes as it is, and when they have gone, it is compressed again.
    let big = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        }
    });
    let gateway = started("[\"gzip\"]", &big);
    let clients: Vec<Client> = (0..70).map(|_| gateway.client()).collect();
    let streams: Vec<_> = clients.iter().map(|client| taking(client.get("/public/x"), "gzip").open()).collect();
    let compressed = streams.iter().filter(|(answer, _)| answer.header("content-encoding") == "gzip").count();
    assert_eq!(compressed, 64);
    assert!(streams.iter().all(|(answer, _)| answer.status == 200 && answer.header("vary") == "Accept-Encoding"));
    drop(streams);
    drop(clients);
    eventually("there is a place again", || {
        gateway.advance(1);
        let client = gateway.client();
        let (answer, _) = taking(client.get("/public/x"), "gzip").open();
        answer.header("content-encoding") == "gzip"
    });
}
