//! Profiles: the numbers of a standard as defaults, what breaks it refused, and the checklist of what is met and by what.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vestibule::config::standards::{Item, State, checklist};
use vestibule::config::{Plan, Profile};

use super::harness::process::{Ended, Process, run};
use super::harness::users;

/// What every configuration here has, in tables of its own, so that more can be said before and behind it.
fn text(before: &str, server: &str, behind: &str) -> String {
    format!(
        "{before}\n[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \
         \"c.key\"\ngenerate = true\n[login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = \
         [\"http://127.0.0.1:9\"]\n[[route]]\npath = \"/\"\nupstream = \"app\"\n{behind}\n"
    )
}

fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

fn plan(text: &str) -> Plan {
    let folder = folder(text);
    Plan::load(&folder.path().join("gateway.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// What is wrong with it.
fn refused(text: &str) -> String {
    let ended = run(folder(text).path(), &["check"], "");
    assert_eq!((ended.code(), &*ended.stdout), (Some(1), ""), "{text}\n{ended:?}");
    ended.stderr
}

fn check(folder: &Path, profile: &str) -> Ended {
    run(folder, &["check", "--profile", profile], "")
}

fn profile(name: &str) -> String {
    format!("profile = \"{name}\"")
}

/// Idle and absolute limit, in minutes, and for how many days browsers keep to https.
fn numbers(plan: &Plan) -> (u64, u64, Option<u64>) {
    let all = plan.session.rules.lifetimes.all;
    let hsts = plan.server.hsts.map(|hsts| hsts.max_age().as_secs() / 86_400);
    (all.idle.as_secs() / 60, all.absolute.as_secs() / 60, hsts)
}

#[test]
fn a_profile_says_what_holds_where_nothing_is_written() {
    for (name, expected) in [
        ("none", (30, 720, None)),
        ("asvs-l2", (30, 720, Some(365))),
        ("nist-aal2", (30, 720, None)),
        ("nist-aal3", (15, 720, None)),
    ] {
        assert_eq!(numbers(&plan(&text(&profile(name), "", ""))), expected, "{name}");
    }
    assert_eq!(numbers(&plan(&text("", "", ""))), (30, 720, None));
    // What is written holds, as far as the standard goes.
    for (name, idle, absolute) in [("asvs-l2", 60, 1440), ("nist-aal2", 60, 1440), ("nist-aal3", 15, 720)] {
        let lifetime = format!("[session.lifetime]\nidle = \"{idle}m\"\nabsolute = \"{absolute}m\"");
        let plan = plan(&text(&profile(name), "hsts = \"730d\"", &lifetime));
        assert_eq!(numbers(&plan), (idle, absolute, Some(730)), "{name}");
    }
    // A profile makes nothing looser, so a limit that is only absolute stays beside the default of the other.
    let lifetime = "[session.lifetime]\nabsolute = \"1h\"";
    assert_eq!(numbers(&plan(&text(&profile("nist-aal2"), "", lifetime))), (30, 60, None));
}

#[test]
fn what_breaks_a_profile_is_refused_with_the_requirement() {
    for (name, server, behind, words) in [
        ("asvs-l2", "", "[session.lifetime]\nidle = \"61m\"", "allows at most \"1h\" (ASVS 5.0, 7.1.1"),
        ("asvs-l2", "", "[session.lifetime]\nabsolute = \"25h\"", "allows at most \"1d\" (ASVS 5.0, 7.1.1"),
        ("asvs-l2", "", "[session.lifetime]\nidle = \"1h\"\nabsolute = \"1h\"", "it never counts (ASVS 5.0, 7.3.1)"),
        ("asvs-l2", "hsts = \"off\"", "", "for a year at least (ASVS 5.0, 3.4.1)"),
        ("asvs-l2", "hsts = \"364d\"", "", "for a year at least (ASVS 5.0, 3.4.1)"),
        ("asvs-l2", "", "[session.cookie]\nname = \"__Secure-s\"", "begins with __Host- (ASVS 5.0, 3.3.3)"),
        ("asvs-l2", "", "[session.cookie]\nsame_site = \"None\"", "needs another defence (ASVS 5.0, 3.3.2)"),
        ("asvs-l2", "", "[csrf]\nmode = \"off\"", "in people's names (ASVS 5.0, 3.5.1)"),
        ("nist-aal3", "", "[csrf]\nmode = \"report\"", "in people's names (NIST SP 800-63B-4, section 5.1)"),
        (
            "nist-aal2",
            "",
            "[session.remember_me]\nidle = \"1h\"",
            "remove [session.remember_me], or write absolute = \"1d\"",
        ),
        ("nist-aal2", "", "[session.lifetime]\nidle = \"61m\"", "at most \"1h\" (NIST SP 800-63B-4, section 2.2.3)"),
        (
            "nist-aal2",
            "",
            "[session.lifetime]\nabsolute = \"25h\"",
            "at most \"1d\" (NIST SP 800-63B-4, section 2.2.3)",
        ),
        ("nist-aal3", "", "[session.lifetime]\nidle = \"16m\"", "at most \"15m\" (NIST SP 800-63B-4, section 2.3.3)"),
        (
            "nist-aal3",
            "",
            "[session.lifetime]\nabsolute = \"13h\"",
            "at most \"12h\" (NIST SP 800-63B-4, section 2.3.3)",
        ),
    ] {
        let said = refused(&text(&profile(name), server, behind));
        assert!(
            said.contains(words) && said.contains("1 mistake in"),
            "{name} {server}{behind}: {words} not in:\n{said}"
        );
        assert!(said.contains(&format!("or remove profile = \"{name}\"")), "what to write instead:\n{said}");
        // It is the profile that refuses it.
        if !behind.contains("idle = \"1h\"\nabsolute = \"1h\"") {
            plan(&text("", server, behind));
        }
    }
    let said = refused(&text("profile = \"asvs\"", "", ""));
    assert!(said.contains("\"profile\" cannot be \"asvs\"") && said.contains("write \"asvs-l2\", "), "{said}");
    // A role that would get more than the profile leaves.
    let said = refused(&text(&profile("nist-aal3"), "", "[roles.admin]\nidle = \"20m\""));
    assert!(said.contains("write at most \"15m\""), "{said}");
}

/// An item of the checklist.
fn item(plan: &Plan, profile: Profile, document: &str, section: &str, asks: &str) -> Item {
    let list = checklist(plan, profile);
    let is_it = |item: &&Item| item.document == document && item.section == section && item.asks.contains(asks);
    list.iter().find(is_it).unwrap_or_else(|| panic!("{document} {section}: {asks}")).clone()
}

/// A requirement by its document, its section and what it asks for; what meets it, what does not, and the line that does not.
type Case = (Profile, &'static str, &'static str, &'static str, [String; 2], [String; 2], &'static str);

#[test]
fn each_line_that_can_be_configured_flips_with_what_is_written_and_names_the_line() {
    use Profile::{AsvsL2, NistAal2, NistAal3};
    const ASVS: &str = "ASVS 5.0";
    const SHEET: &str = "OWASP cheat sheet";
    const SP: &str = "NIST SP 800-63B-4";
    const RFC: &str = "RFC 6265bis";
    let admin = "[admin]\nlisten = \"unix:/tmp/vestibule-admin.sock\"";
    let lifetime = |keys: &str| format!("[session.lifetime]\n{keys}");
    let two = "[[upstream]]\nname = \"other\"\nservers = [\"http://127.0.0.1:9\"]\n[[route]]\npath = \"/other\"\n\
               upstream = \"other\"\n";
    let apart = two.replace("[[route]]\n", "[[route]]\nhost = \"other.test\"\n");
    // What meets it, what does not, and which key is named for it.
    let cases: Vec<Case> = vec![
        (AsvsL2, ASVS, "7.3.1", "", both("", ""), both("", &lifetime("idle = \"2h\"")), "idle = \"2h\""),
        (
            AsvsL2,
            ASVS,
            "7.3.1",
            "",
            both("", ""),
            both("", &lifetime("idle = \"1h\"\nabsolute = \"1h\"")),
            "idle = \"1h\"",
        ),
        (AsvsL2, ASVS, "7.3.2", "", both("", ""), both("", &lifetime("absolute = \"30h\"")), "absolute = \"30h\""),
        (AsvsL2, ASVS, "7.4.5", "", both("", admin), both("", ""), ""),
        (
            AsvsL2,
            ASVS,
            "3.3.2",
            "",
            both("", ""),
            both("", "[session.cookie]\nsame_site = \"None\""),
            "same_site = \"None\"",
        ),
        (
            AsvsL2,
            ASVS,
            "3.3.3",
            "",
            both("", ""),
            both("", "[session.cookie]\nname = \"__Secure-s\""),
            "name = \"__Secure-s\"",
        ),
        (AsvsL2, ASVS, "7.3.1", "", both("", ""), both("", "[session.remember_me]\nidle = \"2d\""), "idle = \"2d\""),
        (
            AsvsL2,
            ASVS,
            "7.3.2",
            "",
            both("", ""),
            both("", "[session.remember_me]\nabsolute = \"30d\""),
            "absolute = \"30d\"",
        ),
        (AsvsL2, ASVS, "3.5.1, 3.5.3", "", both("", ""), both("", "[csrf]\nmode = \"report\""), "mode = \"report\""),
        (NistAal2, SP, "5.1", "(CSRF)", both("", ""), both("", "[csrf]\nmode = \"off\""), "mode = \"off\""),
        (AsvsL2, ASVS, "3.4.1", "", both("hsts = \"365d\"", ""), both("hsts = \"364d\"", ""), "hsts = \"364d\""),
        (AsvsL2, ASVS, "3.4.1", "", both("hsts = \"365d\"", ""), both("", ""), ""),
        (AsvsL2, ASVS, "3.5.4", "", both("", &apart), both("", two), "upstream = \"other\""),
        (
            AsvsL2,
            SHEET,
            "strict management",
            "",
            both("", ""),
            both("", "[limits]\nbad_cookies = \"off\""),
            "bad_cookies = \"off\"",
        ),
        (
            AsvsL2,
            SHEET,
            "guessing",
            "",
            both("", ""),
            both("", "[limits]\nbad_cookies = \"off\""),
            "bad_cookies = \"off\"",
        ),
        (
            AsvsL2,
            SHEET,
            "ID name",
            "",
            both("", ""),
            both("", "[session.cookie]\nname = \"__Host-JSESSIONID\""),
            "name = \"__Host-J",
        ),
        (
            AsvsL2,
            SHEET,
            "renewal timeout",
            "",
            both("", ""),
            both("", "[session.rotation]\nevery = \"off\""),
            "every = \"off\"",
        ),
        (AsvsL2, SHEET, "idle timeout", "", both("", ""), both("", &lifetime("idle = \"31m\"")), "idle = \"31m\""),
        (
            AsvsL2,
            SHEET,
            "absolute timeout",
            "",
            both("", &lifetime("absolute = \"8h\"")),
            both("", &lifetime("absolute = \"9h\"")),
            "absolute = \"9h\"",
        ),
        (AsvsL2, SHEET, "logging", "", both("", ""), both("", "[log]\naudit = \"/dev/null\""), "audit = \"/dev/null\""),
        (
            NistAal2,
            SP,
            "5.1.1",
            "as few hosts",
            both("", ""),
            both("", "[session.cookie]\nname = \"__Secure-s\"\ndomain = \"example.test\""),
            "domain = \"example.test\"",
        ),
        (
            NistAal2,
            SP,
            "2.2.3, 2.3.3",
            "after sign-in",
            both("", &lifetime("absolute = \"24h\"")),
            both("", &lifetime("absolute = \"25h\"")),
            "absolute = \"25h\"",
        ),
        (
            NistAal2,
            SP,
            "2.2.3, 2.3.3",
            "nothing happens",
            both("", &lifetime("idle = \"1h\"")),
            both("", &lifetime("idle = \"61m\"")),
            "idle = \"61m\"",
        ),
        (
            NistAal3,
            SP,
            "2.2.3, 2.3.3",
            "after sign-in",
            both("", ""),
            both("", &lifetime("absolute = \"13h\"")),
            "absolute = \"13h\"",
        ),
        (
            NistAal3,
            SP,
            "2.2.3, 2.3.3",
            "nothing happens",
            both("", &lifetime("idle = \"15m\"")),
            both("", &lifetime("idle = \"16m\"")),
            "idle = \"16m\"",
        ),
        (
            NistAal2,
            RFC,
            "4.1.1",
            "",
            both("", ""),
            both("", "[session.cookie]\nname = \"__Secure-s\"\ndomain = \"example.test\""),
            "name = \"__Secure-s\"",
        ),
    ];
    for (profile, document, section, asks, good, bad, key) in &cases {
        let what = format!("{document} {section} {asks}");
        let found = item(&plan(&text("", &good[0], &good[1])), *profile, document, section, asks);
        assert_eq!(found.state, State::Met, "{what}: {}", found.by);
        let written = text("", &bad[0], &bad[1]);
        let found = item(&plan(&written), *profile, document, section, asks);
        assert_eq!(found.state, State::NotMet, "{what}: {}", found.by);
        if !key.is_empty() {
            let number =
                written.lines().enumerate().filter(|(_, line)| line.starts_with(key)).last().expect("the line").0 + 1;
            assert!(found.by.contains(&format!("gateway.toml:{number}")), "{what}: line {number} in: {}", found.by);
        }
    }
}

fn both(server: &str, behind: &str) -> [String; 2] {
    [server.to_owned(), behind.to_owned()]
}

#[test]
fn what_is_written_down_in_the_checklist_is_what_holds() {
    let plan = plan(&text("", "", "[session.lifetime]\nidle = \"20m\""));
    let limits = item(&plan, Profile::AsvsL2, "ASVS 5.0", "7.1.1", "");
    assert_eq!(limits.state, State::Outside);
    assert!(
        limits.by.contains("session.lifetime.idle = \"20m\" (") && limits.by.contains("gateway.toml:18)"),
        "{}",
        limits.by
    );
    assert!(limits.by.contains("session.lifetime.absolute = \"12h\" (default)"), "{}", limits.by);
    // Each requirement is told once, and each says something of itself.
    for profile in Profile::ALL {
        let list = checklist(&plan, profile);
        for (at, item) in list.iter().enumerate() {
            assert!(!item.by.is_empty() && item.asks.len() > 20, "{item:?}");
            let is_same =
                |other: &Item| (other.document, other.section, other.asks) == (item.document, item.section, item.asks);
            assert!(!list[at + 1..].iter().any(is_same), "{item:?}");
        }
    }
}

#[test]
fn the_checklist_is_printed_and_the_exit_status_says_whether_all_is_met() {
    let folder = folder(&text(&profile("nist-aal3"), "", "[session.lifetime]\nidle = \"10m\""));
    let listed = check(folder.path(), "nist-aal3");
    assert_eq!(listed.code(), Some(3), "{listed:?}");
    let shown = &listed.stdout;
    assert!(
        shown.starts_with("gateway.toml: NIST SP 800-63B-4 AAL3, as far as it is about sessions\n\nmet      NIST"),
        "{shown}"
    );
    let line = "met      NIST SP 800-63B-4 2.2.3, 2.3.3: it ends when nothing happens\n         session.lifetime.idle = \"10m\" \
                (gateway.toml:18), of 15m at the most\n";
    assert!(shown.contains(line), "{shown}");
    let line = "NOT MET  NIST SP 800-63B-4 5: a session is of no higher level than how its person signed in\n         people sign \
                in with a password, which is AAL1; AAL3 asks for two factors";
    assert!(shown.contains(line), "{shown}");
    assert!(listed.stderr.ends_with("not met\n"), "{}", listed.stderr);
    // Another than the file names, and a file with a mistake in it.
    let other = check(folder.path(), "asvs-l2");
    assert!(other.stdout.contains("The file does not say profile = \"asvs-l2\", so nothing keeps it to this.\n"));
    let wrong = check(folder.path(), "asvs");
    assert_eq!(wrong.code(), Some(2));
    assert!(wrong.stderr.contains("write \"asvs-l2\", \"nist-aal2\" or \"nist-aal3\""), "{}", wrong.stderr);
    fs::write(folder.path().join("gateway.toml"), "[sever]\n").expect("written");
    assert_eq!(check(folder.path(), "asvs-l2").code(), Some(1));
}

#[test]
fn a_gateway_says_what_a_profile_is_not() {
    for (name, words) in [("nist-aal2", "this is not AAL2"), ("nist-aal3", "this is not AAL3")] {
        let folder = folder(&text(&profile(name), "", ""));
        let checked = run(folder.path(), &["check"], "");
        assert_eq!(checked.code(), Some(0), "{checked:?}");
        assert!(checked.stdout.contains(words), "{}", checked.stdout);
        let gateway = Process::serve(folder.path());
        gateway.stderr.wait_for(&["WARN", words]);
        assert_eq!(gateway.stop("TERM").code(), Some(0));
    }
    let folder = folder(&text(&profile("asvs-l2"), "", ""));
    assert!(!run(folder.path(), &["check"], "").stdout.contains("this is not"));
}
