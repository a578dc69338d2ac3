//! The log entry: what the state machine is fed with.
//!
//! ```text
//! entry     = version u8 | time in ms i64 | random seed u64 | proposal*
//! proposal  = origin node u32 | incarnation u64 | sequence u64 | count | item*
//! item      = COMMAND database argument*            one command
//!           | TRANSACTION watched* command*         all or nothing after the watches are checked
//!           | EXPIRE limit                          remove keys whose time has come
//!           | EVICT database key                    make room
//!           | GENESIS databases hash-seed           the first item of every log
//! ```
//!
//! Fixed numbers are little-endian, the others LEB128; bytes are preceded by their length. Commands
//! stand here as the client sent them, without translation: apply is a pure function of the state
//! and the entry, whose time and seed stand in for the clock and for chance.
//!
//! A decoder failure means that the log was written by another version or by nobody: integrity is
//! the log's own concern, which checks its records.

use bailiwick_frame::{ArgRange, Args};

use crate::keyspace::WatchState;

/// Version of this format.
pub const ENTRY_VERSION: u8 = 1;

const COMMAND: u8 = 1;
const TRANSACTION: u8 = 2;
const EXPIRE: u8 = 3;
const EVICT: u8 = 4;
const GENESIS: u8 = 5;

/// Who proposed something: a node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// The node's number.
    pub node: u32,
    /// Counts the node's starts.
    pub incarnation: u64,
}

/// The time and chance of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Log time in milliseconds since 1970; never runs back from entry to entry.
    pub time_ms: i64,
    /// Where the random sequence of the entry's commands starts.
    pub seed: u64,
}

/// A key that a transaction watches, with what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its database.
    pub database: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Its state when WATCH was executed.
    pub state: WatchState,
}

/// Writes one entry with one proposal. The buffer is reused from entry to entry.
pub struct EntryWriter<'a> {
    out: &'a mut Vec<u8>,
    items: u32,
    count_at: usize,
}

impl<'a> EntryWriter<'a> {
    /// Starts an entry, overwriting what `out` held.
    pub fn new(out: &'a mut Vec<u8>, head: EntryHead, origin: Origin, sequence: u64) -> Self {
        out.clear();
        out.push(ENTRY_VERSION);
        out.extend_from_slice(&head.time_ms.to_le_bytes());
        out.extend_from_slice(&head.seed.to_le_bytes());
        out.extend_from_slice(&origin.node.to_le_bytes());
        out.extend_from_slice(&origin.incarnation.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        let count_at = out.len();
        // The count is not known yet; four bytes of fixed width are kept for it.
        out.extend_from_slice(&[0; 4]);
        Self {
            out,
            items: 0,
            count_at,
        }
    }

    /// How many items there are so far.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// Adds a command.
    pub fn command(&mut self, database: usize, args: Args<'_>) {
        self.item(COMMAND);
        self.body(database, args);
    }

    /// Adds a transaction; [`EntryWriter::transaction_command`] must follow `commands` times.
    pub fn transaction(&mut self, watched: &[Watched], commands: usize) {
        self.item(TRANSACTION);
        put_varint(self.out, watched.len() as u64);
        for watched in watched {
            put_varint(self.out, watched.database as u64);
            put_bytes(self.out, &watched.key);
            put_varint(self.out, watched.state.0);
        }
        put_varint(self.out, commands as u64);
    }

    /// Adds a command to the transaction begun last.
    pub fn transaction_command(&mut self, database: usize, args: Args<'_>) {
        self.body(database, args);
    }

    /// Adds the removal of up to `limit` keys that have expired.
    pub fn expire(&mut self, limit: u64) {
        self.item(EXPIRE);
        put_varint(self.out, limit);
    }

    /// Adds the removal of a key to make room.
    pub fn evict(&mut self, database: usize, key: &[u8]) {
        self.item(EVICT);
        put_varint(self.out, database as u64);
        put_bytes(self.out, key);
    }

    /// Adds the beginning of a log.
    pub fn genesis(&mut self, databases: usize, hash_seed: u64) {
        self.item(GENESIS);
        put_varint(self.out, databases as u64);
        put_varint(self.out, hash_seed);
    }

    /// Completes the entry.
    pub fn finish(self) {
        let count = self.items.to_le_bytes();
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&count);
    }

    fn item(&mut self, tag: u8) {
        self.items += 1;
        self.out.push(tag);
    }

