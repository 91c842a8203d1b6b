//! Certificates that are renewed while the gateway runs: new connections are shown the new ones, and nobody is cut. And
//! what their authority says of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustls::pki_types::CertificateDer;

use x509_ocsp::CertStatus;

use super::harness::process::{Process, run, vestibule};
use super::harness::{Gateway, Hello, Raw, Setup, Version, advance_until, ocsp, users};

/// Makes a certificate for a host and writes it and its key.
fn renew(host: &str, cert: &Path, key: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    fs::write(key, made.signing_key.serialize_pem()).expect("written");
    fs::write(cert, made.cert.pem()).expect("written");
    made.cert.der().clone()
}

/// The certificate that is shown now to who names this host.
fn shown(gateway: &Gateway, sni: &str) -> CertificateDer<'static> {
    let hello = Hello { sni: Some(sni), ..Hello::default() };
    Raw::shaking(gateway.address, hello).expect("a handshake").certificate()
}

/// A gateway whose first certificate is these files; another is made beside it.
fn started(cert: &Path, key: &Path) -> Gateway {
    let mut setup = Setup::new();
    setup.server = format!("[[server.certificate]]\ncert = {cert:?}\nkey = {key:?}");
    setup.start()
}

const GET: &str = "GET /public HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn new_handshakes_are_shown_a_renewed_certificate_and_connections_stay() {
    let mut setup = Setup::new();
    setup.certificates = vec![vec!["first.test"], vec!["a.test"]];
    let gateway = setup.start();
    let before = shown(&gateway, "a.test");
    let first = shown(&gateway, "first.test");
    let mut alive = Raw::shaking(gateway.address, Hello { sni: Some("a.test"), ..Hello::default() }).expect("shaken");
    assert_eq!(alive.ask(GET).expect("an answer").status, 200);
    let stream_client = gateway.client().speaking(Version::H2);
    let (_, mut stream) = stream_client.get("/public/stream").open();
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    let files = ["1.crt", "1.key"].map(|name| gateway.folder.path().join(name));
    let renewed = renew("a.test", &files[0], &files[1]);
    assert_ne!(renewed, before);
    advance_until(&gateway, "the new one is shown", || shown(&gateway, "a.test") == renewed);
    assert_eq!(shown(&gateway, "first.test"), first, "the other is what it was");
    assert_eq!(alive.ask(GET).expect("an answer").status, 200);
    assert!(gateway.application.goes_on(&mut stream));
    // A connection is still for the host that it was made for, and not for others.
    assert_eq!(alive.ask(GET.replace("a.test", "first.test")).expect("an answer").status, 421);
    for version in [Version::H1, Version::H2] {
        assert_eq!(gateway.client().speaking(version).get("/public").send().status, 200);
    }
}

#[test]
fn a_certificate_for_other_hosts_serves_those() {
    let mut setup = Setup::new();
    setup.certificates = vec![vec!["first.test"], vec!["a.test"]];
    let gateway = setup.start();
    let first = shown(&gateway, "new.test");
    let files = ["1.crt", "1.key"].map(|name| gateway.folder.path().join(name));
    let renewed = renew("new.test", &files[0], &files[1]);
    advance_until(&gateway, "the new host is known", || shown(&gateway, "new.test") == renewed);
    assert_eq!(shown(&gateway, "a.test"), first, "nobody has its certificate any more");
}

#[test]
fn half_a_pair_changes_nothing_until_the_other_half_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["a.crt", "a.key", "b.crt", "b.key"].map(|name| folder.path().join(name));
    let before = renew("a.test", &files[0], &files[1]);
    let gateway = started(&files[0], &files[1]);
    let after = renew("a.test", &files[2], &files[3]);
    fs::rename(&files[2], &files[0]).expect("renamed");
    for _ in 0..20 {
        gateway.advance(1);
        assert_eq!(shown(&gateway, "a.test"), before);
    }
    fs::rename(&files[3], &files[1]).expect("renamed");
    advance_until(&gateway, "the pair is whole", || shown(&gateway, "a.test") == after);
}

