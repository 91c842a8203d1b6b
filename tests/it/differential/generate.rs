//! What chance sends, and what it has answered: odd, and legal.

use super::upstream::CASE;
use super::wire::Fields;
use crate::harness::Dice;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub number: u64,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub authority: String,
    pub fields: Fields,
    pub body: Upload,
    /// Over HTTP/1 alone: whether its version is 1.0, and whether its target is a whole URL.
    pub is_http_10: bool,
    pub is_absolute: bool,
    pub expects: bool,
    /// Where what is written over HTTP/1 is cut into pieces.
    pub cuts: Vec<usize>,
    /// What the gateway refuses it with, for its path or for what it expects.
    pub refused: Option<u16>,
}

/// The body of a request, and how it is delimited.
#[derive(Clone, Debug)]
pub enum Upload {
    None,
    Length(Vec<u8>),
    /// In chunks, each with how its length is written and what follows that; and the fields behind them.
    Chunks(Vec<Chunk>, Fields),
}

/// A chunk of a body.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub size: String,
    pub bytes: Vec<u8>,
}

impl Upload {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Length(bytes) => bytes.clone(),
            Self::Chunks(chunks, _) => chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect(),
        }
    }

    /// As it is sent over HTTP/1.
    pub fn written(&self) -> Vec<u8> {
        match self {
            Self::None | Self::Length(_) => self.bytes(),
            Self::Chunks(chunks, trailers) => in_chunks(chunks, trailers),
        }
    }
}

impl Asked {
    /// Whether the client lets its connection go when it has its answer.
    pub fn closes(&self) -> bool {
        let says = |word: &str| {
            let named =
                |(name, value): &(String, Vec<u8>)| name.eq_ignore_ascii_case("connection") && value == word.as_bytes();
            self.fields.iter().any(named)
        };
        if self.is_http_10 { !says("keep-alive") } else { says("close") }
    }

