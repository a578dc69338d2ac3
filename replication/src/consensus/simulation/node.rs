//! A simulated node: the replica with a disk, a clock and a state machine around it.

use super::*;

/// A node that is up.
pub(super) struct Node {
    pub(super) replica: Replica,
    /// The state machine: the numbers of the entries applied.
    pub(super) ids: Vec<u64>,
    /// The configuration that the state machine knows of.
    pub(super) configuration: Configuration,
    /// A write under way, and when it will be done.
    pub(super) writing: Option<(LogWrite, u64)>,
    /// When the checkpoint that is being fetched will be here.
    pub(super) fetching: Option<u64>,
    /// Reads asked for, with what had been applied anywhere at that time.
    pub(super) reads: BTreeMap<u64, u64>,
}

impl Sim {
    /// Each node's clock starts somewhere else and runs up to 0.9 % off:
    /// together less than the 2 % that the lease allows for.
    pub(super) fn clock(&self, node: u64) -> u64 {
        let permille = [991, 1009, 1000, 995, 1005][node as usize % 5];
        self.now / 1000 * permille + node * 1_000_000 * MS
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap().as_mut().unwrap()
    }

    pub(super) fn start(&mut self, node: u64) {
        let disk = self.disks[&node].clone();
        let incarnation = self.incarnations.entry(node).or_default();
        *incarnation += 1;
        let options = Options {
            member: member(node),
            incarnation: *incarnation,
            priority: 0,
            timing: Timing {
                tick_ns: 10 * MS,
                lease_ns: self.rates.lease_ms * MS,
                ..Timing::default()
            },
        };
        let files = disk.0.lock();
        let meta = Meta::decode(files.meta.as_ref().unwrap()).unwrap();
        let checkpoint = files.checkpoints.last().cloned().unwrap_or_default();
        drop(files);
        let applied = LogIndex(checkpoint.ids.len() as u64);
        let now = self.clock(node);
        let replica = Replica::open(options, meta, Box::new(disk), applied, now);
        let node_state = Node {
            replica,
            ids: checkpoint.ids,
            configuration: checkpoint.configuration,
            writing: None,
            fetching: None,
            reads: BTreeMap::new(),
        };
        self.nodes.insert(node, Some(node_state));
        self.check_log(node);
        self.adopt(node);
    }

    /// A round of a node: takes in, proposes, applies, sends, writes.
    pub(super) fn step_node(&mut self, id: u64) {
        let replica = &self.node(id).replica;
        let before = (replica.decided(), replica.ballot());
        let has_led = replica.is_leader();
        self.deliver_all(id);
        if !has_led && self.node(id).replica.is_leader() {
            self.note_election();
        }
        let now = self.clock(id);
        let is_proposing = self.rng.one_in(3);
        let entry = encode(self.next_id, &[]);
        let node = self.node(id);
        node.replica.tick(now);
        if is_proposing && node.replica.propose(entry).is_some() {
            self.next_id += 1;
        }
        if self.rng.one_in(self.rates.change) {
            self.change_members(id);
        }
        if self.rng.one_in(self.transfer_rate(id)) {
            let to = NodeId(1 + self.rng.below(NODES));
            self.node(id).replica.transfer(to, now);
        }
        if !self.faults || self.rng.one_in(self.rates.apply) {
            self.apply(id);
        }
        self.check_reads(id, now);
        self.checkpoint(id);
        self.fetch_checkpoint(id);
        self.flush(id, now, before);
    }

    /// Sends and writes; `before` is what had been decided and promised when the round began.
    fn flush(&mut self, id: u64, now: u64, before: (LogIndex, u32)) {
        let ready = self.node(id).replica.ready(now);
        self.node(id).replica.check_invariants();
        let begins_write = ready.write.is_some();
        if let Some(write) = ready.write {
            let at = self.now + self.write_time(id);
            self.node(id).writing = Some((write, at));
        }
        self.send(id, ready.messages);
        if self.faults && begins_write && self.rng.one_in(self.rates.crash_after_send) {
            return self.crash_after_send(id);
        }
        if self.faults && self.is_turning(id, before) {
            return self.crash_after_send(id);
        }
        let Some((write, at)) = self.node(id).writing.take() else {
            return;
        };
        if at > self.now {
            self.node(id).writing = Some((write, at));
            return;
        }
        self.disks[&id].write(&write);
        let late = self.node(id).replica.persisted(now);
        self.send(id, late);
    }

    /// Whether the adversary wants to crash a node now, of which so much had been decided and
    /// promised when its round began.
    fn is_turning(&mut self, id: u64, (decided, ballot): (LogIndex, u32)) -> bool {
        let node = self.node(id);
        if node.writing.is_none() {
            return false;
        }
        let has_decided = node.replica.decided() > decided;
        let has_promised = node.replica.ballot() > ballot;
        let rates = self.rates;
        (has_decided && self.rng.one_in(rates.crash_at_decision))
            || (has_promised && self.rng.one_in(rates.crash_at_promise))
    }

