//! A session is bound to where it was made, as far as the configuration says, and a difference is answered as it says.

use super::harness::{ALICE, Answer, Client, Gateway, Setup, USER_AGENT};

const UPDATED: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0.2";
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

/// A gateway whose clients come through a proxy on this machine, which is believed.
fn behind_a_proxy(binding: &str) -> Gateway {
    let mut setup = Setup::new().extra(binding);
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    setup.start()
}

/// Signs in from an address, and gives the client.
fn signed_in_from(gateway: &Gateway, address: &str) -> Client {
    let client = gateway.client();
    let led = client.visit("/").header("x-forwarded-for", address).send();
    let page = client.visit(led.header("location")).header("x-forwarded-for", address).send();
    let attempt = super::harness::hidden(&page, "attempt");
    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*attempt)];
    let answer = client.post_form("/.vestibule/login", &fields).header("x-forwarded-for", address).send();
    assert_eq!(answer.status, 303, "{}", answer.text());
    client
}

fn from(client: &Client, address: &str) -> Answer {
    client.get("/").header("x-forwarded-for", address).send()
}

/// The same browser, or so it says.
fn saying(gateway: &Gateway, client: &Client, user_agent: &str) -> Client {
    let mut other = gateway.client();
    other.user_agent = user_agent.to_owned();
    other.set_session(&client.session());
    other
}

fn reason(answer: &Answer) -> String {
    assert_eq!(answer.status, 401, "{}", answer.text());
    answer.json()["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_updated_browser_stays_signed_in_and_another_one_ends_the_session() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(saying(&gateway, &client, UPDATED).get("/").send().status, 200);
    gateway.application.forget();
    let thief = saying(&gateway, &client, CHROME);
    assert_eq!(reason(&thief.get("/").send()), "binding_user_agent");
    assert_eq!(reason(&client.get("/").send()), "binding_user_agent", "the session is over for everybody");
    gateway.application.assert_untouched();
    gateway.log.wait_for(&["audit session.ended", "reason=binding_user_agent"]);
    let page = client.visit(client.visit("/").send().header("location")).send();
    assert!(page.text().contains("used by another browser"), "{}", page.text());
}

#[test]
fn no_user_agent_at_all_is_another_one() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(reason(&client.get("/").without("user-agent").send()), "binding_user_agent");
    assert_eq!(reason(&client.get("/").send()), "binding_user_agent");
}

#[test]
fn exact_lets_no_update_through() {
    let gateway = Setup::new().extra("[session.binding.user_agent]\nmode = \"exact\"\n").start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(saying(&gateway, &client, USER_AGENT).get("/").send().status, 200);
    assert_eq!(reason(&saying(&gateway, &client, UPDATED).get("/").send()), "binding_user_agent");
}

#[test]
fn off_looks_at_no_user_agent() {
    let gateway = Setup::new().extra("[session.binding.user_agent]\nmode = \"off\"\n").start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(saying(&gateway, &client, CHROME).get("/").send().status, 200);
    assert_eq!(client.get("/").without("user-agent").send().status, 200);
}

#[test]
fn log_reports_and_goes_on() {
    let gateway = Setup::new().extra("[session.binding.user_agent]\nanswer = \"log\"\n").start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(saying(&gateway, &client, CHROME).get("/").send().status, 200);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
    gateway.log.wait_for(&["audit binding.mismatch", "session=", "reason=user_agent", "answer=log"]);
    assert_eq!(client.get("/").send().status, 200);
    assert_eq!(saying(&gateway, &client, CHROME).get("/").send().status, 200);
    let reports = gateway.log.text().lines().filter(|line| line.contains("binding.mismatch")).count();
    assert_eq!(reports, 1, "once a session");
    assert_eq!(gateway.sessions_of("alice").len(), 1);
}

#[test]
fn step_up_asks_to_sign_in_and_keeps_the_session() {
    let gateway = Setup::new().extra("[session.binding.user_agent]\nanswer = \"step_up\"\n").start();
    let client = gateway.signed_in(ALICE);
    gateway.application.forget();
    let elsewhere = saying(&gateway, &client, CHROME);
    assert_eq!(reason(&elsewhere.get("/").send()), "other_user_agent");
    let led = elsewhere.visit("/work").send();
    assert_eq!((led.status, led.set_cookies().len()), (302, 0));
    let page = elsewhere.visit(led.header("location")).send();
    assert!(page.text().contains("Your browser looks different"), "{}", page.text());
    gateway.application.assert_untouched();
    assert_eq!(client.get("/").send().status, 200, "where it was made it goes on");
    gateway.log.wait_for(&["audit binding.mismatch", "reason=user_agent", "answer=step_up"]);
    // The password again makes a session that fits, and the other is over.
    let before = client.session();
    assert_eq!(elsewhere.sign_in(ALICE, "/work").header("location"), "/work");
    assert_ne!(elsewhere.session(), before);
    assert_eq!(elsewhere.get("/work").send().status, 200);
    assert_eq!(reason(&client.get("/").send()), "replaced");
}

#[test]
fn step_up_lets_nobody_through_as_signed_in_on_any_route() {
    let gateway = Setup::new().extra("[session.binding.user_agent]\nanswer = \"step_up\"\n").start();
    let client = gateway.signed_in(ALICE);
    gateway.application.forget();
    for path in ["/", "/admin", "/optional", "/anonymous"] {
        saying(&gateway, &client, CHROME).get(path).send();
        assert!(
            gateway.application.received().iter().all(|request| request.header("x-forwarded-user").is_none()),
            "{path}"
        );
    }
    assert_eq!(client.get("/").send().status, 200);
}

