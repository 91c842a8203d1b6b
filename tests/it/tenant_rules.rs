//! What a tenant may say of its own sessions: how long they last, whether anybody is remembered, and how many there may be.
//! It can only be less than what holds for all.

use std::fs;

use vestibule::config::Plan;
use vestibule::policy::route_policy::SessionRules;
use vestibule::reader::mistake::Mistakes;
use vestibule::session::timeouts::OnIdle;

use super::harness::{ALICE, Answer, Client, Gateway, advance_until, hidden, users};
use super::tenants::{
    ACME, ALICE_OF_ACME, ALICE_OF_GLOBEX, ALICE_OF_WIDE, DAVE, GLOBEX, SHOP, at, edit, reload, setup, signed_in, tenant,
};

const DAY: u64 = 86_400;

/// A configuration with one tenant; `top` and `own` are more of its tables.
fn read(top: &str, own: &str) -> Result<Plan, Mistakes> {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\ngenerate = true\n{top}\n\
         [login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = [\"http://127.0.0.1:9\"]\n[[route]]\n\
         path = \"/\"\nupstream = \"app\"\n[[tenant]]\nname = \"acme\"\nhosts = [\"acme.test\"]\n[tenant.login.local]\nusers = \
         \"users.toml\"\n{own}\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    Plan::load(&folder.path().join("gateway.toml"))
}

const REMEMBERS: &str = "[session.remember_me]\nidle = \"7d\"\nabsolute = \"30d\"\n";

/// Minutes, of who is not remembered and of who is.
type Limits = ((u64, u64), Option<(u64, u64)>);

#[test]
fn the_tighter_counts_and_who_is_remembered_has_a_table_of_their_own() {
    let own = |table: &str, keys: &str| format!("[tenant.session.{table}]\n{keys}\n");
    let kept = |keys: &str| own("remember_me", keys);
    let short = own("lifetime", "idle = \"10m\"\nabsolute = \"2h\"");
    let (hour, day) = (60, 1440);
    let all = (30, 12 * hour);
    let cases: Vec<(&str, String, Limits)> = vec![
        ("", String::new(), (all, None)),
        ("", short.clone(), ((10, 120), None)),
        ("", kept("offered = false"), (all, None)),
        (REMEMBERS, String::new(), (all, Some((7 * day, 30 * day)))),
        (REMEMBERS, kept("offered = true"), (all, Some((7 * day, 30 * day)))),
        (REMEMBERS, kept("offered = false"), (all, None)),
        (REMEMBERS, kept("idle = \"2d\""), (all, Some((2 * day, 30 * day)))),
        (REMEMBERS, kept("absolute = \"3d\""), (all, Some((3 * day, 3 * day)))),
        (REMEMBERS, kept("idle = \"2d\"\nabsolute = \"3d\""), (all, Some((2 * day, 3 * day)))),
        // Who wants everybody gone need not say so twice, and who wants some to stay says that.
        (REMEMBERS, short.clone(), ((10, 120), Some((10, 120)))),
        (REMEMBERS, [short.clone(), kept("absolute = \"3d\"")].concat(), ((10, 120), Some((10, 3 * day)))),
        (
            REMEMBERS,
            [short.clone(), kept("idle = \"1d\"\nabsolute = \"3d\"")].concat(),
            ((10, 120), Some((day, 3 * day))),
        ),
        (REMEMBERS, [short, kept("offered = false")].concat(), ((10, 120), None)),
    ];
    for (top, tables, (plain, remembered)) in cases {
        let plan = read(top, &tables).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let lifetimes = &plan.tenants[0].rules.lifetimes;
        let minutes = |limits: vestibule::session::timeouts::Lifetime| {
            (limits.idle.as_secs() / 60, limits.absolute.as_secs() / 60)
        };
        assert_eq!((minutes(lifetimes.all), lifetimes.remembered.map(minutes)), (plain, remembered), "{top}{tables}");
        assert_eq!(plan.session.rules.lifetimes.remembered.is_some(), !top.is_empty(), "the top is what it was");
    }
}

#[test]
fn what_would_be_more_than_all_have_is_told_with_the_table_that_says_less() {
    let own = |table: &str, keys: &str| format!("[tenant.{table}]\n{keys}\n");
    let fewer = "[session.concurrency]\nmax_sessions = 2\n";
    let short = own("session.lifetime", "idle = \"10m\"");
    let cases: Vec<(&str, String, &str)> = vec![
        (
            REMEMBERS,
            own("session.remember_me", "idle = \"8d\""),
            "write at most \"7d\", which [session.remember_me] says",
        ),
        (
            REMEMBERS,
            own("session.remember_me", "absolute = \"31d\""),
            "write at most \"30d\", which [session.remember_me] says",
        ),
        (
            REMEMBERS,
            own("session.remember_me", "idle = \"20m\""),
            "at least idle = \"30m\", as [session.lifetime] has it",
        ),
        (
            REMEMBERS,
            [&*short, &*own("session.remember_me", "idle = \"5m\"")].concat(),
            "at least idle = \"10m\", as [tenant.session.lifetime] has it",
        ),
        (REMEMBERS, own("session.remember_me", "offered = false\nidle = \"1d\""), "\"idle\" has no effect here"),
        ("", own("session.remember_me", "idle = \"1d\""), "add [session.remember_me] for everybody"),
        ("", own("session.lifetime", "idle = \"40m\""), "write at most \"30m\", which [session.lifetime] says"),
        // It is not the top's, nor about who is remembered.
        (
            "",
            [&*short, &*own("roles.admin", "idle = \"11m\"")].concat(),
            "write at most \"10m\", which [tenant.session.lifetime] says",
        ),
        (
            REMEMBERS,
            [&*short, &*own("roles.admin", "idle = \"11m\"")].concat(),
            "write at most \"10m\", which [tenant.session.lifetime] says",
        ),
        (
            REMEMBERS,
            [&*own("session.remember_me", "idle = \"2d\""), &*own("roles.admin", "idle = \"3d\"")].concat(),
            "write at most \"2d\", which [tenant.session.remember_me] says",
        ),
        (
            REMEMBERS,
            own("roles.admin", "remember_me = false\nidle = \"3d\""),
            "write at most \"30m\", which [session.lifetime] says",
        ),
        (fewer, own("session.concurrency", "max_sessions = 3"), "write at most 2, which [session.concurrency] says"),
        (fewer, own("roles.admin", "max_sessions = 3"), "write at most 2, which [session.concurrency] says"),
        (
            fewer,
            [&*own("session.concurrency", "max_sessions = 1"), &*own("roles.admin", "max_sessions = 2")].concat(),
            "write at most 1, which [tenant.session.concurrency] says",
        ),
        ("", own("session.concurrency", "when_full = \"end_olest\""), "did you mean \"end_oldest\"?"),
    ];
    for (top, tables, words) in cases {
        let told = read(top, &tables).expect_err(&tables).to_string();
        assert!(told.contains(words) && told.contains("\n1 mistake in"), "{top}{tables}: {words} is not in:\n{told}");
    }
}

#[test]
fn how_many_sessions_there_may_be_is_the_fewest_that_is_said() {
    let top = "[session.concurrency]\nmax_sessions = 3\nwhen_full = \"refuse\"\n";
    let admins = "[roles.admin]\nmax_sessions = 2\n";
    let own = "[tenant.session.concurrency]\n";
    for (top, tables, expected) in [
        (String::new(), String::new(), None),
        (String::new(), own.to_owned(), Some((3, 3, "end_oldest"))),
        (String::new(), format!("{own}max_sessions = 5\nwhen_full = \"ask\""), Some((5, 5, "ask"))),
        (top.to_owned(), String::new(), Some((3, 3, "refuse"))),
        (top.to_owned(), own.to_owned(), Some((3, 3, "refuse"))),
        (top.to_owned(), format!("{own}max_sessions = 2"), Some((2, 2, "refuse"))),
        (top.to_owned(), format!("{own}when_full = \"ask\""), Some((3, 3, "ask"))),
        (top.to_owned(), "[tenant.roles.admin]\nmax_sessions = 1".to_owned(), Some((3, 1, "refuse"))),
        (format!("{top}{admins}"), "[tenant.roles.admin]\nmax_sessions = 3".to_owned(), Some((3, 2, "refuse"))),
        (format!("{top}{admins}"), format!("{own}max_sessions = 1"), Some((1, 1, "refuse"))),
        (admins.to_owned(), own.to_owned(), Some((3, 2, "end_oldest"))),
    ] {
        let plan = read(&top, &tables).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let of = |roles: &[&str]| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let principal = vestibule::session::principal::Principal::new("a", None, &[], &roles);
            plan.tenants[0].rules.concurrency.as_ref().and_then(|allowed| allowed.of(&principal))
        };
        let when_full = plan.tenants[0].rules.concurrency.as_ref().map(|allowed| allowed.when_full.name());
        let found = when_full.map(|when_full| (of(&[]).expect("a limit"), of(&["admin"]).expect("a limit"), when_full));
        assert_eq!(found, expected, "{top}{tables}");
    }
}

/// Signs in on a login page, and asks to be remembered.
fn asks_to_be_remembered(client: &Client, (name, password): (&str, &str)) -> (Answer, Answer) {
    let page = client.visit("/.vestibule/login").send();
    let attempt = hidden(&page, "attempt");
    let fields = [
        ("username", name),
        ("password", password),
        ("attempt", &*attempt),
        ("remember_offered", "1"),
        ("remember", "1"),
    ];
    let answer = client.post_form("/.vestibule/login", &fields).send();
    assert_eq!(answer.status, 303, "{}", answer.text());
    (page, answer)
}

#[test]
fn each_tenant_remembers_for_as_long_as_it_says_or_nobody() {
    let gateway = setup(
        "[tenant.session.remember_me]\nidle = \"2d\"\nabsolute = \"3d\"\n",
        "[tenant.session.remember_me]\noffered = false\n",
        "",
    )
    .extra(REMEMBERS)
    .start();
    let everybody = [
        (ACME, ALICE_OF_ACME, Some(("For up to 3 days", 3))),
        (GLOBEX, ALICE_OF_GLOBEX, None),
        (SHOP, ALICE_OF_WIDE, Some(("For up to 30 days", 30))),
        ("localhost", ALICE, Some(("For up to 30 days", 30))),
    ];
    let clients = everybody.map(|(host, who, expected)| {
        let client = at(&gateway, host);
        let (page, answer) = asks_to_be_remembered(&client, who);
        let (page, cookies) = (page.text(), answer.set_cookies().join("\n"));
        match expected {
            Some((words, days)) => {
                assert!(page.contains(words), "{host}: {page}");
                assert!(cookies.contains(&format!("; Max-Age={};", days * DAY)), "{host}: {cookies}");
            }
            None => {
                assert!(!page.contains("name=\"remember\""), "{host}: {page}");
                assert!(!cookies.contains("__Host-session") || !cookies.contains("; Max-Age=2"), "{host}: {cookies}");
            }
        }
        client
    });
    let statuses = |gateway: &Gateway, seconds: u64| {
        gateway.advance(seconds);
        clients.each_ref().map(|client| client.get("/").send().status)
    };
    assert_eq!(statuses(&gateway, 30 * 60), [200, 401, 200, 200], "nobody is remembered at Globex");
    assert_eq!(statuses(&gateway, 2 * DAY - 1), [200, 401, 200, 200]);
    assert_eq!(statuses(&gateway, DAY), [401, 401, 200, 200], "three days are over");
}

#[test]
fn each_tenant_has_as_many_sessions_at_once_as_it_says() {
    let gateway = setup(
        "[tenant.session.concurrency]\nmax_sessions = 2\nwhen_full = \"refuse\"\n[tenant.roles.admin]\nmax_sessions = 1\n",
        "[tenant.roles.staff]\nmax_sessions = 2\n",
        "",
    )
    .unlimited()
    .start();
    let sign_in = |host, who| {
        gateway.advance(2);
        let client = at(&gateway, host);
        let status = client.sign_in(who, "/").status;
        (client, status)
    };
    // Alice has a role for which it is one, Dave is anybody.
    assert_eq!([sign_in(ACME, ALICE_OF_ACME).1, sign_in(ACME, ALICE_OF_ACME).1], [303, 409]);
    assert_eq!([sign_in(ACME, DAVE).1, sign_in(ACME, DAVE).1, sign_in(ACME, DAVE).1], [303, 303, 409]);
    let globex = [(); 3].map(|()| sign_in(GLOBEX, ALICE_OF_GLOBEX).0);
    assert_eq!(globex[0].get("/").send().json()["reason"], "displaced", "what nobody has said is as ever");
    assert_eq!([&globex[1], &globex[2]].map(|client| client.get("/").send().status), [200, 200]);
    for (host, who) in [(SHOP, ALICE_OF_WIDE), ("localhost", ALICE)] {
        assert_eq!([(); 4].map(|()| sign_in(host, who).1), [303; 4], "{host}");
    }
    let count = |name: &str, user: &str| gateway.sessions_at(tenant(name), user).len();
    assert_eq!((count("acme", "alice"), count("acme", "dave"), count("globex", "alice")), (1, 2, 2));
    // Fewer after a reload: what is above ends there, and nowhere else.
    edit(&gateway, "gateway.toml", |text| {
        text.replacen("max_sessions = 2\nwhen_full", "max_sessions = 1\nwhen_full", 1)
    });
    reload(&gateway);
    advance_until(&gateway, "what is above ends", || count("acme", "dave") == 1);
    assert_eq!((count("acme", "alice"), count("globex", "alice"), count("wide", "alice")), (1, 2, 4));
}

/// However many sign in at once.
#[test]
fn a_tenants_limit_holds_for_those_who_race() {
    let gateway = setup("[tenant.session.concurrency]\nmax_sessions = 3\n", "", "").unlimited().start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| drop(signed_in(&gateway, ACME, DAVE))));
        }
    });
    assert_eq!(gateway.sessions_at(tenant("acme"), "dave").len(), 3);
    assert_eq!(signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX).get("/").send().status, 200);
}

