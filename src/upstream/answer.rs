//! The body of an application's answer, and what of its request is still to be sent meanwhile.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::base::deadline::Deadline;
use crate::upstream::group::UnderWay;
use crate::upstream::http1::Broken;
use crate::upstream::http1::exchange::{Exchange, Part};
use crate::upstream::http1::link::Link;
use crate::upstream::http2;
use crate::upstream::pool::Pool;
use crate::upstream::trailers;
use crate::upstream::upload::{DISCARDING, Progress, SEND_TIMEOUT, discard, stands_still};

/// Where an exchange takes place.
pub struct Place {
    /// The pool that its connection came from.
    pub pool: Rc<Pool>,
    /// Which server of it.
    pub server: usize,
    /// Counts as a request until the answer is over.
    pub under_way: Option<UnderWay>,
}

/// An answer that broke off, and where it came from.
#[derive(Debug, thiserror::Error)]
#[error("{upstream}: {server}: {source}")]
pub struct BrokenOff {
    upstream: Box<str>,
    server: Box<str>,
    source: Broken,
}

/// The body of an answer. When it is over, its connection goes back to the pool.
pub struct UpstreamBody<B: Body> {
    source: Source<B>,
    /// The connection, when it is no longer one for HTTP.
    switched: Option<Box<Link>>,
    /// What it broke off with, until that is told.
    broken: Option<Broken>,
    /// Until when it may stand still, once it has; none while it moves.
    silence: Option<Deadline>,
    is_silent: bool,
    place: Place,
}

/// Where it comes from.
enum Source<B: Body> {
    /// Nowhere any more.
    Over,
    /// Shared with whoever sends what is left of the request.
    Http1(Rc<RefCell<Exchange<B>>>),
    Http2(http2::Answer),
}

impl<B> UpstreamBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    /// The body of the answer whose head has been read. If the request is not all sent, that goes on beside it, whether
    /// or not anybody reads the answer: `progress` says when it last moved.
    pub fn new(exchange: Rc<RefCell<Exchange<B>>>, place: Place, progress: Option<Rc<Progress>>) -> Self {
        if exchange.borrow().is_sending() {
            let place = Place { pool: Rc::clone(&place.pool), server: place.server, under_way: None };
            tokio::task::spawn_local(send_rest(Rc::clone(&exchange), place, progress));
        }
        Self::of(Source::Http1(exchange), None, place)
    }

    /// The body of an answer that comes over HTTP/2.
    pub fn of_http_2(answer: http2::Answer, place: Place) -> Self {
        Self::of(Source::Http2(answer), None, place)
    }

    fn of(source: Source<B>, switched: Option<Box<Link>>, place: Place) -> Self {
        let mut body = Self { source, switched, broken: None, silence: None, is_silent: false, place };
        body.settle();
        body
    }

    /// No body, but a connection on which something else is spoken.
    pub fn switched(exchange: Rc<RefCell<Exchange<B>>>, place: Place) -> Self {
        let link = Rc::try_unwrap(exchange).ok().map(|exchange| exchange.into_inner().into_link_as_it_is());
        Self::of(Source::Over, link, place)
    }

    /// The connection, when the application has agreed to a WebSocket.
    pub const fn take_switched(&mut self) -> Option<Box<Link>> {
        self.switched.take()
    }

    /// Gives the connection back as soon as nothing more is to be read from it.
    fn settle(&mut self) {
        let is_over = match &self.source {
            Source::Over => false,
            Source::Http1(exchange) => exchange.borrow().is_over(),
            Source::Http2(answer) => answer.is_end_stream(),
        };
        if is_over {
            self.place.under_way = None;
            if let Source::Http1(exchange) = std::mem::replace(&mut self.source, Source::Over) {
                give_back(exchange, &self.place);
            }
        }
    }

    /// Ready when it has stood still for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadlines = self.place.pool.deadlines();
        let deadline = self.silence.get_or_insert_with(|| deadlines.set(None));
        if !std::mem::replace(&mut self.is_silent, true) {
            let patience = self.place.pool.upstream().settings.idle_timeout;
            deadline.move_to(Some(deadlines.recent().plus(patience)));
        }
        deadline.poll_passed(context).map(drop)
    }

    /// The next part.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = match &mut self.source {
            Source::Over => Poll::Ready(None),
            Source::Http1(exchange) => exchange.borrow_mut().poll_body(context).map_ok(|part| match part {
                Part::Data(data) => Frame::data(data),
                Part::Trailers(trailers) => Frame::trailers(trailers),
            }),
            Source::Http2(answer) => Pin::new(answer).poll_frame(context),
        };
        if polled.is_pending() {
            ready!(self.poll_silence(context));
            if let Source::Http2(answer) = &self.source {
                answer.retire();
            }
            return Poll::Ready(Some(Err(Broken::Silent)));
        }
        self.is_silent = false;
        polled
    }
}

