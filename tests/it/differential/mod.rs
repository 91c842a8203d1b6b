//! The differential test: what chance asks is asked of an application directly and through the gateway, signed in and
//! not, by HTTP/1.1 and by HTTP/2, one after another, pipelined, and as streams at once. Both sides must see the same
//! both times, but for what [`documented`] says; and what follows on a connection must be what was asked for there.
//!
//! A failure says how to play it again. `DIFFERENTIAL_SEED` is where the seeds begin, and `DIFFERENTIAL_RUNS` how many
//! conversations there are.
//!
//! Left out: WebSockets, and most of what is refused for its form, which have tests of their own.

mod documented;
mod generate;
mod upstream;
mod ways;
mod wire;

use std::collections::BTreeMap;

use documented::{Message, Way};
use generate::{Asked, Script, Upload};
use upstream::{Received, Upstream};
use ways::{Answered, Http1, Http2};
use wire::{Fields, Head};

use h2::Reason;

use super::harness::{ALICE, Client, Dice, Gateway, Setup};

/// How many conversations there are, and how many requests each has.
const RUNS: u64 = 100;
const REQUESTS: u64 = 14;

/// How much of a gateway's log is shown after a failure.
const LINES: usize = 3 * REQUESTS as usize;

const WAYS: [Way; 4] = [
    Way { name: "public, HTTP/1.1", is_h2: false, is_signed_in: false },
    Way { name: "public, HTTP/2", is_h2: true, is_signed_in: false },
    Way { name: "signed in, HTTP/1.1", is_h2: false, is_signed_in: true },
    Way { name: "signed in, HTTP/2", is_h2: true, is_signed_in: true },
];

/// What must have come up in all conversations together, or they show less than they claim.
const MUST_HAPPEN: [&str; 16] = [
    "chunks up",
    "chunks down",
    "refused path",
    "refused expectation",
    "expected",
    "early answer",
    "HTTP/1.0 client",
    "HTTP/1.0 application",
    "until closed",
    "trailers",
    "trailers up",
    "announced",
    "cut",
    "HEAD",
    "304",
    "pipelined",
];

#[test]
fn whatever_is_asked_is_asked_and_answered_as_without_the_gateway() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (begin, runs) = (number("DIFFERENTIAL_SEED").unwrap_or(1), number("DIFFERENTIAL_RUNS").unwrap_or(RUNS));
    let world = World::new();
    let mut seen = BTreeMap::new();
    for seed in begin..begin + runs {
        Conversation::new(seed).take_place(&world, &mut seen);
    }
    if runs >= RUNS {
        let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !seen.contains_key(**what)).collect();
        assert!(missing.is_empty(), "never came up: {missing:?}; what did: {seen:?}");
    }
}

/// What stands for all conversations.
struct World {
    upstream: Upstream,
    /// In front of it: one that lets everybody pass, and one that asks for login.
    gateways: [Gateway; 2],
    alice: Client,
}

impl Drop for World {
    fn drop(&mut self) {
        for log in self.gateways.iter().filter(|_| std::thread::panicking()).map(|gateway| gateway.log.text()) {
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- the end of a gateway's log\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
        }
    }
}

impl World {
    fn new() -> Self {
        let upstream = Upstream::start();
        let gateways = [r#"access = "public""#, ""].map(|access| {
            let mut setup = Setup::new().unlimited().in_front_of(&upstream.server);
            setup.workers = 1;
            setup.routes = format!("[[route]]\npath = \"/\"\nupstream = \"app\"\n{access}\n");
            // What a client says of itself is up to chance here.
            setup.extra("[session.binding.user_agent]\nmode = \"off\"\n[csrf]\nmode = \"off\"").start()
        });
        let alice = gateways[1].client();
        let led = alice.sign_in(ALICE, "/");
        assert_eq!(led.status, 303, "{}", led.text());
        Self { upstream, gateways, alice }
    }
}

/// Some requests, asked of everybody in the same way. Tells what it was about when it ends badly.
struct Conversation {
    seed: u64,
    /// Whether all is asked at once.
    is_at_once: bool,
    all: Vec<(Asked, Script)>,
    /// By which way, and which request it is about.
    way: &'static str,
    at: usize,
    answered: Option<Answered>,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (asked, script) = &self.all[self.at];
            eprintln!("to play it again: DIFFERENTIAL_SEED={} DIFFERENTIAL_RUNS=1", self.seed);
            eprintln!("{}, at once: {}\n{}", self.way, self.is_at_once, shown(asked, script));
            if let Some(answered) = &self.answered {
                eprintln!("--- {}", answered.shown());
            }
        }
    }
}

