//! A stolen cookie, tried in every way that the field knows (OWASP's session management cheat sheet and the classes of
//! past vulnerabilities): what its thief gets, what becomes of its owner, and what the operator is told. The table is made
//! here and stands in `docs/stolen-cookie.md`; where the two differ, this test says what it came to.

use super::harness::{ALICE, Answer, Client, Gateway, Setup, hidden};

const OWNER: &str = "192.0.2.1";
const THIEF: &str = "203.0.113.9";
const OTHER_BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
const QUARTER: u64 = 15 * 60;
const GRACE: u64 = 60;

/// An owner who is signed in, and a copy of the cookie.
struct Scene {
    gateway: Gateway,
    owner: Client,
    copy: String,
}

impl Scene {
    fn new(more: &str) -> Self {
        let mut setup = Setup::new().extra(more);
        setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
        let gateway = setup.start();
        let owner = gateway.client();
        sign_in(&owner);
        let copy = owner.session();
        Self { gateway, owner, copy }
    }

    /// Somebody with nothing but this cookie, who says to be the owner's browser.
    fn holder(&self, cookie: &str) -> Client {
        let client = self.gateway.client();
        client.set_session(cookie);
        client
    }

    fn owner_asks(&self) -> Answer {
        ask(&self.owner, OWNER)
    }

    fn thief_asks(&self) -> Answer {
        ask(&self.holder(&self.copy), THIEF)
    }

    /// Moves time, the owner at work meanwhile.
    fn owner_works(&self, secs: u64) {
        for _ in 0..secs / 300 {
            self.gateway.advance(300);
            self.owner_asks();
        }
        self.gateway.advance(secs % 300);
        self.owner_asks();
    }
}

fn ask(client: &Client, address: &str) -> Answer {
    client.get("/").header("x-forwarded-for", address).send()
}

fn sign_in(client: &Client) {
    let led = client.visit("/").header("x-forwarded-for", OWNER).send();
    let page = client.visit(led.header("location")).header("x-forwarded-for", OWNER).send();
    sign_in_at(client, &page);
}

fn sign_in_at(client: &Client, page: &Answer) {
    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &hidden(page, "attempt"))];
    let answer = client.post_form("/.vestibule/login", &fields).header("x-forwarded-for", OWNER).send();
    assert_eq!(answer.status, 303, "{}", answer.text());
}

fn sign_out(client: &Client) {
    assert!(client.post_form("/.vestibule/logout", &[]).header("x-forwarded-for", OWNER).send().status < 400);
}

/// What an answer means.
fn meaning(answer: &Answer) -> String {
    match answer.status {
        200 => "gets in".to_owned(),
        401 => format!("refused: {}", answer.json()["reason"].as_str().unwrap_or_default()),
        status => format!("refused: {status}"),
    }
}

