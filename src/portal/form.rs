//! Forms that are posted to our own pages.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::base::deadline::Deadline;
use crate::enforce::body::ClientBody;
use crate::enforce::respond::Refusal;
use crate::portal::Visit;

/// The largest form that is read, in bytes: the longest token, a name and a password.
const MAX_FORM: usize = 16 * 1024;

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads these fields of a form (application/x-www-form-urlencoded), each there once at the most.
pub(super) async fn read<const N: usize>(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
    names: [&str; N],
) -> Result<[Option<String>; N], Refusal> {
    let kind = visit.parts.headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return Err(Refusal::BadForm);
    }
    deadline.move_to(Some(visit.now.plus(FORM_TIMEOUT)));
    let collected = deadline.limit(Limited::new(body, MAX_FORM).collect()).await;
    deadline.move_to(None);
    let content: Bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => return Err(Refusal::BadForm),
    };
    let mut fields = [const { None }; N];
    for (name, value) in form_urlencoded::parse(&content) {
        let known = names.iter().position(|known| *known == name);
        let Some(field) = known.and_then(|at| fields.get_mut(at)) else { continue };
        if field.replace(value.into_owned()).is_some() {
            return Err(Refusal::BadForm);
        }
    }
    Ok(fields)
}
