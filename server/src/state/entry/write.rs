//! Writing entries and proposals. Nothing here can fail: what is too long for the log is refused
//! by the log.

use bailiwick_frame::{Args, Protocol};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex};

use super::super::Member;
use super::super::codec::{put_bytes, put_varint};
use super::super::configuration::put_members;
use super::{
    AUTHOR, COMMAND, DIGEST, ENTRY_VERSION, EVICT, EXPIRE, EntryHead, GENESIS, MAX_OPEN_PROPOSALS,
    Origin, PROPOSAL_HEAD_BYTES, PROXIED_COMMAND, PROXIED_TRANSACTION, ProxiedStep, REFUSE_GROWTH,
    SEAL, STEP_ANSWERED, STEP_COMMAND, TRANSACTION, Watched,
};

/// Writes one entry: a head and any number of proposals. The buffer is reused from entry to entry,
/// and holds a complete entry after each proposal.
pub struct EntryWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> EntryWriter<'a> {
    /// Starts an entry, overwriting what `out` held.
    pub fn new(out: &'a mut Vec<u8>, head: EntryHead) -> Self {
        out.clear();
        out.push(ENTRY_VERSION);
        out.extend_from_slice(&head.time_ms.to_le_bytes());
        out.extend_from_slice(&head.seed.to_le_bytes());
        Self { out }
    }

    /// Begins a proposal in place; the items follow through the writer that is returned.
    pub fn proposal(&mut self, origin: Origin, sequence: u64, floor: u64) -> ProposalWriter<'_> {
        ProposalWriter::new(self.out, origin, sequence, floor)
    }

    /// Adds proposals that were encoded elsewhere. What a peer sent must have passed
    /// [`split_proposals`](super::split_proposals) first.
    pub fn append_encoded(&mut self, proposals: &[u8]) {
        self.out.extend_from_slice(proposals);
    }

    /// Bytes of the entry so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.out.len()
    }
}

/// Writes one proposal behind whatever the buffer holds already.
#[must_use = "a proposal is complete only after finish"]
pub struct ProposalWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    items: u32,
}

impl<'a> ProposalWriter<'a> {
    /// Starts a proposal. Panics unless `floor < sequence <= floor + MAX_OPEN_PROPOSALS`.
    pub fn new(out: &'a mut Vec<u8>, origin: Origin, sequence: u64, floor: u64) -> Self {
        assert!(
            floor < sequence,
            "proposal {sequence} is not above its floor {floor}"
        );
        assert!(
            sequence - floor <= MAX_OPEN_PROPOSALS,
            "proposal {sequence} is too far above its floor {floor}"
        );
        let start = out.len();
        out.extend_from_slice(&origin.node.to_le_bytes());
        out.extend_from_slice(&origin.incarnation.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&floor.to_le_bytes());
        // Count and length are not known yet; their places are kept.
        out.extend_from_slice(&[0; 8]);
        Self {
            out,
            start,
            items: 0,
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

    /// Adds a transaction; [`ProposalWriter::transaction_command`] must follow `commands` times,
    /// for reads too: each of them can be the reason why the transaction is not run at all.
    pub fn transaction(&mut self, watched: &[Watched], commands: usize) {
        self.item(TRANSACTION);
        self.watched(watched);
        put_varint(self.out, commands as u64);
    }

    /// Adds a command to the transaction begun last.
    pub fn transaction_command(&mut self, database: usize, args: Args<'_>) {
        self.body(database, args);
    }

    /// Adds a command whose reply is kept in this version of the protocol, be it a read.
    pub fn proxied(&mut self, protocol: Protocol, database: usize, args: Args<'_>) {
        self.item(PROXIED_COMMAND);
        self.out.push(protocol_number(protocol));
        self.body(database, args);
    }

    /// Adds a transaction whose reply is kept in this version of the protocol.
    pub fn proxied_transaction<'s>(
        &mut self,
        protocol: Protocol,
        watched: &[Watched],
        steps: impl ExactSizeIterator<Item = ProxiedStep<'s>>,
    ) {
        self.item(PROXIED_TRANSACTION);
        self.out.push(protocol_number(protocol));
        self.watched(watched);
        put_varint(self.out, steps.len() as u64);
        for step in steps {
            match step {
                ProxiedStep::Command(database, args) => {
                    self.out.push(STEP_COMMAND);
                    self.body(database, args);
                }
                ProxiedStep::Answered(reply) => {
                    self.out.push(STEP_ANSWERED);
                    put_bytes(self.out, reply);
                }
            }
        }
    }

    /// Adds that proxied commands of the entry, from here on, are refused if they need memory.
    pub fn refuse_growth(&mut self) {
        self.item(REFUSE_GROWTH);
    }

    /// Adds who wants the items that follow; 0 for nobody, as at the beginning of a proposal.
    pub fn author(&mut self, number: u64) {
        self.item(AUTHOR);
        put_varint(self.out, number);
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

    /// Adds the beginning of a group's log.
    pub fn genesis(&mut self, databases: usize, hash_seed: u64, group: GroupId) {
        self.item(GENESIS);
        put_varint(self.out, databases as u64);
        put_varint(self.out, hash_seed);
        put_varint(self.out, u64::from(group.0));
    }

    /// Adds the end of the present configuration and the members of the next one, at most
    /// [`MAX_MEMBERS`](super::super::MAX_MEMBERS).
    pub fn seal(&mut self, configuration: ConfigurationId, members: &[Member]) {
        self.item(SEAL);
        put_members(self.out, configuration, members);
    }

    /// Adds what the state added up to right after the entry at `index`.
    pub fn digest(&mut self, index: LogIndex, digest: u64) {
        self.item(DIGEST);
        put_varint(self.out, index.0);
        self.out.extend_from_slice(&digest.to_le_bytes());
    }

    /// Completes the proposal.
    pub fn finish(self) {
        let at = self.start + PROPOSAL_HEAD_BYTES;
        // Items beyond four gigabytes cannot be said, and need not: the log takes less.
        let bytes = u32::try_from(self.out.len() - at).unwrap_or(u32::MAX);
        self.out[at - 8..at - 4].copy_from_slice(&self.items.to_le_bytes());
        self.out[at - 4..at].copy_from_slice(&bytes.to_le_bytes());
    }

    /// Takes the proposal back; the buffer is as it was before.
    pub fn discard(self) {
        self.out.truncate(self.start);
    }

    fn item(&mut self, tag: u8) {
        self.items += 1;
        self.out.push(tag);
    }

    fn watched(&mut self, watched: &[Watched]) {
        put_varint(self.out, watched.len() as u64);
        for watched in watched {
            put_varint(self.out, watched.database as u64);
            put_bytes(self.out, &watched.key);
            put_varint(self.out, watched.state.0);
        }
    }

    fn body(&mut self, database: usize, args: Args<'_>) {
        put_varint(self.out, database as u64);
        put_varint(self.out, args.len() as u64);
        for arg in args.iter() {
            put_bytes(self.out, arg);
        }
    }
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    }
}
