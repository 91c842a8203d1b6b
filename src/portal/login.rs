//! Signing in with a name and a password. Works without JavaScript, and leads back to where the person wanted to go.

use std::sync::Arc;

use http::{Response, StatusCode};

use crate::base::deadline::Deadline;
use crate::base::secret::Secret;
use crate::base::units;
use crate::enforce::authorize::{AnswerCookies, recognised};
use crate::enforce::body::{AnswerBody, ClientBody};
use crate::enforce::lookup::known_session;
use crate::enforce::pages::{LoginPage, RememberChoice};
use crate::enforce::refusal::{ACCOUNT_LIMIT, Refusal};
use crate::enforce::respond::{self, is_for_person};
use crate::enforce::snapshot::PREFIX;
use crate::limit::rate::Exceeded;
use crate::limit::wrong_passwords::{Counted, WrongPasswords};
use crate::login::attempt::{Browser, FormFault, Return};
use crate::login::password::Busy;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::portal::enter::{Proven, enter};
use crate::portal::{Visit, form, parked};
use crate::session::live::Live;

/// The one message for whatever is wrong with a name and a password.
const WRONG: &str = "The user name or the password is not right.";

/// What is said beside it to whom something is kept for.
const STILL_KEPT: &str = "What you sent is still kept for you.";

/// What a ticked box sends, in the field `remember`.
const TICKED: &str = "1";

/// The field that says that there was a box to tick.
const OFFERED: &str = "remember_offered";

const STALE: &str = "This page was open for too long, or in another window. Please sign in once more.";

/// Shows the form.
pub async fn show(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_navigation()?;
    let query = visit.parts.uri.query().unwrap_or_default();
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return").map(|(_, value)| value);
    let back = token.map(|token| visit.tenant.attempts.read_link(&token, visit.now)).unwrap_or_default();
    // The store that fails is no reason not to show the page.
    let known = recognised(visit.shared, visit.tenant, visit.facts, &visit.parts.headers, visit.now);
    let known = known.await.ok().flatten();
    if known.as_ref().is_some_and(|live| is_proved(visit, live, &back)) {
        return Ok(respond::redirect(StatusCode::SEE_OTHER, &parked::way_on(visit, &back)));
    }
    // Whoever is told why they are here and still has a session is asked for their password again: their name is known.
    let person = known.as_ref().and_then(|live| live.principal()).filter(|_| !back.notice.is_empty());
    let name = person.map_or("", |principal| &principal.user);
    let is_remembered = known.as_ref().is_some_and(|live| live.is_remembered());
    let back = if back.notice.is_empty() { Return { notice: why(visit).await, ..back } } else { back };
    Ok(form(visit, cookies, StatusCode::OK, &back, Filled { name, is_remembered }, None))
}

/// Whether the same person has proved who they are in this browser since they were asked to, as in another tab: of what was
/// asked for then, nothing is left to ask.
fn is_proved(visit: &Visit<'_>, live: &Live, back: &Return) -> bool {
    let owner = live.principal().map(|principal| parked::owner(visit, &principal.user));
    owner.is_some() && owner == back.whose && back.asked_at.is_some_and(|asked_at| live.authenticated_at() > asked_at)
}

/// What the form is filled in with.
pub(super) struct Filled<'a> {
    name: &'a str,
    is_remembered: bool,
}

impl<'a> From<&'a str> for Filled<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, is_remembered: false }
    }
}

/// What somebody is told who comes here by no link that says it, as a script leads them: why their session has ended, if
/// their cookie is that of one; otherwise nothing. The store that fails is no reason not to show the page.
async fn why(visit: &Visit<'_>) -> String {
    let Visit { shared, tenant, facts, parts, now, .. } = visit;
    let known = known_session(shared, tenant, &parts.headers, facts.client, *now).await.ok().flatten();
    let ended = known.and_then(|live| live.ended());
    ended.map(|(reason, _)| reason.sentence().to_owned()).unwrap_or_default()
}

/// Takes the posted form.
pub async fn take(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
    cookies: &mut AnswerCookies,
) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_navigation()?;
    visit.only_same_origin()?;
    admit(visit)?;
    let (form, password) = read(visit, body, deadline).await?;
    let browser = Browser::of(&visit.parts.headers);
    let back = match visit.tenant.attempts.read_form(&form.attempt, browser, visit.now) {
        Ok(back) => back,
        Err(FormFault::Stale | FormFault::OtherBrowser) => {
            return Ok(again(visit, cookies, &form.username));
        }
    };
    let Some(users) = &visit.tenant.users else { return Err(Refusal::NoPage) };
    let client = Some(visit.facts.client);
    // A name that is not known is not logged: it is often a password in the wrong field.
    let known = users.get(&form.username).map(|user| user.name.clone());
    let tenant = visit.tenant.id.told();
    let fields = AuditFields { client, user: known.as_deref(), tenant, ..AuditFields::default() };
    let counted = admit_name(visit, &form.username, fields)?;
    let checked = visit.shared.passwords.check(Arc::clone(users), form.username.clone(), password).await;
    if let (Ok(Some(_)) | Err(Busy), Some((limit, counted))) = (&checked, counted) {
        limit.give_back(counted);
    }
    match checked {
        Err(Busy) => {
            Metrics::count(&visit.shared.metrics.logins, "busy");
            visit.shared.audit(AuditEvent::LoginRefused, AuditFields { reason: Some("login_busy"), ..fields });
            Err(Refusal::LoginBusy)
        }
        Ok(None) => {
            Metrics::count(&visit.shared.metrics.logins, "failed");
            visit.shared.audit(AuditEvent::LoginFailed, fields);
            if !is_for_person(&visit.parts.headers) {
                return Err(Refusal::WrongPassword);
            }
            let notice = if back.kept.is_some() { STILL_KEPT.to_owned() } else { String::new() };
            let notice_said = Return { notice, ..back };
            Ok(self::form(visit, cookies, StatusCode::UNAUTHORIZED, &notice_said, form.filled(), Some(WRONG)))
        }
        Ok(Some(principal)) => {
            enter(visit, cookies, Proven { principal, remember: form.remember, back, chosen: None }).await
        }
    }
}

