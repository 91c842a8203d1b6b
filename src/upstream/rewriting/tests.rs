//! What becomes of addresses and cookies.

use http::Request;

use super::*;
use crate::route::pattern::PathPrefix;

const ASKED: &str = "Shop.test:8443";

fn rules(host: &'static str, prefix: &[(&str, &str)]) -> RouteRewriting {
    let parse = |text: &str| PathPrefix::parse(text).expect("a prefix");
    RouteRewriting {
        host: (!host.is_empty()).then(|| HeaderValue::from_static(host)),
        prefix: prefix.first().map(|(outside, inside)| PrefixChange::new(&parse(outside), &parse(inside))),
        location: true,
        cookies: true,
    }
}

fn servers() -> Vec<ServerAddress> {
    vec![
        ServerAddress::Tcp("10.0.0.7:3000".into()),
        ServerAddress::Tls("[2001:db8::7]:3443".into()),
        ServerAddress::Unix("/run/app.sock".into()),
    ]
}

/// What the answer to a request for [`ASKED`] says in a field, that said `value`.
fn said(rules: &RouteRewriting, name: &'static str, value: &str) -> String {
    let servers = servers();
    let asked = Asked { authority: ASKED, is_https: true, servers: &servers };
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(value).expect("a value"));
    outward(rules, asked, &mut headers);
    headers[name].to_str().expect("text").to_owned()
}

#[test]
fn an_application_that_does_not_know_of_tls_is_put_right() {
    let rules = rules("", &[]);
    for (url, expected) in [
        ("http://shop.test:8443/x?y#z", "https://Shop.test:8443/x?y#z"),
        ("http://shop.test/x", "https://Shop.test:8443/x"),
        ("http://shop.test:80", "https://Shop.test:8443/"),
        ("HTTP://SHOP.test:3000?y", "https://Shop.test:8443/?y"),
        ("http://10.0.0.7:3000/x", "https://Shop.test:8443/x"),
        ("https://[2001:db8::7]:3443/x", "https://Shop.test:8443/x"),
        ("//10.0.0.7:3000/x", "https://Shop.test:8443/x"),
    ] {
        assert_eq!(said(&rules, "location", url), expected, "{url}");
        assert_eq!(said(&rules, "content-location", url), expected, "{url}");
        assert_eq!(said(&rules, "link", url), url);
    }
    for url in [
        "/x",
        "x/y",
        "?y",
        "",
        "http://shop.test:8080/",
        "https://shop.test/x",
        "https://shop.test:3000/x",
        "http://10.0.0.7/x",
        "http://10.0.0.7:3001/x",
        "http://shop.test@evil.test/",
        "http://shop.test:8443@evil.test/",
        "http://shop.test.evil.test/",
        "http://evil.test\\@shop.test/",
        "http://shop.test\\@evil.test/",
        "http://shop.test:99999/",
        "http://shop.test:+80/",
        "mailto:shop.test",
        "http:shop.test",
        "/\\evil.test",
    ] {
        assert_eq!(said(&rules, "location", url), url);
    }
}

#[test]
fn an_application_under_another_host_is_put_right() {
    let by_name = rules("app.internal", &[]);
    for url in ["http://app.internal/x", "https://app.internal:443/x", "http://app.internal:3000/x", "//app.internal/x"]
    {
        assert_eq!(said(&by_name, "location", url), "https://Shop.test:8443/x", "{url}");
    }
    assert_eq!(said(&by_name, "location", "http://app.internal:81/x"), "http://app.internal:81/x");
    let with_port = rules("app.internal:81", &[]);
    assert_eq!(said(&with_port, "location", "http://app.internal:81/x"), "https://Shop.test:8443/x");
    assert_eq!(said(&with_port, "location", "http://app.internal/x"), "http://app.internal/x");
}

