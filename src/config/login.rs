//! `[login]`: where people are known from.

use std::path::PathBuf;
use std::sync::Arc;

use crate::login::users::{Users, how_to_make};
use crate::reader::Section;
use crate::reader::mistake::Mistake;

/// The users of a file.
#[derive(Clone, Debug)]
pub struct LocalUsers {
    /// Where they are.
    pub file: PathBuf,
    /// Who they are.
    pub users: Arc<Users>,
}

/// Reads `[login.*]`: `None` when no source is configured, `Some(None)` when one is and could not be read.
pub(super) fn read(root: &Section<'_>) -> Option<Option<LocalUsers>> {
    let login = root.section("login")?;
    let local = login.section("local")?;
    local.require("users", r#"users = "users.toml""#);
    let Some(file) = local.path_to("users") else { return Some(None) };
    let shown = file.display();
    if !file.exists() {
        local.mistake_at("users", format!("the users file {shown} does not exist"), how_to_make(&file));
        return Some(None);
    }
    root.document().reads(&file);
    match Users::load(&file) {
        Ok(users) => return Some(Some(LocalUsers { file, users: Arc::new(users) })),
        Err(mistakes) => match mistakes.about_the_file() {
            Some(Mistake { message, help, .. }) => {
                let other = "write the path of a users file, as \"vestibule user add\" makes it";
                local.mistake_at("users", format!("{shown}: {message}"), help.as_deref().unwrap_or(other));
            }
            None => root.document().other_file(mistakes),
        },
    }
    Some(None)
}
