//! What is planned and cannot be written yet. Whoever writes it has read of it somewhere, so it is told from a slip of
//! the fingers. A line of this table goes when what it names is built.

use crate::reader::NotYet;

const REMOVE_TABLE: &str = "remove this table";
const PASSWORDS_ONLY: &str = "remove this table: people sign in with a password, by [login.local]";
const NO_SERVER: &str = "remove this line: sessions are kept in memory and in a file";

/// Each with the kind of table it belongs in, and what to do now.
pub(super) const NOT_YET: &[NotYet] = &[
    NotYet { table: "", key: "alerts", help: "remove this table: [log] has the audit events" },
    NotYet { table: "", key: "api_key", help: REMOVE_TABLE },
    NotYet { table: "", key: "audit", help: "remove this table: \"audit\" in [log] says where audit events go" },
    NotYet { table: "login", key: "client_cert", help: PASSWORDS_ONLY },
    NotYet { table: "login", key: "ldap", help: PASSWORDS_ONLY },
    NotYet { table: "login", key: "observed", help: PASSWORDS_ONLY },
    NotYet { table: "login", key: "oidc", help: PASSWORDS_ONLY },
    NotYet { table: "portal", key: "host", help: "remove this line: every host has the pages, below /.vestibule/" },
    NotYet { table: "session", key: "data", help: REMOVE_TABLE },
    NotYet { table: "session.store", key: "url", help: NO_SERVER },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Plan;
    use crate::reader::Document;

    #[test]
    fn what_is_built_is_not_said_to_be_missing() {
        let tables = "[[server.certificate]]\n[login.local]\n[[upstream]]\n[[route]]\n[roles.admin]\n";
        let document = Document::parse("gateway.toml", tables);
        assert!(Plan::of(&document).is_err(), "it only has the kinds of tables");
        let known = document.known_keys();
        assert!(known.contains("server.workers") && known.contains("route[].path"), "{known:?}");
        for NotYet { table, key, .. } in NOT_YET {
            let path = if table.is_empty() { (*key).to_owned() } else { format!("{table}.{key}") };
            assert!(!known.contains(&path), "{path} is built: take it out of the table");
        }
    }
}