/// What the audit log says beside that sessions began and went on.
fn told(gateway: &Gateway) -> String {
    let text = gateway.log.text();
    let mut all: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.contains("audit ")) {
        let event = line.split("audit ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let reason = line.split("reason=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let is_ordinary = matches!(event, "session.created" | "session.rotated" | "login.succeeded");
        let shown = if reason.is_empty() { event.to_owned() } else { format!("{event} {reason}") };
        if !is_ordinary && !all.contains(&shown) {
            all.push(shown);
        }
    }
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// One way to try it: its name, what is configured beside the defaults, and what the thief does.
type Way = (&'static str, &'static str, fn(&Scene) -> Answer);

const BY_NETWORK: &str = "[session.binding.ip]\nmode = \"prefix\"\nanswer = \"end\"\n";

fn ways() -> Vec<Way> {
    vec![
        ("another browser, same network", "", |scene| {
            let mut thief = scene.holder(&scene.copy);
            thief.user_agent = OTHER_BROWSER.to_owned();
            ask(&thief, OWNER)
        }),
        ("a script that names no browser", "", |scene| {
            let thief = scene.holder(&scene.copy);
            thief.get("/").without("user-agent").header("x-forwarded-for", THIEF).send()
        }),
        ("another network, pretending the same browser", "", Scene::thief_asks),
        ("the same, sessions bound to the network (`ip.mode = \"prefix\"`)", BY_NETWORK, Scene::thief_asks),
        ("another address of the same network, bound to the network", BY_NETWORK, |scene| {
            ask(&scene.holder(&scene.copy), "192.0.2.77")
        }),
        ("an address forged by a stranger's X-Forwarded-For, bound to the network", BY_NETWORK, |scene| {
            let forged = format!("{OWNER}, {THIEF}");
            ask(&scene.holder(&scene.copy), &forged)
        }),
        ("after its owner signed out", "", |scene| {
            sign_out(&scene.owner);
            scene.thief_asks()
        }),
        ("after an operator ended the session", "", |scene| {
            scene.gateway.revoke(ALICE.0);
            scene.thief_asks()
        }),
        ("after its owner signed in again", "", |scene| {
            sign_out(&scene.owner);
            sign_in(&scene.owner);
            scene.thief_asks()
        }),
        ("after the idle limit", "", |scene| {
            scene.gateway.advance(30 * 60);
            scene.thief_asks()
        }),
        ("kept in use beyond the absolute limit", "", |scene| {
            scene.owner_works(12 * 3600 - QUARTER);
            let newest = scene.owner.session();
            scene.gateway.advance(QUARTER);
            ask(&scene.holder(&newest), THIEF)
        }),
        ("a copy from before a rotation, within its grace", "", |scene| {
            scene.owner_works(QUARTER + 1);
            scene.owner_asks();
            scene.thief_asks()
        }),
        ("a copy from before a rotation, later", "", |scene| {
            scene.owner_works(QUARTER + 1);
            scene.owner_asks();
            scene.gateway.advance(GRACE + 1);
            scene.thief_asks()
        }),
        ("a copy from two rotations ago", "", |scene| {
            scene.owner_works(2 * QUARTER + 2);
            scene.owner_asks();
            scene.thief_asks()
        }),
        ("the thief takes the rotation before its owner, who comes back later", "", |scene| {
            scene.gateway.advance(QUARTER + 1);
            let thief = scene.holder(&scene.copy);
            ask(&thief, THIEF);
            ask(&thief, THIEF);
            scene.gateway.advance(GRACE + 1);
            scene.owner_asks();
            ask(&thief, THIEF)
        }),
        ("in parallel with its owner, between two rotations", "", |scene| {
            scene.owner_asks();
            let answer = scene.thief_asks();
            scene.owner_asks();
            answer
        }),
        ("planted before its owner signed in (fixation)", "", |scene| {
            // The thief knows a live session, and has put it into the browser of somebody who signs in then.
            let browser = scene.holder(&scene.copy);
            let page = browser.visit("/.vestibule/login").header("x-forwarded-for", OWNER).send();
            sign_in_at(&browser, &page);
            scene.owner.set_session(&browser.session());
            scene.thief_asks()
        }),
        ("one bit of it altered", "", |scene| {
            let mut altered = scene.copy.clone().into_bytes();
            let middle = altered.len() / 2;
            altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
            ask(&scene.holder(&String::from_utf8(altered).expect("text")), THIEF)
        }),
        ("at another gateway", "", |scene| {
            let other = Scene::new("");
            ask(&other.holder(&scene.copy), THIEF)
        }),
        ("under a name that differs in case", "", |scene| {
            let cookie = format!("__host-session={}", scene.copy);
            let thief = scene.gateway.client();
            thief.get("/").header("cookie", &cookie).header("x-forwarded-for", THIEF).send()
        }),
        ("in the query instead of a cookie", "", |scene| {
            let thief = scene.gateway.client();
            thief.get(&format!("/?__Host-session={}", scene.copy)).header("x-forwarded-for", THIEF).send()
        }),
        ("twice in one request", "", |scene| {
            let cookie = format!("__Host-session={0}; __Host-session={0}", scene.copy);
            let thief = scene.gateway.client();
            thief.get("/").header("cookie", &cookie).header("x-forwarded-for", THIEF).send()
        }),
        ("beside a live session of the thief's own", "", |scene| {
            let thief = scene.gateway.client();
            sign_in(&thief);
            let cookie = format!("__Host-session={}; __Host-session={}", thief.session(), scene.copy);
            thief.get("/").without_cookies().header("cookie", &cookie).header("x-forwarded-for", THIEF).send()
        }),
    ]
}

#[test]
fn what_becomes_of_a_stolen_cookie_is_what_the_table_says() {
    let mut table =
        "| what its thief does | the thief | its owner afterwards | the audit log says |\n|---|---|---|---|\n"
            .to_owned();
    for (what, more, attack) in ways() {
        let mut scene = Scene::new(more);
        let thief = meaning(&attack(&scene));
        let owner = scene.owner_asks();
        let owner = if owner.status == 200 { "goes on".to_owned() } else { meaning(&owner) };
        // When it has stopped, everything is written down.
        scene.gateway.stop();
        table += &format!("| {what} | {thief} | {owner} | {} |\n", told(&scene.gateway));
    }
    let page = std::fs::read_to_string(super::harness::top().join("docs/stolen-cookie.md")).unwrap_or_default();
    let stands = page.split_once("| what its").map(|(_, rest)| format!("| what its{rest}")).unwrap_or_default();
    let stands = stands.split("\n\n").next().unwrap_or_default().trim_end();
    assert!(stands == table.trim_end(), "docs/stolen-cookie.md says something else; it came to:\n{table}");
}
