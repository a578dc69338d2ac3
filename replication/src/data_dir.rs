//! A node's data directory: its lock, who it belongs to, and where things lie in it.
//!
//! Owns LOCK, IDENTITY and INCARNATION, and the names of the sub-directories. Does not own what is
//! in those. Every failure refuses the start and says which file is meant: a directory in use
//! names the process that has it, a damaged or foreign identity is never replaced by a new one.
//!
//! The lock is the operating system's (flock), so it ends with the process that holds it; the
//! number written into LOCK only serves the message. It is held until the directory and every log
//! opened from it are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::identity::{self, Identity, Membership, Reason};
use crate::{Error, GroupId, checkpoint, sys};

const LOCK: &str = "LOCK";
const IDENTITY: &str = "IDENTITY";
const INCARNATION: &str = "INCARNATION";
const ADVICE: &str = "restore this file from a copy, or remove the whole data directory to start \
                      a new node";

/// The lock of a data directory, shared by everything that works in it.
pub(crate) type Lock = Arc<File>;

/// An exclusively locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    lock: Lock,
}

impl DataDir {
    /// [`open_for`](Self::open_for) a node that runs alone.
    ///
    /// # Errors
    /// As for `open_for`.
    pub fn open(path: &Path) -> Result<DataDir, Error> {
        DataDir::open_for(path, None)
    }

    /// Locks a data directory and reads its identity, creating both if there is nothing yet.
    /// Removes checkpoints that were not finished.
    ///
    /// `membership` is the node's place in a cluster, `None` for a node that runs alone. A new
    /// directory is given to it; one that exists must be its own.
    ///
    /// # Errors
    /// The directory is in use, another node's, damaged, or cannot be read or written. Nothing in
    /// it has been changed, but that it may have been created.
    pub fn open_for(path: &Path, membership: Option<Membership>) -> Result<DataDir, Error> {
        fs::create_dir_all(path).map_err(Error::io("cannot create", path))?;
        let lock = lock(path)?;
        let identity = match read(&path.join(IDENTITY), Identity::decode)? {
            Some(identity) => identity,
            None => create_identity(path, membership)?,
        };
        if identity.membership() != membership {
            return Err(Error::WrongMember {
                path: path.to_owned(),
                found: identity.membership(),
                asked: membership,
            });
        }
        let dir = DataDir {
            path: path.to_owned(),
            identity,
            lock,
        };
        for sub in [dir.log_path(), dir.checkpoint_path()] {
            fs::create_dir_all(&sub).map_err(Error::io("cannot create", &sub))?;
        }
        sys::sync_dir(path).map_err(Error::io("cannot sync", path))?;
        remove_leftovers(&dir.checkpoint_path())?;
        Ok(dir)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the write-ahead log lies.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where checkpoints lie: a directory for each group.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// The directory for one group's checkpoints; [`CheckpointWriter`](crate::CheckpointWriter)
    /// creates it when needed.
    pub fn group_checkpoint_path(&self, group: GroupId) -> PathBuf {
        self.checkpoint_path().join(format!("group-{group}"))
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Counts this start: a number above all that this directory ever had, and at least
    /// `at_least`; durable before it is returned.
    pub fn next_incarnation(&self, at_least: u64) -> Result<u64, Error> {
        let last = read(&self.path.join(INCARNATION), identity::decode_incarnation)?.unwrap_or(0);
        let next = at_least.max(last + 1);
        let bytes = identity::encode_incarnation(next);
        write_durably(&self.path, INCARNATION, &bytes)?;
        Ok(next)
    }

    /// A share of the lock, for what must not outlive it.
    pub(crate) fn lock(&self) -> Lock {
        self.lock.clone()
    }
}

fn lock(dir: &Path) -> Result<Lock, Error> {
    #[cfg(test)]
    drop(sys::STARTING_A_PROCESS.read());
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("cannot open", &path))?;
    if !sys::try_lock(&file).map_err(Error::io("cannot lock", &path))? {
        let text = fs::read_to_string(&path).unwrap_or_default();
        return Err(Error::InUse {
            path: dir.to_owned(),
            pid: text.trim().parse().ok(),
        });
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("cannot write", &path))?;
    Ok(Arc::new(file))
}

/// A new identity, unless the directory already holds a log, whose node it would disown.
fn create_identity(dir: &Path, membership: Option<Membership>) -> Result<Identity, Error> {
    let path = dir.join(IDENTITY);
    let has_log = fs::read_dir(dir.join("log")).is_ok_and(|mut entries| entries.next().is_some());
    if has_log {
        return Err(Error::IdentityLost { path });
    }
    let identity =
        Identity::random(membership).map_err(Error::io("cannot read random bytes for", &path))?;
    write_durably(dir, IDENTITY, &identity.encode())?;
    Ok(identity)
}

/// A small file decoded; `None` if it does not exist.
fn read<T>(path: &Path, decode: impl Fn(&[u8]) -> Result<T, Reason>) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    decode(&bytes).map(Some).map_err(|reason| match reason {
        Reason::Version { found, supported } => Error::Version {
            path: path.to_owned(),
            found,
            supported,
        },
        Reason::Damaged(offset, reason) => Error::Damaged {
            path: path.to_owned(),
            offset,
            reason,
            advice: ADVICE,
        },
    })
}

