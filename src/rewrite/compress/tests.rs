//! What comes out, and when.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;

/// A body that gives what it is told to: `None` is a pause.
struct Told(VecDeque<Option<Result<Frame<Bytes>, &'static str>>>);

impl Body for Told {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.pop_front() {
            Some(None) => Poll::Pending,
            Some(Some(frame)) => Poll::Ready(Some(frame)),
            None => Poll::Ready(None),
        }
    }
}

fn data(bytes: impl Into<Bytes>) -> Option<Result<Frame<Bytes>, &'static str>> {
    Some(Ok(Frame::data(bytes.into())))
}

fn compressed(told: Vec<Option<Result<Frame<Bytes>, &'static str>>>, coding: Coding) -> Compressed<Told> {
    Compressed::new(Told(told.into()), coding, Places::default().take().expect("a place"))
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Everything up to the end, the first pause, or the error; and how often others had their turn in between.
fn run(body: &mut Compressed<Told>) -> (Vec<u8>, Option<HeaderMap>, Option<String>, usize) {
    let (mut out, mut trailers, mut turns) = (Vec::new(), None, 0);
    loop {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!(!data.is_empty());
                    out.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Poll::Ready(Some(Err(error))) => return (out, trailers, Some(error.to_string()), turns),
            Poll::Ready(None) => return (out, trailers, None, turns),
            Poll::Pending if woken.0.load(Ordering::SeqCst) > 0 => turns += 1,
            Poll::Pending => return (out, trailers, None, turns),
        }
    }
}

/// What a client reads of it, also when more is to come.
fn read(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match coding {
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).expect("a decoder")),
    };
    let (mut all, mut piece) = (Vec::new(), [0; 512]);
    while let Ok(length @ 1..) = reader.read(&mut piece) {
        all.extend_from_slice(&piece[..length]);
    }
    all
}

/// Text with some order in it, and not too much.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let word = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("<p class=\"row\">{}</p>\n", state >> 20)
    };
    (0..length).map(word).collect::<String>().into_bytes()[..length].to_vec()
}

#[test]
fn it_is_read_as_it_was_sent() {
    for coding in Coding::ALL {
        for length in [0, 1, 1000, PIECE, PIECE + 1, 1_000_000] {
            let page = text(length);
            for size in [7, 4096, 100_000, 1_000_000] {
                let pieces = page.chunks(size).take(2000).map(|piece| data(piece.to_vec())).collect();
                let sent: Vec<u8> = page.chunks(size).take(2000).flatten().copied().collect();
                let mut body = compressed(pieces, coding);
                assert!(!body.is_end_stream());
                let (out, _, error, turns) = run(&mut body);
                assert!(error.is_none() && body.is_end_stream());
                assert!(read(coding, &out) == sent, "{coding:?} {length} by {size}");
                assert!(length < 1000 || out.len() < sent.len() / 2, "{coding:?}: {} of {}", out.len(), sent.len());
                // Each piece but the last is followed by somebody else's turn.
                assert!(turns + 1 >= sent.len().div_ceil(PIECE), "{turns} turns for {}", sent.len());
            }
        }
    }
}

#[test]
fn what_drips_passes_as_it_is_sent() {
    for coding in Coding::ALL {
        let mut told = Vec::new();
        for at in 0..5 {
            told.extend([data(format!("drop {at}\n")), None, None, None]);
        }
        let mut body = compressed(told, coding);
        let mut out = Vec::new();
        for at in 0..5 {
            out.extend(run(&mut body).0);
            let sent: String = (0..=at).map(|at| format!("drop {at}\n")).collect();
            assert_eq!(String::from_utf8_lossy(&read(coding, &out)), sent, "{coding:?}");
            let length = out.len();
            out.extend(run(&mut body).0);
            assert_eq!(out.len(), length, "nothing is said when nothing is new");
        }
        out.extend(run(&mut body).0);
        assert!(body.is_end_stream());
    }
}

#[test]
fn trailers_come_last_and_what_breaks_off_is_seen_to() {
    for coding in Coding::ALL {
        let fields = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("\"x\""))]);
        let mut body = compressed(vec![data(text(5000)), Some(Ok(Frame::trailers(fields.clone())))], coding);
        let (out, trailers, error, _) = run(&mut body);
        assert_eq!((read(coding, &out), trailers, error), (text(5000), Some(fields), None));
        let mut body = compressed(vec![data(text(5000)), Some(Err("gone"))], coding);
        let (_, _, error, _) = run(&mut body);
        assert_eq!(error.as_deref(), Some("gone"));
        assert!(!body.is_end_stream(), "it is not whole");
    }
}

#[test]
fn only_so_many_are_compressed_at_once() {
    let places = Places::default();
    let mut taken: Vec<_> = (0..MOST_AT_ONCE).map(|_| places.take().expect("a place")).collect();
    assert!(places.take().is_none());
    taken.pop();
    assert!(places.take().is_some());
}
