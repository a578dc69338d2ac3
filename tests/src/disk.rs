//! A small disk that a test can fill, for the nodes that are started on it.
//!
//! Owns a file system in memory, mounted in a mount namespace of its own, which a sleeping process
//! keeps while nodes on it come and go; the kernel takes both away when the test ends, however it
//! ends. Mounting needs root: without it there is no disk, and the test has to do without.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::child::die_with_this_thread;

/// A mounted disk.
pub struct Disk {
    keeper: Child,
    mount: PathBuf,
}

impl Disk {
    /// Mounts a disk over a directory that is there; none if this process may not mount.
    ///
    /// # Errors
    /// There is no process to be had.
    pub fn mount(directory: &Path, size_mb: u32) -> Result<Option<Self>> {
        let script = "mount -t tmpfs -o size=\"$1\"m tmpfs \"$0\" && echo mounted && \
                      exec sleep infinity";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(directory)
            .arg(size_mb.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        die_with_this_thread(&mut command);
        let mut keeper = command.spawn().context("cannot start unshare")?;
        let output = keeper.stdout.take().context("its output is piped")?;
        let disk = Self {
            keeper,
            mount: directory.to_owned(),
        };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok((line == "mounted\n").then_some(disk))
    }

    /// What runs a program that sees the disk: put it before the program's own words.
    #[must_use]
    pub fn through(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.keeper.id());
        vec!["nsenter".to_owned(), namespace, "--".to_owned()]
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// The disk is gone.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        let zeros = vec![0; 64 * 1024];
        while filler.write_all(&zeros).is_ok() {}
        Ok(())
    }

    /// Gives it back, if it was taken.
    ///
    /// # Errors
    /// The disk is gone.
    pub fn empty(&self) -> Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.context("the disk is gone"),
        }
    }

    /// Where this process finds a file or directory of the disk, by its path on the mount.
    #[must_use]
    pub fn seen_from_here(&self, path: &Path) -> PathBuf {
        // The mount is seen through the process that keeps it.
        let inside = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        inside.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn filler(&self) -> PathBuf {
        self.seen_from_here(&self.mount).join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_filled_and_emptied_and_seen_only_through_its_keeper() {
        let directory = tempfile::tempdir().unwrap();
        let Some(disk) = Disk::mount(directory.path(), 4).unwrap() else {
            println!("skipped: this needs the right to mount a file system (root)");
            return;
        };
        let file = directory.path().join("file");
        let write = || {
            let through = disk.through();
            let script = "head -c 1000000 /dev/zero > \"$0\"";
            let mut command = Command::new(&through[0]);
            command.args(&through[1..]).args(["sh", "-c", script]);
            command.arg(&file).stderr(Stdio::null()).status().unwrap()
        };
        disk.fill().unwrap();
        assert!(!write().success());
        disk.empty().unwrap();
        assert!(write().success());
        assert!(!file.exists());
    }
}
