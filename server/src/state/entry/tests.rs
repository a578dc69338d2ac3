//! Round trips, entries of version 1 and bytes gone wrong.

use bailiwick_frame::{ArgRange, Args, Protocol};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex, NodeId};
use proptest::prelude::*;

use super::super::{DecodeError, Member};
use super::*;

/// What a visitor has seen, as text; skips the proposals of one node.
#[derive(Default, Debug, PartialEq)]
struct Seen {
    items: Vec<String>,
    skipped: Option<u32>,
}

impl Seen {
    fn push(&mut self, item: String) {
        self.items.push(item);
    }
}

fn text(args: Args<'_>) -> String {
    format!("{:?}", args.iter().collect::<Vec<_>>())
}

fn step_text(step: &ProxiedStep<'_>) -> String {
    match step {
        ProxiedStep::Command(database, args) => format!("{database} {}", text(*args)),
        ProxiedStep::Answered(reply) => format!("answered {reply:?}"),
    }
}

impl EntryVisitor for Seen {
    fn proposal(&mut self, origin: Origin, sequence: u64, floor: u64) -> bool {
        self.push(format!("proposal {origin:?} {sequence} {floor}"));
        self.skipped != Some(origin.node)
    }
    fn command(&mut self, database: usize, args: Args<'_>) {
        self.push(format!("command {database} {}", text(args)));
    }
    fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]) {
        let commands: Vec<_> = commands.iter().map(|(d, args)| (d, text(*args))).collect();
        self.push(format!("transaction {watched:?} {commands:?}"));
    }
    fn proxied(&mut self, protocol: Protocol, database: usize, args: Args<'_>) {
        self.push(format!("proxied {protocol:?} {database} {}", text(args)));
    }
    fn proxied_transaction(
        &mut self,
        protocol: Protocol,
        watched: &[Watched],
        steps: &[ProxiedStep<'_>],
    ) {
        let steps: Vec<_> = steps.iter().map(step_text).collect();
        self.push(format!("proxied {protocol:?} {watched:?} {steps:?}"));
    }
    fn refuse_growth(&mut self) {
        self.push("refuse growth".to_owned());
    }
    fn author(&mut self, number: u64) {
        self.push(format!("author {number}"));
    }
    fn expire(&mut self, limit: u64) {
        self.push(format!("expire {limit}"));
    }
    fn evict(&mut self, database: usize, key: &[u8]) {
        self.push(format!("evict {database} {key:?}"));
    }
    fn genesis(&mut self, databases: usize, hash_seed: u64, group: GroupId) {
        self.push(format!("genesis {databases} {hash_seed} {group}"));
    }
    fn seal(&mut self, configuration: ConfigurationId, members: &[Member]) {
        self.push(format!("seal {configuration} {members:?}"));
    }
    fn digest(&mut self, index: LogIndex, digest: u64) {
        self.push(format!("digest {index} {digest}"));
    }
}

fn seen(entry: &[u8]) -> Vec<String> {
    let mut seen = Seen::default();
    decode(entry, &mut seen).expect("decodes");
    seen.items
}

/// What the writer of version 1 made of the items that [`items`] lists.
const VERSION_1: &str = "01fbffffffffffffff630000000000000003000000040000000000000007000000\
    00000000050000000510ffffffffffffffffff0101010303534554036b65790576616c7565020102017780808080\
    20020001035345540f02036b65790576616c756503ac02040004676f6e65";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The items of version 1 as [`Seen`] shows them.
