//! Files as people write them, and as the command leaves them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn parse(text: &str) -> Result<Users, Mistakes> {
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
    let text = r#"[[user]]
name = "alice"
password = "hunter2"
[[user]]
name = "alice"
password = "HASH"
email = "alice"
roles = ["admin", "a,b", "admin"]
[[user]]
name = ""
password = 'hunter2
groups = ["", "ü"]
grups = []
disabled = "yes"
[[users]]
password = "hunter2"
"#;
    let expected = r#"users.toml:3:12: this is not a password hash
    3 | password = …
      |            ^ set the password with: vestibule user passwd alice --users users.toml

users.toml:5:8: the user "alice" is there already, in line 2
    5 | name = "alice"
      |        ^^^^^^^ keep one of them

users.toml:7:9: this is not an email address as a header can carry it
    7 | email = "alice"
      |         ^^^^^^^ write one like alice@example.test, in ASCII

users.toml:8:19: a role's name cannot contain ',', because it travels in a header
    8 | roles = ["admin", "a,b", "admin"]
      |                   ^^^^^ write visible ASCII characters other than comma, semicolon and double quote

users.toml:8:26: "admin" is there twice
    8 | roles = ["admin", "a,b", "admin"]
      |                          ^^^^^^^ keep one of them

users.toml:10:8: a user's name cannot be empty
   10 | name = ""
      |        ^^ write 1 to 128 characters

users.toml:11:20: this secret is not written as it should be
   11 | password…
      |          ^ set the password with "vestibule user passwd"

users.toml:12:11: a group's name cannot be empty
   12 | groups = ["", "ü"]
      |           ^^ write 1 to 128 characters

users.toml:12:15: a group's name cannot contain 'ü', because it travels in a header
   12 | groups = ["", "ü"]
      |               ^^^ write visible ASCII characters other than comma, semicolon and double quote

users.toml:13:1: there is no key "grups" in [[user]]
   13 | grups = …
      | ^^^^^ did you mean "groups"?

users.toml:14:12: "disabled" must be true or false, and this is a text
   14 | disabled = "yes"
      |            ^^^^^ write true without quotes

users.toml:15:3: there is no table [[users]]
   15 | [[users]]
      |   ^^^^^ did you mean [[user]]?

12 mistakes in users.toml"#;
    assert_eq!(parse(text).expect_err("mistakes").to_string(), expected);
    let many = format!("[[user]]\nname = \"a\"\nroles = {:?}\n", (0..65).map(|n| n.to_string()).collect::<Vec<_>>());
    let told = parse(&many).expect_err("mistakes").to_string();
    for part in [
        "users.toml:1:1: \"password\" is missing in [[user]]",
        "set the password with: vestibule user passwd a --users users.toml",
        "users.toml:3:9: there are 65 of them, and there can be 64",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_password_is_never_shown() {
    for text in [
        "[[user]]\npassword = \"hunter2\"\n",
        "[[user]]\nname = \"a b\"\npassword = \"HASH\" # hunter2\npasword = \"hunter2\"\n",
        "[[user]]\npw = \"hunter2\"\n",
        "[[user]]\npassword = hunter2\n",
        "[[user]]\npassword: hunter2\n",
        "[[user]]\npassword = [\"hunter2\"]\n",
        "password = \"hunter2\"\n",
        "password: \"hunter2\"\n",
        "[user]\npassword = \"hunter2\"\n",
        "user = [{ name = \"a b\", password = \"hunter2\", x = 1 }]\n",
        "user = [{ name = \"a b\", password = \"hunter2\" x = 1 }]\n",
    ] {
        let told = parse(text).expect_err(text).to_string();
        assert!(
            !told.contains("hunter2 ") && !told.contains("hunter2\"") && !told.contains("argon2"),
            "{text}\n{told}"
        );
    }
}

#[test]
fn refuses_what_is_not_a_users_file() {
    for (text, expected) in [
        ("users = 1\n", "users.toml:1:1: there is no key \"users\" at the top of the file"),
        ("x\n", "users.toml:1:2: this line sets nothing"),
    ] {
        let told = parse(text).expect_err(text).to_string();
        assert!(told.starts_with(expected), "{told}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.toml");
    let told = || Users::load(&path).expect_err("refused").to_string();
    let shown = path.display();
    let expected = format!(
        "{shown}: the file cannot be read: No such file or directory (os error 2)\n      = make it with: vestibule user add \
         NAME --users {shown} --roles admin\n"
    );
    assert!(told().starts_with(&expected), "{}", told());
    std::fs::write(&path, vec![b'#'; MAX_USERS_BYTES as usize + 1]).expect("a file");
    assert!(told().contains("the file is larger than 16 MiB"), "{}", told());
    std::fs::write(&path, b"# \xff\n").expect("a file");
    assert!(told().contains("users.toml:1:3: this byte is not UTF-8 text"), "{}", told());
}

#[test]
fn a_password_that_is_wrong_can_be_set_by_the_command_that_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.toml");
    std::fs::write(&path, "[[user]]\nname = \"alice\"\npassword = \"hunter2\"\n").expect("written");
    edit_file(&path, |document| set_password(document, "alice", HASH)).expect("set");
    assert_eq!(Users::load(&path).expect("users").len(), 1);
    // As long as something else is wrong, nothing is written, and what is told is what is in the file.
    std::fs::write(&path, "[[user]]\nname = \"alice\"\nemail = 1\n").expect("written");
    let told = edit_file(&path, |document| set_password(document, "alice", HASH)).expect_err("refused").to_string();
    assert!(told.contains("users.toml:3:9: \"email\" must be a text"), "{told}");
    assert!(told.contains("\n2 mistakes in "), "{told}");
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
