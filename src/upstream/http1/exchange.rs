//! One request and its answer on one connection.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use http_body::{Body, SizeHint};

use crate::upstream::http1::Broken;
use crate::upstream::http1::body::{Framing, Piece};
use crate::upstream::http1::head::{AnswerHead, RequestLength, read_answer, write_request};
use crate::upstream::http1::link::Link;
use crate::upstream::websocket::has_token;

/// How much of a chunk's first line is written at most: sixteen hexadecimal digits and two line ends.
const CHUNK_LINE: usize = 20;

/// How many times an answer may be announced (1xx, RFC 9110 section 15.2) within one turn: each costs time that others
/// wait for.
pub(in crate::upstream) const MAX_INTERIM_HEADS: usize = 16;

/// How many of them are passed on for one request: a client that does not read would have us keep them all.
pub(in crate::upstream) const MAX_ANNOUNCED: usize = 8;

/// A request on its way, and then its answer.
pub struct Exchange<B> {
    link: Box<Link>,
    method: Method,
    /// The request's body, while there is more of it to send.
    upload: Option<Upload<B>>,
    /// Whether the server no longer takes what it is sent: it may still answer.
    is_deaf: bool,
    has_heard: bool,
    announced: usize,
    framing: Framing,
    keeps_alive: bool,
    /// Whether a WebSocket was asked for.
    may_switch: bool,
    /// What the request's body broke off with, while the answer was read already.
    failed: Option<Broken>,
    /// Whoever reads the answer's body.
    reader: Option<Waker>,
    /// Nobody reads the answer any more.
    is_abandoned: bool,
}

struct Upload<B> {
    body: B,
    /// How many bytes are still to come, if it is known.
    left: Option<u64>,
    is_first: bool,
}

/// What comes of an answer's body.
pub enum Part {
    /// Bytes of it.
    Data(Bytes),
    /// The fields behind it.
    Trailers(HeaderMap),
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    /// Begins one: the head is ready to be written, `body` to be asked, if there is one. `may_switch` when it asks for a
    /// WebSocket.
    pub fn begin(mut link: Box<Link>, parts: &Parts, body: Option<B>, may_switch: bool) -> Self {
        let upload = body.map(|body| Upload { left: body.size_hint().exact(), body, is_first: true });
        let length = match &upload {
            None => RequestLength::None,
            Some(Upload { left: Some(length), .. }) => RequestLength::Exactly(*length),
            Some(Upload { left: None, .. }) => RequestLength::Unknown,
        };
        write_request(&mut link.output, parts, length);
        Self {
            link,
            method: parts.method.clone(),
            upload,
            is_deaf: false,
            has_heard: false,
            announced: 0,
            framing: Framing::Ended,
            keeps_alive: false,
            may_switch,
            failed: None,
            reader: None,
            is_abandoned: false,
        }
    }

    /// Whether anything at all was heard from the server.
    pub const fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Whether the whole of the answer's body has been taken.
    pub fn is_over(&self) -> bool {
        self.framing == Framing::Ended
    }