#[test]
fn links_are_followed_as_certbot_changes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, live) = (folder.path().join("archive"), folder.path().join("live"));
    fs::create_dir_all(&archive).expect("a folder");
    fs::create_dir_all(&live).expect("a folder");
    let generation = |at: u32| {
        let files = ["fullchain", "privkey"].map(|name| archive.join(format!("{name}{at}.pem")));
        let made = renew("a.test", &files[0], &files[1]);
        for name in ["privkey", "fullchain"] {
            let link = live.join(format!("{name}.pem"));
            let _ = fs::remove_file(&link);
            symlink(format!("../archive/{name}{at}.pem"), link).expect("a link");
        }
        made
    };
    let first = generation(1);
    let gateway = started(&live.join("fullchain.pem"), &live.join("privkey.pem"));
    assert_eq!(shown(&gateway, "a.test"), first);
    for at in 2..4 {
        let next = generation(at);
        advance_until(&gateway, "the next one is shown", || shown(&gateway, "a.test") == next);
    }
}

#[test]
fn links_are_followed_as_kubernetes_changes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = folder.path();
    let generation = |name: &str| {
        fs::create_dir(mount.join(name)).expect("a folder");
        let made = renew("a.test", &mount.join(name).join("tls.crt"), &mount.join(name).join("tls.key"));
        symlink(name, mount.join("..data_tmp")).expect("a link");
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
        made
    };
    let first = generation("..2026_01");
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), mount.join(name)).expect("a link");
    }
    let gateway = started(&mount.join("tls.crt"), &mount.join("tls.key"));
    assert_eq!(shown(&gateway, "a.test"), first);
    let next = generation("..2026_02");
    fs::remove_dir_all(mount.join("..2026_01")).expect("removed");
    advance_until(&gateway, "the next one is shown", || shown(&gateway, "a.test") == next);
}

/// The OCSP response that is sent now to who names `a.test`.
fn stapled(gateway: &Gateway) -> Vec<u8> {
    let hello = Hello { sni: Some("a.test"), ..Hello::default() };
    Raw::shaking(gateway.address, hello).expect("a handshake").stapled()
}

/// A gateway with a certificate for `a.test`, whose OCSP response is good for so many seconds; with its files.
fn started_with_response(folder: &Path, good_for: Option<u64>) -> (Gateway, [PathBuf; 3], Vec<u8>) {
    let files = ["a.crt", "a.key", "a.ocsp"].map(|name| folder.join(name));
    let cert = renew("a.test", &files[0], &files[1]);
    let response = ocsp::response(&cert, CertStatus::good(), good_for);
    fs::write(&files[2], &response).expect("written");
    let mut setup = Setup::new();
    let [cert, key, ocsp] = &files;
    setup.server = format!("[[server.certificate]]\ncert = {cert:?}\nkey = {key:?}\nocsp = {ocsp:?}");
    (setup.start(), files, response)
}

#[test]
fn an_ocsp_response_is_stapled_and_renewed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gateway, files, first) = started_with_response(folder.path(), None);
    for version in rustls::ALL_VERSIONS {
        let hello = Hello { sni: Some("a.test"), versions: &[version], ..Hello::default() };
        assert_eq!(Raw::shaking(gateway.address, hello).expect("a handshake").stapled(), first, "{version:?}");
    }
    let other = Raw::to(gateway.address);
    assert!(other.stapled().is_empty(), "the other certificate has none");
    let cert = shown(&gateway, "a.test");
    let second = ocsp::response(&cert, CertStatus::good(), Some(86_400));
    fs::write(&files[2], &second).expect("written");
    advance_until(&gateway, "the new one is sent", || stapled(&gateway) == second);
    // Half written: the one before stays.
    for bad in [&second[..50], b"", b"-----BEGIN"] {
        fs::write(&files[2], bad).expect("written");
        for _ in 0..12 {
            gateway.advance(1);
        }
        assert_eq!(stapled(&gateway), second);
    }
    fs::remove_file(&files[2]).expect("removed");
    gateway.advance(10);
    assert_eq!(stapled(&gateway), second);
    fs::write(&files[2], &first).expect("written");
    advance_until(&gateway, "the first one is sent again", || stapled(&gateway) == first);
}

