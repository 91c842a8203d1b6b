//! Visitors: each comes, signs in, does a little of everything for half a minute, and signs out or just leaves; then it
//! is somebody else, with an empty jar of cookies.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Either};
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep_until};

use crate::cases::{LARGE, SMALL, USER_AGENT};
use crate::client;
use crate::content::Pattern;
use crate::lab;
use crate::origin::{AS_SENT, FILES};
use crate::soak::browser::{Browser, Sake, nothing, patiently, read};
use crate::soak::tally::{Deed, Tally};
use crate::websockets::Socket;

/// How many there are at once.
pub(super) const VISITORS: usize = 32;
/// How many addresses they come from, each of a network of its own.
const ADDRESSES: usize = 16;
/// How often each does something, and how often in one visit.
const PACE: Duration = Duration::from_millis(100);
const DEEDS_EACH: usize = 300;
/// One visit in so many is by HTTP/2.
const HTTP2_EVERY: usize = 4;
/// One sign-in in so many begins with a wrong password: fewer than the limits take for guessing, since it is another
/// person's each time. A multiple of how many people there are would be one person's alone.
const WRONG_EVERY: usize = 33;
/// Bytes of an upload, and of a file that nobody waits for the end of.
const UPLOAD: u64 = 256 * 1024;
const HUGE: u64 = 16 << 20;
/// How much longer than the idle limit somebody stays away who comes back too late.
const TOO_LATE: Duration = Duration::from_secs(15);
/// How many sessions that were left are kept to be tried again.
const MOST_LEFT: usize = 16;
/// Where the gateway's own pages are.
const LOGIN: &str = "/.vestibule/login";
const LOGOUT: &str = "/.vestibule/logout";
/// The cookie of the session.
const SESSION: &str = "__Host-session";

/// Somebody who can sign in.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) password: String,
}

/// What all visits have in common.
pub(super) struct Visits {
    pub(super) to: SocketAddr,
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
    pub(super) pattern: Pattern,
    pub(super) people: Vec<Person>,
    pub(super) idle: Duration,
    pub(super) tally: Arc<Tally>,
}

/// One of them.
pub(super) struct Visitor {
    number: usize,
    from: Ipv4Addr,
    visits: Arc<Visits>,
    /// Cookies of sessions that were left, and when.
    left: VecDeque<(Instant, String)>,
}

impl Visitor {
    /// The visitor of this number.
    pub(super) fn new(number: usize, visits: Arc<Visits>) -> Self {
        let from = Ipv4Addr::new(127, 2, (number % ADDRESSES) as u8, 1);
        Self { number, from, visits, left: VecDeque::new() }
    }

    /// Makes one visit after the other until the time is up. What goes wrong ends the visit.
    pub(super) async fn come_until(mut self, begin: Instant, end: Instant) {
        // Not all at once.
        let stay = PACE * DEEDS_EACH as u32;
        sleep_until(begin + stay * self.number as u32 / VISITORS as u32).await;
        let mut number = self.number;
        while Instant::now() < end {
            let mut browser = Browser::new(Arc::clone(&self.visits), self.from, number.is_multiple_of(HTTP2_EVERY));
            let visit = self.visit(&mut browser, number, end).await;
            if let Err(complaint) = visit {
                self.visits.tally.complain(format!("visitor {}, visit {number}: {complaint}", self.number));
                // Whoever is refused at once must not try again at once.
                sleep_until(Instant::now() + stay / 10).await;
            }
            // Another one than that of any other visitor, and not always the same turn of everything.
            number += VISITORS + 1;
        }
    }

    async fn visit(&mut self, browser: &mut Browser, number: usize, end: Instant) -> Result<(), String> {
        self.come_back_too_late(browser).await?;
        self.sign_in(browser, number).await.map_err(|error| format!("signing in: {error}"))?;
        let mut due = Instant::now();
        for turn in 0..DEEDS_EACH {
            if Instant::now() >= end {
                return Ok(());
            }
            self.deed(browser, turn).await?;
            due += PACE;
            sleep_until(due).await;
        }
        if (number / HTTP2_EVERY).is_multiple_of(2) { self.sign_out(browser).await } else { self.leave(browser) }
    }

    fn did(&self, deed: Deed) -> Result<(), String> {
        self.visits.tally.did(deed);
        Ok(())
    }

