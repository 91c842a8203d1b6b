//! The configuration each program is started with: the ordinary one for its part, at its quickest.

use std::path::Path;

use crate::cases::MESSAGE;

/// How many connections an nginx needs under load, both sides together.
pub(crate) const NGINX_CONNECTIONS: usize = 4096;

/// The ports of what is behind the contestants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// The application.
    pub(crate) application: u16,
    /// Its WebSockets.
    pub(crate) echo: u16,
}

/// What clients there is room for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    /// What the load needs: from one address.
    Load,
    /// From any address of loopback; strangers may pass below `/public`.
    Loopback,
    /// From any address of loopback, so many connections, idle ones for long, and as many to the applications.
    Crowd(usize),
}

/// The application: nginx, serving two files from its cache of open files.
///
/// It shares a core with the load generator, so it is as cheap as can be. `/.count` tells how many requests it had.
pub(crate) fn upstream(dir: &Path, port: u16) -> String {
    let head = nginx_head(dir, "upstream", NGINX_CONNECTIONS);
    format!(
        "{head}
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16 inactive=1h;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {dir}/www;
        location = /.count {{ stub_status; }}
    }}
}}
",
        dir = dir.display()
    )
}

/// nginx as a plain TLS proxy, with the headers an ordinary deployment adds.
///
/// No tickets and no session cache: the cases with one handshake a request are to pay for a full one.
pub(crate) fn nginx(dir: &Path, port: u16, behind: Behind, connections: usize) -> String {
    let head = nginx_head(dir, "nginx", connections);
    let Behind { application, echo } = behind;
    let forwarded = "proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;";
    format!(
        "{head}
    upstream app {{
        server 127.0.0.1:{application};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        ssl_session_cache off;
        location / {{
            proxy_pass http://app;
            proxy_set_header Connection \"\";
            {forwarded}
        }}
        location = {ws} {{
            proxy_pass http://127.0.0.1:{echo};
            proxy_read_timeout 1h;
            proxy_set_header Connection \"Upgrade\";
            proxy_set_header Upgrade $http_upgrade;
            {forwarded}
        }}
    }}
}}
",
        dir = dir.display(),
        ws = MESSAGE.path
    )
}

/// What both nginx have in common. One process, which is the one worker: one pid to measure and to kill.
fn nginx_head(dir: &Path, name: &str, connections: usize) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
master_process off;
pid {dir}/{name}.pid;
error_log {dir}/{name}.err warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {dir}/{name}-body;
    proxy_temp_path {dir}/{name}-proxy;
    fastcgi_temp_path {dir}/{name}-fastcgi;
    uwsgi_temp_path {dir}/{name}-uwsgi;
    scgi_temp_path {dir}/{name}-scgi;"
    )
}

/// HAProxy as a plain TLS proxy. It logs nothing unless told where to.
pub(crate) fn haproxy(dir: &Path, port: u16, behind: Behind) -> String {
    let Behind { application, echo } = behind;
    format!(
        "global
    nbthread 1
    maxconn 4096
    tune.ssl.cachesize 0
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    option forwardfor
    option http-keep-alive
    http-reuse always
frontend https
    bind 127.0.0.1:{port} ssl crt {dir}/both.pem alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    use_backend echo if {{ path {ws} }}
    default_backend app
backend app
    server app 127.0.0.1:{application}
backend echo
    server echo 127.0.0.1:{echo}
",
        dir = dir.display(),
        ws = MESSAGE.path
    )
}

/// vestibule with every session check on. Limits are counted but never reached; the log is off, as the peers' are.
///
/// Rotation is on, but later than a long run lasts: load generators do not take a new cookie from an answer.
pub(crate) fn gateway(dir: &Path, port: u16, behind: Behind, room: Room, store: Option<&Path>) -> String {
    let store = match store {
        Some(file) => format!("kind = \"disk\"\npath = \"{}\"", file.display()),
        None => "kind = \"memory\"".to_owned(),
    };
    let Behind { application, echo } = behind;
    let (binding, server, upstream) = match room {
        Room::Load => ("mode = \"exact\"", String::new(), String::new()),
        Room::Loopback => ("mode = \"prefix\"\nprefix_v4 = 8", String::new(), String::new()),
        Room::Crowd(most) => (
            "mode = \"prefix\"\nprefix_v4 = 8",
            format!("max_connections = {most}\nkeep_alive_timeout = \"1h\"\n"),
            format!("max_connections = {most}\n"),
        ),
    };
    let route = match room {
        Room::Loopback => "[[route]]\npath = \"/public\"\nupstream = \"app\"\naccess = \"public\"\n",
        Room::Load | Room::Crowd(_) => "",
    };
    format!(
        r#"[server]
listen = ["127.0.0.1:{port}"]
workers = 1
{server}[[server.certificate]]
cert = "{dir}/cert.pem"
key = "{dir}/key.pem"
[session.store]
{store}
[session.lifetime]
idle = "30m"
absolute = "12h"
[session.rotation]
every = "2h"
grace = "60s"
[session.binding.user_agent]
mode = "family"
answer = "end"
[session.binding.ip]
{binding}
answer = "end"
[limits]
per_session = "1000000/s"
per_address = "1000000/s"
[log]
access = "off"
[login.local]
users = "{dir}/users.toml"
[[upstream]]
name = "app"
servers = ["http://127.0.0.1:{application}"]
{upstream}[[upstream]]
name = "echo"
servers = ["http://127.0.0.1:{echo}"]
{upstream}[[route]]
path = "/"
upstream = "app"
access = "authenticated"
[[route]]
path = "{ws}"
upstream = "echo"
access = "authenticated"
{route}"#,
        dir = dir.display(),
        ws = MESSAGE.path
    )
}

/// What a gateway that is under mixed load for long is started with, beside its ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Soak {
    /// Where it tells its numbers.
    pub(crate) metrics: u16,
    /// After so many seconds sessions that nobody uses end.
    pub(crate) idle: u64,
}

/// vestibule as an ordinary deployment has it, limits and access log included, but that its sessions end and rotate so
/// often that an hour sees as much of it as days would.
pub(crate) fn soak(dir: &Path, port: u16, behind: Behind, store: &Path, soak: Soak) -> String {
    let Behind { application, echo } = behind;
    let Soak { metrics, idle } = soak;
    format!(
        r#"[server]
listen = ["127.0.0.1:{port}"]
workers = 1
[[server.certificate]]
cert = "{dir}/cert.pem"
key = "{dir}/key.pem"
[admin]
metrics = "127.0.0.1:{metrics}"
[session.store]
kind = "disk"
path = "{store}"
[session.lifetime]
idle = "{idle}s"
[session.rotation]
every = "10s"
grace = "5s"
[session.binding.user_agent]
mode = "family"
answer = "end"
[session.binding.ip]
mode = "prefix"
answer = "end"
[login.local]
users = "{dir}/users.toml"
[[upstream]]
name = "app"
servers = ["http://127.0.0.1:{application}"]
[[upstream]]
name = "echo"
servers = ["http://127.0.0.1:{echo}"]
[[route]]
path = "/"
upstream = "app"
access = "authenticated"
[[route]]
path = "{ws}"
upstream = "echo"
access = "authenticated"
"#,
        dir = dir.display(),
        store = store.display(),
        ws = MESSAGE.path
    )
}
