//! What travels through the browser while somebody signs in: sealed and expiring, so that a flood of strangers stores
//! nothing here.
//!
//! A login form carries an attempt that is tied to the browser that asked for it by a cookie; elsewhere it is
//! worthless. This is what stops a foreign page from signing somebody in as somebody else.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::base::clock::Timestamp;
use crate::base::random::Random;
use crate::crypto::keyring::{KeyRing, Purpose};
use crate::crypto::seal::Sealer;
use crate::policy::return_to::{self, ReturnTo};
use crate::session::handle::SessionHandle;
use crate::session::principal::PasswordStamp;

/// The cookie that ties a login form to a browser. Its prefix keeps other hosts of the domain from setting it.
pub const COOKIE: &str = "__Host-login";

/// How long a login form can be sent after it was shown: a page left open over lunch still works.
pub const FORM_VALID: Duration = Duration::from_secs(2 * 3600);

/// How long a link to the login page remembers where it leads back to.
pub const RETURN_VALID: Duration = Duration::from_secs(24 * 3600);

/// How long somebody may think about which of their sessions ends, once their password was right: long enough to look at
/// the other device, and too short for a page that was left open.
pub const CHOICE_VALID: Duration = Duration::from_secs(5 * 60);

/// The longest token that is read, in characters: a return target, a few sentences, and a few dozen bytes.
pub const MAX_TOKEN: usize = return_to::MAX_LENGTH * 4 / 3 + 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    made_at: Timestamp,
    /// The random value of the login cookie; all zero in a link to the login page.
    browser: [u8; 16],
    return_to: String,
    notice: String,
    whose: Option<[u8; 16]>,
    kept: Option<[u8; 20]>,
    asked_at: Timestamp,
}

/// What the token of a choice says.
#[derive(Serialize, Deserialize)]
struct ChoiceToken {
    made_at: Timestamp,
    browser: [u8; 16],
    return_to: String,
    kept: Option<[u8; 20]>,
    user: String,
    password: PasswordStamp,
    remember: Option<bool>,
    session: SessionHandle,
}

/// The password of this person was right in this browser, and they are to choose which of their sessions ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where they wanted to go.
    pub to: ReturnTo,
    /// What was kept of theirs.
    pub kept: Option<[u8; 20]>,
    /// Who they are.
    pub user: String,
    /// The password that was right. Once it is another, this is worth nothing.
    pub password: PasswordStamp,
    /// Whether they asked to be remembered; none where they were not asked.
    pub remember: Option<bool>,
    /// What their session will be called: so one choice makes one session, and no second one.
    pub session: SessionHandle,
}

/// Where a link to the login page leads back to, and why it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// Where the person wanted to go.
    pub to: ReturnTo,
    /// What they are told on the login page; empty when there is nothing to say.
    pub notice: String,
    /// Whose session it was that they are asked to prove for, where that is known: a hash.
    pub whose: Option<[u8; 16]>,
    /// What is kept for that person of what they sent, if something is: what it is called.
    pub kept: Option<[u8; 20]>,
    /// When they were asked to, if that was before now: it goes from one form to the next.
    pub asked_at: Option<Timestamp>,
}

impl Default for Return {
    fn default() -> Self {
        Self { to: ReturnTo::start(), notice: String::new(), whose: None, kept: None, asked_at: None }
    }
}

impl Return {
    /// The same for who has turned out to be `owner`: where somebody else was is nothing that they are shown, let alone
    /// what is kept for them.
    pub fn for_owner(self, owner: [u8; 16]) -> Self {
        match self.whose {
            Some(whose) if whose != owner => Self::default(),
            Some(_) => self,
            None => Self { whose: Some(owner), kept: None, ..self },
        }
    }
}

/// Why a posted login form is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormFault {
    /// Not ours, altered, or older than [`FORM_VALID`].
    Stale,
    /// It was given to another browser.
    OtherBrowser,
}

/// The random value that ties forms to one browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Browser([u8; 16]);

