//! A WebSocket under way: bytes both ways, until one side ends it, nobody says anything for too long, its session ends,
//! or the gateway stops.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;
use crate::enforce::body::Switched;
use crate::enforce::lease::Lease;
use crate::server::finish::Rest;
use crate::server::http::Activity;
use crate::server::worker::Worker;
use crate::upstream::websocket::{CloseReason, Frames, close_frame};

/// How much is passed on at once, in bytes.
const PIECE: usize = 16 * 1024;

/// How many pieces are passed on before others have their turn.
const PIECES: usize = 16;

/// How long the frame that is under way may still take when the session ends, before the connection is cut.
const LAST_FRAME: Duration = Duration::from_millis(500);

/// How long a side may still speak when the other has ended, and how long a client may take to close when we have.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A WebSocket that its application has agreed to.
pub struct Tunnel {
    worker: Rc<Worker>,
    switched: Box<Switched>,
    rest: Rest,
    /// On a stream of a connection that goes on for others.
    _activity: Option<Activity>,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was read and could not be written yet.
    held: Vec<u8>,
    at: usize,
    frames: Frames,
    /// Nothing more comes.
    has_ended: bool,
    /// That has been passed on.
    is_shut: bool,
}

/// What a turn has come to.
enum Turn {
    /// Bytes moved, or an end.
    Moved(u64),
    /// Neither side has anything, or will take anything.
    Idle,
}

impl Tunnel {
    /// Ready to run.
    pub const fn new(worker: Rc<Worker>, switched: Box<Switched>, rest: Rest, activity: Option<Activity>) -> Self {
        Self { worker, switched, rest, _activity: activity }
    }

