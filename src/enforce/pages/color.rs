//! A colour that somebody gives the pages, and what is made of it so that everything can be read.
//!
//! A colour of a brand is chosen for its letterhead, not for white text on a button at night. So the surface of buttons is
//! the colour as it was given, and the text on it black or white, whichever can be read: for every colour there is one
//! of them with a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3). As text, for links, and around what has the focus, the colour is
//! made darker in the light and lighter in the dark, by as little as it takes to be read on our grounds. None has to be
//! refused for it.

use std::fmt::{self, Display, Formatter};

/// The contrast that text needs to its ground (WCAG 2.2, 1.4.3).
const READABLE: f64 = 4.5;

/// The contrast by which the edge of a button can be seen (WCAG 2.2, 1.4.11).
const VISIBLE: f64 = 3.0;

/// In how many steps a colour becomes black or white.
const STEPS: u16 = 32;

/// How many of them a button under the pointer goes, so that it is seen to.
const OVER: u16 = 5;

const BLACK: Color = Color([0; 3]);
const WHITE: Color = Color([255; 3]);

/// What text stands on, in the light and in the dark: `--ground` and `--card` of the style sheet.
const LIGHT: [Color; 2] = [Color([0xee, 0xf1, 0xef]), WHITE];
const DARK: [Color; 2] = [Color([0x12, 0x17, 0x18]), Color([0x1c, 0x23, 0x24])];

/// A colour: red, green and blue (sRGB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl Color {
    /// Reads `#2356b3`, or `#fff` for `#ffffff`.
    ///
    /// # Errors
    /// A sentence; what follows its semicolon is what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not a colour; write red, green and blue as # and six digits, like \"#2356b3\"");
        let digits = text.strip_prefix('#').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(wrong)?;
        let [_, red, green, blue] = number.to_be_bytes();
        match text.len() - 1 {
            6 => Ok(Self([red, green, blue])),
            // Each digit twice.
            3 => Ok(Self([green & 15, blue >> 4, blue & 15].map(|digit| digit * 17))),
            _ => Err(wrong()),
        }
    }

    /// How much light it gives off, from 0 to 1 (WCAG 2.2, "relative luminance").
    fn luminance(self) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// The contrast of two, from 1 to 21 (WCAG 2.2, "contrast ratio").
    fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// So many steps towards another.
    fn towards(self, other: Self, steps: u16) -> Self {
        let mixed = |at: usize| {
            let (own, other) = (u16::from(self.0[at]), u16::from(other.0[at]));
            // At most 255, since both are.
            u8::try_from((own * (STEPS - steps) + other * steps) / STEPS).unwrap_or(u8::MAX)
        };
        Self([mixed(0), mixed(1), mixed(2)])
    }

    /// What is written on it.
    fn text_on(self) -> Self {
        if self.contrast(WHITE) >= READABLE { WHITE } else { BLACK }
    }

    /// It as a text on these grounds, moved towards `end` by as little as it takes.
    fn as_text(self, grounds: [Self; 2], end: Self) -> Self {
        let is_readable = |color: &Self| grounds.iter().all(|ground| color.contrast(*ground) >= READABLE);
        (0..STEPS).map(|steps| self.towards(end, steps)).find(is_readable).unwrap_or(end)
    }

    /// The values that the style sheet gets from it, in the light and in the dark.
    pub(super) fn style(self) -> String {
        let text = self.text_on();
        // Away from what is written on it, so that it is read the better.
        let over = self.towards(if text == WHITE { BLACK } else { WHITE }, OVER);
        let values = |grounds: [Self; 2], end: Self| {
            let link = self.as_text(grounds, end);
            let edge = if self.contrast(grounds[1]) >= VISIBLE { self } else { link };
            format!("--accent:{self};--accent-over:{over};--on-accent:{text};--accent-edge:{edge};--link:{link}")
        };
        let (light, dark) = (values(LIGHT, BLACK), values(DARK, WHITE));
        format!(":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n")
    }
}

