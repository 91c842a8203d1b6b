//! What happens to people when something about them changes: the promise that the defaults sign out no phone that
//! changes networks and no browser that was updated, and what each mode would do instead.
//!
//! A row is a change, written as a request at sign-in and one after it. A column is a mode, compared by itself; the
//! first is the configuration as it comes. `stays` passes as before; `out` is a difference, to which the configured
//! answer follows. Requests are those of real browsers: their user agents to the letter, and the lists of the hello that
//! they begin TLS with.

use std::net::IpAddr;

use vestibule::session::binding::{
    AddressMode, AgentMode, Answer, BindingRules, Bound, Factor, TlsFingerprint, TlsMode,
};

const PROMISE: &str = "
| change                                                                       | default | ip prefix | ip exact | agent family | agent exact | tls exact |
| ---------------------------------------------------------------------------- | ------- | --------- | -------- | ------------ | ----------- | --------- |
| nothing changes                                                              | stays   | stays     | stays    | stays        | stays       | stays     |
| -- a phone changes networks                                                  |         |           |          |              |             |           |
| the phone leaves the house: Wi-Fi, then the provider's IPv4                  | stays   | out       | out      | stays        | stays       | stays     |
| the phone leaves the house: IPv4, then the provider's IPv6                   | stays   | out       | out      | stays        | stays       | stays     |
| the phone comes home: the provider's IPv6, then IPv4                         | stays   | out       | out      | stays        | stays       | stays     |
| the phone moves on within its provider's addresses                           | stays   | stays     | out      | stays        | stays       | stays     |
| a laptop goes from the office to the train                                   | stays   | out       | out      | stays        | stays       | stays     |
| the address changes its lower half by itself (RFC 8981)                      | stays   | stays     | out      | stays        | stays       | stays     |
| the line at home is given another IPv6 network overnight                     | stays   | out       | out      | stays        | stays       | stays     |
| -- a browser is updated                                                      |         |           |          |              |             |           |
| Chrome on Windows, 130 to 131: another group                                 | stays   | stays     | stays    | stays        | out         | out       |
| Chrome on Windows, 131 to 138                                                | stays   | stays     | stays    | stays        | out         | stays     |
| Chrome on Android, 130 to 131                                                | stays   | stays     | stays    | stays        | out         | out       |
| Edge on Windows, 130 to 131                                                  | stays   | stays     | stays    | stays        | out         | out       |
| Firefox on Windows, 131 to 132: another group                                | stays   | stays     | stays    | stays        | out         | out       |
| Firefox on Linux, 128 to 140, both with extended support                     | stays   | stays     | stays    | stays        | out         | out       |
| Firefox on Android, 131 to 132, with the system from 14 to 15                | stays   | stays     | stays    | stays        | out         | out       |
| Safari on macOS, 17.6 to 18.1                                                | stays   | stays     | stays    | stays        | out         | stays     |
| Safari on iOS, 17.6.1 to 18.1.1, with the system                             | stays   | stays     | stays    | stays        | out         | stays     |
| Samsung's browser, 24 to 26, with the system from 13 to 14                   | stays   | stays     | stays    | stays        | out         | out       |
| an application's own window on Android, with the system from 13 to 14        | stays   | stays     | stays    | stays        | out         | out       |
| an application's own window on an older iOS, 10.3 to 11.0                    | stays   | stays     | stays    | stays        | out         | stays     |
| -- a browser connects as browsers do                                         |         |           |          |              |             |           |
| Chrome gives its next connection other values that stand for nothing (GREASE)| stays   | stays     | stays    | stays        | stays       | stays     |
| -- somebody does on purpose what looks like another browser                  |         |           |          |              |             |           |
| Chrome on Android asks for the desktop site                                  | out     | stays     | stays    | out          | out         | stays     |
| Safari on an iPad asks for the mobile site                                   | out     | stays     | stays    | out          | out         | stays     |
| -- a thief uses the cookie                                                   |         |           |          |              |             |           |
| in the same network, with another browser                                    | out     | stays     | stays    | out          | out         | out       |
| elsewhere, with another browser                                              | out     | out       | out      | out          | out         | out       |
| elsewhere, with curl                                                         | out     | out       | out      | out          | out         | out       |
| elsewhere, with curl that says to be the browser                             | stays   | out       | out      | stays        | stays       | out       |
| elsewhere, with no user agent                                                | out     | out       | out      | out          | out         | out       |
| elsewhere, with the same browser on another system                           | out     | out       | out      | out          | out         | stays     |
| elsewhere, with the very same browser                                        | stays   | out       | out      | stays        | stays       | stays     |
";

