//! What every topic needs: a gateway whose time is moved by hand, an application that writes down what it received,
//! and a TLS client.

mod application;
mod client;
mod dice;
pub mod ocsp;
pub mod process;
mod raw;
mod scripted;
mod secrets;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use vestibule::app::{self, Parts, Running};
use vestibule::base::clock::{Clock, ManualClock, Timestamp};
use vestibule::base::random::Random;
use vestibule::config::Plan;
use vestibule::login::users::hash_password;
use vestibule::reload;
use vestibule::session::kv::KvStore;
use vestibule::session::live::Live;
use vestibule::session::record::{EndReason, Owner};
use vestibule::session::store::SessionStore;
use vestibule::session::tenant::TenantId;

pub use application::{Application, Received};
pub use client::{Answer, Client, Request, Stream, Version, ask_twice, hidden, tls_config};
pub use dice::Dice;
pub use raw::{Hello, Raw};
pub use scripted::{Line, Scripted};
pub use secrets::note_secret;

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
    std::fs::read_to_string(top().join("gateway.toml")).expect("the reference")
}

/// The folder of that repository.
pub fn top() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// Runs `check` until it holds, in real time, and fails after ten seconds.
pub fn eventually(what: &str, check: impl FnMut() -> bool) {
    within(10, what, check);
}

/// The same for what other people's programs do when they start, which takes a while on a busy machine: a minute.
pub fn patiently(what: &str, check: impl FnMut() -> bool) {
    within(60, what, check);
}

fn within(seconds: usize, what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..seconds * 100 {
        if check() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("never came true: {what}");
}

/// An address that refuses whoever comes, for as long as the socket is kept; until then nobody else can have it.
pub fn nobody() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let address = socket.local_addr().expect("an address").as_socket().expect("of the internet");
    (address, socket)
}

/// Moves the time forward, a second at a time, until `is_done`; for waits that begin at a moment nobody can see.
pub fn advance_until(gateway: &Gateway, what: &str, mut is_done: impl FnMut() -> bool) {
    eventually(what, || {
        gateway.advance(1);
        is_done()
    });
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
    /// And one for what is kept beside sessions.
    pub values: Option<Arc<dyn KvStore>>,
    /// How many workers.
    pub workers: usize,
    /// The servers of the upstream, instead of the application.
    pub servers: Option<Vec<String>>,
    /// The names of each certificate, instead of the one that is made for development.
    pub certificates: Vec<Vec<&'static str>>,
    /// More files beside its configuration, each with what is in it.
    pub files: Vec<(&'static str, String)>,
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
            values: None,
            workers: 2,
            servers: None,
            certificates: Vec::new(),
            files: Vec::new(),
        }
    }

    /// In front of `server` instead of the application.
    pub fn in_front_of(mut self, server: &Scripted) -> Self {
        self.servers = Some(vec![server.url()]);
        self
    }

    /// Without limits on how much anybody may ask.
    pub fn unlimited(self) -> Self {
        self.extra("[limits]\nper_session = \"off\"\nper_address = \"off\"\nlogin = \"off\"\nwrong_passwords = \"off\"\nbad_cookies = \"off\"")
    }

    /// More tables.
    pub fn extra(mut self, extra: &str) -> Self {
        self.extra += extra;
        self.extra += "\n";
        self
    }

    /// Starts it.
    pub fn start(self) -> Gateway {
        secrets::listen();
        let application = Application::start();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("users.toml"), users()).expect("written");
        for (name, text) in &self.files {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(file, mode).expect("set");
        }
        let servers = self.servers.unwrap_or_else(|| vec![format!("http://{}", application.address())]);
        let certificates = certificates(folder.path(), &self.certificates);
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = {}\n{}\n{certificates}[login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = \
             {servers:?}\n{}\n{}\n{}\n",
            self.workers, self.server, self.upstream, self.routes, self.extra
        );
        let config = folder.path().join("gateway.toml");
        std::fs::write(&config, &text).expect("written");
        let plan = Plan::load(&config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let clock = ManualClock::at(START);
        let log = Log::default();
        let parts = Parts {
            clock: Clock::Manual(clock.clone()),
            random: Random::System,
            store: self.store,
            values: self.values,
            log: Box::new(log.clone()),
        };
        let mut running = app::start(&plan, parts).expect("the gateway starts");
        reload::start(&mut running, &config);
        Gateway { address: running.addresses[0], running: Some(running), clock, log, application, folder }
    }
}

/// Makes the certificates of a test and gives their tables.
fn certificates(folder: &Path, all: &[Vec<&str>]) -> String {
    if all.is_empty() {
        return "[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\ngenerate = true\n".to_owned();
    }
    let mut tables = String::new();
    for (at, names) in all.iter().enumerate() {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(folder.join(format!("{at}.crt")), made.cert.pem()).expect("written");
        std::fs::write(folder.join(format!("{at}.key")), made.signing_key.serialize_pem()).expect("written");
        tables += &format!("[[server.certificate]]\ncert = \"{at}.crt\"\nkey = \"{at}.key\"\n");
    }
    tables
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
    /// Where its files are.
    pub folder: tempfile::TempDir,
    running: Option<Running>,
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

    /// How many client connections are open.
    pub fn connections(&self) -> usize {
        let shared = &self.running().shared;
        let text = shared.render_metrics();
        let line = text.lines().find_map(|line| line.strip_prefix("vestibule_connections "));
        line.expect("a metric").parse().expect("a number")
    }

    /// Where it listens without TLS.
    pub fn plain_address(&self) -> SocketAddr {
        self.running().redirect_addresses[0]
    }

    /// What its parts share.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// Moves its time forward.
    pub fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Runs something asynchronous to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    /// The sessions of a person that have not ended.
    pub fn sessions_of(&self, name: &str) -> Vec<Arc<Live>> {
        self.sessions_at(TenantId::DEFAULT, name)
    }

    /// The same at a tenant.
    pub fn sessions_at(&self, tenant: TenantId, name: &str) -> Vec<Arc<Live>> {
        self.block_on(self.running().shared.store.list(Owner::user(tenant, name))).expect("the store works")
    }

    /// Ends every session of a person, as an administrator does.
    pub fn revoke(&self, name: &str) {
        for live in self.sessions_of(name) {
            let shared = &self.running().shared;
            let ended = self.block_on(shared.end_session(live.handle(), EndReason::Revoked, None, shared.clock.now()));
            assert!(ended.expect("the store works"), "it had not ended before");
        }
    }

    /// How many streams hold on to their sessions.
    pub fn open_streams(&self) -> usize {
        self.running().shared.leases.open()
    }

    /// Stops it and starts it again, by what is in its files now. Time goes on, and so do log and application.
    pub fn restart(&mut self) {
        self.stop();
        let config = self.folder.path().join("gateway.toml");
        let plan = Plan::load(&config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let (clock, log) = (Clock::Manual(self.clock.clone()), Box::new(self.log.clone()));
        let mut running = app::start(&plan, Parts { clock, random: Random::System, store: None, values: None, log })
            .expect("it starts");
        reload::start(&mut running, &config);
        self.address = running.addresses[0];
        self.running = Some(running);
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
        if !std::thread::panicking() {
            secrets::assert_kept(&[("its log", &self.log.text())], Some(self.folder.path()));
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