    /// Passes bytes between `client`, of whom `early` has been read already, and the application, until it is over.
    pub async fn run<C: AsyncRead + AsyncWrite + Unpin>(self, client: C, early: Bytes) {
        let Self { worker, switched, mut rest, _activity } = self;
        let Switched { link, mut lease, silence } = *switched;
        let (application, answered) = link.into_parts();
        let (mut up, mut down) = (Way::default(), Way::default());
        up.hold(&early);
        down.hold(&answered);
        let mut ends = Ends { client, application };
        let deadline = worker.connection_deadlines.set(None);
        let now = || worker.connection_deadlines.recent();
        let mut moved_at = now();
        let over = poll_fn(|context| {
            for _ in 0..PIECES {
                // Looked at before anything is passed on: nothing that comes later is for anybody.
                if lease.as_ref().is_some_and(Lease::has_ended) {
                    return Poll::Ready(Some(Over::Session));
                }
                match ends.turn(context, &mut up, &mut down) {
                    Ok(Turn::Moved(bytes)) => {
                        rest.count(bytes);
                        moved_at = now();
                    }
                    Ok(Turn::Idle) if up.is_shut && down.is_shut => return Poll::Ready(None),
                    Ok(Turn::Idle) => {
                        let patience = if up.has_ended || down.has_ended { LAST_WORDS } else { silence };
                        let until = (!worker.is_stopping()).then(|| moved_at.plus(patience));
                        return poll_over(context, lease.as_mut(), &deadline, until, now()).map(Some);
                    }
                    Err(_) => return Poll::Ready(None),
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        // What is left to say needs no session, and is no part of it.
        drop((lease, rest));
        match over {
            Some(Over::Session) => ends.close(&deadline, now(), &mut up, &mut down, CloseReason::SessionEnded).await,
            Some(Over::Stop) => ends.close(&deadline, now(), &mut up, &mut down, CloseReason::GoingAway).await,
            // Of a side that has ended, the other has had its time.
            Some(Over::Silence) if !up.has_ended && !down.has_ended => {
                ends.close(&deadline, now(), &mut up, &mut down, CloseReason::Silence).await;
            }
            Some(Over::Silence) | None => {}
        }
    }
}

/// Why a tunnel is ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Session,
    Stop,
    Silence,
}

/// Ready when the tunnel must end, at `until` at the latest; `None` when it must at once.
fn poll_over(
    context: &mut Context<'_>,
    lease: Option<&mut Lease>,
    deadline: &Deadline,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Poll<Over> {
    if lease.is_some_and(|lease| lease.poll_ended(context).is_ready()) {
        return Poll::Ready(Over::Session);
    }
    let Some(until) = until else { return Poll::Ready(Over::Stop) };
    if now >= until {
        return Poll::Ready(Over::Silence);
    }
    deadline.move_to(Some(until));
    // It was moved into the future, so this only registers who is to be woken.
    let _ = deadline.poll_passed(context);
    Poll::Pending
}

/// The two ends.
struct Ends<C, A> {
    client: C,
    application: A,
}

impl<C: AsyncRead + AsyncWrite + Unpin, A: AsyncRead + AsyncWrite + Unpin> Ends<C, A> {
    /// Passes a piece each way, as far as it goes.
    fn turn(&mut self, context: &mut Context<'_>, up: &mut Way, down: &mut Way) -> io::Result<Turn> {
        let upward = up.pass(context, &mut self.client, &mut self.application, PIECE)?;
        let downward = down.pass(context, &mut self.application, &mut self.client, PIECE)?;
        Ok(match (upward, downward) {
            (Poll::Pending, Poll::Pending) => Turn::Idle,
            (Poll::Ready(one), Poll::Ready(other)) => Turn::Moved(one + other),
            (Poll::Ready(one), Poll::Pending) | (Poll::Pending, Poll::Ready(one)) => Turn::Moved(one),
        })
    }

    /// Says to both sides that it is over, where a frame ends, and gives the client time to say so too.
    async fn close(&mut self, deadline: &Deadline, now: Timestamp, up: &mut Way, down: &mut Way, reason: CloseReason) {
        deadline.move_to(Some(now.plus(LAST_FRAME)));
        let finished = poll_fn(|context| {
            while !(down.frames.is_between() && down.is_empty()) {
                // Only the frame that is under way.
                let rest = down.frames.missing();
                ready!(down.pass(context, &mut self.application, &mut self.client, rest)?);
                if down.has_ended {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            Poll::Ready(io::Result::Ok(()))
        });
        let Ok(Ok(())) = deadline.limit(finished).await else { return };
        down.hold(&close_frame(reason, false));
        if up.frames.is_between() && up.is_empty() {
            up.hold(&close_frame(reason, true));
        }
        deadline.move_to(Some(now.plus(LAST_WORDS)));
        let said = poll_fn(|context| {
            let _ = up.poll_flush(context, &mut self.application)?;
            ready!(down.poll_flush(context, &mut self.client))?;
            ready!(Pin::new(&mut self.client).poll_shutdown(context))?;
            // Closed at once, the connection would take the last words with it.
            let mut ignored = [0; 512];
            loop {
                let mut ignored = ReadBuf::new(&mut ignored);
                ready!(Pin::new(&mut self.client).poll_read(context, &mut ignored))?;
                if ignored.filled().is_empty() {
                    return Poll::Ready(io::Result::Ok(()));
                }
            }
        });
        let _ = deadline.limit(said).await;
    }
}

impl Way {
    fn is_empty(&self) -> bool {
        self.held.len() == self.at
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.frames.pass(bytes);
        self.held.extend_from_slice(bytes);
    }

    /// Writes what is held.
    fn poll_flush<W: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.held.get(self.at..) {
            let count = ready!(Pin::new(&mut *to).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += count;
        }
        // Given back: most WebSockets are silent most of the time.
        (self.held, self.at) = (Vec::new(), 0);
        Pin::new(to).poll_flush(context)
    }

    /// Passes a piece of at most `limit` bytes from one end to the other; how many bytes, if anything could be done.
    fn pass<R, W>(&mut self, context: &mut Context<'_>, from: &mut R, to: &mut W, limit: usize) -> io::Result<Poll<u64>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let held = (self.held.len() - self.at) as u64;
        if self.poll_flush(context, to)?.is_pending() {
            let left = (self.held.len() - self.at) as u64;
            return Ok(if left < held { Poll::Ready(0) } else { Poll::Pending });
        }
        if self.has_ended {
            if !self.is_shut && Pin::new(to).poll_shutdown(context)?.is_ready() {
                self.is_shut = true;
                return Ok(Poll::Ready(0));
            }
            return Ok(Poll::Pending);
        }
        let mut space = [const { MaybeUninit::uninit() }; PIECE];
        let limit = limit.min(PIECE);
        let mut piece = ReadBuf::uninit(&mut space[..limit]);
        if Pin::new(from).poll_read(context, &mut piece)?.is_pending() {
            return Ok(if held > 0 { Poll::Ready(0) } else { Poll::Pending });
        }
        let bytes = piece.filled();
        self.has_ended = bytes.is_empty();
        self.frames.pass(bytes);
        let mut written = 0;
        while let Some(rest @ [_, ..]) = bytes.get(written..) {
            match Pin::new(&mut *to).poll_write(context, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => written += count,
                Poll::Pending => {
                    self.held.extend_from_slice(rest);
                    break;
                }
            }
        }
        if self.is_empty() {
            let _ = Pin::new(to).poll_flush(context)?;
        }
        Ok(Poll::Ready(bytes.len() as u64))
    }
}
