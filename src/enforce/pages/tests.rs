//! What every page keeps to.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::color::Color;
use super::logo::Logo;
use super::look::LookSettings;
use super::*;

/// Breaks out of attributes and elements, closes a title, turns the line around, and is not all ASCII.
const HOSTILE: &str = "\"><script>alert(1)</script>'onx=' </title></style>\u{202e}\u{2066}&lt;é";

/// A look that says nothing, one with a name, one with all there is, and one of hostile words.
static LOOKS: LazyLock<[Look; 4]> = LazyLock::new(|| {
    let svg = Logo::new(b"<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>").expect("a logo");
    let color = Color::parse("#2356b3").expect("a colour");
    let plain = LookSettings::default();
    let whole = LookSettings {
        title: "Payroll".into(),
        note: "Call 4711".into(),
        logo: Some(Arc::new(svg)),
        color: Some(color),
    };
    let hostile = LookSettings { title: HOSTILE.into(), note: HOSTILE.into(), ..whole.clone() };
    [plain.clone(), LookSettings { title: "Payroll".into(), ..plain }, whole, hostile].map(|look| Look::new(&look))
});

fn named() -> &'static Look {
    &LOOKS[1]
}

fn login() -> LoginPage<'static> {
    LoginPage {
        look: named(),
        action: "/p/login",
        attempt: "a1",
        username: "",
        remember: None,
        message: None,
        notice: None,
        go_on: None,
    }
}

fn hostile_pages() -> [Rendered; 3] {
    let look = &LOOKS[3];
    [
        LoginPage {
            look,
            action: HOSTILE,
            attempt: HOSTILE,
            username: HOSTILE,
            remember: Some(RememberChoice { is_ticked: true, span: HOSTILE, may_be_refused: true }),
            message: Some(HOSTILE),
            notice: Some(HOSTILE),
            go_on: Some(HOSTILE),
        }
        .render(),
        LogoutPage { look, username: HOSTILE, action: HOSTILE, sessions: HOSTILE }.render(),
        MessagePage {
            look,
            status: 500,
            title: HOSTILE,
            message: HOSTILE,
            advice: HOSTILE,
            action: Some((HOSTILE, &format!("/{HOSTILE}"))),
            request_id: Some(HOSTILE),
        }
        .render(),
    ]
}

fn all_pages() -> Vec<Rendered> {
    let mut pages = Vec::from(hostile_pages());
    for look in &*LOOKS {
        pages.push(LoginPage { look, ..login() }.render());
        pages.push(LogoutPage { look, ..logout() }.render());
        pages.push(MessagePage::signed_out(look, "/p/login").render());
        let statuses = [400, 401, 403, 404, 421, 429, 500, 502, 503, 504, 599];
        pages.extend(statuses.map(|status| MessagePage::for_status(look, status).render()));
    }
    pages
}

fn logout() -> LogoutPage<'static> {
    LogoutPage { look: named(), username: "ada", action: "/p/logout", sessions: "/p/sessions" }
}

/// The page without its style sheet, which may hold words that the tests look for.
fn without_style(page: &str) -> String {
    assert_eq!(page.matches(STYLE).count(), 1, "the style sheet is there once, as it is");
    page.replace(STYLE, "")
}

#[test]
fn every_value_is_escaped() {
    for page in hostile_pages() {
        let page = without_style(&page.text);
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("\">'") && !page.contains("'onx"), "{page}");
        assert_eq!(page.matches("</title>").count(), 1, "{page}");
        assert_eq!(page.matches("</style>").count(), 1, "{page}");
        assert!(page.contains("&#60;script&#62;") && page.contains("&#38;lt;é"), "{page}");
    }
}