    /// On the see-saw only the middle is slow: the ends run ahead of it.
    fn write_time(&mut self, id: u64) -> u64 {
        let [usual, slow] = self.rates.write_ms;
        let is_fast = !self.faults || self.mode == Mode::SeeSaw && id != self.see_saw[0];
        match self.rng.one_in(self.rates.slow_write) {
            _ if is_fast => self.rng.below(3 * MS),
            true => self.rng.below(slow * MS),
            false => self.rng.below(usual * MS),
        }
    }

    fn apply(&mut self, id: u64) {
        loop {
            let node = self.node(id);
            let (first, entries) = node.replica.take_decided(100);
            if entries.is_empty() {
                break;
            }
            let expected = node.ids.len() as u64 + 1;
            assert_eq!(first.0, expected, "node {id} skips entries");
            for entry in entries {
                if !node.apply(&entry) {
                    break;
                }
            }
        }
        self.check_agreement(id);
    }

    /// The state may know of a later configuration than the replica, from a checkpoint.
    fn adopt(&mut self, id: u64) {
        let node = self.node(id);
        if node.configuration.id > node.replica.configuration().id {
            let next = node.configuration.clone();
            let applied = LogIndex(node.ids.len() as u64);
            node.replica.begin_configuration(next, applied);
        }
    }

    fn checkpoint(&mut self, id: u64) {
        if !self.rng.one_in(self.rates.checkpoint) {
            return;
        }
        let files = self.disks[&id].clone();
        let node = self.node(id);
        let mut files = files.0.lock();
        let index = node.ids.len() as u64;
        let last = files.checkpoints.last().map_or(0, |c| c.ids.len() as u64);
        if index <= last || node.replica.durable().0 < index {
            return;
        }
        files.checkpoints.push(Checkpoint {
            ids: node.ids.clone(),
            configuration: node.configuration.clone(),
        });
        drop(files);
        node.replica.set_status(LogIndex(index), false);
        node.replica.trim(LogIndex(last));
    }

    fn fetch_checkpoint(&mut self, id: u64) {
        let at = self.now + self.rng.below(60 * MS);
        let now = self.now;
        let node = self.node(id);
        let Some((source, index)) = node.replica.wanted_checkpoint() else {
            node.fetching = None;
            return;
        };
        if *node.fetching.get_or_insert(at) > now {
            return;
        }
        node.fetching = None;
        let is_up = self.is_up(id, source.0);
        let found = self.disks[&source.0].0.lock().checkpoints.last().cloned();
        let Some(found) = found.filter(|found| is_up && found.ids.len() as u64 >= index.0) else {
            return self.node(id).replica.checkpoint_failed();
        };
        let index = LogIndex(found.ids.len() as u64);
        if index.0 > self.node(id).ids.len() as u64 {
            let node = self.node(id);
            node.ids = found.ids.clone();
            node.configuration = found.configuration.clone();
            self.disks[&id].0.lock().checkpoints.push(found);
        }
        self.node(id).replica.install_checkpoint(index);
        self.adopt(id);
    }

    /// A leader adds, removes or replaces a member; a new one has to have caught up first.
    fn change_members(&mut self, id: u64) {
        let replica = &self.node(id).replica;
        if !replica.is_leader() {
            return;
        }
        let configuration = replica.configuration();
        let (decided, end) = (replica.decided(), replica.end());
        let mut members: Vec<u64> = configuration.members.iter().map(|m| m.node.0).collect();
        let one = 1 + self.rng.below(NODES);
        if let Some(at) = members.iter().position(|member| *member == one) {
            if members.len() == 1 {
                return;
            }
            members.remove(at);
        } else {
            let Some(joiner) = &self.nodes[&one] else {
                return;
            };
            if decided.0.saturating_sub(joiner.replica.decided().0) > 20 {
                return self.node(id).replica.invite(NodeId(one));
            }
            members.push(one);
            members.sort_unstable();
        }
        if end > decided && self.rng.one_in(2) {
            return;
        }
        let next = SEAL | u64::from(configuration.id.0 + 1);
        let entry = encode(next, &members);
        if self.node(id).replica.propose_seal(entry).is_some() {
            self.changes += 1;
        }
    }
}

impl Node {
    /// Applies an entry. False if a configuration ends with it: what lies behind is void.
    fn apply(&mut self, entry: &Bytes) -> bool {
        let (number, members) = decode(entry);
        self.ids.push(number);
        if number & SEAL == 0 {
            return true;
        }
        let applied = LogIndex(self.ids.len() as u64);
        let configuration = Configuration {
            id: ConfigurationId((number & 0xffff) as u32),
            members: members.into_iter().map(member).collect(),
            begins_after: applied,
        };
        if configuration.id <= self.configuration.id {
            return true;
        }
        self.configuration = configuration;
        if self.configuration.id <= self.replica.configuration().id {
            return true;
        }
        let next = self.configuration.clone();
        self.replica.begin_configuration(next, applied);
        false
    }
}