    /// How long the rest of the answer's body is.
    pub fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Ended => SizeHint::with_exact(0),
            Framing::Exactly(left) => SizeHint::with_exact(left),
            Framing::Chunks(_) | Framing::UntilClosed => SizeHint::new(),
        }
    }

    /// The connection, if another request can be sent on it.
    pub fn into_link(self) -> Option<Box<Link>> {
        let is_done = self.upload.is_none() && !self.is_deaf && !self.link.has_output() && self.link.input.is_empty();
        (is_done && self.is_over() && self.keeps_alive).then_some(self.link)
    }

    /// The connection, whatever state it is in: for a WebSocket, on which both sides have agreed.
    pub fn into_link_as_it_is(self) -> Box<Link> {
        self.link
    }

    /// Whether not all of the request has been sent.
    pub fn is_sending(&self) -> bool {
        !self.is_deaf && (self.upload.is_some() || self.link.has_output())
    }

    /// Whether it is the request's sender who keeps everybody waiting.
    pub fn waits_for_sender(&self) -> bool {
        !self.is_deaf && self.upload.is_some() && !self.link.has_output()
    }

    /// What of the request's body will not be sent.
    pub fn take_rest(&mut self) -> Option<B> {
        self.upload.take().map(|upload| upload.body)
    }

    /// Ready when all of the request has been sent, or the server takes no more of it.
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_upload(context)?;
        if self.is_sending() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Lets the answer break off: the request did.
    pub fn fail(&mut self, broken: Broken) {
        self.failed = Some(broken);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Whether the answer is over, or nobody reads it any more.
    pub fn is_answered(&self) -> bool {
        self.is_abandoned || self.is_over()
    }

    /// Sends, and is ready with the head of the answer. What announces it (1xx, RFC 9110 section 15.2) is given to
    /// `announce` as it comes.
    ///
    /// # Errors
    /// When none came, or not one that can be passed on.
    pub fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        announce: impl FnMut(Response<()>),
    ) -> Poll<Result<Response<()>, Broken>> {
        let head = ready!(self.poll_head(context, announce))?;
        (self.framing, self.keeps_alive) = (head.framing, head.keeps_alive);
        self.link.kept_for = head.kept_for;
        Poll::Ready(Ok(response(head.status, head.headers)))
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        mut announce: impl FnMut(Response<()>),
    ) -> Poll<Result<AnswerHead, Broken>> {
        self.poll_upload(context)?;
        let mut interim_heads = 0;
        loop {
            if !self.link.input.is_empty()
                && let Some(head) = read_answer(&mut self.link.input, &self.method)?
            {
                match head.status {
                    StatusCode::SWITCHING_PROTOCOLS if self.may_switch && consents(&head.headers) => {
                        return Poll::Ready(Ok(head));
                    }
                    // Nobody asked for it, so behind this head comes nothing that we could read.
                    StatusCode::SWITCHING_PROTOCOLS => return Poll::Ready(Err(Broken::Switched)),
                    interim if interim.is_informational() => {
                        interim_heads += 1;
                        if interim_heads > MAX_INTERIM_HEADS {
                            return Poll::Ready(Err(Broken::NotHttp("it announces an answer without end")));
                        }
                        // What the body waits for is said by us: nobody asked the application for it.
                        if interim != StatusCode::CONTINUE && self.announced < MAX_ANNOUNCED {
                            self.announced += 1;
                            announce(response(interim, head.headers));
                        }
                        continue;
                    }
                    _ => return Poll::Ready(Ok(head)),
                }
            }
            if ready!(self.link.poll_read(context))? == 0 {
                return Poll::Ready(Err(if self.has_heard { Broken::Truncated } else { Broken::NoAnswer }));
            }
            self.has_heard = true;
        }
    }

    /// The next part of the answer's body; `None` when it is over. What is left of the request is sent by whoever asks
    /// [`Exchange::poll_sent`].
    pub fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Part, Broken>>> {
        loop {
            if let Some(failed) = self.failed.take() {
                return Poll::Ready(Some(Err(failed)));
            }
            match self.framing.take(&mut self.link.input)? {
                Piece::Data(data) => return Poll::Ready(Some(Ok(Part::Data(data)))),
                Piece::Trailers(trailers) => return Poll::Ready(Some(Ok(Part::Trailers(trailers)))),
                Piece::End => return Poll::Ready(None),
                Piece::Missing => {}
            }
            let Poll::Ready(read) = self.link.poll_read(context)? else {
                self.reader = self.is_sending().then(|| context.waker().clone());
                return Poll::Pending;
            };
            if read == 0 {
                if self.framing != Framing::UntilClosed {
                    return Poll::Ready(Some(Err(Broken::Truncated)));
                }
                self.framing = Framing::Ended;
            }
        }
    }

    /// Sends what can be sent now. That the server does not take it is no error yet: it may have answered.
    ///
    /// # Errors
    /// When the body itself fails.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        if self.is_deaf {
            return Ok(());
        }
        loop {
            // Asked before the head is written, so that a small form leaves with it, in one piece.
            let is_waiting = match &mut self.upload {
                Some(upload) if !self.link.data.has_remaining() => match upload.poll(&mut self.link, context)? {
                    Poll::Pending => true,
                    Poll::Ready(Uploaded::Some) => false,
                    Poll::Ready(Uploaded::All) => {
                        self.upload = None;
                        false
                    }
                },
                Some(_) | None => false,
            };
            match self.link.poll_flush(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => {
                    self.is_deaf = true;
                    return Ok(());
                }
                Poll::Ready(Ok(())) if is_waiting || self.upload.is_none() => return Ok(()),
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}

fn response(status: StatusCode, headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    (*response.status_mut(), *response.version_mut()) = (status, Version::HTTP_11);
    *response.headers_mut() = headers;
    response
}

/// Whether an answer says what it switches to, and that it is what was asked for (RFC 6455 section 4.2.2).
fn consents(headers: &HeaderMap) -> bool {
    has_token(headers, &header::CONNECTION, b"upgrade") && has_token(headers, &header::UPGRADE, b"websocket")
}

impl<B> Exchange<B> {
    /// Nobody reads the answer any more.
    pub const fn abandon(&mut self) {
        self.is_abandoned = true;
    }
}

/// How far a body has come.
enum Uploaded {
    Some,
    All,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    /// Puts the next piece of the body into `link`, framed.
    fn poll(&mut self, link: &mut Link, context: &mut Context<'_>) -> Result<Poll<Uploaded>, Broken> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else { return Ok(Poll::Pending) };
        match frame.transpose().map_err(|error| Broken::Upload(error.into()))? {
            Some(frame) => {
                let data = match frame.into_data() {
                    Ok(data) => data,
                    Err(frame) => {
                        // A body whose length was said has no place for them.
                        if self.left.is_none() {
                            self.end(link, &frame.into_trailers().unwrap_or_default());
                            return Ok(Poll::Ready(Uploaded::All));
                        }
                        Bytes::new()
                    }
                };
                match &mut self.left {
                    Some(left) => {
                        let less = left.checked_sub(data.len() as u64);
                        *left = less.ok_or_else(|| Broken::Upload("it is longer than it says".into()))?;
                    }
                    None if data.is_empty() => {}
                    None => {
                        link.output.reserve(CHUNK_LINE);
                        let line_end = if std::mem::take(&mut self.is_first) { "" } else { "\r\n" };
                        link.output.extend_from_slice(format!("{line_end}{:x}\r\n", data.len()).as_bytes());
                    }
                }
                link.data = data;
                Ok(Poll::Ready(if self.left == Some(0) { Uploaded::All } else { Uploaded::Some }))
            }
            None => match self.left {
                Some(1..) => Err(Broken::Upload("it is shorter than it says".into())),
                Some(0) => Ok(Poll::Ready(Uploaded::All)),
                None => {
                    self.end(link, &HeaderMap::new());
                    Ok(Poll::Ready(Uploaded::All))
                }
            },
        }
    }

    /// Writes the last chunk, and what follows it (RFC 9112 section 7.1.2).
    fn end(&self, link: &mut Link, trailers: &HeaderMap) {
        link.output.extend_from_slice(if self.is_first { b"0\r\n" } else { b"\r\n0\r\n" });
        for (name, value) in trailers {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                link.output.extend_from_slice(piece);
            }
        }
        link.output.extend_from_slice(b"\r\n");
    }
}