#[test]
fn a_tenant_locks_where_others_end_and_the_other_way_round() {
    let lock = "[session.lifetime]\non_idle = \"lock\"\n";
    let own = |what: &str| format!("[tenant.session.lifetime]\non_idle = \"{what}\"\n");
    for (top, own, expected) in
        [("", own("lock"), [false, true]), (lock, own("end"), [true, false]), (lock, String::new(), [true; 2])]
    {
        let plan = read(top, &own).expect("a plan");
        let locks = |rules: &SessionRules| rules.lifetimes.on_idle == OnIdle::Lock;
        assert_eq!([locks(&plan.session.rules), locks(&plan.tenants[0].rules)], expected, "{top}{own}");
    }
    let gateway = setup(&own("lock"), "", "").start();
    let (acme, globex) = (signed_in(&gateway, ACME, ALICE_OF_ACME), signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX));
    gateway.advance(30 * 60);
    assert_eq!(acme.get("/").send().json()["reason"], "locked");
    assert_eq!(globex.get("/").send().json()["reason"], "idle");
}

/// A slip of the fingers in a role's name makes a limit that holds for nobody.
#[test]
fn a_role_that_nobody_has_is_told() {
    let remarks = |top: &str, own: &str| read(top, own).expect("a plan").remarks();
    let all_have = "[roles.admin]\nidle = \"10m\"\n";
    assert!(!remarks(all_have, "").iter().any(|remark| remark.contains("nobody has")));
    let slips = ["[roles.amdin]\nidle = \"10m\"\n", "[roles.amdin]\nmax_sessions = 1\n"];
    for (top, own) in slips.map(|slip| (slip, "")).into_iter().chain([("", "[tenant.roles.amdin]\nidle = \"1m\"\n")]) {
        let said = remarks(top, own);
        assert!(said.iter().any(|remark| remark.contains("nobody has the role \"amdin\"")), "{said:?}");
    }
}