impl Conversation {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let is_at_once = dice.percent(40);
        let all = (0..REQUESTS).map(|at| {
            let asked = generate::asked(&mut dice, seed * 1000 + at, is_at_once);
            let script = generate::script(&mut dice, &asked, is_at_once);
            (asked, script)
        });
        let all = all.collect();
        Self { seed, is_at_once, all, way: "straight", at: 0, answered: None }
    }

    fn take_place(mut self, world: &World, seen: &mut BTreeMap<&'static str, usize>) {
        let scripts = self.all.iter().map(|(asked, script)| (asked.number, script.clone())).collect();
        world.upstream.prepare(scripts);
        let straight = self.straight(world);
        for way in WAYS {
            self.way = way.name;
            let client = if way.is_signed_in { &world.alice } else { &world.gateways[0].client() };
            let more =
                if way.is_signed_in { vec![("Cookie".to_owned(), client.cookies().into_bytes())] } else { Vec::new() };
            let answers = if way.is_h2 { self.by_http_2(client, &more) } else { self.by_http_1(client, &more) };
            for (at, answered) in answers.into_iter().enumerate() {
                (self.at, self.answered) = (at, answered);
                self.compare(world, way, &straight[at]);
            }
        }
        self.note(&straight, seen);
    }

    /// Asks the application itself.
    fn straight(&mut self, world: &World) -> Vec<(Answered, Received)> {
        let mut connection: Option<Http1> = None;
        let mut all = Vec::new();
        for (at, (asked, script)) in self.all.iter().enumerate() {
            self.at = at;
            let mut open = connection.take().unwrap_or_else(|| Http1::straight(world.upstream.server.address()));
            open.send(asked, &Fields::new());
            let answered = open.answer().expect("an answer");
            if !script.closes {
                connection = Some(open);
            }
            let received = world.upstream.take(asked.number).pop().expect("it arrived");
            all.push((answered, received));
        }
        all
    }

    fn by_http_1(&mut self, client: &Client, more: &Fields) -> Vec<Option<Answered>> {
        let mut answers = Vec::new();
        while answers.len() < self.all.len() {
            let rest = &self.all[answers.len()..];
            // Up to the first after which the connection is closed.
            let last = rest.iter().position(|(asked, _)| closes(asked));
            let these = &rest[..last.map_or(rest.len(), |at| at + 1)];
            let mut connection = Http1::to(client);
            if self.is_at_once {
                these.iter().for_each(|(asked, _)| connection.send(asked, more));
            }
            for (asked, script) in these {
                (self.at, self.answered) = (answers.len(), None);
                if !self.is_at_once {
                    connection.send(asked, more);
                }
                // What breaks off may take its beginning with it: more may have been sent than was read.
                let answered = connection.answer().or_else(|| script.is_cut.then(Answered::nothing));
                let answered = answered.expect("an answer");
                self.answered = Some(answered.clone());
                if answered.status > 0 {
                    assert_says(&answered, asked, closes(asked));
                }
                let is_over = closes(asked) || answered.is_until_closed || !answered.is_whole;
                answers.push(Some(answered));
                if is_over {
                    assert!(connection.is_at_end(), "it says that it closes, and does");
                    break;
                } else if !self.is_at_once {
                    assert_eq!(connection.left(), b"", "nothing follows an answer");
                }
            }
        }
        answers
    }

    fn by_http_2(&mut self, client: &Client, more: &Fields) -> Vec<Option<Answered>> {
        let mut connection = Http2::to(client);
        if self.is_at_once {
            let answers = connection.ask(self.all.iter().map(|(asked, _)| asked), more);
            assert!(connection.is_usable(), "what becomes of a stream ends no connection");
            return answers;
        }
        let mut answers = Vec::new();
        for (at, (asked, _)) in self.all.iter().enumerate() {
            (self.at, self.answered) = (at, None);
            answers.extend(connection.ask([asked], more));
            self.answered = answers.last().cloned().flatten();
            assert!(connection.is_usable(), "what becomes of a stream ends no connection");
        }
        answers
    }

    /// Compares what was answered last, and what arrived, with what would have without the gateway.
    fn compare(&self, world: &World, way: Way, straight: &(Answered, Received)) {
        let (asked, script) = &self.all[self.at];
        // HTTP/2 cannot say everything.
        let Some(answered) = &self.answered else { return assert!(way.is_h2 && asked.refused == Some(400)) };
        self.compare_end(answered, asked, script, way);
        if let Some(status) = asked.refused {
            assert_eq!(answered.status, status, "a target that two servers may read differently, or an expectation");
            return assert!(world.upstream.has_not_heard_of(asked.number), "it does not arrive");
        }
        if answered.is_whole {
            let (found, expected) =
                (documented::answered(answered, &straight.0), documented::answer(&straight.0, asked, way));
            assert_same(&found, &expected, "the answer");
        }
        let received = world.upstream.take(asked.number);
        assert_eq!(received.len(), 1, "it arrives once: {received:?}");
        let mut arrived = documented::received(&received[0], asked);
        let mut expected = documented::request(&straight.1, asked, way);
        if script.is_early {
            // Nobody needs to send the application what it has not waited for.
            for message in [&mut arrived, &mut expected] {
                message.body.clear();
                message.trailers.clear();
            }
        } else {
            assert!(received[0].is_whole, "all of it arrives");
        }
        assert_same(&arrived, &expected, "what arrives");
    }

    /// Looks at how an answer ended, and what was said of the request's body meanwhile.
    fn compare_end(&self, answered: &Answered, asked: &Asked, script: &Script, way: Way) {
        let is_refused = asked.refused.is_some();
        assert_eq!(answered.is_whole, is_refused || !script.is_cut, "it is whole where the application's is");
        match answered.reset {
            None => assert!(answered.is_whole || !way.is_h2, "a stream that ends in the middle of an answer is reset"),
            // Who still sends is told that nobody reads it (RFC 9113 section 8.1). Who has sent as much as they said may be
            // answered before they have also said that this was all, when these two arrive apart.
            Some(Reason::NO_ERROR) => {
                let has_said_how_much = matches!(asked.body, Upload::Length(_));
                assert!(answered.is_whole && (is_refused || script.is_early || has_said_how_much));
            }
            Some(_) => assert!(!answered.is_whole, "a whole answer, and then {:?}", answered.reset),
        }
        if answered.status == 0 {
            return;
        }
        let may_be = usize::from(asked.expects && !is_refused);
        // Over HTTP/1.1 an answer that is there before the body was waited for consents to nothing.
        let must_be = if script.is_early && !way.is_h2 { 0 } else { may_be };
        assert!((must_be..=may_be).contains(&answered.consents), "{} consents to a body", answered.consents);
    }

    /// Notes what has come up.
    fn note(&self, straight: &[(Answered, Received)], seen: &mut BTreeMap<&'static str, usize>) {
        for ((asked, script), (answered, received)) in self.all.iter().zip(straight) {
            for (what, has_come_up) in [
                ("chunks up", received.body.delimited == wire::Delimited::Chunks),
                ("chunks down", answered.fields.iter().any(|(name, _)| name == "transfer-encoding")),
                ("refused path", asked.refused == Some(400)),
                ("refused expectation", asked.refused == Some(417)),
                ("expected", asked.expects),
                ("early answer", script.is_early),
                ("HTTP/1.0 client", asked.is_http_10),
                ("HTTP/1.0 application", answered.version == "HTTP/1.0"),
                ("until closed", answered.is_until_closed),
                ("trailers", !answered.trailers.is_empty()),
                ("trailers up", !received.body.trailers.is_empty()),
                ("announced", !answered.announced.is_empty()),
                ("cut", !answered.is_whole),
                ("HEAD", asked.method == "HEAD"),
                ("304", answered.status == 304),
                ("pipelined", self.is_at_once && !closes(asked)),
            ] {
                if has_come_up {
                    *seen.entry(what).or_default() += 1;
                }
            }
        }
    }
}