    fn body(&mut self, database: usize, args: Args<'_>) {
        put_varint(self.out, database as u64);
        put_varint(self.out, args.len() as u64);
        for arg in args.iter() {
            put_bytes(self.out, arg);
        }
    }
}

/// The entry is no entry of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a version that this one does not know.
    #[error("entry format {0}, this version reads {ENTRY_VERSION}")]
    Version(u8),
    /// Ends too early, or holds something that no writer writes.
    #[error("malformed entry at byte {0}")]
    Malformed(usize),
}

/// Receives the items of an entry in order.
pub trait EntryVisitor {
    /// A proposal begins.
    fn proposal(&mut self, origin: Origin, sequence: u64);
    /// A command.
    fn command(&mut self, database: usize, args: Args<'_>);
    /// A transaction with its watches and commands.
    fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]);
    /// The removal of expired keys.
    fn expire(&mut self, limit: u64);
    /// The removal of a key to make room.
    fn evict(&mut self, database: usize, key: &[u8]);
    /// The beginning of the log.
    fn genesis(&mut self, databases: usize, hash_seed: u64);
}

/// Decodes the head of an entry.
pub fn decode_head(entry: &[u8]) -> Result<EntryHead, DecodeError> {
    Reader { entry, at: 0 }.head()
}

/// Decodes an entry, handing its items to `visitor` as they come.
pub fn decode(entry: &[u8], visitor: &mut impl EntryVisitor) -> Result<(), DecodeError> {
    let mut reader = Reader { entry, at: 0 };
    reader.head()?;
    let mut ranges = Vec::new();
    while reader.at < entry.len() {
        let node = u32::from_le_bytes(reader.array()?);
        let incarnation = u64::from_le_bytes(reader.array()?);
        let sequence = u64::from_le_bytes(reader.array()?);
        visitor.proposal(Origin { node, incarnation }, sequence);
        for _ in 0..u32::from_le_bytes(reader.array()?) {
            reader.item(visitor, &mut ranges)?;
        }
    }
    Ok(())
}

struct Reader<'a> {
    entry: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn head(&mut self) -> Result<EntryHead, DecodeError> {
        let [version] = self.array()?;
        if version != ENTRY_VERSION {
            return Err(DecodeError::Version(version));
        }
        let time_ms = i64::from_le_bytes(self.array()?);
        let seed = u64::from_le_bytes(self.array()?);
        Ok(EntryHead { time_ms, seed })
    }

    fn item(
        &mut self,
        visitor: &mut impl EntryVisitor,
        ranges: &mut Vec<ArgRange>,
    ) -> Result<(), DecodeError> {
        let [tag] = self.array()?;
        match tag {
            COMMAND => {
                ranges.clear();
                let database = self.body(ranges)?;
                visitor.command(database, Args::new(self.entry, ranges));
            }
            TRANSACTION => self.transaction(visitor)?,
            EXPIRE => visitor.expire(self.varint()?),
            EVICT => {
                let database = self.length()?;
                visitor.evict(database, self.bytes()?);
            }
            GENESIS => {
                let databases = self.length()?;
                visitor.genesis(databases, self.varint()?);
            }
            _ => return Err(DecodeError::Malformed(self.at - 1)),
        }
        Ok(())
    }

    fn transaction(&mut self, visitor: &mut impl EntryVisitor) -> Result<(), DecodeError> {
        let mut watched = Vec::new();
        for _ in 0..self.length()? {
            let database = self.length()?;
            let key = self.bytes()?.to_vec();
            let state = WatchState(self.varint()?);
            watched.push(Watched {
                database,
                key,
                state,
            });
        }
        let mut ranges = Vec::new();
        let mut bodies = Vec::new();
        for _ in 0..self.length()? {
            let first = ranges.len();
            let database = self.body(&mut ranges)?;
            bodies.push((database, first..ranges.len()));
        }
        let commands: Vec<_> = bodies
            .into_iter()
            .map(|(database, range)| (database, Args::new(self.entry, &ranges[range])))
            .collect();
        visitor.transaction(&watched, &commands);
        Ok(())
    }

    fn body(&mut self, ranges: &mut Vec<ArgRange>) -> Result<usize, DecodeError> {
        let database = self.length()?;
        for _ in 0..self.length()? {
            let len = self.length()?;
            let end = self.end(len)?;
            ranges.push(ArgRange {
                start: self.at as u32,
                end: end as u32,
            });
            self.at = end;
        }
        Ok(database)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length()?;
        let end = self.end(len)?;
        let bytes = &self.entry[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn end(&self, len: usize) -> Result<usize, DecodeError> {
        let end = self.at.checked_add(len);
        end.filter(|&end| end <= self.entry.len())
            .ok_or(DecodeError::Malformed(self.at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, _) = self.entry[self.at..]
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Malformed(self.at))?;
        self.at += N;
        Ok(*bytes)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        usize::try_from(self.varint()?).map_err(|_| DecodeError::Malformed(at))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed(start))
    }
}

