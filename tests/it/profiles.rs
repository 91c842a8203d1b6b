//! Profiles: the numbers of a standard as defaults, what breaks it refused, and the checklist of what is met and by what.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vestibule::config::standards::{Item, State, checklist};
use vestibule::config::{Plan, Profile};

use super::harness::process::{Ended, Process, run};
use super::harness::users;

const ADMIN: &str = "[admin]\nlisten = \"unix:/tmp/vestibule-admin.sock\"\n";

/// What every configuration here has, in tables of its own, so that more can be said before and behind it.
fn text(before: &str, server: &str, behind: &str) -> String {
    // Without it ASVS is not met.
    let admin = if before.contains("asvs") && !behind.contains("[admin]") { ADMIN } else { "" };
    format!(
        "{before}\n{admin}[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \
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
        (
            "asvs-l2",
            "",
            "[session.lifetime]\nabsolute = \"1h\"\n[session.remember_me]\nidle = \"1h\"\nabsolute = \"1h\"",
            "it never counts (ASVS 5.0, 7.3.1)",
        ),
        ("asvs-l2", "hsts = \"off\"", "", "for a year at least (ASVS 5.0, 3.4.1)"),
        ("asvs-l2", "hsts = \"364d\"", "", "for a year at least (ASVS 5.0, 3.4.1)"),
        ("asvs-l2", "", "[session.cookie]\nname = \"__Secure-s\"", "begins with __Host- (ASVS 5.0, 3.3.3)"),
        ("asvs-l2", "", "[session.cookie]\nsame_site = \"None\"", "needs another defence (ASVS 5.0, 3.3.2)"),
        ("asvs-l2", "", "[csrf]\nmode = \"off\"", "in people's names (ASVS 5.0, 3.5.1)"),
        ("nist-aal3", "", "[csrf]\nmode = \"report\"", "in people's names (NIST SP 800-63B-4, section 5.1)"),
        (
            "asvs-l2",
            "",
            "[limits]\nbad_cookies = \"off\"",
            "who tries out session cookies (OWASP cheat sheet, guessing)",
        ),
        ("asvs-l2", "", "[log]\naudit = \"/dev/null\"", "must be logged somewhere (OWASP cheat sheet, logging)"),
        (
            "asvs-l2",
            "",
            "[session.cookie]\nname = \"__Host-PHPSESSID\"",
            "tells what is behind it (OWASP cheat sheet, ID",
        ),
        (
            "asvs-l2",
            "",
            "[admin]\nmetrics = \"127.0.0.1:9901\"",
            "nobody could end anybody's session (ASVS 5.0, 7.4.5)",
        ),
        (
            "asvs-l2",
            "",
            "[[route]]\npath = \"/pay\"\nupstream = \"app\"\ncsrf = \"off\"",
            "on \"/pay\" in people's names (ASVS",
        ),
        (
            "nist-aal2",
            "",
            "[[route]]\npath = \"/pay\"\nupstream = \"app\"\naccess = \"optional\"\ncsrf = \"report\"",
            "write access = \"public\" where nobody's session counts, as for a webhook",
        ),
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
    let said = refused(&text(&profile("asvs-l2"), "", "").replace(ADMIN, ""));
    assert!(said.contains("nobody could end anybody's session (ASVS 5.0, 7.4.5)"), "{said}");
    assert!(said.contains("add at the end of the file:\n        [admin]\n        listen = "), "{said}");
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
        // Whether several upstreams are the parts of one application, and sharing is needed, cannot be seen from here.
        let is_judged_elsewhere = ["3.5.4", "5.1.1"].contains(section);
        let bad_state = if is_judged_elsewhere { State::Outside } else { State::NotMet };
        assert_eq!(found.state, bad_state, "{what}: {}", found.by);
        agrees(*profile, good, true);
        // Nothing that is written: there it is another default that the profile has, or tried on its own.
        if bad.iter().any(|text| !text.is_empty()) {
            agrees(*profile, bad, bad_state == State::Outside || found.is_advice);
        }
        if !key.is_empty() {
            let number =
                written.lines().enumerate().filter(|(_, line)| line.starts_with(key)).last().expect("the line").0 + 1;
            assert!(found.by.contains(&format!("gateway.toml:{number}")), "{what}: line {number} in: {}", found.by);
        }
    }
}

/// The profile refuses what its checklist says is not met, and takes what that does not fault.
fn agrees(named: Profile, [server, behind]: &[String; 2], is_taken: bool) {
    let written = text(&profile(named.name()), server, behind);
    let read = Plan::load(&folder(&written).path().join("gateway.toml"));
    assert_eq!(read.is_ok(), is_taken, "{written}\n{:?}", read.err());
}

