//! What a route changes towards its application and back: host, prefix, addresses, cookies.

use http::Method;

use super::harness::{ALICE, Client, Gateway, Raw, Scripted, Setup, Version};

/// A route for everybody with these keys, and in it a part that only admins may ask for.
fn started(keys: &str, server: Option<&Scripted>) -> Gateway {
    let mut setup = Setup::new().unlimited();
    setup.routes = format!(
        "[[route]]\npath = \"/shop\"\nupstream = \"app\"\naccess = \"public\"\n{keys}\n[[route]]\npath = \
         \"/shop/admin\"\nupstream = \"app\"\nroles = [\"admin\"]\nprefix_rewrite = \"/admin\"\n"
    );
    if let Some(server) = server { setup.in_front_of(server) } else { setup }.start()
}

fn both(gateway: &Gateway) -> [Client; 2] {
    [gateway.client(), gateway.client().speaking(Version::H2)]
}

#[test]
fn a_prefix_is_stripped_and_the_query_kept_to_the_byte() {
    let gateway = started("prefix_rewrite = \"/\"", None);
    for client in both(&gateway) {
        for (asked, sent) in [
            ("/shop", "/"),
            ("/shop?x=/shop&y=%2e%2e", "/?x=/shop&y=%2e%2e"),
            ("/shop/", "/"),
            ("/shop/a/b.html?c=d?e", "/a/b.html?c=d?e"),
            ("/shop//a", "/a"),
            ("/%73hop;v=1/a;w=2", "/a;w=2"),
            ("/shop/shop/x", "/shop/x"),
        ] {
            let answer = client.request(Method::POST, asked).body("once").send();
            let last = gateway.application.last();
            assert_eq!((answer.status, last.uri.to_string().as_str()), (200, sent), "{asked}");
            assert_eq!(last.header("x-forwarded-prefix"), Some("/shop"));
            assert_eq!(last.header("host"), Some(client.authority().as_str()));
        }
    }
    gateway.application.forget();
    for (asked, status) in [
        ("/shopping", 404),
        ("/shop/../x", 400),
        ("/shop/%2e%2e/x", 400),
        ("/shop/..;/x", 400),
        ("/shop%2fx", 400),
        ("/shop/admin", 401),
        ("/shop/%61dmin/x", 401),
        ("/shop/;x/admin", 401),
    ] {
        assert_eq!(gateway.client().get(asked).send().status, status, "{asked}");
    }
    gateway.application.assert_untouched();
    let answer = gateway.signed_in_at("/shop/admin").get("/shop/admin/x").send();
    assert_eq!((answer.status, gateway.application.last().uri.to_string().as_str()), (200, "/admin/x"));
}

impl Gateway {
    /// A client that has signed in on the way to `target`.
    fn signed_in_at(&self, target: &str) -> Client {
        let client = self.client();
        client.sign_in(ALICE, target);
        client
    }
}

#[test]
fn a_host_is_rewritten_and_what_was_asked_is_told() {
    let gateway = started("host_rewrite = \"app.internal:81\"", None);
    for client in both(&gateway) {
        client.get("/shop/x").header("x-forwarded-prefix", "/evil").header("x-forwarded-host", "evil.test").send();
        let (last, authority) = (gateway.application.last(), client.authority());
        assert_eq!((last.header("host"), last.uri.to_string().as_str()), (Some("app.internal:81"), "/shop/x"));
        assert_eq!(last.header("x-forwarded-host"), Some(authority.as_str()));
        assert!(last.header("forwarded").expect("it").contains(&format!("host=\"{authority}\"")));
        assert_eq!(last.header("x-forwarded-prefix"), None);
    }
}

#[test]
fn a_trusted_proxys_prefix_stands_before_ours() {
    let mut setup = Setup::new();
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    setup.routes += "[[route]]\npath = \"/shop\"\nupstream = \"app\"\naccess = \"public\"\nprefix_rewrite = \"/x\"\n";
    setup.routes += "[[route]]\npath = \"/as-it-is\"\nupstream = \"app\"\naccess = \"public\"\n";
    let gateway = setup.start();
    gateway.client().get("/shop/y").header("x-forwarded-prefix", "/outer").send();
    let last = gateway.application.last();
    assert_eq!((last.header("x-forwarded-prefix"), last.uri.path()), (Some("/outer/shop"), "/x/y"));
    gateway.client().get("/as-it-is").header("x-forwarded-prefix", "/outer").send();
    assert_eq!(gateway.application.last().header("x-forwarded-prefix"), Some("/outer"));
}

/// An application that redirects to what it takes itself for, and sets cookies for that.
fn redirecting() -> Scripted {
    Scripted::start(|mut line| {
        while let Some(request) = line.request() {
            let host = request.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
            line.say(format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{host}/login?from=/\r\ncontent-location: /x\r\nset-cookie: \
                 id=1; Path=/; Domain=app.internal\r\nset-cookie: __Host-session=stolen; Path=/; \
                 Domain=app.internal\r\nset-cookie: __HOST-session=stolen; Path=/x\r\nset-cookie: =__Host-session=stolen; \
                 Path=/\r\ncontent-length: 0\r\n\r\n"
            ));
        }
    })
}

#[test]
fn what_comes_back_is_rewritten_when_asked_and_our_cookies_stay_ours() {
    let server = redirecting();
    let all =
        "host_rewrite = \"app.internal\"\nprefix_rewrite = \"/\"\nrewrite_location = true\nrewrite_cookies = true";
    let gateway = started(all, Some(&server));
    for client in both(&gateway) {
        let answer = client.get("/shop").send();
        assert_eq!(answer.header("location"), format!("https://{}/shop/login?from=/", client.authority()));
        assert_eq!(answer.header("content-location"), "/shop/x");
        assert_eq!(answer.set_cookies(), ["id=1; Path=/shop"]);
    }
    let gateway = started("host_rewrite = \"app.internal\"\nprefix_rewrite = \"/\"", Some(&server));
    let answer = gateway.client().get("/shop").send();
    assert_eq!(answer.header("location"), "http://app.internal/login?from=/");
    assert_eq!(answer.set_cookies(), ["id=1; Path=/; Domain=app.internal"]);
    let gateway = started("rewrite_location = true", Some(&server));
    let client = gateway.client();
    let answer = client.get("/shop").send();
    assert_eq!(answer.header("location"), format!("https://{}/login?from=/", client.authority()));
    assert_eq!(answer.header("content-location"), "/x");
}

#[test]
fn a_websocket_is_asked_for_as_its_route_says() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.say(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nset-cookie: a=b; \
             Path=/\r\n\r\n",
        );
        line.wait_for_close();
    });
    let keys = "prefix_rewrite = \"/\"\nhost_rewrite = \"app.internal\"\nrewrite_cookies = true";
    let gateway = started(keys, Some(&server));
    let mut raw = Raw::to(gateway.address);
    raw.send(
        "GET /shop/socket?x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: \
         websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = raw.read_until("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("set-cookie: a=b; Path=/shop\r\n"), "{head}");
    let asked = server.received().pop().expect("a request");
    assert!(asked.starts_with("GET /socket?x HTTP/1.1\r\n") && asked.contains("host: app.internal\r\n"), "{asked}");
}

#[test]
fn the_log_says_what_was_asked_for() {
    let gateway = started("prefix_rewrite = \"/\"", None);
    gateway.client().get("/shop/x").send();
    gateway.log.wait_for(&["/shop/x", "200"]);
}