fn items() -> Vec<String> {
    vec![
        format!("genesis 16 {} 0", u64::MAX),
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
}

fn head() -> EntryHead {
    EntryHead {
        time_ms: -5,
        seed: 99,
    }
}

fn origin(node: u32) -> Origin {
    Origin {
        node,
        incarnation: 4,
    }
}

fn members(count: u64) -> Vec<Member> {
    let member = |number: u64| Member {
        node: NodeId(number << 33),
        disk: u64::MAX - number,
    };
    (0..count).map(member).collect()
}

fn fill(writer: &mut ProposalWriter<'_>) {
    let buffer = b"SETkeyvalue";
    let range = |start, end| ArgRange { start, end };
    let ranges = [range(0, 3), range(3, 6), range(6, 11)];
    let watched = Watched {
        database: 2,
        key: b"w".to_vec(),
        state: WatchState(1 << 33),
    };
    writer.genesis(16, u64::MAX, GroupId(0));
    writer.command(1, Args::new(buffer, &ranges));
    writer.transaction(&[watched], 2);
    writer.transaction_command(0, Args::new(buffer, &ranges[..1]));
    writer.transaction_command(15, Args::new(buffer, &ranges[1..]));
    writer.expire(300);
    writer.evict(0, b"gone");
}

fn fill_proxied(writer: &mut ProposalWriter<'_>) {
    let range = [ArgRange { start: 0, end: 4 }];
    let args = Args::new(b"PING", &range);
    writer.proxied(Protocol::Resp3, 7, args);
    writer.author(300);
    let watched = Watched {
        database: 0,
        key: b"w".to_vec(),
        state: WatchState(5),
    };
    let steps = [ProxiedStep::Command(2, args), ProxiedStep::Answered(b"+OK")];
    writer.proxied_transaction(Protocol::Resp2, &[watched], steps.into_iter());
}

fn proxied_items() -> [String; 3] {
    let watched = "[Watched { database: 0, key: [119], state: WatchState(5) }]";
    let steps = [
        format!("2 {:?}", [b"PING"]),
        format!("answered {:?}", b"+OK"),
    ];
    [
        format!("proxied Resp3 7 {:?}", [b"PING"]),
        "author 300".to_owned(),
        format!("proxied Resp2 {watched} {steps:?}"),
    ]
}

/// A proposal in place, an empty one, and one that was encoded elsewhere.
fn sample() -> Vec<u8> {
    let mut sent = Vec::new();
    let mut proposal = ProposalWriter::new(&mut sent, origin(9), 11, 10);
    proposal.seal(ConfigurationId(300), &members(3));
    proposal.digest(LogIndex(4096), u64::MAX - 1);
    fill_proxied(&mut proposal);
    assert_eq!(proposal.items(), 5);
    proposal.finish();
    let mut out = b"old".to_vec();
    let mut writer = EntryWriter::new(&mut out, head());
    let mut proposal = writer.proposal(origin(3), 8, 2);
    fill(&mut proposal);
    proposal.finish();
    writer.proposal(origin(4), 1, 0).finish();
    writer.append_encoded(&sent);
    let mut taken_back = writer.proposal(origin(5), 1, 0);
    fill(&mut taken_back);
    taken_back.discard();
    out
}

#[test]
fn an_entry_reads_back_as_it_was_written() {
    let entry = sample();
    assert_eq!(decode_head(&entry), Ok(head()));
    let mut expected = vec![format!("proposal {:?} 8 2", origin(3))];
    expected.extend(items());
    expected.push(format!("proposal {:?} 1 0", origin(4)));
    expected.push(format!("proposal {:?} 11 10", origin(9)));
    expected.push(format!("seal 300 {:?}", members(3)));
    expected.push(format!("digest 4096 {}", u64::MAX - 1));
    expected.extend(proxied_items());
    assert_eq!(seen(&entry), expected);
}

#[test]
fn an_entry_of_version_1_counts_its_sequence_from_one() {
    let entry = unhex(VERSION_1);
    assert_eq!(decode_head(&entry), Ok(head()));
    let mut expected = vec![format!("proposal {:?} 8 7", origin(3))];
    expected.extend(items());
    assert_eq!(seen(&entry), expected);
}

#[test]
fn a_skipped_proposal_shows_none_of_its_items() {
    for entry in [unhex(VERSION_1), sample()] {
        let mut all = seen(&entry);
        all.drain(1..=items().len());
        let mut visitor = Seen {
            skipped: Some(3),
            ..Seen::default()
        };
        decode(&entry, &mut visitor).expect("decodes");
        assert_eq!(visitor.items, all);
    }
}

#[test]
fn every_truncation_is_refused() {
    let entry = sample();
    // Between proposals an entry may end: it is a shorter one.
    let mut ends = vec![17];
    for proposal in split_proposals(&entry[17..]) {
        let (_, bytes) = proposal.expect("well formed");
        ends.push(ends[ends.len() - 1] + bytes.len());
    }
    for len in 0..=entry.len() {
        let result = decode(&entry[..len], &mut Seen::default());
        assert_eq!(result.is_ok(), ends.contains(&len), "{len} bytes");
    }
    let entry = unhex(VERSION_1);
    for len in (0..entry.len()).filter(|&len| len != 17) {
        let result = decode(&entry[..len], &mut Seen::default());
        assert!(result.is_err(), "{len} bytes of version 1");
    }
}

#[test]
fn no_flipped_bit_panics() {
    for entry in [unhex(VERSION_1), sample()] {
        for at in 0..entry.len() * 8 {
            let mut flipped = entry.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let _ = decode(&flipped, &mut Seen::default());
            let _ = split_proposals(&flipped[17..]).count();
        }
    }
}

#[test]
fn proposals_are_divided_without_their_items() {
    let entry = sample();
    let found: Vec<_> = split_proposals(&entry[17..])
        .map(|proposal| proposal.expect("well formed"))
        .collect();
    let heads: Vec<_> = found
        .iter()
        .map(|(head, _)| (head.origin, head.sequence, head.floor, head.items))
        .collect();
    assert_eq!(
        heads,
        [
            (origin(3), 8, 2, 5),
            (origin(4), 1, 0, 0),
            (origin(9), 11, 10, 5)
        ]
    );
    for (head, bytes) in &found {
        assert_eq!(decode_proposal_head(bytes), Ok(*head));
        assert_eq!(bytes.len(), PROPOSAL_HEAD_BYTES + head.items_bytes as usize);
    }
    assert_eq!(
        found.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + 17,
        entry.len()
    );
    let cut = &entry[17..entry.len() - 1];
    let results: Vec<_> = split_proposals(cut).map(|found| found.is_ok()).collect();
    assert_eq!(results, [true, true, false]);
}

#[test]
fn heads_that_break_their_bounds_are_refused() {
    let mut good = Vec::new();
    ProposalWriter::new(&mut good, origin(1), MAX_OPEN_PROPOSALS + 5, 5).finish();
    assert!(decode_proposal_head(&good).is_ok());
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        decode_proposal_head(&changed)
    };
    let refused = Err(DecodeError::Malformed(0));
    assert_eq!(
        with(20, &4u64.to_le_bytes()),
        refused,
        "too far above its floor"
    );
    assert_eq!(with(12, &5u64.to_le_bytes()), refused, "at its floor");
    assert_eq!(with(12, &0u64.to_le_bytes()), refused, "below its floor");
    assert_eq!(
        with(28, &1u32.to_le_bytes()),
        refused,
        "an item without a byte"
    );
}