    /// Whether one of its fields has this value.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.fields.iter().any(|(known, its)| known.eq_ignore_ascii_case(name) && its == value.as_bytes())
    }

    /// Its head over HTTP/1, with `more` fields.
    pub fn head(&self, more: &Fields) -> Vec<u8> {
        let target =
            if self.is_absolute { format!("https://{}{}", self.authority, self.target) } else { self.target.clone() };
        let version = if self.is_http_10 { "1.0" } else { "1.1" };
        let mut head = format!("{} {target} HTTP/{version}\r\nHost: {}\r\n", self.method, self.authority).into_bytes();
        for (name, value) in self.fields.iter().chain(more) {
            head.extend([name.as_bytes(), b":", value, b"\r\n"].concat());
        }
        match &self.body {
            Upload::None => {}
            Upload::Length(bytes) => head.extend(format!("Content-Length: {}\r\n", bytes.len()).bytes()),
            Upload::Chunks(..) => head.extend(b"Transfer-Encoding: chunked\r\n"),
        }
        head.extend(b"\r\n");
        head
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub struct Script {
    /// The bytes of the answer, as they are written.
    pub pieces: Vec<Vec<u8>>,
    /// Before the body of the request is read.
    pub is_early: bool,
    /// Whether the connection is closed behind it.
    pub closes: bool,
    /// Before all of it was sent.
    pub is_cut: bool,
}

const METHODS: [&str; 28] = [
    "GET",
    "GET",
    "GET",
    "GET",
    "GET",
    "HEAD",
    "HEAD",
    "HEAD",
    "POST",
    "POST",
    "POST",
    "PUT",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "REPORT",
    "MKCOL",
    "M-SEARCH",
    "QUERY",
    "get",
    "post",
    "Head",
    "BREW",
    "x",
    "!#$%&'*+-.^_`|~",
    "AVERYLONGMETHODTHATNOBODYHASEVERHEARDOF",
];

const SEGMENTS: [&str; 36] = [
    "a",
    "b.html",
    "index.php",
    "A",
    "%41",
    "%7Euser",
    "%7euser",
    "~user",
    "caf%C3%A9",
    "%e2%82%ac",
    "a%20b",
    "a+b",
    "a;v=1",
    ";",
    "a,b;c=d;e",
    "...",
    ".hidden",
    "a.",
    "a%2Eb",
    "x%3Fy",
    "x%23y",
    "x%26y=%3d",
    "100%25",
    "@me",
    "a:b",
    "(x)",
    "!$&'*",
    "-_.~",
    "0",
    "%F0%9F%A6%80",
    "%ff",
    "",
    "",
    "a=b",
    "[x]",
    "{x}|^\"",
];

const QUERIES: [&str; 25] = [
    "a=b",
    "a=b&c=d",
    "a",
    "=",
    "&",
    "&&",
    "a=%20",
    "a=%2F..%2F",
    "q=+",
    "/",
    "../x",
    "?",
    "a?b",
    "//",
    ":@!$'()*,;",
    "%00",
    "%zz",
    "%",
    "[0]=x",
    "{x:1}",
    "a|b^c`",
    "caf%C3%A9",
    "\u{e9}\u{20ac}",
    "\\",
    "~-._",
];

/// Targets that the gateway refuses: src/policy/path.rs says why, and RFC 3986 of the last ones.
const REFUSED: [&str; 15] = [
    "/a/../b",
    "/..",
    "/./a",
    "/%2e%2e/b",
    "/a/.%2E",
    "/a/..;x/b",
    "/a%2fb",
    "/a%5Cb",
    "/a%00",
    "/a%252fb",
    "/%c0%ae%c0%ae/x",
    "/a%2",
    "/a`b",
    "/a?q=\"x\"",
    "/a?<b>",
];

/// What can be the value of a field.
const VALUES: [&[u8]; 20] = [
    b"",
    b"a",
    b"a\tb",
    b"a  b",
    b"  around\t ",
    b"\x80\xff",
    "\u{e9}\u{20ac}".as_bytes(),
    b"\"quoted \\\" x\"",
    b"x, y,, z",
    b",",
    b"a=b; c=\"d;e\"",
    b"=;,:",
    b"http://user@host:1/path?x#y",
    b"0",
    b"-1",
    b"(comment)",
    b"W/\"etag\", \"x\"",
    b"\xfe\xfd, \xfc",
    b"{\"json\": [1, 2]}",
    b"bytes=0-5,7-",
];

/// Names of fields that mean something to somebody on the way, or are spelled oddly; what is told of them passes.
const NAMES: [&str; 34] = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Cache-Control",
    "Content-Encoding",
    "Content-Language",
    "Content-MD5",
    "Content-Type",
    "Depth",
    "Destination",
    "From",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Max-Forwards",
    "Origin",
    "Overwrite",
    "Pragma",
    "Prefer",
    "Range",
    "Referer",
    "SOAPAction",
    "User-Agent",
    "Via",
    "X-HTTP-Method-Override",
    "X-Requested-With",
    "x-odd",
    "X-MiXeD",
    "x_under_score",
    "x.dotted",
    "x!#$%&'*+-.^`|~",
    "1",
    "X-Forwarder",
];

/// Names that no client may say anything under, in spellings that some application takes for the same.
const SPOOFED: [&str; 22] = [
    "X-Forwarded-For",
    "x_forwarded_for",
    "X-Forwarded-User",
    "x.forwarded.user",
    "X_Forwarded-Email",
    "X-Forwarded-Groups",
    "x-forwarded-roles",
    "X-Forwarded-Proto",
    "X-Forwarded-Prefix",
    "X-Real-IP",
    "Forwarded",
    "Remote-User",
    "remote_user",
    "X-Remote-User",
    "X-Auth-Request-User",
    "X-Original-URL",
    "X-Rewrite-Url",
    "Proxy",
    "True-Client-IP",
    "Client-IP",
    "X-Client-Cert",
    "SSL-Client-S-DN",
];

