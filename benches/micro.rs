//! What the parts of a request's session logic cost, each alone and then all together: `cargo bench --bench micro`.
//!
//! The last group is the figure that the design bounds: from the `Cookie` header to the verdict in under a microsecond.
//! Building the store of four million sessions takes a few seconds and about two gigabytes.

#![expect(clippy::expect_used, reason = "a measurement that cannot be made fails")]

use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use vestibule::app;
use vestibule::base::clock::{Clock, Timestamp};
use vestibule::base::net::{DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6};
use vestibule::base::random::Random;
use vestibule::base::secret::Secret;
use vestibule::base::units;
use vestibule::config::Plan;
use vestibule::crypto::keyring::KeyRing;
use vestibule::enforce::authorize::authorize;
use vestibule::enforce::establish;
use vestibule::enforce::shared::Shared;
use vestibule::limit::guesses::CookieGuesses;
use vestibule::limit::parallel::UnderWay;
use vestibule::limit::rate::{Client, PerAddress, PerClient, PerSession};
use vestibule::limit::wrong_passwords::WrongPasswords;
use vestibule::policy::decide::{Presented, decide};
use vestibule::policy::facts::Facts;
use vestibule::policy::path::RequestPath;
use vestibule::policy::route_policy::{Access, Recency, RoutePolicy, SessionRules, Shield, TokenNames};
use vestibule::policy::trace::NoTrace;
use vestibule::policy::verdict::Verdict;
use vestibule::reader::Document;
use vestibule::route::hosts::HostTable;
use vestibule::route::pattern::{HostPattern, PathPrefix};
use vestibule::route::table::{DEFAULT_WEBSOCKET_TIMEOUT, Route, RouteTable};
use vestibule::server::heads::HeadWatch;
use vestibule::session::binding::{AddressMode, AgentMode, Answer, BindingRules, Bound, TlsFingerprint, TlsMode};
use vestibule::session::concurrency::Limit;
use vestibule::session::cookie::{CookieSecret, CookieSettings, SessionCookie};
use vestibule::session::csrf_token;
use vestibule::session::handle::SessionHandle;
use vestibule::session::level::Level;
use vestibule::session::live::Live;
use vestibule::session::principal::Principal;
use vestibule::session::record::Record;
use vestibule::session::rotation::{proof, proves};
use vestibule::session::store::{Created, Lookup, SessionStore};
use vestibule::session::tenant::TenantId;
use vestibule::session::timeouts::{Lifetime, Lifetimes, OnIdle, RoleLifetime};
use vestibule::store::memory::MemoryStore;

/// The shipped binary's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 17));
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
/// The same browser after an update, and another one.
const UPDATED: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36";
const OTHER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const CLIENT_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 2, 3, 4, 5));

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .without_plots()
        .configure_from_args();
    decisions(&mut criterion.benchmark_group("decide"));
    bindings(&mut criterion.benchmark_group("binding"));
    secrets(&mut criterion.benchmark_group("secret"));
    reading(&mut criterion.benchmark_group("request"));
    routes(&mut criterion.benchmark_group("route"));
    limits(&mut criterion.benchmark_group("limit"));
    whole(&mut criterion.benchmark_group("authorize"));
    look_ups(&mut criterion.benchmark_group("store"));
    criterion.final_summary();
}

