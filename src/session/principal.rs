//! Who is signed in.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The person behind a session, as the login source named them. What it holds travels in request headers, so login
/// sources take only visible ASCII without commas into names, roles and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name they signed in with; unique within a tenant.
    pub user: Box<str>,
    /// Their mail address, when the source knows one.
    pub email: Option<Box<str>>,
    /// Groups, separated by commas: the form the application is sent.
    pub groups: Box<str>,
    /// Roles, separated by commas: what routes ask for.
    pub roles: Box<str>,
    /// The password they signed in with.
    pub password: PasswordStamp,
}

/// Tells one password from the one after it, also over a restart: the beginning of a hash of what the users file has,
/// which is salted with 128 bits. Without the file it says nothing about the password; with the file it says nothing more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordStamp([u8; 8]);

impl PasswordStamp {
    /// Of a session that was begun without a password, or written down before there were stamps.
    pub const UNKNOWN: Self = Self([0; 8]);

    /// The stamp of a password, from its salted hash as a PHC string.
    pub fn of(phc: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"vestibule password stamp");
        hash.update(phc);
        Self(hash.finalize().first_chunk().copied().unwrap_or_default())
    }

    /// Whether the two are sure to be of different passwords. What is unknown may be any: were it taken for another, the
    /// first start of a version that has stamps would sign everybody out.
    pub fn differs(self, other: Self) -> bool {
        self != Self::UNKNOWN && other != Self::UNKNOWN && self != other
    }
}

/// A principal whose parts stand elsewhere, as in the record that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalRef<'parts> {
    /// As [`Principal::user`].
    pub user: &'parts str,
    /// As [`Principal::email`].
    pub email: Option<&'parts str>,
    /// As [`Principal::groups`].
    pub groups: &'parts str,
    /// As [`Principal::roles`].
    pub roles: &'parts str,
    /// As [`Principal::password`].
    pub password: PasswordStamp,
}

impl PrincipalRef<'_> {
    /// Whether a session of this one may just as well be one of `other`: the same person with the same rights, and not
    /// another password for all that is known.
    pub fn may_be(&self, other: &Principal) -> bool {
        !self.password.differs(other.password) && Self { password: other.password, ..*self } == other.parts()
    }
}

impl From<PrincipalRef<'_>> for Principal {
    fn from(parts: PrincipalRef<'_>) -> Self {
        let PrincipalRef { user, email, groups, roles, password } = parts;
        Self { user: user.into(), email: email.map(Into::into), groups: groups.into(), roles: roles.into(), password }
    }
}

impl Principal {
    /// A principal with lists as login sources have them, who used no password that is known.
    pub fn new(user: &str, email: Option<&str>, groups: &[String], roles: &[String]) -> Self {
        Self {
            user: user.into(),
            email: email.map(Into::into),
            groups: groups.join(",").into(),
            roles: roles.join(",").into(),
            password: PasswordStamp::UNKNOWN,
        }
    }

    /// It, in parts.
    pub fn parts(&self) -> PrincipalRef<'_> {
        let Self { user, email, groups, roles, password } = self;
        PrincipalRef { user, email: email.as_deref(), groups, roles, password: *password }
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

    #[test]
    fn a_password_is_another_only_where_both_are_known() {
        let (one, two) = (PasswordStamp::of("$argon2id$one"), PasswordStamp::of("$argon2id$two"));
        assert!(one.differs(two) && !one.differs(PasswordStamp::of("$argon2id$one")));
        assert!(!one.differs(PasswordStamp::UNKNOWN) && !PasswordStamp::UNKNOWN.differs(one));
        let known = Principal { password: one, ..Principal::new("a", Some("a@b.test"), &[], &["r".to_owned()]) };
        let with = |password| PrincipalRef { password, ..known.parts() };
        assert!(with(one).may_be(&known) && with(PasswordStamp::UNKNOWN).may_be(&known) && !with(two).may_be(&known));
        let others = [
            PrincipalRef { user: "b", ..with(one) },
            PrincipalRef { email: None, ..with(one) },
            PrincipalRef { groups: "r", ..with(one) },
            PrincipalRef { roles: "", ..with(one) },
        ];
        assert!(others.iter().all(|other| !other.may_be(&known)));
        assert_eq!(Principal::from(known.parts()), known);
    }
}