    /// A little of everything, most often something small.
    async fn deed(&self, browser: &mut Browser, turn: usize) -> Result<(), String> {
        match turn % 100 {
            7 | 57 => self.upload(browser).await.map_err(|error| format!("an upload: {error}")),
            13 | 63 => self.bad_cookie(browser, turn).await.map_err(|error| format!("a bad cookie: {error}")),
            21 => self.websocket(browser).await.map_err(|error| format!("a WebSocket: {error}")),
            33 | 83 => self.anonymous(browser).await.map_err(|error| format!("without a session: {error}")),
            41 => self.break_off_download(browser).await.map_err(|error| format!("a download to break off: {error}")),
            61 => self.break_off_upload(browser).await.map_err(|error| format!("an upload to break off: {error}")),
            81 => self.break_off_handshake().await.map_err(|error| format!("a handshake to break off: {error}")),
            turn if turn % 5 == 0 => self.download(browser, LARGE.size, Deed::Large).await,
            _ => self.download(browser, SMALL.size, Deed::Small).await,
        }
    }

    /// Is led to the login page, signs in there, and is led back.
    async fn sign_in(&self, browser: &mut Browser, number: usize) -> Result<(), String> {
        let target = format!("{FILES}{}", SMALL.size);
        let (status, headers, _) = browser.page(&target).await?;
        let login = location(&headers);
        if status != StatusCode::FOUND || !login.starts_with(LOGIN) {
            return Err(format!("not led to the login page, but {status} {login}"));
        }
        let (status, _, mut page) = browser.page(&login).await?;
        expect(status, StatusCode::OK)?;
        let Some(person) = self.visits.people.get(number % self.visits.people.len()) else {
            return Err("there are no people".to_owned());
        };
        if number % WRONG_EVERY == 1 {
            let wrong = [("username", &*person.name), ("password", "not this one"), ("attempt", attempt(&page)?)];
            let (status, _, again) = browser.post(LOGIN, &wrong).await?;
            expect(status, StatusCode::UNAUTHORIZED)?;
            page = again;
            self.did(Deed::WrongPassword)?;
        }
        let right = [("username", &*person.name), ("password", &*person.password), ("attempt", attempt(&page)?)];
        let (status, headers, _) = browser.post(LOGIN, &right).await?;
        if status != StatusCode::SEE_OTHER || location(&headers) != target {
            return Err(format!("not led back, but {status} {}", location(&headers)));
        }
        if !browser.cookies.contains_key(SESSION) {
            return Err("no session's cookie".to_owned());
        }
        self.did(Deed::SignIn)
    }

    async fn sign_out(&self, browser: &mut Browser) -> Result<(), String> {
        let cookie = browser.cookie();
        let (status, ..) = browser.post(LOGOUT, &[]).await?;
        expect(status, StatusCode::OK).map_err(|error| format!("signing out: {error}"))?;
        if browser.cookies.contains_key(SESSION) {
            return Err("signing out leaves the cookie there".to_owned());
        }
        refused(&mut browser.beside(&cookie)).await.map_err(|error| format!("after signing out: {error}"))?;
        self.did(Deed::SignOut)
    }

    fn leave(&mut self, browser: &Browser) -> Result<(), String> {
        if self.left.len() < MOST_LEFT {
            self.left.push_back((Instant::now(), browser.cookie()));
        }
        self.did(Deed::Leave)
    }

    /// Tries the sessions that were left for longer than they last.
    async fn come_back_too_late(&mut self, browser: &Browser) -> Result<(), String> {
        let limit = self.visits.idle + TOO_LATE;
        while self.left.front().is_some_and(|(at, _)| at.elapsed() > limit) {
            let Some((_, cookie)) = self.left.pop_front() else { break };
            refused(&mut browser.beside(&cookie)).await.map_err(|error| format!("after the idle limit: {error}"))?;
            self.did(Deed::ComeBackTooLate)?;
        }
        Ok(())
    }

    async fn download(&self, browser: &mut Browser, size: u64, deed: Deed) -> Result<(), String> {
        let response = browser.ask(Method::GET, &format!("{FILES}{size}"), Sake::Page, nothing()).await?;
        expect(response.status(), StatusCode::OK)?;
        patiently(self.visits.pattern.compare(response.into_body(), size)).await?;
        self.did(deed)
    }

    async fn upload(&self, browser: &mut Browser) -> Result<(), String> {
        let content = Either::Right(self.visits.pattern.file(UPLOAD));
        let response = browser.ask(Method::POST, &format!("{FILES}{UPLOAD}"), Sake::Page, content).await?;
        match read(response).await? {
            (StatusCode::OK, _, text) if text == AS_SENT => self.did(Deed::Upload),
            (status, _, text) => Err(format!("{status} {text}")),
        }
    }

