//! Tenants by host: what one of them has given out is worth nothing at another, on one store and also with the same keys;
//! alice of one is not alice of another.

use std::fs;
use std::sync::OnceLock;

use vestibule::base::random::Random;
use vestibule::crypto::keyring;
use vestibule::enforce::reloads::{Cause, Reloaded};
use vestibule::login::users::hash_password;
use vestibule::session::record::{EndReason, Owner};
use vestibule::session::tenant::TenantId;

use super::harness::{ALICE, Answer, Client, Gateway, Setup, Version, hidden};

pub(super) const ACME: &str = "acme.example.test";
pub(super) const GLOBEX: &str = "globex.example.test";
pub(super) const SHOP: &str = "shop.wide.test";
const DESK: &str = "desk.wide.test";

/// Each tenant has an alice, with a password of her own.
pub(super) const ALICE_OF_ACME: (&str, &str) = ("alice", "anvils and rockets");
pub(super) const ALICE_OF_GLOBEX: (&str, &str) = ("alice", "world domination");
pub(super) const ALICE_OF_WIDE: (&str, &str) = ("alice", "open all hours");
/// Dave is at Acme alone.
pub(super) const DAVE: (&str, &str) = ("dave", "coyotes everywhere");

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::of(name).expect("room")
}

/// Hashed once, because that is made to be slow.
fn users_of() -> &'static [String; 3] {
    static USERS: OnceLock<[String; 3]> = OnceLock::new();
    USERS.get_or_init(|| {
        let user = |(name, password): (&str, &str), role: &str| {
            let hash = hash_password(password, Random::System.bytes()).expect("a hash");
            format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\nroles = [\"{role}\"]\n")
        };
        let acme = [user(ALICE_OF_ACME, "admin"), user(DAVE, "staff")].concat();
        [acme, user(ALICE_OF_GLOBEX, "staff"), user(ALICE_OF_WIDE, "staff")]
    })
}

/// Two stores, the one that is the default and the one in memory alone.
const STORES: [&str; 2] = ["", "[session.store]\nkind = \"memory\"\n"];

/// Two tenants with a host each and one with all below a domain, and the default one. `acme`, `globex` and `wide` are more
/// of their tables.
pub(super) fn setup(acme: &str, globex: &str, wide: &str) -> Setup {
    let [of_acme, of_globex, of_wide] = users_of();
    let tenants = format!(
        "[[tenant]]\nname = \"acme\"\nhosts = [\"{ACME}\"]\n[tenant.login.local]\nusers = \"acme.toml\"\n{acme}\n\
         [[tenant]]\nname = \"globex\"\nhosts = [\"{GLOBEX}\"]\n[tenant.login.local]\nusers = \"globex.toml\"\n{globex}\n\
         [[tenant]]\nname = \"wide\"\nhosts = [\"*.wide.test\"]\n[tenant.login.local]\nusers = \"wide.toml\"\n{wide}\n"
    );
    let files = [("acme.toml", of_acme), ("globex.toml", of_globex), ("wide.toml", of_wide)];
    Setup {
        certificates: vec![vec!["localhost", ACME, GLOBEX, "*.wide.test"]],
        files: files.map(|(name, text)| (name, text.clone())).into(),
        ..Setup::new()
    }
    .extra(&tenants)
}

/// A client that asks for `host` on a connection for it.
pub(super) fn at(gateway: &Gateway, host: &str) -> Client {
    let mut client = gateway.client();
    (client.host, client.sni) = (host.to_owned(), host.to_owned());
    client
}

/// The same client, on a connection for `sni`.
fn naming(sni: &str, mut client: Client) -> Client {
    sni.clone_into(&mut client.sni);
    client
}

pub(super) fn signed_in(gateway: &Gateway, host: &str, who: (&str, &str)) -> Client {
    let client = at(gateway, host);
    let answer = client.sign_in(who, "/");
    assert_eq!(answer.status, 303, "{host}: {}", answer.text());
    client
}

/// The same browser's cookies at another host, which no browser would send there.
fn replayed(gateway: &Gateway, thief_at: &str, client: &Client) -> Client {
    let thief = at(gateway, thief_at);
    *thief.jar.borrow_mut() = client.jar.borrow().clone();
    thief
}

fn assert_unknown(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    let reason = answer.json()["reason"].as_str().map(str::to_owned);
    assert!(matches!(reason.as_deref(), Some("invalid_cookie" | "unknown_session")), "{what}: {reason:?}");
}