#[test]
fn other_versions_are_refused() {
    for version in [0, ENTRY_VERSION + 1, 255] {
        let mut entry = sample();
        entry[0] = version;
        assert_eq!(decode_head(&entry), Err(DecodeError::Version(version)));
    }
}

proptest! {
    #[test]
    fn any_proposals_read_back(
        proposals in proptest::collection::vec(
            (any::<u32>(), any::<u64>(), 0..u64::MAX - MAX_OPEN_PROPOSALS, 1..=MAX_OPEN_PROPOSALS,
             proptest::collection::vec((0..6u8, any::<u64>(),
                proptest::collection::vec(any::<u8>(), 0..20)), 0..8)),
            0..6,
        ),
    ) {
        let mut out = Vec::new();
        let mut writer = EntryWriter::new(&mut out, head());
        let mut expected = Vec::new();
        for (node, incarnation, floor, open, items) in &proposals {
            let origin = Origin { node: *node, incarnation: *incarnation };
            let mut proposal = writer.proposal(origin, floor + open, *floor);
            expected.push(format!("proposal {origin:?} {} {floor}", floor + open));
            for (kind, number, bytes) in items {
                expected.push(put_item(&mut proposal, *kind, *number, bytes));
            }
            proposal.finish();
        }
        prop_assert_eq!(seen(&out), expected);
        prop_assert_eq!(split_proposals(&out[17..]).filter(Result::is_ok).count(), proposals.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = split_proposals(&bytes).count();
        for version in 0..=ENTRY_VERSION {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let _ = decode(&bytes, &mut Seen::default());
        }
    }
}

fn put_item(proposal: &mut ProposalWriter<'_>, kind: u8, number: u64, bytes: &[u8]) -> String {
    let database = number as usize;
    match kind {
        0 => {
            let ranges = [ArgRange {
                start: 0,
                end: bytes.len() as u32,
            }];
            proposal.command(database, Args::new(bytes, &ranges));
            format!("command {database} {:?}", [bytes])
        }
        1 => {
            proposal.expire(number);
            format!("expire {number}")
        }
        2 => {
            proposal.evict(database, bytes);
            format!("evict {database} {bytes:?}")
        }
        3 => {
            let group = GroupId(number as u32);
            proposal.genesis(database, !number, group);
            format!("genesis {database} {} {group}", !number)
        }
        4 => {
            let members = members(bytes.len().min(16) as u64);
            proposal.seal(ConfigurationId(number as u32), &members);
            format!("seal {} {members:?}", number as u32)
        }
        _ => {
            proposal.digest(LogIndex(number), !number);
            format!("digest {number} {}", !number)
        }
    }
}
