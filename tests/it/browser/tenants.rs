//! Two tenants in one browser: whoever is signed in at one is nobody at the other.

use super::super::tenants::{ACME, ALICE_OF_ACME, ALICE_OF_GLOBEX, GLOBEX, setup, tenant};
use super::{Browser, PAGE, SESSION, sign_out_at, signed_in};

#[test]
fn one_browser_at_two_tenants_is_two_people_and_each_leaves_alone() {
    let gateway = setup("", "", "").start();
    let browser = Browser::start(&gateway);
    let (at_acme, at_globex) = (browser.url(ACME, "/yard/page"), browser.url(GLOBEX, "/yard/page"));
    let acme = signed_in(&browser, &at_acme, ALICE_OF_ACME);
    assert_eq!(gateway.application.last().header("x-forwarded-roles"), Some("admin"));
    gateway.application.forget();
    let globex = browser.new_tab();
    globex.open(&at_globex);
    globex.is_at("/.vestibule/login");
    assert_eq!(globex.cookie(SESSION), None);
    globex.sign_in(ALICE_OF_ACME);
    globex.shows("The user name or the password is not right.");
    gateway.application.assert_untouched();
    globex.sign_in(ALICE_OF_GLOBEX);
    globex.shows(PAGE);
    assert_eq!(gateway.application.last().header("x-forwarded-roles"), Some("staff"));
    // Each has a cookie of its own, and sees the other's as little as any page sees another host's.
    let (hers, other) = (acme.cookie(SESSION).expect("a session"), globex.cookie(SESSION).expect("a session"));
    assert_eq!((&*hers.domain, &*other.domain), (ACME, GLOBEX));
    assert_ne!(hers.value, other.value);
    acme.reload();
    acme.shows(PAGE);
    assert_eq!(gateway.application.last().header("x-forwarded-roles"), Some("admin"));
    sign_out_at(&acme, &browser.url(ACME, ""));
    assert_eq!((acme.cookie(SESSION), globex.cookie(SESSION)), (None, Some(other)));
    assert_eq!(["acme", "globex"].map(|name| gateway.sessions_at(tenant(name), "alice").len()), [0, 1]);
    globex.reload();
    globex.shows(PAGE);
    acme.open(&at_acme);
    acme.is_at("/.vestibule/login");
}

#[test]
fn the_cookie_of_one_put_in_by_hand_at_the_other_opens_nothing() {
    let gateway = setup("", "", "").start();
    let browser = Browser::start(&gateway);
    let acme = signed_in(&browser, &browser.url(ACME, "/yard/page"), ALICE_OF_ACME);
    let hers = acme.cookie(SESSION).expect("a session");
    let globex = browser.new_tab();
    globex.open(&browser.url(GLOBEX, "/public/page"));
    globex.shows(PAGE);
    for path in ["/yard/page", "/admin/page"] {
        globex.put_cookie(&browser.url(GLOBEX, "/"), SESSION, &hers.value);
        assert_eq!(globex.cookie(SESSION).expect("put there").value, hers.value);
        gateway.application.forget();
        globex.open(&browser.url(GLOBEX, path));
        globex.is_at("/.vestibule/login");
        assert!(globex.field("username").is_empty() && !globex.text().contains("alice"), "{}", globex.text());
        gateway.application.assert_untouched();
    }
    // Nor is anybody of that name signed in by it where nobody need be.
    globex.put_cookie(&browser.url(GLOBEX, "/"), SESSION, &hers.value);
    globex.open(&browser.url(GLOBEX, "/optional/page"));
    globex.shows(PAGE);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), None);
    // Where it belongs, it is as good as before.
    acme.reload();
    acme.shows(PAGE);
    assert_eq!(acme.cookie(SESSION), Some(hers));
}