/// Counts the attempt against the limit of its address.
pub(super) fn admit(visit: &Visit<'_>) -> Result<(), Refusal> {
    let Some(limit) = &visit.tenant.limits.login else { return Ok(()) };
    limit.admit_at(visit.tenant.id, visit.facts.client).map_err(|exceeded| {
        let (client, tenant) = (Some(visit.facts.client), visit.tenant.id.told());
        let fields = AuditFields { client, tenant, ..AuditFields::default() };
        refuse(visit, "login_limit", exceeded, fields)
    })
}

/// Counts the attempt against what may be wrong for its name, until the password turns out to be right. Whether anybody
/// has that name makes no difference.
fn admit_name<'visit>(
    visit: &Visit<'visit>,
    name: &str,
    fields: AuditFields<'_>,
) -> Result<Option<(&'visit WrongPasswords, Counted)>, Refusal> {
    let Some(limit) = &visit.tenant.limits.wrong_passwords else { return Ok(None) };
    let device = visit.tenant.devices.read(&visit.parts.headers, name, visit.now);
    match limit.admit(visit.tenant.id, name, visit.facts.client, device) {
        Ok(counted) => Ok(Some((limit, counted))),
        Err(exceeded) => Err(refuse(visit, ACCOUNT_LIMIT, exceeded, fields)),
    }
}

fn refuse(visit: &Visit<'_>, limit: &'static str, exceeded: Exceeded, fields: AuditFields<'_>) -> Refusal {
    Metrics::count(&visit.shared.metrics.logins, "refused");
    visit.shared.audit(AuditEvent::LoginRefused, AuditFields { reason: Some(limit), ..fields });
    Refusal::TooMany(limit, exceeded)
}

struct Form {
    username: String,
    attempt: String,
    /// Whether they asked to be remembered; none where they were not asked.
    remember: Option<bool>,
}

impl Form {
    fn filled(&self) -> Filled<'_> {
        Filled { name: &self.username, is_remembered: self.remember == Some(true) }
    }
}

async fn read(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
) -> Result<(Form, Secret<String>), Refusal> {
    let names = ["username", "password", "attempt", "remember", OFFERED];
    let [username, password, attempt, remember, offered] = form::read(visit, body, deadline, names).await?;
    // A box that is not ticked sends nothing, so the form says beside it that there was one.
    let remember = match (remember, offered) {
        (Some(ticked), _) => Some(ticked == TICKED),
        (None, Some(_)) => Some(false),
        (None, None) => None,
    };
    match (username, password) {
        (Some(username), Some(password)) => {
            let form = Form { username, attempt: attempt.unwrap_or_default(), remember };
            Ok((form, Secret::new(password)))
        }
        _ => Err(Refusal::BadForm),
    }
}

/// The page for who comes with something that is not good any more.
pub(super) fn again(visit: &Visit<'_>, cookies: &mut AnswerCookies, username: &str) -> Response<AnswerBody> {
    Metrics::count(&visit.shared.metrics.logins, "stale");
    form(visit, cookies, StatusCode::BAD_REQUEST, &Return::default(), username, Some(STALE))
}

/// The browser that a form is for.
pub(super) fn browser(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Browser {
    // The cookie that is there already is kept, so that forms in several tabs all work.
    Browser::of(&visit.parts.headers).unwrap_or_else(|| {
        let browser = Browser::random(&visit.shared.random);
        cookies.extend(browser.set());
        browser
    })
}

/// The page with a form for this browser.
pub(super) fn form<'a>(
    visit: &Visit<'_>,
    cookies: &mut AnswerCookies,
    status: StatusCode,
    back: &Return,
    filled: impl Into<Filled<'a>>,
    message: Option<&str>,
) -> Response<AnswerBody> {
    let (browser, filled) = (browser(visit, cookies), filled.into());
    let lifetimes = &visit.tenant.rules.lifetimes;
    let span = lifetimes.remembered.map(|limits| units::in_words(limits.absolute));
    let remember = span.as_deref().map(|span| RememberChoice {
        is_ticked: filled.is_remembered,
        span,
        may_be_refused: lifetimes.roles.iter().any(|role| role.forbids_remembering),
    });
    // Whoever has sent several things from several tabs signs in in one of them.
    let go_on = back.kept.map(|_| visit.tenant.attempts.link(&visit.shared.random, back, visit.now));
    let go_on = go_on.map(|link| format!("{PREFIX}login?return={link}"));
    let page = LoginPage {
        look: &visit.tenant.look,
        action: &format!("{PREFIX}login"),
        attempt: &visit.tenant.attempts.form(&visit.shared.random, browser, back, visit.now),
        username: filled.name,
        remember,
        message,
        notice: Some(back.notice.as_str()).filter(|notice| !notice.is_empty()),
        go_on: go_on.as_deref(),
    };
    respond::html(status, page.render())
}
