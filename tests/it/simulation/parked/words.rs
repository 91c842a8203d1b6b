//! What was kept is asked for, and somebody says what is to become of it.

use vestibule::base::clock::Timestamp;
use vestibule::enforce::parking::Outcome;
use vestibule::portal::parked::Confirmed;

use super::super::world::{self, finish};
use super::gateway::{Came, Gateway, Page};
use super::{Flight, Run};

impl Run {
    pub fn show(&mut self) {
        let Some((at, browser, host)) = self.some_kept() else { return };
        let (gateway, name) = (self.here(), self.model.kept[at].name.clone());
        let now = gateway.now().as_millis();
        self.tell(format!("browser {browser} asks for {name} at host {host}, at {now}"));
        let Page::Answer(status, text) = finish(gateway.show(name, host, self.jars[browser][host].0.clone())) else {
            panic!("nothing is sent by being looked at")
        };
        let there = self.is_there(at, browser, host, now);
        let expected = match there {
            Ok(_) => 200,
            Err("nobody is signed in") => 302,
            Err(_) => 404,
        };
        assert_eq!(status, expected, "{there:?}");
        let marker = format!("/orders/{}<", self.model.kept[at].form.number);
        assert_eq!(text.contains(&marker), there.is_ok(), "{marker} in {text}");
        match there {
            Ok(session) => {
                let token = text.split_once("name=\"token\" value=\"").and_then(|(_, rest)| rest.split('"').next());
                let token = token.expect("a token").to_owned();
                self.model.kept[at].tokens.push((token, session));
                self.count("shown");
            }
            Err(why) => self.count(format!("not shown: {why}")),
        }
    }

    pub fn say(&mut self) {
        let Some((at, browser, host)) = self.some_kept() else { return };
        let of = if self.dice.percent(85) { at } else { self.dice.below(self.model.kept.len()) };
        let tokens = &self.model.kept[of].tokens;
        let last = tokens.len().checked_sub(1).map(|last| last - self.dice.below(2).min(last));
        let Some((token, of_session)) = last.map(|last| tokens[last].clone()) else { return };
        let (is_own, what) = (self.dice.percent(93), if self.dice.percent(80) { "send" } else { "discard" });
        let (gateway, name) = (self.here(), self.model.kept[at].name.clone());
        let now = gateway.now().as_millis();
        self.tell(format!("browser {browser} says {what} of {name} at host {host} by a word of {of}, own: {is_own}"));
        let jar = self.jars[browser][host].0.clone();
        let page = finish(gateway.clone().say(name, host, jar, token, what, is_own));
        let there = self.is_there(at, browser, host, now);
        let is_word = there.is_ok_and(|session| session == of_session) && of == at;
        match page {
            Page::Refused => {
                assert!(!is_own, "it was said on our page");
                self.count("another site's word");
            }
            Page::Send(confirmed) => {
                assert!(is_own && is_word && what == "send", "{there:?} says nothing of the kind");
                self.sent(&gateway, at, browser, &confirmed);
            }
            Page::Answer(status, _) => match there {
                Ok(_) if is_word => {
                    assert_eq!((status, what), (303, "discard"));
                    self.model.kept[at].is_stored = false;
                    self.count("discarded");
                }
                Ok(_) => {
                    assert_eq!(status, 303, "they are shown it again");
                    self.count(if of == at { "another session's word" } else { "another page's word" });
                }
                Err("nobody is signed in") => assert_eq!(status, 303),
                Err(why) => assert_eq!(status, 404, "{why}"),
            },
        }
    }

