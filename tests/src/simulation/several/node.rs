//! A node: disks, clocks, and, while it runs, a process with seats in several groups.
//!
//! The process has the threads that the real one has: one for each seat, and those that serve no
//! single group (`office`). A crash ends all of them at once; each seat's log is a disk of its own
//! here, so what one seat had written survives by itself, as it does in the shared log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick::directory::keys::{KeyRing, NodeKey};
use bailiwick::directory::record::{GroupRecord, Member as DirectoryMember};
use bailiwick::directory::{Directory, ROOT_GROUP};
use bailiwick::estate::herald::first_members;
use bailiwick::group::bells::Bells;
use bailiwick::group::{Mailbox, MemberOptions};
use bailiwick::routing::Routes;
use bailiwick::state::Origin;
use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::link::Frame;
use bailiwick_replication::{GroupId, NodeId};

use super::drivers::Drivers;
use super::office::Office;
use super::orphans::Orphans;
use super::plan::Plan;
use crate::simulation::clocks::Clocks;
use crate::simulation::disk::{Disk, SimVault};
use crate::simulation::node::{
    DATABASES, Input, Moment, Phase, REQUEST_TIMEOUT_NS, Running, timing,
};

/// The seed of all tables.
const HASH_SEED: u64 = 7;

/// A node, whether it runs or not.
pub(super) struct Node {
    pub(super) id: u64,
    /// The random number of its data directory.
    disk: u64,
    incarnation: u64,
    /// What each group has on the disk.
    pub(super) disks: BTreeMap<GroupId, Disk>,
    pub(super) is_full: bool,
    pub(super) clocks: Clocks,
    /// The process is stopped until then.
    pub(super) stalled_until: u64,
    pub(super) life: u64,
    pub(super) running: Option<Process>,
}

/// The other end of a link that is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its data directory.
    pub(super) disk: u64,
    /// Which life of it.
    pub(super) life: u64,
    pub(super) session: u64,
}

/// A node's process.
pub(super) struct Process {
    /// The links that are up.
    pub(super) sessions: BTreeMap<u64, Peer>,
    pub(super) seats: BTreeMap<GroupId, Running>,
    /// What came for groups without a seat, in the present sessions.
    pub(super) held: Vec<(u64, Frame)>,
    pub(super) office: Office,
    pub(super) drivers: Drivers,
    pub(super) mail: Mail,
    /// Those of its clients that wait for keys.
    pub(super) bells: Arc<Bells>,
    pub(super) orphans: Orphans,
}

/// Where answered proposals go.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) clients: Arc<Mailbox>,
    pub(super) listings: Arc<Mailbox>,
    pub(super) clerk: Arc<Mailbox>,
    pub(super) errands: Arc<Mailbox>,
    pub(super) waits: Arc<Mailbox>,
    pub(super) orphans: Arc<Mailbox>,
    pub(super) spreads: Arc<Mailbox>,
}

impl Node {
    pub(super) fn new(id: u64, rng: &mut fastrand::Rng) -> Self {
        Self {
            id,
            disk: 1000 + id,
            incarnation: 0,
            disks: BTreeMap::new(),
            is_full: false,
            clocks: Clocks::draw(rng),
            stalled_until: 0,
            life: 0,
            running: None,
        }
    }

    /// This moment as the node sees it.
    pub(super) fn moment(&self, now: u64, plan: &Plan) -> Moment {
        Moment {
            clock: self.clocks.clock(now),
            wall_ms: self.clocks.wall_ms(now),
            is_full: self.is_full,
            write_ns: plan.write_ns,
        }
    }

    pub(super) fn process_mut(&mut self) -> Option<&mut Process> {
        self.running.as_mut()
    }

    pub(super) fn seat_mut(&mut self, group: GroupId) -> Option<&mut Running> {
        self.process_mut()?.seats.get_mut(&group)
    }

    /// This node at the other end of a link.
    pub(super) fn as_peer(&self, session: u64) -> Peer {
        Peer {
            disk: self.disk,
            life: self.incarnation,
            session,
        }
    }

    /// This node with its data directory.
    pub(super) fn member_id(&self) -> MemberId {
        MemberId {
            node: NodeId(self.id),
            disk: self.disk,
        }
    }

    /// Starts the process on what the disk holds, as the real one does: with a seat in the root
    /// group, and one in each group of which the log holds something.
    pub(super) fn start(&mut self, plan: &Plan, now: u64, seed: u64) {
        self.incarnation += 1;
        self.life += 1;
        let anchor = anchor(plan);
        let directory = Arc::new(Directory::new(anchor, KeyRing::new()));
        let key = Arc::new(node_key(self.disk));
        let (me, clock) = (self.member_id(), self.clocks.clock(now));
        let office = Office::new((me, self.incarnation), key, directory, clock);
        self.running = Some(Process {
            sessions: BTreeMap::new(),
            seats: BTreeMap::new(),
            held: Vec::new(),
            office,
            drivers: Drivers::default(),
            mail: Mail::default(),
            bells: Arc::default(),
            orphans: Orphans::default(),
        });
        if let Some(process) = &self.running {
            process.bells.set_life(self.id as u32, self.incarnation);
        }
        let known = |disk: &Disk| disk.files().meta.is_some();
        let known = self.disks.iter().filter(|(_, disk)| known(disk));
        let mut groups: Vec<GroupId> = known.map(|(group, _)| *group).collect();
        groups.retain(|group| *group != ROOT_GROUP);
        self.take_root_seat(plan, now, seed);
        for group in groups {
            self.take_seat(group, self.options(group, seed, (0, 0)), now);
        }
    }

