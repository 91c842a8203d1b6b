//! A TLS client: HTTP/1.1 and HTTP/2 through hyper, and raw bytes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::USER_AGENT;

/// How long anything may take, in real time, before a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Which HTTP a request is sent by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    H1,
    H2,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// A header's value, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// All `Set-Cookie` values.
    pub fn set_cookies(&self) -> Vec<String> {
        let values = self.headers.get_all(header::SET_COOKIE).iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect()
    }
}

/// A client with a cookie jar. Each request has a connection of its own.
pub struct Client {
    address: SocketAddr,
    runtime: Runtime,
    /// The jar: by name, for one host.
    pub jar: RefCell<BTreeMap<String, String>>,
    /// Which HTTP it speaks.
    pub version: Version,
    /// The host it asks for.
    pub host: String,
    /// The host it names in the handshake, if it names one.
    pub sni: String,
    /// Its user agent.
    pub user_agent: String,
    /// How it shakes hands each time, if not as any client, and never as one that was here before.
    pub tls: Option<ClientConfig>,
    /// How the last handshake came about.
    pub handshake: Cell<Option<HandshakeKind>>,
    /// What it sends before TLS begins: nothing, unless it plays a proxy.
    pub before: Vec<u8>,
}

/// A request before it is sent.
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    has_jar: bool,
    says_origin: bool,
}

impl Client {
    /// A client of the gateway at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self {
            address,
            runtime: runtime.expect("a runtime"),
            jar: RefCell::default(),
            version: Version::H1,
            host: "localhost".to_owned(),
            sni: "localhost".to_owned(),
            user_agent: USER_AGENT.to_owned(),
            tls: None,
            handshake: Cell::default(),
            before: Vec::new(),
        }
    }

    /// The same client, speaking another HTTP.
    pub fn speaking(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The host with its port, as a browser would write it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.address.port())
    }

    /// A request with any method. One that may change something comes from a page of this host, as a browser says of it,
    /// unless the test says from where.
    pub fn request(&self, method: Method, target: &str) -> Request<'_> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_str(&self.user_agent).expect("a header"));
        Request {
            client: self,
            method,
            target: target.to_owned(),
            headers,
            body: Bytes::new(),
            has_jar: true,
            says_origin: true,
        }
    }

    /// A GET.
    pub fn get(&self, target: &str) -> Request<'_> {
        self.request(Method::GET, target)
    }

    /// A GET as a browser makes it when its person follows a link.
    pub fn visit(&self, target: &str) -> Request<'_> {
        self.get(target).navigating()
    }

    /// A form, posted by its person from a page of this host.
    pub fn post_form(&self, target: &str, fields: &[(&str, &str)]) -> Request<'_> {
        super::secrets::note_form(fields);
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let origin = format!("https://{}", self.authority());
        self.request(Method::POST, target)
            .navigating()
            .header("origin", &origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Goes to `target`, is led to the login page, signs in, and gives the answer to the form.
    pub fn sign_in(&self, (name, password): (&str, &str), target: &str) -> Answer {
        let led = self.visit(target).send();
        assert_eq!(led.status, 302, "{target} asks for login: {}", led.text());
        self.sign_in_at(led.header("location"), (name, password))
    }

    /// Signs in at an address of the login page, and gives the answer to the form.
    pub fn sign_in_at(&self, address: &str, (name, password): (&str, &str)) -> Answer {
        let page = self.visit(address).send();
        assert_eq!(page.status, 200, "{}", page.text());
        let fields = [("username", name), ("password", password), ("attempt", &hidden(&page, "attempt"))];
        self.post_form("/.vestibule/login", &fields).send()
    }

    /// The session cookie's value, empty when there is none.
    pub fn session(&self) -> String {
        self.jar.borrow().get("__Host-session").cloned().unwrap_or_default()
    }

    /// What it sends in `Cookie`.
    pub fn cookies(&self) -> String {
        self.jar.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Puts a session cookie into the jar.
    pub fn set_session(&self, value: &str) {
        self.jar.borrow_mut().insert("__Host-session".to_owned(), value.to_owned());
    }

    /// A TLS connection for raw bytes, HTTP/1.1 by ALPN.
    pub fn connect_raw(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let tcp = TcpStream::connect(self.address).expect("connected");
        tcp.set_read_timeout(Some(PATIENCE)).expect("set");
        tcp.set_nodelay(true).expect("set");
        let name = ServerName::try_from(self.sni.clone()).expect("a name");
        let tls = ClientConnection::new(self.tls_config(&[b"http/1.1"]), name).expect("a connection");
        StreamOwned::new(tls, tcp)
    }

    /// Sends raw bytes and reads until the gateway closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect_raw();
        let _ = stream.write_all(bytes);
        let _ = stream.flush();
        let mut read = Vec::new();
        // A connection that is cut without a closing alert is closed all the same.
        let _ = stream.read_to_end(&mut read);
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Sends several requests at once, as streams of one HTTP/2 connection. The answers come in the same order.
    pub fn together(&self, requests: Vec<Request<'_>>) -> Vec<Answer> {
        let answers = self.runtime.block_on(async {
            let all = async {
                let tls = self.connect(Version::H2).await;
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("HTTP/2");
                tokio::spawn(connection);
                let one = |request: Request<'_>| {
                    let (mut sender, request) = (sender.clone(), request.build(Version::H2));
                    async move { whole(sender.send_request(request).await.expect("an answer")).await }
                };
                futures_util::future::join_all(requests.into_iter().map(one)).await
            };
            tokio::time::timeout(PATIENCE, all).await.expect("all answers in time")
        });
        answers.iter().for_each(|answer| self.keep_cookies(answer));
        answers
    }

    fn tls_config(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let new = || tls_config(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS);
        let mut config = self.tls.clone().unwrap_or_else(new);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// A TLS connection for this version of HTTP.
    pub async fn connect(&self, version: Version) -> TlsStream<tokio::net::TcpStream> {
        let protocols: &[&[u8]] = if version == Version::H2 { &[b"h2"] } else { &[b"http/1.1"] };
        let mut tcp = tokio::net::TcpStream::connect(self.address).await.expect("connected");
        tcp.set_nodelay(true).expect("set");
        tcp.write_all(&self.before).await.expect("sent");
        let name = ServerName::try_from(self.sni.clone()).expect("a name");
        let tls = TlsConnector::from(self.tls_config(protocols)).connect(name, tcp).await.expect("a handshake");
        self.handshake.set(tls.get_ref().1.handshake_kind());
        tls
    }

    fn keep_cookies(&self, answer: &Answer) {
        for cookie in answer.set_cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((&cookie, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            if name.starts_with("__Host-") || name.starts_with("__Secure-") {
                super::note_secret(value);
            }
            let mut jar = self.jar.borrow_mut();
            if attributes.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

async fn whole(response: http::Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// The value of a hidden field.
pub fn hidden(page: &Answer, name: &str) -> String {
    let text = page.text();
    let marker = format!("name=\"{name}\" value=\"");
    let (_, after) = text.split_once(&marker).unwrap_or_else(|| panic!("no field {name} in {text}"));
    after.split('"').next().expect("a value").to_owned()
}

impl<'a> Request<'a> {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        self
    }

    /// Takes a header away.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// As a browser says that its person is going somewhere.
    pub fn navigating(mut self) -> Self {
        for (name, value) in [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-site", "same-origin"),
            ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ] {
            self.headers.insert(name, HeaderValue::from_static(value));
        }
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Without the jar's cookies.
    pub fn without_cookies(mut self) -> Self {
        self.has_jar = false;
        self
    }

    /// As no browser does that may change something: without a word on where it is from.
    pub fn without_origin(mut self) -> Self {
        self.says_origin = false;
        self
    }

    /// Sends it and reads the whole answer.
    pub fn send(self) -> Answer {
        let client = self.client;
        let answer = client.runtime.block_on(async {
            let whole = async { whole(self.start().await.expect("an answer")).await };
            tokio::time::timeout(PATIENCE, whole).await.expect("an answer in time")
        });
        client.keep_cookies(&answer);
        answer
    }

    /// Sends it and gives the head of the answer, with a reader of its body.
    pub fn open(self) -> (Answer, Stream<'a>) {
        self.try_open().expect("an answer")
    }

    /// The same, when there need not be an answer.
    pub fn try_open(self) -> Result<(Answer, Stream<'a>), hyper::Error> {
        let client = self.client;
        let response = client
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, self.start()).await.expect("an answer in time") })?;
        let (parts, body) = response.into_parts();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body: Bytes::new() };
        client.keep_cookies(&answer);
        Ok((answer, Stream { client: &client.runtime, body }))
    }

    async fn start(self) -> Result<http::Response<Incoming>, hyper::Error> {
        let (client, version) = (self.client, self.client.version);
        let tls = client.connect(version).await;
        let request = self.build(version);
        if version == Version::H2 {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("HTTP/2");
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            sender.send_request(request).await
        }
    }

    fn build(self, version: Version) -> http::Request<Full<Bytes>> {
        let client = self.client;
        let (target, authority) = (self.target, client.authority());
        let is_h2 = version == Version::H2;
        let uri = if is_h2 { format!("https://{authority}{target}") } else { target };
        let mut request = http::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri.parse().expect("a target");
        *request.headers_mut() = self.headers;
        if !is_h2 && !request.headers().contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, authority.parse().expect("a host"));
        }
        let is_unsafe = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        let says = |name: &&str| request.headers().contains_key(*name);
        if self.says_origin && is_unsafe && !["sec-fetch-site", "origin", "referer"].iter().any(says) {
            let origin = format!("https://{authority}");
            request.headers_mut().insert(header::ORIGIN, origin.parse().expect("an origin"));
        }
        let cookies = client.cookies();
        if self.has_jar && !cookies.is_empty() {
            request.headers_mut().append(header::COOKIE, cookies.parse().expect("a header"));
        }
        request
    }
}