/// The attack that tenants are about. The default: keys of all, a store of all, the same name of the cookie.
#[test]
fn a_cookie_of_one_is_worthless_at_another_on_one_store_with_the_same_keys() {
    for store in STORES {
        let gateway = setup("", "", "").extra(store).start();
        let everybody = [("localhost", ALICE), (ACME, ALICE_OF_ACME), (GLOBEX, ALICE_OF_GLOBEX), (SHOP, ALICE_OF_WIDE)];
        let clients = everybody.map(|(host, who)| (host, signed_in(&gateway, host, who)));
        for version in [Version::H1, Version::H2] {
            for (own, client) in &clients {
                for (other, _) in clients.iter().filter(|(other, _)| other != own) {
                    let thief = replayed(&gateway, other, client).speaking(version);
                    gateway.application.forget();
                    for path in ["/", "/optional", "/anonymous", "/admin"] {
                        thief.get(path).send();
                        thief.jar.borrow_mut().clone_from(&client.jar.borrow());
                    }
                    assert_unknown(&thief.get("/").send(), &format!("{own} at {other}"));
                    let received = gateway.application.received();
                    assert!(
                        received.iter().all(|request| request.header("x-forwarded-user").is_none()),
                        "{own} at {other}"
                    );
                    assert!(received.iter().all(|request| request.header("cookie").is_none()), "{own} at {other}");
                    // Signing out there signs nobody out here, and the page asks for nobody's name.
                    let asked = replayed(&gateway, other, client).speaking(version);
                    let page = asked.visit("/.vestibule/logout").send();
                    assert!(page.status == 200 && !page.text().contains("alice"), "{}", page.text());
                    assert_eq!(asked.post_form("/.vestibule/logout", &[]).send().status, 200);
                }
                assert_eq!(client.get("/").send().status, 200, "{own} goes on");
                assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
            }
        }
    }
}

/// Also where a tenant gives its cookie another name or keys of its own, and somebody moves the value over.
#[test]
fn a_value_under_the_other_tenants_name_is_worthless_too() {
    let key = keyring::new_key(&Random::System);
    let keys = "[tenant.keys]\nsecrets = [\"file:shared.keys\"]\n";
    let mut setup = setup(keys, keys, "[tenant.session.cookie]\nname = \"__Secure-wide\"\ndomain = \"wide.test\"\n");
    setup.files.push(("shared.keys", key.to_string()));
    let gateway = setup.start();
    let acme = signed_in(&gateway, ACME, ALICE_OF_ACME);
    let globex = signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX);
    let wide = signed_in(&gateway, SHOP, ALICE_OF_WIDE);
    assert!(wide.session().is_empty() && wide.jar.borrow().contains_key("__Secure-wide"), "{:?}", wide.jar.borrow());
    assert_unknown(&replayed(&gateway, GLOBEX, &acme).get("/").send(), "with the same keys of their own");
    let value = wide.jar.borrow()["__Secure-wide"].clone();
    for host in ["localhost", ACME, GLOBEX] {
        let thief = at(&gateway, host);
        thief.set_session(&value);
        assert_unknown(&thief.get("/").send(), host);
    }
    let thief = at(&gateway, SHOP);
    for value in [acme.session(), globex.session()] {
        thief.jar.borrow_mut().insert("__Secure-wide".to_owned(), value);
        assert_unknown(&thief.get("/").send(), "the other way round");
    }
    // Were the domains of two to overlap all the same, a browser would send both.
    let both = signed_in(&gateway, ACME, ALICE_OF_ACME);
    both.jar.borrow_mut().insert("__Secure-wide".to_owned(), value);
    gateway.application.forget();
    assert_eq!(both.get("/").send().status, 200);
    assert_eq!(gateway.application.last().header("cookie"), None, "no tenant's cookie reaches an application");
    assert_eq!([&acme, &globex, &wide].map(|client| client.get("/").send().status), [200; 3]);
}

/// The last line: a cookie that is good at the other tenant in every way, made with its keys, of a session that is not its.
#[test]
fn a_good_cookie_of_another_tenants_session_opens_none() {
    use vestibule::enforce::establish;
    let gateway = setup("", "", "").start();
    signed_in(&gateway, ACME, ALICE_OF_ACME);
    let live = gateway.sessions_at(tenant("acme"), "alice").remove(0);
    let (shared, now) = (&gateway.running().shared, gateway.running().shared.clock.now());
    let snapshot = shared.snapshot.load_full();
    let cookie_at = |name: &str| {
        let tenant = snapshot.tenant_named(tenant(name)).expect("a tenant");
        let set = establish::cookie(shared, tenant, &live, 0, now).expect("a cookie");
        let value = set.to_str().expect("text").split(['=', ';']).nth(1).expect("a value").to_owned();
        super::harness::note_secret(&value);
        value
    };
    for (name, host) in [("globex", GLOBEX), ("default", "localhost"), ("wide", SHOP)] {
        let thief = at(&gateway, host);
        thief.set_session(&cookie_at(name));
        let answer = thief.get("/").send();
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("unknown_session")), "{name}");
        assert_eq!(thief.post_form("/.vestibule/logout", &[]).send().status, 200);
        assert!(live.ended().is_none(), "{name}: nobody was signed out by it");
    }
    let own = at(&gateway, ACME);
    own.set_session(&cookie_at("acme"));
    assert_eq!(own.get("/").send().status, 200);
}

