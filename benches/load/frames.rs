//! The few WebSocket frames that the `ws` case is made of (RFC 6455 section 5.2): whole, and short enough for a length
//! of seven bits. Whatever else comes is an error, never a message.

/// The longest content of such a frame.
pub(crate) const MAX_CONTENT: usize = 125;

/// The longest such frame: two bytes of head, four of mask.
pub(crate) const MAX_FRAME: usize = 6 + MAX_CONTENT;

/// What a client masks with. That it is always the same harms nobody here: no proxy can take it for anything else.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of text.
    Text,
    /// The end.
    Close,
}

/// The first frame of what was received.
#[derive(Debug)]
pub(crate) struct Frame {
    /// What it is.
    pub(crate) kind: Kind,
    /// The mask, if a client sent it.
    mask: Option<[u8; 4]>,
    /// Where its content begins.
    start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// Reads the head of the first frame in `bytes`; `None` until the frame is whole.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Frame>, String> {
    let [one, two, rest @ ..] = bytes else { return Ok(None) };
    let kind = match one {
        0x81 => Kind::Text,
        0x88 => Kind::Close,
        other => return Err(format!("a frame that begins with {other:#04x} was not expected")),
    };
    let length = usize::from(two & 0x7f);
    if length > MAX_CONTENT {
        return Err("a frame that is longer than any that was sent".to_owned());
    }
    let (mask, start) = match (two & 0x80 != 0, rest) {
        (false, _) => (None, 2),
        (true, [a, b, c, d, ..]) => (Some([*a, *b, *c, *d]), 6),
        (true, _) => return Ok(None),
    };
    let end = start + length;
    Ok((bytes.len() >= end).then_some(Frame { kind, mask, start, end }))
}

impl Frame {
    /// Whether a client sent it, as its mask shows.
    pub(crate) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Takes the mask off what it was read from, and returns its content.
    pub(crate) fn content<'a>(&self, bytes: &'a mut [u8]) -> &'a [u8] {
        let content = bytes.get_mut(self.start..self.end).unwrap_or_default();
        if let Some(mask) = self.mask {
            apply(mask, content);
        }
        content
    }
}

/// Adds a frame to `out`, masked if a client sends it.
pub(crate) fn write(out: &mut Vec<u8>, kind: Kind, content: &[u8], is_from_client: bool) -> Result<(), String> {
    let length = u8::try_from(content.len()).ok().filter(|length| usize::from(*length) <= MAX_CONTENT);
    let length = length.ok_or("too long for a frame of this benchmark")?;
    out.push(match kind {
        Kind::Text => 0x81,
        Kind::Close => 0x88,
    });
    out.push(if is_from_client { length | 0x80 } else { length });
    if is_from_client {
        out.extend(MASK);
    }
    let start = out.len();
    out.extend(content);
    if is_from_client {
        apply(MASK, out.get_mut(start..).unwrap_or_default());
    }
    Ok(())
}

/// Masks, or takes a mask off.
fn apply(mask: [u8; 4], content: &mut [u8]) {
    for (byte, mask) in content.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}