/// The body of an answer, piece by piece.
pub struct Stream<'a> {
    client: &'a Runtime,
    body: Incoming,
}

impl Stream<'_> {
    /// The next piece: `Some(Ok)` data, `Some(Err)` when the stream is cut, `None` at its end.
    pub fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        self.client.block_on(async {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a piece in time")?;
            Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
        })
    }
}

/// Asks for `/public` twice, the second time with what the first was given to take up where it had been, and says what kind
/// of handshake the client saw each time.
pub fn ask_twice(address: SocketAddr) -> [Option<rustls::HandshakeKind>; 2] {
    let config = Arc::new(tls_config(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS));
    [(); 2].map(|()| {
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&config), name).expect("a connection");
        let socket = TcpStream::connect(address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stream.conn.handshake_kind()
    })
}

/// How a client shakes hands that can do this much in TLS.
pub fn tls_config(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    tls_config_noting(Arc::default(), provider, versions)
}

/// The same, which notes the OCSP response that comes with the certificate.
pub(super) fn tls_config_noting(
    stapled: Arc<Mutex<Vec<u8>>>,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { stapled }))
        .with_no_client_auth()
}

/// The tests' certificates are made on the spot and signed by nobody.
#[derive(Debug)]
struct AnyCertificate {
    stapled: Arc<Mutex<Vec<u8>>>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.stapled.lock().expect("a note") = stapled.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