fn decisions(group: &mut Group<'_>) {
    let live = Live::new(record(&Random::System, 1));
    let parts = request("/reports/2025/11?page=2", None);
    let facts = Facts { tls: hello(), ..Facts::read(&parts, CLIENT).expect("a good request") };
    let public = RoutePolicy::new(Access::Public, Vec::new());
    let (open, admins) = (policy(&[]), policy(&["ops", "reader"]));
    let usual = SessionRules::default();
    let strict = every_check();
    let mut of_roles = SessionRules::default();
    let role = |role: &str| RoleLifetime {
        role: role.into(),
        idle: Some(Duration::from_secs(600)),
        absolute: None,
        ..RoleLifetime::default()
    };
    of_roles.lifetimes.roles = ["ops", "reader"].map(role).into();
    let presented = || Presented::Session { session: live.view(), generation: 0 };
    let mut case = |name: &str, rules: &SessionRules, route: &RoutePolicy| {
        group.bench_function(name, |bencher| {
            bencher
                .iter(|| decide(rules, black_box(route), presented(), black_box(&facts), black_box(NOW), &mut NoTrace));
        });
    };
    let remembering = SessionRules { lifetimes: remembering(of_roles.lifetimes.clone()), ..SessionRules::default() };
    case("public", &usual, &public);
    case("signed in", &usual, &open);
    case("signed in, lifetimes of two roles", &of_roles, &open);
    case("signed in, where people are remembered and sessions locked", &remembering, &open);
    let hour = Some(Duration::from_secs(3600));
    let recency =
        Recency { idle: hour, absolute: hour, max_auth_age: hour, methods: [Method::POST, Method::GET].into() };
    let recent = RoutePolicy { recency: Some(Box::new(recency)), ..policy(&[]) };
    case("signed in, recently", &usual, &recent);
    let levels = levels();
    let asked = RoutePolicy { level: Some(Arc::clone(&levels[0])), ..policy(&[]) };
    let leveled = SessionRules { levels: levels.into(), ..SessionRules::default() };
    case("signed in, of three levels", &leveled, &asked);
    case("every check and roles", &strict, &admins);
    shields(group);
}

fn remembering(lifetimes: Lifetimes) -> Lifetimes {
    let (idle, absolute) = (Duration::from_secs(7 * 86_400), Duration::from_secs(30 * 86_400));
    Lifetimes { remembered: Some(Lifetime { idle, absolute }), on_idle: OnIdle::Lock, ..lifetimes }
}

fn levels() -> [Arc<Level>; 3] {
    [("new", 0), ("known", 5), ("established", 60)].map(|(name, minutes)| {
        let after = Duration::from_secs(60 * minutes);
        Arc::new(Level { name: name.into(), after, idle: Some(Duration::from_secs(600)) })
    })
}

/// Every rule of a session, and a route that asks for all that a route can.
fn all_of_it(token: &Arc<TokenNames>) -> (SessionRules, RoutePolicy) {
    let strict = every_check();
    let role = |role: &str| RoleLifetime {
        role: role.into(),
        idle: Some(Duration::from_secs(600)),
        absolute: Some(Duration::from_secs(8 * 3600)),
        ..RoleLifetime::default()
    };
    let lifetimes = Lifetimes { roles: ["ops", "reader"].map(role).into(), ..remembering(strict.lifetimes.clone()) };
    let levels = levels();
    let hour = Some(Duration::from_secs(3600));
    let methods = [Method::POST, Method::GET].into();
    let recency = Recency { idle: hour, absolute: hour, max_auth_age: hour, methods };
    let shield = Shield {
        is_enforced: true,
        is_for_sockets_alone: false,
        websocket_origins: Box::default(),
        token: Some(Arc::clone(token)),
    };
    let route = RoutePolicy {
        recency: Some(Box::new(recency)),
        level: Some(Arc::clone(&levels[0])),
        csrf: Some(Box::new(shield)),
        ..policy(&["ops", "reader"])
    };
    (SessionRules { lifetimes, levels: levels.into(), ..strict }, route)
}

