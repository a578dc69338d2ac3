//! What a simulated node has on its disk, and what its entries and checkpoints are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{Configuration, LogSource, LogWrite, Member};
use crate::{LogIndex, NodeId};

/// The bit of an entry's number that says that it ends a configuration.
pub(super) const SEAL: u64 = 1 << 63;

/// A state of the state machine, which is the list of the entries' numbers.
#[derive(Clone, Default)]
pub(super) struct Checkpoint {
    pub(super) ids: Vec<u64>,
    pub(super) configuration: Configuration,
}

#[derive(Default)]
pub(super) struct Files {
    pub(super) meta: Option<Vec<u8>>,
    pub(super) entries: BTreeMap<u64, Bytes>,
    pub(super) checkpoints: Vec<Checkpoint>,
}

/// A disk that outlives the node.
#[derive(Clone, Default)]
pub(super) struct Disk(pub(super) Arc<Mutex<Files>>);

impl LogSource for Disk {
    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Vec<Bytes> {
        let files = self.0.lock();
        let range = files.entries.range(from.0..=to.0);
        let mut bytes = 0;
        let fitting = range.map(|(_, entry)| entry).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.len();
            is_first || bytes <= max_bytes
        });
        fitting.cloned().collect()
    }
}

impl Disk {
    pub(super) fn write(&self, write: &LogWrite) {
        let mut files = self.0.lock();
        if let Some(upto) = write.compact {
            files.entries = files.entries.split_off(&(upto.0 + 1));
        }
        if !write.entries.is_empty() {
            files.entries.split_off(&write.first.0);
        }
        for (at, entry) in write.entries.iter().enumerate() {
            let index = write.first.0 + at as u64;
            files.entries.insert(index, entry.clone());
        }
        files.meta = Some(write.meta.clone());
    }
}

pub(super) fn member(node: u64) -> Member {
    Member {
        node: NodeId(node),
        disk: node * 7,
    }
}

/// An entry; one that ends a configuration names the next one's members.
pub(super) fn encode(id: u64, members: &[u64]) -> Bytes {
    let numbers = std::iter::once(&id).chain(members);
    let mut bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    bytes.resize(bytes.len().max(24), 0);
    bytes.into()
}

pub(super) fn decode(entry: &Bytes) -> (u64, Vec<u64>) {
    let mut numbers = entry.chunks_exact(8).map(|chunk| {
        let chunk: [u8; 8] = chunk.try_into().unwrap();
        u64::from_le_bytes(chunk)
    });
    let id = numbers.next().unwrap();
    (id, numbers.filter(|number| *number != 0).collect())
}
