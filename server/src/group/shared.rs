//! What the threads of a node share of a group: its state, its settings, its statistics, and how it
//! stands with its leader.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex, NodeId};
use parking_lot::{RwLock, RwLockReadGuard};

use super::aside::Aside;
use super::attendance::Attendance;
use super::bells::Bells;
use super::clock::boot_ns;
use super::commit::deliver;
use super::planted::{self, Planted};
use super::{Observer, Proposal, Totals, Tuning, fail};
use crate::commands::{Attendant, CommandError, Sight};
use crate::state::{State, WaiterId, Woken};

/// How long a thread waits for the state before it looks whether a script has it.
const PATIENCE: Duration = Duration::from_millis(2);

/// Where proposals go that this node's seat does not take any more.
pub type PassOn = dyn Fn(Vec<Box<Proposal>>) + Send + Sync;

/// Shared by connections, the group's own threads and whoever asks.
pub struct Shared {
    pub(super) state: RwLock<State>,
    pub(super) tuning: ArcSwap<Tuning>,
    pub(super) totals: Totals,
    pub(super) standing: Standing,
    /// The script that runs.
    pub(super) attendance: Attendance,
    /// Scripts that read.
    pub(super) aside: Aside,
    /// How many databases there are, once somebody has looked.
    pub(super) databases: OnceLock<usize>,
    /// What people call the group; empty as long as it is not known.
    name: RwLock<String>,
    /// Whom to tell when the authority has changed.
    on_authority: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The newest configuration of the group that this node's directory knows; the highest number
    /// there is where nobody keeps a directory.
    published: AtomicU64,
    /// Who takes what this node's seat does not take any more.
    pass_on: OnceLock<Arc<PassOn>>,
    /// Where clients of this node wait; empty as long as there can be none.
    bells: OnceLock<Arc<Bells>>,
    pub(super) observer: OnceLock<Arc<dyn Observer>>,
}

impl Shared {
    /// Around a state as it was found.
    #[must_use]
    pub fn new(state: State, tuning: Tuning, standing: Standing) -> Self {
        Self {
            state: RwLock::new(state),
            tuning: ArcSwap::from_pointee(tuning),
            totals: Totals::default(),
            standing,
            attendance: Attendance::default(),
            aside: Aside::default(),
            databases: OnceLock::new(),
            name: RwLock::default(),
            on_authority: OnceLock::new(),
            published: AtomicU64::new(u64::MAX),
            pass_on: OnceLock::new(),
            bells: OnceLock::new(),
            observer: OnceLock::new(),
        }
    }

    /// Calls this, on the replica's thread, whenever the log has changed what the group serves or
    /// has handed out. It must not wait. The first one counts.
    pub fn on_authority(&self, call: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_authority.set(Box::new(call));
    }

    /// The authority has changed.
    pub(super) fn note_authority(&self) {
        if let Some(call) = self.on_authority.get() {
            call();
        }
    }

    /// Gives proposals to this one, on the replica's thread, when this node is no member any more.
    /// It must not wait. The first one counts.
    pub(super) fn on_leaving(&self, pass_on: Arc<PassOn>) {
        let _ = self.pass_on.set(pass_on);
    }

    /// Has proposals executed by the remaining members.
    pub(super) fn pass_on(&self, mut proposals: Vec<Box<Proposal>>) {
        if let Some(pass_on) = self.pass_on.get() {
            return pass_on(proposals);
        }
        let error = "CLUSTERDOWN This node is no member of the group of the keys. Nothing was done";
        for proposal in &mut proposals {
            fail(proposal, &CommandError::text(error));
        }
        deliver(&mut proposals);
    }

    /// The directory knows the members of this configuration.
    pub fn note_published(&self, configuration: u64) {
        self.published.store(configuration, Ordering::Relaxed);
    }

    /// Whether the directory knows the members of this configuration.
    pub(super) fn is_published(&self, configuration: ConfigurationId) -> bool {
        self.published.load(Ordering::Relaxed) >= u64::from(configuration.0)
    }

    /// What people call the group; empty as long as it is not known.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.read().clone()
    }

    /// The group's name has become known.
    pub fn set_name(&self, name: &str) {
        if *self.name.read() != name {
            name.clone_into(&mut self.name.write());
        }
    }

    /// How this node stands in the group.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Rings these for whoever waits for keys, from now on; the first word counts.
    pub fn set_bells(&self, bells: Arc<Bells>) {
        let _ = self.bells.set(bells);
    }

    /// Rings for those who were woken since the last call, and returns those who have something to
    /// fetch. To be called with the state in hand, see [`Bells`].
    pub(super) fn ring(&self, state: &mut State) -> Vec<WaiterId> {
        let mut to_call = Vec::new();
        for (id, woken) in state.waiters.take_woken() {
            if woken == Woken::Look {
                to_call.push(id);
            }
            if let Some(bells) = self.bells.get() {
                bells.ring(id, woken.into());
            }
        }
        to_call
    }

    /// The state was replaced as a whole. To be called with the new one in hand.
    pub(super) fn note_replaced(&self, group: GroupId, state: &State) {
        if let Some(bells) = self.bells.get() {
            bells.note_replaced(group, |id| state.waiters.get(id).is_some());
        }
    }

    /// The settings in force.
    pub fn tuning(&self) -> Guard<Arc<Tuning>> {
        self.tuning.load()
    }

    /// The state as this node has applied it, which may be behind what others have.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The state, unless a script has it; whoever has it otherwise is waited for.
    #[inline]
    pub fn state_unless_held(&self) -> Option<RwLockReadGuard<'_, State>> {
        match self.state.try_read() {
            Some(state) => Some(state),
            None => self.await_state(|attendance| attendance.runs()),
        }
    }

    /// The state, unless a script has it for longer than clients wait.
    pub fn state_unless_busy(&self) -> Option<RwLockReadGuard<'_, State>> {
        if self.attendance.busy().is_some() {
            return None;
        }
        self.await_state(|attendance| attendance.busy().is_some())
    }

    #[cold]
    fn await_state(
        &self,
        is_vain: impl Fn(&Attendance) -> bool,
    ) -> Option<RwLockReadGuard<'_, State>> {
        loop {
            let state = self.state.try_read_for(PATIENCE);
            if state.is_some() || is_vain(&self.attendance) {
                return state;
            }
        }
    }

    /// The state if what it shows is linearizable at this moment; otherwise, and while a script has
    /// it, the group has to be asked, by way of a proposal.
    ///
    /// Why this is enough: whatever any client was told of, anywhere, was decided, and the leader
    /// publishes `decided` before it sends the message that lets others apply. Until the lease ends
    /// nobody else decides anything.
    pub fn linearizable(&self, clock: impl FnOnce() -> u64) -> Option<RwLockReadGuard<'_, State>> {
        // In this order: whoever sees the lease renewed sees what was decided by then.
        let until = self.standing.lease_until_ns.load(Ordering::SeqCst);
        let decided = self.standing.decided.load(Ordering::SeqCst);
        if until == 0 {
            return None;
        }
        let state = self.state_unless_held()?;
        let is_complete =
            state.applied.0 >= decided || planted::is_on(Planted::LeaseWithoutDecided);
        let holds = is_complete && (until == u64::MAX || clock() < until);
        holds.then_some(state)
    }
}

