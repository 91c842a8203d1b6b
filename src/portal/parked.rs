//! What was kept of somebody's form: shown to them, and to nobody else, and then sent or thrown away as they say.
//!
//! For whoever is signed in and did not send it from this browser, it is not there, and cannot be told from one that never
//! was. Nothing of it is ever sent without the word of its person.

pub mod fields;
pub(super) mod list;

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;
use crate::enforce::authorize::recognised_session;
use crate::enforce::body::{AnswerBody, ClientBody};
use crate::enforce::pages::{MessagePage, ParkedPage};
use crate::enforce::parking::{Again, Parking, PostId, Posted, owner_of};
use crate::enforce::refusal::Refusal;
use crate::enforce::respond;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::PREFIX;
use crate::enforce::tenant::Tenant;
use crate::login::attempt::{Browser, Return};
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::policy::return_to::ReturnTo;
use crate::portal::{Visit, form};
use crate::session::handle::SessionHandle;

/// Where they are, below our pages.
const PAGES: &str = "parked/";

/// What the address ends with that says that a form is to be sent. Otherwise it is the form's own, so that what is relative
/// in the answer of the application, and where that leads to, is as if it had been sent to there.
const SENDS: &str = ".vestibule-parked=";

/// What the person is told who must sign in to see it.
const SIGN_IN: &str = "Please sign in to see what was kept for you.";

/// What comes of a request for one of our pages.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and the large one is the common one")]
pub enum Step {
    /// A page.
    Answer(Response<AnswerBody>),
    /// The form is to be sent.
    Send(Box<Confirmed>),
}

/// A form that its person wants to be sent. It is not kept any more.
pub struct Confirmed {
    /// The form.
    pub posted: Posted,
    id: PostId,
    by: By,
}

/// Whose word it was what is to become of a form, as it is written down.
struct By {
    user: Box<str>,
    session: SessionHandle,
    client: IpAddr,
    /// The tenant that it was said at, where it is told.
    tenant: Option<&'static str>,
}

impl By {
    fn new(visit: &Visit<'_>, user: &str, session: SessionHandle) -> Self {
        Self { user: user.into(), session, client: visit.facts.client, tenant: visit.tenant.id.told() }
    }

    /// Writes down that they have thrown it away.
    fn note_discarded(&self, shared: &Shared, posted: &Posted) {
        self.note(shared, AuditEvent::PostDiscarded, "discarded", None, posted);
    }

    fn note(&self, shared: &Shared, event: AuditEvent, counted: &'static str, reason: Option<&str>, posted: &Posted) {
        Metrics::count(&shared.metrics.parked_posts, counted);
        let (client, session, user) = (Some(self.client), Some(&self.session as _), Some(&*self.user));
        let (path, tenant) = (Some(path_of(&posted.target)), self.tenant);
        shared.audit(event, AuditFields { client, session, user, tenant, reason, path, ..AuditFields::default() });
    }
}

impl Confirmed {
    /// Its page.
    pub fn page(&self) -> String {
        page_of(self.id)
    }

    /// The session that it is sent with.
    pub const fn session(&self) -> SessionHandle {
        self.by.session
    }

    /// What goes with it, should its person be asked for their password once more.
    pub fn again(&self) -> Again {
        Again { user: self.by.user.clone(), id: self.id, posted: self.posted.clone() }
    }

    /// Writes down that it was sent, as far as can be known.
    pub fn note_sent(&self, shared: &Shared) {
        self.note(shared, AuditEvent::PostSent, "sent", None);
    }

    /// Keeps it again, since it has certainly not been sent; whether that is so.
    pub async fn put_back(&self, shared: &Shared, tenant: &Tenant, now: Timestamp) -> bool {
        let Some(parking) = &tenant.parking else { return false };
        let is_kept = parking.put_back(shared, &self.by.user, self.id, &self.posted, now).await == Ok(true);
        if is_kept {
            self.note(shared, AuditEvent::PostParked, "put_back", Some("not_sent"));
        } else {
            self.note(shared, AuditEvent::PostNotParked, "store_failed", Some("store_failed"));
        }
        is_kept
    }

