//! What is in `packaging/`: it installs, what it installs runs, and the programs it is made for accept it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::unistd::{getegid, geteuid};

use super::harness::process::{Process, run, vestibule};
use super::harness::{ALICE, Application, Client, top, users};

/// Runs a program to its end, which must be a good one.
fn good(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    format!("{stdout}{stderr}")
}

/// Installs the binary of the tests below `root`, by the script that packages and images are made by.
fn install(root: &Path) {
    good(Command::new(top().join("packaging/install")).arg(root).arg(env!("CARGO_BIN_EXE_vestibule")));
}

fn installed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    install(&root);
    (folder, root)
}

#[test]
fn what_is_installed_runs() {
    let (_folder, root) = installed();
    let config = root.join("etc/vestibule/gateway.toml");
    let shipped = fs::read_to_string(&config).expect("a configuration");
    let application = Application::start();
    fs::create_dir(root.join("run")).expect("a folder");
    fs::create_dir(root.join("run/vestibule")).expect("a folder");
    let below = |begin: &str| format!("{begin}{}", root.display());
    let text = shipped
        .replace("\"/var/lib/", &(below("\"") + "/var/lib/"))
        .replace("unix:/run/", &(below("unix:") + "/run/"))
        .replace("0.0.0.0:443", "127.0.0.1:0")
        .replace("0.0.0.0:80", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("127.0.0.1:3000", &application.address().to_string());
    fs::write(&config, text).expect("written");
    let binary = root.join("usr/bin/vestibule");
    let serve = |command: &str| {
        let mut serve = Command::new(&binary);
        serve.args([command, "--config"]).arg(&config).current_dir(&root);
        serve
    };
    let refused = serve("check").output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("vestibule user add") && said.contains("1 mistake"), "all that is missing is a user: {said}");
    fs::write(root.join("var/lib/vestibule/users.toml"), users()).expect("written");
    good(&mut serve("check"));
    let gateway = Process::start(serve("serve").stdin(std::process::Stdio::null()));
    gateway.stderr.wait_for(&["listening on"]);
    let alice = Client::new(gateway.address());
    assert_eq!(alice.sign_in(ALICE, "/").status, 303);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    // Installed again, it leaves what somebody has changed.
    fs::write(&config, "# changed").expect("written");
    install(&root);
    assert_eq!(fs::read_to_string(&config).expect("a configuration"), "# changed");
}

#[test]
fn systemd_accepts_the_units() {
    let (folder, root) = installed();
    let binary = root.join("usr/bin/vestibule");
    let units = ["vestibule.service", "vestibule.socket"].map(|name| {
        let text = fs::read_to_string(root.join("usr/lib/systemd/system").join(name)).expect("a unit");
        let path = folder.path().join(name);
        fs::write(&path, text.replace("/usr/bin/vestibule", &binary.display().to_string())).expect("written");
        path
    });
    let said = good(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units));
    assert!(!said.contains("vestibule"), "systemd has nothing to say: {said}");
    // Ten is open to everything, and what is below two is called safe.
    let said =
        good(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20"]).arg(&units[0]));
    let overall = said.lines().rfind(|line| line.contains("Overall exposure level")).expect("a verdict");
    println!("{overall}");
}

