//! A picture at the head of the pages, which an operator gives: SVG or PNG, told by what is in it.
//!
//! It goes with the page, as a `data:` address. So showing it asks nobody for anything, neither is there an address that
//! anybody could ask for it without a session, nor may the page load anything. And it is an `img` alone: browsers run no
//! script of an SVG that is shown so and let it load nothing, and without an address on the application's origin nobody can
//! be led to it as to a page, where its scripts would run.

use std::fmt::{self, Debug, Formatter};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The largest picture, in bytes. It is a part of every page of ours, those for whoever is refused included; a logo that was
/// made for the web is a tenth of it.
pub const MAX_LOGO: usize = 64 * 1024;

/// The most pixels that a side of a PNG may have. It is shown 48 pixels high; larger ones take memory of every browser, and
/// so many bytes can unpack to gigabytes.
const MAX_SIDE: u32 = 4096;

/// How a PNG begins and ends (the PNG specification, sections 5.2 and 11.2).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const PNG_HEAD: &[u8] = b"\0\0\0\rIHDR";
const PNG_END: &[u8] = b"IEND\xaeB`\x82";

/// What makes elements those of SVG. Without it, browsers show none of them in an `img`.
const SVG_NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// Other kinds of pictures, and how they begin: whoever gives one is told which it is.
const OTHERS: [(&[u8], &str); 7] = [
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "packed by gzip, as .svgz files are"),
    (b"<!doctype html", "an HTML page"),
];

/// A logo.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    /// What `src` is.
    pub(super) source: Box<str>,
    /// Whether it is made for a light ground alone, and so needs one in the dark: all are that do not say otherwise.
    pub(super) needs_light: bool,
}

impl Logo {
    /// Takes the content of a file.
    ///
    /// # Errors
    /// What it is instead, as the end of a sentence that begins with the file's name, and what to do.
    pub fn new(content: &[u8]) -> Result<Self, (String, &'static str)> {
        if content.len() > MAX_LOGO {
            let most = MAX_LOGO / 1024;
            return Err((
                format!("is larger than {most} KiB, and it goes with every page"),
                "make it smaller: an SVG without pictures in it, or a PNG that is some 400 pixels wide",
            ));
        }
        let (kind, needs_light) = if content.starts_with(PNG) {
            png(content)?;
            ("png", true)
        } else {
            ("svg+xml", !svg(content)?.contains("prefers-color-scheme"))
        };
        Ok(Self { source: format!("data:image/{kind};base64,{}", STANDARD.encode(content)).into(), needs_light })
    }
}

impl Debug for Logo {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kind = self.source.split(';').next().unwrap_or_default();
        write!(out, "Logo({kind}, {} characters)", self.source.len())
    }
}

const SAVE_ANEW: &str = "save it once more as PNG, or as SVG";

fn png(content: &[u8]) -> Result<(), (String, &'static str)> {
    let broken = || ("begins like a PNG and is none, or not all of one".to_owned(), SAVE_ANEW);
    let rest = content.strip_prefix(PNG).and_then(|rest| rest.strip_prefix(PNG_HEAD)).ok_or_else(broken)?;
    let side = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).unwrap_or_default();
    let (width, height) = (side(rest.get(..4).ok_or_else(broken)?), side(rest.get(4..8).ok_or_else(broken)?));
    if width == 0 || height == 0 || !rest.windows(PNG_END.len()).any(|part| part == PNG_END) {
        return Err(broken());
    }
    if width.max(height) > MAX_SIDE {
        return Err((
            format!("is {width} by {height} pixels, and at most {MAX_SIDE} a side are shown"),
            "make it smaller: it is shown 48 pixels high, so some 400 wide are enough",
        ));
    }
    Ok(())
}

/// The text of an SVG.
fn svg(content: &[u8]) -> Result<&str, (String, &'static str)> {
    let begins = |how: &[u8]| content.get(..how.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(how));
    if let Some((_, what)) = OTHERS.iter().find(|(how, _)| begins(how)) {
        return Err((format!("is {what}, and a logo is SVG or PNG"), "save it as SVG or PNG"));
    }
    let text =
        std::str::from_utf8(content).map_err(|_| ("is neither SVG nor PNG".to_owned(), "save it as SVG or PNG"))?;
    let root = root_of(text).ok_or_else(|| ("is neither SVG nor PNG".to_owned(), "save it as SVG or PNG"))?;
    // Some programs write a prefix before every name.
    if root.rsplit(':').next() != Some("svg") {
        return Err((format!("is XML or HTML with <{root}>, and a logo is SVG or PNG"), "save it as SVG or PNG"));
    }
    if !text.contains(SVG_NAMESPACE) {
        return Err((
            "does not say that it is SVG, so no browser would show it".to_owned(),
            "write <svg xmlns=\"http://www.w3.org/2000/svg\" …> at its beginning",
        ));
    }
    if !text.contains(&format!("</{root}>")) {
        return Err((format!("ends before </{root}>: it is not all there"), SAVE_ANEW));
    }
    Ok(text)
}

