//! Certificates that are renewed while the gateway runs: new connections are shown the new ones, and nobody is cut.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::harness::{Gateway, Hello, Raw, Setup, Version, advance_until};

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
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
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
