//! A browser that a test drives: Chromium, told what to do by its driver in the words of WebDriver, which are JSON over
//! HTTP on this machine. So no crate is needed for it but those that are there.
//!
//! Everything waits for what it is about, up to a bound: pages take as long as the machine does.

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::harness::process::Process;
use super::super::harness::{Gateway, note_secret, patiently};

/// How long the driver may take for one thing, the start of a browser included, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// How many drivers are started at the most until one has found a port.
const DRIVERS: usize = 5;

/// The name of an element in the answers of a driver, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What the driver says of an element that is not there yet, or not any more.
const NOT_YET: [&str; 4] =
    ["no such element", "stale element reference", "element not interactable", "element click intercepted"];

/// How the browser is started. Nothing of it reaches for the network: names of `.test` are this machine, others are none.
const ARGUMENTS: [&str; 15] = [
    "--headless",
    // It shows nothing but pages of the test's own, and its sandbox does not start as root or in a container.
    "--no-sandbox",
    // A container has little room there.
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--window-size=1280,800",
    "--host-resolver-rules=MAP localhost 127.0.0.1, MAP *.test 127.0.0.1, EXCLUDE 127.0.0.1, MAP * ~NOTFOUND",
    // It ends when its driver does, however that ended.
    "--remote-debugging-pipe",
];

/// A browser with a profile of its own. It ends when dropped.
pub struct Browser {
    /// Its driver, which ends with this.
    _driver: Process,
    driver_address: SocketAddr,
    runtime: Runtime,
    profile: TempDir,
    gateway: SocketAddr,
    /// What it trusts: the hashes of certificates' keys.
    trusted: String,
    session: String,
    /// The tab that the driver looks at.
    front: RefCell<String>,
}

/// A tab of it.
pub struct Tab<'a> {
    browser: &'a Browser,
    handle: String,
}

impl Browser {
    /// Starts one that nobody has used before, and that trusts the certificates of this gateway and no others.
    pub fn start(gateway: &Gateway) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let started = (0..DRIVERS).find_map(|_| driver(profile.path()));
        let (driver, driver_address) = started.expect("a driver finds a port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut browser = Self {
            _driver: driver,
            driver_address,
            runtime: runtime.expect("a runtime"),
            profile,
            gateway: gateway.address,
            trusted: keys_of(gateway.folder.path()).join(","),
            session: String::new(),
            front: RefCell::default(),
        };
        browser.begin();
        browser
    }

    fn begin(&mut self) {
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", self.profile.path().display()));
        arguments.push(format!("--ignore-certificate-errors-spki-list={}", self.trusted));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "timeouts": { "implicit": 0, "pageLoad": 30_000, "script": 30_000 },
        } } });
        let begun = self.send(Method::POST, "/session", &wanted).unwrap_or_else(|fault| panic!("{fault}"));
        self.session = begun["sessionId"].as_str().expect("a session").to_owned();
        *self.front.get_mut() = self.call(Method::GET, "window", &Value::Null).as_str().expect("a tab").to_owned();
    }

    fn end(&self) {
        for cookie in self.try_call(Method::GET, "cookie", &json!({})).iter().flat_map(Value::as_array).flatten() {
            if cookie["name"].as_str().is_some_and(|name| name.starts_with("__")) {
                note_secret(cookie["value"].as_str().unwrap_or_default());
            }
        }
        // As its person closes it, so that it writes down what it keeps.
        let _ = self.try_call(Method::DELETE, "", &Value::Null);
    }

    /// Closes it and starts it again with what it has kept.
    pub fn restart(&mut self) {
        self.end();
        self.begin();
    }

    /// The tab that it began with.
    pub fn tab(&self) -> Tab<'_> {
        Tab { browser: self, handle: self.handles().remove(0) }
    }

    fn handles(&self) -> Vec<String> {
        let handles = self.call(Method::GET, "window/handles", &Value::Null);
        handles.as_array().expect("a list").iter().map(|one| one.as_str().expect("a tab").to_owned()).collect()
    }

    /// Another tab.
    pub fn new_tab(&self) -> Tab<'_> {
        let made = self.call(Method::POST, "window/new", &json!({ "type": "tab" }));
        Tab { browser: self, handle: made["handle"].as_str().expect("a tab").to_owned() }
    }

    /// A file that its person may choose.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.profile.path().join(name);
        fs::write(&path, content).expect("written");
        path
    }

    /// The address of `target` at the gateway, by the name of `host`.
    pub fn url(&self, host: &str, target: &str) -> String {
        format!("https://{host}:{}{target}", self.gateway.port())
    }

    fn call(&self, method: Method, what: &str, body: &Value) -> Value {
        self.try_call(method.clone(), what, body).unwrap_or_else(|fault| panic!("{method} {what} {body}: {fault}"))
    }

    fn try_call(&self, method: Method, what: &str, body: &Value) -> Result<Value, Fault> {
        let path = format!("/session/{}/{what}", self.session);
        self.send(method, path.trim_end_matches('/'), body)
    }

    /// One request to the driver.
    fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Fault> {
        let body = if method == Method::POST { body.to_string() } else { String::new() };
        let request = Request::builder().method(method).uri(path).header(header::HOST, self.driver_address.to_string());
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let bounded = async { tokio::time::timeout(PATIENCE, exchange(self.driver_address, request)).await };
        let answer = self.runtime.block_on(bounded).map_err(|_| "too late".into()).flatten();
        let (status, value) =
            answer.map_err(|fault| Fault { error: "no answer".to_owned(), message: fault.to_string() })?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        if status.is_success() { Ok(value) } else { Err(Fault { error: text("error"), message: text("message") }) }
    }
}