impl Browser {
    /// The value in a request's login cookie; the first that reads well counts.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let pairs =
            headers.get_all(header::COOKIE).into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
        pairs
            .filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="))
            .filter(|value| value.len() == 22)
            .find_map(|value| URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok().map(Self))
    }

    /// A new value.
    pub fn random(random: &Random) -> Self {
        Self(random.bytes())
    }

    /// A value that was written down.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The value, to be written down where nobody can read it.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Whether it is the same browser.
    pub fn is(self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The `Set-Cookie` value for this browser. A session cookie: it lasts as long as the browser.
    pub fn set(self) -> Option<HeaderValue> {
        let value = URL_SAFE_NO_PAD.encode(self.0);
        HeaderValue::try_from(format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Lax")).ok()
    }
}

/// Makes and reads the tokens of one tenant.
pub struct Attempts {
    sealer: Sealer,
}

const FORM: &[u8] = b"login form";
const LINK: &[u8] = b"login link";
const CHOICE: &[u8] = b"login choice";
const PAGE: &[u8] = b"page of a session";

impl Attempts {
    /// The tokens of `tenant`.
    pub fn new(ring: Arc<KeyRing>, tenant: &str) -> Self {
        Self { sealer: Sealer::new(ring, Purpose::Token, tenant) }
    }

    /// The token in a link to the login page.
    pub fn link(&self, random: &Random, back: &Return, now: Timestamp) -> String {
        self.seal(random, LINK, Browser([0; 16]), back, now)
    }

    /// Reads the token of a link; anything wrong with it leads back to the start page.
    pub fn read_link(&self, token: &str, now: Timestamp) -> Return {
        self.open(LINK, token, now, RETURN_VALID).and_then(|opened| back_of(&opened)).unwrap_or_default()
    }

    /// The token in a login form that is shown to `browser`.
    pub fn form(&self, random: &Random, browser: Browser, back: &Return, now: Timestamp) -> String {
        self.seal(random, FORM, browser, back, now)
    }

    /// Reads the token of a posted form that came from `browser`.
    ///
    /// # Errors
    /// Why the form is not taken.
    pub fn read_form(&self, token: &str, browser: Option<Browser>, now: Timestamp) -> Result<Return, FormFault> {
        let opened = self.open(FORM, token, now, FORM_VALID).ok_or(FormFault::Stale)?;
        if !browser.is_some_and(|browser| browser.is(&Browser(opened.browser))) {
            return Err(FormFault::OtherBrowser);
        }
        back_of(&opened).ok_or(FormFault::Stale)
    }

    /// The token of a choice that `browser` is asked for.
    pub fn choice(&self, random: &Random, browser: Browser, choice: &Choice, now: Timestamp) -> String {
        let token = ChoiceToken {
            made_at: now,
            browser: browser.0,
            return_to: choice.to.as_str().to_owned(),
            kept: choice.kept,
            user: choice.user.clone(),
            password: choice.password,
            remember: choice.remember,
            session: choice.session,
        };
        self.seal_any(random, CHOICE, &token, now)
    }

    /// Reads the token of a choice that came from `browser`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn read_choice(&self, token: &str, browser: Option<Browser>, now: Timestamp) -> Result<Choice, FormFault> {
        let opened = self.open_any::<ChoiceToken>(CHOICE, token, now);
        let opened = opened.filter(|opened| now < opened.made_at.plus(CHOICE_VALID)).ok_or(FormFault::Stale)?;
        if !browser.is_some_and(|browser| browser.0.ct_eq(&opened.browser).into()) {
            return Err(FormFault::OtherBrowser);
        }
        let ChoiceToken { return_to, kept, user, password, remember, session, .. } = opened;
        let to = ReturnTo::new(&return_to).ok_or(FormFault::Stale)?;
        Ok(Choice { to, kept, user, password, remember, session })
    }

    /// The token in a form on the page `path` that was shown to a session.
    pub fn page(&self, random: &Random, session: SessionHandle, path: &ReturnTo, now: Timestamp) -> String {
        let to = Return { to: path.clone(), ..Return::default() };
        self.seal(random, PAGE, Browser(*session.as_bytes()), &to, now)
    }

    /// Whether a form was shown to this session, on that page.
    pub fn is_of_page(&self, token: &str, session: SessionHandle, path: &ReturnTo, now: Timestamp) -> bool {
        let opened = self.open(PAGE, token, now, FORM_VALID);
        opened.is_some_and(|token| token.browser == *session.as_bytes() && token.return_to == path.as_str())
    }

    fn seal(&self, random: &Random, kind: &[u8], browser: Browser, back: &Return, now: Timestamp) -> String {
        let token = Token {
            made_at: now,
            browser: browser.0,
            return_to: back.to.as_str().to_owned(),
            notice: back.notice.clone(),
            whose: back.whose,
            kept: back.kept,
            asked_at: back.asked_at.unwrap_or(now),
        };
        self.seal_any(random, kind, &token, now)
    }

    fn open(&self, kind: &[u8], token: &str, now: Timestamp, valid: Duration) -> Option<Token> {
        self.open_any::<Token>(kind, token, now).filter(|token| now < token.made_at.plus(valid))
    }

    fn seal_any(&self, random: &Random, kind: &[u8], token: &impl Serialize, now: Timestamp) -> String {
        // Serialising plain data into memory does not fail; an empty text would open to nothing.
        let plain = postcard::to_stdvec(token).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(self.sealer.seal(random, now.day(), kind, &plain))
    }

    fn open_any<T: DeserializeOwned>(&self, kind: &[u8], token: &str, now: Timestamp) -> Option<T> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut envelope = URL_SAFE_NO_PAD.decode(token).ok()?;
        let days = now.day().saturating_sub(2)..=now.day() + 1;
        postcard::from_bytes(self.sealer.open(days, kind, &mut envelope)?).ok()
    }
}