#[test]
fn a_renewed_certificate_goes_without_the_response_for_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gateway, files, first) = started_with_response(folder.path(), None);
    assert_eq!(stapled(&gateway), first);
    let renewed = renew("a.test", &files[0], &files[1]);
    advance_until(&gateway, "the new one is shown", || shown(&gateway, "a.test") == renewed);
    assert_eq!(stapled(&gateway), b"");
    let response = ocsp::response(&renewed, CertStatus::good(), None);
    fs::write(&files[2], &response).expect("written");
    advance_until(&gateway, "its own is sent", || stapled(&gateway) == response);
    assert_eq!(shown(&gateway, "a.test"), renewed);
}

#[test]
fn a_response_that_is_too_old_is_sent_to_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gateway, files, first) = started_with_response(folder.path(), Some(600));
    gateway.advance(590);
    assert_eq!(stapled(&gateway), first);
    gateway.advance(10);
    advance_until(&gateway, "it is not sent any more", || stapled(&gateway).is_empty());
    let fresh = ocsp::response(&shown(&gateway, "a.test"), CertStatus::good(), Some(86_400));
    fs::write(&files[2], &fresh).expect("written");
    advance_until(&gateway, "a fresh one is sent", || stapled(&gateway) == fresh);
    // Also from the start: the gateway that cannot be reached helps nobody.
    let (gateway, ..) = started_with_response(folder.path(), Some(0));
    assert!(stapled(&gateway).is_empty());
}

/// A configuration with `a.crt`, `a.key` and `a.ocsp`.
const CONFIGURED: &str = r#"[server]
listen = ["127.0.0.1:0"]
[[server.certificate]]
cert = "a.crt"
key = "a.key"
ocsp = "a.ocsp"
[login.local]
users = "users.toml"
[[upstream]]
name = "app"
servers = ["http://127.0.0.1:1"]
[[route]]
path = "/"
upstream = "app"
"#;

#[test]
fn check_tells_a_response_that_is_none_or_says_nothing_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    fs::write(file("users.toml"), users()).expect("written");
    fs::write(file("gateway.toml"), CONFIGURED).expect("written");
    let other = renew("a.test", &file("a.crt"), &file("a.key"));
    let cert = renew("a.test", &file("a.crt"), &file("a.key"));
    let good = ocsp::response(&cert, CertStatus::good(), None);
    // The authority is to be asked later.
    let later = [0x30, 3, 0x0a, 1, 3];
    let revoked = || {
        let time = x509_ocsp::OcspGeneralizedTime(
            der::asn1::GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(1)).expect("a time"),
        );
        CertStatus::revoked(x509_ocsp::RevokedInfo { revocation_time: time, revocation_reason: None })
    };
    let fetch = "write the path of a response in DER, as openssl ocsp -respout writes it, or remove this line";
    for (content, said, help) in [
        (None, "the file a.ocsp does not exist", fetch),
        (Some(vec![]), "the file a.ocsp is empty", fetch),
        (Some(good[..good.len() - 1].to_vec()), "there is no OCSP response in a.ocsp", fetch),
        (Some([&good[..], b"x"].concat()), "there is no OCSP response in a.ocsp", fetch),
        (Some(b"-----BEGIN OCSP RESPONSE-----".to_vec()), "there is no OCSP response in a.ocsp", fetch),
        (Some(vec![0x30; 20_000]), "a.ocsp is larger than 16 KiB", fetch),
        (
            Some(later.to_vec()),
            "a.ocsp holds no word on a certificate, but that its authority has none",
            "ask the authority again",
        ),
        (
            Some(ocsp::response(&other, CertStatus::good(), None)),
            "the OCSP response a.ocsp is not for the certificate a.crt",
            "ask for one, as it must be done for every renewed certificate",
        ),
        (
            Some(ocsp::response(&cert, revoked(), None)),
            "the OCSP response a.ocsp says that the certificate is revoked",
            "get another certificate",
        ),
        (
            Some(ocsp::response(&cert, CertStatus::unknown(), None)),
            "the OCSP response a.ocsp says that its authority does not know the certificate",
            "ask the authority that has signed it",
        ),
    ] {
        match content {
            Some(content) => fs::write(file("a.ocsp"), content).expect("written"),
            None => fs::remove_file(file("a.ocsp")).unwrap_or_default(),
        }
        let expected = format!(
            "gateway.toml:6:8: {said}\n    6 | ocsp = \"a.ocsp\"\n      |        ^^^^^^^^ {help}\n\n1 mistake in gateway.toml\n"
        );
        let checked = run(folder.path(), &["check"], "");
        assert_eq!((checked.code(), checked.stderr), (Some(1), expected));
    }
    // One that is good, also when it is old: that is told when the gateway runs.
    for good_for in [None, Some(0), Some(86_400)] {
        fs::write(file("a.ocsp"), ocsp::response(&cert, CertStatus::good(), good_for)).expect("written");
        let checked = run(folder.path(), &["check"], "");
        assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    }
    // All mistakes come at once, and one that is made here has no authority.
    fs::write(file("a.key"), "").expect("written");
    fs::write(file("a.ocsp"), "").expect("written");
    let shown = run(folder.path(), &["check"], "").stderr;
    assert!(shown.contains("there is no private key in a.key") && shown.contains("a.ocsp is empty"), "{shown}");
    fs::write(file("gateway.toml"), CONFIGURED.replace("ocsp =", "generate = true\nocsp =")).expect("written");
    fs::remove_file(file("a.key")).expect("removed");
    fs::remove_file(file("a.crt")).expect("removed");
    let shown = run(folder.path(), &["check"], "").stderr;
    assert!(shown.contains("a certificate that is made here has no authority"), "{shown}");
}

