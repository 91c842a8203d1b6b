//! The application behind `vestibule demo`: the "Harbour Office", a make-believe intranet site in the manner of 2001.
//!
//! **It is a demo and nothing else.** It stands for the old application that nobody can change any more: plain
//! HTTP/1.1, no login, no protection against forged posts, a cookie of its own, and blind trust in the
//! `X-Forwarded-*` headers. That is safe only because it listens on loopback behind a gateway which writes those headers
//! and lets nobody else through. Everything lives in memory, is bounded, and is gone when it stops.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, SERVER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections served at once; the next ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of a posted form: the longest entry, every character percent-encoded, fits.
const MAX_FORM: usize = 16 * 1024;
/// Entries kept on a board; the oldest falls off.
const MAX_ENTRIES: usize = 50;
/// Characters of an entry.
const MAX_TEXT: usize = 500;
/// Characters of a name.
const MAX_NAME: usize = 40;
/// The application's own cookie: how many pages this browser has looked at.
const COUNTER: &str = "HARBOURID";
/// Where the counter starts again, like the wheels of an odometer.
const COUNTER_END: u32 = 1_000_000;

/// Serves the demo application until the future is dropped; open connections end with it.
pub(crate) async fn serve(listener: TcpListener) {
    let office = Arc::new(Office::opened());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                // A failed `accept` concerns one connection, or passes when another one ends: nothing to give up for.
                let Ok((stream, _)) = accepted else { tokio::task::yield_now().await; continue };
                let office = Arc::clone(&office);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(&office, request));
                    // An error here is a client that went away; the demo keeps no log of it.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Everything the application remembers.
struct Office {
    notices: Mutex<VecDeque<Entry>>,
    guests: Mutex<VecDeque<Entry>>,
}

/// One entry of the notice board or of the guest book.
#[derive(Clone)]
struct Entry {
    name: String,
    text: String,
}

impl Entry {
    fn new(name: &str, text: &str) -> Self {
        let name = name.trim().chars().take(MAX_NAME).collect();
        Self { name, text: text.trim().chars().take(MAX_TEXT).collect() }
    }
}

impl Office {
    /// As the clerk left it the evening before.
    fn opened() -> Self {
        let board = |entries: &[(&str, &str)]| Mutex::new(entries.iter().map(|(n, t)| Entry::new(n, t)).collect());
        Self {
            notices: board(&[
                ("Pilot station", "Fog expected before sunrise. Please keep channel 12 open."),
                ("Harbour master", "The crane on the north quay is out of order until further notice."),
                ("Canteen", "Thursday is fish soup again. Sorry, or enjoy."),
            ]),
            guests: board(&[("A sailor", "Fine harbour, friendly people. Will come back with the next tide!")]),
        }
    }
}

/// Adds an entry on top, unless it says nothing.
fn add(board: &Mutex<VecDeque<Entry>>, entry: Entry) {
    if !entry.text.is_empty() {
        let mut board = lock(board);
        board.push_front(entry);
        board.truncate(MAX_ENTRIES);
    }
}

/// A board is whole at every moment, so one that a panic left locked is still good.
fn lock(board: &Mutex<VecDeque<Entry>>) -> MutexGuard<'_, VecDeque<Entry>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listed(board: &Mutex<VecDeque<Entry>>) -> Vec<Entry> {
    lock(board).iter().cloned().collect()
}

/// What every page shows around its content.
struct Frame {
    /// From `X-Forwarded-User`: the application believes whatever stands there.
    user: Option<String>,
    email: Option<String>,
    roles: Option<String>,
    visits: u32,
}

