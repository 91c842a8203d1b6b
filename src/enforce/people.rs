//! Sessions follow the users file: when somebody is taken out of it, is disabled or has another password, their sessions
//! end; when they are given other roles or groups or another address, their sessions have these at once.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use crate::base::clock::Timestamp;
use crate::enforce::shared::Shared;
use crate::enforce::tenant::Tenant;
use crate::login::users::{User, Users};
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Owner, Person};
use crate::session::store::StoreError;

/// How many people are attended to at once: what the store writes for them is then written together.
const AT_ONCE: usize = 64;

/// What a change of users came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// How many sessions ended.
    pub ended: usize,
    /// How many have other rights.
    pub changed: usize,
    /// Of how many people it is not sure, because the store failed.
    pub failed: usize,
}

/// Makes every session one that the users of its tenant allow, as they are in the snapshot that is in force.
///
/// # Errors
/// When the store cannot say who has sessions.
pub async fn follow(shared: &Shared, at: Timestamp) -> Result<Followed, StoreError> {
    let people = shared.asked("users", shared.store.users()).await?;
    Ok(follow_these(shared, people, at).await)
}

/// The same for the sessions of some alone.
pub async fn follow_these(shared: &Shared, people: Vec<Person>, at: Timestamp) -> Followed {
    let now = &shared.snapshot.load_full();
    let done = stream::iter(people).map(|person: Person| async move {
        let fate = fate(now.tenant_named(person.tenant), &person.name);
        follow_one(shared, person, &fate, at).await
    });
    let all = done.buffer_unordered(AT_ONCE).fold(Followed::default(), |sum, one| async move {
        match one {
            Ok(one) => Followed {
                ended: sum.ended + one.ended,
                changed: sum.changed + one.changed,
                failed: sum.failed + one.failed,
            },
            Err(_) => Followed { failed: sum.failed + 1, ..sum },
        }
    });
    all.await
}

/// Makes a session that has just begun one that the users of this moment allow: whoever signed in may have been looked up
/// among those of the moment before.
///
/// # Errors
/// When the store fails.
pub async fn catch_up(shared: &Shared, began_with: &Tenant, live: &Arc<Live>) -> Result<(), StoreError> {
    let newest = shared.snapshot.load_full();
    let tenant = newest.tenant_named(began_with.id);
    let is_same = match (&began_with.users, tenant.map(|tenant| &tenant.users)) {
        (Some(before), Some(Some(now))) => Arc::ptr_eq(before, now),
        (None, Some(None)) => true,
        (Some(_), Some(None)) | (None, Some(Some(_))) | (_, None) => false,
    };
    let Some(principal) = live.principal().filter(|_| !is_same) else { return Ok(()) };
    let fate = fate(tenant, &principal.user);
    apply(shared, live, &fate, shared.clock.now()).await.map(drop)
}

/// What becomes of somebody's sessions, those aside that were begun with another password.
enum Fate {
    End(EndReason),
    Have(Arc<Principal>),
}

fn fate(tenant: Option<&Tenant>, name: &str) -> Fate {
    // Their account may be as good as ever, should the tenant come back: it is the operator who has ended this.
    let Some(tenant) = tenant else { return Fate::End(EndReason::Revoked) };
    let users: Option<&Users> = tenant.users.as_deref();
    match users.and_then(|users| users.get(name)).filter(|user: &&User| !user.disabled) {
        None => Fate::End(EndReason::AccountDisabled),
        Some(now) => Fate::Have(Arc::new(now.principal())),
    }
}

async fn follow_one(shared: &Shared, person: Person, fate: &Fate, at: Timestamp) -> Result<Followed, StoreError> {
    let mut all = Followed::default();
    for live in shared.asked("list", shared.store.list(Owner::User(person))).await? {
        // One that could not be written down holds here all the same, and so must those behind it.
        all = match apply(shared, &live, fate, at).await {
            Ok(one) => Followed { ended: all.ended + one.ended, changed: all.changed + one.changed, ..all },
            Err(_) => Followed { failed: all.failed + 1, ..all },
        };
    }
    Ok(all)
}

async fn apply(shared: &Shared, live: &Arc<Live>, fate: &Fate, at: Timestamp) -> Result<Followed, StoreError> {
    let end = async |reason| {
        let ended = shared.end_session(live.handle(), reason, None, at).await?;
        Ok(Followed { ended: usize::from(ended), ..Followed::default() })
    };
    let principal = match fate {
        Fate::End(reason) => return end(*reason).await,
        Fate::Have(principal) => principal,
    };
    if live.principal() == Some(principal) {
        return Ok(Followed::default());
    }
    if live.principal().is_some_and(|began| began.password.differs(principal.password)) {
        return end(EndReason::PasswordChanged).await;
    }
    let change = shared.store.change_principal(live.handle(), Arc::clone(principal), live.version());
    let is_changed = shared.asked("change_principal", change).await;
    // Also where it could not be written down: it holds here.
    shared.leases.end(live.handle());
    if is_changed? {
        let handle = live.handle();
        let user = Some(&*principal.user);
        let tenant = live.tenant().told();
        let fields = AuditFields { session: Some(&handle), user, tenant, ..AuditFields::default() };
        shared.audit(AuditEvent::SessionChanged, fields);
        return Ok(Followed { changed: 1, ..Followed::default() });
    }
    if live.principal() == Some(principal) || live.ended().is_some() {
        return Ok(Followed::default());
    }
    // It was changed as often as it can be, and must not keep rights that its person has no more.
    end(EndReason::Revoked).await
}
