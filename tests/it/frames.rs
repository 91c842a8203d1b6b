//! Who is going somewhere when they are asked to sign in: forms of browsers that say nothing of what they do, and pages and
//! forms in a frame, as applications of old have them.

use http::Method;

use super::harness::{ALICE, Answer, Client, Gateway, Request, Setup, Version};
use super::parked::{LUNCH, URLENCODED, all_kept, decide, post, sign_in, told};

const BOTH: [Version; 2] = [Version::H1, Version::H2];

/// A form as a browser sends it that knows no Fetch Metadata, or whose headers somebody has dropped on the way.
fn unsaid<'a>(client: &'a Client, kind: &str, body: &'static [u8]) -> Request<'a> {
    let form = post(client, "/save/echo", kind, body);
    ["sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site"].iter().fold(form, |form, name| form.without(name))
}

/// The same request, in a frame of a page.
fn framed<'a>(request: Request<'a>, dest: &str, site: &str) -> Request<'a> {
    let request = ["sec-fetch-dest", "sec-fetch-site"].iter().fold(request, |request, name| request.without(name));
    request.header("sec-fetch-dest", dest).header("sec-fetch-site", site)
}

/// Where the one link of a page in a frame leads, which opens in the whole window.
fn way_out(page: &Answer) -> String {
    let text = page.text();
    assert_eq!(text.matches("<a ").count(), 1, "{text}");
    let (_, link) = text.split_once("<a ").expect("a link");
    let link = link.split('>').next().expect("its end");
    assert!(link.contains("target=\"_top\""), "{link}");
    let (_, address) = link.split_once("href=\"").expect("an address");
    address.split('"').next().expect("its end").to_owned()
}