/// Starts the driver, and says where it listens. None when it gives up: the port that it is given is free for IPv6, and it
/// wants the same one for IPv4, where another test may have it.
fn driver(home: &Path) -> Option<(Process, SocketAddr)> {
    let mut command = Command::new("chromedriver");
    // What it keeps for its user is kept in the profile too.
    command.arg("--port=0").env("HOME", home).stdin(Stdio::null());
    let driver = Process::start(&mut command);
    let mut port = None;
    patiently("the driver listens or gives up", || {
        let text = driver.stdout.text();
        let after = text.split_once("successfully on port ").map(|(_, after)| after);
        port = after.and_then(|after| after.split('.').next()?.parse::<u16>().ok());
        port.is_some() || text.contains("port not available")
    });
    port.map(|port| (driver, SocketAddr::from(([127, 0, 0, 1], port))))
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Value), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let mut answer: Value = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
    Ok((status, answer["value"].take()))
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// What the driver could not do.
#[derive(Debug)]
struct Fault {
    error: String,
    message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.error, self.message)
    }
}

/// A cookie as the browser keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub domain: String,
    pub path: String,
    pub is_secure: bool,
    pub is_http_only: bool,
    pub same_site: String,
    /// Whether it outlives the browser.
    pub is_persistent: bool,
}

impl<'a> Tab<'a> {
    fn call(&self, method: Method, what: &str, body: &Value) -> Value {
        self.try_call(method.clone(), what, body).unwrap_or_else(|fault| panic!("{method} {what} {body}: {fault}"))
    }

    fn try_call(&self, method: Method, what: &str, body: &Value) -> Result<Value, Fault> {
        if *self.browser.front.borrow() != self.handle {
            self.browser.try_call(Method::POST, "window", &json!({ "handle": self.handle }))?;
            self.handle.clone_into(&mut self.browser.front.borrow_mut());
        }
        self.browser.try_call(method, what, body)
    }