impl Frame {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            user: text_of(headers, "x-forwarded-user"),
            email: text_of(headers, "x-forwarded-email"),
            roles: text_of(headers, "x-forwarded-roles"),
            visits: visits(headers) + 1,
        }
    }

    /// The counter as the six wheels show it.
    fn odometer(&self) -> String {
        format!("{:06}", self.visits)
    }
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/home.html" %}"#, ext = "html")]
struct Home {
    frame: Frame,
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/headers.html" %}"#, ext = "html")]
struct Headers {
    frame: Frame,
    rows: Vec<HeaderRow>,
}

/// One header of the request, as it came in.
struct HeaderRow {
    name: String,
    value: String,
    identity: bool,
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/berths.html" %}"#, ext = "html")]
struct Berths {
    frame: Frame,
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/notices.html" %}"#, ext = "html")]
struct Notices {
    frame: Frame,
    entries: Vec<Entry>,
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/public.html" %}"#, ext = "html")]
struct Public {
    frame: Frame,
    entries: Vec<Entry>,
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/admin.html" %}"#, ext = "html")]
struct Admin {
    frame: Frame,
    notices: usize,
    guests: usize,
}

#[derive(Template)]
#[template(source = r#"{% extends "src/cli/demo_app/problem.html" %}"#, ext = "html")]
struct Problem<'a> {
    frame: Frame,
    title: &'a str,
    message: &'a str,
}

async fn answer(office: &Office, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let frame = Frame::of(&head.headers);
    // hyper leaves out the body of an answer to HEAD.
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    Ok(match head.uri.path() {
        "/" if reads => page(frame.visits, &Home { frame }),
        "/headers" if reads => page(frame.visits, &Headers { frame, rows: rows(&head.headers) }),
        "/berths" if reads => page(frame.visits, &Berths { frame }),
        "/notices" if reads => page(frame.visits, &Notices { frame, entries: listed(&office.notices) }),
        "/public" if reads => page(frame.visits, &Public { frame, entries: listed(&office.guests) }),
        "/admin" if reads => {
            let (notices, guests) = (lock(&office.notices).len(), lock(&office.guests).len());
            page(frame.visits, &Admin { frame, notices, guests })
        }
        path @ ("/notices" | "/public") if head.method == Method::POST => match form(body).await {
            Some((_, text)) if path == "/notices" => {
                let name = frame.user.as_deref().unwrap_or("somebody");
                add(&office.notices, Entry::new(name, &text));
                see_other("/notices")
            }
            Some((name, text)) => {
                let name = if name.trim().is_empty() { "A visitor" } else { &name };
                add(&office.guests, Entry::new(name, &text));
                see_other("/public")
            }
            None => problem(frame, StatusCode::PAYLOAD_TOO_LARGE, "That was too much", "Please write a shorter text."),
        },
        "/notices" | "/public" => wrong_method(frame, "GET, HEAD, POST"),
        "/" | "/headers" | "/berths" | "/admin" => wrong_method(frame, "GET, HEAD"),
        _ => problem(frame, StatusCode::NOT_FOUND, "Lost at sea", "There is no such page at the Harbour Office."),
    })
}

/// The fields `name` and `text` of a posted form; none if it is too long or breaks off.
async fn form(body: Incoming) -> Option<(String, String)> {
    let bytes = Limited::new(body, MAX_FORM).collect().await.ok()?.to_bytes();
    let field = |wanted: &str| {
        let mut fields = form_urlencoded::parse(&bytes);
        fields.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    Some((field("name"), field("text")))
}

/// Who the request is from comes first; the others keep the order they came in.
fn rows(headers: &HeaderMap) -> Vec<HeaderRow> {
    let row = |(name, value): (&http::HeaderName, &HeaderValue)| HeaderRow {
        name: name.to_string(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        identity: matches!(
            name.as_str(),
            "x-forwarded-user" | "x-forwarded-email" | "x-forwarded-groups" | "x-forwarded-roles"
        ),
    };
    let mut rows: Vec<_> = headers.iter().map(row).collect();
    rows.sort_by_key(|row| !row.identity);
    rows
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned()).filter(|text| !text.is_empty())
}

/// How many pages this browser says it has seen; zero when it says nothing sensible.
fn visits(headers: &HeaderMap) -> u32 {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let seen = pairs.find(|(name, _)| *name == COUNTER).and_then(|(_, value)| value.parse::<u32>().ok());
    seen.unwrap_or_default() % (COUNTER_END - 1)
}

/// A page, with the counter one further.
fn page(visits: u32, template: &impl Template) -> Response<Full<Bytes>> {
    let text = template.render().unwrap_or_else(|_| "The printer is out of ink.".to_owned());
    let mut response = Response::new(Full::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static("HarbourOffice/2.1 (demo)"));
    if let Ok(cookie) = HeaderValue::try_from(format!("{COUNTER}={visits}; Path=/")) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

fn problem(frame: Frame, status: StatusCode, title: &str, message: &str) -> Response<Full<Bytes>> {
    let mut response = page(frame.visits, &Problem { frame, title, message });
    *response.status_mut() = status;
    response
}

fn wrong_method(frame: Frame, allowed: &'static str) -> Response<Full<Bytes>> {
    let text = "The office does not do that kind of thing with this page.";
    let mut response = problem(frame, StatusCode::METHOD_NOT_ALLOWED, "Not like this", text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn see_other(path: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn counter_reads_its_own_cookie_only_and_wraps() {
        assert_eq!(visits(&headers(&[])), 0);
        assert_eq!(visits(&headers(&[("cookie", "other=9; HARBOURID=41")])), 41);
        assert_eq!(visits(&headers(&[("cookie", "HARBOURID=-1")])), 0);
        assert_eq!(visits(&headers(&[("cookie", "HARBOURID=4294967295")])) + 1, 4_294_967_295 % (COUNTER_END - 1) + 1);
    }

    #[test]
    fn boards_are_bounded() {
        let board = Mutex::new(VecDeque::new());
        (0..200).for_each(|_| add(&board, Entry::new(&"n".repeat(999), &"é".repeat(9999))));
        add(&board, Entry::new("n", "  \n"));
        let entries = listed(&board);
        assert_eq!(entries.len(), MAX_ENTRIES);
        assert!(entries.iter().all(|e| e.name.len() == MAX_NAME && e.text.chars().count() == MAX_TEXT));
    }

    #[test]
    fn headers_are_shown_escaped() {
        let sent = headers(&[("x-forwarded-user", "<script>"), ("x-other", "\"'&")]);
        let html = Headers { frame: Frame::of(&sent), rows: rows(&sent) }.render().unwrap_or_default();
        assert!(html.contains("<tr class=\"mark\"><th scope=\"row\">x-forwarded-user</th>"), "{html}");
        assert!(html.contains("&#60;script&#62;") && html.contains("&#34;&#39;&#38;") && !html.contains("<script"));
    }

    #[test]
    fn welcome_knows_the_signed_in_and_the_stranger() {
        let home = |sent: &HeaderMap| Home { frame: Frame::of(sent) }.render().unwrap_or_default();
        let known = home(&headers(&[("x-forwarded-user", "ada"), ("x-forwarded-roles", "admin")]));
        assert!(known.contains("<bdi>ada</bdi>") && known.contains("action=\"/.vestibule/logout\""));
        assert!(!known.contains("/.vestibule/login"));
        let stranger = home(&headers(&[]));
        assert!(stranger.contains("href=\"/.vestibule/login\"") && !stranger.contains("/.vestibule/logout"));
    }
}