/// What the CSRF shield asks of a request: of most, only whether they may change something.
fn shields(group: &mut Group<'_>) {
    let live = Live::new(record(&Random::System, 1));
    let rules = SessionRules::default();
    let names = TokenNames { header: HeaderName::from_static("x-vestibule-csrf"), field: "vestibule_csrf".into() };
    let names = Arc::new(names);
    let with = |token| {
        let shield =
            Shield { is_enforced: true, is_for_sockets_alone: false, websocket_origins: Box::default(), token };
        RoutePolicy { csrf: Some(Box::new(shield)), ..policy(&[]) }
    };
    let (plain, with_token) = (with(None), with(Some(Arc::clone(&names))));
    let mut case =
        |name: &str, method: &Method, says: &[(&'static str, &str)], rules: &SessionRules, route: &RoutePolicy| {
            let mut parts = request("/reports/2025/11?page=2", None);
            parts.method = method.clone();
            for name in ["sec-fetch-site", "referer"] {
                parts.headers.remove(name);
            }
            for (name, value) in says {
                parts.headers.insert(*name, HeaderValue::from_str(value).expect("text"));
            }
            let facts = Facts { tls: hello(), ..Facts::read(&parts, CLIENT).expect("a good request") };
            let decided = || {
                let presented = Presented::Session { session: live.view(), generation: 0 };
                decide(rules, black_box(route), presented, black_box(&facts), black_box(NOW), &mut NoTrace)
            };
            assert!(matches!(decided().verdict, Verdict::Allow(_)), "{name}");
            group.bench_function(name, |bencher| bencher.iter(decided));
        };
    let (site, origin) = (("sec-fetch-site", "same-origin"), ("origin", "https://app.example.test"));
    let token = csrf_token::token(live.seed(), &Random::System);
    case("shielded, GET", &Method::GET, &[site], &rules, &plain);
    case("shielded, POST by Sec-Fetch-Site", &Method::POST, &[site, origin], &rules, &plain);
    case("shielded, POST by Origin", &Method::POST, &[origin], &rules, &plain);
    case("shielded, POST by Referer", &Method::POST, &[("referer", "https://app.example.test/form")], &rules, &plain);
    case("shielded, POST with a token", &Method::POST, &[site, ("x-vestibule-csrf", &token)], &rules, &with_token);
    let (all, asks_all) = all_of_it(&names);
    case("none of it, POST", &Method::POST, &[site, ("x-vestibule-csrf", &token)], &rules, &policy(&[]));
    case("all of it, POST", &Method::POST, &[site, ("x-vestibule-csrf", &token)], &all, &asks_all);
    group.bench_function("a token is made", |bencher| {
        bencher.iter(|| csrf_token::token(black_box(live.seed()), &Random::System));
    });
}

/// What each comparison with where a session was made costs by itself, and all of them together. The design bounds each
/// by 200 ns.
fn bindings(group: &mut Group<'_>) {
    let none = BindingRules { agent: AgentMode::Off, ..BindingRules::default() };
    let (v4, v6) = (DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6);
    let ip = |address| BindingRules { address, ..none };
    let agent = |agent| BindingRules { agent, ..none };
    let tls = BindingRules { tls: TlsMode::Exact, ..none };
    let here = (CLIENT, USER_AGENT, hello());
    let of_v6 = (CLIENT_V6, USER_AGENT, hello());
    let updated = (CLIENT, UPDATED, hello());
    let other = (CLIENT, OTHER, hello());
    let mut case = |name: &str, rules: &BindingRules, made: (IpAddr, &str, TlsFingerprint), now| {
        let bound = Bound { tls: made.2, ..Bound::of(made.0, made.1.as_bytes()) };
        let (address, user_agent, tls): (IpAddr, &str, TlsFingerprint) = now;
        let compare = || {
            let user_agent = black_box(user_agent.as_bytes());
            black_box(&bound).differences(black_box(rules), black_box(address), user_agent, black_box(tls)).gravest()
        };
        group.bench_function(name, |bencher| bencher.iter(compare));
    };
    case("nothing", &none, here, here);
    case("ip exact", &ip(AddressMode::Exact), here, here);
    case("ip prefix, IPv4", &ip(AddressMode::Prefix { v4, v6 }), here, here);
    case("ip prefix, IPv6", &ip(AddressMode::Prefix { v4, v6 }), of_v6, of_v6);
    case("user agent exact", &agent(AgentMode::Exact), here, here);
    case("user agent family, the same", &agent(AgentMode::Family), here, here);
    case("user agent family, updated", &agent(AgentMode::Family), here, updated);
    case("user agent family, another", &agent(AgentMode::Family), here, other);
    case("tls", &tls, here, here);
    let every = every_check().binding;
    case("every one, the same", &every, here, here);
    case("every one, updated", &every, here, updated);
    case("every one, in shadow", &BindingRules { is_shadow: true, ..every }, here, other);
    // Once a connection.
    group.bench_function("tls fingerprint of a hello", |bencher| bencher.iter(|| black_box(hello())));
}

/// The hello of a browser.
fn hello() -> TlsFingerprint {
    let suites = [
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f,
        0x0035,
    ];
    let schemes = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    TlsFingerprint::of(black_box(suites), black_box([0x11ec, 0x001d, 0x0017, 0x0018]), black_box(schemes))
}

fn secrets(group: &mut Group<'_>) {
    let ring = Arc::new(KeyRing::ephemeral(&Random::System));
    let cookie = SessionCookie::new(CookieSettings::default(), ring, "default", Duration::from_secs(12 * 3600));
    let record = record(&Random::System, 1);
    let expected = proof(&record.seed, 3);
    let secret = CookieSecret { handle: record.handle, generation: 3, proof: Secret::new(expected) };
    let set = cookie.set(&Random::System, &secret, NOW).expect("a cookie");
    let value = value_of(&set);
    group.bench_function("cookie open", |bencher| bencher.iter(|| cookie.open(black_box(value.as_bytes()), NOW)));
    group.bench_function("cookie seal", |bencher| {
        bencher.iter(|| cookie.set(&Random::System, black_box(&secret), NOW));
    });
    group.bench_function("proof check", |bencher| {
        bencher.iter(|| proves(&record.seed, black_box(3), black_box(&expected)));
    });
}

fn reading(group: &mut Group<'_>) {
    let (plain, encoded) = ("/reports/2025/november/overview.html", "/caf%C3%A9;v=1//reports/%7Ealice/x%20y");
    for (name, path) in [("path, plain", plain), ("path, encoded", encoded)] {
        group.bench_function(name, |bencher| bencher.iter(|| RequestPath::read(black_box(path))));
    }
    let parts = request("/reports/2025/11?page=2", None);
    group.bench_function("facts", |bencher| bencher.iter(|| Facts::read(black_box(&parts), CLIENT)));
    let mut head = format!("GET {} HTTP/1.1\r\n", parts.uri).into_bytes();
    for (name, value) in &parts.headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    let mut heads = HeadWatch::default();
    group.bench_function("head watch", |bencher| bencher.iter(|| heads.received(black_box(&mut head))));
}

fn routes(group: &mut Group<'_>) {
    for count in [1, 10, 1000] {
        let route = |at: usize| Route {
            host: HostPattern::parse("*").expect("a host"),
            path: PathPrefix::parse(if at == 0 { "/".to_owned() } else { format!("/app-{at}/area") }.as_str())
                .expect("a path"),
            policy: policy(&[]),
            upstream: 0,
            websocket_timeout: DEFAULT_WEBSOCKET_TIMEOUT,
            rewriting: None,
            compress: Box::default(),
            limit: None,
        };
        let table = RouteTable::new((0..count).map(route).collect());
        let path = format!("/app-{}/area/reports/2025/11", count - 1);
        group.bench_function(format!("among {count}"), |bencher| {
            bencher.iter(|| table.find(black_box("app.example.test"), black_box(path.as_bytes())));
        });
    }
}

fn limits(group: &mut Group<'_>) {
    let rate = units::rate("4000000000/s").expect("a rate").expect("not off");
    let (session, address) = (PerSession::new(rate, Clock::System), PerAddress::new(rate, Clock::System));
    let live = Arc::new(Live::new(record(&Random::System, 1)));
    group.bench_function("session", |bencher| bencher.iter(|| session.admit(black_box(&live))));
    group.bench_function("address", |bencher| bencher.iter(|| address.admit(black_box(CLIENT))));
    let many = |at: u32| IpAddr::from((0x0a00_0000 | at).to_be_bytes());
    let mut at = 0_u32;
    group.bench_function("address, 65536 in turn", |bencher| {
        bencher.iter(|| {
            at = at.wrapping_add(1);
            address.admit(many(at & 0xffff))
        });
    });
    let person = PerClient::new(rate, Clock::System);
    group.bench_function("person", |bencher| {
        bencher.iter(|| person.admit(black_box(Client::User(TenantId::DEFAULT, "user-17"))))
    });
    group.bench_function("route, by address", |bencher| {
        bencher.iter(|| person.admit(black_box(Client::Address(CLIENT))));
    });
    let most = NonZeroU32::MAX;
    group.bench_function("under way", |bencher| bencher.iter(|| UnderWay::begin(black_box(&live), most).map(drop)));
    let passwords = WrongPasswords::new(rate, Clock::System);
    for (name, device) in [("password, a stranger's", None), ("password, a known browser's", Some([7; 16]))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                passwords
                    .admit(TenantId::DEFAULT, black_box("user-17"), CLIENT, device)
                    .map(|counted| passwords.give_back(counted))
            });
        });
    }
    guesses(group);
    seats(group);
    if is_asked_for("limit") {
        a_million(group);
    }
}