#[test]
fn paths_are_put_where_clients_know_them() {
    let stripped = rules("", &[("/shop", "/")]);
    let replaced = rules("app.internal", &[("/shop", "/app")]);
    let added = rules("", &[("/", "/app")]);
    for (rules, url, expected) in [
        (&stripped, "/login?next=/x", "/shop/login?next=/x"),
        (&stripped, "/", "/shop/"),
        (&stripped, "http://shop.test/login", "https://Shop.test:8443/shop/login"),
        (&stripped, "https://shop.test:8443/login", "https://Shop.test:8443/shop/login"),
        (&replaced, "/app", "/shop"),
        (&replaced, "/app/x#y", "/shop/x#y"),
        (&replaced, "/application", "/application"),
        (&replaced, "http://app.internal/app/x", "https://Shop.test:8443/shop/x"),
        (&replaced, "http://app.internal/other", "http://app.internal/other"),
        (&replaced, "http://shop.test/other", "https://Shop.test:8443/other"),
        (&added, "/app", "/"),
        (&added, "/app/x", "/x"),
        (&added, "/x", "/x"),
        (&added, "x", "x"),
    ] {
        assert_eq!(said(rules, "location", url), expected, "{url}");
    }
}

#[test]
fn a_path_never_becomes_a_host() {
    let added = rules("app.internal", &[("/", "/app")]);
    for url in ["/app//evil.test/", "http://app.internal/app//evil.test/"] {
        assert_eq!(said(&added, "location", url), "https://Shop.test:8443//evil.test/", "{url}");
    }
    assert_eq!(said(&added, "location", "/app/\\evil.test/"), "https://Shop.test:8443/\\evil.test/");
    assert_eq!(said(&added, "location", "//evil.test/app/x"), "//evil.test/app/x");
}

