//! What the gateway changes of a message on its way, each way: the specification. Whatever is not said here stays.

use std::collections::BTreeMap;

use super::generate::{Asked, Upload};
use super::upstream::Received;
use super::ways::Answered;
use super::wire::Fields;

/// The way that a request took through the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub name: &'static str,
    pub is_h2: bool,
    pub is_signed_in: bool,
}

/// Fields by their names, the values of each in their order: the order of different names means nothing (RFC 9110
/// section 5.3).
pub type ByName = BTreeMap<String, Vec<Vec<u8>>>;

/// What two messages are compared by.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Method and target, or the status.
    pub start: String,
    pub fields: ByName,
    pub body: Vec<u8>,
    pub trailers: ByName,
    /// What came before an answer.
    pub announced: Vec<(u16, ByName)>,
}

/// For one connection only (RFC 9110 section 7.6.1), either way.
const OF_ONE_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// What `Connection` cannot name away: what says where a message goes, how long it is, and who it is for.
const NEVER_OF_ONE_HOP: [&str; 4] = ["host", "content-length", "cookie", "set-cookie"];

/// Taken out of every request beside that: what the gateway says itself, or answers itself, or nobody may say. Spelled
/// with an underscore for whatever is no letter or digit, as CGI reads names.
const NOT_THE_CLIENTS: [&str; 16] = [
    "expect",
    "forwarded",
    "x_real_ip",
    "remote_user",
    "remote_email",
    "remote_groups",
    "remote_name",
    "x_remote_user",
    "x_auth_request_user",
    "x_original_url",
    "x_rewrite_url",
    "proxy",
    "true_client_ip",
    "client_ip",
    "x_forwarded",
    "x_client_ip",
];

/// Beginnings of such names.
const NOT_THE_CLIENTS_BEGIN: [&str; 3] = ["x_forwarded_", "x_client_cert", "ssl_client_"];

/// Taken out of every answer: only the gateway clears what a browser keeps, and binds sessions to devices.
const NOT_THE_APPLICATIONS: [&str; 3] = ["clear-site-data", "secure-session-registration", "secure-session-challenge"];

/// The gateway's cookies, whose names no other cookie may have, in whatever letter case, or begin with if it has none.
const COOKIES: [&str; 2] = ["__host-session", "__host-login"];

/// What is said of Alice.
const ALICE: [(&str, &str); 4] = [
    ("x-forwarded-user", "alice"),
    ("x-forwarded-email", "alice@example.test"),
    ("x-forwarded-groups", "staff,night"),
    ("x-forwarded-roles", "admin"),
];

/// What the application receives of a request through the gateway, if `straight` is what it receives without.
pub fn request(straight: &Received, asked: &Asked, way: Way) -> Message {
    let mut fields = by_name(&straight.fields);
    // HTTP/2 has no Connection in which to name anything.
    remove_hop_by_hop(&mut fields, !way.is_h2);
    fields.retain(|name, _| !is_not_the_clients(name));
    join_cookies(&mut fields);
    // That trailers are welcome is said anew.
    if asked.has("te", "trailers") {
        put(&mut fields, "te", "trailers");
        put(&mut fields, "connection", "TE");
    }
    put(&mut fields, "host", &asked.authority);
    let port = asked.authority.split_once(':').map_or("443", |(_, port)| port);
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", &asked.authority),
        ("x-forwarded-port", port),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", &format!("for=127.0.0.1;host=\"{}\";proto=https", asked.authority)),
    ] {
        put(&mut fields, name, value);
    }
    if way.is_signed_in {
        ALICE.iter().for_each(|(name, value)| put(&mut fields, name, value));
    }
    let delimited = delimited(asked);
    if let Some((name, value)) = delimited {
        put(&mut fields, name, &value);
    }
    let (path, query) =
        asked.target.split_once('?').map_or((&*asked.target, None), |(path, query)| (path, Some(query)));
    let mut target = merge_slashes(path);
    if let Some(query) = query {
        target = format!("{target}?{query}");
    }
    let start = format!("{} {target} HTTP/1.1", asked.method);
    let mut trailers = by_name(&straight.body.trailers);
    remove_hop_by_hop(&mut trailers, true);
    // What may only be said in a head, and was checked there, is not said behind a body, and not announced.
    let of_the_head = ["authorization", "cookie"];
    let is_of_the_head =
        |name: &str| name.starts_with("content-") || name.starts_with("if-") || of_the_head.contains(&name);
    let passes = |name: &str| !is_of_the_head(name) && !is_not_the_clients(name);
    trailers.retain(|name, _| passes(name));
    announce(&mut fields, passes);
    Message { start, fields, body: straight.body.bytes.clone(), trailers, announced: Vec::new() }
}

