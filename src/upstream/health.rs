//! Asking servers whether they are well, before anybody's request finds out.

use http::{HeaderValue, Request, header};

use crate::base::clock::Clock;
use crate::observe::metrics::{Metrics, OfServer};
use crate::upstream::group::Upstream;
use crate::upstream::own::{Purpose, own_request};
use crate::upstream::settings::{HealthSettings, ServerAddress};

/// Asks one server of an upstream now and then, for ever, and notes how it is: at once when the gateway starts. Comes back
/// at once when its upstream is not to be asked.
pub async fn watch(upstream: &Upstream, server: usize, clock: &Clock, metrics: &Metrics) {
    let (Some(health), Some(address)) = (&upstream.settings.health, upstream.settings.servers.get(server)) else {
        return;
    };
    let label = label(upstream, address);
    if upstream.is_watched(server) {
        // What failed may fail again at once, and must not go round without a pause.
        clock.sleep(health.every).await;
    }
    let (mut in_a_row, mut is_first) = (0, true);
    loop {
        let checked = check(upstream, server, health, address, clock).await;
        let fails = upstream.fails(server);
        in_a_row = if checked.is_err() == fails { 0 } else { in_a_row + 1 };
        let needed = if fails { health.healthy_after } else { health.unhealthy_after };
        if in_a_row >= needed {
            in_a_row = 0;
            upstream.set_checked(server, clock.now(), checked.as_ref().err().map(String::as_str));
            tell(upstream, &label, checked.as_ref().err());
        } else if std::mem::take(&mut is_first) && checked.is_ok() && !fails {
            upstream.set_checked(server, clock.now(), None);
        }
        if checked.is_err() {
            metrics.health_check_failures.get_or_create(&label).inc();
        }
        metrics.upstream_healthy.get_or_create(&label).set(i64::from(!upstream.fails(server)));
        clock.sleep(health.every).await;
    }
}

/// What the servers of an upstream are called where numbers are kept of them.
pub fn labels(upstream: &Upstream) -> impl Iterator<Item = OfServer> {
    upstream.settings.servers.iter().map(|address| label(upstream, address))
}

fn label(upstream: &Upstream, address: &ServerAddress) -> OfServer {
    OfServer { upstream: upstream.settings.name.to_string(), server: address.to_string() }
}

/// Tells that a server fails its checks from now on, for this reason, or no longer.
fn tell(upstream: &Upstream, label: &OfServer, reason: Option<&String>) {
    let OfServer { upstream: name, server } = label;
    match reason {
        None => tracing::info!("{name}: {server}: passes its health check again"),
        Some(reason) if upstream.all_fail() => {
            tracing::warn!(
                "{name}: {server}: fails its health check, and is asked all the same: none is well: {reason}"
            );
        }
        Some(reason) => tracing::warn!("{name}: {server}: fails its health check, and is passed over: {reason}"),
    }
}

/// Asks once. Well is who answers with a success or a redirect.
///
/// # Errors
/// In words, why the server is not well.
async fn check(
    upstream: &Upstream,
    server: usize,
    health: &HealthSettings,
    address: &ServerAddress,
    clock: &Clock,
) -> Result<(), String> {
    let host = match (&health.host, address) {
        (Some(host), _) => Ok(host.clone()),
        (None, ServerAddress::Tcp(address) | ServerAddress::Tls(address)) => HeaderValue::from_str(address),
        (None, ServerAddress::Unix(_)) => Ok(HeaderValue::from_static("localhost")),
    };
    let host = host.map_err(|error| error.to_string())?;
    let request = Request::get(health.path.clone()).header(header::HOST, host).body(());
    let (parts, ()) = request.map_err(|error| error.to_string())?.into_parts();
    let answered = own_request(Purpose::HealthCheck, upstream, server, parts, clock, health.timeout);
    let status = answered.await.map_err(|failed| failed.to_string())?;
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("it answers {status}")) }
}
