//! What of ours is shown in a frame of an application's own page: that something is refused, that its person must sign in or
//! is signed out, and that a page of ours is elsewhere. Nothing that can be done there: a page around it could make somebody
//! do it.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::enforce::body::AnswerBody;
use crate::enforce::challenge::asked_for;
use crate::enforce::pages::MessagePage;
use crate::enforce::pages::look::Look;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, WWW_AUTHENTICATE};
use crate::policy::navigation;
use crate::policy::return_to::ReturnTo;

/// The answer to a request that is refused, for whoever sent it: a page by the look of whose host it is, if that is a person.
pub fn refused_to(refusal: &Refusal, person: Option<&Look>, parts: &Parts) -> Response<AnswerBody> {
    let mut response = match person {
        Some(look) if matches!(refusal, Refusal::InFrame) => to_whole_window(refusal, look, parts),
        Some(_) | None => respond::refused(refusal, person),
    };
    show_in_frame(&mut response, &parts.headers);
    response
}

/// Lets an answer that only says something be shown where it was asked for, if that is in a frame.
pub fn show_in_frame(response: &mut Response<AnswerBody>, headers: &HeaderMap) {
    if navigation::is_in_frame(headers) {
        let_own_pages_frame(response.headers_mut());
    }
}

/// What a person is answered who follows a link in a frame to one of our own pages, as from the menu of a frameset: a link
/// to the same page, out of the frame.
fn to_whole_window(refusal: &Refusal, look: &Look, parts: &Parts) -> Response<AnswerBody> {
    let page = asked_for(parts).unwrap_or_else(ReturnTo::start);
    let told = MessagePage {
        look,
        // It is nobody's mistake, and shows no number.
        status: StatusCode::OK.as_u16(),
        title: "This page opens in the whole window",
        message: "It is not shown in a part of another page, so that you always see whose it is.",
        advice: "",
        action: Some(("Open it", page.as_str())),
        request_id: None,
    };
    respond::html(refusal.status(), told.render())
}

/// What a person is answered in a frame who must sign in: our login page is shown in none, so a link leads there.
pub fn out_of_frame(look: &Look, notice: &str, login: &str) -> Response<AnswerBody> {
    let page = MessagePage {
        look,
        // Nor this.
        status: StatusCode::OK.as_u16(),
        title: "Please sign in",
        message: if notice.is_empty() { "To see what belongs here, you have to sign in." } else { notice },
        advice: "You sign in in the whole window, not in this part of it.",
        action: Some(("Sign in", login)),
        request_id: None,
    };
    let mut response = respond::html(StatusCode::UNAUTHORIZED, page.render());
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(WWW_AUTHENTICATE));
    let_own_pages_frame(headers);
    response
}

/// Lets pages of the same origin have one of ours in a frame: one that only says something, and has nothing in it that
/// somebody could be brought to press. Links in it lead out of the frame.
fn let_own_pages_frame(headers: &mut HeaderMap) {
    let policy = headers.get(header::CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok());
    let policy = policy.map(|policy| policy.replace("frame-ancestors 'none'", "frame-ancestors 'self'"));
    let Some(Ok(policy)) = policy.map(HeaderValue::try_from) else { return };
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
}