/// How the gateway says how long the body is: what it knows it says, and where a body is expected it says that there is
/// none.
fn delimited(asked: &Asked) -> Option<(&'static str, String)> {
    match &asked.body {
        Upload::Length(bytes) => Some(("content-length", bytes.len().to_string())),
        Upload::Chunks(chunks, _) if !chunks.is_empty() => Some(("transfer-encoding", "chunked".to_owned())),
        Upload::None | Upload::Chunks(..) => {
            ["POST", "PUT", "PATCH"].contains(&&*asked.method).then(|| ("content-length", "0".to_owned()))
        }
    }
}

/// What the application received, to be compared with that.
pub fn received(received: &Received, asked: &Asked) -> Message {
    let mut fields = by_name(&received.fields);
    take_request_id(&mut fields);
    join_cookies(&mut fields);
    // An empty body in chunks is none if its end came along with its head, and else an empty body in chunks.
    let is_empty_in_chunks = matches!(&asked.body, Upload::Chunks(chunks, _) if chunks.is_empty());
    if is_empty_in_chunks
        && fields.remove("transfer-encoding").is_some()
        && let Some((name, value)) = delimited(asked)
    {
        put(&mut fields, name, &value);
    }
    let start = format!("{} {} {}", received.method, received.target, received.version);
    Message {
        start,
        fields,
        body: received.body.bytes.clone(),
        trailers: by_name(&received.body.trailers),
        announced: Vec::new(),
    }
}

/// What a client receives of an answer through the gateway, if `straight` is what it receives without.
pub fn answer(straight: &Answered, asked: &Asked, way: Way) -> Message {
    let mut fields = by_name(&straight.fields);
    let is_chunked = fields.contains_key("transfer-encoding");
    remove_hop_by_hop(&mut fields, true);
    guard(&mut fields);
    if is_chunked {
        fields.remove("content-length");
    }
    // Where no trailers can follow, HTTP/1 announces none.
    let is_empty = asked.method == "HEAD" || matches!(straight.status, 204 | 304);
    if !way.is_h2 && (is_empty || asked.is_http_10) {
        fields.remove("trailer");
    }
    // And a 304 may say how long the body is that it has not (RFC 9110 section 8.6), which HTTP/1 leaves out.
    if !way.is_h2 && straight.status == 304 && asked.method != "HEAD" {
        fields.remove("content-length");
    }
    fields.entry("date".to_owned()).or_default();
    let mut trailers = by_name(&straight.trailers);
    remove_hop_by_hop(&mut trailers, true);
    guard(&mut trailers);
    let of_the_head = ["set-cookie", "www-authenticate", "proxy-authenticate", "location", "trailer"];
    let passes = |name: &str| {
        !name.starts_with("content-") && !of_the_head.contains(&name) && !NOT_THE_APPLICATIONS.contains(&name)
    };
    announce(&mut fields, passes);
    let announced: Vec<String> =
        straight.fields.iter().filter(|(name, _)| name == "trailer").flat_map(|(_, value)| members(value)).collect();
    // Over HTTP/1.1 a client is sent those that were announced, and only if it says that it reads them.
    let is_sent = |name: &str| {
        way.is_h2 || (!asked.is_http_10 && asked.has("te", "trailers") && announced.iter().any(|known| known == name))
    };
    trailers.retain(|name, _| passes(name) && is_sent(name));
    // HTTP/1.0 knows no announcements. They are guarded as answers are, and nothing follows them.
    let announces = way.is_h2 || !asked.is_http_10;
    let announced = straight.announced.iter().filter(|_| announces).map(|(status, fields)| {
        let mut fields = by_name(fields);
        remove_hop_by_hop(&mut fields, true);
        guard(&mut fields);
        fields.retain(|name, _| !["content-length", "trailer"].contains(&&**name));
        (*status, fields)
    });
    let announced = announced.collect();
    Message { start: straight.status.to_string(), fields, body: straight.body.clone(), trailers, announced }
}

