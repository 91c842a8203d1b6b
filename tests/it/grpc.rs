//! gRPC as its own library speaks it, on both sides of the gateway: calls of every kind, with metadata, status and
//! deadlines.

use std::process::Command;

use super::harness::process::{Process, Server, part};
use super::harness::{ALICE, Setup};

#[test]
fn calls_of_every_kind_pass() {
    let folder = part("grpc", "requirements.txt");
    let calls = super::harness::top().join("tests/parts/grpc/calls.py");
    let python = |arguments: &[&str]| {
        let mut command = Command::new(folder.join("bin/python3"));
        command.arg(&calls).args(arguments);
        command
    };
    let server = Server::start(|address| python(&["serve", &address.to_string()]));
    // The library says who it is in its own words, not as the browser that signed in, and nothing of where it is from.
    let mut setup = Setup::new().unlimited().extra("[session.binding.user_agent]\nmode = \"off\"");
    setup.routes += "[[route]]\npath = \"/test.Calls\"\nupstream = \"app\"\naccess = \"optional\"\ncsrf = \"off\"\n";
    setup.servers = Some(vec![server.url()]);
    setup.upstream = "protocol = \"h2\"".to_owned();
    let gateway = setup.start();
    let alice = gateway.signed_in(ALICE);
    let cookie = format!("__Host-session={}", alice.session());
    let ca = gateway.folder.path().join("c.crt");
    let ca = ca.to_str().expect("a path");
    let ended = Process::start(&mut python(&["call", &alice.authority(), ca, &cookie, "alice"])).wait();
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("every call was answered as it should be"), "{}", ended.stdout);
}
