//! Who is signed in.

use serde::{Deserialize, Serialize};

/// The person behind a session, as the login source named them. What it holds travels in request headers, so login
/// sources take only visible ASCII without commas into names, roles and groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The name they signed in with; unique within a tenant.
    pub user: Box<str>,
    /// Their mail address, when the source knows one.
    pub email: Option<Box<str>>,
    /// Groups, separated by commas: the form the application is sent.
    pub groups: Box<str>,
    /// Roles, separated by commas: what routes ask for.
    pub roles: Box<str>,
}

impl Principal {
    /// A principal with lists as login sources have them.
    pub fn new(user: &str, email: Option<&str>, groups: &[String], roles: &[String]) -> Self {
        Self {
            user: user.into(),
            email: email.map(Into::into),
            groups: groups.join(",").into(),
            roles: roles.join(",").into(),
        }
    }

    /// Whether `role` is one of theirs; letter case counts.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.split(',').any(|own| !own.is_empty() && own == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_a_whole_word() {
        let principal = Principal::new("a", None, &[], &["admin".to_owned(), "ops".to_owned()]);
        assert!(principal.has_role("admin") && principal.has_role("ops"));
        for other in ["adm", "admin,ops", "Admin", "", "s"] {
            assert!(!principal.has_role(other), "{other}");
        }
        assert!(!Principal::new("a", None, &[], &[]).has_role(""));
    }
}