/// Appends `value` in LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the length of `bytes` and then `bytes`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default, Debug, PartialEq)]
    struct Seen(Vec<String>);

    fn text(args: Args<'_>) -> String {
        format!("{:?}", args.iter().collect::<Vec<_>>())
    }

    impl EntryVisitor for Seen {
        fn proposal(&mut self, origin: Origin, sequence: u64) {
            self.0.push(format!("proposal {origin:?} {sequence}"));
        }
        fn command(&mut self, database: usize, args: Args<'_>) {
            self.0.push(format!("command {database} {}", text(args)));
        }
        fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]) {
            let commands: Vec<_> = commands.iter().map(|(d, args)| (d, text(*args))).collect();
            self.0.push(format!("transaction {watched:?} {commands:?}"));
        }
        fn expire(&mut self, limit: u64) {
            self.0.push(format!("expire {limit}"));
        }
        fn evict(&mut self, database: usize, key: &[u8]) {
            self.0.push(format!("evict {database} {key:?}"));
        }
        fn genesis(&mut self, databases: usize, hash_seed: u64) {
            self.0.push(format!("genesis {databases} {hash_seed}"));
        }
    }

    fn sample() -> Vec<u8> {
        let buffer = b"SETkeyvalue";
        let range = |start, end| ArgRange { start, end };
        let ranges = [range(0, 3), range(3, 6), range(6, 11)];
        let watched = Watched {
            database: 2,
            key: b"w".to_vec(),
            state: WatchState(1 << 33),
        };
        let head = EntryHead {
            time_ms: -5,
            seed: 99,
        };
        let origin = Origin {
            node: 3,
            incarnation: 4,
        };
        let mut out = b"old".to_vec();
        let mut writer = EntryWriter::new(&mut out, head, origin, 7);
        writer.genesis(16, u64::MAX);
        writer.command(1, Args::new(buffer, &ranges));
        writer.transaction(&[watched], 2);
        writer.transaction_command(0, Args::new(buffer, &ranges[..1]));
        writer.transaction_command(15, Args::new(buffer, &ranges[1..]));
        writer.expire(300);
        writer.evict(0, b"gone");
        writer.finish();
        out
    }

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let entry = sample();
        let head = decode_head(&entry).expect("a head");
        assert_eq!((head.time_ms, head.seed), (-5, 99));
        let mut seen = Seen::default();
        decode(&entry, &mut seen).expect("decodes");
        assert_eq!(
            seen.0,
            [
                "proposal Origin { node: 3, incarnation: 4 } 7".to_owned(),
                format!("genesis 16 {}", u64::MAX),
                format!("command 1 {:?}", [&b"SET"[..], b"key", b"value"]),
                format!(
                    "transaction [Watched {{ database: 2, key: [119], state: WatchState({}) }}] {:?}",
                    1u64 << 33,
                    [
                        (0, format!("{:?}", [b"SET"])),
                        (15, format!("{:?}", [&b"key"[..], b"value"]))
                    ]
                ),
                "expire 300".to_owned(),
                format!("evict 0 {:?}", b"gone"),
            ]
        );
    }

    #[test]
    fn every_truncation_is_refused() {
        let entry = sample();
        for len in 0..entry.len() {
            // Cut right behind the head, an entry without proposals remains, which is well formed.
            if len != 17 {
                let result = decode(&entry[..len], &mut Seen::default());
                assert!(result.is_err(), "{len} of {} bytes", entry.len());
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &mut Seen::default());
            if let Some(version) = bytes.first_mut() {
                *version = ENTRY_VERSION;
            }
            let _ = decode(&bytes, &mut Seen::default());
        }
    }
}