/// Bad cookies: the one of a browser that has lost its session, and others that each are another.
fn guesses(group: &mut Group<'_>) {
    let rate = |text| units::rate(text).expect("a rate").expect("not off");
    let (unlimited, limited) = (rate("4000000000/s"), rate("1/h"));
    let mut value = [b'A'; 139];
    let mut case = |name: &str, rate, is_new: bool| {
        let guesses = CookieGuesses::new(rate, Clock::System);
        let mut at = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at += u64::from(is_new);
                value[..8].copy_from_slice(&at.to_be_bytes());
                guesses.count(CLIENT, black_box(&value))
            });
        });
    };
    case("bad cookie, again", unlimited, false);
    case("bad cookie, new", unlimited, true);
    case("bad cookie, too many", limited, true);
}

/// A session that begins in the place of the one used least recently. What a request costs has no part in it: nobody's
/// sessions are counted then.
fn seats(group: &mut Group<'_>) {
    let random = Random::seeded(5);
    for max in [3, 100] {
        let store = MemoryStore::default();
        let limit = Limit { max, ends_oldest: true, lifetimes: Some(Lifetimes::default()), ..Limit::default() };
        let begin = |record| store.create(record, Some(limit.clone())).now_or_never();
        group.bench_function(format!("another session, the oldest of {max} ends"), |bencher| {
            bencher.iter_batched(|| record(&random, 1), begin, BatchSize::SmallInput);
        });
    }
}

