//! What every topic needs: a gateway whose time is moved by hand, an application that writes down what it received,
//! and a TLS client.

mod application;
mod client;
pub mod process;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use vestibule::app::{self, Parts, Running};
use vestibule::base::clock::{Clock, ManualClock, Timestamp};
use vestibule::base::random::Random;
use vestibule::config::Plan;
use vestibule::config::reader::Document;
use vestibule::login::users::hash_password;
use vestibule::session::store::SessionStore;

pub use application::Application;
pub use client::{Client, Version};

/// The user agent that the test client sends unless told otherwise.
pub const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// Alice has the role `admin`.
pub const ALICE: (&str, &str) = ("alice", "correct horse battery");
/// Bob has the role `staff`.
pub const BOB: (&str, &str) = ("bob", "staple staple staple");
/// Carol's account is disabled.
pub const CAROL: (&str, &str) = ("carol", "once upon a time");

/// Where the tests' clock begins.
pub const START: Timestamp = Timestamp::from_millis(1_763_000_000_000);

/// The reference configuration of the repository that is tested, which need not be the one that was built: a target
/// folder is shared.
pub fn reference() -> String {
    let top = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    std::fs::read_to_string(std::path::Path::new(&top).join("gateway.toml")).expect("the reference")
}

/// Runs `check` until it holds, in real time, and fails after ten seconds.
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if check() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("never came true: {what}");
}

/// Collects what is written to the log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until the log has a line with all of `words`.
    pub fn wait_for(&self, words: &[&str]) {
        eventually(&format!("a log line with {words:?}"), || {
            self.text().lines().any(|line| words.iter().all(|word| line.contains(word)))
        });
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How a test's gateway is set up. Begin with [`Setup::new`], change what the test is about.
pub struct Setup {
    /// Routes; `app` is the application.
    pub routes: String,
    /// Anything else: whole tables.
    pub extra: String,
    /// Keys of `[server]` beside `listen` and `workers`.
    pub server: String,
    /// Keys of the upstream beside `name` and `servers`.
    pub upstream: String,
    /// A store to use instead of memory.
    pub store: Option<Arc<dyn SessionStore>>,
    /// How many workers.
    pub workers: usize,
    /// The servers of the upstream, instead of the application.
    pub servers: Option<Vec<String>>,
}

impl Setup {
    /// One route for everything, that asks for login; `/public`, `/optional`, `/anonymous` and `/admin` as they say.
    pub fn new() -> Self {
        let routes = r#"
            [[route]]
            path = "/"
            upstream = "app"
            [[route]]
            path = "/public"
            upstream = "app"
            access = "public"
            [[route]]
            path = "/optional"
            upstream = "app"
            access = "optional"
            [[route]]
            path = "/anonymous"
            upstream = "app"
            access = "anonymous"
            [[route]]
            path = "/admin"
            upstream = "app"
            roles = ["admin"]
        "#;
        Self {
            routes: routes.to_owned(),
            extra: String::new(),
            server: String::new(),
            upstream: String::new(),
            store: None,
            workers: 2,
            servers: None,
        }
    }

    /// More tables.
    pub fn extra(mut self, extra: &str) -> Self {
        self.extra = extra.to_owned();
        self
    }

    /// Starts it.
    pub fn start(self) -> Gateway {
        let application = Application::start();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("users.toml"), users()).expect("written");
        let servers = self.servers.unwrap_or_else(|| vec![format!("http://{}", application.address())]);
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = {}\n{}\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \
             \"c.key\"\ngenerate = true\n[login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = \
             {servers:?}\n{}\n{}\n{}\n",
            self.workers, self.server, self.upstream, self.routes, self.extra
        );
        let document = Document::parse(folder.path().join("gateway.toml"), &text);
        let plan = Plan::of(&document).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let clock = ManualClock::at(START);
        let log = Log::default();
        let parts = Parts {
            clock: Clock::Manual(clock.clone()),
            random: Random::System,
            store: self.store,
            log: Box::new(log.clone()),
        };
        let running = app::start(&plan, parts).expect("the gateway starts");
        Gateway { address: running.addresses[0], running: Some(running), clock, log, application, _folder: folder }
    }
}

/// A gateway in this process. Stopped when dropped.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its time.
    pub clock: ManualClock,
    /// Its access and audit log.
    pub log: Log,
    /// The application behind it.
    pub application: Application,
    running: Option<Running>,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// A client with an empty cookie jar.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client that has signed in.
    pub fn signed_in(&self, who: (&str, &str)) -> Client {
        let client = self.client();
        let answer = client.sign_in(who, "/");
        assert_eq!(answer.status, 303, "{}", answer.text());
        client
    }

    /// What its parts share.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// Moves its time forward.
    pub fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Tells it to stop and waits until it has.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.wait();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            // Whatever a test left open is cut at once.
            self.clock.advance(Duration::from_secs(3600));
            running.wait();
        }
    }
}

/// The users file of every test: hashed once, because that is made to be slow.
pub fn users() -> &'static str {
    static USERS: OnceLock<String> = OnceLock::new();
    USERS.get_or_init(|| {
        let user = |(name, password): (&str, &str), role: &str, more: &str| {
            let hash = hash_password(password, Random::System.bytes()).expect("a hash");
            format!(
                "[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\nemail = \"{name}@example.test\"\nroles = \
                 [\"{role}\"]\ngroups = [\"staff\", \"night\"]\n{more}\n"
            )
        };
        [user(ALICE, "admin", ""), user(BOB, "staff", ""), user(CAROL, "staff", "disabled = true")].concat()
    })
}
