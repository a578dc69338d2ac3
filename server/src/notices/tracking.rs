//! The clients of this node that keep copies of what they read, and which keys each has read.
//!
//! **Invariant: a client that was told nothing may trust its copies.** That is, between the reply
//! with a value and the news that the value has changed, a client is behind by no more than it
//! takes to apply the write here and to send the news; no news is ever missed. Why it holds:
//!
//! * A key is remembered before it is read, and what is told unasked stands behind the reply of the
//!   command that runs (`connection::push`). A write that the read did not see is applied later,
//!   finds the key remembered, and its news stands behind the reply; a write that it did see may
//!   produce news as well, which costs the copy and nothing else.
//! * Each write to a group that this node is a member of is applied here, or skipped by way of a
//!   checkpoint, after which everything of that group is given up. So it is when the group has no
//!   leader that is linked, and when keys begin to leave the group.
//! * Of other groups a member tells (`watching`), to whom the same applies.
//!
//! **NOLOOP.** A client that does not want to hear of its own changes is an [`Author`], and its
//! number goes with its requests: with those of its node's groups in memory, with others into the
//! log. What it did is not told to it, *and it stays among those who have read the key*: the news
//! may come after a read that stood behind the write, and its copy is to be given up at the next
//! change. (Redis forgets the reader.) If it is told `-UNCERTAIN` of a request, that may be executed
//! at any later time, when the client has read the key again. So it gets another number then
//! ([`Tracking::doubt`]), and what it did under the old one is news like others' changes.
//!
//! What a connection's death ends needs no news. A client that takes its news too slowly is
//! disconnected. When there are more keys than `tracking-table-max-keys`, some are given up.
//!
//! Invariants: `items` is the sum of the readers of all keys; a prefix has at least one client.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bailiwick_replication::GroupId;
use parking_lot::Mutex;

use super::invalidation::Tracked;
use crate::commands::touch::{Author, Touch, What};
use crate::config::OutputBufferLimits;
use crate::node::clients::{Client, Clients};

/// Of the keys that a full table may hold, the one-in-so-many that are given up besides its excess.
const GIVEN_UP_SHARE: usize = 64;

/// How a client keeps track: `CLIENT TRACKING ON`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Whom to tell, if not the client itself.
    pub redirect: Option<u64>,
    /// It is told of all keys with its prefixes.
    pub broadcast: bool,
    /// Only what follows CLIENT CACHING YES is remembered.
    pub opt_in: bool,
    /// What follows CLIENT CACHING NO is not remembered.
    pub opt_out: bool,
    /// It is not told of its own changes.
    pub no_loop: bool,
    /// Its prefixes, if it is told of all keys with them.
    pub prefixes: BTreeSet<Box<[u8]>>,
    /// CLIENT CACHING was said for the next command.
    pub caching: bool,
}

impl Mode {
    /// Whether the keys of the next read are to be remembered.
    #[must_use]
    pub fn remembers(&self) -> bool {
        !self.broadcast && (!self.opt_in || self.caching) && (!self.opt_out || !self.caching)
    }
}

/// Who keeps copies of what.
pub struct Tracking {
    clients: Arc<Clients>,
    limits: Arc<ArcSwap<OutputBufferLimits>>,
    active: AtomicUsize,
    max_keys: AtomicUsize,
    life: OnceLock<(u32, u64)>,
    /// The number that an author got last.
    last_author: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    clients: BTreeMap<u64, Tracked>,
    keys: HashMap<Box<[u8]>, Readers>,
    prefixes: BTreeMap<Box<[u8]>, BTreeSet<u64>>,
    items: usize,
}

/// Those who have read a key.
struct Readers {
    group: GroupId,
    clients: BTreeSet<u64>,
}

/// Numbers for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that keep track.
    pub clients: usize,
    /// Keys remembered.
    pub keys: usize,
    /// Keys remembered, once for each client.
    pub items: usize,
    /// Prefixes of clients that are told of all keys.
    pub prefixes: usize,
}

