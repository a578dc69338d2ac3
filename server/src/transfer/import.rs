//! From an RDB file into a running node.
//!
//! Requests go out in batches, and a batch is sent before the replies to the one before it are
//! taken, so that the node always has something to do. What is in flight is remembered with its
//! place in the file, for the sake of the complaints.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use bailiwick_frame::reply::Resp2Frame;

use super::node::{Node, Requests};
use super::progress::{Progress, size};
use super::source::Source;
use super::{Completion, Error, ImportArgs, shown_key};
use crate::rdb::{self, file::Item};

/// A batch is full with so many requests, or so many bytes.
const BATCH_REQUESTS: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;

/// So many refusals are shown one by one.
const SHOWN_REFUSALS: u64 = 20;

/// Errors with these codes are about the one key, not about the node.
const ABOUT_THE_KEY: [&str; 2] = ["BUSYKEY", "ERR"];

/// Imports a file.
pub(super) fn run(args: &ImportArgs) -> Result<Completion, Error> {
    let mut source = Source::open(&args.file)?;
    let node = Node::connect(&args.to)?;
    let mut import = Import {
        args,
        node,
        progress: Progress::start("imported"),
        selected: None,
        database: 0,
        next: Attributes::default(),
        batch: Requests::default(),
        in_batch: Vec::new(),
        in_flight: VecDeque::new(),
        tally: Tally::default(),
    };
    let opening = format!(
        "importing {} (RDB version {}, {}) into {}",
        args.file.display(),
        source.version(),
        size(source.position().1 as f64),
        args.to
    );
    import.progress.say(&opening);
    while let Some(taken) = source.next(|item, offset| import.take(item, offset))? {
        taken?;
        let (offset, len) = source.position();
        let part = offset as f64 / len.max(1) as f64;
        import
            .progress
            .show(import.tally.imported, offset, Some(part));
    }
    import.send_batch()?;
    import.settle(0)?;
    Ok(import.finish())
}

/// What stands before a key and is about it.
#[derive(Clone, Copy, Default)]
struct Attributes {
    expires_at_ms: Option<i64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

/// A request whose reply is outstanding.
enum Sent {
    Select(u64),
    Restore { key: Box<[u8]>, offset: u64 },
}

#[derive(Default)]
struct Tally {
    imported: u64,
    expired: u64,
    busy: u64,
    refused: u64,
    skipped: u64,
    functions: u64,
    functions_skipped: u64,
}

struct Import<'a> {
    args: &'a ImportArgs,
    node: Node,
    progress: Progress,
    /// The database that the connection has been told to use.
    selected: Option<u64>,
    /// The database that the file is at.
    database: u64,
    next: Attributes,
    batch: Requests,
    in_batch: Vec<Sent>,
    in_flight: VecDeque<Sent>,
    tally: Tally,
}

