//! The body of an application's answer, and what of its request is still to be sent meanwhile.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::group::UnderWay;
use crate::upstream::headers;
use crate::upstream::http1::Broken;
use crate::upstream::http1::exchange::{Exchange, Part};
use crate::upstream::http1::link::Link;
use crate::upstream::pool::Pool;
use crate::upstream::upload::{Progress, discard};

/// How long what is left of a request may stand still once its answer is over.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How long what the application does not want may still come.
const DISCARDING: Duration = Duration::from_secs(5);

/// Where an exchange takes place.
pub struct Place {
    /// The pool that its connection came from.
    pub pool: Rc<Pool>,
    /// Which server of it.
    pub server: usize,
    /// Counts as a request until the answer is over.
    pub under_way: Option<UnderWay>,
}

/// The body of an answer. When it is over, its connection goes back to the pool.
pub struct UpstreamBody<B: Body> {
    /// Until then. Shared with whoever sends what is left of the request.
    exchange: Option<Rc<RefCell<Exchange<B>>>>,
    /// The connection, when it is no longer one for HTTP.
    switched: Option<Box<Link>>,
    /// What it broke off with, until that is told.
    broken: Option<Broken>,
    place: Place,
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
        let mut body = Self { exchange: Some(exchange), switched: None, broken: None, place };
        body.settle();
        body
    }

    /// No body, but a connection on which something else is spoken.
    pub fn switched(exchange: Rc<RefCell<Exchange<B>>>, place: Place) -> Self {
        let link = Rc::try_unwrap(exchange).ok().map(|exchange| exchange.into_inner().into_link_as_it_is());
        Self { exchange: None, switched: link, broken: None, place }
    }

    /// The connection, when the application has agreed to a WebSocket.
    pub const fn take_switched(&mut self) -> Option<Box<Link>> {
        self.switched.take()
    }

    /// Gives the connection back as soon as nothing more is to be read from it.
    fn settle(&mut self) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.borrow().is_over()) {
            self.place.under_way = None;
            if let Some(exchange) = self.exchange.take() {
                give_back(exchange, &self.place);
            }
        }
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
        let now = deadlines.recent();
        deadline.move_to(Some(now.plus(SEND_TIMEOUT)));
        let sent = deadline.limit(poll_fn(|context| exchange.borrow_mut().poll_sent(context))).await;
        let stands_still = progress.as_ref().is_none_or(|moved| moved.moved_at() <= now);
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
        if let Some(exchange) = &self.exchange {
            exchange.borrow_mut().abandon();
        }
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Some(exchange) = &self.exchange else { return Poll::Ready(None) };
        let part = ready!(exchange.borrow_mut().poll_body(context));
        self.settle();
        Poll::Ready(match part {
            None => None,
            Some(Ok(Part::Data(data))) => Some(Ok(Frame::data(data))),
            Some(Ok(Part::Trailers(mut trailers))) => {
                headers::guard_trailers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
            Some(Err(broken)) => {
                // Told one turn later: an error takes what is not yet written with it, and the client may have what the
                // application has sent.
                (self.exchange, self.broken) = (None, Some(broken));
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.exchange, &self.broken) {
            (Some(exchange), _) => exchange.borrow().size_hint(),
            (None, Some(_)) => SizeHint::new(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}