/// The name of the first element, behind what XML allows before it (XML 1.0, section 2.8).
fn root_of(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let after = if let Some(inside) = rest.strip_prefix("<?") {
            inside.split_once("?>")?.1
        } else if let Some(inside) = rest.strip_prefix("<!--") {
            inside.split_once("-->")?.1
        } else if let Some(inside) = rest.strip_prefix("<!DOCTYPE") {
            // Programs that draw define short names in brackets in it.
            let end = inside.find('>')?;
            match inside.find('[').filter(|bracket| *bracket < end) {
                Some(bracket) => inside[bracket..].split_once(']')?.1.split_once('>')?.1,
                None => &inside[end + 1..],
            }
        } else {
            break;
        };
        rest = after.trim_start();
    }
    let name = rest.strip_prefix('<')?.split([' ', '\t', '\r', '\n', '>', '/']).next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><path d=\"M0 0\"/></svg>";

    /// The head of a PNG of that size, and its end.
    fn png_of(width: u32, height: u32) -> Vec<u8> {
        [PNG, PNG_HEAD, &width.to_be_bytes(), &height.to_be_bytes(), b"\x08\x06\0\0\0CRC.", PNG_END].concat()
    }

    #[test]
    fn pictures_are_told_by_their_content() {
        for (content, kind) in [
            (SVG.as_bytes().to_vec(), "svg+xml"),
            (format!("\u{feff}<?xml version=\"1.0\"?>\n<!-- by <svg> -->\n{SVG}\n").into(), "svg+xml"),
            (format!("<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"a.dtd\">{SVG}").into(), "svg+xml"),
            (format!("<!DOCTYPE svg [ <!ENTITY a \"http://a/>\"> ]>{SVG}").into(), "svg+xml"),
            (format!("<s:svg xmlns:s='{SVG_NAMESPACE}'></s:svg>").into(), "svg+xml"),
            (png_of(400, 96), "png"),
        ] {
            let logo = Logo::new(&content).expect("a logo");
            let encoded = logo.source.strip_prefix(&format!("data:image/{kind};base64,")).expect("its kind");
            assert_eq!(STANDARD.decode(encoded).expect("base64"), content);
            assert!(logo.needs_light && format!("{logo:?}").len() < 60);
        }
        let own = SVG.replace("<path", "<style>@media (prefers-color-scheme: dark){}</style><path");
        assert!(!Logo::new(own.as_bytes()).expect("a logo").needs_light, "it says how it looks in the dark");
    }

    #[test]
    fn what_is_no_logo_is_said_to_be_what_it_is() {
        let large = SVG.replace("M0 0", &"1".repeat(MAX_LOGO));
        let utf_16: Vec<u8> = SVG.encode_utf16().flat_map(u16::to_le_bytes).chain([0xd8]).collect();
        for (content, words) in [
            (large.as_bytes(), "larger than 64 KiB"),
            (b"\xff\xd8\xff\xe0..JFIF", "is a JPEG"),
            (b"GIF89a", "is a GIF"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"<!DOCTYPE html><svg></svg>", "is an HTML page"),
            (b"<html><svg></svg></html>", "with <html>"),
            (b"", "neither SVG nor PNG"),
            (b"hello", "neither SVG nor PNG"),
            (&utf_16, "neither SVG nor PNG"),
            (b"<?xml <svg>", "neither SVG nor PNG"),
            (b"<svg><path/></svg>", "no browser would show it"),
            (&SVG.as_bytes()[..SVG.len() - 3], "not all there"),
            (&png_of(400, 96)[..40], "not all of one"),
            (&png_of(0, 96), "not all of one"),
            (PNG, "not all of one"),
            (&png_of(400, 65_535), "400 by 65535 pixels"),
        ] {
            let (message, help) = Logo::new(content).expect_err(words);
            assert!(message.contains(words) && !help.is_empty(), "{message}");
        }
    }
}