    /// Says something in Chromium's own words, for what WebDriver has none.
    fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.call(Method::POST, "goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Goes somewhere, as by the address bar: to a path of the gateway, or to a whole address.
    pub fn open(&self, target: &str) {
        let url = if target.starts_with('/') { self.browser.url("localhost", target) } else { target.to_owned() };
        self.call(Method::POST, "url", &json!({ "url": url }));
    }

    /// Goes somewhere in a new tab, and does not wait until anything is there.
    pub fn open_beside(&self, target: &str) -> Self {
        let before = self.browser.handles();
        self.run(&format!("window.open('{target}', '_blank', 'noopener')"));
        let mut handles = Vec::new();
        let is_there = || {
            handles = self.browser.handles();
            handles.len() > before.len()
        };
        patiently("there is another tab", is_there);
        let handle = handles.into_iter().find(|handle| !before.contains(handle)).expect("a new one");
        Self { browser: self.browser, handle }
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.call(Method::POST, "refresh", &json!({}));
    }

    /// Closes it.
    pub fn close(self) {
        self.call(Method::DELETE, "window", &Value::Null);
        self.browser.front.borrow_mut().clear();
    }

    /// Goes back to the page before.
    pub fn back(&self) {
        self.call(Method::POST, "back", &json!({}));
    }

    /// Where it is: the whole address.
    pub fn url(&self) -> String {
        self.call(Method::GET, "url", &Value::Null).as_str().expect("an address").to_owned()
    }

    /// Waits until it is at a path of the gateway, whose query may be anything when `path` has none.
    pub fn is_at(&self, path: &str) {
        let mut url = String::new();
        let is_there = || {
            url = self.url();
            let rest = url.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find('/')?..])).unwrap_or_default();
            rest == path || rest.split('?').next() == Some(path)
        };
        wait(&format!("the browser is at {path}"), is_there, || self.text());
    }

    /// What a person reads on the page.
    pub fn text(&self) -> String {
        let read = self.try_run("return document.body ? document.body.innerText : ''");
        read.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What a person reads in its first frame.
    pub fn text_of_frame(&self) -> String {
        self.in_frame(Self::text)
    }

    /// Does something in its first frame.
    pub fn in_frame<T>(&self, act: impl FnOnce(&Self) -> T) -> T {
        let enter = || self.try_call(Method::POST, "frame", &json!({ "id": 0 })).is_ok();
        wait("there is a frame", enter, || self.text());
        let done = act(self);
        // To the whole page: the frame may be gone by then.
        self.call(Method::POST, "frame", &json!({ "id": null }));
        done
    }

    /// Waits until the page says `words`.
    pub fn shows(&self, words: &str) {
        wait(&format!("the page says {words:?}"), || self.text().contains(words), || self.text());
    }

    /// Its title.
    pub fn title(&self) -> String {
        self.call(Method::GET, "title", &Value::Null).as_str().expect("a title").to_owned()
    }

    /// Runs a script in the page, and gives what it returns; what it promises is waited for.
    pub fn run(&self, script: &str) -> Value {
        self.try_run(script).unwrap_or_else(|fault| panic!("{script}: {fault}"))
    }

    fn try_run(&self, script: &str) -> Result<Value, Fault> {
        self.try_call(Method::POST, "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Does something to the first element that `path` leads to (XPath), once it is there.
    fn with(&self, path: &str, act: &str, body: &Value) -> Value {
        let mut done = Value::Null;
        let find = json!({ "using": "xpath", "value": path });
        let attempt = || {
            let outcome = self.try_call(Method::POST, "element", &find).and_then(|found| {
                let element = found[ELEMENT].as_str().expect("an element");
                let method = if body.is_null() { Method::GET } else { Method::POST };
                self.try_call(method, &format!("element/{element}/{act}"), body)
            });
            match outcome {
                Ok(value) => {
                    done = value;
                    true
                }
                Err(fault) if NOT_YET.contains(&&*fault.error) => false,
                Err(fault) => panic!("{path} {act}: {fault}"),
            }
        };
        wait(&format!("there is {path}"), attempt, || self.text());
        done
    }

    /// Writes into the field of that name, as by hand.
    pub fn fill(&self, name: &str, text: &str) {
        let field = format!("//*[@name='{name}']");
        self.with(&field, "clear", &json!({}));
        self.with(&field, "value", &json!({ "text": text }));
    }

    /// Chooses a file in the field of that name.
    pub fn choose_file(&self, name: &str, file: &Path) {
        self.with(&format!("//*[@name='{name}']"), "value", &json!({ "text": file }));
    }

    /// What is in the field of that name.
    pub fn field(&self, name: &str) -> String {
        self.with(&format!("//*[@name='{name}']"), "property/value", &Value::Null).as_str().expect("text").to_owned()
    }

    /// The name of the field that the cursor is in.
    pub fn cursor(&self) -> String {
        self.run("return document.activeElement.name || ''").as_str().expect("text").to_owned()
    }

    /// Types keys wherever the cursor is.
    pub fn press_key(&self, key: &str) {
        let keys: Vec<Value> = ["keyDown", "keyUp"].iter().map(|what| json!({ "type": what, "value": key })).collect();
        self.call(Method::POST, "actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] }));
    }

    /// Presses the first button, or follows the first link, with these words.
    pub fn press(&self, words: &str) {
        self.press_in("", words);
    }

    /// The same within the element that `path` leads to (XPath), where there are several.
    pub fn press_in(&self, path: &str, words: &str) {
        let words = format!("normalize-space()='{words}'");
        self.with(&format!("{path}//*[self::button or self::a][{words}]"), "click", &json!({}));
    }

    /// Ticks the box of that name, or takes the tick away.
    pub fn tick(&self, name: &str) {
        self.with(&format!("//input[@name='{name}' and @type='checkbox']"), "click", &json!({}));
    }

    /// Fills in the form for signing in, which must be shown, and sends it.
    pub fn sign_in(&self, (name, password): (&str, &str)) {
        self.fill("username", name);
        self.fill("password", password);
        self.press("Sign in");
    }

    /// What the browser keeps for this page.
    pub fn cookies(&self) -> Vec<Cookie> {
        let all = self.devtools("Network.getCookies", json!({}));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |cookie: &Value| Cookie {
            name: text(&cookie["name"]),
            value: text(&cookie["value"]),
            domain: text(&cookie["domain"]),
            path: text(&cookie["path"]),
            is_secure: cookie["secure"] == true,
            is_http_only: cookie["httpOnly"] == true,
            same_site: text(&cookie["sameSite"]),
            is_persistent: cookie["session"] == false,
        };
        all["cookies"].as_array().expect("a list").iter().map(one).collect()
    }

    /// The cookie of that name.
    pub fn cookie(&self, name: &str) -> Option<Cookie> {
        let found = self.cookies().into_iter().find(|cookie| cookie.name == name);
        found.inspect(|cookie| note_secret(&cookie.value))
    }

    /// Puts a cookie among those of the host of `url`, as its person can by hand and no script can.
    pub fn put_cookie(&self, url: &str, name: &str, value: &str) {
        let cookie = json!({
            "url": url, "name": name, "value": value, "path": "/", "secure": true, "httpOnly": true, "sameSite": "Lax",
        });
        assert_eq!(self.devtools("Network.setCookie", cookie)["success"], true, "the browser takes it");
    }

    /// Takes pictures of the page into `target/screenshots`: in the light, in the dark, and on a phone. Each time what
    /// can be told without eyes is looked at as well: `looks.js` finds what nobody could read or reach.
    pub fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        fs::create_dir_all(&folder).expect("a folder");
        let mut faults = Vec::new();
        for (look, scheme, width) in
            [("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", PHONE), ("phone-dark", "dark", PHONE)]
        {
            let is_phone = width == PHONE;
            let scale = if is_phone { 2 } else { 1 };
            self.devtools(
                "Emulation.setEmulatedMedia",
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
            );
            self.devtools(
                "Emulation.setDeviceMetricsOverride",
                json!({ "width": width, "height": 800, "deviceScaleFactor": scale, "mobile": is_phone }),
            );
            let seen = self.run(include_str!("looks.js"));
            faults.extend(seen.as_array().expect("a list").iter().map(|fault| format!("{name}, {look}: {fault}")));
            let size = self.devtools("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
            let taken = self.devtools(
                "Page.captureScreenshot",
                json!({ "captureBeyondViewport": true, "clip": {
                    "x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1,
                } }),
            );
            let picture = STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64");
            fs::write(folder.join(format!("{name}-{look}.png")), picture).expect("written");
        }
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [] }));
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

/// How wide a phone is that is held upright.
const PHONE: u32 = 390;

fn wait(what: &str, is_true: impl FnMut() -> bool, shown: impl Fn() -> String) {
    /// Says what the page shows when the wait is given up.
    struct Shown<F: Fn() -> String>(F);
    impl<F: Fn() -> String> Drop for Shown<F> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("--- the page ---\n{}", (self.0)());
            }
        }
    }
    let _shown = Shown(shown);
    patiently(what, is_true);
}

/// What `--ignore-certificate-errors-spki-list` names the certificates in a folder by.
fn keys_of(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let certificates = files.filter(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "crt"));
    let key = |path: PathBuf| {
        let certificate = CertificateDer::from_pem_file(&path).expect("a certificate");
        let parsed = webpki::EndEntityCert::try_from(&certificate).expect("a certificate");
        STANDARD.encode(Sha256::digest(parsed.subject_public_key_info()))
    };
    certificates.map(key).collect()
}