#[test]
fn hostile_values_add_no_elements_and_no_attributes() {
    let look = LookSettings { title: "x".into(), note: "x".into(), logo: LOOKS[2].logo.clone(), color: None };
    let look = Look { colors: LOOKS[3].colors.clone(), ..Look::new(&look) };
    let quiet = LoginPage {
        look: &look,
        username: "x",
        remember: Some(RememberChoice { is_ticked: true, span: "x", may_be_refused: true }),
        message: Some("x"),
        notice: Some("x"),
        go_on: Some("x"),
        ..login()
    };
    let quiet = quiet.render();
    let [hostile, ..] = hostile_pages();
    for mark in ["<", ">", "\"", "'"] {
        let (quiet, hostile) = (without_style(&quiet.text), without_style(&hostile.text));
        assert_eq!(quiet.matches(mark).count(), hostile.matches(mark).count(), "{mark}");
    }
}

#[test]
fn names_that_turn_the_line_around_are_isolated() {
    let page = LogoutPage { username: "\u{202e}ada", ..logout() }.render().text;
    assert!(page.contains("<bdi>\u{202e}ada</bdi>"), "{page}");
}

#[test]
fn policy_names_the_hash_of_the_inlined_bytes() {
    for page in all_pages() {
        let inlined = page.text.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
        let inlined = inlined.unwrap_or_default();
        assert!(inlined.starts_with(STYLE));
        let hash = STANDARD.encode(Sha256::digest(inlined.as_bytes()));
        let policy = page.policy.to_str().expect("text");
        assert!(policy.contains(&format!("style-src 'sha256-{hash}';")), "{policy}");
        // Pictures only where there is one.
        assert_eq!(policy.contains("img-src data:;"), page.text.contains("<img "), "{policy}");
    }
}

/// Browsers read CR LF as LF before they hash: a checkout that adds CRs would lose the style.
#[test]
fn style_sheet_survives_the_parser() {
    assert!(!STYLE.contains('\r') && !STYLE.contains('\0') && !STYLE.contains("</") && !STYLE.contains("<!--"));
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    // The colours follow in a line of their own.
    assert!(STYLE.ends_with("}\n"));
}

#[test]
fn no_scripts_no_inline_styles_nothing_from_outside() {
    for page in all_pages() {
        let page = without_style(&page.text);
        for word in ["<script", " style=", "javascript:", " onload", " onclick", "<link", "<object", "<embed", "<svg"] {
            assert!(!page.contains(word), "{word} in {page}");
        }
        // A logo is an `img`, in which nothing of it runs, and comes with the page.
        let pictures = page.matches("<img class=\"logo light\" src=\"data:image/svg+xml;base64,").count();
        assert_eq!([page.matches("<img").count(), page.matches(" src=").count()], [pictures; 2], "{page}");
    }
}

#[test]
fn every_page_shows_whose_it_is() {
    let pages = |look| {
        let message = MessagePage::for_status(look, 404).render();
        [LoginPage { look, ..login() }.render(), LogoutPage { look, ..logout() }.render(), message]
    };
    let [plain, named, whole, _] = &*LOOKS;
    for page in pages(plain).map(|page| page.text) {
        assert!(page.contains("class=\"door\"") && !page.contains("Payroll"), "{page}");
    }
    for page in pages(named).map(|page| page.text) {
        assert!(page.contains(" – Payroll</title>") && page.contains("<bdi>Payroll</bdi>"), "{page}");
        assert_eq!(page.matches("Payroll").count(), 2, "it is said once beside the title: {page}");
    }
    for page in pages(whole).map(|page| page.text) {
        assert!(page.contains(" alt=\"Payroll\"") && !page.contains("class=\"door\""), "{page}");
        assert!(page.contains("--accent:#2356b3"), "{page}");
    }
    // Who cannot sign in, or meets an error, is told where there is help.
    let noted = pages(whole).map(|page| page.text.contains("<p dir=\"auto\">Call 4711</p>"));
    assert_eq!(noted, [true, false, true]);
}

#[test]
fn pages_have_language_title_and_landmark() {
    for page in all_pages().into_iter().map(|page| page.text) {
        for part in ["<!doctype html>", "<html lang=\"en\">", "<main>", "<h1>", "name=\"viewport\""] {
            assert_eq!(page.matches(part).count(), 1, "{part}");
        }
        assert!(!page.contains("<title></title>"));
    }
}

