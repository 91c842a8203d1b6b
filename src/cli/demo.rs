//! `vestibule demo`: everything in one command, on this machine alone.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use crate::app::{self, Parts};
use crate::base::random::Random;
use crate::cli::notify::Notify;
use crate::cli::serve::{OnHangup, Signals};
use crate::cli::{demo_app, serve};
use crate::config::Plan;
use crate::config::upstream_server;
use crate::login::users::hash_password;
use crate::reader::Document;

/// Try it: a small old-fashioned application behind the gateway, with two users, in one command.
#[derive(Debug, Args)]
pub(super) struct DemoCommand {
    /// Put the gateway in front of your own application instead, like http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where the gateway listens, on this machine only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
}

/// The demo's files; removed when it ends.
struct Folder(PathBuf);

impl Folder {
    /// A new folder that nobody else on the machine could have made before, or can look into.
    fn make(random: &Random) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("vestibule-demo-{}", password(random)));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("{}: the demo's folder cannot be made: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct DemoUser {
    name: &'static str,
    role: &'static str,
    password: String,
}

/// Runs the demo until Ctrl-C.
pub(super) fn run(command: &DemoCommand) -> Result<(), String> {
    if !command.listen.ip().is_loopback() {
        return Err(format!(
            "{} can be reached from other machines; the demo listens on 127.0.0.1 only",
            command.listen
        ));
    }
    serve::log_to_stderr();
    let random = Random::System;
    let users =
        [("alice", "admin"), ("bob", "staff")].map(|(name, role)| DemoUser { name, role, password: password(&random) });
    let folder = Folder::make(&random)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("the demo application cannot be started: {error}"))?;
    let upstream = match &command.upstream {
        Some(url) => {
            upstream_server(url)?;
            url.clone()
        }
        None => {
            let listener = runtime
                .block_on(TcpListener::bind("127.0.0.1:0"))
                .map_err(|error| format!("the demo application cannot listen: {error}"))?;
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            runtime.spawn(demo_app::serve(listener));
            format!("http://{address}")
        }
    };
    write_users(&folder, &users, &random)?;
    let has_demo_app = command.upstream.is_none();
    let text = configuration(command.listen, &upstream, has_demo_app);
    let document = Document::parse(folder.0.join("gateway.toml"), &text);
    let plan = Plan::of(&document).map_err(|mistakes| mistakes.to_string())?;
    let running = app::start(&plan, Parts::default())
        .map_err(|error| format!("{error}\nwrite --listen 127.0.0.1:PORT to choose another address for the demo"))?;
    print!("{}", welcome(&running.addresses, &upstream, &users, has_demo_app));
    serve::wait_for_stop(Signals::listen()?, running, OnHangup::Stop, &Notify::default())
}

/// A password that can be typed: twelve letters and digits that nobody mixes up.
fn password(random: &Random) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = random.bytes::<12>().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let parts: Vec<String> = letters.chunks(4).map(|part| part.iter().collect()).collect();
    parts.join("-")
}

fn write_users(folder: &Folder, users: &[DemoUser], random: &Random) -> Result<(), String> {
    let mut text = String::new();
    for DemoUser { name, role, password } in users {
        let hash = hash_password(password, random.bytes()).map_err(|error| error.to_string())?;
        // Writing into a string does not fail.
        let _ = write!(
            text,
            "[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\nemail = \"{name}@example.test\"\nroles = [\"{role}\"]\n"
        );
    }
    let file = folder.0.join("users.toml");
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn configuration(listen: SocketAddr, upstream: &str, has_demo_app: bool) -> String {
    let mut text = format!(
        r#"
[server]
listen = ["{listen}"]
[[server.certificate]]
cert = "demo.crt"
key = "demo.key"
generate = true
[session.store]
kind = "memory"
[portal]
title = "Demo"
[login.local]
users = "users.toml"
[[upstream]]
name = "app"
servers = ["{upstream}"]
[[route]]
path = "/"
upstream = "app"
"#
    );
    if has_demo_app {
        text.push_str(
            r#"
[[route]]
path = "/admin"
upstream = "app"
roles = ["admin"]
[[route]]
path = "/public"
upstream = "app"
access = "optional"
"#,
        );
    }
    text
}

fn welcome(addresses: &[SocketAddr], upstream: &str, users: &[DemoUser], has_demo_app: bool) -> String {
    let address = addresses.first().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n  The gateway:      https://{address}/\n  The application:  {upstream}/ (behind it)\n\n");
    for DemoUser { name, role, password } in users {
        let _ = writeln!(text, "  User {name:<6} password {password}   role {role}");
    }
    text.push_str("\n  What to try:\n");
    let _ = writeln!(
        text,
        "  - Open https://{address}/ and sign in. The certificate was made just now, so the browser asks first."
    );
    if has_demo_app {
        let _ = writeln!(text, "  - https://{address}/headers shows what the application is sent, your name included.");
        let _ = writeln!(text, "  - https://{address}/admin lets alice in and not bob; /public everybody.");
    }
    let _ =
        writeln!(text, "  - curl -k -i https://{address}/ is told 401 in JSON; a browser is led to the login page.");
    text.push_str("  - Ctrl-C ends it and leaves nothing behind.\n\n");
    text
}