    /// What was confirmed goes its way.
    fn sent(&mut self, gateway: &Gateway, at: usize, browser: usize, confirmed: &Confirmed) {
        let (form, now) = (self.model.kept[at].form.clone(), gateway.now().as_millis());
        let (user, ends) = (self.model.kept[at].user, self.model.kept[at].ends);
        assert_eq!(
            (confirmed.session(), now < ends),
            (self.handles[self.jars[browser][form.host].1.expect("one")], true)
        );
        self.model.kept[at].is_stored = false;
        let (is_reached, (jar, session)) = (self.dice.percent(80), &mut self.jars[browser][form.host]);
        assert_eq!(session.map(|at| self.model.sessions[at].user), Some(user), "it goes out in its person's name");
        let (came, is_back) = gateway.send(confirmed, &form, jar, is_reached);
        let expected = self.model.ask(&form, *session, now);
        self.came(&came, expected);
        let kept = &mut self.model.kept[at];
        let what = match came {
            Came::Passed if is_reached => {
                kept.sent += 1;
                assert!(!is_back, "it may have arrived");
                "sent"
            }
            Came::Asked(why, outcome) => {
                assert_eq!(why, "max_auth_age");
                assert!(matches!(outcome, Outcome::Kept(id) if id == kept.id));
                kept.is_stored = true;
                "kept again: asked for the password once more"
            }
            Came::Passed | Came::Denied => {
                assert!(is_back, "it has certainly not arrived");
                kept.is_stored = true;
                if is_reached { "kept again: denied" } else { "kept again: not reached" }
            }
        };
        assert!(kept.sent <= 1, "form {} was sent twice", form.number);
        self.tell(format!("form {}: {what}", form.number));
        self.count(what);
        if what != "sent" {
            self.too_late(gateway, at, confirmed);
        }
    }

    /// Once its time is over it is not put back, whoever was slow.
    fn too_late(&mut self, gateway: &Gateway, at: usize, confirmed: &Confirmed) {
        let kept = &self.model.kept[at];
        let tenant = world::at_host(&gateway.snapshot, kept.form.host);
        let put = finish(confirmed.put_back(&gateway.shared, tenant, Timestamp::from_millis(kept.ends)));
        assert!(!put, "its time is over");
        self.count("too late to be kept again");
    }

    /// Several words are said of one form at once, at whichever gateway: one of them counts.
    pub fn race_of_words(&mut self) {
        let Some((at, browser, host)) = self.some_kept() else { return };
        let kept = self.model.kept[at].clone();
        let Some((token, of_session)) = kept.tokens.last().cloned() else { return };
        let jar = self.jars[browser][host].0.clone();
        let mut flights: Vec<(Gateway, &str, Flight<Page>)> = Vec::new();
        for _ in 0..2 + self.dice.below(2) {
            let (gateway, what) = (self.here(), self.dice.pick(&["send", "send", "discard"]));
            let said = gateway.clone().say(kept.name.clone(), host, jar.clone(), token.clone(), what, true);
            flights.push((gateway, what, Box::pin(said)));
        }
        let is_word = |run: &Self, gateway: &Gateway| {
            run.is_there(at, browser, host, gateway.now().as_millis()) == Ok(of_session)
        };
        let may_all = flights.iter().all(|(gateway, ..)| is_word(self, gateway));
        let may_any = flights.iter().any(|(gateway, ..)| is_word(self, gateway));
        self.tell(format!("browser {browser} says {} words of {} at host {host} at once", flights.len(), kept.name));
        let (mut sent, mut discarded) = (None, 0);
        while !flights.is_empty() {
            let next = self.dice.below(flights.len());
            let Some(page) = world::poll(flights[next].2.as_mut()) else { continue };
            let (gateway, what, _) = flights.swap_remove(next);
            match page {
                Page::Send(confirmed) => {
                    assert!(may_any && sent.is_none() && what == "send", "it was sent twice");
                    sent = Some((gateway, confirmed));
                }
                Page::Answer(303, _) if is_word(self, &gateway) => discarded += 1,
                Page::Answer(..) | Page::Refused => {}
            }
        }
        let done = usize::from(sent.is_some()) + discarded;
        assert!(done <= 1 && (done == 1 || !may_all), "of several words {done} counted");
        if discarded > 0 {
            self.model.kept[at].is_stored = false;
        }
        if let Some((gateway, confirmed)) = sent {
            self.count("sent after a race");
            self.sent(&gateway, at, browser, &confirmed);
        }
    }
}
