//! Reading entries, and the heads of proposals that a peer has sent.

use std::ops::Range;

use bailiwick_frame::{ArgRange, Args, Protocol};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex};

use super::super::Member;
use super::super::codec::{DecodeError, Reader};
use super::super::configuration::take_members;
use super::{
    AUTHOR, COMMAND, DIGEST, ENTRY_VERSION, EVICT, EXPIRE, EntryHead, GENESIS, MAX_OPEN_PROPOSALS,
    Origin, PROXIED_COMMAND, PROXIED_TRANSACTION, ProxiedStep, REFUSE_GROWTH, SEAL, STEP_ANSWERED,
    STEP_COMMAND, TRANSACTION, Watched,
};
use crate::keyspace::WatchState;

/// The version before floors and lengths.
const VERSION_1: u8 = 1;
/// The version before groups had numbers in their logs.
const VERSION_2: u8 = 2;

/// Receives the items of an entry in order.
pub trait EntryVisitor {
    /// A proposal begins. False skips its items.
    fn proposal(&mut self, origin: Origin, sequence: u64, floor: u64) -> bool;
    /// A command.
    fn command(&mut self, database: usize, args: Args<'_>);
    /// A transaction with its watches and commands.
    fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]);
    /// A command whose reply is kept.
    fn proxied(&mut self, protocol: Protocol, database: usize, args: Args<'_>);
    /// A transaction whose reply is kept.
    fn proxied_transaction(
        &mut self,
        protocol: Protocol,
        watched: &[Watched],
        steps: &[ProxiedStep<'_>],
    );
    /// Memory is short: proxied commands of this entry that need some are refused.
    fn refuse_growth(&mut self);
    /// Who wants what follows in this proposal: a client of its node, or nobody (0).
    fn author(&mut self, number: u64);
    /// The removal of expired keys.
    fn expire(&mut self, limit: u64);
    /// The removal of a key to make room.
    fn evict(&mut self, database: usize, key: &[u8]);
    /// The beginning of the group's log.
    fn genesis(&mut self, databases: usize, hash_seed: u64, group: GroupId);
    /// The next membership of the group.
    fn seal(&mut self, configuration: ConfigurationId, members: &[Member]);
    /// What the state added up to right after the entry at `index`.
    fn digest(&mut self, index: LogIndex, digest: u64);
}

/// What stands before the items of a proposal.
///
/// Invariants: `floor < sequence <= floor + MAX_OPEN_PROPOSALS`, `items <= items_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalHead {
    /// Who proposes.
    pub origin: Origin,
    /// The how manieth proposal of this origin it is, from 1.
    pub sequence: u64,
    /// All proposals of the origin up to this one are finished.
    pub floor: u64,
    /// How many items follow.
    pub items: u32,
    /// How many bytes they take.
    pub items_bytes: u32,
}

/// Decodes the head of an entry.
pub fn decode_head(entry: &[u8]) -> Result<EntryHead, DecodeError> {
    Ok(entry_head(&mut Reader::new(entry))?.1)
}

/// Decodes the head of the proposal that `bytes` begin with. The items need not be there.
pub fn decode_proposal_head(bytes: &[u8]) -> Result<ProposalHead, DecodeError> {
    proposal_head(&mut Reader::new(bytes))
}

/// Divides encoded proposals without looking at their items. After an error there is nothing more.
#[must_use]
pub fn split_proposals(bytes: &[u8]) -> Proposals<'_> {
    Proposals {
        reader: Reader::new(bytes),
    }
}

/// The proposals in a row of bytes, each with its head and all of its bytes.
pub struct Proposals<'a> {
    reader: Reader<'a>,
}

impl<'a> Proposals<'a> {
    fn take(&mut self) -> Result<(ProposalHead, &'a [u8]), DecodeError> {
        let start = self.reader.at();
        let head = proposal_head(&mut self.reader)?;
        let items = self.reader.range(head.items_bytes as usize)?;
        Ok((head, &self.reader.bytes()[start..items.end]))
    }
}

impl<'a> Iterator for Proposals<'a> {
    type Item = Result<(ProposalHead, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_done() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(taken)
    }
}

/// Decodes an entry, handing its items to `visitor` as they come.
pub fn decode(entry: &[u8], visitor: &mut impl EntryVisitor) -> Result<(), DecodeError> {
    if u32::try_from(entry.len()).is_err() {
        // Arguments are found by 32-bit positions; the log takes no entry of this size.
        return Err(DecodeError::Malformed(0));
    }
    let mut reader = Reader::new(entry);
    let (version, _) = entry_head(&mut reader)?;
    let mut ranges = Vec::new();
    while !reader.is_done() {
        if version == VERSION_1 {
            proposal_of_version_1(&mut reader, visitor, &mut ranges)?;
            continue;
        }
        proposal(&mut reader, version, visitor, &mut ranges)?;
    }
    Ok(())
}