fn both(server: &str, behind: &str) -> [String; 2] {
    [server.to_owned(), behind.to_owned()]
}

/// A tenant's tables, of a tenant that has users.
fn tenant(name: &str, more: &str) -> String {
    format!(
        "[[tenant]]\nname = \"{name}\"\nhosts = [\"{name}.test\"]\n[tenant.login.local]\nusers = \"users.toml\"\n{more}\n"
    )
}

#[test]
fn a_profile_judges_every_tenant_and_says_which() {
    let asvs = profile("asvs-l2");
    let own = |table: &str, keys: &str| tenant("acme", &format!("[tenant.session.{table}]\n{keys}\n"));
    for (behind, words, line) in [
        (
            own("cookie", "same_site = \"None\""),
            "at the tenant \"acme\" a session that comes with every request",
            "same_site",
        ),
        (
            own("cookie", "name = \"__Secure-x\""),
            "at the tenant \"acme\" a cookie that is not shared across hosts",
            "name = \"__S",
        ),
        (
            own("cookie", "name = \"__Host-JSESSIONID\""),
            "at the tenant \"acme\" the name of the cookie tells",
            "name = \"__H",
        ),
        (own("lifetime", "absolute = \"20m\""), "at the tenant \"acme\" the idle limit is as long", "absolute"),
        // It takes the name from the top, and not the domain that goes with it.
        (
            format!("[session.cookie]\nname = \"__Secure-x\"\ndomain = \"top.test\"\n{}", tenant("acme", "")),
            "at the tenant \"acme\" the cookie has the name that [session.cookie] says",
            "name = \"acme\"",
        ),
        (
            format!(
                "[session.cookie]\nname = \"__Secure-x\"\ndomain = \"top.test\"\n{}",
                own("cookie", "same_site = \"Strict\"")
            ),
            "at the tenant \"acme\" the cookie has the name that [session.cookie] says",
            "name = \"acme\"",
        ),
    ] {
        let written = text(&asvs, "", &behind);
        let said = refused(&written);
        assert!(said.contains(words) && said.contains("1 mistake in"), "{behind}: {words} is not in:\n{said}");
        let number = written.lines().position(|text| text.starts_with(line)).expect("the line") + 1;
        assert!(said.starts_with(&format!("gateway.toml:{number}:")), "line {number}: {said}");
        plan(&text("", "", &behind));
        plan(&text(&asvs, "", &tenant("acme", "")));
    }
    // What is wrong at the top is told there, and once.
    let said = refused(&text(&asvs, "", &format!("[session.cookie]\nname = \"__Secure-x\"\n{}", tenant("acme", ""))));
    assert!(said.contains("1 mistake in"), "{said}");
}

#[test]
fn the_checklist_looks_at_every_tenant_and_the_worst_counts() {
    const ASVS: &str = "ASVS 5.0";
    let cookie = "[tenant.session.cookie]\nsame_site = \"None\"";
    let lifetime = "[tenant.session.lifetime]\nidle = \"5m\"";
    let written = text("", "", &[tenant("acme", cookie), tenant("globex", lifetime), tenant("third", "")].concat());
    let plan_of = plan(&written);
    let number = |line: &str| written.lines().position(|text| text == line).expect("the line") + 1;
    let found = item(&plan_of, Profile::AsvsL2, ASVS, "3.3.2", "");
    let at_fault = "at the tenant \"acme\": tenant.session.cookie.same_site = \"None\" (";
    assert!(found.state == State::NotMet && found.by.starts_with(at_fault), "{}", found.by);
    assert!(found.by.contains(&format!("gateway.toml:{})", number("same_site = \"None\""))), "{}", found.by);
    assert!(found.by.ends_with("; elsewhere: session.cookie.same_site = \"Lax\" (default)"), "{}", found.by);
    assert!(!found.by.contains("globex") && !found.by.contains("third"), "{}", found.by);
    // Where it is met, although it is not elsewhere.
    let long = text("", "", &format!("[session.lifetime]\nidle = \"2h\"\n{}", tenant("acme", lifetime)));
    let found = item(&plan(&long), Profile::AsvsL2, ASVS, "7.3.1", "");
    assert!(
        found.state == State::NotMet && found.by.contains("at the tenant \"acme\" it is met: tenant.session"),
        "{}",
        found.by
    );
    // Met everywhere, and by what.
    let found = item(&plan_of, Profile::AsvsL2, ASVS, "7.3.1", "");
    assert_eq!(found.state, State::Met);
    assert!(
        found.by.starts_with("session.lifetime.idle = \"30m\" (default); at the tenant \"globex\": "),
        "{}",
        found.by
    );
    assert!(found.by.contains("tenant.session.lifetime.idle = \"5m\" (") && !found.by.contains("acme"), "{}", found.by);
    // A domain is never that of the top.
    let shared = "[session.cookie]\nname = \"__Secure-x\"\ndomain = \"top.test\"\n";
    let plan_of = plan(&text("", "", &format!("{shared}{}", tenant("acme", ""))));
    let found = item(&plan_of, Profile::AsvsL2, ASVS, "3.3.3", "");
    assert!(
        found.state == State::NotMet && found.by.starts_with("at the tenant \"acme\": session.cookie.name"),
        "{}",
        found.by
    );
    // Many of them, bounded.
    let many: String = (0..9).map(|at| tenant(&format!("t{at}"), cookie)).collect();
    let found = item(&plan(&text("", "", &many)), Profile::AsvsL2, ASVS, "3.3.2", "");
    assert!(
        found.by.contains("\"t4\"") && !found.by.contains("\"t5\"") && found.by.contains(" and 4 more; elsewhere: "),
        "{}",
        found.by
    );
}