/// Whether the gateway closes a connection over HTTP/1 behind a request: when its client does, or has sent what may mean
/// something else to others.
fn closes(asked: &Asked) -> bool {
    asked.closes() || asked.refused.is_some()
}

/// What an answer over HTTP/1 says of its connection and its length must be one thing.
fn assert_says(answered: &Answered, asked: &Asked, closes: bool) {
    let head = Head { start: Vec::new(), fields: answered.fields.clone() };
    let version = if asked.is_http_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    assert!(answered.version == version || asked.refused.is_some(), "{}", answered.version);
    assert_eq!(
        head.says("connection", "close") || answered.version == "HTTP/1.0" && !head.says("connection", "keep-alive"),
        closes
    );
    assert!(head.all("transfer-encoding").all(|coding| coding == b"chunked" && !asked.is_http_10));
    assert!(head.all("transfer-encoding").count() + head.all("content-length").count() <= 1);
    // Who speaks HTTP/1.0 and would like to keep the connection is told that it is kept, and then it is not: the length
    // of the answer was not known.
    assert!(!answered.is_until_closed || asked.is_http_10);
}

fn assert_same(found: &Message, expected: &Message, what: &str) {
    if found == expected {
        return;
    }
    assert_eq!(found.start, expected.start, "{what}");
    assert_eq!(found.announced, expected.announced, "{what}");
    let shown = |values: &Vec<Vec<u8>>| {
        values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
    };
    for (part, found, expected) in
        [("fields", &found.fields, &expected.fields), ("trailers", &found.trailers, &expected.trailers)]
    {
        let names: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
        let differing = names.into_iter().filter(|name| found.get(*name) != expected.get(*name));
        let differing: Vec<_> =
            differing.map(|name| (name, found.get(name).map(shown), expected.get(name).map(shown))).collect();
        assert!(differing.is_empty(), "{part} of {what}, as they are and as they must be: {differing:?}");
    }
    let at = found.body.iter().zip(&expected.body).position(|(found, expected)| found != expected);
    panic!("the body of {what}: {} bytes for {}, first differing at {at:?}", found.body.len(), expected.body.len());
}

/// A request and its answer, for people.
fn shown(asked: &Asked, script: &Script) -> String {
    let short = |bytes: &[u8]| {
        let text = bytes[..bytes.len().min(1200)].escape_ascii().to_string();
        text.replace("\\r\\n", "\\r\\n\n")
    };
    format!(
        "{}\n(body of {} bytes, early: {}, closes: {})\n{}",
        short(&asked.head(&Fields::new())),
        asked.body.bytes().len(),
        script.is_early,
        script.closes,
        short(&script.pieces.concat())
    )
}