/// That a page may be shown in a frame of the same origin, and does nothing there.
fn assert_only_shows(page: &Answer) {
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'self'"), "{policy}");
    assert_eq!(page.header("x-frame-options"), "SAMEORIGIN");
    let text = page.text();
    for word in ["<form", "<button", "<script", "alice"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

/// Follows a link to the login page, signs Alice in there, and says where she is led.
fn sign_in_at(client: &Client, link: &str) -> String {
    client.sign_in_at(link, ALICE).header("location").to_owned()
}

fn late(gateway: &Gateway, version: Version) -> Client {
    let client = gateway.signed_in(ALICE).speaking(version);
    gateway.advance(LUNCH);
    gateway.application.forget();
    client
}

#[test]
fn a_form_of_a_browser_that_does_not_say_what_it_does_is_kept() {
    let gateway = Setup::new().start();
    let parts: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nin parts\r\n--x--\r\n";
    for version in BOTH {
        for (kind, body) in [(URLENCODED, &b"a=1"[..]), ("Multipart/Form-Data; boundary=x", parts)] {
            for without in ["origin", "referer", "x-nothing"] {
                let client = late(&gateway, version);
                let led = unsaid(&client, kind, body).without(without).send();
                assert!(told(&client, &led).contains("is kept for you"), "{kind} without {without}");
                let to = sign_in(&client, &led, ALICE).header("location").to_owned();
                let path = to.split('?').next().expect("a path");
                let page = client.visit(&to).send();
                assert_eq!(&*decide(&client, path, &page, "send").send().body, body, "{kind} without {without}");
                gateway.revoke("alice");
            }
        }
    }
    // Its answer is a page from an application that lets everybody in, too, and a stranger is led to sign in.
    let stranger = gateway.client();
    let led = unsaid(&stranger, URLENCODED, b"a=1").send();
    assert!(told(&stranger, &led).starts_with("What you sent was not carried out, and could not be kept."));
}

#[test]
fn what_a_script_sends_is_answered_by_a_word_as_before() {
    let gateway = Setup::new().start();
    let client = late(&gateway, Version::H1);
    let plain = || unsaid(&client, URLENCODED, b"a=1");
    let own = format!("https://{}", client.authority());
    let of_kind = |kind| unsaid(&client, kind, b"a=1");
    for (what, request, status) in [
        ("a script says so", plain().header("x-requested-with", "XMLHttpRequest"), 401),
        ("anything will do", plain().without("accept").header("accept", "*/*"), 401),
        ("JSON is wanted", plain().without("accept").header("accept", "application/json"), 401),
        ("nothing is wanted", plain().without("accept"), 401),
        ("it is no form", of_kind("application/json"), 401),
        ("it is no form", of_kind("multipart/mixed; boundary=x"), 401),
        ("no kind is said", unsaid(&client, URLENCODED, b"a=1").without("content-type"), 401),
        ("no other method is a form's", client.request(Method::PUT, "/save").header("accept", "text/html"), 401),
        ("a script's, in a browser that says so", plain().header("sec-fetch-mode", "cors"), 401),
        ("the same, by its kind", plain().header("sec-fetch-dest", "empty"), 401),
        ("another site's", plain().without("origin").header("origin", "https://evil.test"), 403),
        (
            "another site's page's",
            plain().without("origin").without("referer").header("referer", "https://evil.test/"),
            403,
        ),
        ("nobody's", plain().without("origin").without("referer").without_origin(), 403),
    ] {
        let answer = request.send();
        assert_eq!((answer.status, answer.header("location")), (status, ""), "{what}: {}", answer.text());
    }
    assert_eq!(all_kept(&gateway), 0);
    // Where the shield lets everything pass, another site's form is no form of ours.
    let open = Setup::new().extra("[csrf]\nmode = \"off\"").start();
    let client = late(&open, Version::H1);
    for origin in ["https://evil.test", "null", &*own] {
        let form = unsaid(&client, URLENCODED, b"a=1").without("origin").without("referer").header("origin", origin);
        assert_eq!(form.send().status, 401, "{origin}");
    }
    assert_eq!(all_kept(&open), 0);
}

#[test]
fn a_page_in_a_frame_says_that_its_person_must_sign_in_and_leads_out_of_the_frame() {
    let gateway = Setup::new().start();
    for version in BOTH {
        for dest in ["iframe", "frame"] {
            let client = late(&gateway, version);
            let page = framed(client.visit("/inbox?of=7"), dest, "same-origin").header("sec-fetch-user", "?1").send();
            assert_eq!((page.status, page.header("content-type")), (401, "text/html; charset=utf-8"), "{dest}");
            assert!(page.header("www-authenticate").starts_with("Cookie "));
            assert_only_shows(&page);
            assert!(
                page.text().contains("You were signed out because nothing happened for a while."),
                "{}",
                page.text()
            );
            assert!(!page.text().contains("Error 401"), "it is nobody's mistake");
            let link = way_out(&page);
            assert!(link.starts_with("/.vestibule/login?return="), "{link}");
            assert_eq!(sign_in_at(&client, &link), "/inbox?of=7", "{dest}");
            gateway.revoke("alice");
            // A stranger is told no more than that.
            let page = framed(gateway.client().speaking(version).visit("/"), dest, "same-origin").send();
            assert!(page.status == 401 && page.text().contains("sign in"), "{}", page.text());
            assert_only_shows(&page);
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn who_opened_the_page_around_a_frame_is_led_back_to_that_page() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let own = format!("https://{}", client.authority());
    let asked = |referer: &str| {
        let link = way_out(&framed(client.visit("/inner"), "frame", "same-origin").header("referer", referer).send());
        sign_in_at(&gateway.client(), &link)
    };
    // What fills a frame by itself was asked for by the page around it.
    assert_eq!(asked(&format!("{own}/frames/start?x")), "/frames/start?x");
    for other in ["https://evil.test/", &format!("{own}//evil.test/"), &format!("{own}/.vestibule/login"), &own] {
        assert_eq!(asked(other), "/inner", "{other}");
    }
}

#[test]
fn a_form_in_a_frame_is_kept_and_sent_in_the_whole_window() {
    let gateway = Setup::new().start();
    for dest in ["iframe", "frame"] {
        let client = late(&gateway, Version::H1);
        let page = framed(post(&client, "/save/echo", URLENCODED, "a=in+a+frame"), dest, "same-origin").send();
        assert_eq!(page.status, 401, "{}", page.text());
        assert_only_shows(&page);
        assert!(page.text().contains("What you sent is kept for you."), "{}", page.text());
        let to = sign_in_at(&client, &way_out(&page));
        let path = to.split('?').next().expect("a path");
        assert!(path.starts_with("/.vestibule/parked/"), "{to}");
        gateway.application.assert_untouched();
        // What asks whether it is to be sent is in nobody's frame.
        let inside = framed(client.visit(&to), dest, "same-origin").send();
        assert_eq!(inside.status, 403);
        assert!(!inside.text().contains("in a frame"));
        let question = client.visit(&to).send();
        assert!(question.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(&*decide(&client, path, &question, "send").send().body, b"a=in+a+frame");
        gateway.revoke("alice");
    }
}

#[test]
fn what_another_site_frames_is_told_nothing_and_keeps_nothing() {
    let gateway = Setup::new().extra("[session.cookie]\nsame_site = \"None\"\n").start();
    let client = late(&gateway, Version::H1);
    for (dest, site) in [
        ("iframe", "cross-site"),
        ("iframe", "same-site"),
        ("frame", "cross-site"),
        ("object", "same-origin"),
        ("embed", "same-origin"),
        ("empty", "same-origin"),
    ] {
        let answer = framed(client.visit("/inbox"), dest, site).send();
        assert_eq!((answer.status, answer.header("content-type")), (401, "application/json"), "{dest}, {site}");
    }
    for site in ["cross-site", "same-site"] {
        let answer = framed(post(&client, "/save", URLENCODED, "a=1"), "iframe", site).send();
        assert_eq!((answer.status, answer.header("content-type")), (403, "application/json"), "{site}");
    }
    // What has no word on the site cannot be told from it; no browser leaves it out.
    let unsaid = client.visit("/inbox").without("sec-fetch-dest").without("sec-fetch-site");
    assert_eq!(unsaid.header("sec-fetch-dest", "iframe").send().header("content-type"), "application/json");
    assert_eq!(all_kept(&gateway), 0);
    gateway.application.assert_untouched();
}

#[test]
fn a_refusal_in_a_frame_is_a_page_and_the_login_page_is_never_in_one() {
    let gateway = Setup::new().start();
    let bob = gateway.signed_in(super::harness::BOB);
    let refused = framed(bob.visit("/admin"), "frame", "same-origin").send();
    assert_eq!((refused.status, refused.header("x-frame-options")), (403, "SAMEORIGIN"), "{}", refused.text());
    assert!(refused.text().contains("This page is not open to you"));
    assert!(way_out(&refused).starts_with("/.vestibule/logout"));
    let elsewhere = framed(bob.visit("/admin"), "iframe", "cross-site").send();
    assert_eq!((elsewhere.status, elsewhere.header("content-type")), (403, "application/json"));
    for path in ["login", "logout", "sessions", "parked"] {
        for site in ["same-origin", "cross-site", "none"] {
            let answer = framed(bob.visit(&format!("/.vestibule/{path}")), "iframe", site).send();
            assert_eq!(answer.status, 403, "{path}");
            assert!(!answer.text().contains("<form"), "{path}");
        }
        // By itself, nobody may frame it.
        let answer = bob.visit(&format!("/.vestibule/{path}")).send();
        assert_eq!((answer.status, answer.header("x-frame-options")), (200, "DENY"), "{path}");
    }
}

#[test]
fn a_link_in_a_frame_to_one_of_our_pages_leads_out_of_the_frame() {
    let gateway = Setup::new().start();
    for version in BOTH {
        for dest in ["iframe", "frame"] {
            let client = gateway.signed_in(ALICE).speaking(version);
            for page in ["logout", "sessions", "login", "parked", "login?return=of-somewhere", "login/choose"] {
                let path = format!("/.vestibule/{page}");
                let answer = framed(client.visit(&path), dest, "same-origin").header("sec-fetch-user", "?1").send();
                assert_eq!((answer.status, answer.header("content-type")), (403, "text/html; charset=utf-8"), "{page}");
                let text = answer.text();
                assert!(text.contains("This page opens in the whole window"), "{page}: {text}");
                for word in ["another website", "not carried out", "Error 403"] {
                    assert!(!text.contains(word), "{word} in {text}");
                }
                assert_eq!(way_out(&answer), path);
                assert_only_shows(&answer);
            }
            // Nothing has become of their session by that, and outside of the frame the page is there.
            assert!(client.visit("/.vestibule/logout").send().text().contains("alice"));
        }
    }
    let client = gateway.signed_in(ALICE);
    for (what, request) in [
        ("another site's", framed(client.visit("/.vestibule/logout"), "iframe", "cross-site")),
        ("a script's", client.visit("/.vestibule/logout").without("sec-fetch-mode").header("sec-fetch-mode", "cors")),
        ("for a program", framed(client.visit("/.vestibule/api/nothing"), "iframe", "same-origin")),
        ("a form", framed(client.post_form("/.vestibule/sessions", &[("end", "all")]), "iframe", "same-origin")),
    ] {
        let answer = request.send();
        assert!(answer.status == 403 || answer.status == 404, "{what}: {}", answer.status);
        assert!(!answer.text().contains("in the whole window"), "{what}: {}", answer.text());
    }
    assert!(client.visit("/.vestibule/logout").send().text().contains("alice"));
}

#[test]
fn who_signs_out_in_a_frame_is_told_so_in_it() {
    let gateway = Setup::new().start();
    for version in BOTH {
        for dest in ["iframe", "frame"] {
            let client = gateway.signed_in(ALICE).speaking(version);
            let answer = framed(client.post_form("/.vestibule/logout", &[]), dest, "same-origin").send();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.text().contains("You are signed out"), "{}", answer.text());
            assert_eq!(answer.header("clear-site-data"), "\"cache\"");
            assert_only_shows(&answer);
            assert_eq!(way_out(&answer), "/.vestibule/login");
            assert_eq!(client.visit("/orders/x").send().status, 302, "the session has ended");
        }
    }
    let answer = gateway.signed_in(ALICE).post_form("/.vestibule/logout", &[]).send();
    assert_eq!((answer.status, answer.header("x-frame-options")), (200, "DENY"), "in a window of its own");
}

#[test]
fn who_says_half_of_where_they_go_or_is_a_script_is_no_person_anywhere() {
    let gateway = Setup::new().start();
    let bob = gateway.signed_in(super::harness::BOB);
    let unsaid = |path: &str| {
        let request = bob.visit(path);
        ["sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site"]
            .iter()
            .fold(request, |request, name| request.without(name))
    };
    let halves =
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("x-requested-with", "XMLHttpRequest")];
    for (name, value) in halves {
        // Refused as one of the application, led to sign in, and at one of our pages: three times the same.
        let of_application = unsaid("/admin").header(name, value).send();
        assert_eq!((of_application.status, of_application.header("content-type")), (403, "application/json"), "{name}");
        let stranger = gateway.client();
        let asked = stranger.get("/inbox").header("accept", "text/html").header(name, value).send();
        assert_eq!((asked.status, asked.header("content-type")), (401, "application/json"), "{name}");
        for page in ["login", "logout", "sessions", "parked"] {
            let own = unsaid(&format!("/.vestibule/{page}")).header(name, value).send();
            assert_eq!((own.status, own.header("content-type")), (403, "application/json"), "{page}: {name}");
        }
    }
    // Who says nothing of it is known by what they ask for; and whatever else a script calls itself is kept from our pages.
    assert_eq!(unsaid("/admin").send().header("content-type"), "text/html; charset=utf-8");
    assert_eq!(unsaid("/.vestibule/sessions").send().status, 200);
    assert_eq!(bob.visit("/.vestibule/sessions").header("x-requested-with", "its-name").send().status, 403);
}