/// Decodes one proposal as it travels, handing its items to `visitor` as they come.
pub fn decode_proposal(bytes: &[u8], visitor: &mut impl EntryVisitor) -> Result<(), DecodeError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(DecodeError::Malformed(0));
    }
    let mut reader = Reader::new(bytes);
    proposal(&mut reader, ENTRY_VERSION, visitor, &mut Vec::new())?;
    if reader.is_done() {
        Ok(())
    } else {
        Err(DecodeError::Malformed(reader.at()))
    }
}

fn proposal(
    reader: &mut Reader<'_>,
    version: u8,
    visitor: &mut impl EntryVisitor,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), DecodeError> {
    let head = proposal_head(reader)?;
    let mut items = reader.limited(head.items_bytes as usize)?;
    if !visitor.proposal(head.origin, head.sequence, head.floor) {
        return Ok(());
    }
    for _ in 0..head.items {
        item(&mut items, version, visitor, ranges)?;
    }
    if items.is_done() {
        Ok(())
    } else {
        Err(DecodeError::Malformed(items.at()))
    }
}

fn entry_head(reader: &mut Reader<'_>) -> Result<(u8, EntryHead), DecodeError> {
    let [version] = reader.array()?;
    if !(VERSION_1..=ENTRY_VERSION).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let time_ms = i64::from_le_bytes(reader.array()?);
    let seed = u64::from_le_bytes(reader.array()?);
    Ok((version, EntryHead { time_ms, seed }))
}

fn proposal_head(reader: &mut Reader<'_>) -> Result<ProposalHead, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let head = ProposalHead {
        origin: origin(reader)?,
        sequence: u64::from_le_bytes(reader.array()?),
        floor: u64::from_le_bytes(reader.array()?),
        items: u32::from_le_bytes(reader.array()?),
        items_bytes: u32::from_le_bytes(reader.array()?),
    };
    let open = head.sequence.checked_sub(head.floor);
    let is_open = open.is_some_and(|open| (1..=MAX_OPEN_PROPOSALS).contains(&open));
    if !is_open || head.items > head.items_bytes {
        return Err(malformed);
    }
    Ok(head)
}

fn origin(reader: &mut Reader<'_>) -> Result<Origin, DecodeError> {
    Ok(Origin {
        node: u32::from_le_bytes(reader.array()?),
        incarnation: u64::from_le_bytes(reader.array()?),
    })
}

fn proposal_of_version_1(
    reader: &mut Reader<'_>,
    visitor: &mut impl EntryVisitor,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let origin = origin(reader)?;
    let floor = u64::from_le_bytes(reader.array()?);
    let sequence = floor.checked_add(1).ok_or(malformed)?;
    let items = u32::from_le_bytes(reader.array()?);
    let wanted = visitor.proposal(origin, sequence, floor);
    for _ in 0..items {
        // Without a length, items can be passed over only by reading them.
        if wanted {
            item(reader, VERSION_1, visitor, ranges)?;
        } else {
            item(reader, VERSION_1, &mut Skip, ranges)?;
        }
    }
    Ok(())
}

fn item(
    reader: &mut Reader<'_>,
    version: u8,
    visitor: &mut impl EntryVisitor,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let [tag] = reader.array()?;
    match tag {
        COMMAND => {
            ranges.clear();
            let database = body(reader, ranges)?;
            visitor.command(database, Args::new(reader.bytes(), ranges));
        }
        TRANSACTION => transaction(reader, visitor)?,
        PROXIED_COMMAND => {
            let protocol = protocol(reader)?;
            ranges.clear();
            let database = body(reader, ranges)?;
            visitor.proxied(protocol, database, Args::new(reader.bytes(), ranges));
        }
        PROXIED_TRANSACTION => proxied_transaction(reader, visitor)?,
        REFUSE_GROWTH => visitor.refuse_growth(),
        AUTHOR => visitor.author(reader.varint()?),
        EXPIRE => visitor.expire(reader.varint()?),
        EVICT => {
            let database = reader.length()?;
            visitor.evict(database, reader.string()?);
        }
        GENESIS => {
            let databases = reader.length()?;
            let hash_seed = reader.varint()?;
            let group = if version <= VERSION_2 {
                0
            } else {
                u32::try_from(reader.varint()?).map_err(|_| malformed)?
            };
            visitor.genesis(databases, hash_seed, GroupId(group));
        }
        SEAL => {
            let (configuration, members) = take_members(reader)?;
            visitor.seal(configuration, &members);
        }
        DIGEST => {
            let index = LogIndex(reader.varint()?);
            visitor.digest(index, u64::from_le_bytes(reader.array()?));
        }
        _ => return Err(malformed),
    }
    Ok(())
}

