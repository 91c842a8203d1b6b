//! A disk that fills up under load: people sign in, come back, are given new secrets and leave while it fills, is full
//! and has room again, and the gateway is killed at every one of these moments. Each client keeps a log of what it was
//! promised, and the next gateway is held to it.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::durable::{folder, kills, limit_files, serve_within_limits};
use super::harness::process::{Process, vestibule};
use super::harness::{ALICE, Application, BOB, Client, Dice, hidden, patiently};

/// How many clients there are at once, how many sessions each has at the most, and how many of these stay for good.
const CLIENTS: usize = 4;
const MOST_SESSIONS: usize = 8;
const STAYING: usize = 2;

/// How many rounds more there may be until secrets have been rotated, which takes ten seconds.
const MOST_ROUNDS_MORE: usize = 60;

/// What one client was promised, by the cookies it was given.
#[derive(Default)]
struct Kept {
    /// Sessions that were acknowledged.
    live: Vec<String>,
    /// Those whose end was.
    left: Vec<String>,
    /// Those whose end was asked for and refused: they have ended here, and nobody knows what a restart makes of them.
    refused: Vec<String>,
    /// How often a session was given another secret.
    rotated: usize,
}

/// How it stands with the disk: room, filling, full, emptying, room again.
const FILLING: usize = 1;
const FULL: usize = 2;
const EMPTYING: usize = 3;
const ROOM_AGAIN: usize = 4;

/// One gateway, and what becomes of its disk.
struct Scene {
    address: SocketAddr,
    stage: AtomicUsize,
    is_killed: AtomicBool,
    /// What has been answered at each stage.
    answered: [AtomicUsize; ROOM_AGAIN + 1],
    /// Who was told to come back at each.
    refused: [AtomicUsize; ROOM_AGAIN + 1],
}

/// What was answered, and the stage it was answered at, if it was one and the same from beginning to end.
struct Answered {
    status: u16,
    /// The cookie that the client has now.
    session: String,
    stage: Option<usize>,
}

impl Answered {
    /// Whether it was done. What must have been done, and what cannot have been, is looked at.
    fn is_done(&self, what: &str) -> bool {
        let is_done = match self.status {
            200 | 303 => true,
            503 => false,
            status => panic!("{what} was answered {status}"),
        };
        match self.stage {
            Some(FULL) => assert!(!is_done, "{what} was acknowledged although the disk was full"),
            Some(0 | ROOM_AGAIN) => assert!(is_done, "{what} was refused although there was room"),
            Some(_) | None => {}
        }
        is_done
    }
}

impl Scene {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stage: AtomicUsize::new(0),
            is_killed: AtomicBool::new(false),
            answered: Default::default(),
            refused: Default::default(),
        }
    }

    /// Asks something with a session, or without. `None` once the gateway is gone.
    fn ask(&self, session: &str, request: impl Fn(&Client) -> u16) -> Option<Answered> {
        let before = self.stage.load(Ordering::SeqCst);
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let client = Client::new(self.address);
            if !session.is_empty() {
                client.set_session(session);
            }
            (request(&client), client.session())
        }));
        let Ok((status, session)) = asked else {
            assert!(self.is_killed.load(Ordering::SeqCst), "no answer, although it was not killed");
            return None;
        };
        let after = self.stage.load(Ordering::SeqCst);
        self.answered[after].fetch_add(1, Ordering::SeqCst);
        if status == 503 {
            self.refused[after].fetch_add(1, Ordering::SeqCst);
        }
        Some(Answered { status, session, stage: (before == after).then_some(after) })
    }

    /// Waits until so many have been answered at this stage.
    fn wait(&self, stage: usize, count: usize) {
        let answered = || self.answered[stage].load(Ordering::SeqCst);
        patiently("more is answered", || answered() >= count);
    }

    /// Plays it up to `last`, and kills the gateway there, a little sooner or later. One more session that was
    /// acknowledged, if it was waited for.
    fn play(&self, gateway: Process, last: usize, dice: &mut Dice) -> Option<String> {
        self.wait(0, 1 + dice.below(40));
        if last >= FILLING {
            self.stage.store(FILLING, Ordering::SeqCst);
            limit_files(&gateway, "4096");
        }
        if last >= FULL {
            self.stage.store(FULL, Ordering::SeqCst);
            patiently("people are refused", || self.refused[FULL].load(Ordering::SeqCst) > 0);
            self.wait(FULL, 1 + dice.below(60));
        }
        if last >= EMPTYING {
            self.stage.store(EMPTYING, Ordering::SeqCst);
            limit_files(&gateway, "unlimited");
        }
        let mut signed_in = None;
        if last >= ROOM_AGAIN {
            patiently("people can sign in again", || {
                let answered = self.ask("", |client| sign_in(client, ALICE)).expect("it lives");
                signed_in = (answered.status == 303).then_some(answered.session);
                signed_in.is_some()
            });
            self.stage.store(ROOM_AGAIN, Ordering::SeqCst);
        }
        if last > 0 {
            self.wait(last, dice.below(12));
        }
        self.is_killed.store(true, Ordering::SeqCst);
        gateway.stop("KILL");
        signed_in
    }
}

/// Signs somebody in, also who has a session already.
fn sign_in(client: &Client, (name, password): (&str, &str)) -> u16 {
    let page = client.visit("/.vestibule/login").send();
    assert_eq!(page.status, 200, "{}", page.text());
    let fields = [("username", name), ("password", password), ("attempt", &hidden(&page, "attempt"))];
    client.post_form("/.vestibule/login", &fields).send().status
}

fn sign_out(client: &Client) -> u16 {
    client.post_form("/.vestibule/logout", &[]).send().status
}