/// A limit that tells as many addresses apart as it may.
fn a_million(group: &mut Group<'_>) {
    const MILLION: u32 = 1 << 20;
    let rate = units::rate("1/h").expect("a rate").expect("not off");
    let address = PerAddress::new(rate, Clock::System);
    // In an order that no prefetcher guesses, over and over: an odd factor visits each once.
    let spread = |at: u32| IpAddr::from((0x0a00_0000 | (at.wrapping_mul(0x9e37_79b1) % MILLION)).to_be_bytes());
    for at in 0..MILLION {
        assert!(address.admit(spread(at)).is_ok(), "it is known for the first time");
    }
    println!("{} addresses in {} bytes", address.keys().remembered(), address.keys().bytes());
    let mut at = 0_u32;
    let mut case = |name: &str, of: &dyn Fn(u32) -> IpAddr| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = at.wrapping_add(1);
                address.admit(of(at))
            });
        });
    };
    case("address, a million in turn", &spread);
    case("address, a stranger beyond a million", &|at| IpAddr::from((0x2000_0000 | at).to_be_bytes()));
}

/// From the `Cookie` header to the verdict, as the proxy asks for it.
fn whole(group: &mut Group<'_>) {
    let shared = share();
    let snapshot = shared.snapshot.load_full();
    let route = policy(&["ops", "reader"]);
    let signed_in = |at: usize| -> HeaderMap {
        let live = add(&*shared.store, record(&shared.random, at));
        let set = establish::cookie(&shared, &snapshot.default, &live, 0, NOW).expect("a cookie");
        request("/", Some(&format!("theme=dark; __Host-session={}; lang=de", value_of(&set)))).headers
    };
    let sessions: Vec<HeaderMap> = (0..100_000).map(signed_in).collect();
    let parts = request("/reports/2025/11?page=2", None);
    let facts = Facts { tls: hello(), ..Facts::read(&parts, CLIENT).expect("a good request") };
    // Whose a host is, with as many tenants as there may be: of none, the first, below one.
    let mut tenants = HostTable::default();
    for at in 0..1000 {
        let text = if at % 2 == 0 { format!("t{at}.example.test") } else { format!("*.t{at}.example.test") };
        tenants.entry(&HostPattern::parse(&text).expect("a host"), || at);
    }
    for (name, host) in [("tenant, exact", "t10.example.test"), ("tenant, below one of 500", "a.t11.example.test")] {
        group.bench_function(name, |bencher| bencher.iter(|| tenants.of(black_box(host)).next().copied()));
    }
    let mut ask = |name: &str, of: &[HeaderMap]| {
        let mut in_turn = of.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let headers = in_turn.next().expect("never ends");
                let answer = authorize(&shared, &snapshot.default, &route, &facts, headers, NOW).now_or_never();
                answer.expect("memory answers at once").map(|authorized| authorized.verdict)
            });
        });
    };
    ask("one session", &sessions[..1]);
    ask("100000 sessions in turn", &sessions);
    ask("no cookie", std::slice::from_ref(&parts.headers));
    let mut crowded = sessions[0].clone();
    let own = crowded.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let many = format!("{}{own}", format!("preference={}; ", "x".repeat(80)).repeat(30));
    crowded.insert(header::COOKIE, HeaderValue::from_str(&many).expect("text"));
    ask("among 3 KB of cookies", &[crowded]);
    let mut foreign = parts.headers.clone();
    foreign
        .insert(header::COOKIE, HeaderValue::from_str(&format!("__Host-session={}", "A".repeat(130))).expect("text"));
    ask("a foreign cookie", &[foreign]);
}