fn back_of(token: &Token) -> Option<Return> {
    let (whose, kept, asked_at) = (token.whose, token.kept, Some(token.asked_at));
    Some(Return { to: ReturnTo::new(&token.return_to)?, notice: token.notice.clone(), whose, kept, asked_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    #[test]
    fn a_form_is_good_for_its_browser_and_its_time() {
        let random = Random::seeded(1);
        let attempts = Attempts::new(Arc::new(KeyRing::ephemeral(&random)), "default");
        let (to, asked_at) = (ReturnTo::new("/a?b").expect("a path"), Some(NOW));
        let back = Return { to, notice: "Why.".to_owned(), asked_at, ..Return::default() };
        let browser = Browser::random(&random);
        let token = attempts.form(&random, browser, &back, NOW);
        assert_eq!(attempts.read_form(&token, Some(browser), NOW), Ok(back.clone()));
        assert_eq!(attempts.read_form(&token, None, NOW), Err(FormFault::OtherBrowser));
        assert_eq!(attempts.read_form(&token, Some(Browser::random(&random)), NOW), Err(FormFault::OtherBrowser));
        assert_eq!(attempts.read_form(&token, Some(browser), NOW.plus(FORM_VALID)), Err(FormFault::Stale));
        assert_eq!(attempts.read_form("", Some(browser), NOW), Err(FormFault::Stale));
        let link = attempts.link(&random, &back, NOW);
        assert_eq!(attempts.read_link(&link, NOW), back);
        assert_eq!(attempts.read_form(&link, Some(Browser([0; 16])), NOW), Err(FormFault::Stale), "a link is no form");
        assert_eq!(attempts.read_link(&token, NOW), Return::default());
        assert_eq!(attempts.read_link(&link, NOW.plus(RETURN_VALID)), Return::default());
        let longest = Return {
            to: ReturnTo::new(&format!("/{}", "a".repeat(2047))).expect("a path"),
            notice: "a sentence ".repeat(40),
            whose: Some([1; 16]),
            kept: Some([2; 20]),
            asked_at: Some(NOW),
        };
        assert_eq!(attempts.read_link(&attempts.link(&random, &longest, NOW), NOW), longest);
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(attempts.read_link(&attempts.link(&random, &longest, later), later), longest, "asked then, not now");
    }

    #[test]
    fn where_somebody_was_is_for_nobody_else() {
        let to = |path| ReturnTo::new(path).expect("a path");
        let (notice, asked_at) = ("Why.".to_owned(), Some(NOW));
        let back = |whose| Return { to: to("/a"), notice: notice.clone(), whose, kept: Some([2; 20]), asked_at };
        assert_eq!(back(Some([1; 16])).for_owner([1; 16]), back(Some([1; 16])));
        assert_eq!(back(Some([1; 16])).for_owner([3; 16]), Return::default());
        let stranger = back(None).for_owner([1; 16]);
        assert_eq!((stranger.to, stranger.kept), (to("/a"), None), "what is kept is somebody's");
    }

    #[test]
    fn a_form_of_a_page_is_good_for_its_session_and_its_page() {
        let random = Random::seeded(1);
        let attempts = Attempts::new(Arc::new(KeyRing::ephemeral(&random)), "default");
        let (session, other) = (SessionHandle::random(&random), SessionHandle::random(&random));
        let path = |path: &str| ReturnTo::new(path).expect("a path");
        let token = attempts.page(&random, session, &path("/a"), NOW);
        assert!(attempts.is_of_page(&token, session, &path("/a"), NOW));
        assert!(!attempts.is_of_page(&token, other, &path("/a"), NOW));
        assert!(!attempts.is_of_page(&token, session, &path("/b"), NOW));
        assert!(!attempts.is_of_page(&token, session, &path("/a"), NOW.plus(FORM_VALID)));
        let form = attempts.form(&random, Browser(*session.as_bytes()), &Return::default(), NOW);
        assert!(!attempts.is_of_page(&form, session, &ReturnTo::start(), NOW), "a login form is none");
    }

    #[test]
    fn a_choice_is_good_for_its_browser_for_minutes_and_is_no_form() {
        let random = Random::seeded(2);
        let attempts = Attempts::new(Arc::new(KeyRing::ephemeral(&random)), "default");
        let other = Attempts::new(Arc::new(KeyRing::ephemeral(&random)), "default");
        let choice = Choice {
            to: ReturnTo::new("/a?b").expect("a path"),
            kept: Some([2; 20]),
            user: "alice".to_owned(),
            password: PasswordStamp::of("$argon2id$"),
            remember: Some(true),
            session: SessionHandle::random(&random),
        };
        let browser = Browser::random(&random);
        let token = attempts.choice(&random, browser, &choice, NOW);
        let last = Timestamp::from_millis(NOW.plus(CHOICE_VALID).as_millis() - 1);
        assert_eq!(attempts.read_choice(&token, Some(browser), last), Ok(choice.clone()));
        assert_eq!(attempts.read_choice(&token, Some(browser), NOW.plus(CHOICE_VALID)), Err(FormFault::Stale));
        for elsewhere in [None, Some(Browser::random(&random))] {
            assert_eq!(attempts.read_choice(&token, elsewhere, NOW), Err(FormFault::OtherBrowser));
        }
        assert_eq!(other.read_choice(&token, Some(browser), NOW), Err(FormFault::Stale), "of another gateway");
        assert_eq!(attempts.read_form(&token, Some(browser), NOW), Err(FormFault::Stale), "a choice is no form");
        let form = attempts.form(&random, browser, &Return::default(), NOW);
        assert_eq!(attempts.read_choice(&form, Some(browser), NOW), Err(FormFault::Stale), "a form is no choice");
        let longest = Choice {
            to: ReturnTo::new(&format!("/{}", "a".repeat(2047))).expect("a path"),
            user: "x".repeat(128),
            ..choice
        };
        let token = attempts.choice(&random, browser, &longest, NOW);
        assert!(token.len() <= MAX_TOKEN, "{}", token.len());
        assert_eq!(attempts.read_choice(&token, Some(browser), NOW), Ok(longest));
    }

    #[test]
    fn reads_its_cookie() {
        let browser = Browser([5; 16]);
        let set = browser.set().expect("a header");
        let pair = set.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; __Host-login=short; {pair}").parse().expect("a header"));
        assert_eq!(Browser::of(&headers), Some(browser));
        assert_eq!(Browser::of(&HeaderMap::new()), None);
    }
}