#[test]
fn alice_of_one_is_not_alice_of_another() {
    let gateway = setup("", "", "").start();
    for (host, who) in
        [(ACME, ALICE_OF_GLOBEX), (GLOBEX, ALICE_OF_ACME), (ACME, ALICE), ("localhost", ALICE_OF_ACME), (GLOBEX, DAVE)]
    {
        let client = at(&gateway, host);
        assert_eq!(client.sign_in(who, "/").status, 401, "{host}");
    }
    let (acme, globex) = (signed_in(&gateway, ACME, ALICE_OF_ACME), signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX));
    let default = gateway.signed_in(ALICE);
    // Roles are each one's own.
    assert_eq!((acme.get("/admin").send().status, globex.get("/admin").send().status), (200, 403));
    let count = |name: &str| gateway.sessions_at(tenant(name), "alice").len();
    assert_eq!((count("acme"), count("globex"), count("default")), (1, 1, 1));
    let shared = &gateway.running().shared;
    let ended = gateway.block_on(shared.end_all_sessions(
        Owner::user(tenant("acme"), "alice"),
        EndReason::Revoked,
        shared.clock.now(),
    ));
    assert_eq!(ended, Ok(1));
    assert_eq!((count("acme"), count("globex"), count("default")), (0, 1, 1));
    assert_eq!(acme.get("/").send().json()["reason"], "revoked", "she is told why");
    assert_eq!((globex.get("/").send().status, default.get("/").send().status), (200, 200));
    gateway.log.wait_for(&["audit session.ended", "user=alice", "reason=revoked", "tenant=acme"]);
    gateway.log.wait_for(&["audit login.succeeded", "user=alice", "tenant=globex"]);
    assert!(gateway.log.text().lines().all(|line| !line.contains("tenant=default")), "it is said where there is one");
}