fn look_ups(group: &mut Group<'_>) {
    let (store, random) = (MemoryStore::default(), Random::System);
    let mut handles: Vec<SessionHandle> = Vec::new();
    for count in [1_000, 1_000_000, 4_000_000] {
        if !is_asked_for("store") {
            return;
        }
        for at in handles.len()..count {
            handles.push(add(&store, record(&random, at)).handle());
        }
        // In an order that no prefetcher guesses.
        let mut shuffled = handles.clone();
        let mut state = 1_u64;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, (state >> 33) as usize % (at + 1));
        }
        let look = |handle| match store.lookup(black_box(handle)) {
            Lookup::Hit(live) => live.ended(),
            Lookup::Miss | Lookup::Later(_) => panic!("it is there"),
        };
        let mut in_turn = shuffled.iter().cycle();
        group.bench_function(format!("{count} in turn"), |bencher| {
            bencher.iter(|| look(*in_turn.next().expect("never ends")));
        });
        group.bench_function(format!("one of {count}"), |bencher| bencher.iter(|| look(shuffled[0])));
    }
}

/// Whether a filter on the command line, if there is one, could mean this group: the large store takes its time.
fn is_asked_for(group: &str) -> bool {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    filters.is_empty() || filters.iter().any(|filter| filter.contains(group))
}

fn every_check() -> SessionRules {
    let prefix = AddressMode::Prefix { v4: DEFAULT_PREFIX_V4, v6: DEFAULT_PREFIX_V6 };
    let binding = BindingRules {
        address: prefix,
        address_answer: Answer::End,
        agent: AgentMode::Family,
        agent_answer: Answer::End,
        tls: TlsMode::Exact,
        tls_answer: Answer::End,
        is_shadow: false,
    };
    SessionRules { binding, ..SessionRules::default() }
}

fn policy(roles: &[&str]) -> RoutePolicy {
    RoutePolicy::new(Access::Authenticated, roles.iter().map(|role| Box::from(*role)).collect())
}

fn record(random: &Random, at: usize) -> Record {
    let (user, email) = (format!("user-{at}"), format!("user-{at}@example.test"));
    let principal = Principal::new(&user, Some(&email), &["staff".to_owned()], &["reader".to_owned()]);
    let bound = Bound { tls: hello(), ..Bound::of(CLIENT, USER_AGENT.as_bytes()) };
    Record::new(random, Some(Arc::new(principal)), bound, NOW)
}

fn add(store: &dyn SessionStore, record: Record) -> Arc<Live> {
    match store.create(record, None).now_or_never().expect("memory answers at once").expect("it works") {
        Created::Session { live, .. } => live,
        Created::Full | Created::Taken => panic!("no limit was given"),
    }
}

fn value_of(set: &HeaderValue) -> String {
    let text = set.to_str().expect("text");
    text.split(['=', ';']).nth(1).expect("a value").to_owned()
}

/// A gateway without sockets, every check on.
fn share() -> Shared {
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[[server.certificate]]\ncert = \"c\"\nkey = \"k\"\ngenerate = true\n[session.store]\nkind = \"memory\"\n[[upstream]]\nname = \"app\"\nservers = \
                [\"http://127.0.0.1:1\"]\n[[route]]\npath = \"/\"\nupstream = \"app\"\naccess = \"public\"\n";
    let document = Document::parse("gateway.toml", text);
    let mut plan = Plan::of(&document).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    plan.session.rules = every_check();
    app::share(&plan, app::Parts { log: Box::new(std::io::sink()), ..app::Parts::default() }).expect("it starts")
}

/// A request as a browser writes it.
fn request(target: &str, cookie: Option<&str>) -> Parts {
    let mut request = Request::get(target)
        .header("host", "app.example.test")
        .header("user-agent", USER_AGENT)
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "de,en;q=0.7")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("referer", "https://app.example.test/reports")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin");
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    request.body(()).expect("a request").into_parts().0
}