#[test]
fn systemd_makes_the_user_and_the_folders() {
    let (_folder, root) = installed();
    let below = format!("--root={}", root.display());
    good(Command::new("systemd-sysusers").arg(&below));
    let passwd = fs::read_to_string(root.join("etc/passwd")).expect("users");
    let line = passwd.lines().find_map(|line| line.strip_prefix("vestibule:x:")).expect("the user");
    let fields: Vec<&str> = line.split(':').collect();
    assert_eq!(fields[3..], ["/var/lib/vestibule", "/usr/sbin/nologin"], "no home of others, and no shell: {line}");
    let mut owner: (u32, u32) = (fields[0].parse().expect("a number"), fields[1].parse().expect("a number"));
    let file = root.join("usr/lib/tmpfiles.d/vestibule.conf");
    if !geteuid().is_root() {
        // Only root can give folders away.
        owner = (geteuid().as_raw(), getegid().as_raw());
        let text = fs::read_to_string(&file).expect("folders");
        fs::write(&file, text.replace(" vestibule vestibule", &format!(" {} {}", owner.0, owner.1))).expect("written");
    }
    // As a package leaves them that was unpacked by somebody, and as a machine has them on which they are not.
    for are_there in [true, false] {
        let folders = [("var/lib/vestibule", 0o700), ("var/log/vestibule", 0o750)];
        if !are_there {
            folders.iter().for_each(|(folder, _)| fs::remove_dir(root.join(folder)).expect("an empty folder"));
        }
        let said = good(Command::new("systemd-tmpfiles").args(["--create", &below]));
        assert_eq!(said, "");
        for (folder, mode) in folders {
            let about = fs::metadata(root.join(folder)).expect("a folder");
            assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (owner.0, owner.1, mode), "{folder}");
        }
    }
}

#[test]
fn the_image_is_made_by_what_was_tested() {
    let text = fs::read_to_string(top().join("packaging/Dockerfile")).expect("a Dockerfile");
    let steps: Vec<&str> = text.lines().filter(|line| line.starts_with("RUN ")).collect();
    assert_eq!(steps, ["RUN packaging/install /installed"]);
    assert!(text.contains("\nCOPY --from=build /installed/ /\n"));
    let user = text.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    assert!(user.starts_with(|digit: char| ('1'..='9').contains(&digit)), "by number, and not root: {user}");
    let (_folder, root) = installed();
    let entry = text.lines().find_map(|line| line.strip_prefix("ENTRYPOINT [\"/")).expect("an entry point");
    let program = root.join(entry.trim_end_matches("\"]"));
    assert_eq!(fs::metadata(&program).expect("a program").permissions().mode() & 0o111, 0o111);
    let config = text.lines().find(|line| line.starts_with("CMD ")).expect("a command");
    assert!(config.contains("/etc/vestibule/gateway.toml") && root.join("etc/vestibule/gateway.toml").exists());
}

#[test]
fn shells_complete_the_command_line() {
    let (folder, root) = installed();
    let script = root.join("usr/share/bash-completion/completions/vestibule");
    let line = "source \"$0\"; COMP_WORDS=(vestibule c); COMP_CWORD=1; _vestibule vestibule c vestibule; echo \"${COMPREPLY[*]}\"";
    let completed = good(Command::new("bash").args(["--norc", "-c", line]).arg(&script));
    assert_eq!(completed.trim(), "check completions");
    for (shell, begins) in [("zsh", "#compdef vestibule"), ("fish", "# Print an optspec"), ("bash", "_vestibule() {")] {
        let printed = run(folder.path(), &["completions", shell], "");
        assert!(printed.code() == Some(0) && printed.stdout.starts_with(begins), "{shell}: {}", printed.stdout);
    }
    let refused = run(folder.path(), &["completions", "dos"], "");
    assert!(refused.code() == Some(2) && refused.stderr.contains("bash"), "{}", refused.stderr);
}

#[test]
fn every_command_has_its_page() {
    let (folder, root) = installed();
    let page = run(folder.path(), &["man"], "");
    assert_eq!((page.code(), page.stderr.as_str()), (Some(0), ""));
    assert!(page.stdout.contains(".TH vestibule 1") && page.stdout.contains(r"vestibule\-serve(1)"), "{}", page.stdout);
    let pages = root.join("usr/share/man/man1");
    assert_eq!(fs::read_to_string(pages.join("vestibule.1")).expect("a page"), page.stdout);
    for command in ["serve", "check", "demo", "user", "user-add", "completions", "man"] {
        let page = fs::read_to_string(pages.join(format!("vestibule-{command}.1"))).expect("a page");
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    // A folder is made; where there can be none, that is said.
    fs::write(folder.path().join("file"), "").expect("written");
    let refused = vestibule(folder.path(), &["man", "--folder", "file/pages"]).output().expect("it runs");
    assert!(!refused.status.success());
}
