//! What of ours is shown in a frame of an application's own page: that something is refused, and that its person must sign
//! in. Nothing that can be done there: a page around it could make somebody do it.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::enforce::body::AnswerBody;
use crate::enforce::pages::MessagePage;
use crate::enforce::pages::look::Look;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, WWW_AUTHENTICATE};
use crate::policy::navigation;

/// The answer to a request that is refused, for whoever sent it: a page by the look of whose host it is, if that is a person.
pub fn refused_to(refusal: &Refusal, person: Option<&Look>, headers: &HeaderMap) -> Response<AnswerBody> {
    let mut response = respond::refused(refusal, person);
    if navigation::is_in_frame(headers) {
        let_own_pages_frame(response.headers_mut());
    }
    response
}

/// What a person is answered in a frame who must sign in: our login page is shown in none, so a link leads there.
pub fn out_of_frame(look: &Look, notice: &str, login: &str) -> Response<AnswerBody> {
    let status = StatusCode::UNAUTHORIZED;
    let page = MessagePage {
        // It is nobody's mistake, and shows no number.
        status: StatusCode::OK.as_u16(),
        title: "Please sign in",
        message: if notice.is_empty() { "To see what belongs here, you have to sign in." } else { notice },
        advice: "You sign in in the whole window, not in this part of it.",
        action: Some(("Sign in", login)),
        ..MessagePage::for_status(look, status.as_u16())
    };
    let mut response = respond::html(status, page.render());
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
