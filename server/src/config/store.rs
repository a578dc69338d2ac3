//! The settings of a running node: many readers, changed as a whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::NodeId;
use parking_lot::Mutex;

use super::error::ConfigError;
use super::parameter::{Changes, Parameter, all, find};
use super::value::Invalid;
use super::{Settings, file, seat};
use crate::cluster::Cluster;
use crate::commands::CommandError;

/// The node's settings and the file they came from.
///
/// Invariant: `version` counts the changes that `current` has seen, and is raised after the swap:
/// who sees version n loads settings that are at least as new as change n. So a thread may keep a
/// copy of what it needs, and load again when the version has moved.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Settings>,
    version: AtomicU64,
    /// One change or rewrite at a time.
    writer: Mutex<()>,
    file: Option<PathBuf>,
    cluster: Option<(Cluster, NodeId)>,
}

impl Store {
    /// Settings to start with, and the file that `CONFIG REWRITE` writes.
    #[must_use]
    pub fn new(settings: Settings, file: Option<PathBuf>) -> Self {
        Self {
            current: ArcSwap::from_pointee(settings),
            version: AtomicU64::new(0),
            writer: Mutex::new(()),
            file,
            cluster: None,
        }
    }

    /// Settings of a node of a cluster, with its data in `directory`, and changed by `adjust`.
    ///
    /// # Errors
    /// The node's client address cannot be looked up.
    pub fn for_member(
        cluster: &Cluster,
        node: NodeId,
        directory: PathBuf,
        adjust: impl FnOnce(&mut Settings),
    ) -> Result<Self, ConfigError> {
        let mut settings = Settings {
            data: directory,
            ..Settings::default()
        };
        adjust(&mut settings);
        let entry = cluster
            .node(node)
            .ok_or_else(|| ConfigError::Usage(format!("the cluster has no node {node}")))?;
        seat::listen(&mut settings, entry, &[])?;
        Ok(Self::new(settings, None).in_cluster(Some((cluster.clone(), node))))
    }

    /// The same for a node of a cluster.
    #[must_use]
    pub fn in_cluster(self, cluster: Option<(Cluster, NodeId)>) -> Self {
        Self { cluster, ..self }
    }

    /// The cluster and which of its nodes this is; `None` for a node that runs alone.
    #[must_use]
    pub fn cluster(&self) -> Option<&(Cluster, NodeId)> {
        self.cluster.as_ref()
    }

    /// The settings of this moment, for a short look.
    pub fn load(&self) -> Guard<Arc<Settings>> {
        self.current.load()
    }

    /// The settings of this moment, to keep.
    #[must_use]
    pub fn load_full(&self) -> Arc<Settings> {
        self.current.load_full()
    }

    /// How many changes there have been.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The file that the node was started with.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    /// `CONFIG GET`: a map of the parameters that any of `patterns` (the command's arguments)
    /// names. `matches` is asked with a pattern in lower case and a name.
    pub fn write_get(
        &self,
        patterns: Args<'_>,
        encoder: &mut Encoder<'_>,
        matches: impl Fn(&[u8], &[u8]) -> bool,
    ) {
        let settings = self.load();
        let mut found: Vec<(Vec<u8>, &'static str, &'static Parameter)> = Vec::new();
        let mut add = |shown: &[u8], name: &'static str, row: &'static Parameter| {
            if found.iter().all(|(_, known, _)| *known != name) {
                found.push((shown.to_vec(), name, row));
            }
        };
        for pattern in patterns.iter() {
            if pattern.iter().any(|byte| b"*?[\\".contains(byte)) {
                let pattern = pattern.to_ascii_lowercase();
                for row in all() {
                    let names = row
                        .names()
                        .filter(|name| matches(&pattern, name.as_bytes()));
                    names.for_each(|name| add(name.as_bytes(), name, row));
                }
            } else if let Some((row, name)) = std::str::from_utf8(pattern).ok().and_then(find) {
                // A name without a wildcard is given back as it was spelled.
                add(pattern, name, row);
            }
        }
        encoder.map(found.len());
        for (shown, _, row) in found {
            encoder.bulk(&shown);
            encoder.bulk(row.value(&settings).as_bytes());
        }
    }

    /// `CONFIG SET` with the pairs in `args`: all of them or none. Returns the parameters that were
    /// set, for those who must act on a change.
    ///
    /// # Errors
    /// A name that is unknown, given twice, or cannot change now, or a value that does not fit.
    pub fn set(&self, args: Args<'_>) -> Result<Vec<&'static Parameter>, CommandError> {
        let changes = changes(args)?;
        let _writer = self.writer.lock();
        let mut settings = Settings::clone(&self.load());
        for (row, name, text) in &changes {
            row.apply(&mut settings, text)
                .map_err(|reason| failed(name, &reason.to_string()))?;
        }
        self.current.store(Arc::new(settings));
        self.version.fetch_add(1, Ordering::Release);
        Ok(changes.into_iter().map(|(row, _, _)| row).collect())
    }

    /// `CONFIG REWRITE`. Touches the disk: not for a thread that serves connections.
    ///
    /// # Errors
    /// There is no file, or it cannot be written.
    pub fn rewrite(&self) -> Result<(), CommandError> {
        let Some(path) = &self.file else {
            return Err(CommandError::text(
                "ERR The server is running without a config file",
            ));
        };
        let _writer = self.writer.lock();
        file::rewrite(path, &self.load())
            .map_err(|error| CommandError::composed(format!("ERR Rewriting config file: {error}")))
    }
}

/// The pairs of a `CONFIG SET`, looked up; the first fault from the left is reported.
fn changes<'a>(
    args: Args<'a>,
) -> Result<Vec<(&'static Parameter, &'static str, &'a str)>, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let mut changes: Vec<(&'static Parameter, &'static str, &'a str)> = Vec::new();
    for place in (0..args.len()).step_by(2) {
        let spelled = args.arg(place);
        let Some((row, name)) = std::str::from_utf8(spelled).ok().and_then(find) else {
            return Err(CommandError::composed(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                String::from_utf8_lossy(spelled)
            )));
        };
        if row.changes == Changes::AtStart {
            return Err(failed(name, "can't set immutable config"));
        }
        if changes.iter().any(|(_, known, _)| *known == name) {
            return Err(failed(name, "duplicate parameter"));
        }
        let text = std::str::from_utf8(args.arg(place + 1));
        let text = text.map_err(|_| failed(name, &not_text().to_string()))?;
        changes.push((row, name, text));
    }
    Ok(changes)
}

fn not_text() -> Invalid {
    Invalid::Other("argument must be valid UTF-8".into())
}

fn failed(name: &str, reason: &str) -> CommandError {
    CommandError::composed(format!(
        "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
    ))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
