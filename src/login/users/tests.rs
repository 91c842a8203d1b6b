//! Files as people write them, and as the command leaves them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn parse(text: &str) -> Result<Users, UsersError> {
    Users::parse(Path::new("users.toml"), &text.replace("HASH", HASH))
}

fn user(name: &str) -> User {
    let roles = vec!["admin".to_owned(), "staff".to_owned()];
    User { name: name.to_owned(), password: HASH.to_owned(), email: None, roles, groups: Vec::new(), disabled: false }
}

#[test]
fn reads_users_by_exact_name() {
    let text = "[[user]]\nname = \"alice\"\npassword = \"HASH\"\nemail = \"alice@example.test\"\nroles = [\"admin\"]\n\
                groups = [\"staff\"]\n[[user]]\nname = \"DOM\\\\bob\"\npassword = 'HASH'\ndisabled = true\n";
    let users = parse(text).expect("users");
    assert_eq!((users.len(), users.is_empty(), parse("").expect("none").is_empty()), (2, false, true));
    let alice = users.get("alice").expect("a user");
    assert_eq!(
        (alice.email.as_deref(), &alice.roles[..], alice.disabled),
        (Some("alice@example.test"), &["admin".to_owned()][..], false)
    );
    assert!(users.get("DOM\\bob").is_some_and(|bob| bob.disabled && bob.roles.is_empty()));
    assert!(users.get("Alice").is_none() && users.get("alice ").is_none());
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["alice", "DOM\\bob"]);
}

#[test]
fn tells_all_that_is_wrong_at_once() {
    let text = "[[user]]\nname = \"alice\"\npassword = \"hunter2\"\n[[user]]\nname = \"alice\"\npassword = \"HASH\"\n\
                email = \"alice\"\nroles = [\"admin\", \"a,b\", \"admin\"]\n[[user]]\nname = \"\"\npassword = \"HASH\"\n\
                groups = [\"\", \"ü\"]\n";
    let expected = "users.toml:3:12: this is not a password hash; set the password with \"vestibule user passwd\"\n\
        users.toml:5:8: there is a user \"alice\" already; keep one of them\n\
        users.toml:7:9: this is not an email address as a header can carry it; write one like alice@example.test, in ASCII\n\
        users.toml:8:19: a role's name cannot contain ',', because it travels in a header; write visible ASCII characters \
        other than comma, semicolon and double quote\n\
        users.toml:8:26: \"admin\" is there twice; keep one of them\n\
        users.toml:10:8: a user's name cannot be empty; write 1 to 128 characters\n\
        users.toml:12:11: a group's name cannot be empty; write 1 to 128 characters\n\
        users.toml:12:15: a group's name cannot contain 'ü', because it travels in a header; write visible ASCII characters \
        other than comma, semicolon and double quote";
    assert_eq!(parse(text).expect_err("problems").to_string(), expected);
}

#[test]
fn refuses_what_is_not_a_users_file() {
    for (text, expected) in [
        ("[[user]]\nname = \"a\"\n", "users.toml:1:1: missing field `password`"),
        ("[[user]]\nname = \"a\"\npassword = \"HASH\"\nrole = []\n", "users.toml:4:1: unknown field `role`"),
        ("[[users]]\n", "users.toml:1:3: unknown field `users`"),
        ("x\n", "users.toml:1:2: key with no value"),
    ] {
        let told = parse(text).expect_err(text).to_string();
        assert!(told.starts_with(expected), "{told}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.toml");
    assert!(
        Users::load(&path).expect_err("none").to_string().contains("users.toml: the file cannot be read: No such file")
    );
    std::fs::write(&path, vec![b'#'; MAX_USERS_BYTES as usize + 1]).expect("a file");
    assert!(Users::load(&path).expect_err("large").to_string().contains("larger than 16 MiB"));
}

#[test]
fn names_and_addresses_fit_into_a_header() {
    for name in ["alice", "a.b-c_d+e", "DOM\\bob", "bob@example.test", &"x".repeat(128)] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", "a b", "a,b", "a;b", "a\"b", "a\r\nX: y", "a\u{0}", "\u{7f}", "ä", &"x".repeat(129)] {
        assert!(check_name(name).is_err(), "{name}");
    }
    assert_eq!(check_email("a@b"), Ok(()));
    for email in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a,b@c", "ä@b", &format!("{}@b", "x".repeat(253))] {
        assert!(check_email(email).is_err(), "{email}");
    }
}