/// Gives the connection of an exchange that is over back, unless the other half is still at work on it.
fn give_back<B>(exchange: Rc<RefCell<Exchange<B>>>, place: &Place)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    if let Some(link) = Rc::try_unwrap(exchange).ok().and_then(|exchange| exchange.into_inner().into_link()) {
        place.pool.keep(place.server, link);
    }
}

/// Sends what is left of a request while its answer is read already.
async fn send_rest<B>(exchange: Rc<RefCell<Exchange<B>>>, place: Place, progress: Option<Rc<Progress>>)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let deadlines = place.pool.deadlines();
    let deadline = deadlines.set(None);
    let sent = loop {
        let before = progress.as_ref().map(|progress| progress.bytes());
        deadline.move_to(Some(deadlines.recent().plus(SEND_TIMEOUT)));
        let sent = deadline.limit(poll_fn(|context| exchange.borrow_mut().poll_sent(context))).await;
        let stands_still = stands_still(progress.as_deref(), before);
        match sent {
            Ok(sent) => break Some(sent),
            Err(_) if stands_still && exchange.borrow().is_answered() => break None,
            Err(_) => {}
        }
    };
    if let Some(Err(broken)) = sent {
        exchange.borrow_mut().fail(broken);
        return;
    }
    let rest = exchange.borrow_mut().take_rest();
    if exchange.borrow().is_over() {
        give_back(exchange, &place);
    } else {
        drop(exchange);
    }
    if let Some(rest) = rest {
        deadline.move_to(Some(deadlines.recent().plus(DISCARDING)));
        discard(rest, deadline).await;
    }
}

impl<B: Body> Drop for UpstreamBody<B> {
    fn drop(&mut self) {
        if let Source::Http1(exchange) = &self.source {
            exchange.borrow_mut().abandon();
        }
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(source) = self.broken.take() {
            let Place { pool, server, .. } = &self.place;
            let (upstream, server) = (pool.upstream().settings.name.clone(), pool.server(*server));
            return Poll::Ready(Some(Err(BrokenOff { upstream, server, source })));
        }
        let part = ready!(self.poll_part(context));
        self.settle();
        Poll::Ready(match part {
            None => None,
            Some(Ok(frame)) => Some(Ok(match frame.into_trailers() {
                Ok(mut fields) => {
                    trailers::guard_of_answer(&mut fields);
                    Frame::trailers(fields)
                }
                Err(frame) => frame,
            })),
            Some(Err(broken)) => {
                // Told one turn later: an error takes what is not yet written with it, and the client may have what the
                // application has sent.
                (self.source, self.broken) = (Source::Over, Some(broken));
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Over) && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.source, &self.broken) {
            (Source::Http1(exchange), _) => exchange.borrow().size_hint(),
            (Source::Http2(answer), _) => answer.size_hint(),
            (Source::Over, Some(_)) => SizeHint::new(),
            (Source::Over, None) => SizeHint::with_exact(0),
        }
    }
}
