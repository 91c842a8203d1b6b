//! How the pages of a tenant look: its name, its logo, its colour and a line of its own. Made once for a configuration, so
//! that showing a page works nothing out.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::STYLE;
use super::color::Color;
use super::logo::Logo;

/// What an operator says of it. Nothing of it has to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookSettings {
    /// The name of the service, as its people know it.
    pub title: Box<str>,
    /// A line for people who need help.
    pub note: Box<str>,
    /// The picture at the head of the pages, in place of our doorway.
    pub logo: Option<Arc<Logo>>,
    /// The colour of buttons, links and what has the focus.
    pub color: Option<Color>,
}

/// The same, ready for use.
#[derive(Clone, Debug)]
pub struct Look {
    /// The name of the service. May be empty.
    pub(super) title: Box<str>,
    /// A line for people who need help. May be empty.
    pub(super) note: Box<str>,
    /// The picture, if there is one.
    pub(super) logo: Option<Arc<Logo>>,
    /// What follows our style sheet in the same element.
    pub(super) colors: Box<str>,
    /// What pages may do.
    pub(super) policy: HeaderValue,
    /// The same for a page whose form may lead to other sites.
    pub(super) leading_on: HeaderValue,
}

impl Look {
    /// What is said of it, ready for use.
    pub fn new(settings: &LookSettings) -> Self {
        let LookSettings { title, note, logo, color } = settings.clone();
        let colors: Box<str> = color.map(Color::style).unwrap_or_default().into();
        let hash = STANDARD.encode(Sha256::new().chain_update(STYLE).chain_update(&*colors).finalize());
        let policy = |forms| policy(&hash, logo.is_some(), forms);
        let (policy, leading_on) = (policy("'self'"), policy("'self' https:"));
        Self { title, note, logo, colors, policy, leading_on }
    }

    /// The same without the picture, which may be a hundred times as large as the page.
    pub fn without_logo(&self) -> Self {
        Self { logo: None, ..self.clone() }
    }
}

/// The value of `Content-Security-Policy`.
///
/// Nothing may load or run but our one style sheet, which its hash names, and where there is a logo, pictures that are in
/// the page itself. Forms go to `forms` only (some browsers apply that to the redirect after a form as well), and nobody
/// may frame the page.
fn policy(hash: &str, has_logo: bool, forms: &str) -> HeaderValue {
    let pictures = if has_logo { "img-src data:; " } else { "" };
    let policy = format!(
        "default-src 'none'; {pictures}style-src 'sha256-{hash}'; form-action {forms}; frame-ancestors 'none'; base-uri \
         'none'"
    );
    // It is made of our own constant text; were it not, nothing at all might load.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(policy: &HeaderValue) -> Vec<String> {
        policy.to_str().expect("text").split("; ").map(str::to_owned).collect()
    }

    #[test]
    fn pages_may_do_no_more_than_they_need() {
        let plain = Look::new(&LookSettings::default());
        let hash = format!("style-src 'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE)));
        let rest = ["form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"];
        assert_eq!(directives(&plain.policy), [["default-src 'none'", &hash].as_slice(), &rest].concat());
        let svg = Logo::new(b"<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>").expect("a logo");
        let color = Some(Color::parse("#2356b3").expect("a colour"));
        let own = Look::new(&LookSettings { logo: Some(Arc::new(svg)), color, ..LookSettings::default() });
        let sheet = [STYLE, &own.colors].concat();
        let hash = format!("style-src 'sha256-{}'", STANDARD.encode(Sha256::digest(sheet)));
        assert_eq!(
            directives(&own.policy),
            [["default-src 'none'", "img-src data:", &hash].as_slice(), &rest].concat()
        );
        // The page whose form may lead on is looser in nothing else.
        for look in [plain, own] {
            let (policy, leading_on) = (directives(&look.policy), directives(&look.leading_on));
            let looser: Vec<_> = policy.iter().zip(&leading_on).filter(|(one, other)| one != other).collect();
            assert_eq!(looser, [(&"form-action 'self'".to_owned(), &"form-action 'self' https:".to_owned())]);
            assert_eq!(policy.len(), leading_on.len());
        }
    }
}
