//! What commands did to keys, for those who want to be told: keyspace notifications and clients
//! that keep copies of values.
//!
//! Nothing is noted unless somebody asked for it, which costs a look at one flag. What is noted is
//! no part of the state and follows from it and the entry alone, so every replica notes the same.
//!
//! A touch says what happened to a key; what Redis calls that is decided in
//! [`events`](super::events).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

/// The classes of `notify-keyspace-events`, to be or-ed.
pub mod class {
    /// `K`: told under the key's name.
    pub const KEYSPACE: u32 = 1 << 0;
    /// `E`: told under the event's name.
    pub const KEYEVENT: u32 = 1 << 1;
    /// `g`
    pub const GENERIC: u32 = 1 << 2;
    /// `$`
    pub const STRING: u32 = 1 << 3;
    /// `l`
    pub const LIST: u32 = 1 << 4;
    /// `s`
    pub const SET: u32 = 1 << 5;
    /// `h`
    pub const HASH: u32 = 1 << 6;
    /// `z`
    pub const SORTED_SET: u32 = 1 << 7;
    /// `x`
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`
    pub const EVICTED: u32 = 1 << 9;
    /// `t`
    pub const STREAM: u32 = 1 << 10;
    /// `m`
    pub const MISSED: u32 = 1 << 11;
    /// `n`
    pub const NEW: u32 = 1 << 12;
    /// `d`: of modules, which there are none of.
    pub const MODULE: u32 = 1 << 13;
    /// `A`: all but `m` and `n`.
    pub const ALL: u32 =
        GENERIC | STRING | LIST | SET | HASH | SORTED_SET | EXPIRED | EVICTED | STREAM | MODULE;

    /// The classes that these letters name; letters that name none are passed over.
    #[must_use]
    pub fn of_letters(letters: &str) -> u32 {
        let of = |letter| match letter {
            'A' => ALL,
            'K' => KEYSPACE,
            'E' => KEYEVENT,
            'g' => GENERIC,
            '$' => STRING,
            'l' => LIST,
            's' => SET,
            'h' => HASH,
            'z' => SORTED_SET,
            'x' => EXPIRED,
            'e' => EVICTED,
            't' => STREAM,
            'm' => MISSED,
            'n' => NEW,
            'd' => MODULE,
            _ => 0,
        };
        letters
            .chars()
            .fold(0, |classes, letter| classes | of(letter))
    }

    /// Whether anybody is told of anything.
    #[must_use]
    pub fn are_any(classes: u32) -> bool {
        let how = KEYSPACE | KEYEVENT;
        classes & how != 0 && classes & !how != 0
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It has another value.
    Changed {
        /// It was absent before.
        is_new: bool,
        /// It was given a time to expire together with the value.
        expires: bool,
    },
    /// It was taken away to be put elsewhere.
    Left,
    /// It was removed.
    Removed,
    /// It was given a time to expire.
    ExpirySet,
    /// Its time to expire was taken away.
    Persisted,
    /// It was removed because its time had come.
    Expired,
    /// It was removed to make room.
    Evicted,
    /// Somebody looked for it in vain.
    Missed,
    /// Nothing more than another touch of the same key says; only the event is told.
    Announced,
    /// All keys of a database are others; there is no key.
    Cleared,
    /// All keys with this prefix are, or will be, served by another group.
    HandedOut,
}

impl What {
    /// The event that this is whatever command did it.
    fn event(self) -> Option<(u32, &'static str)> {
        match self {
            Self::Changed { .. } | Self::Left | Self::Announced => None,
            Self::Removed => Some((class::GENERIC, "del")),
            Self::ExpirySet => Some((class::GENERIC, "expire")),
            Self::Persisted => Some((class::GENERIC, "persist")),
            Self::Expired => Some((class::EXPIRED, "expired")),
            Self::Evicted => Some((class::EVICTED, "evicted")),
            Self::Missed => Some((class::MISSED, "keymiss")),
            Self::Cleared | Self::HandedOut => Some((0, "")),
        }
    }
}

/// What a command did to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The database.
    pub database: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// What happened.
    pub what: What,
    /// The class and the name of the event; class 0 is told to nobody.
    pub event: Option<(u32, Cow<'static, str>)>,
    /// Who did it.
    pub author: Author,
}

/// A client that does not want to hear of its own changes, or nobody.
///
/// Each life of a node numbers such clients, and gives one another number when it has to hear of
/// what it did before (`notices::Tracking`). So what a touch says of its author holds for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The client's node.
    pub node: u32,
    /// The node's life.
    pub life: u64,
    /// The number; 0 stands for nobody.
    pub number: u64,
}

/// Where touches are noted.
#[derive(Debug, Default)]
pub struct Touches {
    is_on: Cell<bool>,
    author: Cell<Author>,
    list: RefCell<Vec<Touch>>,
}

impl Touches {
    /// Notes what happens from now on.
    pub fn switch_on(&self) {
        self.is_on.set(true);
    }

    /// Whether touches are noted.
    #[must_use]
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// What happens from now on is done by this client; the one before it is returned.
    pub fn set_author(&self, author: Author) -> Author {
        self.author.replace(author)
    }

    /// As [`Touches::set_author`], by the client of this number of the same node.
    pub fn set_author_number(&self, number: u64) {
        let author = self.author.get();
        self.author.set(Author { number, ..author });
    }

    /// Notes a touch, if touches are noted.
    #[inline]
    pub fn note(&self, database: usize, key: &[u8], what: What) {
        if self.is_on.get() {
            self.add(database, key, what);
        }
    }

    /// Tells of an event that changes no value, so that those who keep copies do not hear of it.
    #[cold]
    pub fn announce(&self, database: usize, key: &[u8], event: (u32, &'static str)) {
        if self.is_on.get() {
            self.add(database, key, What::Announced);
            if let Some(last) = self.list.borrow_mut().last_mut() {
                last.event = Some((event.0, Cow::Borrowed(event.1)));
            }
        }
    }

    /// Number of touches so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// Whether nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands over what was noted.
    #[must_use]
    pub fn take(&self) -> Vec<Touch> {
        self.list.take()
    }

    /// Names the touches from number `from` on.
    pub(super) fn with_list<R>(&self, work: impl FnOnce(&mut Vec<Touch>) -> R) -> R {
        work(&mut self.list.borrow_mut())
    }

    #[cold]
    fn add(&self, database: usize, key: &[u8], what: What) {
        let touch = Touch {
            database,
            key: key.into(),
            what,
            event: what
                .event()
                .map(|(class, name)| (class, Cow::Borrowed(name))),
            author: self.author.get(),
        };
        let mut list = self.list.borrow_mut();
        // A database after the other is cleared, which is one piece of news.
        let is_repeated =
            what == What::Cleared && list.last().is_some_and(|last| last.what == what);
        if !is_repeated {
            list.push(touch);
        }
    }
}