    fn note(&self, shared: &Shared, event: AuditEvent, counted: &'static str, reason: Option<&str>) {
        self.by.note(shared, event, counted, reason, &self.posted);
    }
}

/// Who somebody is, as a link to the login page has it that says whose session it was.
pub fn owner(visit: &Visit<'_>, user: &str) -> [u8; 16] {
    owner_of(visit.tenant.id.name(), user)
}

/// Where somebody goes on who has signed in, and whose `back` is: to what was kept of theirs, or where they wanted to go.
pub fn way_on(visit: &Visit<'_>, back: &Return) -> String {
    let kept = back.kept.filter(|_| visit.tenant.parking.is_some());
    let Some(id) = kept else { return back.to.as_str().to_owned() };
    // So that, should it not be there any more, they find back.
    let to = Return { to: back.to.clone(), ..Return::default() };
    let link = visit.tenant.attempts.link(&visit.shared.random, &to, visit.now);
    format!("{}?return={link}", page_of(PostId::from_bytes(id)))
}

/// What is asked for, if it is such a page.
pub fn id<'visit>(visit: &'visit Visit<'_>) -> Option<&'visit [u8]> {
    let page = visit.facts.path.matched.strip_prefix(PREFIX.as_bytes());
    page.map_or_else(|| sent(visit.tenant, visit.parts), |page| page.strip_prefix(PAGES.as_bytes()))
}

/// Which form is to be sent, by the address of a request.
pub fn sent<'parts>(tenant: &Tenant, parts: &'parts Parts) -> Option<&'parts [u8]> {
    if parts.method != Method::POST || tenant.parking.is_none() {
        return None;
    }
    let query = parts.uri.query()?.as_bytes();
    let (before, id) = query.split_at_checked(query.len().checked_sub(PostId::CHARACTERS)?)?;
    let rest = before.strip_suffix(SENDS.as_bytes())?;
    (rest.is_empty() || rest.ends_with(b"&")).then_some(id)
}

/// Where it is sent from its page. A path that some browser could read as another place is not among them.
fn sending_to(posted: &Posted, id: PostId, page: &ReturnTo) -> String {
    let Some(target) = ReturnTo::new(&posted.target) else { return page.as_str().to_owned() };
    let between = if target.as_str().contains('?') { '&' } else { '?' };
    format!("{}{between}{SENDS}{id}", target.as_str())
}

/// Answers a request for one of them.
///
/// # Errors
/// Why it is refused.
pub async fn answer(visit: &Visit<'_>, id: &[u8], body: &mut ClientBody, deadline: &Deadline) -> Result<Step, Refusal> {
    let id = PostId::read(id);
    let is_answer = match *visit.facts.method {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => return Err(Refusal::Method("GET, HEAD, POST")),
    };
    visit.only_navigation()?;
    if is_answer {
        visit.only_same_origin()?;
    }
    let (shared, tenant, now) = (visit.shared, visit.tenant, visit.now);
    let who = recognised_session(shared, tenant, visit.facts, &visit.parts.headers, now).await;
    let Some((session, principal)) = who.map_err(|_| Refusal::Store)? else {
        let to = id.and_then(|id| ReturnTo::new(&page_of(id))).unwrap_or_else(ReturnTo::start);
        return Ok(Step::Answer(sign_in(visit, to)));
    };
    let (Some(parking), Some(id)) = (&tenant.parking, id) else { return Ok(Step::Answer(gone(visit))) };
    let said = if is_answer { Some(read(visit, body, deadline).await?) } else { None };
    let browser = Browser::of(&visit.parts.headers);
    let found = parking.find(shared, &principal.user, id, browser, visit.facts.authority, now).await;
    let Some(posted) = found.map_err(|_| Refusal::Store)? else { return Ok(Step::Answer(gone(visit))) };
    let path = ReturnTo::new(&page_of(id)).ok_or(Refusal::Internal)?;
    let Some(said) = said else {
        let token = tenant.attempts.page(&shared.random, session, &path, now);
        return Ok(Step::Answer(show(visit, parking, &posted, &path, &sending_to(&posted, id, &path), &token)));
    };
    if !tenant.attempts.is_of_page(&said.token, session, &path, now) {
        // They have signed in again since, or left it open for hours: they are shown it as it is.
        return Ok(Step::Answer(respond::redirect(StatusCode::SEE_OTHER, path.as_str())));
    }
    if !parking.take(shared, &principal.user, id, now).await.map_err(|_| Refusal::Unwritten)? {
        return Ok(Step::Answer(gone(visit)));
    }
    let by = By::new(visit, &principal.user, session);
    if said.is_to_be_sent {
        return Ok(Step::Send(Box::new(Confirmed { posted, id, by })));
    }
    by.note_discarded(shared, &posted);
    Ok(Step::Answer(respond::redirect(StatusCode::SEE_OTHER, &posted.back)))
}

