//! What a page of the application is told of its session, and a page of another origin is not.

use serde_json::{Value, json};

use super::super::harness::{ALICE, Scripted, Setup};
use super::{Browser, PAGE, Tab, signed_in};

const SESSION: &str = "/.vestibule/api/session";

/// What a script of the page is answered, or that it may not know.
fn ask(tab: &Tab<'_>, url: &str, how: &str) -> Value {
    tab.run(&format!(
        "return fetch('{url}', {{ {how} }}).then(async it => [it.status, await it.json()], () => 'refused')"
    ))
}

#[test]
fn a_page_is_told_who_and_until_when_and_extends_it() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/page", ALICE);
    gateway.advance(10 * 60);
    let said = ask(&tab, SESSION, "");
    assert_eq!((&said[0], &said[1]["user"]), (&json!(200), &json!("alice")), "{said}");
    assert_eq!((&said[1]["ends"]["in_seconds"], &said[1]["ends"]["by"]), (&json!(20 * 60), &json!("idle")));
    // Looking changes nothing, and saying that somebody is there does.
    assert_eq!(ask(&tab, SESSION, "")[1]["ends"]["in_seconds"], 20 * 60);
    assert_eq!(ask(&tab, &format!("{SESSION}/extend"), "method: 'POST'")[1]["ends"]["in_seconds"], 30 * 60);
    gateway.advance(20 * 60);
    tab.press("another one");
    tab.shows("hello from the application");
    gateway.advance(30 * 60);
    let said = ask(&tab, SESSION, "");
    assert_eq!((&said[0], &said[1]["reason"], &said[1]["user"]), (&json!(401), &json!("idle"), &Value::Null));
    let said = ask(&tab, &format!("{SESSION}/extend"), "method: 'POST'");
    assert_eq!((&said[0], &said[1]["reason"]), (&json!(401), &json!("idle")), "what has ended is not extended");
}

#[test]
fn a_page_of_another_origin_reads_nothing_and_extends_nothing() {
    let gateway = Setup::new().extra("[session.cookie]\nsame_site = \"None\"").start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, &browser.url("app.example.test", "/page"), ALICE);
    gateway.advance(10 * 60);
    let active = gateway.sessions_of("alice")[0].active_at();
    let evil = Scripted::saying("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nevil");
    let (look, extend) = (browser.url("app.example.test", SESSION), format!("{SESSION}/extend"));
    let extend = browser.url("app.example.test", &extend);
    for (page, says) in [
        (browser.url("wiki.example.test", "/public/page"), PAGE),
        (format!("http://evil.test:{}/", evil.address().port()), "evil"),
    ] {
        tab.open(&page);
        tab.shows(says);
        for (url, method) in [(&look, "GET"), (&extend, "POST")] {
            for mode in ["cors", "no-cors"] {
                let how = format!("method: '{method}', mode: '{mode}', credentials: 'include'");
                assert_eq!(ask(&tab, url, &how), "refused", "{page} {how}");
            }
        }
        // As a script of its own it runs nowhere either.
        let loaded = tab.run(&format!(
            "return new Promise(done => {{ const script = document.createElement('script'); script.src = '{look}'; \
             script.onload = () => done('loaded'); script.onerror = () => done('refused'); document.head.append(script); }})"
        ));
        assert_eq!(loaded, "refused", "{page}");
    }
    assert_eq!(gateway.sessions_of("alice")[0].active_at(), active);
}