/// Whose a request is, is said by the one host that was compared with the connection.
#[test]
fn no_trick_with_the_host_reaches_another_tenant() {
    let gateway =
        setup("[tenant.portal]\ntitle = \"Acme Rockets\"\n", "[tenant.portal]\ntitle = \"Globex\"\n", "").start();
    let title_at = |client: &Client| {
        let text = client.visit("/.vestibule/login").send().text();
        ["Acme Rockets", "Globex"].into_iter().find(|title| text.contains(title))
    };
    for version in [Version::H1, Version::H2] {
        assert_eq!(title_at(&at(&gateway, ACME).speaking(version)), Some("Acme Rockets"));
        assert_eq!(title_at(&at(&gateway, GLOBEX).speaking(version)), Some("Globex"));
        assert_eq!(title_at(&at(&gateway, "localhost").speaking(version)), None);
        let upper = naming(ACME, at(&gateway, "ACME.Example.TEST").speaking(version));
        assert_eq!(title_at(&upper), Some("Acme Rockets"));
    }
    // A dot at the end is the same host; two are none.
    let dotted = naming(ACME, at(&gateway, "acme.example.test."));
    assert_eq!(title_at(&dotted), Some("Acme Rockets"));
    for host in ["acme.example.test..", ".acme.example.test", "acme..example.test"] {
        let client = naming(ACME, at(&gateway, host));
        assert_eq!(client.get("/public").send().status, 400, "{host}");
    }
    let raw = |sni: &str, head: &str| {
        let client = naming(sni, at(&gateway, sni));
        let answer = client.raw(
            format!("{head}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
        let status = answer.split(' ').nth(1).expect("a status").to_owned();
        (status, ["Acme Rockets", "Globex"].into_iter().find(|title| answer.contains(title)))
    };
    let page = "GET /.vestibule/login HTTP/1.1";
    // The connection is one for both: its certificate covers them. What counts is what is asked for on it.
    assert_eq!(raw(ACME, &format!("{page}\r\nHost: {GLOBEX}")), ("200".to_owned(), Some("Globex")));
    let absolute = format!("GET https://{ACME}/.vestibule/login HTTP/1.1\r\nHost: {GLOBEX}");
    for (head, status, title) in [
        (format!("{page}\r\nHost: {ACME}\r\nHost: {GLOBEX}"), "400", None),
        (absolute, "400", None),
        (format!("{page}\r\nHost: {ACME}, {GLOBEX}"), "400", None),
        (format!("{page}\r\nHost: {GLOBEX}@{ACME}"), "400", None),
        (
            format!(
                "{page}\r\nHost: {ACME}\r\nX-Forwarded-Host: {GLOBEX}\r\nForwarded: host={GLOBEX}\r\nX-Host: {GLOBEX}"
            ),
            "200",
            Some("Acme Rockets"),
        ),
        (format!("{page}\r\nHost: {ACME}:443"), "200", Some("Acme Rockets")),
        (format!("GET https://{ACME}/.vestibule/login HTTP/1.1\r\nHost: {ACME}"), "200", Some("Acme Rockets")),
    ] {
        assert_eq!(raw(ACME, &head), (status.to_owned(), title), "{head}");
    }
    // A session of one on a connection that began for the other: the host decides.
    let acme = signed_in(&gateway, ACME, ALICE_OF_ACME);
    let over_globex = naming(GLOBEX, replayed(&gateway, ACME, &acme));
    assert_eq!(over_globex.get("/").send().status, 200);
    let to_globex = naming(ACME, replayed(&gateway, GLOBEX, &acme));
    assert_unknown(&to_globex.get("/").send(), "a connection for acme does not make globex acme");
}

/// A connection whose certificate is one tenant's alone reaches no other.
#[test]
fn a_connection_of_one_tenants_certificate_does_not_serve_another() {
    let mut setup = setup("", "", "");
    setup.certificates = vec![vec![ACME], vec![GLOBEX, "localhost", "*.wide.test"]];
    let gateway = setup.start();
    let acme = signed_in(&gateway, ACME, ALICE_OF_ACME);
    assert_eq!(acme.get("/").send().status, 200);
    for version in [Version::H1, Version::H2] {
        let crossed = naming(ACME, at(&gateway, GLOBEX).speaking(version));
        assert_eq!(crossed.get("/public").send().status, 421);
        let crossed = naming(GLOBEX, at(&gateway, ACME).speaking(version));
        assert_eq!(crossed.get("/public").send().status, 421);
    }
}

#[test]
fn neither_the_form_nor_the_link_of_one_login_page_works_at_another() {
    let gateway = setup("", "", "").start();
    let acme = at(&gateway, ACME);
    let led = acme.visit("/private?of=acme").send();
    let link = led.header("location").to_owned();
    let token = hidden(&acme.visit(&link).send(), "attempt");
    // With the cookie that ties the form to its browser.
    let globex = replayed(&gateway, GLOBEX, &acme);
    let (name, password) = ALICE_OF_GLOBEX;
    let post = |client: &Client, (name, password): (&str, &str), token: &str| {
        client.post_form("/.vestibule/login", &[("username", name), ("password", password), ("attempt", token)]).send()
    };
    let answer = post(&globex, (name, password), &token);
    assert_eq!((answer.status, globex.session().as_str()), (400, ""), "{}", answer.text());
    // The link to the login page says where to go on; at another tenant it says nothing.
    let page = globex.visit(&link).send();
    let answer = post(&globex, (name, password), &hidden(&page, "attempt"));
    assert_eq!((answer.status, answer.header("location")), (303, "/"));
    let answer = post(&acme, ALICE_OF_ACME, &token);
    assert_eq!((answer.status, answer.header("location")), (303, "/private?of=acme"), "where it was made it works");
}

/// A browser that is known to one tenant is a stranger to the other: its cookie there is an allowance of nobody's.
#[test]
fn wrong_passwords_and_known_browsers_are_counted_by_tenant() {
    let gateway = setup("[tenant.limits]\nlogin = \"off\"\n", "[tenant.limits]\nlogin = \"off\"\n", "")
        .extra("[limits]\nwrong_passwords = \"10/h\"")
        .start();
    let known = signed_in(&gateway, ACME, ALICE_OF_ACME);
    assert!(known.jar.borrow().contains_key("__Host-device"), "{:?}", known.jar.borrow());
    let wrong = |client: &Client| {
        let token = hidden(&client.visit("/.vestibule/login").send(), "attempt");
        let fields = [("username", "alice"), ("password", "not hers"), ("attempt", token.as_str())];
        client.post_form("/.vestibule/login", &fields).send().status
    };
    let tried = |client: &Client| (0..20).take_while(|_| wrong(client) == 401).count();
    let stranger = at(&gateway, GLOBEX);
    assert_eq!(tried(&stranger), 2, "a fifth of the allowance, as one network has");
    assert_eq!(wrong(&replayed(&gateway, GLOBEX, &known)), 429, "the cookie of another tenant is none");
    // At Acme nobody has tried anything.
    assert_eq!(tried(&at(&gateway, ACME)), 2);
    assert_eq!(tried(&replayed(&gateway, ACME, &known)), 10, "the browser that is known there");
    assert_eq!(wrong(&gateway.client()), 401, "nor at the default tenant");
}

#[test]
fn limits_and_lifetimes_are_each_tenants_own() {
    let gateway = setup(
        "[tenant.session.lifetime]\nidle = \"5m\"\nabsolute = \"1h\"\n[tenant.limits]\nper_session = \"2/m\"\n",
        "[tenant.roles.staff]\nidle = \"10m\"\n",
        "",
    )
    .start();
    let (acme, globex) = (signed_in(&gateway, ACME, ALICE_OF_ACME), signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX));
    let default = gateway.signed_in(ALICE);
    assert_eq!([(); 4].map(|()| acme.get("/").send().status), [200, 200, 429, 429]);
    assert_eq!([(); 4].map(|()| globex.get("/").send().status), [200; 4]);
    gateway.advance(5 * 60);
    assert_eq!(acme.get("/").send().json()["reason"], "idle");
    assert_eq!((globex.get("/").send().status, default.get("/").send().status), (200, 200));
    gateway.advance(10 * 60);
    assert_eq!(globex.get("/").send().json()["reason"], "idle", "by a role that only Globex shortens");
    assert_eq!(default.get("/").send().status, 200);
    // The sweep ends each by its own limits, nobody being asked.
    let (acme, default) = (signed_in(&gateway, ACME, ALICE_OF_ACME), gateway.signed_in(ALICE));
    gateway.advance(6 * 60);
    let shared = &gateway.running().shared;
    gateway.block_on(shared.sweep(shared.clock.now()));
    assert!(gateway.sessions_at(tenant("acme"), "alice").is_empty() && !gateway.sessions_of("alice").is_empty());
    assert_eq!(acme.get("/").send().json()["reason"], "idle");
    assert_eq!(default.get("/").send().status, 200);
}

/// Sharing among the hosts of one tenant is said, and it is of that tenant alone.
#[test]
fn a_cookie_with_a_domain_is_one_session_on_all_hosts_of_its_tenant() {
    let cookie = "[tenant.session.cookie]\nname = \"__Secure-wide\"\ndomain = \"wide.test\"\n";
    let gateway = setup("", "", cookie).start();
    let shop = at(&gateway, SHOP);
    let answer = shop.sign_in(ALICE_OF_WIDE, "/");
    let set = answer.set_cookies().into_iter().find(|set| set.starts_with("__Secure-wide=")).expect("a cookie");
    assert!(set.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Domain=wide.test"), "{set}");
    for version in [Version::H1, Version::H2] {
        let desk = replayed(&gateway, DESK, &shop).speaking(version);
        assert_eq!(desk.get("/").send().status, 200, "the other host of the tenant");
    }
    assert_eq!(gateway.sessions_at(tenant("wide"), "alice").len(), 1);
    // Signing out at one signs out at the other.
    let desk = replayed(&gateway, DESK, &shop);
    let left = desk.post_form("/.vestibule/logout", &[]).send();
    assert!(
        left.set_cookies().iter().any(|set| set.starts_with("__Secure-wide=;") && set.contains("Domain=wide.test"))
    );
    assert_eq!(shop.get("/").send().json()["reason"], "logout");
    // Without it, each host has its own.
    let gateway = setup("", "", "").start();
    let shop = signed_in(&gateway, SHOP, ALICE_OF_WIDE);
    assert!(!shop.session().is_empty() && at(&gateway, DESK).get("/").send().status == 401);
}

#[test]
fn no_application_can_set_a_cookie_of_ours_at_any_tenant() {
    let cookie = "[tenant.session.cookie]\nname = \"__Secure-wide\"\ndomain = \"wide.test\"\n";
    let server = super::harness::Scripted::saying(
        "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-device=x; Path=/; Secure\r\nSet-Cookie: __secure-WIDE=x; Domain=wide.test\r\n\
         Set-Cookie: __Host-session=x\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = setup("", "", cookie).in_front_of(&server).start();
    for host in ["localhost", ACME, SHOP] {
        assert_eq!(at(&gateway, host).get("/public").send().set_cookies(), ["own=1"], "{host}");
    }
}

pub(super) fn reload(gateway: &Gateway) -> Reloaded {
    let outcome = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    outcome.unwrap_or_else(|words| panic!("refused: {words}"))
}

/// Writes something else in a file of the gateway's.
pub(super) fn edit(gateway: &Gateway, file: &str, change: impl Fn(&str) -> String) {
    let file = gateway.folder.path().join(file);
    let text = fs::read_to_string(&file).expect("a file");
    let changed = change(&text);
    assert_ne!(text, changed);
    fs::write(file, changed).expect("written");
}

/// The tables of one tenant.
fn without_tenant(text: &str, name: &str) -> String {
    let mut parts: Vec<&str> = text.split("[[tenant]]\n").collect();
    parts.retain(|part| !part.starts_with(&format!("name = \"{name}\"")));
    parts.join("[[tenant]]\n")
}

#[test]
fn a_tenant_comes_and_goes_with_a_reload_and_its_sessions_go_with_it() {
    for store in STORES {
        let gateway = setup("", "", "").extra(store).start();
        let whole = fs::read_to_string(gateway.folder.path().join("gateway.toml")).expect("a file");
        let (acme, globex) = (signed_in(&gateway, ACME, ALICE_OF_ACME), signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX));
        edit(&gateway, "gateway.toml", |text| without_tenant(text, "acme"));
        assert_eq!(reload(&gateway).ended, 1);
        gateway.log.wait_for(&["audit session.ended", "reason=revoked", "tenant=acme"]);
        // The host is the default tenant's now, whose users are others.
        assert_unknown(&acme.get("/").send(), "its cookie opens nothing");
        assert_eq!(at(&gateway, ACME).sign_in(ALICE_OF_ACME, "/").status, 401);
        assert_eq!(globex.get("/").send().status, 200);
        let stays = signed_in(&gateway, ACME, ALICE);
        fs::write(gateway.folder.path().join("gateway.toml"), &whole).expect("written");
        assert_eq!(reload(&gateway).ended, 0);
        assert_unknown(&stays.get("/").send(), "what the default tenant gave out at a host that is another's now");
        // Nobody's account is the matter, which is there again.
        assert_unknown_or(&acme.get("/").send(), "revoked");
        let again = signed_in(&gateway, ACME, ALICE_OF_ACME);
        assert_eq!(again.get("/").send().status, 200);
    }
}

fn assert_unknown_or(answer: &Answer, reason: &str) {
    let said = answer.json()["reason"].as_str().map(str::to_owned);
    assert!(
        answer.status == 401 && (said.as_deref() == Some(reason) || said.as_deref() == Some("no_session")),
        "{said:?}"
    );
}

#[test]
fn the_users_file_of_a_tenant_is_followed_like_any_and_only_for_its_own() {
    let gateway = setup("", "", "").start();
    let (acme, dave) = (signed_in(&gateway, ACME, ALICE_OF_ACME), signed_in(&gateway, ACME, DAVE));
    let (globex, default) = (signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX), gateway.signed_in(ALICE));
    edit(&gateway, "acme.toml", |text| text.replacen("roles = [\"admin\"]", "roles = [\"admin\"]\ndisabled = true", 1));
    super::harness::advance_until(&gateway, "it is noticed", || {
        gateway.sessions_at(tenant("acme"), "alice").is_empty()
    });
    assert_eq!(acme.get("/").send().json()["reason"], "account_disabled");
    assert_eq!([&dave, &globex, &default].map(|client| client.get("/").send().status), [200; 3]);
    // Also while the configuration itself cannot be used.
    edit(&gateway, "gateway.toml", |text| format!("{text}\n[nonsense]\n"));
    edit(&gateway, "globex.toml", |text| text.replacen("roles = [\"staff\"]", "roles = [\"admin\"]", 1));
    super::harness::advance_until(&gateway, "rights follow", || {
        let sessions = gateway.sessions_at(tenant("globex"), "alice");
        sessions.iter().all(|live| live.principal().is_some_and(|principal| principal.has_role("admin")))
    });
    assert_eq!(globex.get("/admin").send().status, 200);
    // One that is suddenly empty is not taken.
    edit(&gateway, "gateway.toml", |text| text.replace("\n[nonsense]\n", ""));
    edit(&gateway, "globex.toml", |_| String::new());
    let refused = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    assert!(
        refused.as_ref().is_err_and(|words| words.contains("globex.toml: nobody is in it any more")),
        "{refused:?}"
    );
    assert_eq!(globex.get("/").send().status, 200);
}

/// What a restart finds is whose it was.
#[test]
fn sessions_come_back_from_the_disk_to_their_tenants() {
    use vestibule::app::{self, Parts};
    use vestibule::base::clock::Clock;
    use vestibule::config::Plan;
    let mut gateway = setup("", "", "").start();
    let clients = [(ACME, ALICE_OF_ACME), (GLOBEX, ALICE_OF_GLOBEX), (ACME, DAVE)];
    let jars = clients.map(|(host, who)| (host, signed_in(&gateway, host, who).jar.borrow().clone()));
    gateway.stop();
    // Dave goes while nobody runs, and so does Globex.
    edit(&gateway, "acme.toml", |text| {
        text.split_inclusive("[[user]]").take(2).collect::<String>().trim_end_matches("[[user]]").to_owned()
    });
    edit(&gateway, "gateway.toml", |text| without_tenant(text, "globex"));
    let plan = Plan::load(&gateway.folder.path().join("gateway.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let parts =
        Parts { clock: Clock::Manual(gateway.clock.clone()), log: Box::new(gateway.log.clone()), ..Parts::default() };
    let running = app::start(&plan, parts).expect("it starts again");
    let again = |(host, jar): &(&str, std::collections::BTreeMap<String, String>)| {
        let mut client = Client::new(running.addresses[0]);
        (client.host, client.sni) = ((*host).to_owned(), (*host).to_owned());
        *client.jar.borrow_mut() = jar.clone();
        let answer = client.get("/").send();
        (answer.status, answer.status == 401 && answer.json()["reason"] == "account_disabled")
    };
    assert_eq!(jars.each_ref().map(again), [(200, false), (401, false), (401, true)]);
    assert_eq!(running.shared.store.active(), 1);
    running.stop();
    gateway.clock.advance(std::time::Duration::from_secs(3600));
    running.wait();
}

/// The operator says whose sessions are meant, where there are several of a name.
#[test]
fn the_operator_sees_and_ends_the_sessions_of_one_tenant() {
    use super::harness::process::run;
    let place = tempfile::tempdir().expect("a folder");
    let socket = format!("unix:{}", place.path().join("admin.sock").display());
    let gateway = setup("", "", "").extra(&format!("[admin]\nlisten = \"{socket}\"\n")).start();
    let (acme, dave) = (signed_in(&gateway, ACME, ALICE_OF_ACME), signed_in(&gateway, ACME, DAVE));
    let (globex, default) = (signed_in(&gateway, GLOBEX, ALICE_OF_GLOBEX), gateway.signed_in(ALICE));
    let folder = gateway.folder.path();
    let ask = |words: &[&str]| run(folder, &[&["sessions"], words].concat(), "");
    let listed = |words: &[&str]| {
        let said = ask(&[&["list", "--json"], words].concat());
        let all: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
        let whose = |session: &serde_json::Value| {
            format!("{}@{}", session["user"].as_str().unwrap_or(""), session["tenant"].as_str().unwrap_or(""))
        };
        let mut names: Vec<String> = all.as_array().expect("a list").iter().map(whose).collect();
        names.sort();
        names
    };
    assert_eq!(listed(&["--user", "alice"]), ["alice@acme", "alice@default", "alice@globex"]);
    assert_eq!(listed(&["--user", "alice", "--tenant", "acme"]), ["alice@acme"]);
    assert_eq!(listed(&["--tenant", "acme"]), ["alice@acme", "dave@acme"]);
    assert_eq!(listed(&["--tenant", "default"]), ["alice@default"]);
    let unclear = ask(&["end", "--user", "alice"]);
    assert!(!unclear.stderr.is_empty() && unclear.stderr.contains("--tenant"), "{}", unclear.stderr);
    let nobody = ask(&["end", "--user", "alice", "--tenant", "initech"]);
    assert!(nobody.stderr.contains("there is no tenant \"initech\""), "{}", nobody.stderr);
    assert_eq!(ask(&["end", "--user", "alice", "--tenant", "globex"]).stdout.trim(), "Ended 1 session.");
    assert_eq!([&acme, &dave, &default].map(|client| client.get("/").send().status), [200; 3]);
    assert_eq!(globex.get("/").send().json()["reason"], "revoked");
    assert_eq!(ask(&["end", "--all", "--yes", "--tenant", "acme"]).stdout.trim(), "Ended 2 sessions.");
    assert_eq!((acme.get("/").send().status, default.get("/").send().status), (401, 200));
    let metrics = gateway.running().shared.render_metrics();
    assert!(metrics.contains("vestibule_tenant_events_total{tenant=\"acme\",event=\"session.ended\"} 2"), "{metrics}");
}

/// What would let one tenant near another, or means nothing, is refused with what to write instead.
#[test]
fn what_a_tenant_cannot_be_is_said_with_its_line() {
    use vestibule::config::Plan;
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("users.toml"), super::harness::users()).expect("written");
    let top = "[server]\nlisten = [\"127.0.0.1:0\"]\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\ngenerate = true\n\
               [login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = [\"http://127.0.0.1:3000\"]\n\
               [[route]]\npath = \"/\"\nupstream = \"app\"\n";
    let said = |more: &str| {
        let file = folder.path().join("gateway.toml");
        fs::write(&file, format!("{top}{more}")).expect("written");
        Plan::load(&file).err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
    };
    let tenant = |name: &str, hosts: &str, more: &str| {
        format!(
            "[[tenant]]\nname = \"{name}\"\nhosts = [{hosts}]\n[tenant.login.local]\nusers = \"users.toml\"\n{more}"
        )
    };
    let shared = |domain: &str| format!("[tenant.session.cookie]\nname = \"__Secure-s\"\ndomain = \"{domain}\"\n");
    let a = || tenant("a", "\"a.test\"", "");
    assert_eq!(said(&[a(), tenant("b", "\"*.b.test\", \"b.test\"", &shared("b.test"))].concat()), "");
    for (written, words) in [
        ("[[tenant]]\n".to_owned(), &["\"name\" is missing in [[tenant]]", "\"hosts\" is missing in [[tenant]]"][..]),
        (tenant("Acme Inc", "\"a.test\"", ""), &["is not a tenant's name", "small letters"]),
        (tenant("default", "\"a.test\"", ""), &["choose another name"]),
        (tenant("a", "\"*\"", ""), &["\"*\" is every host"]),
        (tenant("a", "\"https://a.test\"", ""), &["is not a host"]),
        ([a(), a()].concat(), &["there are two tenants named \"a\"", "\"a.test\" is the tenant \"a\"'s already"]),
        ([a(), tenant("b", "\"A.test\"", "")].concat(), &["\"a.test\" is the tenant \"a\"'s already"]),
        (tenant("a", "\"a.test\"", "[tenant.session.lifetime]\nidle = \"31m\"\n"), &["write at most \"30m\""]),
        (tenant("a", "\"a.test\"", "[tenant.limits]\nper_address = \"1/s\"\n"), &["per_address"]),
        (
            tenant("a", "\"a.test\"", "[tenant.session.cookie]\ndomain = \"a.test\"\n"),
            &["a cookie named __Host-… belongs to one host"],
        ),
        (tenant("a", "\"a.test\"", &shared("b.test")), &["\"a.test\" is not in this domain"]),
        (tenant("a", "\"*.test\"", &shared("a.test")), &["\"*.test\" is not in this domain"]),
        (
            [a(), tenant("b", "\"b.a.test\"", &shared("a.test"))].concat(),
            &["\"a.test\" of the tenant \"a\" is in this domain"],
        ),
        (
            [tenant("a", "\"*.c.test\"", &shared("c.test")), tenant("b", "\"b.c.test\"", "")].concat(),
            &["\"b.c.test\" of the tenant \"b\" is in this domain"],
        ),
        (
            [tenant("a", "\"*.a.c.test\"", &shared("a.c.test")), tenant("b", "\"*.c.test\"", "")].concat(),
            &["\"*.c.test\" of the tenant \"b\" is in this domain"],
        ),
        (
            [a(), "[session.cookie]\nname = \"__Secure-s\"\ndomain = \"a.test\"\n".to_owned()].concat(),
            &["\"a.test\" of the tenant \"a\" is in this domain"],
        ),
        (
            tenant(
                "a",
                "\"*.a.test\"",
                &format!("{}[[route]]\nhost = \"a.test\"\npath = \"/\"\nupstream = \"app\"\n", shared("a.test")),
            ),
            &["\"a.test\", which has a route and belongs to no tenant"],
        ),
        (
            tenant(
                "a",
                "\"*.a.test\"",
                "[tenant.session.lifetime]\nabsolute = \"30m\"\n[[session.level]]\nname = \"old\"\nafter = \"30m\"\n\
                 [[route]]\nhost = \"b.a.test\"\npath = \"/\"\nupstream = \"app\"\nlevel = \"old\"\n",
            ),
            &["no session at the tenant \"a\" gets as old, so nobody would ever pass"],
        ),
    ] {
        let said = said(&written);
        for words in words {
            assert!(said.contains(words), "{written}\n{words} is not in:\n{said}");
        }
        assert!(said.contains("gateway.toml:"), "{said}");
    }
    // What is more particularly its own is not the other's.
    let own = tenant("a", "\"a.c.test\", \"*.a.c.test\"", &shared("a.c.test"));
    assert_eq!(said(&[own, tenant("b", "\"*.c.test\"", "")].concat()), "");
    // Who signs in at tenants alone needs no users at the top, where no other host has a route.
    let top_less = top
        .replace("[login.local]\nusers = \"users.toml\"\n", "")
        .replace("[[route]]\n", "[[route]]\nhost = \"a.test\"\n");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, format!("{top_less}{}", a())).expect("written");
    assert!(Plan::load(&file).is_ok());
    // Where nobody has any, nobody can sign in there.
    let nobody = format!("{top_less}[[tenant]]\nname = \"a\"\nhosts = [\"a.test\"]\n");
    fs::write(&file, nobody).expect("written");
    let said = Plan::load(&file).expect_err("nobody").to_string();
    assert!(said.contains("this route asks for login, and nobody can sign in"), "{said}");
}

/// A tenant of nothing but hosts: the people of all sign in there, by itself, and that is told.
#[test]
fn a_tenant_without_users_has_those_of_all_and_says_so() {
    let gateway = Setup { certificates: vec![vec!["localhost", ACME]], ..Setup::new() }
        .extra(&format!("[[tenant]]\nname = \"acme\"\nhosts = [\"{ACME}\"]\n"))
        .start();
    let (here, there) = (signed_in(&gateway, "localhost", ALICE), signed_in(&gateway, ACME, ALICE));
    assert_eq!((here.get("/").send().status, there.get("/").send().status), (200, 200));
    for (host, client) in [(ACME, &here), ("localhost", &there)] {
        assert_unknown(&replayed(&gateway, host, client).get("/").send(), host);
    }
    let plan = vestibule::config::Plan::load(&gateway.folder.path().join("gateway.toml")).expect("a plan");
    let [said] = &*plan.remarks() else { panic!("{:?}", plan.remarks()) };
    assert!(said.contains("users.toml signs in at the tenant \"acme\" as well, each time anew"), "{said}");
    let file = gateway.folder.path().join("users.toml");
    let without = fs::read_to_string(&file).expect("text").replace("\"alice\"", "\"alicia\"");
    fs::write(&file, without).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
    assert_eq!((here.get("/").send().status, there.get("/").send().status), (401, 401), "gone from both");
}