/// What a client has received, to be compared with that.
pub fn answered(answered: &Answered, straight: &Answered) -> Message {
    let mut fields = by_name(&answered.fields);
    take_request_id(&mut fields);
    // What is of this hop is looked at where the connection is.
    for name in ["connection", "transfer-encoding", "keep-alive"] {
        fields.remove(name);
    }
    // An answer that had no date is given one.
    if !straight.fields.iter().any(|(name, _)| name == "date") {
        let dates = fields.get_mut("date").map(std::mem::take);
        assert_eq!(dates.map_or(0, |dates| dates.len()), 1, "one date: {:?}", answered.fields);
    }
    Message {
        start: answered.status.to_string(),
        fields,
        body: answered.body.clone(),
        trailers: by_name(&answered.trailers),
        announced: answered.announced.iter().map(|(status, fields)| (*status, by_name(fields))).collect(),
    }
}

pub fn by_name(fields: &Fields) -> ByName {
    let mut all = ByName::new();
    for (name, value) in fields {
        // A length is a number, however many noughts it is written with.
        let is_length = name == "content-length";
        let length = is_length.then(|| std::str::from_utf8(value).ok()?.parse::<u64>().ok()).flatten();
        all.entry(name.clone())
            .or_default()
            .push(length.map_or_else(|| value.clone(), |length| length.to_string().into()));
    }
    all
}

/// The application is told of the request's id, and so is the client, who has sent none.
fn take_request_id(fields: &mut ByName) {
    let ids = fields.remove("x-request-id").unwrap_or_default();
    assert!(ids.len() == 1 && ids[0].len() == 32 && ids[0].iter().all(u8::is_ascii_hexdigit), "an id: {ids:?}");
}

fn put(fields: &mut ByName, name: &str, value: &str) {
    fields.insert(name.to_owned(), vec![value.as_bytes().to_vec()]);
}

fn remove_hop_by_hop(fields: &mut ByName, reads_connection: bool) {
    let connection = fields.get("connection").cloned().unwrap_or_default();
    let named = connection.iter().flat_map(|value| value.split(|byte| *byte == b','));
    let named: Vec<String> =
        named.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect();
    fields.retain(|name, _| {
        let is_named = reads_connection && named.contains(name) && !NEVER_OF_ONE_HOP.contains(&&**name);
        !is_named && !OF_ONE_HOP.contains(&&**name)
    });
}

/// The names in a list, in lower case.
fn members(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What does not follow is not announced either; a list without any of that stays as it is.
fn announce(fields: &mut ByName, passes: impl Fn(&str) -> bool) {
    let Some(lists) = fields.remove("trailer") else { return };
    let passes = |name: &str| passes(name) && !OF_ONE_HOP.contains(&name);
    let fewer = |list: Vec<u8>| {
        if members(&list).iter().all(|name| passes(name)) {
            return Some(list);
        }
        let text = String::from_utf8(list).expect("text");
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let kept: Vec<_> = names.filter(|name| passes(&name.to_ascii_lowercase())).collect();
        (!kept.is_empty()).then(|| kept.join(", ").into_bytes())
    };
    let kept: Vec<_> = lists.into_iter().filter_map(fewer).collect();
    if !kept.is_empty() {
        fields.insert("trailer".to_owned(), kept);
    }
}

fn is_not_the_clients(name: &str) -> bool {
    let folded: String = name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect();
    NOT_THE_CLIENTS.contains(&&*folded) || NOT_THE_CLIENTS_BEGIN.iter().any(|begin| folded.starts_with(begin))
}

/// Several fields of cookies become one (RFC 9113 section 8.2.3), without empty ones among them.
fn join_cookies(fields: &mut ByName) {
    let Some(cookies) = fields.remove("cookie") else { return };
    let pairs = cookies.iter().flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let pairs: Vec<Vec<u8>> = pairs.filter(|pair| !pair.is_empty()).map(<[u8]>::to_vec).collect();
    if !pairs.is_empty() {
        fields.insert("cookie".to_owned(), vec![pairs.join(&b"; "[..])]);
    }
}

/// Takes out of an answer what only the gateway may say.
fn guard(fields: &mut ByName) {
    fields.retain(|name, _| !NOT_THE_APPLICATIONS.contains(&&**name));
    if let Some(cookies) = fields.get_mut("set-cookie") {
        cookies.retain(|cookie| {
            let cookie = String::from_utf8_lossy(cookie).to_ascii_lowercase();
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            !COOKIES
                .iter()
                .any(|ours| if name.trim().is_empty() { value.trim().starts_with(ours) } else { name.trim() == *ours })
        });
        if cookies.is_empty() {
            fields.remove("set-cookie");
        }
    }
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::new();
    for char in path.chars() {
        if char != '/' || !merged.ends_with('/') {
            merged.push(char);
        }
    }
    merged
}
