//! Three groups hand prefixes to and fro while clients write, drivers crash at any step, commands
//! arrive twice, and replicas are restored from checkpoints.
//!
//! What is checked throughout: at most one group serves a key; a command that is not refused as a
//! stray sees and changes what a single map would; replicas of a group agree. In the end every move
//! is finished and every key is where it belongs, and nowhere else.

use std::collections::BTreeMap;

use bailiwick_frame::{ArgRange, Args, Protocol};
use bailiwick_replication::GroupId;
use proptest::prelude::*;

use super::super::digest::digest;
use super::super::testing::restored;
use super::super::{EntryHead, EntryWriter, Origin, PROXIED, ProxiedReply, Replay, decode_replies};
use super::*;
use crate::authority::{Owned, Phase, Place, Stray};
use crate::commands::Counters;
use crate::keyspace::AccessPolicy;

const GROUPS: usize = 3;
const DATABASES: usize = 2;
const PREFIXES: [&str; 5] = ["a", "ab", "abc", "b", "c:"];
const HEADS: [&str; 8] = ["a", "ab", "abc", "abcd", "b", "c", "c:", "d"];
/// A client of all groups, from outside.
const CLIENT: Origin = Origin {
    node: PROXIED | 7,
    incarnation: 1,
};

/// A group with two replicas.
struct TestGroup {
    replicas: [State; 2],
    sequence: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Reply(String),
    Stray(Stray),
}

