//! A request as somebody writes it who asks about it.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

/// How many headers may be said: what a browser sends of itself is a dozen.
const MOST_HEADERS: usize = 64;

/// The head of a request that is written like `GET https://app.example.com/path`, the method left out for GET, with these
/// headers. The path is taken as it is: what is decided on must be what was asked about.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn request(text: &str, headers: &[(HeaderName, HeaderValue)]) -> Result<Parts, String> {
    let text = text.trim();
    let (method, url) = text.split_once(char::is_whitespace).unwrap_or(("GET", text));
    let wrong = || format!("\"{text}\" is no request; write one like 'GET https://app.example.com/path'");
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| is_method).ok_or_else(wrong)?;
    let uri: Uri = url.trim().parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?.clone();
    match uri.scheme_str() {
        Some("https" | "wss") => {}
        Some("http" | "ws") => {
            return Err(format!(
                "\"{text}\": nothing is decided on plain HTTP, which only leads to https://; write that"
            ));
        }
        Some(_) | None => return Err(wrong()),
    }
    if headers.len() > MOST_HEADERS {
        return Err(format!("these are more than {MOST_HEADERS} headers"));
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder().method(method).uri(target).header(header::HOST, authority.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Ok(request.body(()).map_err(|_| wrong())?.into_parts().0)
}

/// A request as it was asked about.
pub(super) fn shown(parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).map_or(&[][..], HeaderValue::as_bytes);
    format!("{} https://{}{}", parts.method, String::from_utf8_lossy(host), parts.uri)
}

/// A header that is written like `Origin: https://app.example.com`.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("\"{line}\" is no header; write one like 'Origin: https://app.example.com'");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    match name {
        header::COOKIE => {
            Err("whose session it is is not said by a cookie; say whose with --session or --user".to_owned())
        }
        header::HOST => Err("the host is the one of the address; write it there".to_owned()),
        name => Ok((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_as_it_is_written() {
        let read = |text: &str| {
            request(text, &[])
                .map(|parts| (parts.method.to_string(), parts.uri.to_string(), parts.headers["host"].clone()))
        };
        let good = |method: &str, target: &str, host: &'static str| {
            Ok((method.to_owned(), target.to_owned(), HeaderValue::from_static(host)))
        };
        assert_eq!(read("GET https://a.test/x?y=1"), good("GET", "/x?y=1", "a.test"));
        assert_eq!(read("https://a.test:8443"), good("GET", "/", "a.test:8443"));
        assert_eq!(read(" POST  https://a.test/a/../b;c "), good("POST", "/a/../b;c", "a.test"));
        for text in ["", "GET", "get https://a.test/", "GET /path", "GET ftp://a.test/", "GET https://a b/"] {
            assert!(read(text).is_err_and(|why| why.contains("write one like")), "{text}");
        }
        assert!(read("GET http://a.test/").is_err_and(|why| why.contains("https://")));
        assert!(header("Origin: https://a.test").is_ok() && header("Origin").is_err() && header("a b: c").is_err());
        assert!(header("cookie: a=b").is_err_and(|why| why.contains("--session")));
    }
}
