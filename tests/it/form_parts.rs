//! What the page shows of a form in parts that asks whether it is to be sent: every part is on it or counted, and what is in
//! a file is not, however browsers write the names.

use super::harness::{ALICE, Setup};
use super::parked::{LUNCH, kept, post};

/// A form of one part for each disposition and content.
fn in_parts(parts: &[(&str, &str)]) -> String {
    let part = |(disposition, content): &(&str, &str)| {
        format!("--x\r\nContent-Disposition: form-data{disposition}\r\n\r\n{content}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--x--\r\n"
}

#[test]
fn a_part_is_shown_or_counted_and_what_is_in_a_file_is_never_shown() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let long = format!("; name=\"long\"\r\nX-Note: {}", "x".repeat(5000));
    // A backslash is a character as any other today; browsers of old wrote one before a quote.
    let body = in_parts(&[
        ("; name=\"plain\"", "as ever"),
        ("; name=\"g\\\"", "ends in a backslash"),
        ("; name=\"f\"; filename=\"x\\\"", "CONTENT 1"),
        ("; filename=\"y\\\"; name=\"h\"", "CONTENT 2"),
        ("; name=\"i\\\"; filename=\"z.txt\"", "CONTENT 3"),
        ("; name=\"of\\\"old\"", "quoted"),
        ("; name=\"of\\\"; old\"; filename=\"old.txt\"", "CONTENT 4"),
        ("; name=\"new%22\"; filename=\"a%22b.txt\"", "CONTENT 5"),
        (&long, "CONTENT 6"),
        ("", "CONTENT 7"),
        ("; name=\"never ends", "CONTENT 8"),
    ]);
    let (_, page) = kept(&client, post(&client, "/save/echo", "multipart/form-data; boundary=x", body));
    let text = page.text();
    for part in [
        "as ever",
        "<bdi>g\\</bdi>",
        "ends in a backslash",
        "File <bdi>x\\</bdi>",
        "File <bdi>y\\</bdi>",
        "<bdi>h</bdi>",
        "<bdi>i\\</bdi>",
        "File <bdi>z.txt</bdi>",
        "<bdi>of&#34;old</bdi>",
        "File <bdi>old.txt</bdi>",
        "<bdi>new&#34;</bdi>",
        "File <bdi>a&#34;b.txt</bdi>",
        "and 3 more fields",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("CONTENT"), "{text}");
}
