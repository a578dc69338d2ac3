//! Client libraries as their users have them: redis-py and ioredis, at the versions pinned in
//! `clients/`, each in RESP2 and RESP3. redis-rs has its own file, since it is a library of ours.
//!
//! The libraries are installed below Cargo's directory for test files, once per version.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bailiwick_tests::server::{Launch, Server, die_with_this_thread};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

#[test]
fn redis_py_works() {
    let python = install_python();
    let server = start();
    for protocol in ["2", "3"] {
        let mut command = Command::new(&python);
        command.arg("-B").arg(format!("{SCRIPTS}/redis_py.py"));
        run(command.args([&server.port().to_string(), protocol]));
    }
}

#[test]
fn ioredis_works() {
    let directory = install_node();
    let server = start();
    for protocol in ["2", "3"] {
        let mut command = Command::new("node");
        command
            .current_dir(&directory)
            .arg(format!("{SCRIPTS}/ioredis.mjs"));
        run(command.args([&server.port().to_string(), protocol]));
    }
}

fn start() -> Server {
    Launch::bailiwick()
        .unwrap()
        .args(["--fsync", "never"])
        .start()
        .unwrap()
}

/// A virtual environment with what `requirements.txt` pins; returns its interpreter.
fn install_python() -> PathBuf {
    let directory = Path::new(INSTALLED).join("python");
    let interpreter = directory.join("bin/python");
    install(&directory, &["requirements.txt"], || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&directory));
        let quiet = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ];
        run(Command::new(&interpreter)
            .args(quiet)
            .arg(format!("{SCRIPTS}/requirements.txt")));
    });
    interpreter
}

/// A directory with what `package-lock.json` pins.
fn install_node() -> PathBuf {
    let directory = Path::new(INSTALLED).join("node");
    let files = ["package.json", "package-lock.json"];
    install(&directory, &files, || {
        fs::create_dir_all(&directory).unwrap();
        for file in files {
            fs::copy(format!("{SCRIPTS}/{file}"), directory.join(file)).unwrap();
        }
        let quiet = [
            "ci",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ];
        run(Command::new("npm").args(quiet).current_dir(&directory));
    });
    directory
}

/// Installs unless exactly this has been installed before.
fn install(directory: &Path, pins: &[&str], install: impl FnOnce()) {
    let pinned = pins
        .iter()
        .map(|pin| fs::read_to_string(format!("{SCRIPTS}/{pin}")).unwrap());
    let pinned: String = pinned.collect();
    let mark = directory.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == pinned) {
        return;
    }
    install();
    fs::write(mark, pinned).unwrap();
}

fn run(command: &mut Command) {
    die_with_this_thread(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run {program}: {error}; tests/run says which packages are needed")
    });
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    print!("{out}");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
}
