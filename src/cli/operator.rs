//! Talking to a running gateway as its operator: where it listens, and one request after another.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::future::{Either, select};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};

use crate::admin::listen::Place;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::AdminPlan;
use crate::reader::secret_of;

/// How long it may take until something is done. To end a hundred thousand sessions one by one on a disk takes a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long it may take to be told something, of which a gateway under load makes a page in milliseconds: whoever asks how
/// it is wants to hear soon that it does not answer.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: a users file of 16 MiB, as JSON.
const MOST_READ: usize = 64 << 20;

/// Which gateway is meant.
#[derive(Debug, Args)]
pub(super) struct Gateway {
    /// The gateway's configuration file, whose [admin] says where it listens
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
    /// Where it listens, instead: unix:/run/vestibule.sock or 127.0.0.1:9902
    #[arg(long, value_name = "PLACE")]
    admin: Option<String>,
    /// With an address as --admin: where its token is, file:PATH or env:NAME
    #[arg(long, value_name = "WHERE", requires = "admin")]
    token: Option<String>,
}

/// A gateway that can be asked.
pub(super) struct Operator {
    place: Place,
    runtime: Runtime,
}

/// What it said.
pub(super) struct Answer {
    /// How it went.
    pub(super) status: StatusCode,
    /// Where more of the same is.
    pub(super) next: Option<String>,
    /// What was asked for.
    pub(super) body: Value,
}

impl Answer {
    /// The answer, if it went well.
    ///
    /// # Errors
    /// A text for the terminal: what the gateway says.
    pub(super) fn good(self) -> Result<Self, String> {
        if self.status.is_success() {
            return Ok(self);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            return Err(
                "the token is not the gateway's; give the one of its [admin], with --token file:PATH or --token \
                        env:NAME, or with --config and the file that it was started with"
                    .to_owned(),
            );
        }
        Err(match self.body.get("error").and_then(Value::as_str) {
            Some(error) => error.to_owned(),
            None => format!("the gateway answers {}", self.status),
        })
    }
}

impl Gateway {
    /// Its configuration file.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Finds out where it is.
    ///
    /// # Errors
    /// A text for the terminal.
    pub(super) fn find(&self) -> Result<Operator, String> {
        let place = match &self.admin {
            Some(written) => place(written, self.token.as_deref())?,
            None => configured(&self.config)?,
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Operator { place, runtime: runtime.map_err(|error| format!("cannot wait for an answer: {error}"))? })
    }
}

fn configured(config: &Path) -> Result<Place, String> {
    let plan = AdminPlan::load(config).map_err(|mistakes| mistakes.to_string())?;
    plan.listen.ok_or_else(|| {
        let config = config.display();
        format!("{config} has no \"listen\" in [admin], so this gateway does not listen to its operator; add one, like listen = \"unix:/run/vestibule.sock\", and restart it")
    })
}

fn place(written: &str, token: Option<&str>) -> Result<Place, String> {
    if let Some(path) = written.strip_prefix("unix:") {
        return match token {
            None => Ok(Place::Unix(path.into())),
            Some(_) => Err("a Unix socket asks for no --token".to_owned()),
        };
    }
    let wrong =
        || format!("\"{written}\" is no place; write --admin unix:/run/vestibule.sock or --admin 127.0.0.1:9902");
    let numeric = written.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = numeric.as_deref().unwrap_or(written).parse().map_err(|_| wrong())?;
    if !address.ip().to_canonical().is_loopback() {
        return Err(format!(
            "{address} is on another machine, and the token would be sent to it in the clear; come to it by SSH"
        ));
    }
    let token = token.ok_or("an address asks for a token; write where it is: --token file:PATH or --token env:NAME")?;
    let token = secret_of(token, Path::new("."))?;
    Ok(Place::Tcp { address, token, hosts: Vec::new() })
}

impl Operator {
    /// Asks for something, and gives what came back when it went well.
    ///
    /// # Errors
    /// A text for the terminal: why there is no answer, or what the gateway says.
    pub(super) fn ask(&self, method: Method, target: &str) -> Result<Answer, String> {
        self.ask_for(method, target)?.good()
    }

