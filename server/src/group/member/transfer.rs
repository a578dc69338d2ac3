//! Fetching a checkpoint from another member, piece by piece.
//!
//! The fetcher asks for each piece by itself, a few at a time, so a slow one slows nobody else
//! down, and goes on where it was after a lost link, another source or a restart. The bytes are
//! checked as a whole when all are there ([`Vault::load`]).

use std::io;

use bailiwick_replication::link::Class;
use bailiwick_replication::{LogIndex, NodeId};
use bytes::Bytes;

use super::message::Message;
use crate::group::vault::{Piece, Vault};
use crate::state::State;

/// Bytes of a piece.
const PIECE_BYTES: u64 = 512 << 10;
/// Pieces that are asked for ahead.
const WINDOW: u64 = 4;
/// Nanoseconds without a piece after which they are asked for again.
const RETRY_NS: u64 = 1_000_000_000;
/// Retries without a piece after which another source is looked for.
const MAX_RETRIES: u32 = 5;

/// A checkpoint on its way to this node.
struct Download {
    source: NodeId,
    index: LogIndex,
    received: u64,
    /// Pieces up to here have been asked for.
    asked: u64,
    total: Option<u64>,
    active_at: u64,
    retries: u32,
    loading: bool,
}

/// What the transfer has come to.
pub(super) enum Arrival {
    /// The state of a checkpoint.
    State(Box<State>),
    /// It could not be had: ask anew.
    Failed,
}

/// How far a download is; for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferProgress {
    /// From whom.
    pub source: NodeId,
    /// Of which entry.
    pub index: LogIndex,
    /// Bytes here.
    pub received_bytes: u64,
    /// Bytes of the whole; 0 while unknown.
    pub total_bytes: u64,
}

/// Both sides of the transfer.
pub(super) struct Transfer {
    vault: Box<dyn Vault>,
    download: Option<Download>,
    out: Vec<(NodeId, Class, Message)>,
}

impl Transfer {
    pub(super) fn new(vault: Box<dyn Vault>) -> Self {
        Self {
            vault,
            download: None,
            out: Vec::new(),
        }
    }

    /// The newest checkpoint here.
    pub(super) fn newest(&self) -> Option<LogIndex> {
        self.vault.newest()
    }

    /// Messages to be sent.
    pub(super) fn take_messages(&mut self) -> Vec<(NodeId, Class, Message)> {
        std::mem::take(&mut self.out)
    }

    pub(super) fn progress(&self) -> Option<TransferProgress> {
        self.download.as_ref().map(|download| TransferProgress {
            source: download.source,
            index: download.index,
            received_bytes: download.received,
            total_bytes: download.total.unwrap_or(0),
        })
    }

    /// Another member wants a piece.
    pub(super) fn serve(&mut self, to: NodeId, index: LogIndex, offset: u64) {
        let message = match self.vault.read(index, offset, PIECE_BYTES as usize) {
            Ok(Some(Piece { total_bytes, bytes })) => Message::Piece {
                index,
                offset,
                total_bytes,
                bytes,
            },
            Ok(None) => Message::PieceGone { index },
            Err(error) => {
                tracing::error!(%error, index = index.0, "a checkpoint cannot be read for a peer");
                Message::PieceGone { index }
            }
        };
        self.out.push((to, Class::Bulk, message));
    }

    /// What is wanted now, and time passes.
    pub(super) fn advance(
        &mut self,
        wanted: Option<(NodeId, LogIndex)>,
        now: u64,
    ) -> Option<Arrival> {
        if self
            .download
            .as_ref()
            .is_some_and(|download| download.loading)
        {
            return self.finish_load();
        }
        let Some((source, index)) = wanted else {
            self.download = None;
            return None;
        };
        let goes_on = self
            .download
            .as_ref()
            .is_some_and(|download| (download.source, download.index) == (source, index));
        if !goes_on && let Err(error) = self.begin(source, index, now) {
            tracing::error!(%error, "a checkpoint cannot be received; trying again");
            return Some(Arrival::Failed);
        }
        let download = self.download.as_mut()?;
        if now >= download.active_at + RETRY_NS {
            download.retries += 1;
            download.active_at = now;
            download.asked = download.received;
            if download.retries > MAX_RETRIES {
                self.download = None;
                return Some(Arrival::Failed);
            }
        }
        self.ask();
        None
    }

    /// A piece has come.
    pub(super) fn piece(
        &mut self,
        from: NodeId,
        (index, offset, total): (LogIndex, u64, u64),
        bytes: &Bytes,
        now: u64,
    ) {
        let Some(download) = self.download.as_mut().filter(|download| {
            (download.source, download.index) == (from, index) && !download.loading
        }) else {
            return;
        };
        if offset != download.received {
            return;
        }
        download.active_at = now;
        download.retries = 0;
        download.total = Some(total);
        if let Err(error) = self.vault.append(index, offset, bytes) {
            // The disk is full, say: the same piece is asked for again after a while.
            tracing::error!(%error, index = index.0, "a checkpoint cannot be stored; trying again");
            return;
        }
        download.received += bytes.len() as u64;
        if download.received >= total {
            download.loading = true;
            tracing::info!(
                index = index.0,
                bytes = total,
                "checkpoint received; loading it"
            );
            self.vault.load(index);
        } else {
            self.ask();
        }
    }

    /// The source does not have it.
    pub(super) fn gone(&mut self, from: NodeId, index: LogIndex) -> Option<Arrival> {
        let download = self.download.as_ref()?;
        if (download.source, download.index) != (from, index) || download.loading {
            return None;
        }
        self.download = None;
        Some(Arrival::Failed)
    }

    fn finish_load(&mut self) -> Option<Arrival> {
        let outcome = self.vault.loaded()?;
        self.download = None;
        Some(match outcome {
            Ok(state) => Arrival::State(Box::new(state)),
            Err(error) => {
                tracing::error!(
                    error,
                    "the checkpoint received cannot be used; asking for another"
                );
                Arrival::Failed
            }
        })
    }

    fn begin(&mut self, source: NodeId, index: LogIndex, now: u64) -> io::Result<()> {
        let received = self.vault.received(index)?;
        tracing::info!(
            source = source.0,
            index = index.0,
            received,
            "fetching a checkpoint"
        );
        self.download = Some(Download {
            source,
            index,
            received,
            asked: received,
            total: None,
            active_at: now,
            retries: 0,
            loading: false,
        });
        Ok(())
    }

    fn ask(&mut self) {
        let Some(download) = &mut self.download else {
            return;
        };
        let end = download.total.unwrap_or(download.received + 1);
        let ahead = download.received + WINDOW * PIECE_BYTES;
        while download.asked < end.min(ahead) || download.asked == download.received {
            let message = Message::PieceWanted {
                index: download.index,
                offset: download.asked,
            };
            self.out.push((download.source, Class::Bulk, message));
            download.asked += PIECE_BYTES;
        }
    }
}
