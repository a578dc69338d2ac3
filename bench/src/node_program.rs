//! Which bailiwick is measured, with which arguments, and on which disk.
//!
//! It starts nothing. How it fails: a directory that cannot be made, or that lies in memory where
//! a disk is to be measured, is an error that names it.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// What `statfs` calls the two file systems that live in memory.
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;

/// The arguments about bailiwick itself that the commands share.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeProgram {
    /// The bailiwick program [default: beside this program, else on the PATH]
    #[arg(long, value_name = "PATH")]
    bailiwick: Option<PathBuf>,
    /// One more argument for bailiwick; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    bailiwick_arg: Vec<String>,
    /// Where temporary data directories are made [default: the system's]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl NodeProgram {
    /// A command that starts bailiwick with the arguments asked for, and no others yet.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.path());
        command.args(&self.bailiwick_arg);
        command
    }

    /// Where temporary directories are made.
    pub(crate) fn parent_dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// A new temporary directory, on a disk.
    ///
    /// # Errors
    /// If it cannot be made, or if a sync there would reach no disk.
    pub(crate) fn disk_dir(&self) -> Result<TempDir> {
        let parent = self.parent_dir();
        ensure!(
            !is_in_memory(&parent)?,
            "{} is in memory, where a sync costs nothing; name a directory on a disk with --dir",
            parent.display()
        );
        temp_dir_in(&parent)
    }

    fn path(&self) -> PathBuf {
        let beside = || {
            let path = std::env::current_exe().ok()?.with_file_name("bailiwick");
            path.is_file().then_some(path)
        };
        self.bailiwick
            .clone()
            .or_else(beside)
            .unwrap_or_else(|| PathBuf::from("bailiwick"))
    }
}

/// A new temporary directory there.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn temp_dir_in(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("bailiwick-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))
}

fn is_in_memory(path: &Path) -> Result<bool> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: statfs is plain data for which zero is valid.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals, and the name ends with a zero.
    if unsafe { libc::statfs(name.as_ptr(), &mut stat) } != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("cannot look at {}", path.display()));
    }
    Ok([TMPFS_MAGIC, RAMFS_MAGIC].contains(&(stat.f_type as u32)))
}

#[cfg(test)]
impl NodeProgram {
    /// For tests: this program, with these arguments, in the system's temporary directory.
    pub(crate) fn at(path: &str, arguments: &[&str]) -> Self {
        Self {
            bailiwick: Some(PathBuf::from(path)),
            bailiwick_arg: arguments.iter().map(ToString::to_string).collect(),
            dir: None,
        }
    }

    /// For tests: the same in another directory.
    pub(crate) fn in_dir(self, dir: &Path) -> Self {
        Self {
            dir: Some(dir.to_owned()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused_where_a_disk_is_measured() {
        let memory = Path::new("/dev/shm");
        if !is_in_memory(memory).unwrap_or(false) {
            eprintln!("skipped: /dev/shm is not in memory here");
            return;
        }
        let program = NodeProgram::at("bailiwick", &[]).in_dir(memory);
        let error = program.disk_dir().unwrap_err().to_string();
        assert!(error.contains("/dev/shm is in memory"), "{error}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let program = NodeProgram::at("bailiwick", &[]).in_dir(Path::new("/no/such"));
        assert!(
            program
                .disk_dir()
                .unwrap_err()
                .to_string()
                .contains("/no/such")
        );
    }
}