fn transaction(
    reader: &mut Reader<'_>,
    visitor: &mut impl EntryVisitor,
) -> Result<(), DecodeError> {
    let watched = watched(reader)?;
    let mut ranges = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..reader.length()? {
        let first = ranges.len();
        let database = body(reader, &mut ranges)?;
        bodies.push((database, first..ranges.len()));
    }
    let commands: Vec<_> = bodies
        .into_iter()
        .map(|(database, range)| (database, Args::new(reader.bytes(), &ranges[range])))
        .collect();
    visitor.transaction(&watched, &commands);
    Ok(())
}

fn proxied_transaction(
    reader: &mut Reader<'_>,
    visitor: &mut impl EntryVisitor,
) -> Result<(), DecodeError> {
    /// A command's database and the places of its arguments, or the place of a reply.
    enum Body {
        Command(usize, Range<usize>),
        Answered(Range<usize>),
    }
    let protocol = protocol(reader)?;
    let watched = watched(reader)?;
    let mut ranges = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..reader.length()? {
        let malformed = DecodeError::Malformed(reader.at());
        match reader.array()? {
            [STEP_COMMAND] => {
                let first = ranges.len();
                let database = body(reader, &mut ranges)?;
                bodies.push(Body::Command(database, first..ranges.len()));
            }
            [STEP_ANSWERED] => {
                let len = reader.length()?;
                bodies.push(Body::Answered(reader.range(len)?));
            }
            _ => return Err(malformed),
        }
    }
    let steps = bodies.into_iter().map(|body| match body {
        Body::Command(database, range) => {
            ProxiedStep::Command(database, Args::new(reader.bytes(), &ranges[range]))
        }
        Body::Answered(range) => ProxiedStep::Answered(&reader.bytes()[range]),
    });
    let steps: Vec<_> = steps.collect();
    visitor.proxied_transaction(protocol, &watched, &steps);
    Ok(())
}

fn protocol(reader: &mut Reader<'_>) -> Result<Protocol, DecodeError> {
    match reader.array()? {
        [2] => Ok(Protocol::Resp2),
        [3] => Ok(Protocol::Resp3),
        _ => Err(DecodeError::Malformed(reader.at() - 1)),
    }
}

fn watched(reader: &mut Reader<'_>) -> Result<Vec<Watched>, DecodeError> {
    let mut watched = Vec::new();
    for _ in 0..reader.length()? {
        let database = reader.length()?;
        let key = reader.string()?.to_vec();
        let state = WatchState(reader.varint()?);
        watched.push(Watched {
            database,
            key,
            state,
        });
    }
    Ok(watched)
}

fn body(reader: &mut Reader<'_>, ranges: &mut Vec<ArgRange>) -> Result<usize, DecodeError> {
    let database = reader.length()?;
    for _ in 0..reader.length()? {
        let len = reader.length()?;
        let range = reader.range(len)?;
        ranges.push(ArgRange {
            start: range.start as u32,
            end: range.end as u32,
        });
    }
    Ok(database)
}

/// Lets everything pass.
struct Skip;

impl EntryVisitor for Skip {
    fn proposal(&mut self, _: Origin, _: u64, _: u64) -> bool {
        false
    }
    fn command(&mut self, _: usize, _: Args<'_>) {}
    fn transaction(&mut self, _: &[Watched], _: &[(usize, Args<'_>)]) {}
    fn proxied(&mut self, _: Protocol, _: usize, _: Args<'_>) {}
    fn proxied_transaction(&mut self, _: Protocol, _: &[Watched], _: &[ProxiedStep<'_>]) {}
    fn refuse_growth(&mut self) {}
    fn author(&mut self, _: u64) {}
    fn expire(&mut self, _: u64) {}
    fn evict(&mut self, _: usize, _: &[u8]) {}
    fn genesis(&mut self, _: usize, _: u64, _: GroupId) {}
    fn seal(&mut self, _: ConfigurationId, _: &[Member]) {}
    fn digest(&mut self, _: LogIndex, _: u64) {}
}