#[test]
fn addresses_are_not_compared_unless_asked() {
    let gateway = behind_a_proxy("");
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(from(&client, "198.51.100.1").status, 200);
}

#[test]
fn exact_addresses_end_the_session_elsewhere() {
    let gateway = behind_a_proxy("[session.binding.ip]\nmode = \"exact\"\n");
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(from(&client, "203.0.113.7").status, 200);
    assert_eq!(from(&client, "::ffff:203.0.113.7").status, 200, "the same address, written as IPv6");
    // What the client writes itself stands left of what the proxy adds, and is not believed.
    assert_eq!(reason(&from(&client, "203.0.113.7, 203.0.113.8")), "binding_ip");
    assert_eq!(reason(&from(&client, "203.0.113.7")), "binding_ip");
    gateway.log.wait_for(&["audit session.ended", "client=203.0.113.8", "reason=binding_ip"]);
    let page = client.visit(client.visit("/").send().header("location")).send();
    assert!(page.text().contains("your network address changed"), "{}", page.text());
}

#[test]
fn an_address_that_nobody_trusted_wrote_changes_nothing() {
    let gateway = Setup::new().extra("[session.binding.ip]\nmode = \"exact\"\n").start();
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(from(&client, "198.51.100.1").status, 200);
    assert_eq!(gateway.application.last().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn prefixes_follow_a_person_within_their_network() {
    let gateway = behind_a_proxy("[session.binding.ip]\nmode = \"prefix\"\nprefix_v4 = 24\nprefix_v6 = 56\n");
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(from(&client, "203.0.113.250").status, 200);
    assert_eq!(reason(&from(&client, "203.0.114.7")), "binding_ip");
    let client = signed_in_from(&gateway, "2001:db8:0:100::1");
    assert_eq!(from(&client, "2001:db8:0:1ff:9::9").status, 200);
    assert_eq!(reason(&from(&client, "2001:db8:0:200::1")), "binding_ip");
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(reason(&from(&client, "2001:db8::1")), "binding_ip", "another family is another network");
}

#[test]
fn a_changed_address_is_answered_as_configured() {
    let gateway = behind_a_proxy("[session.binding.ip]\nmode = \"exact\"\nanswer = \"step_up\"\n");
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(reason(&from(&client, "198.51.100.1")), "other_ip");
    let led = client.visit("/").header("x-forwarded-for", "198.51.100.1").send();
    let page = client.visit(led.header("location")).header("x-forwarded-for", "198.51.100.1").send();
    assert!(page.text().contains("Your network address changed"), "{}", page.text());
    assert_eq!(from(&client, "203.0.113.7").status, 200);
    gateway.log.wait_for(&["audit binding.mismatch", "client=198.51.100.1", "reason=ip", "answer=step_up"]);
    // The password again, and the person goes on where they were.
    let attempt = super::harness::hidden(&page, "attempt");
    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*attempt)];
    let form = client.post_form("/.vestibule/login", &fields).header("x-forwarded-for", "198.51.100.1");
    assert_eq!(form.send().header("location"), "/");
    assert_eq!(from(&client, "198.51.100.1").status, 200);
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    let gateway = behind_a_proxy("[session.binding.ip]\nmode = \"exact\"\nanswer = \"log\"\n");
    let client = signed_in_from(&gateway, "203.0.113.7");
    assert_eq!(from(&client, "198.51.100.1").status, 200);
    gateway.log.wait_for(&["audit binding.mismatch", "client=198.51.100.1", "reason=ip", "answer=log"]);
}

#[test]
fn the_graver_of_two_answers_counts() {
    let gateway = behind_a_proxy("[session.binding.ip]\nmode = \"exact\"\nanswer = \"log\"\n");
    let client = signed_in_from(&gateway, "203.0.113.7");
    let elsewhere = saying(&gateway, &client, CHROME);
    assert_eq!(reason(&from(&elsewhere, "198.51.100.1")), "binding_user_agent");
}

#[test]
fn anonymous_sessions_are_bound_too() {
    let gateway = Setup::new().start();
    let stranger = gateway.client();
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    let planted = stranger.session();
    let thief = saying(&gateway, &stranger, CHROME);
    assert_eq!(thief.get("/anonymous").send().status, 200);
    assert_ne!(thief.session(), planted, "the thief is given a session of its own");
}

#[test]
fn shadow_mode_ends_nothing_asks_nothing_and_says_what_it_would_have_done() {
    let ip = "[session.binding.ip]\nmode = \"exact\"\n";
    for (answer, would) in [("end", "would_end"), ("step_up", "would_step_up"), ("log", "log")] {
        let gateway = behind_a_proxy(&format!("[session.binding]\nshadow = true\n{ip}answer = \"{answer}\"\n"));
        let client = signed_in_from(&gateway, "203.0.113.7");
        let elsewhere = saying(&gateway, &client, CHROME);
        for _ in 0..3 {
            assert_eq!(from(&elsewhere, "198.51.100.1").status, 200);
            assert_eq!(from(&client, "203.0.113.7").status, 200);
        }
        assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
        gateway.log.wait_for(&[
            "audit binding.mismatch",
            "client=198.51.100.1",
            "reason=ip",
            &format!("answer={would}"),
        ]);
        gateway.log.wait_for(&["audit binding.mismatch", "reason=user_agent", "answer=would_end"]);
        let reports = gateway.log.text().lines().filter(|line| line.contains("binding.mismatch")).count();
        assert_eq!(reports, 2, "once for each difference");
    }
}
