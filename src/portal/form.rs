//! Forms that are posted to our own pages.

use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::enforce::body::ClientBody;
use crate::enforce::form::{Unread, whole};
use crate::enforce::refusal::Refusal;
use crate::policy::navigation::FormKind;
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
    if FormKind::of(&visit.parts.headers) != Some(FormKind::Urlencoded) {
        return Err(Refusal::BadForm);
    }
    let content = whole(body, MAX_FORM, deadline, visit.now.plus(FORM_TIMEOUT)).await;
    let content = content.map_err(|why| match why {
        Unread::TooLarge => Refusal::TooLarge,
        Unread::Broken | Unread::Slow => Refusal::BadForm,
    })?;
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