/// Runs `openssl` in a folder to its end, with nothing on standard input, and gives what it has written.
fn openssl(folder: &Path, line: &str) -> String {
    let arguments = line.split_whitespace();
    let command = Command::new("openssl").args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let done = command.expect("openssl is not installed; tests/run installs it, or: apt-get install openssl");
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success(), "openssl {line}: {text}");
    text
}

#[test]
fn what_openssl_signs_openssl_believes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("users.toml"), users()).expect("written");
    fs::write(folder.join("gateway.toml"), CONFIGURED).expect("written");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=authority -days 2"));
    openssl(
        folder,
        &format!("req -new {key} -keyout a.key -out a.csr -subj /CN=a.test -addext subjectAltName=DNS:a.test"),
    );
    openssl(
        folder,
        "x509 -req -in a.csr -CA ca.crt -CAkey ca.key -set_serial 0xE51234 -copy_extensions copy -days 1 -out a.crt",
    );
    // The authority's list of what it has signed: valid, until when, its number.
    fs::write(folder.join("index.txt"), "V\t401231235959Z\t\tE51234\tunknown\t/CN=a.test\n").expect("written");
    openssl(folder, "ocsp -issuer ca.crt -cert a.crt -reqout a.req");
    openssl(
        folder,
        "ocsp -index index.txt -CA ca.crt -rsigner ca.crt -rkey ca.key -reqin a.req -ndays 1 -respout a.ocsp",
    );
    let checked = run(folder, &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    let gateway = Process::start(vestibule(folder, &["serve"]).stdin(Stdio::null()));
    gateway.stderr.wait_for(&["sessions are kept in"]);
    let address = gateway.address();
    for version in ["-tls1_2", "-tls1_3"] {
        let seen = openssl(
            folder,
            &format!("s_client {version} -status -CAfile ca.crt -servername a.test -connect {address}"),
        );
        for words in [
            "OCSP Response Status: successful (0x0)",
            "Cert Status: good",
            "Serial Number: E51234",
            "Verify return code: 0 (ok)",
        ] {
            assert!(seen.contains(words), "{words}: {seen}");
        }
    }
    drop(gateway);
}