impl Import<'_> {
    /// Does what an item of the file asks for.
    fn take(&mut self, item: Item<'_>, offset: u64) -> Result<(), Error> {
        match item {
            Item::Select(database) => self.database = database,
            Item::ExpireAt(at_ms) => self.next.expires_at_ms = Some(at_ms),
            Item::Idle(idle_s) => self.next.idle_s = Some(idle_s),
            Item::Frequency(frequency) => self.next.frequency = Some(frequency),
            Item::Function(code) => self.load_function(&code)?,
            Item::Entry { key, kind, value } => {
                let attributes = std::mem::take(&mut self.next);
                self.restore(&key, kind, value, attributes, offset)?;
            }
            Item::Aux(..) | Item::Resize(..) | Item::End => {}
        }
        Ok(())
    }

    fn restore(
        &mut self,
        key: &[u8],
        kind: u8,
        value: &[u8],
        attributes: Attributes,
        offset: u64,
    ) -> Result<(), Error> {
        if !self.is_wanted() {
            self.tally.skipped += 1;
            return Ok(());
        }
        let expires_at_ms = attributes.expires_at_ms;
        if expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms()) {
            self.tally.expired += 1;
            return Ok(());
        }
        self.select();
        let mut dump = Vec::with_capacity(value.len() + 16);
        dump.push(kind);
        dump.extend_from_slice(value);
        rdb::put_footer(&mut dump);
        let ttl = expires_at_ms.unwrap_or(0).to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key, ttl.as_bytes(), &dump, b"ABSTTL"];
        let number = match (attributes.idle_s, attributes.frequency) {
            (Some(idle_s), _) => Some((&b"IDLETIME"[..], idle_s)),
            (None, frequency) => frequency.map(|count| (&b"FREQ"[..], count.into())),
        };
        let number = number.map(|(option, number)| (option, number.to_string()));
        if let Some((option, number)) = &number {
            words.extend([option, number.as_bytes()]);
        }
        if self.args.replace {
            words.push(b"REPLACE");
        }
        self.batch.push(&words);
        let key = key.into();
        self.in_batch.push(Sent::Restore { key, offset });
        if self.batch.len() >= BATCH_REQUESTS || self.batch.bytes() >= BATCH_BYTES {
            self.send_batch()?;
        }
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        let wanted = &self.args.databases;
        wanted.is_empty() || wanted.contains(&self.database)
    }

    /// Puts a SELECT into the batch if what comes belongs to another database.
    fn select(&mut self) {
        if self.selected.unwrap_or(0) != self.database {
            let number = self.database.to_string();
            self.batch.push(&[b"SELECT", number.as_bytes()]);
            self.in_batch.push(Sent::Select(self.database));
        }
        self.selected = Some(self.database);
    }

    /// Sends the batch, and takes the replies to the one before.
    fn send_batch(&mut self) -> Result<(), Error> {
        self.node.send(&mut self.batch)?;
        let sent = self.in_batch.len();
        self.in_flight.extend(self.in_batch.drain(..));
        self.settle(sent)
    }

    /// Takes replies until only so many are outstanding.
    fn settle(&mut self, outstanding: usize) -> Result<(), Error> {
        while self.in_flight.len() > outstanding {
            let reply = self.node.reply()?;
            let sent = self
                .in_flight
                .pop_front()
                .expect("there are more than none");
            match (sent, reply) {
                (Sent::Select(database), Resp2Frame::Error(reply)) => {
                    return Err(self.node.refused(&format!("SELECT {database}"), reply));
                }
                (Sent::Restore { key, offset }, Resp2Frame::Error(reply)) => {
                    self.refusal(&key, offset, reply)?;
                }
                (Sent::Restore { .. }, _) => self.tally.imported += 1,
                (Sent::Select(_), _) => {}
            }
        }
        Ok(())
    }

    /// Notes that a key was refused; an error if the node would refuse all others as well.
    fn refusal(&mut self, key: &[u8], offset: u64, reply: String) -> Result<(), Error> {
        let code = reply.split(' ').next().unwrap_or_default();
        let what = format!("RESTORE {} (at byte {offset})", shown_key(key));
        if !ABOUT_THE_KEY.contains(&code) {
            return Err(self.node.refused(&what, reply));
        }
        let is_busy = code == "BUSYKEY";
        let count = if is_busy {
            &mut self.tally.busy
        } else {
            &mut self.tally.refused
        };
        *count += 1;
        if *count <= SHOWN_REFUSALS {
            self.progress.say(&format!("{what}: {reply}"));
        } else if *count == SHOWN_REFUSALS + 1 {
            self.progress.say("more of the same is only counted");
        }
        Ok(())
    }

    /// Libraries are loaded one by one; one that is refused, because it is there already or is not
    /// understood, is reported, and the data is imported all the same.
    fn load_function(&mut self, code: &[u8]) -> Result<(), Error> {
        self.send_batch()?;
        self.settle(0)?;
        let mut words: Vec<&[u8]> = vec![b"FUNCTION", b"LOAD"];
        if self.args.replace {
            words.push(b"REPLACE");
        }
        words.push(code);
        match self.node.call(&words)? {
            Resp2Frame::Error(reply) => {
                self.tally.functions_skipped += 1;
                let line = format!("warning: a library of functions is left out: {reply}");
                self.progress.say(&line);
            }
            _ => self.tally.functions += 1,
        }
        Ok(())
    }

    fn finish(mut self) -> Completion {
        let tally = &self.tally;
        let mut summary = format!(
            "{} keys imported in {:.1} s",
            tally.imported,
            self.progress.elapsed().as_secs_f64()
        );
        for (count, what) in [
            (tally.expired, "had expired"),
            (tally.busy, "there already and kept (see --replace)"),
            (tally.refused, "refused"),
            (tally.skipped, "of other databases"),
            (tally.functions, "libraries of functions loaded"),
            (tally.functions_skipped, "libraries of functions left out"),
        ] {
            if count > 0 {
                summary += &format!(", {count} {what}");
            }
        }
        let is_whole = tally.busy + tally.refused + tally.functions_skipped == 0;
        self.progress.say(&summary);
        if is_whole {
            Completion::Whole
        } else {
            Completion::Partial
        }
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}
