//! Writing a frozen state, step by step.

use std::io;
use std::sync::Arc;

use super::Part;
use crate::keyspace::Segment;
use crate::state::codec::put_bytes;
use crate::state::record::{REALM, put_chunk, put_end, put_head};

/// A block is handed over when it has grown to this size.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// A step ends after so many chunks, even within a value.
const STEP_CHUNKS: usize = 16;

/// What is written, in order.
pub(super) type Parts = Box<dyn Iterator<Item = Part> + Send>;

/// Writes a frozen state step by step, letting go of what has been written.
pub struct ContentWriter {
    parts: Parts,
    /// Where the last step ended, unless it was between two segments.
    position: Option<Position>,
    out: Vec<u8>,
    chunk: Vec<u8>,
    /// What keeps it from writing anything.
    oversized: Option<&'static str>,
}

/// A place within a segment, whose entries have a fixed order as long as nothing is written to it.
struct Position {
    database: usize,
    segment: Arc<Segment>,
    /// Entries before it are written.
    entry: usize,
    /// So are this many pieces of this entry's value, and what stands before them.
    pieces: Option<usize>,
}

impl ContentWriter {
    /// Writes what is in `out`, and then these parts.
    pub(super) fn new(parts: Parts, out: Vec<u8>) -> Self {
        Self {
            parts,
            position: None,
            out,
            chunk: Vec::new(),
            oversized: None,
        }
    }

    /// Writes nothing: this part of the state is too large for the format.
    pub(super) fn refuse(&mut self, part: &'static str) {
        self.oversized = Some(part);
    }

    /// Writes the next `count` segments, in blocks, to `sink`; less if a value has very many
    /// elements. False when that was all.
    pub fn step(
        &mut self,
        count: usize,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        if let Some(part) = self.oversized {
            let reason = format!("{part} take more than 4 GiB, for which a checkpoint has no room");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        let mut chunks = 0;
        for _ in 0..count {
            let position = self.position.take().or_else(|| self.next_segment());
            let Some(position) = position else {
                for block in std::mem::take(&mut self.out).chunks(4 * BLOCK_BYTES) {
                    sink(block)?;
                }
                return Ok(false);
            };
            self.position = self.write_segment(position, &mut chunks, &mut sink)?;
            if self.position.is_some() {
                break;
            }
        }
        Ok(true)
    }

    /// The beginning of the next segment; what stands before it is written.
    fn next_segment(&mut self) -> Option<Position> {
        loop {
            match self.parts.next()? {
                Part::Segment(database, segment) => {
                    segment.prefetch_all();
                    return Some(Position {
                        database,
                        segment,
                        entry: 0,
                        pieces: None,
                    });
                }
                Part::Realm(prefix) => {
                    self.out.push(REALM);
                    put_bytes(&mut self.out, &prefix);
                }
            }
        }
    }

    /// Writes a segment from `position` on. Where it stopped, if that is not the end.
    fn write_segment(
        &mut self,
        mut position: Position,
        chunks: &mut usize,
        sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Option<Position>> {
        let segment = position.segment.clone();
        for entry in segment.iter().skip(position.entry) {
            if position.pieces.is_none() {
                put_head(entry, position.database, entry.stamp(), &mut self.out);
            }
            if let Some(elements) = entry.value().elements() {
                let mut from = position.pieces.take().unwrap_or(0);
                while from < elements.pieces() {
                    if *chunks == STEP_CHUNKS {
                        position.pieces = Some(from);
                        return Ok(Some(position));
                    }
                    put_chunk(elements, from, &mut self.chunk, &mut self.out);
                    self.flush_if_full(sink)?;
                    from += elements.pieces_at_once();
                    *chunks += 1;
                }
                put_end(&mut self.out);
            }
            self.flush_if_full(sink)?;
            position.entry += 1;
        }
        Ok(None)
    }

    fn flush_if_full(&mut self, sink: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.out.len() < BLOCK_BYTES {
            return Ok(());
        }
        for block in self.out.chunks(4 * BLOCK_BYTES) {
            sink(block)?;
        }
        self.out.clear();
        self.out.shrink_to(2 * BLOCK_BYTES);
        self.chunk.clear();
        self.chunk.shrink_to(BLOCK_BYTES);
        Ok(())
    }
}