const HOME: &str = "203.0.113.7";
const HOME_V6: &str = "2001:db8:1:a00:21b:63ff:fe84:1";

const CHROME_130: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const CHROME_131: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const CHROME_138: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";
const CHROME_131_MACOS: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
                                Chrome/131.0.0.0 Safari/537.36";
const CHROME_130_ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
                                  Chrome/130.0.0.0 Mobile Safari/537.36";
const CHROME_131_ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
                                  Chrome/131.0.0.0 Mobile Safari/537.36";
const CHROME_131_DESKTOP_SITE: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const EDGE_130: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                        Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0";
const EDGE_131: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                        Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0";
const FIREFOX_131: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0";
const FIREFOX_132: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0";
const FIREFOX_128_LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const FIREFOX_140_LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const FIREFOX_131_ANDROID: &str = "Mozilla/5.0 (Android 14; Mobile; rv:131.0) Gecko/131.0 Firefox/131.0";
const FIREFOX_132_ANDROID: &str = "Mozilla/5.0 (Android 15; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0";
const SAFARI_17_MACOS: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
                               Gecko) Version/17.6 Safari/605.1.15";
const SAFARI_18_MACOS: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
                               Gecko) Version/18.1 Safari/605.1.15";
const SAFARI_17_IOS: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                             like Gecko) Version/17.6 Mobile/15E148 Safari/604.1";
const SAFARI_18_IOS: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                             like Gecko) Version/18.1.1 Mobile/15E148 Safari/604.1";
const SAFARI_18_IPAD_MOBILE: &str = "Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                                     Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
const SAMSUNG_24: &str = "Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) \
                          SamsungBrowser/24.0 Chrome/117.0.0.0 Mobile Safari/537.36";
const SAMSUNG_26: &str = "Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) \
                          SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36";
const WINDOW_ANDROID_13: &str = "Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A.230901.001; wv) \
                                 AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/117.0.5938.60 Mobile \
                                 Safari/537.36";
const WINDOW_ANDROID_14: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 7 Build/UP1A.231105.003; wv) \
                                 AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.82 Mobile \
                                 Safari/537.36";
const WINDOW_IOS_10: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 10_3_3 like Mac OS X) AppleWebKit/603.3.8 (KHTML, like \
                             Gecko) Mobile/14G60";
const WINDOW_IOS_11: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 11_0 like Mac OS X) AppleWebKit/604.1.38 (KHTML, like \
                             Gecko) Mobile/15A372";
const CURL: &str = "curl/8.5.0";

