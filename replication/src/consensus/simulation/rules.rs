//! Rules that random schedules hardly ever need: each with the schedule that needs it, and with the
//! bug that it forbids planted, to show that the schedule does.

use omnipaxos::ballot_leader_election::Ballot;

use super::*;

const TICK: u64 = 10 * MS;

fn three(id: u32) -> Configuration {
    Configuration {
        id: ConfigurationId(id),
        members: [1, 2, 3].map(member).into(),
        begins_after: LogIndex::ZERO,
    }
}

/// A replica of a group of three on a log of so many entries.
fn open(node: u64, meta: Meta, applied: u64) -> Replica {
    let disk = Disk::default();
    disk.write(&LogWrite {
        compact: None,
        first: LogIndex(1),
        entries: (1..=meta.end).map(|id| encode(id, &[])).collect(),
        meta: meta.encode(),
    });
    let options = Options {
        member: member(node),
        incarnation: 1,
        priority: 0,
        timing: Timing {
            tick_ns: TICK,
            ..Timing::default()
        },
    };
    Replica::open(options, meta, Box::new(disk), LogIndex(applied), MS)
}

/// Whether something holds as it should, and does not with a bug planted.
fn shows(bug: Planted, holds: impl Fn() -> bool) {
    assert!(holds(), "it does not hold even without {bug:?}");
    plant(Some(bug));
    let holds = holds();
    plant(None);
    assert!(!holds, "{bug:?} goes unnoticed");
}

/// Two members, the second of which only answers, while the first is asked to lead; what it writes
/// from then on stays under way. Gives what is decided there.
fn decided_while_the_round_is_being_written() -> u64 {
    let old = Ballot::with(1, 3, 0, 1);
    let mut first = open(
        1,
        Meta {
            promise: Some(old),
            accepted_round: Some(old),
            end: 1,
            ..Meta::new(three(1))
        },
        0,
    );
    let mut second = open(2, Meta::new(three(1)), 0);
    for round in 1..200 {
        let now = MS + round * TICK;
        first.tick(now);
        if round == 50 {
            let lead = Message::Lead { above: 3 }.encode();
            let tag = ConfigurationId(1);
            first
                .receive(NodeId(2), tag, &lead, now)
                .expect("a message");
        }
        let ready = first.ready(now);
        let mut messages = ready.messages;
        if ready.write.is_some() && first.log.lock().meta.accepted_round == Some(old) {
            messages.extend(first.persisted(now));
        }
        deliver(1, messages, &mut second, now);
        let ready = second.ready(now);
        let mut messages = ready.messages;
        if ready.write.is_some() {
            messages.extend(second.persisted(now));
        }
        deliver(2, messages, &mut first, now);
    }
    assert!(first.is_leader());
    first.decided().0
}

fn deliver(from: u64, messages: Vec<Outgoing>, to: &mut Replica, now: u64) {
    let own = to.member().node;
    for message in messages.iter().filter(|message| message.to == own) {
        to.receive(NodeId(from), message.configuration, &message.payload, now)
            .unwrap();
    }
}

/// The leader's entry is on disk since an earlier round. If that round were all that is left after
/// a crash, an entry of a round in between would win against it.
#[test]
fn a_leader_counts_itself_once_its_round_is_on_disk() {
    shows(Planted::RoundNotSynced, || {
        decided_while_the_round_is_being_written() == 0
    });
}

/// It may have granted time to somebody before it restarted.
#[test]
fn a_restarted_node_does_not_take_over_at_once_when_asked_to() {
    shows(Planted::LeadsInQuarantine, || {
        let promise = Some(Ballot::with(1, 3, 0, 2));
        let meta = Meta {
            promise,
            ..Meta::new(three(1))
        };
        let mut replica = open(1, meta, 0);
        let lead = Message::Lead { above: 3 }.encode();
        let tag = ConfigurationId(1);
        replica
            .receive(NodeId(3), tag, &lead, MS + TICK)
            .expect("a message");
        replica.ballot() == 3
    });
}

/// The entries behind the end of a configuration are void, which a node that has not got there does
/// not know; its answer may come late, too.
#[test]
fn decided_entries_are_not_taken_from_an_earlier_configuration() {
    shows(Planted::EntriesOfEarlierConfiguration, || {
        let meta = Meta {
            decided: 5,
            end: 5,
            ..Meta::new(three(2))
        };
        let mut replica = open(1, meta, 5);
        let mut receive = |configuration, message: Message| {
            let tag = ConfigurationId(configuration);
            replica
                .receive(NodeId(2), tag, &message.encode(), 2 * MS)
                .expect("a message");
            replica.decided().0
        };
        receive(3, Message::Sealed);
        let entries = || Message::Entries {
            behind: LogIndex(5),
            decided: LogIndex(9),
            entries: vec![encode(6, &[]); 2],
        };
        receive(1, entries()) == 5 && receive(2, entries()) == 7
    });
}

/// A checkpoint was received, and the crash came before the log was cut: of what the log holds
/// below the checkpoint and was not known to be decided, nothing may be given to others.
#[test]
fn a_log_that_is_behind_a_checkpoint_begins_behind_it() {
    shows(Planted::TrustsLogBelowCheckpoint, || {
        let meta = Meta {
            decided: 5,
            end: 10,
            ..Meta::new(three(1))
        };
        let replica = open(1, meta, 8);
        let indexes = [replica.trimmed(), replica.decided(), replica.end()];
        indexes.map(|index| index.0) == [8, 8, 10]
    });
}

/// Whoever it fetches from may be gone for good.
#[test]
fn a_node_that_catches_up_asks_another_when_its_source_is_silent() {
    let mut replica = open(1, Meta::new(three(1)), 0);
    let sealed = Message::Sealed.encode();
    replica
        .receive(NodeId(2), ConfigurationId(2), &sealed, 2 * MS)
        .expect("a message");
    let mut asked = BTreeSet::new();
    for round in 1..100 {
        let now = MS + round * TICK;
        replica.tick(now);
        let messages = replica.ready(now).messages;
        let fetches = messages.iter().filter(|it| it.class == Class::Bulk);
        asked.extend(fetches.map(|it| it.to.0));
    }
    assert_eq!(asked, BTreeSet::from([2, 3]));
}

/// A source whose disk was emptied answers, and has nothing.
#[test]
fn a_node_that_catches_up_turns_to_who_is_ahead_when_its_source_is_not() {
    let stranger = Configuration {
        members: Vec::new(),
        ..three(0)
    };
    let mut replica = open(1, Meta::new(stranger), 0);
    let nothing = Message::Entries {
        behind: LogIndex(0),
        decided: LogIndex(0),
        entries: Vec::new(),
    };
    let heard = [
        (2, Message::Sealed),
        (3, Message::Sealed),
        (2, nothing),
        (3, Message::Sealed),
    ];
    let mut asked = Vec::new();
    for (from, message) in heard {
        let tag = ConfigurationId(2);
        replica
            .receive(NodeId(from), tag, &message.encode(), 2 * MS)
            .expect("a message");
        let messages = replica.ready(2 * MS).messages;
        asked.extend(messages.iter().map(|message| message.to.0));
    }
    assert_eq!(asked, [2, 3]);
}
