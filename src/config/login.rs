//! `[login]`: where people are known from.

use std::sync::Arc;

use crate::login::users::Users;
use crate::reader::Section;

/// Reads `[login.*]`: `None` when no source is configured, `Some(None)` when one is and could not be read.
pub(super) fn read(root: &Section<'_>) -> Option<Option<Arc<Users>>> {
    let login = root.section("login")?;
    let local = login.section("local")?;
    local.require("users", r#"users = "users.toml""#);
    let Some(file) = local.path_to("users") else { return Some(None) };
    if !file.exists() {
        let shown = file.display();
        let help = format!("make it with: vestibule user add NAME --users {shown} --roles admin");
        local.mistake_at("users", format!("the users file {shown} does not exist"), help);
        return Some(None);
    }
    match Users::load(&file) {
        Ok(users) => Some(Some(Arc::new(users))),
        Err(error) => {
            local.mistake_at("users", "the users file cannot be used", error.to_string());
            Some(None)
        }
    }
}
