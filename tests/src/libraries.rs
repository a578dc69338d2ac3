//! Client libraries and frameworks as their users have them, at the versions pinned in `clients/`.
//!
//! They are installed from their registries into a directory of the caller's, once per version, and
//! driven by the scripts beside the pins. How it fails: an interpreter that is missing or a script
//! that fails is an error with what it wrote.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::child::die_with_this_thread;

/// Where the pins and the scripts are.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// A virtual environment with what `requirements.txt` pins; returns its interpreter.
///
/// # Errors
/// It cannot be installed.
pub fn python(installed: &Path) -> Result<PathBuf> {
    environment(&installed.join("python"), "requirements.txt")
}

/// The same with the frameworks of `frameworks.txt`, which may want other versions of the library.
///
/// # Errors
/// It cannot be installed.
pub fn python_frameworks(installed: &Path) -> Result<PathBuf> {
    environment(&installed.join("python-frameworks"), "frameworks.txt")
}

fn environment(directory: &Path, pins: &str) -> Result<PathBuf> {
    let interpreter = directory.join("bin/python");
    install(directory, &[pins], || {
        let make = ["-m", "venv", "--clear"];
        run(Command::new("python3").args(make).arg(directory))?;
        let quiet = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "2",
            "--timeout",
            "30",
            "-r",
        ];
        let pins = format!("{SCRIPTS}/{pins}");
        run(Command::new(&interpreter).args(quiet).arg(pins))
    })?;
    Ok(interpreter)
}

/// A directory with what `package-lock.json` pins.
///
/// # Errors
/// It cannot be installed.
pub fn node(installed: &Path) -> Result<PathBuf> {
    let directory = installed.join("node");
    let files = ["package.json", "package-lock.json"];
    install(&directory, &files, || {
        fs::create_dir_all(&directory)?;
        for file in files {
            fs::copy(format!("{SCRIPTS}/{file}"), directory.join(file))?;
        }
        let quiet = [
            "ci",
            "--loglevel=error",
            "--fetch-retries=2",
            "--fetch-timeout=60000",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ];
        run(Command::new("npm").args(quiet).current_dir(&directory))
    })?;
    Ok(directory)
}

/// Runs a program to its end, prints what it wrote, and wants it to have been content.
///
/// # Errors
/// It is missing or fails.
pub fn run(command: &mut Command) -> Result<()> {
    die_with_this_thread(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot run {program}; tests/run says which packages are needed")
    })?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    print!("{out}");
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    Ok(())
}

/// Held while something is installed: several tests need the same.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The file whose lock is held while something is installed into a directory. The installation may
/// make the directory anew, so the file is not in it.
fn lock_beside(directory: &Path) -> Result<File> {
    let path = directory.with_extension("lock");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(&path).with_context(|| format!("cannot make {}", path.display()))
}

/// Installs unless exactly this has been installed before.
fn install(directory: &Path, pins: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let pinned = pins
        .iter()
        .map(|pin| fs::read_to_string(format!("{SCRIPTS}/{pin}")));
    let pinned: String = pinned.collect::<Result<_, _>>()?;
    let mark = directory.join("installed");
    // A test that failed while installing has said so; the next one may try again.
    let _only_one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    // Test programs are processes of their own, and may run side by side.
    let lock = lock_beside(directory)?;
    lock.lock()
        .with_context(|| format!("cannot lock what is beside {}", directory.display()))?;
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == pinned) {
        return Ok(());
    }
    install()?;
    Ok(fs::write(mark, pinned)?)
}