    async fn websocket(&self, browser: &Browser) -> Result<(), String> {
        self.visits.tally.asked();
        let cookie = browser.cookie();
        patiently(async {
            let stream = client::connect(&self.visits.http1, self.visits.to, self.from).await?;
            let mut socket = Socket::ask(stream, &self.visits.to.to_string(), &cookie).await?;
            for number in 0..3 {
                socket.echo(number).await?;
            }
            socket.close().await
        })
        .await?;
        self.did(Deed::WebSocket)
    }

    /// One that was ours, with a letter changed, or one that nobody made.
    async fn bad_cookie(&self, browser: &Browser, turn: usize) -> Result<(), String> {
        let own = browser.cookies.get(SESSION).cloned().unwrap_or_default();
        let altered: String = own.char_indices().map(|(at, c)| if at == 60 { other(c) } else { c }).collect();
        let value = if turn % 100 == 13 { altered } else { format!("made-up-{:08x}", number_of(&own)) };
        refused(&mut browser.beside(&format!("{SESSION}={value}"))).await?;
        self.did(Deed::BadCookie)
    }

    /// A page that fetches something is told to sign in; somebody who goes there is led to the login page.
    async fn anonymous(&self, browser: &Browser) -> Result<(), String> {
        let mut stranger = browser.beside("");
        refused(&mut stranger).await?;
        let response = stranger.ask(Method::GET, "/", Sake::Page, nothing()).await?;
        let (status, ..) = read(response).await?;
        expect(status, StatusCode::UNAUTHORIZED)?;
        self.did(Deed::Anonymous)
    }

    /// Takes a little of a large file and goes: over HTTP/2 from this one answer, otherwise from the connection.
    async fn break_off_download(&self, browser: &mut Browser) -> Result<(), String> {
        let response = browser.ask(Method::GET, &format!("{FILES}{HUGE}"), Sake::Page, nothing()).await?;
        expect(response.status(), StatusCode::OK)?;
        let mut body = response.into_body();
        let frame = patiently(async { body.frame().await.ok_or_else(|| "it is empty".to_owned()) }).await?;
        frame.map_err(|error| format!("{error:?}"))?;
        self.did(Deed::BreakOff)
    }

    /// Sends a part of what it said it would, and is gone.
    async fn break_off_upload(&self, browser: &Browser) -> Result<(), String> {
        self.visits.tally.asked();
        let head = format!(
            "POST {FILES}{HUGE} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nCookie: {}\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Length: {HUGE}\r\n\r\n",
            self.visits.to,
            browser.cookie()
        );
        let broken = |error: std::io::Error| error.to_string();
        patiently(async {
            let mut stream = client::connect(&self.visits.http1, self.visits.to, self.from).await?;
            stream.write_all(head.as_bytes()).await.map_err(broken)?;
            stream.write_all(&lab::body(LARGE)).await.map_err(broken)?;
            stream.flush().await.map_err(broken)
        })
        .await?;
        self.did(Deed::BreakOff)
    }

    /// Begins a handshake and is gone.
    async fn break_off_handshake(&self) -> Result<(), String> {
        let broken = |error: std::io::Error| error.to_string();
        patiently(async {
            let socket = TcpSocket::new_v4().map_err(broken)?;
            socket.bind(SocketAddr::from((self.from, 0))).map_err(broken)?;
            let mut stream = socket.connect(self.visits.to).await.map_err(broken)?;
            // The beginning of a handshake record of 512 bytes.
            stream.write_all(&[0x16, 3, 1, 2, 0]).await.map_err(broken)
        })
        .await?;
        self.did(Deed::BreakOff)
    }
}

/// Sees to it that this browser is led to the login page wherever it goes.
async fn refused(browser: &mut Browser) -> Result<(), String> {
    let (status, headers, _) = browser.page(&format!("{FILES}{}", SMALL.size)).await?;
    if status == StatusCode::FOUND && location(&headers).starts_with(LOGIN) {
        return Ok(());
    }
    Err(format!("not led to the login page, but {status} {}", location(&headers)))
}

fn expect(status: StatusCode, expected: StatusCode) -> Result<(), String> {
    if status == expected { Ok(()) } else { Err(format!("{status} instead of {expected}")) }
}

fn location(headers: &http::HeaderMap) -> String {
    headers
        .get(header::LOCATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// The hidden field of the login form.
fn attempt(page: &str) -> Result<&str, String> {
    let value = page.split_once("name=\"attempt\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
    value.map(|(value, _)| value).ok_or_else(|| "there is no form on the page".to_owned())
}

/// Another letter.
const fn other(letter: char) -> char {
    if letter == 'A' { 'B' } else { 'A' }
}

/// A number that hardly anything else gives.
fn number_of(text: &str) -> u32 {
    text.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}