#[test]
fn login_form_has_its_fields() {
    let page = LoginPage { username: "ada", ..login() }.render().text;
    assert!(page.contains("<title>Sign in – Payroll</title>"));
    assert!(page.contains("<form method=\"post\" action=\"/p/login\">"));
    assert!(page.contains("<input type=\"hidden\" name=\"attempt\" value=\"a1\">"));
    for part in ["for=\"username\"", "name=\"username\"", "value=\"ada\"", "autocomplete=\"username\""] {
        assert!(page.contains(part), "{part}");
    }
    for part in ["for=\"password\"", "name=\"password\"", "autocomplete=\"current-password\""] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("autocapitalize=\"none\"").count(), 2);
    assert_eq!(page.matches("spellcheck=\"false\"").count(), 2);
    assert_eq!(page.matches(" autofocus").count(), 1);
    assert!(!page.contains("role=\"alert\"") && !page.contains("role=\"status\""));
}

#[test]
fn to_be_remembered_is_asked_where_it_is_offered() {
    assert!(!login().render().text.contains("remember"));
    let asked = |is_ticked, may_be_refused| {
        let remember = Some(RememberChoice { is_ticked, span: "30 days", may_be_refused });
        LoginPage { remember, ..login() }.render().text
    };
    let (page, ticked) = (asked(false, false), asked(true, true));
    assert!(page.contains("<input id=\"remember\" name=\"remember\" type=\"checkbox\" value=\"1\" aria-"), "{page}");
    assert!(page.contains("<label for=\"remember\">") && page.contains("For up to 30 days. "), "{page}");
    assert!(page.contains("<input type=\"hidden\" name=\"remember_offered\" value=\"1\">"));
    assert!(ticked.contains("value=\"1\" checked aria-") && ticked.contains("30 days, if your account allows it. "));
}

#[test]
fn login_problem_is_announced_and_tied_to_the_fields() {
    let page = LoginPage { message: Some("No."), notice: Some("Ended."), ..login() }.render().text;
    assert!(page.contains("<title>Problem – Sign in – Payroll</title>"));
    assert!(page.contains("role=\"alert\" id=\"problem\">No.</p>"));
    assert!(page.contains("role=\"status\">Ended.</p>"));
    assert_eq!(page.matches("aria-describedby=\"problem\"").count(), 2);
}

#[test]
fn logout_is_a_post() {
    let page = logout().render().text;
    assert!(page.contains("<form method=\"post\" action=\"/p/logout\">"));
    assert!(page.contains("<bdi>ada</bdi>") && page.contains("href=\"/\""));
    assert!(!page.contains("href=\"/p/logout\""));
}

#[test]
fn message_page_says_what_and_what_now() {
    let usual = MessagePage::for_status(&LOOKS[0], 503);
    let html = MessagePage { request_id: Some("r-7"), action: Some(("Go back", "/")), ..usual }.render().text;
    assert!(html.contains("<title>Not available just now</title>") && html.contains("role=\"alert\""));
    assert!(html.contains("Error 503") && html.contains("r-7"));
    assert!(html.contains("<a class=\"button\" href=\"/\" target=\"_top\">Go back</a>"));

    let calm = MessagePage::signed_out(named(), "/p/login").render().text;
    assert!(!calm.contains("Error") && !calm.contains("role=\"alert\"") && calm.contains("href=\"/p/login\""));
}

#[test]
fn odd_links_are_left_out() {
    let usual = || MessagePage::for_status(named(), 404);
    let shown = |url| MessagePage { action: Some(("Go", url)), ..usual() }.link().is_some();
    for url in ["/", "/a//b", "https://a.example/", "http://a.example/"] {
        assert!(shown(url), "{url}");
    }
    for url in ["", " /", "evil", "data:,x", "javascript:alert(1)", "//evil.example", "/\\evil", "/\t/evil"] {
        assert!(!shown(url), "{url}");
    }
}