impl Display for Color {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(out, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::pages::STYLE;

    #[test]
    fn colours_are_written_as_in_style_sheets() {
        for (text, read) in [("#2356b3", "#2356b3"), ("#2356B3", "#2356b3"), ("#fa0", "#ffaa00"), ("#000", "#000000")] {
            assert_eq!(Color::parse(text).map(|color| color.to_string()).as_deref(), Ok(read));
        }
        for text in ["", "#", "2356b3", "blue", "#2356b", "#2356b3ff", "#23 6b3", "#+356b3", "rgb(1,2,3)", "#é123"] {
            let error = Color::parse(text).expect_err(text);
            assert!(error.contains("; write "), "{error}");
        }
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        let contrast = |one: &str, other: &str| {
            let read = |text| Color::parse(text).expect("a colour");
            (read(one).contrast(read(other)) * 100.0).floor() / 100.0
        };
        assert_eq!(contrast("#000", "#fff"), 21.0);
        assert_eq!(contrast("#777", "#fff"), 4.47);
        assert_eq!(contrast("#fff", "#767676"), 4.54);
        assert_eq!(contrast("#2356b3", "#2356b3"), 1.0);
    }

    /// The values of a style sheet, in the light and in the dark.
    fn values_of(style: &str) -> [Vec<Color>; 2] {
        let (light, dark) = style.split_once("@media").expect("two parts");
        [light, dark].map(|part| {
            let after = part.split("--").skip(1).filter_map(|value| value.split_once(":#"));
            after.map(|(_, color)| Color::parse(&format!("#{}", &color[..6])).expect("a colour")).collect()
        })
    }

    #[test]
    fn whatever_the_colour_everything_can_be_read() {
        let parts = (0..=255).step_by(15);
        let all = parts.clone().flat_map(|red| {
            let parts = parts.clone();
            parts.clone().flat_map(move |green| parts.clone().map(move |blue| Color([red, green, blue])))
        });
        for color in all {
            for (values, grounds) in values_of(&color.style()).into_iter().zip([LIGHT, DARK]) {
                let [accent, over, text, edge, link] = values[..] else { panic!("five: {values:?}") };
                assert_eq!(accent, color);
                assert!(accent.contrast(text) >= READABLE && over.contrast(text) >= READABLE, "{color}: a button");
                assert!(edge.contrast(grounds[1]) >= VISIBLE, "{color}: the edge of a button");
                assert!(grounds.iter().all(|ground| link.contrast(*ground) >= READABLE), "{color}: a link");
            }
        }
    }

    #[test]
    fn what_can_be_read_as_it_is_stays_as_it_is() {
        let [light, dark] = values_of(&Color::parse("#2356b3").expect("a colour").style()).map(|values| values[4]);
        assert_eq!(light.to_string(), "#2356b3");
        assert!(dark.luminance() > light.luminance());
        let [light, dark] = values_of(&Color::parse("#ffd400").expect("a colour").style()).map(|values| values[4]);
        assert!(light.luminance() < dark.luminance());
        assert_eq!(dark.to_string(), "#ffd400");
    }

    #[test]
    fn the_grounds_are_those_of_the_style_sheet() {
        let (light, dark) = STYLE.split_once("@media (prefers-color-scheme: dark)").expect("two parts");
        for (part, [ground, card]) in [(light, LIGHT), (dark, DARK)] {
            assert!(part.contains(&format!("--ground: {ground};")) && part.contains(&format!("--card: {card};")));
        }
        // What is set is what is used, and set after it.
        let set = Color([0; 3]).style();
        for name in ["--accent", "--accent-over", "--on-accent", "--accent-edge", "--link"] {
            assert!(STYLE.contains(&format!("var({name})")) && set.contains(&format!("{name}:")), "{name}");
        }
    }
}
