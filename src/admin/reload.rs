//! `POST /reload`: the configuration read again, and what came of it.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::admin::guard::Caller;
use crate::admin::metrics::text;
use crate::enforce::reloads::{Cause, Reloaded};
use crate::enforce::shared::Shared;

/// Answers with the version that is in force, or with what is wrong, in the words of `check`.
pub(super) async fn answer(shared: &Shared, method: &Method, caller: Caller) -> Response<Full<Bytes>> {
    let (status, answer) = if *method != Method::POST {
        (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "write POST" }))
    } else {
        match shared.reloads.ask(Cause::operator(caller.name(), caller.address())).await {
            Ok(Reloaded { version, takes_restart, ended, changed, unwritten, too_few_files, key_gone }) => (
                StatusCode::OK,
                json!({ "version": version, "takes_restart": takes_restart, "ended": ended, "changed": changed, "unwritten": unwritten, "too_few_files": too_few_files, "key_gone": key_gone }),
            ),
            Err(words) => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": words })),
        }
    };
    text(status, format!("{answer}\n"), "application/json")
}
