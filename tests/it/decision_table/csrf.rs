//! The same for where requests come from: what the CSRF shield says of every kind of request on every kind of route.
//!
//! A row is what a request says of itself, and behind the slash the session that came with it, in the words of the other
//! tables. A column is a route: signed in (without the shield, told to report, enforced, asking for a token), then
//! enforced ones that are optional and anonymous, and a public one without and with. A cell says as whom the request
//! passes, or why it does not; in brackets, what is only reported. `new` is a stranger who is given a session.

use http::HeaderName;
use proptest::prelude::*;
use proptest::sample::select;
use vestibule::policy::route_policy::{Shield, TokenNames};
use vestibule::policy::verdict::CrossSite;
use vestibule::session::csrf_token;

use super::*;

const TABLE: &str = "
| what came                                               | off              | report                        | enforced         | token            | optional         | anonymous        | public | public, enforced |
| ------------------------------------------------------- | ---------------- | ----------------------------- | ---------------- | ---------------- | ---------------- | ---------------- | ------ | ---------------- |
| GET, site cross-site / user                             | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| GET, site cross-site / nothing                          | no_session       | no_session                    | no_session       | no_session       | nobody           | new              | nobody | nobody           |
| HEAD, origin evil / user                                | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| OPTIONS, origin evil / user                             | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| POST, site same-origin, token of it / user              | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| POST, site same-origin / user                           | user             | user (csrf_token)             | user             | csrf_token       | user             | user             | nobody | nobody           |
| POST, site same-origin / admin                          | admin            | admin (csrf_token)            | admin            | csrf_token       | admin            | admin            | nobody | nobody           |
| POST, site same-origin / anonymous                      | anonymous        | anonymous                     | anonymous        | anonymous        | anonymous        | anonymous        | nobody | nobody           |
| POST, site same-origin / nothing                        | no_session       | no_session                    | no_session       | no_session       | nobody           | new              | nobody | nobody           |
| POST, site same-origin / ended logout, user             | logout           | logout                        | logout           | logout           | nobody           | new              | nobody | nobody           |
| POST, site same-origin / user, age 2h, active 30m       | idle             | idle                          | idle             | idle             | nobody           | new              | nobody | nobody           |
| POST, site none, token of it / user                     | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| POST, site none / user                                  | user             | user (csrf_token)             | user             | csrf_token       | user             | user             | nobody | nobody           |
| POST, site same-site / user                             | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / user                            | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / anonymous                       | anonymous        | anonymous (cross_site)        | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / nothing                         | no_session       | no_session (cross_site)       | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / an invalid cookie               | invalid_cookie   | invalid_cookie (cross_site)   | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / an unknown session              | unknown_session  | unknown_session (cross_site)  | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / ended logout, user              | logout           | logout (cross_site)           | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / user, age 2h, active 30m        | idle             | idle (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / user, shows 5                   | reuse            | reuse (cross_site)            | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / user, shows 8                   | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site / user, elsewhere, ip end         | binding_ip       | binding_ip (cross_site)       | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site cross-site, origin own, token of it / user   | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site sideways, origin own / user                  | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site same-origin, site same-origin / user         | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, site same-origin, origin evil, field of it / user | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| POST, origin own, field of it / user                    | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| POST, origin own, field of another / user               | user             | user (csrf_token)             | user             | csrf_token       | user             | user             | nobody | nobody           |
| POST, origin own, token of another, field of it / user  | user             | user (csrf_token)             | user             | csrf_token       | user             | user             | nobody | nobody           |
| POST, origin own, token of it, token of it / user       | user             | user (csrf_token)             | user             | csrf_token       | user             | user             | nobody | nobody           |
| POST, origin own, referer evil page / user              | user             | user (csrf_token)             | user             | csrf_token       | user             | user             | nobody | nobody           |
| POST, origin own, origin own / user                     | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin own and evil / user                        | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin null / user                                | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin null / nothing                             | no_session       | no_session (cross_site)       | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin evil / user                                | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin evil, referer own page / user              | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin listed / user                              | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin own by http / user                         | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, origin own with a port / user                     | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, referer own page, token of it / user              | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| POST, referer evil page / user                          | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| POST, referer own by http / user                        | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| PUT / user                                              | user             | user (no_origin)              | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| PUT / admin, shows 8                                    | admin            | admin (no_origin)             | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| DELETE / anonymous                                      | anonymous        | anonymous (no_origin)         | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| POST / nothing                                          | no_session       | no_session                    | no_session       | no_session       | nobody           | new              | nobody | nobody           |
| POST / an invalid cookie                                | invalid_cookie   | invalid_cookie (no_origin)    | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| POST / several sessions                                 | several_sessions | several_sessions (no_origin)  | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| POST / a wrong proof                                    | invalid_proof    | invalid_proof (no_origin)     | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| POST / ended logout, user                               | logout           | logout (no_origin)            | no_origin        | no_origin        | no_origin        | no_origin        | nobody | nobody           |
| PROPFIND, origin evil / user                            | user             | user (cross_site)             | cross_site       | cross_site       | cross_site       | cross_site       | nobody | cross_site       |
| websocket, origin own / user                            | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| websocket, origin own / nothing                         | no_session       | no_session                    | no_session       | no_session       | nobody           | new              | nobody | nobody           |
| websocket, origin listed / user                         | user             | user                          | user             | user             | user             | user             | nobody | nobody           |
| websocket, origin evil / user                           | user             | user (websocket_origin)       | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket, origin evil / nothing                        | no_session       | no_session (websocket_origin) | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket, site same-origin / user                      | user             | user (websocket_origin)       | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket, origin null / anonymous                      | anonymous        | anonymous (websocket_origin)  | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket, origin own, origin own / user                | user             | user (websocket_origin)       | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket, origin evil, site same-origin / user         | user             | user (websocket_origin)       | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket / user                                        | user             | user (websocket_origin)       | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
| websocket / nothing                                     | no_session       | no_session (websocket_origin) | websocket_origin | websocket_origin | websocket_origin | websocket_origin | nobody | websocket_origin |
";

/// What a request says of itself.
#[derive(Clone, Debug)]
struct Said {
    method: Method,
    headers: Vec<(&'static str, String)>,
    is_websocket: bool,
    form_token: Option<String>,
}

const OWN: &str = "https://app.example.test";
const EVIL: &str = "https://evil.test";
const LISTED: &str = "https://portal.test";
const HEADER: &str = "x-the-token";

/// A token of the session of every situation, and one of another.
fn tokens() -> [String; 2] {
    let of = |seed| {
        csrf_token::token(&Record::new(&Random::seeded(seed), None, Bound::of(HOME, b""), NOW).seed, &Random::System)
    };
    [of(1), of(2)]
}

impl Said {
    fn of(text: &str) -> Self {
        let mut said = Self { method: Method::POST, headers: Vec::new(), is_websocket: false, form_token: None };
        let [own_token, other_token] = tokens();
        for word in text.split(", ") {
            let address = |which: &str| match which {
                "own" => OWN.to_owned(),
                "evil" => EVIL.to_owned(),
                "listed" => LISTED.to_owned(),
                "own page" => format!("{OWN}/form"),
                "evil page" => format!("{EVIL}/form"),
                "own by http" => OWN.replace("https", "http"),
                "own with a port" => format!("{OWN}:8443"),
                "own and evil" => format!("{OWN} {EVIL}"),
                other => other.to_owned(),
            };
            let token = |which: &str| if which == "of it" { own_token.clone() } else { other_token.clone() };
            match word.split_once(' ').unwrap_or((word, "")) {
                ("websocket", "") => (said.method, said.is_websocket) = (Method::GET, true),
                ("site", site) => said.headers.push(("sec-fetch-site", site.to_owned())),
                ("origin", which) => said.headers.push(("origin", address(which))),
                ("referer", which) => said.headers.push(("referer", address(which))),
                ("token", which) => said.headers.push((HEADER, token(which))),
                ("field", which) => said.form_token = Some(token(which)),
                (method, "") => said.method = Method::from_bytes(method.as_bytes()).expect("a method"),
                _ => panic!("\"{word}\" says nothing"),
            }
        }
        said
    }

    fn decide(&self, situation: &Situation, route: &RoutePolicy) -> Decision {
        let live = Live::new(situation.record.clone());
        let presented = match situation.unusable {
            // Of a public route, the cookie is not read.
            _ if route.access == Access::Public => Presented::Unusable(Reason::NoSession),
            Some(reason) => Presented::Unusable(reason),
            None => Presented::Session { session: live.view(), generation: situation.shows },
        };
        let mut parts = parts(situation.agent, &self.method);
        for (name, value) in &self.headers {
            parts.headers.append(*name, value.parse().expect("a value"));
        }
        let read = Facts::read(&parts, situation.client).expect("a good request");
        let form_token = self.form_token.as_deref();
        let facts = Facts { tls: situation.tls, is_websocket: self.is_websocket, form_token, ..read };
        let mut steps = Steps::default();
        let traced = decide(&situation.rules, route, presented, &facts, NOW, &mut steps);
        let plain = decide(&situation.rules, route, presented, &facts, NOW, &mut NoTrace);
        assert_eq!(format!("{traced:?}"), format!("{plain:?}"), "the trace changes the decision");
        assert_eq!(steps.0.get(1).is_some_and(|step| step.0 == "csrf"), route.csrf.is_some(), "{steps:?}");
        plain
    }
}

fn shield(is_enforced: bool, has_token: bool) -> Shield {
    let names = TokenNames { header: HeaderName::from_static(HEADER), field: "the_token".into() };
    let token = has_token.then(|| Arc::new(names));
    Shield { is_enforced, is_for_sockets_alone: false, websocket_origins: [LISTED.into()].into(), token }
}

fn shielded(access: Access, shield: Option<Shield>) -> RoutePolicy {
    RoutePolicy { csrf: shield.map(Box::new), ..route(access, &[]) }
}

fn columns() -> [RoutePolicy; 8] {
    let (enforced, token) = (Some(shield(true, false)), Some(shield(true, true)));
    [
        shielded(Access::Authenticated, None),
        shielded(Access::Authenticated, Some(shield(false, true))),
        shielded(Access::Authenticated, enforced.clone()),
        shielded(Access::Authenticated, token),
        shielded(Access::Optional, enforced.clone()),
        shielded(Access::Anonymous, enforced.clone()),
        shielded(Access::Public, None),
        shielded(Access::Public, enforced),
    ]
}

fn cell(decision: &Decision) -> String {
    let who = match &decision.verdict {
        Verdict::Challenge(reason) | Verdict::Deny(reason) => reason.name().to_owned(),
        Verdict::Allow(_) | Verdict::AllowWithNewSession(_) => shown(decision)[0].clone(),
    };
    decision.cross_site.map_or(who.clone(), |found| format!("{who} ({})", found.name()))
}

#[test]
fn every_row_of_where_requests_come_from() {
    let rows: Vec<Vec<&str>> =
        TABLE.trim().lines().skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() * columns().len() > 300, "only {} rows", rows.len());
    for row in rows {
        let [what, cells @ ..] = row.as_slice() else { panic!("{row:?}") };
        let (said, session) = what.split_once(" / ").expect("a request and a session");
        let (said, situation) = (Said::of(said), Situation::of(session));
        let found = columns().map(|policy| cell(&said.decide(&situation, &policy)));
        assert_eq!(found, *cells, "{what}");
    }
}

fn said() -> impl Strategy<Value = Said> {
    let words = |all: &[&'static str]| proptest::option::weighted(0.4, select(all.to_vec()));
    let method = select(vec!["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PROPFIND", "websocket"]);
    let site = words(&["site same-origin", "site none", "site same-site", "site cross-site", "site x"]);
    let origins =
        ["origin own", "origin evil", "origin listed", "origin null", "origin own by http", "origin own with a port"];
    let token = words(&["token of it", "token of another", "field of it", "field of another"]);
    let all =
        (method, site, words(&origins), words(&origins), words(&["referer own page", "referer evil page"]), token);
    all.prop_map(|(method, site, origin, again, referer, token)| {
        let words = [Some(method), site, origin, again, referer, token];
        Said::of(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
    })
}

/// Whether a request may change something and does not come from the application's own pages, said once more and naively.
fn is_foreign(said: &Said, has_cookie: bool) -> bool {
    let all = |name: &str| {
        said.headers.iter().filter(|(found, _)| *found == name).map(|(_, value)| &**value).collect::<Vec<_>>()
    };
    let (site, origin, referer) = (all("sec-fetch-site"), all("origin"), all("referer"));
    if said.is_websocket {
        return !(origin == [OWN] || origin == [LISTED]);
    }
    let changes_nothing = ["GET", "HEAD", "OPTIONS"].contains(&said.method.as_str());
    let is_own = if !site.is_empty() {
        site == ["same-origin"] || site == ["none"]
    } else if !origin.is_empty() {
        origin == [OWN]
    } else if !referer.is_empty() {
        referer == [format!("{OWN}/form")]
    } else {
        !has_cookie
    };
    !changes_nothing && !is_own
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 4096,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    /// A webhook's route takes what other sites send as one without a shield does, and WebSockets as one with it.
    #[test]
    fn a_webhook_lets_in_no_websocket(situation in situation(), said in said()) {
        for access in [Access::Optional, Access::Anonymous, Access::Authenticated] {
            let with = |shield| format!("{:?}", said.decide(&situation, &shielded(access, shield)).verdict);
            let hook = with(Some(Shield { is_for_sockets_alone: true, ..shield(true, false) }));
            let like = if said.is_websocket { Some(shield(true, false)) } else { None };
            prop_assert_eq!(hook, with(like));
        }
    }

    /// The stricter the shield, the fewer pass; told to report, it changes nothing, and says what it would have refused.
    #[test]
    fn a_stricter_mode_never_allows_more(situation in situation(), said in said()) {
        for access in [Access::Public, Access::Optional, Access::Anonymous, Access::Authenticated] {
            let with = |shield| said.decide(&situation, &shielded(access, shield));
            let [off, report, enforced, token] =
                [None, Some(shield(false, true)), Some(shield(true, false)), Some(shield(true, true))].map(with);
            let allows = |decision: &Decision| matches!(decision.verdict, Verdict::Allow(_) | Verdict::AllowWithNewSession(_));
            prop_assert!(allows(&off) || !allows(&enforced));
            prop_assert!(allows(&enforced) || !allows(&token));
            let without_report = Decision { cross_site: None, ..with(Some(shield(false, true))) };
            prop_assert_eq!(format!("{without_report:?}"), format!("{off:?}"));
            let is_refused = |decision: &Decision| {
                if let Verdict::Deny(Reason::CrossSite(found)) = decision.verdict { Some(found) } else { None }
            };
            prop_assert_eq!(report.cross_site, is_refused(&token), "what is reported is what would be refused");
            prop_assert!(enforced.cross_site.is_none() && token.cross_site.is_none() && off.cross_site.is_none());
            prop_assert!(is_refused(&enforced) != Some(CrossSite::Token) && is_refused(&off).is_none());
        }
    }

    /// What another site causes is refused for that, whoever is signed in or not, and nothing happens to a session; whoever
    /// is asked to sign in sent what the shield lets through.
    #[test]
    fn another_sites_doing_is_refused_whatever_the_session(situation in situation(), said in said()) {
        for access in [Access::Public, Access::Optional, Access::Anonymous, Access::Authenticated] {
            let policy = shielded(access, Some(shield(true, false)));
            let decision = said.decide(&situation, &policy);
            let has_cookie = access != Access::Public && situation.unusable != Some(Reason::NoSession);
            let is_denied = matches!(decision.verdict, Verdict::Deny(Reason::CrossSite(_)));
            prop_assert_eq!(is_denied, is_foreign(&said, has_cookie));
            if is_denied {
                prop_assert_eq!((decision.upkeep, decision.ends), (Upkeep::default(), None));
                let mut other = situation.clone();
                other.record.ended = Some((EndReason::Logout, NOW));
                prop_assert_eq!(format!("{:?}", said.decide(&other, &policy).verdict), format!("{:?}", decision.verdict));
            }
        }
    }

    /// On a route that asks for a token, what may change something passes with a session only if it has that session's.
    #[test]
    fn no_session_changes_anything_without_its_token(situation in situation(), said in said()) {
        for access in [Access::Optional, Access::Anonymous, Access::Authenticated] {
            let decision = said.decide(&situation, &shielded(access, Some(shield(true, true))));
            let is_of = |token: &String| csrf_token::is_of(&situation.record.seed, token.as_bytes());
            let mut shown = said.headers.iter().filter(|(name, _)| *name == HEADER).map(|(_, token)| token);
            let has_token = shown.next().or(said.form_token.as_ref()).is_some_and(is_of);
            let changes_nothing = said.is_websocket || ["GET", "HEAD", "OPTIONS"].contains(&said.method.as_str());
            prop_assert!(passes(&decision).is_none() || has_token || changes_nothing);
        }
    }
}