impl Kept {
    /// Does what people do until the gateway is gone.
    fn go_on(&mut self, scene: &Scene, dice: &mut Dice) {
        while self.do_something(scene, dice).is_some() {}
    }

    fn do_something(&mut self, scene: &Scene, dice: &mut Dice) -> Option<()> {
        let who = dice.pick(&[ALICE, BOB]);
        let chance = dice.below(100);
        if self.live.is_empty() || chance < 25 && self.live.len() < MOST_SESSIONS {
            let answered = scene.ask("", |client| sign_in(client, who))?;
            if answered.is_done("signing in") {
                self.live.push(answered.session);
            } else {
                assert_eq!(answered.session, "", "who is refused has no session");
            }
            return Some(());
        }
        if !self.refused.is_empty() && chance < 45 {
            // Who is told that it could not be done asks again, and has left anyhow for as long as this gateway lives.
            let at = dice.below(self.refused.len());
            let session = self.refused[at].clone();
            assert_eq!(scene.ask(&session, |client| client.get("/").send().status)?.status, 401, "an ended one");
            if scene.ask(&session, sign_out)?.is_done("signing out again") {
                self.left.push(self.refused.swap_remove(at));
            }
            return Some(());
        }
        if chance < 80 || self.live.len() <= STAYING {
            let at = dice.below(self.live.len());
            let answered = scene.ask(&self.live[at], |client| client.get("/").send().status)?;
            assert_eq!(answered.status, 200, "a live session goes on");
            self.rotated += usize::from(answered.session != self.live[at]);
            self.live[at] = answered.session;
            return Some(());
        }
        // If nothing is answered, or neither one thing nor the other was done for certain, nobody knows what it is now.
        let session = self.live.remove(STAYING + dice.below(self.live.len() - STAYING));
        if chance < 90 {
            let is_done = scene.ask(&session, sign_out)?.is_done("signing out");
            if is_done { &mut self.left } else { &mut self.refused }.push(session);
            return Some(());
        }
        // A new session in the place of this one, which ends if that is made and goes on if it cannot be. Where the disk
        // fills up in between, it has ended, and that could not be written.
        let answered = scene.ask(&session, |client| sign_in(client, who))?;
        if answered.is_done("signing in again") {
            self.left.push(session);
            self.live.push(answered.session);
        } else if answered.stage == Some(FULL) {
            self.live.push(session);
        }
        Some(())
    }

    /// Holds a gateway to what was promised, of the ends to those from `since` on.
    fn hold(&mut self, scene: &Scene, since: usize) {
        let get = |client: &Client| client.get("/").send().status;
        for session in &mut self.live {
            let answered = scene.ask(session, get).expect("it lives");
            assert_eq!(answered.status, 200, "a session was lost");
            *session = answered.session;
        }
        for session in &self.left[since..] {
            assert_eq!(scene.ask(session, get).expect("it lives").status, 401, "one that had ended came back");
        }
        self.refused.clear();
    }
}

/// Starts a gateway whose disk is full from the beginning. It may refuse to; if it runs, all live sessions are there.
fn start_on_a_full_disk(folder: &Path, all: &[Kept]) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" serve"])
        .arg(vestibule(folder, &[]).get_program())
        .current_dir(folder)
        .stdin(Stdio::null());
    let mut process = Process::start(&mut command);
    let mut is_serving = false;
    patiently("it serves, or says why not", || {
        is_serving = process.stderr.text().contains("sessions are kept in");
        is_serving || process.has_ended()
    });
    if !is_serving {
        let ended = process.wait();
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        return assert!(
            ended.stderr.contains("session store") && !ended.stderr.contains("panicked"),
            "{}",
            ended.stderr
        );
    }
    let scene = Scene::new(process.address());
    for session in all.iter().flat_map(|kept| &kept.live) {
        let answered = scene.ask(session, |client| client.get("/").send().status).expect("it lives");
        assert_eq!(answered.status, 200, "a session was lost");
    }
    process.stop("KILL");
}

#[test]
fn killed_while_the_disk_fills_up_it_has_kept_what_it_promised() {
    let application = Application::start();
    let folder = folder(&application);
    let config = folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let rotation = "[session.rotation]\nevery = \"10s\"\ngrace = \"5s\"\n";
    std::fs::write(&config, text + rotation).expect("written");
    let mut all: [Kept; CLIENTS] = Default::default();
    let mut dice = Dice(20_261_130);
    let kills = kills();
    let mut held = [0; CLIENTS];
    for kill in 0..kills + MOST_ROUNDS_MORE {
        if kill >= kills && all.iter().any(|kept| kept.rotated > 0) {
            break;
        }
        let gateway = serve_within_limits(folder.path());
        let scene = Scene::new(gateway.address());
        for (kept, held) in all.iter_mut().zip(&mut held) {
            kept.hold(&scene, *held);
            *held = kept.left.len();
        }
        let scene = Scene::new(gateway.address());
        let signed_in = std::thread::scope(|scope| {
            for kept in &mut all {
                let (scene, mut dice) = (&scene, Dice(dice.next()));
                scope.spawn(move || kept.go_on(scene, &mut dice));
            }
            scene.play(gateway, kill % (ROOM_AGAIN + 1), &mut dice)
        });
        all[0].live.extend(signed_in);
        if dice.percent(20) {
            start_on_a_full_disk(folder.path(), &all);
        }
    }
    let last = Process::serve(folder.path());
    let scene = Scene::new(last.address());
    all.iter_mut().for_each(|kept| kept.hold(&scene, 0));
    let counts = all.map(|kept| (kept.live.len(), kept.left.len(), kept.rotated));
    eprintln!("live, left and rotated of each client: {counts:?}");
    assert!(counts.iter().any(|(_, _, rotated)| *rotated > 0), "no secret was rotated: {counts:?}");
}
