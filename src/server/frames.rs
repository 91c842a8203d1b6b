//! Floods of HTTP/2 frames that cost us work and ask for nothing: pings, settings, windows, resets, empty data
//! (RFC 9113 section 10.5). The frames are counted as they come in, before anything is done about them.

use std::time::Duration;

use crate::base::clock::Timestamp;

/// How many such frames may come at once: thousands, since a page with its pictures is left within a moment, and all of
/// their streams are reset.
const BURST: u64 = 2000;

/// How many more each second, whatever else happens.
const EACH_SECOND: u64 = 100;

/// How many bytes that the client was sent allow one more: it opens its windows as it reads, some browsers for each
/// frame, and frames are as small as the window that is left.
const SENT: u64 = 256;

/// How many bytes that it sends of bodies allow one more.
const RECEIVED: u64 = 4096;

/// What a reset counts for: it wastes what its request cost (CVE-2023-44487).
const RESET: u64 = 2;

/// How many bytes of a frame that is no body count for one more frame: settings come by the thousand in one.
const FRAME: u64 = 1024;

/// The longest frame that anybody may send us, in bytes: what a connection begins with (section 4.2), and we allow no more.
/// h2 refuses a longer one for its length as soon as its head is there.
const LONGEST: u64 = 16 * 1024;

/// What begins a connection, before any frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// The head of a frame: three bytes of length, a type, flags, and four bytes that name the stream (section 4.1).
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// Where in its frames a connection is, and how many more it may send.
#[derive(Debug)]
pub struct FrameWatch {
    /// How many bytes are to be left out before the next head.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    /// In bytes of what is sent, so that no remainder is lost.
    left: u64,
    since: Timestamp,
    is_flood: bool,
}

impl FrameWatch {
    /// At the beginning of a connection.
    pub const fn new(now: Timestamp) -> Self {
        Self { skip: PREFACE, head: [0; HEAD], have: 0, left: BURST * SENT, since: now, is_flood: false }
    }

    /// Whether there were too many.
    pub const fn is_flood(&self) -> bool {
        self.is_flood
    }

    /// Takes note of bytes that the client was sent.
    pub fn sent(&mut self, count: usize) {
        self.allow(count as u64);
    }

    /// Takes note of bytes that came from the client.
    pub fn received(&mut self, mut bytes: &[u8], now: Timestamp) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (HEAD - self.have).min(bytes.len());
            let (head, rest) = bytes.split_at(count);
            self.head[self.have..self.have + count].copy_from_slice(head);
            (self.have, bytes) = (self.have + count, rest);
            if self.have == HEAD {
                self.have = 0;
                self.frame(now);
            }
        }
    }

    /// Takes note of the frame whose head is there.
    fn frame(&mut self, now: Timestamp) {
        let [high, middle, low, kind, ..] = self.head;
        let length = u64::from(high) << 16 | u64::from(middle) << 8 | u64::from(low);
        self.skip = length as usize;
        let cost = match kind {
            DATA if length > 0 => return self.allow(length * SENT / RECEIVED),
            // A request pays for itself: it has limits of its own, and heads have a bound.
            HEADERS | CONTINUATION => return,
            RST_STREAM => RESET,
            _ => 1 + length.min(LONGEST) / FRAME,
        };
        let passed = now.since(self.since);
        if passed >= Duration::from_secs(1) {
            self.since = now;
            self.allow(passed.as_secs().saturating_mul(EACH_SECOND * SENT));
        }
        match self.left.checked_sub(cost * SENT) {
            Some(left) => self.left = left,
            None => self.is_flood = true,
        }
    }

    fn allow(&mut self, more: u64) {
        self.left = self.left.saturating_add(more).min(BURST * SENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn begun() -> FrameWatch {
        let mut watch = FrameWatch::new(Timestamp::default());
        watch.received(&[0xff; PREFACE], Timestamp::default());
        watch
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let flood = frame(PING, b"are here").repeat(BURST as usize);
        for size in [1, 2, 7, 9, 17, 100, flood.len()] {
            let mut watch = begun();
            flood.chunks(size).for_each(|piece| watch.received(piece, Timestamp::default()));
            assert!(!watch.is_flood(), "{size}");
            watch.received(&frame(PING, b"are here"), Timestamp::default());
            assert!(watch.is_flood(), "{size}");
        }
    }

    #[test]
    fn what_asks_for_something_is_no_flood_and_pays_for_what_goes_with_it() {
        let mut watch = begun();
        for _ in 0..10 * BURST {
            watch.received(&frame(HEADERS, b"a request"), Timestamp::default());
            watch.received(&frame(DATA, &[0; 8192]), Timestamp::default());
            watch.received(&frame(PING, b"are here"), Timestamp::default());
            watch.sent(SENT as usize);
            watch.received(&frame(8, &[0; 4]), Timestamp::default());
        }
        assert!(!watch.is_flood());
    }

    #[test]
    fn resets_and_empty_data_and_long_settings_count() {
        for (what, flood, most) in [
            ("resets", frame(RST_STREAM, &[0; 4]), BURST / RESET),
            ("empty data", frame(DATA, b""), BURST),
            ("long settings", frame(4, &[0; 16_380]), BURST / 16),
        ] {
            let mut watch = begun();
            let count = (0..).take_while(|_| {
                watch.received(&flood, Timestamp::default());
                !watch.is_flood()
            });
            assert_eq!(count.count() as u64, most, "{what}");
        }
    }

    #[test]
    fn a_frame_that_is_longer_than_any_may_be_is_no_flood() {
        for kind in [4, PING, 99] {
            let mut watch = begun();
            watch.received(&[0xff, 0xff, 0xff, kind, 0, 0, 0, 0, 1], Timestamp::default());
            assert!(!watch.is_flood(), "{kind}");
        }
    }

    #[test]
    fn time_allows_more() {
        let mut watch = begun();
        let ping = frame(PING, b"are here");
        for second in 0..1000 {
            for _ in 0..EACH_SECOND {
                watch.received(&ping, Timestamp::from_millis(second * 1000));
            }
        }
        assert!(!watch.is_flood());
    }
}
