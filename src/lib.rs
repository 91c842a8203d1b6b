//! vestibule: a session gateway.
//!
//! One binary that stands in front of web applications nobody can change any more. It ends TLS, owns login and the
//! session, decides on every request, and hands the application a clean request with the user's identity in a header.
//!
//! # The house, from the ground up
//!
//! A module imports only from floors below its own; `tests/tidy.rs` checks it.
//!
//! | floor | modules | what lives there |
//! |--:|---|---|
//! | 8 | [`app`], [`reload`], [`cli`] | putting it together, again while it runs, the command line |
//! | 7 | [`config`] | `gateway.toml`, from what is written to what is meant |
//! | 6 | [`server`] | connections in, answers out |
//! | 5 | [`portal`], [`admin`] | our own pages; the operator's listeners |
//! | 4 | [`enforce`] | decisions carried out |
//! | 3 | [`store`], [`login`], [`limit`], [`upstream`], [`rewrite`] | the world outside the rules |
//! | 2 | [`session`], [`policy`], [`route`] | the rules themselves: pure, they wait for nothing and read no clock |
//! | 1 | [`crypto`], [`observe`], [`reader`] | sealing; logs and numbers; TOML files that people write |
//! | 0 | [`base`] | time, randomness, addresses, units |
//!
//! # The life of a request
//!
//! 1. A worker's [`server::listener`] accepts the connection, lets a trusted proxy say whose it is
//!    ([`server::proxy_protocol`]), and shakes hands; what is then known of it is frozen in [`server::conn::ConnInfo`].
//!    Each worker is one thread with a runtime, a listener and upstream connections of its own; workers share the session
//!    map and nothing else that a request touches.
//! 2. [`server::handle::handle`] reads as the table of contents of all that follows. It never fails outward: a refusal
//!    is answered by [`enforce::respond`], a panic is caught and is an error of that one request.
//! 3. [`policy::facts`] reads what the request says of itself. What two servers are known to read differently is refused
//!    here, before anything is decided: the path that policy sees is the path that is forwarded.
//!    By the same host it is known whose it is ([`enforce::tenant`]): whose users, cookie, keys and rules count.
//! 4. The address is counted ([`limit::rate`]); one of our own pages goes to the [`portal`]; otherwise
//!    [`route::table`] finds the route.
//! 5. [`enforce::lookup`] opens the cookie and finds the session. [`enforce::authorize`] has [`policy::decide::decide`]
//!    decide, and does what the decision says: notes activity, rotates the secret, ends the session.
//!    What may pass is counted against the limits of its session, its person and its route ([`enforce::admit`]).
//! 6. With a [`policy::verdict::Grant`], which only a decision can make, [`upstream::forward`] rewrites the request and
//!    sends it. A path that forgets to ask does not compile. What the route changes on the way is [`upstream::rewriting`].
//! 7. The answer streams back under a lease ([`enforce::lease`]): when the session ends, so does the stream. What of the
//!    request is still to be sent goes on beside it ([`upstream::answer`]); a WebSocket runs in a [`server::tunnel`]. Where
//!    the route asks for it and [`policy::compression`] allows it, [`rewrite`] compresses it.
//! 8. [`server::finish`] writes exactly one line of access log and counts exactly one answer. All lines of a request have
//!    its id, and so have the application and the client ([`observe::correlation`]).
//!
//! # Requests of our own
//!
//! Not everything that an application is asked came from somebody: [`upstream::health`] asks servers how they are. Such a
//! request has no grant, because nobody's identity goes with it; it says what it is for ([`upstream::own`]).
//!
//! # While it runs
//!
//! [`reload`] reads the configuration again and puts another [`enforce::snapshot::Snapshot`] in force, in which what is
//! alive goes on. [`enforce::people`] makes the sessions follow the users.
//!
//! # The session
//!
//! [`session::handle::SessionHandle`] is public and finds the record. The secret is handle, generation and proof, and
//! exists only in the cookie, sealed ([`session::cookie`]). So a forged cookie is refused before any store is asked, a
//! leaked store or log opens nothing, and rotation never moves a record. [`session::rotation`] tells how a copied cookie
//! is noticed, [`session::timeouts`] and [`session::binding`] what else ends a session. What rotation does not notice: a
//! thief who takes over every rotation before its owner does.
//!
//! # Attacks, and where they end
//!
//! | attack | ends in |
//! |---|---|
//! | forged, altered, foreign cookies | [`crypto::seal`], [`session::cookie`] |
//! | a cookie fixed before login | [`enforce::establish`]: new handle, new seed, the old session is dead |
//! | a cookie stolen and used beside its owner | [`session::rotation`], [`session::binding`] |
//! | cookies tossed in by a neighbouring host | `__Host-` by default; [`enforce::lookup`] uses none of several live ones |
//! | identity headers from the client, in any spelling | [`upstream::identity`], [`upstream::headers`] |
//! | naming our headers in `Connection` | [`upstream::forward::rewrite`]: ours are written last |
//! | paths that two servers read differently | [`policy::path`] |
//! | hosts that do not belong on the connection | [`policy::facts`], [`server::conn`] |
//! | `X-Forwarded-For` from strangers | [`policy::client_address`]: nobody is trusted by default |
//! | PROXY protocol headers from strangers | [`server::listener`]: their connections are closed unread |
//! | a rewritten path that leaves its part of the application | [`route::rewriting`]; a way around another route is no configuration |
//! | `X-Original-URL`: another path than the one that was decided on | [`upstream::headers`] |
//! | guesses that shorten a compressed page (BREACH) | [`policy::compression`] |
//! | open redirects after login | [`policy::return_to`] |
//! | a form of another site, sent with somebody's cookie (CSRF), and a WebSocket of its | [`policy::check::csrf`], by [`policy::origin`]; before anything is said of the session |
//! | what one tenant has given out, used at another | [`enforce::tenant`]: sealed by its name, and a session is none elsewhere |
//! | signing somebody in as somebody else | [`login::attempt`]: forms are tied to a browser |
//! | a page laid around one of ours (clickjacking) | [`enforce::pages`]: nobody may frame them; [`enforce::framed`]: what only says something |
//! | signing somebody out by a link | [`portal::logout`]: a GET ends nothing |
//! | guessing passwords, and names by the time it takes | [`limit::rate`], [`limit::wrong_passwords`], [`login::password`] |
//! | scripts in a logo that somebody gives the pages | [`enforce::pages::logo`]: an `img` that is part of the page, at no address |
//! | shutting somebody out by guessing their password | [`limit::wrong_passwords`]: who has signed in before is no stranger |
//! | going back to what somebody saw whose session is over | [`enforce::challenge`], [`portal::logout`]: browsers are told to forget; one that has asked for nothing since does not know |
//! | somebody else at a screen that was left signed in | [`session::timeouts`], and where it matters [`policy::check::recency`] |
//! | more sessions than somebody may have, by many sign-ins at once | [`session::store`]: counting, making room and adding are one step |
//! | ending somebody else's session by its handle | [`portal::sessions`]: whatever is not one's own is not there |
//! | using a password that was just stolen where it does most harm | [`session::level`]: a new session opens less |
//! | guessing sessions | [`limit::guesses`]: bad cookies are counted by address |
//! | the application setting our cookies | [`upstream::headers::guard_answer`] |
//! | what goes over the wire without TLS | [`server::plain`]: a redirect, and nothing else is served there |
//! | answering for us on the next visit by `http://` | HSTS, once the operator says so: [`server::handle`] |
//! | reading secrets out of logs | [`observe::access_log`]: handles, and neither queries nor parameters of paths; what a client sends to be written down is bounded ([`observe::correlation`]) |
//! | a page that reaches the operator's address by a name of its own (DNS rebinding) | [`admin::guard`] |
//! | half-open connections, slow heads | [`server::http`], [`base::deadline`] |
//! | an error read as a yes | [`enforce::respond`]: a store that fails, a panic, anything malformed is a refusal |
//!
//! # Defaults
//!
//! Every default is a constant with its reason beside it, and stands in `gateway.toml`, the reference of the
//! configuration; a test holds the two together.

pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod enforce;
pub mod limit;
pub mod login;
pub mod observe;
pub mod policy;
pub mod portal;
pub mod reader;
pub mod reload;
pub mod rewrite;
pub mod route;
pub mod server;
pub mod session;
pub mod store;
pub mod upstream;
