//! What follows once somebody's password was right: their session; or, where they have as many as they may have, the word
//! that they do, or the choice of which one ends for it.

use http::{Response, StatusCode};

use crate::base::deadline::Deadline;
use crate::enforce::authorize::AnswerCookies;
use crate::enforce::body::{AnswerBody, ClientBody};
use crate::enforce::establish::{self, Chosen, Place, SignedIn};
use crate::enforce::lookup::current_session;
use crate::enforce::pages::ChoicePage;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, is_for_person};
use crate::enforce::snapshot::PREFIX;
use crate::login::attempt::{Browser, Choice, Return};
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::portal::listing::{Listed, of_owner};
use crate::portal::{Visit, form, login, parked};
use crate::session::concurrency::WhenFull;
use crate::session::handle::SessionHandle;
use crate::session::principal::{PasswordStamp, Principal};
use crate::session::record::Owner;

/// What the audit log says of somebody who was signed in already, and has proved again who they are.
const AGAIN: &str = "again";

/// What it calls the limit on sessions.
const MAX_SESSIONS: &str = "max_sessions";

/// Somebody who has proved who they are, and is not signed in yet.
pub(super) struct Proven {
    /// Who they are.
    pub(super) principal: Principal,
    /// Whether they asked to be remembered; none where they were not asked.
    pub(super) remember: Option<bool>,
    /// Where they wanted to go, and what was kept of theirs.
    pub(super) back: Return,
    /// What they have chosen, if they were asked.
    pub(super) chosen: Option<Chosen>,
}

/// Signs them in, if they may have one more session.
pub(super) async fn enter(
    visit: &Visit<'_>,
    cookies: &mut AnswerCookies,
    Proven { principal, remember, back, chosen }: Proven,
) -> Result<Response<AnswerBody>, Refusal> {
    let (shared, tenant, place) = (visit.shared, visit.tenant, Place::of(visit.facts));
    // The time it took to check the password is not part of the session.
    let now = shared.clock.now();
    let before = current_session(shared, tenant, &visit.parts.headers, visit.facts.client, now);
    let before = before.await.map_err(|_| Refusal::Store)?;
    let (user, password) = (principal.user.clone(), principal.password);
    let back = back.for_owner(parked::owner(visit, &user));
    let name = before.as_ref().and_then(|before| before.principal()).map(|before| &before.user);
    let reason = (name == Some(&user)).then_some(AGAIN);
    let signed_in = establish::sign_in(shared, tenant, principal, remember, place, before, chosen, now).await;
    let established = match signed_in.map_err(|_| Refusal::Unwritten)? {
        SignedIn::Yes(established) => established,
        SignedIn::Full(max) => return full(visit, cookies, (&user, password, remember), back, max).await,
        SignedIn::Before => return Ok(login::again(visit, cookies, &user)),
    };
    Metrics::count(&shared.metrics.logins, "succeeded");
    let session = established.live.handle();
    let (client, told) = (Some(visit.facts.client), tenant.id.told());
    let fields = AuditFields { client, user: Some(&user), tenant: told, ..AuditFields::default() };
    shared.audit(AuditEvent::LoginSucceeded, AuditFields { session: Some(&session), reason, ..fields });
    cookies.push(established.cookie);
    if tenant.limits.wrong_passwords.is_some() {
        cookies.extend(tenant.devices.set(&shared.random, &user, now));
    }
    Ok(respond::redirect(StatusCode::SEE_OTHER, &parked::way_on(visit, &back)))
}

/// Tells somebody who has `max` sessions, or more since they may have fewer, that there is no room for another, or asks
/// which one ends for it. Only whoever knows the password gets here.
async fn full(
    visit: &Visit<'_>,
    cookies: &mut AnswerCookies,
    (user, password, remember): (&str, PasswordStamp, Option<bool>),
    back: Return,
    max: usize,
) -> Result<Response<AnswerBody>, Refusal> {
    let (shared, tenant, now) = (visit.shared, visit.tenant, visit.shared.clock.now());
    let when_full = tenant.rules.concurrency.as_ref().map_or(WhenFull::Refuse, |concurrency| concurrency.when_full);
    Metrics::count(&shared.metrics.logins, "full");
    let answer = Some(when_full.name());
    let (client, reason) = (Some(visit.facts.client), Some(MAX_SESSIONS));
    let told = tenant.id.told();
    let fields = AuditFields { client, user: Some(user), tenant: told, reason, answer, ..AuditFields::default() };
    shared.audit(AuditEvent::LoginRefused, fields);
    // Whoever reads no page cannot be asked on one.
    if !is_for_person(&visit.parts.headers) {
        return Err(Refusal::SessionsFull);
    }
    if when_full != WhenFull::Ask {
        let back = Return { notice: String::new(), ..back };
        return Ok(login::form(visit, cookies, StatusCode::CONFLICT, &back, user, Some(&no_room(max))));
    }
    let Listed { rows, left_out } = of_owner(visit, &Owner::user(visit.tenant.id, user), None, now).await?;
    let session = SessionHandle::random(&shared.random);
    let choice = Choice { to: back.to, kept: back.kept, user: user.to_owned(), password, remember, session };
    let browser = login::browser(visit, cookies);
    let page = ChoicePage {
        look: &tenant.look,
        action: &format!("{PREFIX}login/choose"),
        choice: &tenant.attempts.choice(&shared.random, browser, &choice, now),
        max,
        sessions: &rows,
        left_out,
        back: &format!("{PREFIX}login"),
    };
    Ok(respond::html(StatusCode::OK, page.render()))
}

/// Takes what somebody has chosen. Whether they are still who they were, and may still sign in, is looked at anew.
pub(super) async fn choose(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
    cookies: &mut AnswerCookies,
) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_navigation()?;
    visit.only_same_origin()?;
    login::admit(visit)?;
    let [choice, end] = form::read(visit, body, deadline, ["choice", "end"]).await?;
    let choice = choice.ok_or(Refusal::BadForm)?;
    let (tenant, browser) = (visit.tenant, Browser::of(&visit.parts.headers));
    let Ok(choice) = tenant.attempts.read_choice(&choice, browser, visit.now) else {
        return Ok(login::again(visit, cookies, ""));
    };
    let user = tenant.users.as_ref().and_then(|users| users.get(&choice.user)).filter(|user| !user.disabled);
    let principal = user.map(|user| user.principal()).filter(|principal| principal.password == choice.password);
    let Some(principal) = principal else { return Ok(login::again(visit, cookies, &choice.user)) };
    // Whatever is not one of their sessions, or not any more, ends nothing: there is room then, or the page comes again.
    let ends = end.and_then(|end| end.parse().ok());
    let chosen = Some(Chosen { session: choice.session, ends });
    // What is to come next was looked at when they proved who they are, and is theirs.
    let whose = Some(parked::owner(visit, &choice.user));
    let back = Return { to: choice.to, whose, kept: choice.kept, ..Return::default() };
    enter(visit, cookies, Proven { principal, remember: choice.remember, back, chosen }).await
}

fn no_room(max: usize) -> String {
    match max {
        1 => {
            "You are signed in somewhere else, and only one session at a time is allowed. Sign out there, then sign in \
              here. If you cannot, whoever runs this service can end that session."
                .to_owned()
        }
        _ => format!(
            "You are signed in elsewhere, and only {max} sessions at a time are allowed. Sign out in one of the other \
             places, then sign in here. If you cannot, whoever runs this service can end one for you."
        ),
    }
}