fn entry(sequence: u64, fill: impl FnOnce(&mut super::super::ProposalWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let head = EntryHead {
        time_ms: 1000,
        seed: sequence,
    };
    let mut writer = EntryWriter::new(&mut out, head);
    let mut proposal = writer.proposal(CLIENT, sequence, sequence - 1);
    fill(&mut proposal);
    proposal.finish();
    out
}

fn with_args<R>(words: &[&[u8]], f: impl FnOnce(Args<'_>) -> R) -> R {
    let mut ranges = Vec::new();
    let mut start = 0;
    for word in words {
        let end = start + word.len() as u32;
        ranges.push(ArgRange { start, end });
        start = end;
    }
    f(Args::new(&words.concat(), &ranges))
}

impl TestGroup {
    fn new(id: u32) -> Self {
        let mut group = Self {
            replicas: [State::empty(), State::empty()],
            sequence: 1,
        };
        group.apply(&entry(1, |out| {
            out.genesis(DATABASES, 90 + u64::from(id), GroupId(id))
        }));
        group
    }

    fn apply(&mut self, entry: &[u8]) {
        for state in &mut self.replicas {
            let (index, counters) = (state.applied.next(), Counters::default());
            let mut replay = Replay::default();
            replay
                .apply(state, index, entry, AccessPolicy::default(), &counters)
                .expect("applies");
            drop(state.keyspace.take_garbage());
        }
    }

    /// Runs a command as a proxied proposal.
    fn run(&mut self, database: usize, words: &[&[u8]]) -> Answer {
        self.sequence += 1;
        let bytes = with_args(words, |args| {
            entry(self.sequence, |out| {
                out.proxied(Protocol::Resp2, database, args)
            })
        });
        self.apply(&bytes);
        let state = &self.replicas[0];
        let kept = state.origins.reply(CLIENT, self.sequence).expect("kept");
        assert_eq!(
            self.replicas[1].origins.reply(CLIENT, self.sequence),
            Some(kept)
        );
        match &decode_replies(kept).expect("well formed")[..] {
            [ProxiedReply::Done(reply) | ProxiedReply::Failed(reply)] => Answer::Reply(
                String::from_utf8_lossy(reply)
                    .trim_end()
                    .replace("\r\n", " "),
            ),
            [ProxiedReply::Stray(stray)] => Answer::Stray(stray.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> &State {
        &self.replicas[0]
    }
}

/// What the driver of a move knows, and forgets when it crashes.
#[derive(Default)]
struct Driver {
    attempt: u64,
    exported: Exported,
    position: Option<ExportPosition>,
    chunk: u64,
    is_frozen: bool,
}

struct World {
    groups: Vec<TestGroup>,
    drivers: BTreeMap<&'static str, Driver>,
    attempts: u64,
    random: u64,
    /// Whether drivers crash and commands are repeated.
    faults: bool,
    data: BTreeMap<(usize, String), String>,
    finished: [u32; 3],
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            groups: (0..GROUPS as u32).map(TestGroup::new).collect(),
            drivers: BTreeMap::new(),
            attempts: 0,
            random: seed | 1,
            faults: true,
            data: BTreeMap::new(),
            finished: [0; 3],
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as usize % below
    }

    fn happens(&mut self, one_in: usize) -> bool {
        self.faults && self.draw(one_in) == 0
    }

    /// Has a step carried out, now and then twice.
    fn step(&mut self, group: usize, words: &[&[u8]]) -> String {
        let reply = match self.groups[group].run(0, words) {
            Answer::Reply(reply) => reply,
            Answer::Stray(stray) => format!("-{stray}"),
        };
        if self.happens(4) {
            let again = self.groups[group].run(0, words);
            if reply == "+OK" {
                assert_eq!(again, Answer::Reply(reply.clone()), "{words:?} again");
            }
        }
        reply
    }

    fn words(&mut self, group: usize, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.step(group, &words)
    }

    fn owned(&self, group: usize, prefix: &str) -> Option<Owned> {
        let state = self.groups[group].state();
        state.authority.domain(prefix.as_bytes())?.owned
    }

    /// The group that owns the parent prefix of one that was created.
    fn parent_of(&self, prefix: &str) -> Option<usize> {
        (0..GROUPS).find(|&group| {
            let domain = self.groups[group]
                .state()
                .authority
                .domain(prefix.as_bytes());
            domain.is_some_and(|domain| domain.delegated.is_some())
        })
    }

    fn administer(&mut self) {
        let prefix = PREFIXES[self.draw(PREFIXES.len())];
        let to = self.draw(GROUPS);
        match (self.parent_of(prefix), self.draw(3)) {
            (None, _) => {
                let here = |group: &TestGroup| {
                    group.state().authority.place(prefix.as_bytes()) == Place::Here
                };
                if let Some(parent) = self.groups.iter().position(here) {
                    let reply = self.words(parent, &format!("_DELEGATE {prefix} {to}"));
                    assert_eq!(reply, "+OK", "{prefix}");
                    self.finished[0] += 1;
                }
            }
            (Some(parent), 0) => {
                let reply = self.words(parent, &format!("_DROP {prefix}"));
                self.finished[1] += u32::from(reply == "+OK");
            }
            (Some(parent), _) => {
                self.words(parent, &format!("_MOVE {prefix} {to}"));
            }
        }
    }

    /// Does the next thing for a move, whoever would have to do it.
    fn drive(&mut self, prefix: &'static str) {
        if self.happens(12) {
            self.drivers.remove(prefix);
        }
        let Some(parent) = self.parent_of(prefix) else {
            self.drivers.remove(prefix);
            return;
        };
        let authority = &self.groups[parent].state().authority;
        let delegated = authority
            .domain(prefix.as_bytes())
            .and_then(|d| d.delegated);
        let delegated = delegated.expect("the parent delegated it");
        let Some(moving) = delegated.moving else {
            self.drivers.remove(prefix);
            return;
        };
        let (source, to, epoch) = (delegated.group.0 as usize, moving.to.0, moving.epoch);
        let Some(owned) = self
            .owned(source, prefix)
            .filter(|owned| owned.epoch < epoch)
        else {
            self.drivers.remove(prefix);
            let reply = self.words(parent, &format!("_SETTLE {prefix} {epoch} {to}"));
            let is_done = reply == "+OK";
            assert!(is_done || reply.starts_with("-TRYAGAIN"), "{reply}");
            self.finished[2] += u32::from(is_done);
            return;
        };
        assert_eq!(owned.epoch + 1, epoch);
        if owned.phase == Phase::Serving {
            let reply = self.words(source, &format!("_LEAVE {prefix} {epoch} {to}"));
            assert_eq!(reply, "+OK");
            return;
        }
        let is_known = self.drivers.contains_key(prefix);
        if is_known {
            self.copy(prefix, source, to as usize, epoch);
        } else {
            self.begin(prefix, source, to as usize, epoch);
        }
    }

    /// Begins an attempt, after making sure that no earlier one can be committed any more.
    fn begin(&mut self, prefix: &'static str, source: usize, to: usize, epoch: u64) {
        let last = self.attempts;
        let reply = self.words(to, &format!("_ABORT {prefix} {epoch} {last}"));
        if reply.starts_with("-COMMITTED") {
            let reply = self.words(source, &format!("_DEPART {prefix} {epoch} {to}"));
            assert_eq!(reply, "+OK");
            return;
        }
        assert_eq!(reply, "+OK");
        let reply = self.words(source, &format!("_THAW {prefix} {epoch} {last}"));
        assert_eq!(reply, "+OK");
        self.attempts += 1;
        let attempt = self.attempts;
        let reply = self.words(to, &format!("_ARRIVE {prefix} {epoch} {source} {attempt}"));
        assert_eq!(reply, "+OK");
        let state = self.groups[source].state();
        assert!(state.keyspace.track_changes(prefix.as_bytes()));
        let driver = Driver {
            attempt,
            position: Some(ExportPosition::default()),
            ..Driver::default()
        };
        self.drivers.insert(prefix, driver);
    }

    fn copy(&mut self, prefix: &'static str, source: usize, to: usize, epoch: u64) {
        let mut driver = self.drivers.remove(prefix).expect("it is known");
        let state = self.groups[source].state();
        let chunk = match driver.position {
            Some(at) => {
                let exported = &mut driver.exported;
                let (chunk, next) = state.export_chunk(prefix.as_bytes(), at, 200, exported);
                driver.position = next;
                chunk
            }
            None => {
                let changes = state.keyspace.take_changes(prefix.as_bytes(), 5);
                // Begins anew if changes were forgotten.
                let Some(changes) = changes.filter(|changes| !changes.restart) else {
                    return;
                };
                if changes.keys.is_empty() {
                    return self.finish(prefix, driver, (source, to, epoch));
                }
                let exported = &mut driver.exported;
                let (chunk, done) =
                    state.export_keys(prefix.as_bytes(), &changes.keys, usize::MAX, exported);
                assert_eq!(done, changes.keys.len());
                chunk
            }
        };
        let numbers = [epoch, driver.attempt, driver.chunk].map(|n| n.to_string());
        let [epoch, attempt, number] = numbers.each_ref().map(|text| text.as_bytes());
        let words = [
            b"_IMPORT",
            prefix.as_bytes(),
            epoch,
            attempt,
            number,
            &chunk,
        ];
        let reply = self.step(to, &words);
        // Another driver may have taken over meanwhile; here there is only one.
        assert_eq!(reply, "+OK");
        driver.chunk += 1;
        self.drivers.insert(prefix, driver);
    }

    /// Everything has been copied that was there when the question was asked.
    fn finish(
        &mut self,
        prefix: &'static str,
        mut driver: Driver,
        (source, to, epoch): (usize, usize, u64),
    ) {
        let attempt = driver.attempt;
        if !driver.is_frozen {
            let reply = self.words(source, &format!("_FREEZE {prefix} {epoch} {attempt}"));
            assert_eq!(reply, "+OK");
            driver.is_frozen = true;
            self.drivers.insert(prefix, driver);
            return;
        }
        let state = self.groups[source].state();
        let len = state.keyspace.realm_len(prefix.as_bytes()) as u64;
        assert_eq!(driver.exported.count(), len, "the ledger of {prefix}");
        let below = state.authority.delegations_of(prefix.as_bytes()).encode();
        let exported = &driver.exported;
        let numbers = [epoch, attempt, exported.count(), exported.digest()];
        let numbers = numbers.map(|n| n.to_string());
        let [e, a, count, digest] = numbers.each_ref().map(|text| text.as_bytes());
        let words = [b"_COMMIT", prefix.as_bytes(), e, a, count, digest, &below];
        let reply = self.step(to, &words);
        assert_eq!(reply, "+OK");
        if !self.happens(3) {
            let reply = self.words(source, &format!("_DEPART {prefix} {epoch} {to}"));
            assert_eq!(reply, "+OK");
        }
    }

    /// A client asks some group, right or wrong.
    fn client(&mut self) {
        let head = HEADS[self.draw(HEADS.len())];
        let key = format!("{head}{}", self.draw(12));
        let (database, group) = (self.draw(DATABASES), self.draw(GROUPS));
        let at = (database, key.clone());
        let held = self.data.get(&at).cloned();
        let value = match self.draw(3) {
            0 => self.draw(1000).to_string(),
            1 => "x".repeat(self.draw(300)),
            _ => format!("v{}", self.draw(1000)),
        };
        let line = match self.draw(6) {
            0 | 1 => vec!["SET", &key, &value],
            2 => vec!["SET", &key, &value, "PX", "100000"],
            3 => vec!["DEL", &key],
            4 => vec!["APPEND", &key, "y"],
            _ => vec!["GET", &key],
        };
        let words: Vec<&[u8]> = line.iter().map(|word| word.as_bytes()).collect();
        let Answer::Reply(reply) = self.groups[group].run(database, &words) else {
            return;
        };
        let bulk = |held: Option<String>| {
            held.map_or("$-1".to_owned(), |held| format!("${} {held}", held.len()))
        };
        match line[0] {
            "SET" => {
                self.data.insert(at, value);
            }
            "DEL" => {
                assert_eq!(reply, format!(":{}", u8::from(held.is_some())), "{key}");
                self.data.remove(&at);
            }
            "APPEND" => {
                let appended = held.unwrap_or_default() + "y";
                assert_eq!(reply, format!(":{}", appended.len()), "{key}");
                self.data.insert(at, appended);
            }
            _ => assert_eq!(reply.trim_end(), bulk(held).trim_end(), "{key}"),
        }
    }

    fn flush(&mut self) {
        let (group, database) = (self.draw(GROUPS), self.draw(DATABASES));
        let mut here = Vec::new();
        for (of, key) in self.data.keys().filter(|(of, _)| *of == database) {
            let authority = &self.groups[group].state().authority;
            if authority.place(key.as_bytes()) == Place::Here {
                here.push((*of, key.clone()));
            }
        }
        if let Answer::Reply(reply) = self.groups[group].run(database, &[b"FLUSHDB"]) {
            assert_eq!(reply, "+OK");
            here.iter().for_each(|at| drop(self.data.remove(at)));
        }
    }

    fn check(&self) {
        for group in &self.groups {
            group.replicas.iter().for_each(State::check_invariants);
            let [one, other] = &group.replicas;
            assert_eq!(digest(one), digest(other), "replicas differ");
        }
        for head in HEADS {
            let serves = |group: &&TestGroup| {
                let authority = &group.state().authority;
                authority.place(format!("{head}0").as_bytes()) == Place::Here
            };
            assert!(self.groups.iter().filter(serves).count() <= 1, "{head}");
        }
    }

    fn restore_some(&mut self) {
        let (group, replica) = (self.draw(GROUPS), self.draw(2));
        let state = &mut self.groups[group].replicas[replica];
        *state = restored(state);
    }

    fn settle_down(&mut self) {
        self.faults = false;
        for _ in 0..2000 {
            PREFIXES.iter().for_each(|prefix| self.drive(prefix));
            if self.drivers.is_empty() && PREFIXES.iter().all(|prefix| self.is_settled(prefix)) {
                return;
            }
        }
        panic!("moves do not come to an end");
    }

    fn is_settled(&self, prefix: &str) -> bool {
        self.parent_of(prefix).is_none_or(|parent| {
            let authority = &self.groups[parent].state().authority;
            let domain = authority.domain(prefix.as_bytes());
            domain
                .and_then(|d| d.delegated)
                .is_none_or(|d| d.moving.is_none())
        })
    }
}

fn run(seed: u64, steps: usize) -> [u32; 3] {
    let mut world = World::new(seed);
    for step in 0..steps {
        match world.draw(32) {
            0 => world.administer(),
            1 => world.restore_some(),
            2 if world.draw(8) == 0 => world.flush(),
            2..=16 => {
                let prefix = PREFIXES[world.draw(PREFIXES.len())];
                world.drive(prefix);
            }
            _ => world.client(),
        }
        if step % 16 == 0 {
            world.check();
        }
    }
    world.settle_down();
    world.check();
    let mut keys = 0;
    for ((database, key), value) in world.data.clone() {
        let mut found = (0..GROUPS).filter(|&group| {
            let words = [b"GET", key.as_bytes()];
            let reply = Answer::Reply(format!("${} {value}", value.len()).trim_end().to_owned());
            world.groups[group].run(database, &words) == reply
        });
        assert_eq!(found.by_ref().count(), 1, "{key} of {database}");
        keys += 1;
    }
    let held: usize = world
        .groups
        .iter()
        .map(|group| group.state().keyspace.len())
        .sum();
    assert_eq!(held, keys, "keys that nobody wrote");
    world.finished
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_key_is_lost_and_none_is_served_twice(seed in any::<u64>()) {
        run(seed, 1000);
    }
}

#[test]
fn moves_come_to_an_end_while_clients_go_on() {
    let mut all = [0; 3];
    for seed in 1..6 {
        let finished = run(seed * 0x9e37_79b9, 3000);
        all.iter_mut()
            .zip(finished)
            .for_each(|(all, some)| *all += some);
    }
    let [created, dropped, moved] = all;
    assert!(created > 15 && dropped > 5 && moved > 30, "{all:?}");
}

#[test]
fn a_chunk_that_makes_no_sense_changes_nothing() {
    let mut group = TestGroup::new(1);
    let arrive = ["_ARRIVE", "a", "2", "0", "1"].map(str::as_bytes);
    assert_eq!(group.run(0, &arrive), Answer::Reply("+OK".to_owned()));
    let mut source = Keyspace::new(2, 99);
    source.set(
        1,
        b"ab",
        crate::keyspace::NewValue::Int(5),
        crate::keyspace::Expiry::None,
        0,
    );
    let mut chunk = Vec::new();
    put_entry(
        source.entry(1, b"ab").expect("set"),
        1,
        &mut chunk,
        &mut Exported::default(),
    );
    let mut foreign = Vec::new();
    source.set(
        0,
        b"b",
        crate::keyspace::NewValue::Int(5),
        crate::keyspace::Expiry::None,
        0,
    );
    put_entry(
        source.entry(0, b"b").expect("set"),
        0,
        &mut foreign,
        &mut Exported::default(),
    );
    let bad = [
        [&chunk[..], b"\x00"].concat(),
        [&chunk[..], &foreign].concat(),
        [&chunk[..], b"\x7f\x05\x01a"].concat(),
    ];
    for bad in bad {
        let words = [b"_IMPORT", &b"a"[..], b"2", b"1", b"0", &bad];
        let Answer::Reply(reply) = group.run(0, &words) else {
            panic!("it strayed");
        };
        assert!(reply.starts_with("-ERR malformed"), "{reply}");
        assert_eq!(group.state().keyspace.realm_len(b"a"), 0);
    }
    let words = [b"_IMPORT", &b"a"[..], b"2", b"1", b"0", &chunk];
    assert_eq!(group.run(0, &words), Answer::Reply("+OK".to_owned()));
    assert_eq!(group.state().keyspace.realm_len(b"a"), 1);
    assert_eq!(group.state().keyspace.len(), 0, "it is not to be seen yet");
    let wrong = ["_COMMIT", "a", "2", "1", "1", "77", "\0\0"].map(str::as_bytes);
    let Answer::Reply(reply) = group.run(0, &wrong) else {
        panic!("it strayed");
    };
    assert!(
        reply.starts_with("-DIGEST Prefix 'a' has 1 keys"),
        "{reply}"
    );
}

#[test]
fn a_prefix_is_created_where_an_attempt_to_bring_it_was_left() {
    let mut group = TestGroup::new(0);
    let ok = Answer::Reply("+OK".to_owned());
    let run = |group: &mut TestGroup, line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        group.run(0, &words)
    };
    assert_eq!(run(&mut group, "SET a1 x"), ok);
    // Nobody delegated it; the arrival is from another time.
    assert_eq!(run(&mut group, "_ARRIVE a 2 1 1"), ok);
    assert_eq!(run(&mut group, "_DELEGATE a 0"), ok);
    group.replicas.iter().for_each(State::check_invariants);
    assert_eq!(run(&mut group, "GET a1"), Answer::Reply("$1 x".to_owned()));
}

proptest! {
    #[test]
    fn arbitrary_chunks_never_panic(chunk in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut keyspace = Keyspace::without_realms(2, 1);
        keyspace.add_realm(b"", crate::keyspace::Visibility::Staged);
        let _ = import_chunk(&mut keyspace, b"", &chunk, 0);
    }
}