impl Attendant for Shared {
    fn look(&self, script: &Sight<'_>) -> bool {
        let now_ms = boot_ns() / 1_000_000;
        let busy_ms = self.tuning().busy_ms;
        self.attendance.look(script, now_ms, busy_ms)
    }

    fn left(&self) {
        self.attendance.left();
    }
}

/// How this node stands in the group, as the replica's thread says.
#[derive(Debug, Default)]
pub struct Standing {
    lease_until_ns: AtomicU64,
    decided: AtomicU64,
    leader: AtomicU64,
    leads: AtomicBool,
    leadership: AtomicU64,
    takes_part: AtomicBool,
}

impl Standing {
    /// Of the only member, whose state is always the latest.
    pub(super) fn alone() -> Self {
        Self {
            lease_until_ns: AtomicU64::new(u64::MAX),
            leads: AtomicBool::new(true),
            takes_part: AtomicBool::new(true),
            ..Self::default()
        }
    }

    /// To be called before any message is sent that the replica made under this standing.
    pub(super) fn publish(&self, decided: LogIndex, lease_until_ns: u64) {
        self.decided.store(decided.0, Ordering::SeqCst);
        self.lease_until_ns.store(lease_until_ns, Ordering::SeqCst);
    }

    pub(super) fn set_leader(
        &self,
        leader: Option<NodeId>,
        leadership: Option<u64>,
        takes_part: bool,
    ) {
        let leader = leader.map_or(0, |node| node.0);
        self.leader.store(leader, Ordering::Relaxed);
        self.leadership
            .store(leadership.unwrap_or(0), Ordering::Relaxed);
        self.leads.store(leadership.is_some(), Ordering::Release);
        self.takes_part.store(takes_part, Ordering::Relaxed);
    }

    /// Whether this node is a member; otherwise it has a seat only in case that it becomes one.
    #[must_use]
    pub fn takes_part(&self) -> bool {
        self.takes_part.load(Ordering::Relaxed)
    }

    /// Whether this node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Which leadership it is, if this node leads; rises from one leadership to the next, whoever
    /// has it.
    #[must_use]
    pub fn leadership(&self) -> Option<u64> {
        let leads = self.leads.load(Ordering::Acquire);
        leads.then(|| self.leadership.load(Ordering::Relaxed))
    }

    /// Who leads, if this node knows of somebody; `None` in a group of one as well.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leader = self.leader.load(Ordering::Relaxed);
        (leader > 0).then_some(NodeId(leader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(decided: u64, lease_until_ns: u64) -> Shared {
        let mut state = State::empty();
        state.applied = LogIndex(5);
        let standing = Standing::default();
        standing.publish(LogIndex(decided), lease_until_ns);
        Shared::new(state, Tuning::default(), standing)
    }

    #[test]
    fn whoever_asked_first_is_told_of_a_new_authority() {
        let shared = shared(5, 100);
        shared.note_authority();
        let told = Arc::new(AtomicU64::new(0));
        for _ in 0..2 {
            let told = told.clone();
            shared.on_authority(move || {
                told.fetch_add(1, Ordering::Relaxed);
            });
        }
        shared.note_authority();
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_leads_says_since_which_leadership() {
        let standing = Standing::default();
        standing.set_leader(Some(NodeId(2)), None, true);
        assert_eq!((standing.leads(), standing.leadership()), (false, None));
        standing.set_leader(Some(NodeId(1)), Some(7), true);
        assert_eq!((standing.leads(), standing.leadership()), (true, Some(7)));
    }

    #[test]
    fn a_state_is_shown_only_under_a_lease_and_when_it_is_complete() {
        let shows = |decided, until, now| shared(decided, until).linearizable(|| now).is_some();
        assert!(shows(5, 100, 99));
        assert!(!shows(5, 100, 100), "the lease is over");
        assert!(!shows(6, 100, 50), "entry 6 is decided and not applied");
        assert!(!shows(5, 0, 0), "no lease");
        assert!(shows(5, u64::MAX, u64::MAX), "alone");
    }
}