    fn take_root_seat(&mut self, plan: &Plan, now: u64, seed: u64) {
        let founders: Vec<NodeId> = plan.groups[0].iter().copied().map(NodeId).collect();
        let own = NodeId(self.id);
        let others = (1..=plan.nodes).map(NodeId).filter(|node| *node != own);
        let mut options = self.options(ROOT_GROUP, seed, (HASH_SEED, DATABASES));
        options.others = others.collect();
        if founders.contains(&own) {
            options.founders = founders;
        }
        self.take_seat(ROOT_GROUP, options, now);
    }

    /// Takes the seat that a record of the directory gives to this node.
    pub(super) fn take_recorded_seat(&mut self, record: &GroupRecord, now: u64, seed: u64) {
        let shape = (record.hash_seed, record.databases as usize);
        let mut options = self.options(record.id, seed, shape);
        options.first_members = first_members(record);
        self.take_seat(record.id, options, now);
    }

    /// What is so in all groups.
    fn options(
        &self,
        group: GroupId,
        seed: u64,
        (hash_seed, databases): (u64, usize),
    ) -> MemberOptions {
        let timing = timing();
        MemberOptions {
            group,
            origin: Origin {
                node: self.id as u32,
                incarnation: self.incarnation,
            },
            seed: seed ^ u64::from(group.0),
            founders: Vec::new(),
            others: Vec::new(),
            first_members: Vec::new(),
            databases,
            hash_seed,
            request_timeout_ns: REQUEST_TIMEOUT_NS,
            resend_after_ns: 4 * timing.tick_ns * timing.election_ticks,
        }
    }

    fn take_seat(&mut self, group: GroupId, options: MemberOptions, now: u64) {
        let (me, clock) = (self.member_id(), self.clocks.clock(now));
        let disk = self
            .disks
            .entry(group)
            .or_insert_with(|| Disk::new(me.disk));
        let vault = SimVault::new(disk.clone(), None);
        disk.files().is_full = self.is_full;
        let mut seat = Running::open(me, disk, vault, options, clock, false);
        let Some(process) = &mut self.running else {
            return;
        };
        // First the links, then what came over them: a session loses nothing.
        seat.shared.set_bells(process.bells.clone());
        for (&peer, &of) in &process.sessions {
            seat.inputs.push(up(peer, of));
        }
        for (from, frame) in process
            .held
            .extract_if(.., |(_, frame)| frame.group == group)
        {
            seat.inputs.push(input(from, frame));
        }
        process.seats.insert(group, seat);
    }

    /// Ends the process at once. Writes that were under way may have come through.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        let Some(process) = self.running.take() else {
            return;
        };
        for (group, seat) in process.seats {
            if let Phase::Writing(write) = seat.phase
                && rng.bool()
            {
                self.disks[&group].write(&write);
            }
        }
    }

    /// The data directory is lost, and another one is there. What the clock on the wall does for
    /// incarnations, which rise all the same, is done here by not forgetting the last one.
    pub(super) fn empty(&mut self, disk: u64) {
        self.disk = disk;
        self.disks.clear();
    }

    /// Whether anything can be written.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
        for disk in self.disks.values() {
            disk.files().is_full = is_full;
        }
    }
}

impl Process {
    /// Where requests go, as this node knows; `None` where the root group is known to have all keys
    /// and is here.
    pub(super) fn routes(&self) -> Option<Routes> {
        let view = self.office.directory().view();
        let root = self.seats.get(&ROOT_GROUP);
        let is_here = root.is_some_and(|root| root.shared.standing().takes_part());
        let is_plain = view.prefix_count() == 1 && is_here;
        (!is_plain).then(|| Routes::new(view))
    }
}

/// A seat hears of a link.
pub(super) fn up(peer: u64, of: Peer) -> Input {
    Input::Up {
        peer,
        disk: of.disk,
        life: of.life,
        session: of.session,
    }
}

/// A seat hears what came over a link.
pub(super) fn input(from: u64, frame: Frame) -> Input {
    Input::Frame {
        from,
        configuration: frame.configuration,
        payload: frame.payload,
    }
}

/// The key that lies in the data directory of this number.
pub(super) fn node_key(disk: u64) -> NodeKey {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&disk.to_le_bytes());
    NodeKey::from_secret(secret)
}

/// Whom directories trust in at first.
fn anchor(plan: &Plan) -> GroupRecord {
    let any_disk = |node: &u64| DirectoryMember {
        node: NodeId(*node),
        disk: 0,
    };
    GroupRecord {
        id: ROOT_GROUP,
        name: "root".to_owned(),
        configuration: 0,
        members: plan.groups[0].iter().map(any_disk).collect(),
        hash_seed: 0,
        databases: 0,
    }
}