#[test]
fn edits_leave_the_rest_as_it_was() {
    let text = format!(
        "# People.\n\n[[user]] # the first\nname = \"alice\"  # she\npassword = \"{HASH}\"  # old\nroles = [ \"admin\" ]\n\
         disabled = false # for now\n\n# The other one.\n[[user]]\nname = 'bob'\npassword = \"{HASH}\"\n# end\n"
    );
    let mut document: toml_edit::DocumentMut = text.parse().expect("toml");
    set_password(&mut document, "alice", "NEW").expect("changed");
    set_disabled(&mut document, "alice", true).expect("changed");
    set_disabled(&mut document, "bob", false).expect("unchanged");
    assert_eq!(document.to_string(), text.replacen(HASH, "NEW", 1).replace("disabled = false", "disabled = true"));
    set_disabled(&mut document, "bob", true).expect("changed");
    add_user(&mut document, &user("carol")).expect("added");
    let shown = document.to_string();
    assert!(shown.contains("name = 'bob'\n") && shown.contains("disabled = true\n"), "{shown}");
    let added = format!("\n[[user]]\nname = \"carol\"\npassword = \"{HASH}\"\nroles = [\"admin\", \"staff\"]\n");
    assert!(shown.contains(&added), "{shown}");
    let told = |result: Result<(), EditError>| result.expect_err("refused").to_string();
    assert!(told(add_user(&mut document, &user("bob"))).contains("user \"bob\" already"));
    assert_eq!(told(set_password(&mut document, "alcie", "")), "there is no user \"alcie\"; did you mean \"alice\"?");
    assert_eq!(told(set_disabled(&mut document, "x", true)), "there is no user \"x\"");
    let mut inline: toml_edit::DocumentMut = "user = [{ name = \"a\" }]\n".parse().expect("toml");
    assert!(told(set_disabled(&mut inline, "a", true)).contains("[[user]]"));
}

#[test]
fn a_file_is_made_for_its_owner_alone_and_keeps_its_mode() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.toml");
    let mode = || std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
    edit_file(&path, |document| add_user(document, &user("alice"))).expect("added");
    assert_eq!(mode(), 0o600);
    let text = std::fs::read_to_string(&path).expect("a file");
    assert_eq!(text, format!("[[user]]\nname = \"alice\"\npassword = \"{HASH}\"\nroles = [\"admin\", \"staff\"]\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    edit_file(&link, |document| add_user(document, &user("bob"))).expect("added");
    assert_eq!((mode(), Users::load(&path).expect("users").len()), (0o640, 2));
    assert!(link.is_symlink());
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, [".users.toml.lock", "link.toml", "users.toml"]);
}

#[test]
fn a_change_that_would_break_the_file_is_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.toml");
    edit_file(&path, |document| add_user(document, &user("alice"))).expect("added");
    let before = std::fs::read(&path).expect("a file");
    let refused = edit_file(&path, |document| set_password(document, "alice", "plain"));
    assert!(matches!(refused, Err(EditError::Users(_))));
    let refused = edit_file(&path, |document| add_user(document, &user("a b")));
    assert!(matches!(refused, Err(EditError::Users(_))));
    assert_eq!(std::fs::read(&path).expect("a file"), before);
    let absent = folder.path().join("none/users.toml");
    let told = edit_file(&absent, |document| add_user(document, &user("alice"))).expect_err("refused").to_string();
    assert!(told.contains("cannot be locked: No such file"), "{told}");
}

#[test]
fn writers_at_the_same_time_do_not_lose_each_others_users() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.toml");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..5 {
                    let name = format!("user-{thread}-{number}");
                    edit_file(path, |document| add_user(document, &user(&name))).expect("added");
                }
            });
        }
    });
    assert_eq!(Users::load(&path).expect("users").len(), 20);
}
