//! What a browser makes of our cookies: scripts of the application do not see them, other sites do not use them.

use super::super::harness::{ALICE, Scripted, Setup};
use super::driver::Cookie;
use super::{Browser, PAGE, SESSION, signed_in};

#[test]
fn no_script_reads_the_session_replaces_it_or_puts_another_beside_it() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/page", ALICE);
    let before = tab.cookie(SESSION).expect("a session");
    let expected = Cookie {
        name: SESSION.to_owned(),
        value: before.value.clone(),
        domain: "localhost".to_owned(),
        path: "/".to_owned(),
        is_secure: true,
        is_http_only: true,
        same_site: "Lax".to_owned(),
        is_persistent: false,
    };
    assert_eq!(before, expected);
    assert!(tab.cookies().iter().all(|cookie| !cookie.name.starts_with("__") || cookie.is_http_only));
    assert_eq!(tab.run("return document.cookie"), "");
    assert_eq!(tab.run("return cookieStore.getAll().then(all => all.length)"), 0);
    for attributes in
        ["", "; Path=/", "; Path=/page; Secure", "; Path=/; Secure; Max-Age=0", "; Path=/; Secure; Domain=localhost"]
    {
        tab.run(&format!("document.cookie = '{SESSION}=planted{attributes}'"));
    }
    // Nor is there another name that is taken for it.
    for name in ["__host-session", "", "__Host-session\\u{0}"] {
        tab.run(&format!("document.cookie = '{name}=__Host-session=planted; Path=/; Secure'"));
    }
    let ours =
        || tab.cookies().into_iter().filter(|cookie| cookie.name.eq_ignore_ascii_case(SESSION)).collect::<Vec<_>>();
    assert!(ours().contains(&before), "{:?}", ours());
    tab.reload();
    tab.shows(PAGE);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
    assert!(!gateway.application.received().iter().any(|request| request.mentions(&before.value)));
}

#[test]
fn another_site_does_nothing_in_the_name_of_who_is_signed_in() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/page", ALICE);
    let ours = browser.url("localhost", "");
    let page = format!(
        "<!doctype html><title>evil</title><p>evil\n<form method=post action='{ours}/transfer'><button>Win</button></form>\n\
         <iframe name=frame src='{ours}/.vestibule/login'></iframe><a href='{ours}/page'>A link</a>"
    );
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let evil = Scripted::saying(answer);
    tab.open(&format!("http://evil.test:{}/", evil.address().port()));
    tab.shows("evil");
    gateway.application.forget();
    // What it fetches comes without the session, and it cannot read it.
    for how in ["credentials: 'include'", "method: 'POST', mode: 'no-cors', credentials: 'include'"] {
        let outcome = tab.run(&format!("return fetch('{ours}/x', {{ {how} }}).then(() => 'read', () => 'refused')"));
        assert_eq!(outcome, "refused", "{how}");
    }
    gateway.application.assert_untouched();
    // Our pages are not shown in its frame.
    let framed = tab.text_of_frame();
    assert!(framed.contains("\"cross_site\"") && !framed.contains("Sign in"), "{framed}");
    // Its form arrives without the session, and is refused whoever sends it.
    tab.press("Win");
    tab.shows("This was sent from another website");
    gateway.application.assert_untouched();
    // A link of it leads to the page as it is: that is what links are for.
    tab.open(&format!("http://evil.test:{}/", evil.address().port()));
    tab.press("A link");
    tab.shows(PAGE);
}

#[test]
fn a_neighbour_whose_forms_bring_the_session_is_refused_all_the_same() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, &browser.url("app.example.test", "/page"), ALICE);
    // For a browser this is the same site: SameSite holds nothing back.
    tab.open(&browser.url("evil.example.test", "/public/page"));
    tab.shows(PAGE);
    gateway.application.forget();
    let target = browser.url("app.example.test", "/transfer");
    let fetch = "method: 'POST', mode: 'no-cors', credentials: 'include'";
    tab.run(&format!("return fetch('{target}', {{ {fetch} }}).then(() => 'sent', () => 'refused')"));
    tab.run(&format!("document.forms[0].action = '{target}'"));
    tab.press("Send plainly");
    tab.shows("This was not carried out");
    tab.picture("403-another-site");
    gateway.application.assert_untouched();
    gateway.log.wait_for(&[" 403 ", "session=", "/transfer"]);
    tab.open(&browser.url("app.example.test", "/page"));
    tab.press("Send plainly");
    tab.shows("hello from the application");
}