/// Fields of one hop, or answered there.
const OF_ONE_HOP: [(&str, &str); 10] = [
    ("Connection", "keep-alive"),
    ("Connection", "x-named"),
    ("Connection", "X-Named, TE ,,host"),
    ("Keep-Alive", "timeout=5, max=100"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authorization", "Basic eA=="),
    ("TE", "trailers"),
    ("Upgrade", "h2c, x/1"),
    ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ("Expect", "something-else"),
];

/// Fields behind the body of a request.
const REQUEST_TRAILERS: [(&str, &str); 12] = [
    ("X-Sum", "42"),
    ("X-Sum", "43"),
    ("X-Sum", ""),
    ("x_more", "\u{e9}"),
    ("ETag", "\"x\""),
    ("Authorization", "Basic eA=="),
    ("X-Forwarded-User", "mallory"),
    ("Remote_User", "mallory"),
    ("Content-Type", "text/html"),
    ("If-Match", "x"),
    ("Cookie", "a=b"),
    ("Connection", "close"),
];

const LENGTHS: [usize; 16] = [0, 0, 1, 1, 2, 3, 7, 100, 1023, 1024, 4095, 4096, 8191, 16_384, 65_537, 100_000];

/// Something to read that no two cases share.
fn bytes(dice: &mut Dice, is_short: bool) -> Vec<u8> {
    let length = dice.pick(if is_short { &LENGTHS[..12] } else { &LENGTHS });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(dice.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Cuts bytes into chunks of odd sizes, written oddly.
fn chunks(dice: &mut Dice, bytes: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if rest.len() > 5000 { rest.len() } else { dice.pick(&[1, 2, 3, 16, 500, 5000]) };
        let (chunk, after) = rest.split_at((1 + dice.below(most)).min(rest.len()));
        rest = after;
        let size = match dice.below(5) {
            0 => format!("{:X}", chunk.len()),
            1 => format!("{:06x}", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        let extension = dice.pick(&["", "", "", ";", ";a=b", ";a=\"b\";c", "; a = b"]);
        chunks.push(Chunk { size: size + extension, bytes: chunk.to_vec() });
    }
    chunks
}

fn in_chunks(chunks: &[Chunk], trailers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for Chunk { size, bytes } in chunks {
        all.extend([size.as_bytes(), b"\r\n", bytes, b"\r\n"].concat());
    }
    all.extend(b"0\r\n");
    for (name, value) in trailers {
        all.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    all.extend(b"\r\n");
    all
}

fn target(dice: &mut Dice) -> (String, bool) {
    let is_refused = dice.percent(2);
    let mut target = if is_refused { dice.pick(&REFUSED).to_owned() } else { path(dice) };
    if dice.percent(50) {
        target.push('?');
        for _ in 0..dice.below(4) {
            target += dice.pick(&QUERIES);
        }
    }
    if dice.percent(2) {
        target = format!("{}{}x={}", target, if target.contains('?') { "&" } else { "?" }, "y".repeat(4000));
    }
    (target, is_refused)
}

fn path(dice: &mut Dice) -> String {
    let mut path = String::new();
    for _ in 0..dice.below(5) {
        path.push('/');
        path += dice.pick(&SEGMENTS);
    }
    if path.is_empty() || dice.percent(10) {
        path.push('/');
    }
    path
}

fn value(dice: &mut Dice) -> Vec<u8> {
    match dice.below(30) {
        0 => vec![b'v'; 300],
        1 => vec![b'w'; 4000],
        _ => dice.pick(&VALUES).to_vec(),
    }
}

/// Fields that pass: some, or very many.
fn fields(dice: &mut Dice) -> Fields {
    let count = if dice.percent(3) { 90 } else { dice.below(6) };
    (0..count)
        .map(|at| {
            let name = if count < 10 { dice.pick(&NAMES).to_owned() } else { format!("X-Many-{}", at % 40) };
            let value = if count < 10 { value(dice) } else { dice.pick(&VALUES).to_vec() };
            (name, value)
        })
        .collect()
}

fn own(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

/// A request. One that `is_short` can be written as a whole without being answered meanwhile.
pub fn asked(dice: &mut Dice, number: u64, is_short: bool) -> Asked {
    let (target, is_refused_path) = target(dice);
    let method = dice.pick(&METHODS).to_owned();
    let is_http_10 = !is_short && dice.percent(4);
    let mut fields = fields(dice);
    fields.push(own(CASE, &number.to_string()));
    for _ in 0..dice.below(3) {
        if dice.percent(30) {
            fields.push((dice.pick(&SPOOFED).to_owned(), value(dice)));
        }
    }
    if dice.percent(30) {
        let (name, value) = dice.pick(&OF_ONE_HOP);
        fields.push(own(name, value));
        fields.push(own("X-Named", "by connection or not"));
    }
    for _ in 0..dice.below(4) {
        if dice.percent(40) {
            let cookies = ["a=1", "b=2; c=3;", "d", "=e; f=\"g h\"", "i=1;j=2", ";", "k=\u{e9}"];
            fields.push(own("Cookie", dice.pick(&cookies)));
        }
    }
    if dice.percent(5) {
        fields.push(own("Connection", if is_http_10 { "keep-alive" } else { "close" }));
    }
    let has_body = dice.percent(if ["POST", "PUT", "PATCH", "post", "REPORT"].contains(&&*method) { 85 } else { 15 });
    let body = match has_body {
        false => Upload::None,
        true if is_http_10 || dice.percent(50) => Upload::Length(bytes(dice, is_short)),
        true => {
            let bytes = bytes(dice, is_short);
            let chunks = chunks(dice, &bytes);
            Upload::Chunks(chunks, trailers(dice, &mut fields))
        }
    };
    let expects = !is_short && !is_http_10 && !body.bytes().is_empty() && dice.percent(15);
    if expects {
        // Who expects two things and waits for one of them would wait in vain: an answer of 417 would be as good.
        fields.retain(|(name, _)| name != "Expect");
        fields.push(own("Expect", dice.pick(&["100-continue", "100-Continue"])));
    }
    shuffle(dice, &mut fields);
    let is_unknown =
        |(name, value): &(String, Vec<u8>)| name == "Expect" && !value.eq_ignore_ascii_case(b"100-continue");
    let refused = if is_refused_path { Some(400) } else { fields.iter().any(is_unknown).then_some(417) };
    let authority = dice.pick(&["localhost", "localhost:8443", "LocalHost:443", "localhost.:1"]).to_owned();
    let is_absolute = dice.percent(5);
    let within = dice.pick(&[100, 1000, 20_000]);
    let cuts = (0..dice.below(6).saturating_sub(2)).map(|_| dice.below(within)).collect();
    Asked { number, method, target, authority, fields, body, is_http_10, is_absolute, expects, cuts, refused }
}

fn shuffle(dice: &mut Dice, fields: &mut Fields) {
    for at in (1..fields.len()).rev() {
        fields.swap(at, dice.below(at + 1));
    }
}

const STATUSES: [&str; 24] = [
    "200", "200", "200", "200", "200", "201", "202", "203", "204", "204", "205", "206", "207", "218", "300", "302",
    "304", "304", "404", "416", "451", "500", "599", "799",
];

const REASONS: [&[u8]; 6] = [b" OK", b" ", b"", b" Caf\xe9 \xff", b" two  spaces\tand a tab", b" 200 200"];

/// Fields that an application may say and the gateway takes out, or takes part of.
const GUARDED: [(&str, &str); 11] = [
    ("Set-Cookie", "__Host-session=stolen; Path=/; Secure"),
    ("Set-Cookie", "=__Host-Session=stolen"),
    ("Set-Cookie", "__host-login=x"),
    ("Clear-Site-Data", "\"cookies\""),
    ("Secure-Session-Registration", "(ES256);path=\"/x\""),
    ("Keep-Alive", "timeout=5"),
    ("Connection", "keep-alive, X-Named"),
    ("Connection", "close"),
    ("Proxy-Connection", "close"),
    ("Upgrade", "h2c"),
    ("TE", "gzip"),
];

const TRAILERS: [(&str, &str); 8] = [
    ("X-Sum", "42"),
    ("X-Sum", "43"),
    ("X-More", "\u{e9}"),
    ("ETag", "\"x\""),
    ("Set-Cookie", "a=b"),
    ("Content-Type", "text/html"),
    ("Connection", "close"),
    ("Location", "/elsewhere"),
];

/// What is said to follow a body, in one direction or the other: whether it may, and whether it does.
const ANNOUNCED: [&str; 8] = [
    "X-Sum, etag",
    "X-Sum, etag",
    "X-Sum, etag",
    "X-Sum, ETag, Set-Cookie, Authorization",
    "x-sum, X-Forwarded-User, Content-Type",
    "Connection, Location, cookie",
    "X-Sum ,,etag",
    "Remote_User,, clear-site-data",
];

/// How a request is answered.
pub fn script(dice: &mut Dice, asked: &Asked, is_short: bool) -> Script {
    let status = dice.pick(&STATUSES);
    let is_empty = asked.method == "HEAD" || status == "204" || status == "304";
    let mut fields = fields(dice);
    fields.push(own("X-Answers", &asked.number.to_string()));
    for at in 0..dice.below(4) {
        fields.push(own("Set-Cookie", &format!("c{at}=v; Path=/; Expires=Thu, 01 Jan 2030 00:00:00 GMT")));
    }
    if dice.percent(25) {
        let (name, value) = dice.pick(&GUARDED);
        fields.push(own(name, value));
        fields.push(own("X-Named", "by connection or not"));
    }
    for (name, value) in
        [("Date", "Sat, 01 Jan 2000 00:00:00 GMT"), ("Server", "odd/1.0 (x)"), ("Trailer", dice.pick(&ANNOUNCED))]
    {
        if dice.percent(20) {
            fields.push(own(name, value));
        }
    }
    let is_early = dice.percent(8) && !is_short;
    let is_http_10 = dice.percent(8);
    let mut closes = fields.iter().any(|(name, value)| name == "Connection" && value == b"close");
    let body = if status == "205" { Vec::new() } else { bytes(dice, is_short) };
    let mut written = body.clone();
    match dice.below(if is_http_10 { 60 } else { 100 }) {
        _ if status == "204" => {}
        0..10 if !is_empty => closes = true,
        10..14 => fields.push(own("Content-Length", &format!("{:05}", body.len()))),
        0..60 => fields.push(own("Content-Length", &body.len().to_string())),
        _ => {
            fields.push(own("Transfer-Encoding", dice.pick(&["chunked", "Chunked"])));
            let mut trailers = Fields::new();
            for _ in 0..dice.below(8).saturating_sub(4) {
                let (name, value) = dice.pick(&TRAILERS);
                trailers.push(own(name, value));
            }
            let chunks = chunks(dice, &body);
            written = in_chunks(&chunks, &trailers);
        }
    }
    let keeps = fields.iter().any(|(name, value)| name == "Connection" && value.starts_with(b"keep-alive"));
    closes |= is_http_10 && !keeps;
    if is_early && asked.expects && !closes {
        fields.push(own("Connection", "close"));
        closes = true;
    }
    shuffle(dice, &mut fields);
    let mut all = Vec::new();
    for _ in 0..dice.below(10).saturating_sub(7) {
        all.extend(dice.pick(&[
            &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
            b"HTTP/1.1 102 Processing\r\nX-Interim: yes\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nLink: </y>\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </z>\r\nConnection: x-hop\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\n\
              Set-Cookie: __Host-session=stolen\r\nContent-Length: 7\r\nTrailer: x-sum\r\nClear-Site-Data: \"*\"\r\n\r\n",
        ]));
    }
    all.extend(if is_http_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    all.extend([status.as_bytes(), dice.pick(&REASONS), b"\r\n"].concat());
    for (name, value) in &fields {
        all.extend([name.as_bytes(), dice.pick(&[&b": "[..], b":", b":\t  "]), value, b"\r\n"].concat());
    }
    all.extend(b"\r\n");
    // Who is not told how long it is cannot tell.
    let is_framed = fields.iter().any(|(name, _)| name == "Content-Length" || name == "Transfer-Encoding");
    let is_cut = is_framed && !is_empty && !is_early && !asked.is_http_10 && written.len() > 1 && dice.percent(6);
    if is_cut {
        written.truncate(written.len() - 1 - dice.below(written.len() - 1));
        closes = true;
    }
    if !is_empty {
        all.extend(written);
    }
    let cuts: Vec<usize> = (0..dice.below(4)).map(|_| dice.below(all.len())).collect();
    Script { pieces: cut(&all, &cuts), is_early, closes, is_cut }
}

/// What stands behind a body in chunks: mostly nothing. Whoever reads it may have been told in the head.
fn trailers(dice: &mut Dice, head: &mut Fields) -> Fields {
    let count = dice.below(8).saturating_sub(4);
    if count > 0 && dice.percent(50) {
        head.push(own("Trailer", dice.pick(&ANNOUNCED)));
    }
    (0..count).map(|_| dice.pick(&REQUEST_TRAILERS)).map(|(name, value)| own(name, value)).collect()
}

/// Cuts what is written into pieces.
pub fn cut(all: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|at| (*at).min(all.len())).chain([0, all.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| all[pair[0]..pair[1]].to_vec()).collect()
}