/// Replaces a file so that after a crash it has either the old content or the new.
fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sys::sync_dir(dir)
    };
    write().map_err(Error::io("cannot write", &path))
}

fn remove_leftovers(checkpoints: &Path) -> Result<(), Error> {
    checkpoint::remove_leftovers(checkpoints)?;
    let entries = fs::read_dir(checkpoints).map_err(Error::io("cannot list", checkpoints))?;
    for entry in entries {
        let path = entry.map_err(Error::io("cannot list", checkpoints))?.path();
        if path.is_dir() {
            checkpoint::remove_leftovers(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, NodeId};

    #[test]
    fn an_identity_is_created_once_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let first = *DataDir::open(&path).unwrap().identity();
        assert_eq!(*DataDir::open(&path).unwrap().identity(), first);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(*DataDir::open(other.path()).unwrap().identity(), first);
    }

    #[test]
    fn a_directory_opens_only_for_the_node_that_it_was_created_for() {
        let place = |cluster: u8, node: u64| {
            let cluster_id = ClusterId([cluster; 16]);
            let node_id = NodeId(node);
            Some(Membership {
                cluster_id,
                node_id,
            })
        };
        let (ours, theirs) = ("01".repeat(16), "02".repeat(16));
        let refusals = [
            (
                place(1, 3),
                format!(
                    "holds the data of node 2, not of node 3, in cluster {ours}; start it as node \
                     2, or choose another data directory"
                ),
            ),
            (
                place(2, 2),
                format!(
                    "holds the data of node 2 of cluster {ours}, not of node 2 of cluster \
                     {theirs}; the id follows from the cluster's name: if that was changed, change \
                     it back, or choose another data directory"
                ),
            ),
            (
                None,
                format!(
                    "holds the data of node 2 of cluster {ours}; start it with that cluster's file \
                     and as that node, or choose another data directory"
                ),
            ),
        ];
        let temp = tempfile::tempdir().unwrap();
        let first = *DataDir::open_for(temp.path(), place(1, 2))
            .unwrap()
            .identity();
        for (asked, text) in refusals {
            let refused = DataDir::open_for(temp.path(), asked).unwrap_err();
            let expected = format!("{} {text}", temp.path().display());
            assert_eq!(refused.to_string(), expected);
        }
        let again = DataDir::open_for(temp.path(), place(1, 2)).unwrap();
        assert_eq!(*again.identity(), first);
    }

    #[test]
    fn the_directory_of_a_node_that_runs_alone_joins_no_cluster() {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::open(temp.path()).unwrap());
        let asked = Membership {
            cluster_id: ClusterId([1; 16]),
            node_id: NodeId(5),
        };
        let refused = DataDir::open_for(temp.path(), Some(asked)).unwrap_err();
        let expected = format!(
            "{} holds the data of a node that runs alone, not of node 5 of cluster {}; start it \
             without a cluster, or choose another data directory",
            temp.path().display(),
            "01".repeat(16)
        );
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn an_emptied_directory_is_another_disk() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node");
        let place = Membership {
            cluster_id: ClusterId([1; 16]),
            node_id: NodeId(5),
        };
        let disk_id = || {
            let dir = DataDir::open_for(&path, Some(place)).unwrap();
            dir.identity().disk_id()
        };
        let first = disk_id();
        assert_eq!(disk_id(), first);
        fs::remove_dir_all(&path).unwrap();
        assert_ne!(disk_id(), first);
    }

    #[test]
    fn a_second_handle_is_refused_with_the_process_that_holds_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let error = DataDir::open(temp.path()).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, Error::InUse { pid: Some(p), .. } if p == pid));
        assert!(error.to_string().contains(&pid.to_string()));
        drop(dir);
        DataDir::open(temp.path()).unwrap();
    }

    #[test]
    fn a_second_process_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let lock = temp.path().join(LOCK);
        let taken_by_another = || {
            let _starting = sys::STARTING_A_PROCESS.write();
            let status = std::process::Command::new("flock")
                .args(["--nonblock", lock.to_str().unwrap(), "true"])
                .status();
            status.map(|status| status.success())
        };
        match taken_by_another() {
            Ok(taken) => assert!(!taken),
            Err(error) => return eprintln!("skipped: cannot run flock: {error}"),
        }
        drop(dir);
        assert!(taken_by_another().unwrap());
    }

    #[test]
    fn incarnations_count_up_across_starts() {
        let temp = tempfile::tempdir().unwrap();
        for expected in 1..4 {
            let dir = DataDir::open(temp.path()).unwrap();
            assert_eq!(dir.next_incarnation(0).unwrap(), expected);
        }
    }

    #[test]
    fn a_damaged_or_future_file_is_refused_by_name() {
        let temp = tempfile::tempdir().unwrap();
        DataDir::open(temp.path())
            .unwrap()
            .next_incarnation(0)
            .unwrap();
        for name in [IDENTITY, INCARNATION] {
            let path = temp.path().join(name);
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            *bad.last_mut().unwrap() ^= 1;
            fs::write(&path, &bad).unwrap();
            let start = || DataDir::open(temp.path())?.next_incarnation(0);
            let error = start().unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }));
            assert!(error.to_string().contains(name), "{error}");
            bad[8] = 7;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(
                start(),
                Err(Error::Version { found: 7, path: p, .. }) if p == path
            ));
            fs::write(&path, &good).unwrap();
        }
    }

    #[test]
    fn a_log_without_its_identity_is_not_adopted() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        fs::write(dir.log_path().join("x"), b"x").unwrap();
        drop(dir);
        fs::remove_file(temp.path().join(IDENTITY)).unwrap();
        assert!(matches!(
            DataDir::open(temp.path()),
            Err(Error::IdentityLost { .. })
        ));
    }

    #[test]
    fn unfinished_checkpoints_are_removed_at_open() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let group = dir.group_checkpoint_path(GroupId(3));
        fs::create_dir_all(&group).unwrap();
        let leftover = group.join(format!("checkpoint-{:020}.tmp", 5));
        let other = group.join("notes.txt");
        fs::write(&leftover, b"half").unwrap();
        fs::write(&other, b"mine").unwrap();
        drop(dir);
        DataDir::open(temp.path()).unwrap();
        assert!(!leftover.exists());
        assert!(other.exists());
    }
}