fn page_of(id: PostId) -> String {
    format!("{PREFIX}{PAGES}{id}")
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// What a person says about what was kept.
struct Said {
    token: String,
    is_to_be_sent: bool,
}

async fn read(visit: &Visit<'_>, body: &mut ClientBody, deadline: &Deadline) -> Result<Said, Refusal> {
    let [token, what] = form::read(visit, body, deadline, ["token", "do"]).await?;
    let is_to_be_sent = match what.as_deref() {
        Some("send") => true,
        Some("discard") => false,
        Some(_) | None => return Err(Refusal::BadForm),
    };
    Ok(Said { token: token.unwrap_or_default(), is_to_be_sent })
}

/// The way to the login page, and back: for whatever is asked for, whether there is something or not.
fn sign_in(visit: &Visit<'_>, to: ReturnTo) -> Response<AnswerBody> {
    let back = Return { to, notice: SIGN_IN.to_owned(), ..Return::default() };
    let link = visit.tenant.attempts.link(&visit.shared.random, &back, visit.now);
    let status = if *visit.facts.method == Method::POST { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
    respond::redirect(status, &format!("{PREFIX}login?return={link}"))
}

/// What everybody is shown who asks for what is not there, or not theirs.
fn gone(visit: &Visit<'_>) -> Response<AnswerBody> {
    let query = visit.parts.uri.query().unwrap_or_default();
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return").map(|(_, value)| value);
    let back = token.map(|token| visit.tenant.attempts.read_link(&token, visit.now)).unwrap_or_default();
    let keep = visit.tenant.parking.as_ref().map(Parking::keep_for).unwrap_or_default();
    let advice = format!(
        "What is sent while you are signed out is kept for {}, for you alone and in the browser you sent it from, and is \
         sent once. If you are not sure whether it arrived, look in the application.",
        span(keep)
    );
    let page = MessagePage {
        title: "Nothing is kept here",
        message: "What you are looking for was sent or thrown away, or its time was over.",
        advice: &advice,
        action: Some(("Go on", back.to.as_str())),
        ..MessagePage::for_status(&visit.tenant.look, 404)
    };
    respond::message(page)
}

/// The question what is to become of it.
fn show(
    visit: &Visit<'_>,
    parking: &Parking,
    posted: &Posted,
    path: &ReturnTo,
    sending_to: &str,
    token: &str,
) -> Response<AnswerBody> {
    let read = fields::read(posted.content_type.as_bytes(), &posted.content);
    let ends = posted.at.plus(parking.keep_for());
    let page = ParkedPage {
        look: &visit.tenant.look,
        action: path.as_str(),
        sending_to,
        token,
        host: &posted.authority,
        path: &fields::shortened(&posted.target),
        sent_ago: &span(visit.now.since(posted.at)),
        sent_at: &posted.at.to_string(),
        left: &span(ends.since(visit.now)),
        fields: &read.fields,
        left_out: read.left_out,
        size: &fields::size(posted.content.len()),
        back: &posted.back,
    };
    respond::html(StatusCode::OK, page.render())
}

/// A time as people say it.
fn span(time: Duration) -> String {
    let (seconds, minutes) = (time.as_secs(), time.as_secs().div_ceil(60));
    match (seconds, minutes) {
        (0..=1, _) => "a second".to_owned(),
        (2..60, _) => format!("{seconds} seconds"),
        (60, _) => "a minute".to_owned(),
        (_, 1..120) => format!("{minutes} minutes"),
        _ => format!("{} hours", seconds.div_ceil(3600)),
    }
}
