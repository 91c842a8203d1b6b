//! Forms are read here as a whole, and nothing else that people send: bounded in size and in time.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;
use crate::enforce::body::ClientBody;

/// Why a form is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than it may be.
    TooLarge,
    /// It broke off.
    Broken,
    /// It was not there in time.
    Slow,
}

/// Reads a body of `most` bytes at the most, which must be there by `until`.
///
/// # Errors
/// Why it is not read. What of it has come is gone.
pub async fn whole(body: &mut ClientBody, most: usize, deadline: &Deadline, until: Timestamp) -> Result<Bytes, Unread> {
    deadline.move_to(Some(until));
    let collected = deadline.limit(Limited::new(body, most).collect()).await;
    deadline.move_to(None);
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(_)) => Err(Unread::Broken),
        Err(_) => Err(Unread::Slow),
    }
}