/// Cipher suites, groups, signature schemes.
type Hello = (&'static [u16], &'static [u16], &'static [u16]);

const CHROMIUM_SUITES: &[u16] = &[
    0x4a4a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d,
    0x002f, 0x0035,
];
const CHROMIUM_SCHEMES: &[u16] = &[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
/// Until 123.
const CHROMIUM_117: Hello = (CHROMIUM_SUITES, &[0x6a6a, 0x001d, 0x0017, 0x0018], CHROMIUM_SCHEMES);
/// With X25519Kyber768Draft00.
const CHROMIUM_124: Hello = (CHROMIUM_SUITES, &[0x8a8a, 0x6399, 0x001d, 0x0017, 0x0018], CHROMIUM_SCHEMES);
/// With X25519MLKEM768.
const CHROMIUM_131: Hello = (CHROMIUM_SUITES, &[0xcaca, 0x11ec, 0x001d, 0x0017, 0x0018], CHROMIUM_SCHEMES);
/// The same, another time.
const CHROMIUM_131_AGAIN: Hello = (
    &[
        0xdada, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d,
        0x002f, 0x0035,
    ],
    &[0x1a1a, 0x11ec, 0x001d, 0x0017, 0x0018],
    CHROMIUM_SCHEMES,
);
const GECKO_SUITES: &[u16] = &[
    0x1301, 0x1303, 0x1302, 0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc02c, 0xc030, 0xc00a, 0xc009, 0xc013, 0xc014, 0x009c,
    0x009d, 0x002f, 0x0035,
];
const GECKO_SCHEMES: &[u16] = &[0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201];
const GECKO_131: Hello = (GECKO_SUITES, &[0x001d, 0x0017, 0x0018, 0x0019, 0x0100, 0x0101], GECKO_SCHEMES);
const GECKO_132: Hello = (GECKO_SUITES, &[0x11ec, 0x001d, 0x0017, 0x0018, 0x0019, 0x0100, 0x0101], GECKO_SCHEMES);
const WEBKIT: Hello = (
    &[
        0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f, 0xcca8, 0xc00a, 0xc009, 0xc014, 0xc013,
        0x009d, 0x009c, 0x0035, 0x002f, 0xc008, 0xc012, 0x000a,
    ],
    &[0xbaba, 0x001d, 0x0017, 0x0018, 0x0019],
    &[0x0403, 0x0804, 0x0401, 0x0503, 0x0203, 0x0805, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201],
);
/// With OpenSSL 3.
const CURL_HELLO: Hello = (
    &[
        0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x009f, 0xcca9, 0xcca8, 0xccaa, 0xc02b, 0xc02f, 0x009e, 0xc024, 0xc028,
        0x006b, 0xc023, 0xc027, 0x0067, 0xc00a, 0xc014, 0x0039, 0xc009, 0xc013, 0x0033, 0x009d, 0x009c, 0x003d, 0x003c,
        0x0035, 0x002f, 0x00ff,
    ],
    &[0x001d, 0x0017, 0x001e, 0x0019, 0x0018, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104],
    &[
        0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
        0x0303, 0x0301, 0x0302, 0x0402, 0x0502, 0x0602,
    ],
);

/// A request, as far as it is compared.
#[derive(Clone, Copy)]
struct From(&'static str, &'static str, Hello);

/// The request at sign-in and the one after the change.
fn requests(change: &str) -> (From, From) {
    let at_home = |agent, hello| From(HOME, agent, hello);
    let usual = at_home(CHROME_131, CHROMIUM_131);
    let phone = |address| From(address, SAFARI_18_IOS, WEBKIT);
    let (before, after) = match change {
        "nothing changes" => (usual, usual),
        "the phone leaves the house: Wi-Fi, then the provider's IPv4" => (phone(HOME), phone("198.51.100.99")),
        "the phone leaves the house: IPv4, then the provider's IPv6" => (phone(HOME), phone("2001:db8:77:12::9")),
        "the phone comes home: the provider's IPv6, then IPv4" => (phone("2001:db8:77:12::9"), phone(HOME)),
        "the phone moves on within its provider's addresses" => (phone("198.51.100.99"), phone("198.51.100.4")),
        "a laptop goes from the office to the train" => (usual, From("192.0.2.200", CHROME_131, CHROMIUM_131)),
        "the address changes its lower half by itself (RFC 8981)" => {
            (phone(HOME_V6), phone("2001:db8:1:a00:9d1c:4e0b:77aa:3"))
        }
        "the line at home is given another IPv6 network overnight" => {
            (phone(HOME_V6), phone("2001:db8:2:b00:21b:63ff:fe84:1"))
        }
        "Chrome on Windows, 130 to 131: another group" => (at_home(CHROME_130, CHROMIUM_124), usual),
        "Chrome on Windows, 131 to 138" => (usual, at_home(CHROME_138, CHROMIUM_131_AGAIN)),
        "Chrome on Android, 130 to 131" => {
            (at_home(CHROME_130_ANDROID, CHROMIUM_124), at_home(CHROME_131_ANDROID, CHROMIUM_131))
        }
        "Edge on Windows, 130 to 131" => (at_home(EDGE_130, CHROMIUM_124), at_home(EDGE_131, CHROMIUM_131)),
        "Firefox on Windows, 131 to 132: another group" => {
            (at_home(FIREFOX_131, GECKO_131), at_home(FIREFOX_132, GECKO_132))
        }
        "Firefox on Linux, 128 to 140, both with extended support" => {
            (at_home(FIREFOX_128_LINUX, GECKO_131), at_home(FIREFOX_140_LINUX, GECKO_132))
        }
        "Firefox on Android, 131 to 132, with the system from 14 to 15" => {
            (at_home(FIREFOX_131_ANDROID, GECKO_131), at_home(FIREFOX_132_ANDROID, GECKO_132))
        }
        "Safari on macOS, 17.6 to 18.1" => (at_home(SAFARI_17_MACOS, WEBKIT), at_home(SAFARI_18_MACOS, WEBKIT)),
        "Safari on iOS, 17.6.1 to 18.1.1, with the system" => {
            (at_home(SAFARI_17_IOS, WEBKIT), at_home(SAFARI_18_IOS, WEBKIT))
        }
        "Samsung's browser, 24 to 26, with the system from 13 to 14" => {
            (at_home(SAMSUNG_24, CHROMIUM_117), at_home(SAMSUNG_26, CHROMIUM_124))
        }
        "an application's own window on Android, with the system from 13 to 14" => {
            (at_home(WINDOW_ANDROID_13, CHROMIUM_117), at_home(WINDOW_ANDROID_14, CHROMIUM_124))
        }
        "an application's own window on an older iOS, 10.3 to 11.0" => {
            (at_home(WINDOW_IOS_10, WEBKIT), at_home(WINDOW_IOS_11, WEBKIT))
        }
        "Chrome gives its next connection other values that stand for nothing (GREASE)" => {
            (usual, at_home(CHROME_131, CHROMIUM_131_AGAIN))
        }
        "Chrome on Android asks for the desktop site" => {
            (at_home(CHROME_131_ANDROID, CHROMIUM_131), at_home(CHROME_131_DESKTOP_SITE, CHROMIUM_131))
        }
        "Safari on an iPad asks for the mobile site" => {
            (at_home(SAFARI_18_MACOS, WEBKIT), at_home(SAFARI_18_IPAD_MOBILE, WEBKIT))
        }
        "in the same network, with another browser" => (usual, at_home(FIREFOX_132, GECKO_132)),
        theft => {
            let elsewhere = |agent, hello| From("198.51.100.66", agent, hello);
            let thief = match theft.strip_prefix("elsewhere, ").expect("a theft") {
                "with another browser" => elsewhere(FIREFOX_132, GECKO_132),
                "with curl" => elsewhere(CURL, CURL_HELLO),
                "with curl that says to be the browser" => elsewhere(CHROME_131, CURL_HELLO),
                "with no user agent" => elsewhere("", CURL_HELLO),
                "with the same browser on another system" => elsewhere(CHROME_131_MACOS, CHROMIUM_131_AGAIN),
                "with the very same browser" => elsewhere(CHROME_131, CHROMIUM_131_AGAIN),
                other => panic!("nobody knows what \"{other}\" is"),
            };
            (usual, thief)
        }
    };
    (before, after)
}

/// One of the table's columns: these rules, and no other.
fn rules(column: usize) -> BindingRules {
    let none = BindingRules { agent: AgentMode::Off, tls_answer: Answer::End, ..BindingRules::default() };
    match column {
        0 => BindingRules::default(),
        1 => BindingRules { address: AddressMode::Prefix { v4: 24, v6: 56 }, ..none },
        2 => BindingRules { address: AddressMode::Exact, ..none },
        3 => BindingRules { agent: AgentMode::Family, ..none },
        4 => BindingRules { agent: AgentMode::Exact, ..none },
        _ => BindingRules { tls: TlsMode::Exact, ..none },
    }
}

fn outcome(change: &str, rules: &BindingRules) -> &'static str {
    let (before, after) = requests(change);
    let ip = |from: From| from.0.parse::<IpAddr>().expect("an address");
    let tls = |From(.., (suites, groups, schemes)): From| {
        TlsFingerprint::of(suites.iter().copied(), groups.iter().copied(), schemes.iter().copied())
    };
    let bound = Bound { tls: tls(before), ..Bound::of(ip(before), before.1.as_bytes()) };
    let differences = bound.differences(rules, ip(after), after.1.as_bytes(), tls(after));
    if differences.gravest().is_some() { "out" } else { "stays" }
}

#[test]
fn every_change_has_the_effect_that_is_promised() {
    let lines = PROMISE.trim().lines().skip(2);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() > 30, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let [change, cells @ ..] = &row[..] else { panic!("{row:?}") };
        if change.starts_with("--") {
            continue;
        }
        let found: Vec<&str> = (0..6).map(|column| outcome(change, &rules(column))).collect();
        if found != cells {
            wrong.push(format!("{change}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The promise in one sentence, so that nobody can take it back by changing cells.
#[test]
fn the_defaults_sign_out_no_roaming_phone_and_no_updated_browser() {
    let mut kept = 0;
    for part in PROMISE.split("| -- ").filter(|part| part.starts_with("a phone") || part.starts_with("a browser")) {
        for line in part.trim().lines().skip(1) {
            let change = line.trim_matches('|').split('|').next().expect("a change").trim();
            assert_eq!(outcome(change, &BindingRules::default()), "stays", "{change}");
            kept += 1;
        }
    }
    assert!(kept >= 18, "only {kept}");
    // Whoever is seen to differ is gone, and told by what.
    let default = BindingRules::default();
    assert_eq!((default.agent_answer, default.is_shadow), (Answer::End, false));
    let bound = Bound::of(HOME.parse().expect("an address"), CHROME_131.as_bytes());
    let differences = bound.differences(&default, bound.address, CURL.as_bytes(), TlsFingerprint::UNKNOWN);
    assert_eq!(differences.gravest(), Some((Factor::UserAgent, Answer::End)));
}
