//! What a source sends: all keys of a prefix, and then, over and over, those that have changed.
//!
//! A first pass walks over the tables; whatever is written meanwhile is remembered by the keyspace
//! and sent again in rounds, each of which should be shorter than the one before. When a round has
//! become so short that clients can wait for it, it is time to freeze.
//!
//! The source does not walk over its keys to say what they add up to: the ledger knows what was
//! sent last of each key. If it and the destination agree, and there are as many keys as the ledger
//! has, the destination has everything.

use crate::group::planted::{self, Planted};
use crate::state::{ExportPosition, Exported, State};

/// The bytes of a chunk, a little more or less, unless a single key has more. Writers wait while it
/// is read out: about a millisecond if keys and values are small. Tests have few keys, and shall
/// see many chunks.
pub(super) const CHUNK_BYTES: usize = if cfg!(test) { 400 } else { 128 * 1024 };
/// Changed keys that are taken from the keyspace together.
const TAKEN_KEYS: usize = 2048;
/// A round this short is as good as none.
const NEXT_TO_NOTHING: usize = if cfg!(test) { 1 } else { 16 };
/// The most keys that clients have to wait for, unless rounds do not get shorter.
const FEW: usize = 500;
/// Rounds that need not be shorter than the one before, before what is left is taken as it is.
const MAX_STALLS: u32 = 4;
/// The most keys that clients have to wait for at all.
const MANY: usize = 100_000;

const TOO_MUCH: &str = "so much has changed at once that copying begins anew";
const TOO_FAST: &str = "writes come faster than they can be copied";

/// What to send next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A chunk.
    Chunk(Vec<u8>),
    /// Nothing is left, or so little that it can be sent while clients wait.
    Settled,
    /// What was sent is worth nothing any more.
    Lost(&'static str),
}

/// How far copying is.
pub struct Copying {
    prefix: Vec<u8>,
    chunk_bytes: usize,
    /// Where the first pass goes on; `None` after its end.
    pass: Option<ExportPosition>,
    ledger: Exported,
    /// Changed keys that were taken and are still to be sent, the next one first.
    taken: Vec<(usize, Box<[u8]>)>,
    /// Keys of the present round that are still to be sent.
    round: usize,
    /// Keys of the round before.
    last_round: usize,
    stalls: u32,
    bytes: u64,
}

impl Copying {
    /// Of a prefix, from the beginning, in chunks of about so many bytes. Changes are remembered
    /// from now on.
    #[must_use]
    pub fn new(prefix: &[u8], state: &State, chunk_bytes: usize) -> Self {
        state.keyspace.track_changes(prefix);
        Self {
            prefix: prefix.to_vec(),
            chunk_bytes,
            pass: Some(ExportPosition::default()),
            ledger: Exported::default(),
            taken: Vec::new(),
            round: 0,
            last_round: usize::MAX,
            stalls: 0,
            bytes: 0,
        }
    }

    /// How many keys were sent and are still there, and all bytes sent.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        (self.ledger.count(), self.bytes)
    }

    /// The number of keys that the destination has to have, and what they add up to.
    #[must_use]
    pub fn total(&self) -> (u64, u64) {
        (self.ledger.count(), self.ledger.digest())
    }

    /// The next chunk while clients are served.
    pub fn next_piece(&mut self, state: &State) -> Piece {
        if let Some(from) = self.pass {
            let (chunk, next) =
                state.export_chunk(&self.prefix, from, self.chunk_bytes, &mut self.ledger);
            self.pass = next;
            if !chunk.is_empty() {
                return self.chunk(chunk);
            }
        }
        loop {
            if self.round == 0
                && let Some(piece) = self.begin_round(state)
            {
                return piece;
            }
            match self.next_changes(state) {
                // There was nothing to send in this round: keys had come and gone.
                Piece::Settled => {}
                piece => return piece,
            }
        }
    }

    /// The next chunk while clients wait.
    pub fn last_piece(&mut self, state: &State) -> Piece {
        self.round = usize::MAX;
        self.next_changes(state)
    }

    /// Begins a round, unless there is no need for one or no sense in it.
    fn begin_round(&mut self, state: &State) -> Option<Piece> {
        let Some(changed) = self.changed(state) else {
            return Some(Piece::Lost(TOO_MUCH));
        };
        if self.is_short_enough(changed) {
            return Some(Piece::Settled);
        }
        if self.stalls > MAX_STALLS {
            return Some(Piece::Lost(TOO_FAST));
        }
        self.round = changed;
        None
    }

    /// How many changed keys are to be sent; `None` if nobody knows.
    fn changed(&self, state: &State) -> Option<usize> {
        let changes = state.keyspace.take_changes(&self.prefix, 0)?;
        (!changes.restart).then_some(self.taken.len() + changes.left)
    }

    fn is_short_enough(&mut self, changed: usize) -> bool {
        let is_shorter = changed < self.last_round / 2;
        self.stalls += u32::from(!is_shorter);
        self.last_round = changed;
        changed <= NEXT_TO_NOTHING
            || !is_shorter && changed <= FEW
            || self.stalls > MAX_STALLS && changed <= MANY
    }

    /// The next chunk of the present round.
    fn next_changes(&mut self, state: &State) -> Piece {
        if planted::is_on(Planted::ChangesNotCopied) {
            self.round = 0;
        }
        while self.round > 0 {
            if self.taken.is_empty() {
                let most = self.round.min(TAKEN_KEYS);
                match state.keyspace.take_changes(&self.prefix, most) {
                    Some(changes) if !changes.restart => self.taken = changes.keys,
                    _ => return Piece::Lost(TOO_MUCH),
                }
            }
            if self.taken.is_empty() {
                self.round = 0;
                break;
            }
            let (prefix, ledger) = (&self.prefix, &mut self.ledger);
            let (chunk, done) = state.export_keys(prefix, &self.taken, self.chunk_bytes, ledger);
            self.taken.drain(..done);
            self.round = self.round.saturating_sub(done);
            if !chunk.is_empty() {
                return self.chunk(chunk);
            }
        }
        Piece::Settled
    }

    fn chunk(&mut self, chunk: Vec<u8>) -> Piece {
        self.bytes += chunk.len() as u64;
        Piece::Chunk(chunk)
    }
}
