//! Walks over a database as a whole: all keys of it, in whichever realm they are.
//!
//! **Order.** All realms of a group hash under one seed, so a key has the same position in hash
//! order wherever it is, and [`Keyspace::scan`] walks all realms side by side. A cursor is a
//! position, and means the same after realms have been split, merged or handed to other groups: a
//! key that is somewhere throughout the scan is returned, and none is returned twice.
//!
//! Keys that are arriving are not there yet.

use super::table::{POSITION_END, POSITION_SHIFT};
use super::{Entry, Frozen, Keyspace, Table};

/// A scan of many realms looks at so many entries for each one it returns, at most about: the
/// segments of small tables have to be looked at as a whole each time, so pages grow beyond what
/// was asked for rather than having everything looked at for a few keys.
const LOOKS_PER_KEY: usize = 32;

/// How many segments a scan visits for each key of a page, before it returns a smaller one.
const SEGMENTS_PER_KEY: usize = 10;

/// Draws keys of a database at random, each about as likely as any other.
pub struct Sampler<'a> {
    /// Each with the number of keys in it and in those before it.
    tables: Vec<(usize, &'a Table)>,
}

/// The content of a keyspace at one moment: tables with their databases.
#[derive(Default)]
pub struct FrozenKeyspace {
    /// Of all realms that are visible.
    pub visible: Vec<(usize, Frozen)>,
    /// Of each realm that is arriving, by prefix.
    pub staged: Vec<FrozenRealm>,
}

/// A realm's prefix, and its tables with their databases.
pub type FrozenRealm = (Box<[u8]>, Vec<(usize, Frozen)>);

impl FrozenKeyspace {
    /// Number of keys, those included that are arriving.
    #[must_use]
    pub fn len(&self) -> usize {
        let staged = self.staged.iter().flat_map(|(_, tables)| tables);
        let tables = self.visible.iter().chain(staged);
        tables.map(|(_, table)| table.len()).sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Keyspace {
    /// Number of keys in a database, expired ones that were not removed yet included.
    #[must_use]
    pub fn len_of(&self, database: usize) -> usize {
        self.totals[database].len
    }

    /// Number of keys in a database that have an expiry.
    #[must_use]
    pub fn expiring_len_of(&self, database: usize) -> usize {
        self.totals[database].expiring
    }

    /// Bytes of memory of a database in everything but its entries.
    #[must_use]
    pub fn structure_bytes_of(&self, database: usize) -> usize {
        self.tables_of(database).map(Table::structure_bytes).sum()
    }

    /// The tables of a database, by prefix.
    pub fn tables_of(&self, database: usize) -> impl Iterator<Item = &Table> {
        self.visible_slots()
            .filter_map(move |slot| self.realms[slot].tables.get(database))
    }

    /// All tables, those included that are arriving, with prefix and database.
    pub fn all_tables(&self) -> impl Iterator<Item = (&[u8], usize, &Table)> {
        let staged = self.staged.iter().map(|(prefix, slot)| (&**prefix, slot));
        self.index.iter().chain(staged).flat_map(|(prefix, &slot)| {
            let tables = self.realms[slot as usize].tables.iter().enumerate();
            tables.map(move |(database, table)| (prefix, database, table))
        })
    }

    /// All keys of a database, in no particular order.
    pub fn iter(&self, database: usize) -> impl Iterator<Item = &Entry> {
        self.tables_of(database).flat_map(Table::iter)
    }

    /// Shares the present content with the caller: first what is visible, then realm by realm what
    /// is arriving, each table with its database.
    #[must_use]
    pub fn freeze(&self) -> FrozenKeyspace {
        let freeze = |slot: usize| {
            let tables = self.realms[slot].tables.iter().enumerate();
            let tables = tables.filter(|(_, table)| !table.is_empty());
            tables.map(|(database, table)| (database, table.freeze()))
        };
        let staged = self.staged.iter();
        FrozenKeyspace {
            visible: self.visible_slots().flat_map(freeze).collect(),
            staged: staged
                .map(|(prefix, &slot)| (prefix.clone(), freeze(slot as usize).collect()))
                .collect(),
        }
    }

    /// What draws keys of a database at random.
    #[must_use]
    pub fn sampler(&self, database: usize) -> Sampler<'_> {
        let mut end = 0;
        let tables = self
            .served_slots()
            .filter_map(|slot| self.realms[slot].tables.get(database));
        let tables = tables.filter(|table| !table.is_empty()).map(|table| {
            end += table.len();
            (end, table)
        });
        Sampler {
            tables: tables.collect(),
        }
    }

    /// The position at which [`Keyspace::scan`] visits a key, in whichever realm it is.
    #[must_use]
    pub fn position_of(&self, key: &[u8]) -> u64 {
        self.hash(key).0 >> POSITION_SHIFT
    }

    /// Visits about `count` keys of a database that begin with `literal`, from position `cursor` on
    /// in hash order, and returns the next position, 0 at the end. Keys at one position are never
    /// divided between two calls.
    pub fn scan<'a>(
        &'a self,
        database: usize,
        cursor: u64,
        count: usize,
        literal: &[u8],
        mut visit: impl FnMut(&'a Entry),
    ) -> u64 {
        let tables = self.tables_with(database, literal);
        let mut visit = |entry: &'a Entry| {
            if entry.key().starts_with(literal) {
                visit(entry);
            }
        };
        match &tables[..] {
            [] => 0,
            [table] => table.scan(cursor, count, visit),
            tables => {
                if cursor >= POSITION_END {
                    return 0;
                }
                let end = page_end(tables, cursor, count);
                let mut found = Vec::new();
                for table in tables {
                    table.visit_positions(cursor..end, |position, entry| {
                        found.push((position, entry));
                    });
                }
                found.sort_unstable_by_key(|&(position, entry)| (position, entry.key()));
                found.iter().for_each(|&(_, entry)| visit(entry));
                if end == POSITION_END { 0 } else { end }
            }
        }
    }

