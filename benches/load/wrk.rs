//! wrk: HTTP/1.1 with the cookies of all sessions in turn, from a Lua script.
//!
//! A look at every answer in Lua would cost more than the answer. Instead every byte is counted: the length of a right
//! answer is known, head and body, so that not one redirect or refusal among them can hide.

use std::process::Command;

use crate::cases::{Case, USER_AGENT};
use crate::lab::Lab;
use crate::loads::{LoadPlan, Outcome, fields};
use crate::tools::Tools;

/// wrk has no flag for the cipher suite; OpenSSL reads it from here, so that it is the other loads' suite.
const OPENSSL: &str = "openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
";

/// The script. Requests are made once, before the load begins: what is left to do for each is to hand it over.
const SCRIPT: &str = r#"
local requests, at = {}, 0
for cookie in io.lines("@COOKIES@") do
  requests[#requests + 1] =
    "GET @PATH@ HTTP/1.1\r\nHost: @HOST@\r\nUser-Agent: @AGENT@\r\nCookie: " .. cookie .. "\r\n\r\n"
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("requests=%d bytes=%d errors=%d p50=%d p99=%d\n", summary.requests, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"#;

/// The command that makes this load.
pub(crate) fn command(tools: &Tools, plan: &LoadPlan<'_>, lab: &Lab) -> Result<Command, String> {
    let script = SCRIPT
        .replace("@COOKIES@", &plan.target.cookies.display().to_string())
        .replace("@PATH@", plan.case.document.path)
        .replace("@HOST@", &plan.target.address.to_string())
        .replace("@AGENT@", USER_AGENT);
    let script = lab.write(&format!("{}.lua", plan.target.name), script.as_bytes())?;
    let mut command = tools.pinned(plan.core, &tools.wrk);
    command.env("OPENSSL_CONF", lab.write("openssl.cnf", OPENSSL.as_bytes())?);
    command.arg("--threads=1").arg(format!("--connections={}", plan.case.connections));
    command.arg(format!("--duration={}s", plan.seconds)).arg("--timeout=10s");
    command.arg("--script").arg(script).arg(format!("https://{}{}", plan.target.address, plan.case.document.path));
    Ok(command)
}

/// Reads and checks its summary.
pub(crate) fn outcome(output: &str, case: &Case, wire_bytes: u64) -> Result<Outcome, String> {
    let fields = fields(output)?;
    let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("wrk did not print {name}"));
    let (requests, bytes) = (field("requests")?, field("bytes")?);
    if field("errors")? != 0 {
        return Err(format!("wrk saw errors:\n{output}"));
    }
    // When its time is up, answers under way have been counted by the byte but not as requests.
    let (least, most) = (requests * wire_bytes, (requests + case.in_flight()) * wire_bytes);
    if requests == 0 || bytes < least || bytes > most {
        return Err(format!("{requests} answers of {wire_bytes} bytes each cannot be {bytes} bytes"));
    }
    Ok(Outcome { requests, p50_us: field("p50")?, p99_us: field("p99")? })
}
