//! A person's sessions, as they are told of them.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::enforce::pages::SessionRow;
use crate::enforce::refusal::Refusal;
use crate::portal::Visit;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::record::Owner;

/// The most that are listed: a page that can be looked through. Those used last come first.
pub(super) const MOST: usize = 100;

/// What is listed.
pub(super) struct Listed {
    /// The sessions, the one of this browser first.
    pub(super) rows: Vec<SessionRow>,
    /// How many more there are.
    pub(super) left_out: usize,
}

/// An owner's sessions that last, also by their limits, the one of this browser first, then those used last.
pub(super) async fn lasting(
    visit: &Visit<'_>,
    owner: &Owner,
    this: Option<SessionHandle>,
    now: Timestamp,
) -> Result<Vec<Arc<Live>>, Refusal> {
    let (store, lifetimes) = (&visit.shared.store, &visit.tenant.rules.lifetimes);
    let mut all = visit.shared.asked("list", store.list(owner.clone())).await.map_err(|_| Refusal::Store)?;
    all.retain(|live| lifetimes.ends(live, now).is_none());
    all.sort_by_cached_key(|live| {
        let unused = now.since(live.active_at());
        (this != Some(live.handle()), unused, now.since(live.authenticated_at()), live.handle())
    });
    Ok(all)
}

/// The same, for a page.
pub(super) async fn of_owner(
    visit: &Visit<'_>,
    owner: &Owner,
    this: Option<SessionHandle>,
    now: Timestamp,
) -> Result<Listed, Refusal> {
    let all = lasting(visit, owner, this, now).await?;
    let rows = all.iter().take(MOST).map(|live| row(live, this, now)).collect();
    Ok(Listed { rows, left_out: all.len().saturating_sub(MOST) })
}

fn row(live: &Live, this: Option<SessionHandle>, now: Timestamp) -> SessionRow {
    let view = live.view();
    let device = live.device().to_string();
    let first_large = device.chars().take(1).flat_map(char::to_uppercase).chain(device.chars().skip(1));
    SessionRow {
        handle: view.handle.to_string(),
        device: first_large.collect(),
        address: view.bound.address.to_string(),
        signed_in: ago(now.since(view.authenticated_at)),
        signed_in_at: view.authenticated_at.to_string(),
        last_used: ago(now.since(view.active_at)),
        last_used_at: view.active_at.to_string(),
        is_this: this == Some(view.handle),
    }
}

/// How long ago, as people say it: their time of day is not known here.
fn ago(span: Duration) -> String {
    let (count, unit) = match span.as_secs() {
        0..60 => return "just now".to_owned(),
        seconds @ 60..3600 => (seconds / 60, "minute"),
        seconds @ 3600..86_400 => (seconds / 3600, "hour"),
        seconds @ 86_400.. => (seconds / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit} ago") } else { format!("{count} {unit}s ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, words) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (30 * 86_400, "30 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), words);
        }
    }
}