    /// The tables of a database that can hold keys that begin with `literal`, without empty ones.
    fn tables_with(&self, database: usize, literal: &[u8]) -> Vec<&Table> {
        let above = self.index.longest(literal);
        let above = above.filter(|(prefix, _)| prefix.len() < literal.len());
        let above = above.map(|(_, slot)| slot);
        let below = self.index.under(literal).map(|(_, slot)| slot);
        let realms = above.into_iter().chain(below);
        let realms = realms.map(|&slot| &self.realms[slot as usize]);
        let tables = realms.filter_map(|realm| realm.tables.get(database));
        tables.filter(|table| !table.is_empty()).collect()
    }
}

/// Where a page of about `count` keys ends that begins at `cursor`.
fn page_end(tables: &[&Table], cursor: u64, count: usize) -> u64 {
    let sum = |of: fn(&Table) -> usize| tables.iter().map(|table| of(table)).sum::<usize>();
    let (keys, segments) = (sum(Table::len), sum(Table::segment_count));
    let looks = sum(|table| table.len() / table.segment_count() + 1);
    let wanted = count.max(looks / LOOKS_PER_KEY).max(1) as u128;
    // Positions are evenly distributed, so a share of them holds that share of the keys.
    let share_of = |all: usize, part: u128| u128::from(POSITION_END) * part / all.max(1) as u128;
    let width = share_of(keys, wanted).min(share_of(segments, wanted * SEGMENTS_PER_KEY as u128));
    let width = u64::try_from(width.max(1)).unwrap_or(POSITION_END);
    cursor.saturating_add(width).min(POSITION_END)
}

impl<'a> Sampler<'a> {
    /// The key that `random` chooses; `None` if there is none.
    #[must_use]
    pub fn random(&self, random: u64) -> Option<&'a Entry> {
        let &(len, _) = self.tables.last()?;
        // The table draws from other bits of the number, which the multiplication spreads.
        let mixed = u128::from(random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let at = ((mixed * len as u128) >> 64) as usize;
        let chosen = self.tables.partition_point(|&(end, _)| end <= at);
        self.tables[chosen].1.random(random)
    }
}