#[test]
fn a_refresh_is_read_as_browsers_do() {
    let rules = rules("", &[("/shop", "/")]);
    for (value, expected) in [
        ("5; url=/x", "5; url=/shop/x"),
        ("0;URL = '/x?y' ; more", "0;URL = '/shop/x?y' ; more"),
        ("0, url=\"http://shop.test/x\"", "0, url=\"https://Shop.test:8443/shop/x\""),
        ("0; /x", "0; /shop/x"),
        ("5", "5"),
        ("5; url=", "5; url="),
        ("5; url=https://elsewhere.test/", "5; url=https://elsewhere.test/"),
        ("5; \u{e9}", "5; \u{e9}"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("refresh", HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        outward(&rules, Asked { authority: ASKED, is_https: true, servers: &[] }, &mut headers);
        assert_eq!(headers["refresh"].as_bytes(), expected.as_bytes(), "{value}");
    }
}

#[test]
fn cookies_are_put_where_browsers_take_them() {
    let stripped = rules("app.shop.internal:81", &[("/shop", "/")]);
    let replaced = rules("", &[("/shop", "/app")]);
    for (rules, value, expected) in [
        (&stripped, "a=b; Path=/; HttpOnly", "a=b; Path=/shop; HttpOnly"),
        (&stripped, "a=b;PATH = /x/;domain=.App.Shop.Internal;Secure", "a=b; Path=/shop/x/;Secure"),
        (&stripped, "a=b; Domain=shop.internal", "a=b"),
        (&stripped, "a=b; Domain=10.0.0.7; Max-Age=1", "a=b; Max-Age=1"),
        (&stripped, "a=b; Domain=p.internal", "a=b; Domain=p.internal"),
        (&stripped, "a=b; Domain=test", "a=b; Domain=test"),
        (&stripped, "a=b; Domain=shop.test", "a=b; Domain=shop.test"),
        (&stripped, "a=b; Domain=", "a=b; Domain="),
        (&stripped, "a=b; Path=x; Path=\"/x\"", "a=b; Path=x; Path=\"/x\""),
        (&stripped, "a=Path=/", "a=Path=/"),
        (&stripped, "Path=/; Path=/", "Path=/; Path=/shop"),
        (&stripped, "__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"),
        (&stripped, " __host-a=b; Path=/", " __host-a=b; Path=/"),
        (&replaced, "a=b; Path=/app", "a=b; Path=/shop"),
        (&replaced, "a=b; Path=/app/x", "a=b; Path=/shop/x"),
        (&replaced, "a=b; Path=/application", "a=b; Path=/application"),
        (&replaced, "a=b; Path=/", "a=b; Path=/"),
    ] {
        assert_eq!(said(rules, "set-cookie", value), expected, "{value}");
    }
}

#[test]
fn nothing_is_changed_unasked() {
    let mut rules = rules("app.internal", &[("/shop", "/")]);
    (rules.location, rules.cookies) = (false, false);
    let fields = [("location", "http://app.internal/"), ("refresh", "0; url=/x"), ("set-cookie", "a=b; Path=/")];
    for (name, value) in fields {
        assert_eq!(said(&rules, name, value), value);
    }
    rules.location = true;
    assert_eq!(said(&rules, "set-cookie", "a=b; Path=/"), "a=b; Path=/");
    (rules.location, rules.cookies) = (false, true);
    assert_eq!(said(&rules, "location", "/x"), "/x");
}

#[test]
fn the_prefix_is_said_and_a_trusted_proxys_goes_before_it() {
    let told = |rules: &RouteRewriting, fields: &[(&str, &str)]| {
        let mut request = Request::get("/shop/x?y=/shop");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).expect("a request").into_parts().0;
        inward(rules, &mut parts).expect("it can be written");
        assert_eq!(parts.uri.query(), Some("y=/shop"));
        let said = |name: &str| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(said("x_forwarded_prefix"), None);
        said("x-forwarded-prefix")
    };
    let stripped = rules("", &[("/shop", "/")]);
    assert_eq!(told(&stripped, &[]).as_deref(), Some("/shop"));
    assert_eq!(told(&stripped, &[("x-forwarded-prefix", "/outer/")]).as_deref(), Some("/outer/shop"));
    let spelled = [("x-forwarded-prefix", "evil"), ("x_forwarded_prefix", "/evil")];
    assert_eq!(told(&stripped, &spelled).as_deref(), Some("/shop"));
    let added = rules("", &[("/", "/app")]);
    assert_eq!(told(&added, &[]), None);
    assert_eq!(told(&added, &[("x-forwarded-prefix", "/outer")]).as_deref(), Some("/outer"));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 4096,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    /// Whatever an application says: what is changed names the host that was asked for or a path on it, and a cookie keeps
    /// its name and value.
    #[test]
    fn what_is_changed_stays_here(
        begin in "(https?:)?(//)?(shop.test|app.internal|10.0.0.7)?(:[0-9]{1,5})?",
        rest in "(/|\\\\|app|[!-~\u{e9}]){0,6}",
        fields in "(; ?(Path=|domain=|url=|['\"])?[ -~\u{e9}]{0,8}){0,4}",
    ) {
        for prefix in [&[("/shop", "/")][..], &[("/", "/app")], &[("/shop", "/app")], &[]] {
            let rules = rules("app.internal", prefix);
            let servers = servers();
            let asked = Asked { authority: ASKED, is_https: true, servers: &servers };
            let url = format!("{begin}{rest}");
            if let Some(changed) = address(&rules, asked, &url) {
                let is_path = changed.starts_with('/') && !changed[1..].starts_with(['/', '\\']);
                proptest::prop_assert!(is_path || changed.starts_with("https://Shop.test:8443/"), "{} of {}", changed, url);
            }
            let value = format!("{url}{fields}");
            if let Some(changed) = cookie(&rules, asked, &value) {
                proptest::prop_assert_eq!(changed.split(';').next(), value.split(';').next());
            }
            let _ = refresh(&rules, asked, &value);
        }
    }
}