    /// Asks for something, and gives what came back, however it went.
    ///
    /// # Errors
    /// A text for the terminal: why there is no answer.
    pub(super) fn ask_for(&self, method: Method, target: &str) -> Result<Answer, String> {
        let patience = if method == Method::GET { LOOK_PATIENCE } else { PATIENCE };
        self.ask_within(patience, method, target)
    }

    fn ask_within(&self, patience: Duration, method: Method, target: &str) -> Result<Answer, String> {
        self.runtime.block_on(async {
            match select(Box::pin(self.answer(method, target)), Box::pin(Clock::System.sleep(patience))).await {
                Either::Left((answer, _)) => answer,
                Either::Right(((), _)) => Err(format!(
                    "a gateway is there at {}, and has not answered in {} s: it stands still, or is very slow. See what \
                     its process does and what its log says; a restart helps where it has been stopped",
                    self.shown(),
                    patience.as_secs_f64()
                )),
            }
        })
    }

    /// Where the gateway is.
    fn shown(&self) -> String {
        match &self.place {
            Place::Unix(path) => format!("unix:{}", path.display()),
            Place::Tcp { address, .. } => address.to_string(),
        }
    }

    async fn answer(&self, method: Method, target: &str) -> Result<Answer, String> {
        let (host, token) = match &self.place {
            Place::Unix(_) => ("localhost".to_owned(), None),
            Place::Tcp { address, token, .. } => (host_of(*address), Some(token)),
        };
        let shown = self.shown();
        let failed = |error: std::io::Error| no_connection(&shown, &error);
        let request = request(method, target, &host, token)?;
        match &self.place {
            Place::Unix(path) => exchange(UnixStream::connect(path).await.map_err(failed)?, request).await,
            Place::Tcp { address, .. } => exchange(TcpStream::connect(address).await.map_err(failed)?, request).await,
        }
        .map_err(|error| format!("{shown}: {error}"))
    }
}

fn host_of(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(_) => address.to_string(),
        // Without the number of a link.
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}

fn request(
    method: Method,
    target: &str,
    host: &str,
    token: Option<&Secret<String>>,
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder().method(method).uri(target).header(header::HOST, host);
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
        let mut value = value.map_err(|_| "the token has characters that cannot be sent in a header")?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Empty::new()).map_err(|error| error.to_string())
}

/// Sends a request on a connection of its own, and reads the answer.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("no answer that could be read: {error}");
    let (mut sending, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let answer = sending.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let link = answer.headers().get(header::LINK).and_then(|link| link.to_str().ok());
    let next =
        link.and_then(|link| link.strip_prefix('<')?.split_once(">; rel=\"next\"")).map(|(next, _)| next.to_owned());
    let body = Limited::new(answer.into_body(), MOST_READ).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
    connection.abort();
    let body = serde_json::from_slice(&body).map_err(|_| format!("it answers {status}, and not as a gateway does"))?;
    Ok(Answer { status, next, body })
}

fn no_connection(shown: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let kind = error.kind();
    if kind == PermissionDenied {
        format!("{shown} is open to its owner alone; run this as the user that the gateway runs as")
    } else if kind == ConnectionRefused || kind == NotFound {
        format!("no gateway answers at {shown}; is it running?")
    } else {
        format!("{shown}: {error}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_does_not_answer_is_given_up_soon_and_told_as_what_it_is() {
        assert!(LOOK_PATIENCE <= Duration::from_secs(10));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        // As after SIGSTOP: the system takes the connection, and nobody reads from it.
        let _listener = UnixListener::bind(&path).expect("a socket");
        let gateway = Gateway {
            config: PathBuf::from("gateway.toml"),
            admin: Some(format!("unix:{}", path.display())),
            token: None,
        };
        let operator = gateway.find().expect("a place");
        let said = operator.ask_within(Duration::from_millis(1), Method::GET, "/status").err().expect("no answer");
        assert!(said.contains("a gateway is there at unix:") && said.contains("has not answered in 0.001 s"), "{said}");
    }
}