impl Tracking {
    pub(super) fn new(clients: Arc<Clients>, limits: Arc<ArcSwap<OutputBufferLimits>>) -> Self {
        Self {
            clients,
            limits,
            active: AtomicUsize::new(0),
            max_keys: AtomicUsize::new(0),
            life: OnceLock::new(),
            last_author: AtomicU64::new(0),
            table: Mutex::default(),
        }
    }

    pub(super) fn set_life(&self, node: u32, incarnation: u64) {
        let _ = self.life.set((node, incarnation));
    }

    /// Changes how many keys are remembered. What is too much then is given up.
    pub(super) fn set_max_keys(&self, max_keys: usize) {
        self.max_keys.store(max_keys, Ordering::Relaxed);
        self.give_up_excess(&mut self.table.lock());
    }

    /// Whether anybody keeps copies.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody is told of keys that it has not read.
    #[must_use]
    pub fn broadcasts(&self) -> bool {
        self.is_active() && !self.table.lock().prefixes.is_empty()
    }

    /// Numbers for INFO.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let table = self.table.lock();
        Counts {
            clients: table.clients.len(),
            keys: table.keys.len(),
            items: table.items,
            prefixes: table.prefixes.len(),
        }
    }

    /// A client keeps track from now on, or does so in another way.
    pub fn enable(&self, client: &Arc<Client>, mode: &Mode) {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let tracked = Tracked::new(client, mode);
        if mode.no_loop {
            self.number(client);
        } else {
            client.author.store(0, Ordering::Relaxed);
        }
        table.clients.insert(client.id, tracked);
        for prefix in &mode.prefixes {
            let clients = table.prefixes.entry(prefix.clone()).or_default();
            clients.insert(client.id);
        }
        self.active.store(table.clients.len(), Ordering::Relaxed);
    }

    /// A client does not keep track any more.
    pub fn disable(&self, client: u64) {
        if !self.is_active() {
            return;
        }
        let mut table = self.table.lock();
        if let Some(tracked) = table.clients.remove(&client) {
            tracked.client.author.store(0, Ordering::Relaxed);
        }
        table.prefixes.retain(|_, clients| {
            clients.remove(&client);
            !clients.is_empty()
        });
        // What it has read is found out when the keys change, unless nobody is left to care.
        if table.clients.is_empty() {
            *table = Table::default();
        }
        self.active.store(table.clients.len(), Ordering::Relaxed);
    }

    /// What was done under this number is told to its client from now on, as it cannot know what
    /// was done.
    pub fn doubt(&self, author: u64) {
        let table = self.table.lock();
        let mut clients = table.clients.values().map(|tracked| &tracked.client);
        if let Some(client) = clients.find(|client| author > 0 && client.author() == author) {
            self.number(client);
        }
    }

    /// Gives a client a number of its own, as an author.
    fn number(&self, client: &Client) {
        let number = self.last_author.fetch_add(1, Ordering::Relaxed) + 1;
        client.author.store(number, Ordering::Relaxed);
    }

    /// By which number this node knows an author; 0 for those of other nodes and lives.
    fn number_of(&self, author: Author) -> u64 {
        let is_ours = self.life.get() == Some(&(author.node, author.life));
        if is_ours { author.number } else { 0 }
    }

    /// A client is about to read these keys.
    pub(super) fn remember(&self, client: u64, group: GroupId, keys: &[&[u8]]) {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        if !table.clients.contains_key(&client) {
            // It has stopped to keep track, or has gone, while its script ran.
            return;
        }
        for key in keys {
            if table
                .keys
                .get(*key)
                .is_some_and(|readers| readers.group != group)
            {
                // What others read elsewhere is of another time.
                self.tell_readers(table, key, 0);
            }
            let readers = table.keys.entry((*key).into());
            let readers = readers.or_insert_with(|| Readers {
                group,
                clients: BTreeSet::new(),
            });
            table.items += usize::from(readers.clients.insert(client));
        }
        self.give_up_excess(table);
    }

    fn give_up_excess(&self, table: &mut Table) {
        let max_keys = self.max_keys.load(Ordering::Relaxed);
        if max_keys > 0 && table.keys.len() > max_keys {
            // To find keys means to walk over what earlier ones have left, so it is done seldom,
            // for many at once.
            let excess = table.keys.len() - max_keys + max_keys / GIVEN_UP_SHARE;
            let given_up: Vec<Box<[u8]>> = table.keys.keys().take(excess).cloned().collect();
            given_up
                .iter()
                .for_each(|key| self.tell_readers(table, key, 0));
        }
    }

    /// This is to be told to one client, whatever it has read.
    pub(super) fn invalidate(&self, client: u64, keys: &[&[u8]]) {
        let table = self.table.lock();
        if let Some(tracked) = table.clients.get(&client) {
            keys.iter().for_each(|key| self.send(tracked, Some(&[key])));
        }
    }

    /// A client is to give up all it has.
    pub fn invalidate_all_of(&self, client: u64) {
        let table = self.table.lock();
        if let Some(tracked) = table.clients.get(&client) {
            self.send(tracked, None);
        }
    }

    /// This happened to keys of a group.
    pub(super) fn touched(&self, group: GroupId, touches: &[Touch]) {
        if !self.is_active() {
            return;
        }
        let mut table = self.table.lock();
        for touch in touches {
            match touch.what {
                What::Missed | What::Announced => {}
                What::Cleared => self.tell_all(&mut table),
                What::HandedOut => {
                    let is_meant = |key: &[u8], of| of == group && key.starts_with(&touch.key);
                    self.give_up(&mut table, is_meant);
                }
                _ => {
                    let author = self.number_of(touch.author);
                    self.tell_readers(&mut table, &touch.key, author);
                }
            }
        }
        self.broadcast(&table, touches);
    }

    /// Something of what was written to a group may have been missed.
    pub(super) fn forget_group(&self, group: GroupId) {
        if !self.is_active() {
            return;
        }
        let mut table = self.table.lock();
        self.give_up(&mut table, |_, of| of == group);
        let broadcast = table.clients.values().filter(|tracked| tracked.broadcast);
        broadcast.for_each(|tracked| self.send(tracked, None));
    }

    /// Invalidates the keys for which `is_meant` holds, with their group.
    fn give_up(&self, table: &mut Table, is_meant: impl Fn(&[u8], GroupId) -> bool) {
        let meant = table.keys.iter();
        let meant = meant.filter(|(key, readers)| is_meant(key, readers.group));
        let mut keys: Vec<Box<[u8]>> = meant.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys.iter().for_each(|key| self.tell_readers(table, key, 0));
    }

    /// A key has changed, by the hand of `author`, who goes on as a reader.
    fn tell_readers(&self, table: &mut Table, key: &[u8], author: u64) {
        let Some(readers) = table.keys.get_mut(key) else {
            return;
        };
        let clients = &table.clients;
        let is_told = |id: &u64| {
            let tracked = clients.get(id);
            tracked.is_none_or(|tracked| author == 0 || tracked.client.author() != author)
        };
        let told: Vec<u64> = readers.clients.iter().copied().filter(is_told).collect();
        for id in &told {
            readers.clients.remove(id);
        }
        table.items -= told.len();
        if readers.clients.is_empty() {
            table.keys.remove(key);
        }
        let tracked = told.iter().filter_map(|id| clients.get(id));
        for tracked in tracked.filter(|tracked| !tracked.broadcast) {
            self.send(tracked, Some(&[key]));
        }
    }

    /// Nothing is what it was.
    fn tell_all(&self, table: &mut Table) {
        table.keys.clear();
        table.items = 0;
        table
            .clients
            .values()
            .for_each(|tracked| self.send(tracked, None));
    }

    fn broadcast(&self, table: &Table, touches: &[Touch]) {
        for (prefix, clients) in &table.prefixes {
            let mut changed: BTreeMap<&[u8], u64> = BTreeMap::new();
            for touch in touches {
                let is_key = !matches!(
                    touch.what,
                    What::Missed | What::Announced | What::Cleared | What::HandedOut
                );
                if is_key && touch.key.starts_with(prefix) {
                    // Whoever wrote last has the present value; everybody else is behind.
                    changed.insert(&touch.key, self.number_of(touch.author));
                }
            }
            for tracked in clients.iter().filter_map(|id| table.clients.get(id)) {
                let is_told = |author: u64| author == 0 || author != tracked.client.author();
                let keys = changed.iter().filter(|(_, author)| is_told(**author));
                let keys: Vec<&[u8]> = keys.map(|(key, _)| *key).collect();
                if !keys.is_empty() {
                    self.send(tracked, Some(&keys));
                }
            }
        }
    }

    fn send(&self, tracked: &Tracked, keys: Option<&[&[u8]]>) {
        tracked.tell(keys, &self.clients, &self.limits.load());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);
    const ME: Author = Author {
        node: 3,
        life: 9,
        number: 0,
    };

    struct World {
        tracking: Tracking,
        client: Arc<Client>,
    }

    fn world(mode: &Mode) -> World {
        let clients = Arc::new(Clients::default());
        let tracking = Tracking::new(clients.clone(), Arc::default());
        tracking.set_life(ME.node, ME.life);
        let client = Client::new(1, String::new(), String::new(), 0, 0);
        client.protocol.store(3, Ordering::Relaxed);
        let client = Arc::new(client);
        assert!(clients.add(client.clone(), 10));
        tracking.enable(&client, mode);
        World { tracking, client }
    }

    impl World {
        fn told(&self) -> String {
            let mut out = Vec::new();
            self.client.feed.take(&mut out, usize::MAX);
            let told = String::from_utf8_lossy(&out).replace("\r\n", " ");
            told.replace(">2 $10 invalidate ", ">")
                .trim_end()
                .to_owned()
        }

        fn touch(&self, key: &str, what: What) {
            self.touch_by(key, what, &[Author::default()]);
        }

        /// The client, as others see it in its touches.
        fn me(&self) -> Author {
            let number = self.client.author();
            Author { number, ..ME }
        }

        /// One touch by each of these, told of together.
        fn touch_by(&self, key: &str, what: What, authors: &[Author]) {
            let touches = authors.iter().map(|&author| Touch {
                database: 0,
                key: key.as_bytes().into(),
                what,
                event: None,
                author,
            });
            self.tracking.touched(GROUP, &touches.collect::<Vec<_>>());
        }
    }

    const CHANGED: What = What::Changed {
        is_new: false,
        expires: false,
    };

    #[test]
    fn a_reader_is_told_once_of_each_read() {
        let world = world(&Mode::default());
        world.tracking.remember(1, GROUP, &[b"a", b"b"]);
        world.touch("a", CHANGED);
        assert_eq!(world.told(), ">*1 $1 a");
        world.touch("a", CHANGED);
        assert_eq!(world.told(), "");
        assert_eq!(world.tracking.counts().items, 1);
    }

    #[test]
    fn what_leaves_a_group_is_given_up() {
        let world = world(&Mode::default());
        world
            .tracking
            .remember(1, GROUP, &[b"eu:a", b"eu:b", b"us:a"]);
        world.tracking.remember(1, GroupId(2), &[b"eu:c"]);
        world.touch("eu:", What::HandedOut);
        assert_eq!(world.told(), ">*1 $4 eu:a >*1 $4 eu:b");
        world.tracking.forget_group(GroupId(2));
        assert_eq!(world.told(), ">*1 $4 eu:c");
        assert_eq!(world.tracking.counts().keys, 1);
    }

    #[test]
    fn a_full_table_gives_keys_up() {
        let world = world(&Mode::default());
        world.tracking.set_max_keys(2);
        world.tracking.remember(1, GROUP, &[b"a", b"b", b"c"]);
        assert_eq!(world.tracking.counts().keys, 2);
        assert_eq!(world.told().matches('>').count(), 1);
        world.tracking.set_max_keys(1);
        assert_eq!(world.tracking.counts().keys, 1);
        assert_eq!(world.told().matches('>').count(), 1);
    }

    #[test]
    fn a_full_table_makes_room_for_many_keys_at_once() {
        let world = world(&Mode::default());
        world.tracking.set_max_keys(128);
        let names: Vec<String> = (0..129).map(|n| format!("key:{n}")).collect();
        for name in &names {
            world.tracking.remember(1, GROUP, &[name.as_bytes()]);
        }
        assert_eq!(world.tracking.counts().keys, 126);
        assert_eq!(world.told().matches('>').count(), 3);
    }

    #[test]
    fn broadcasting_tells_of_all_keys_with_a_prefix_at_once() {
        let mode = Mode {
            broadcast: true,
            no_loop: true,
            prefixes: [Box::from(&b"x"[..])].into(),
            ..Mode::default()
        };
        let world = world(&mode);
        world.touch("a", CHANGED);
        world.touch_by("x1", CHANGED, &[world.me()]);
        assert_eq!(world.told(), "", "another prefix, and its own doing");
        world.touch("x1", CHANGED);
        assert_eq!(world.told(), ">*1 $2 x1");
        world.touch_by("x1", CHANGED, &[world.me(), ME]);
        assert_eq!(world.told(), ">*1 $2 x1", "another one wrote after it");
        world.touch_by("x1", CHANGED, &[ME, world.me()]);
        assert_eq!(world.told(), "", "it wrote last, and knows what");
        world.tracking.forget_group(GROUP);
        assert_eq!(world.told(), ">_");
        world.touch("", What::Cleared);
        assert_eq!(world.told(), ">_");
    }

    #[test]
    fn whoever_is_not_told_of_its_own_change_is_told_of_the_next_one_by_another() {
        let mode = Mode {
            no_loop: true,
            ..Mode::default()
        };
        let world = world(&mode);
        world.tracking.remember(1, GROUP, &[b"a"]);
        world.touch_by("a", CHANGED, &[world.me()]);
        assert_eq!(world.told(), "");
        assert_eq!(world.tracking.counts().items, 1);
        world.touch("a", CHANGED);
        assert_eq!(world.told(), ">*1 $1 a");
        assert_eq!(world.tracking.counts().keys, 0);
    }

    #[test]
    fn others_with_the_same_number_are_others() {
        let mode = Mode {
            no_loop: true,
            ..Mode::default()
        };
        let world = world(&mode);
        let me = world.me();
        for author in [Author { node: 4, ..me }, Author { life: 8, ..me }] {
            world.tracking.remember(1, GROUP, &[b"a"]);
            world.touch_by("a", CHANGED, &[author]);
            assert_eq!(world.told(), ">*1 $1 a");
        }
    }

    #[test]
    fn what_a_client_is_uncertain_about_is_told_to_it() {
        let mode = Mode {
            no_loop: true,
            ..Mode::default()
        };
        let world = world(&mode);
        let before = world.me();
        world.tracking.doubt(before.number);
        world.tracking.remember(1, GROUP, &[b"a"]);
        world.touch_by("a", CHANGED, &[world.me()]);
        assert_eq!(world.told(), "");
        world.touch_by("a", CHANGED, &[before]);
        assert_eq!(world.told(), ">*1 $1 a");
        world.tracking.disable(1);
        assert_eq!(world.client.author(), 0);
    }

    #[test]
    fn a_redirection_that_leads_nowhere_is_reported() {
        let mode = Mode {
            redirect: Some(99),
            ..Mode::default()
        };
        let world = world(&mode);
        world.tracking.remember(1, GROUP, &[b"a"]);
        world.touch("a", CHANGED);
        assert_eq!(world.told(), ">2 $21 tracking-redir-broken :99");
        assert!(world.client.redirect_is_broken.load(Ordering::Relaxed));
    }
}