/// The advice is looked at as it is told: who is remembered is somebody too. And a key has its whole name however it is written.
#[test]
fn advice_is_judged_by_what_is_shown() {
    let behind = "[session.remember_me]\nidle=\"7d\"\n";
    let found = item(&plan(&text("", "", behind)), Profile::AsvsL2, "OWASP cheat sheet", "idle timeout", "");
    assert_eq!(found.state, State::NotMet, "{}", found.by);
    assert!(found.by.starts_with("session.remember_me.idle = \"7d\" ("), "{}", found.by);
    let found = item(&plan(&text("", "", behind)), Profile::AsvsL2, "RFC 6265bis", "5.5", "");
    assert!(found.by.contains("and of who is remembered session.remember_me.absolute"), "{}", found.by);
}

#[test]
fn every_route_that_is_not_shielded_is_named() {
    let route = |at: usize, more: &str| format!("[[route]]\npath = \"/r{at}\"\nupstream = \"app\"\n{more}\n");
    let own: String = (0..7).map(|at| route(at, "csrf = \"off\"")).collect();
    let public = route(8, "access = \"public\"");
    let behind = format!("{own}{public}");
    let said = refused(&text(&profile("asvs-l2"), "", &behind));
    assert!(said.ends_with("\n7 mistakes in gateway.toml\n"), "each by its line:\n{said}");
    assert!(
        (0..7).all(|at| said.contains(&format!("on \"/r{at}\" in people's names"))) && !said.contains("/r8"),
        "{said}"
    );
    let written = text("", "", &behind);
    let found = item(&plan(&written), Profile::AsvsL2, "ASVS 5.0", "3.5.1, 3.5.3", "");
    assert!(found.by.contains(" on /r0, ") && found.by.ends_with(" on /r4 and 2 more"), "{}", found.by);
    // By the mode: those that say nothing of themselves.
    let routes: String = (0..3).map(|at| route(at, "csrf = \"enforce\"")).chain([route(3, ""), public]).collect();
    let said = refused(&text(&profile("nist-aal2"), "", &format!("[csrf]\nmode = \"report\"\n{routes}")));
    assert!(said.contains("on \"/\", \"/r3\" in people's names") && said.contains("1 mistake in"), "{said}");
    let shielded = text(&profile("nist-aal2"), "", &format!("[csrf]\nmode = \"report\"\n{routes}"))
        .replace("path = \"/\"\n", "path = \"/\"\ncsrf = \"enforce\"\n")
        .replace("path = \"/r3\"\n", "path = \"/r3\"\ncsrf = \"enforce\"\n");
    let found = item(&plan(&shielded), Profile::NistAal2, "NIST SP 800-63B-4", "5.1", "CSRF");
    assert_eq!(found.state, State::Met, "{}", found.by);
}

/// What is shared on purpose is the operator's to judge, at NIST as at ASVS: it is neither refused nor faulted.
#[test]
fn a_cookie_that_is_shared_on_purpose_is_the_operators_to_judge() {
    let shared = "[session.cookie]\nname = \"__Secure-x\"\ndomain = \"top.test\"";
    let plan_of = plan(&text(&profile("nist-aal3"), "", shared));
    let found = item(&plan_of, Profile::NistAal3, "NIST SP 800-63B-4", "5.1.1", "as few hosts");
    assert_eq!(found.state, State::Outside);
    assert!(found.by.starts_with("yours to judge:") && found.by.contains("domain = \"top.test\" ("), "{}", found.by);
    assert_eq!(
        item(&plan(&text(&profile("asvs-l2"), "", shared)), Profile::AsvsL2, "ASVS 5.0", "3.3.3", "").state,
        State::Met
    );
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
