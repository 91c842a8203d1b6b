//! Pages of other origins: what their forms and WebSockets come to, beside those of the application's own pages; and the
//! synchroniser token, from the page that has it in its form.

use super::super::harness::{ALICE, Scripted, Setup};
use super::super::websockets::Echo;
use super::{Browser, PAGE, SESSION, signed_in};

/// Two hosts of one company: for a browser they are the same site, and other origins.
const APP: &str = "app.example.test";
const NEIGHBOUR: &str = "wiki.example.test";

/// A page of a site that wishes nobody well, by its whole address.
fn evil(page: &str) -> (Scripted, String) {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let server = Scripted::saying(answer);
    let url = format!("http://evil.test:{}/", server.address().port());
    (server, url)
}

/// With a route to an application that says back what it is told in a WebSocket.
pub(super) fn with_socket(setup: Setup, echo: &Echo) -> Setup {
    let url = echo.server.url();
    let mut setup =
        setup.extra(&format!("[[upstream]]\nname = \"echo\"\nservers = [\"{url}\"]\nidle_timeout = \"24h\""));
    setup.routes += "[[route]]\npath = \"/socket\"\nupstream = \"echo\"\nwebsocket_timeout = \"24h\"\n";
    setup
}

/// A script that opens a WebSocket and gives what it is told there, or how it was closed.
fn say_hello(url: &str) -> String {
    format!(
        "return new Promise(done => {{ const socket = new WebSocket('{url}'); \
         socket.onopen = () => socket.send('hello'); socket.onmessage = event => done(event.data); \
         socket.onclose = event => done('closed ' + event.code); }})"
    )
}

#[test]
fn a_websocket_opens_for_the_applications_own_page_and_for_no_other() {
    let echo = Echo::start();
    // So that the cookie comes with everything, also from another site.
    let open_to_all = Setup::new().extra("[session.cookie]\nsame_site = \"None\"");
    let gateway = with_socket(open_to_all, &echo).start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, &browser.url(APP, "/page"), ALICE);
    let script = say_hello(&browser.url(APP, "/socket").replace("https:", "wss:"));
    assert_eq!(tab.run(&script), "hello");
    assert!(echo.asked.try_recv().is_ok_and(|asked| asked["x-forwarded-user"] == "alice"));
    tab.open(&browser.url(NEIGHBOUR, "/public/page"));
    tab.shows(PAGE);
    assert_eq!(tab.run(&script), "closed 1006");
    gateway.log.wait_for(&["audit request.cross_site", "user=alice", "reason=websocket_origin", NEIGHBOUR]);
    let (_server, address) = evil("<!doctype html><title>evil</title><p>evil");
    tab.open(&address);
    tab.shows("evil");
    assert_eq!(tab.run(&script), "closed 1006");
    gateway.log.wait_for(&["audit request.cross_site", "reason=websocket_origin", "http://evil.test"]);
    assert!(echo.asked.try_recv().is_err(), "the application hears nothing of it");
}

#[test]
fn a_form_of_another_site_is_refused_although_the_cookie_came_with_it() {
    let gateway = Setup::new().extra("[session.cookie]\nsame_site = \"None\"").start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, &browser.url(APP, "/page"), ALICE);
    let target = browser.url(APP, "/transfer");
    let (_server, address) = evil(&format!(
        "<!doctype html><title>evil</title><form method=post action='{target}'><button>Win</button></form>"
    ));
    tab.open(&address);
    gateway.application.forget();
    tab.press("Win");
    tab.shows("This was not carried out");
    tab.shows("This was sent from another website");
    tab.picture("403-another-website");
    gateway.log.wait_for(&["audit request.cross_site", "user=alice", "reason=cross_site", "answer=refused"]);
    gateway.application.assert_untouched();
    assert!(tab.cookie(SESSION).is_some(), "it costs her nothing");
}

#[test]
fn a_form_of_the_applications_own_passes_also_in_a_frame_of_its_page() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, &browser.url(APP, "/page"), ALICE);
    tab.press("Send plainly");
    tab.shows("hello from the application");
    tab.open(&browser.url(APP, "/page"));
    tab.run(
        "return new Promise(done => { const frame = document.createElement('iframe'); frame.onload = done; \
         frame.src = '/yard/page'; document.body.append(frame); }).then(() => null)",
    );
    gateway.application.forget();
    tab.in_frame(|frame| {
        frame.press("Send plainly");
        frame.shows("hello from the application");
    });
    let sent = gateway.application.last();
    assert_eq!((sent.method.as_str(), sent.uri.path(), &*sent.body), ("POST", "/yard/plain", &b"amount=7"[..]));
    assert_eq!((sent.header("sec-fetch-dest"), sent.header("x-forwarded-user")), (Some("iframe"), Some("alice")));
}

#[test]
fn a_form_with_the_token_passes_and_one_without_does_not() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/pay\"\nupstream = \"app\"\ncsrf = \"token\"\n";
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/pay/token", ALICE);
    assert!(!tab.field("vestibule_csrf").is_empty(), "its application was told the token");
    tab.press("Send plainly");
    tab.shows("hello from the application");
    let sent = gateway.application.last();
    assert_eq!((sent.uri.path(), &*sent.body), ("/pay/plain", &b"amount=7"[..]), "and does not get it back");
    tab.open("/pay/page");
    tab.shows(PAGE);
    gateway.application.forget();
    tab.press("Send plainly");
    tab.shows("This was not carried out");
    tab.picture("403-no-token");
    gateway.application.assert_untouched();
    // What was made for a session that is over is good for no other.
    tab.open("/pay/token");
    tab.shows(PAGE);
    gateway.revoke("alice");
    let other = browser.new_tab();
    other.open("/page");
    other.sign_in(ALICE);
    other.shows(PAGE);
    gateway.application.forget();
    tab.press("Send plainly");
    tab.shows("This was not carried out");
    gateway.application.assert_untouched();
    // A script has it from us.
    let script = "const told = await (await fetch('/.vestibule/api/csrf')).json(); \
                  const send = headers => fetch('/pay/x', { method: 'POST', body: 'a=1', headers }).then(it => it.status); \
                  return [await send({}), await send({ [told.header]: told.token })]";
    let statuses = other.run(&format!("return (async () => {{ {script} }})()"));
    assert_eq!(statuses, serde_json::json!([403, 200]));
}
