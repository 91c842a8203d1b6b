//! A browser as far as a session needs one: a connection by HTTP/1.1 or HTTP/2, a jar of cookies, and the headers by
//! which browsers say whether somebody goes somewhere or a page fetches something.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::cases::USER_AGENT;
use crate::client;
use crate::content::Generated;
use crate::soak::visitor::Visits;

/// Longest wait for anything: whoever waits that long has been denied service.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest page that is read.
const MAX_PAGE: usize = 64 * 1024;

/// What goes up with a request: a form or nothing, or a file.
pub(super) type Content = Either<Full<Bytes>, Generated>;

/// Why something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sake {
    /// Somebody goes there.
    Navigation,
    /// A page fetches it.
    Page,
}

enum Link {
    Http1(http1::SendRequest<Content>),
    Http2(http2::SendRequest<Content>),
}

/// One of them.
pub(super) struct Browser {
    visits: Arc<Visits>,
    from: Ipv4Addr,
    is_http2: bool,
    link: Option<Link>,
    /// The cookies that were set, by their names.
    pub(super) cookies: BTreeMap<String, String>,
}

/// No content.
pub(super) fn nothing() -> Content {
    Either::Left(Full::default())
}

/// What is done in time.
pub(super) async fn patiently<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(format!("nothing came of it within {PATIENCE:?}")))
}

impl Browser {
    /// One without cookies, which connects when it must.
    pub(super) const fn new(visits: Arc<Visits>, from: Ipv4Addr, is_http2: bool) -> Self {
        Self { visits, from, is_http2, link: None, cookies: BTreeMap::new() }
    }

    /// Another one at the same place that has this `Cookie:` header's value.
    pub(super) fn beside(&self, cookie: &str) -> Self {
        let mut other = Self::new(Arc::clone(&self.visits), self.from, false);
        other.cookies = cookie.split("; ").filter_map(pair).collect();
        other
    }

    /// The value of its `Cookie:` header.
    pub(super) fn cookie(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    /// Asks, and takes the cookies of the answer.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        sake: Sake,
        content: Content,
    ) -> Result<Response<Incoming>, String> {
        let what = format!("{method} {path}");
        let response = patiently(self.send(method, path, sake, content)).await;
        let response = response.map_err(|error| format!("{what}: {error}"))?;
        self.take_cookies(response.headers());
        Ok(response)
    }

    /// Goes to a page, and reads what there is.
    pub(super) async fn page(&mut self, path: &str) -> Result<(StatusCode, HeaderMap, String), String> {
        let response = self.ask(Method::GET, path, Sake::Navigation, nothing()).await?;
        read(response).await.map_err(|error| format!("GET {path}: {error}"))
    }

    /// Posts a form, and reads what comes of it.
    pub(super) async fn post(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<(StatusCode, HeaderMap, String), String> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let response = self.ask(Method::POST, path, Sake::Navigation, Either::Left(Full::from(form))).await?;
        read(response).await.map_err(|error| format!("POST {path}: {error}"))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        sake: Sake,
        content: Content,
    ) -> Result<Response<Incoming>, String> {
        let said = |error: hyper::Error| format!("{error:?}");
        let host = self.visits.to.to_string();
        let (mode, destination) = match sake {
            Sake::Navigation => ("navigate", "document"),
            Sake::Page => ("cors", "empty"),
        };
        let uri = if self.is_http2 { format!("https://{host}{path}") } else { path.to_owned() };
        let mut request = Request::builder()
            .uri(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "text/html,*/*")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", destination);
        if !self.is_http2 {
            request = request.header(header::HOST, &host);
        }
        if !self.cookies.is_empty() {
            request = request.header(header::COOKIE, self.cookie());
        }
        if method == Method::POST {
            request = request.header(header::ORIGIN, format!("https://{host}"));
            if sake == Sake::Navigation {
                request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            }
        }
        let request = request.method(method).body(content).map_err(|error| error.to_string())?;
        self.visits.tally.asked();
        match self.link().await? {
            Link::Http1(link) => link.send_request(request).await.map_err(said),
            Link::Http2(link) => link.send_request(request).await.map_err(said),
        }
    }

    /// The connection; a new one if there is none, or if its other end has closed it since the last request.
    async fn link(&mut self) -> Result<&mut Link, String> {
        let is_open = match &mut self.link {
            None => false,
            Some(Link::Http1(link)) => link.ready().await.is_ok(),
            Some(Link::Http2(link)) => link.ready().await.is_ok(),
        };
        let old = self.link.take().filter(|_| is_open);
        let link = match old {
            Some(link) => link,
            None => self.connect().await?,
        };
        Ok(self.link.insert(link))
    }

    async fn connect(&self) -> Result<Link, String> {
        let said = |error: hyper::Error| format!("{error:?}");
        let config = if self.is_http2 { &self.visits.http2 } else { &self.visits.http1 };
        let io = TokioIo::new(client::connect(config, self.visits.to, self.from).await?);
        // What ends a connection is told to whoever asks for something on it.
        if self.is_http2 {
            let (link, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(said)?;
            tokio::spawn(connection);
            Ok(Link::Http2(link))
        } else {
            let (link, connection) = http1::handshake(io).await.map_err(said)?;
            tokio::spawn(connection);
            Ok(Link::Http1(link))
        }
    }

    fn take_cookies(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(header::SET_COOKIE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let Some((name, value)) = text.split(';').next().and_then(pair) else { continue };
            if text.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.remove(&name);
            } else {
                self.cookies.insert(name, value);
            }
        }
    }
}

fn pair(text: &str) -> Option<(String, String)> {
    text.trim().split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Reads an answer whole.
pub(super) async fn read(response: Response<Incoming>) -> Result<(StatusCode, HeaderMap, String), String> {
    let (parts, body) = response.into_parts();
    let body = patiently(async { Limited::new(body, MAX_PAGE).collect().await.map_err(|error| error.to_string()) });
    let text = String::from_utf8_lossy(&body.await?.to_bytes()).into_owned();
    Ok((parts.status, parts.headers, text))
}
