//! From a running node into an RDB file.
//!
//! The keys come with SCAN, a page at a time, and for a page all values and expiries are asked for
//! together. So each value is one that its key had, and no two need be of the same moment. The file
//! grows under another name, and gets its own when it is on disk as a whole. Libraries of functions
//! stand before the keys, as in Redis's files: what FUNCTION DUMP says is made of the same items.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bailiwick_frame::reply::Resp2Frame;
use xxhash_rust::xxh3::xxh3_128;

use super::node::{Node, Requests};
use super::progress::{Progress, size};
use super::{Completion, Error, ExportArgs, shown_key};
use crate::rdb::file::put;
use crate::rdb::{self, Crc, Value, stream};

/// Keys in a page.
const PAGE_KEYS: &[u8] = b"256";

/// How many values are asked for at a time, so that few are in memory.
const BATCH_KEYS: usize = 64;

/// So many keys that cannot be exported are shown one by one.
const SHOWN_REFUSALS: u64 = 20;

/// Exports to a file.
pub(super) fn run(args: &ExportArgs) -> Result<Completion, Error> {
    let node = Node::connect(&args.from)?;
    let mut export = Export {
        args,
        node,
        out: Target::create(&args.file)?,
        progress: Progress::start("exported"),
        keys: 0,
        refused: 0,
        functions_refused: false,
    };
    let opening = format!("exporting from {} to {}", args.from, args.file.display());
    export.progress.say(&opening);
    export.write_head()?;
    // Who asks for some keys wants those, not what they may be used with.
    if args.pattern.is_none() {
        export.write_functions()?;
    }
    let mut database = 0;
    while export.select(database)? {
        if args.databases.is_empty() || args.databases.contains(&database) {
            export.write_database(database)?;
        }
        database += 1;
    }
    export.finish()
}

struct Export<'a> {
    args: &'a ExportArgs,
    node: Node,
    out: Target,
    progress: Progress,
    keys: u64,
    refused: u64,
    /// The node has functions, perhaps, and does not give them.
    functions_refused: bool,
}

impl Export<'_> {
    fn write_head(&mut self) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0, |now| now.as_secs());
        let mut head = Vec::new();
        put::head(&mut head);
        put::aux("redis-ver", "7.0.15", &mut head);
        put::aux("redis-bits", "64", &mut head);
        put::aux("ctime", &now_s.to_string(), &mut head);
        put::aux("bailiwick-ver", env!("CARGO_PKG_VERSION"), &mut head);
        self.out.write(&head)
    }

    /// Writes the libraries of functions; a server of before Redis 7.0 has none.
    fn write_functions(&mut self) -> Result<(), Error> {
        match self.node.call(&[b"FUNCTION", b"DUMP"])? {
            Resp2Frame::BulkString(dump) => match rdb::without_footer(&dump) {
                Ok(libraries) => self.out.write(libraries),
                Err(_) => Err(self.node.refused("FUNCTION DUMP", "something damaged")),
            },
            Resp2Frame::Error(reply) if reply.starts_with("ERR unknown command") => Ok(()),
            Resp2Frame::Error(reply) => {
                self.functions_refused = true;
                let line = format!("warning: libraries of functions are left out: {reply}");
                self.progress.say(&line);
                Ok(())
            }
            _ => Err(self
                .node
                .refused("FUNCTION DUMP", "something that is no dump")),
        }
    }

    /// Goes to a database; false if the node has no such.
    fn select(&mut self, database: u64) -> Result<bool, Error> {
        let number = database.to_string();
        match self.node.call(&[b"SELECT", number.as_bytes()])? {
            Resp2Frame::Error(reply) if database == 0 => Err(self.node.refused("SELECT 0", reply)),
            Resp2Frame::Error(_) => Ok(false),
            _ => Ok(true),
        }
    }

    fn write_database(&mut self, database: u64) -> Result<(), Error> {
        // Redis may list a key twice, and a file that has it twice does not load.
        let mut seen = HashSet::new();
        let mut cursor = b"0".to_vec();
        let mut has_keys = false;
        loop {
            let (next, mut keys) = self.scan(&cursor)?;
            keys.retain(|key| seen.insert(xxh3_128(key)));
            if !keys.is_empty() && !has_keys {
                has_keys = true;
                let mut selection = Vec::new();
                put::select(database, &mut selection);
                self.out.write(&selection)?;
            }
            for keys in keys.chunks(BATCH_KEYS) {
                self.write_keys(keys)?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn scan(&mut self, cursor: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor, b"COUNT", PAGE_KEYS];
        if let Some(pattern) = &self.args.pattern {
            words.extend([&b"MATCH"[..], pattern.as_bytes()]);
        }
        let reply = self.node.call(&words)?;
        let complaint = match &reply {
            Resp2Frame::Error(reply) => reply.clone(),
            _ => "something that is no page of keys".to_owned(),
        };
        page_of(reply).ok_or_else(|| self.node.refused("SCAN", complaint))
    }

    /// Asks for the values of keys, and writes those that are still there.
    fn write_keys(&mut self, keys: &[Vec<u8>]) -> Result<(), Error> {
        let mut requests = Requests::default();
        for key in keys {
            requests.push(&[b"DUMP", key]);
            requests.push(&[b"PEXPIRETIME", key]);
        }
        self.node.send(&mut requests)?;
        for key in keys {
            let (dump, expiry) = (self.node.reply()?, self.node.reply()?);
            self.write_key(key, dump, expiry)?;
        }
        self.progress.show(self.keys, self.out.len, None);
        Ok(())
    }

    fn write_key(&mut self, key: &[u8], dump: Resp2Frame, expiry: Resp2Frame) -> Result<(), Error> {
        let (dump, expires_at_ms) = match (dump, expiry) {
            // It has gone since it was listed, before or between the two requests.
            (Resp2Frame::Null, _) | (_, Resp2Frame::Integer(-2)) => return Ok(()),
            (Resp2Frame::BulkString(dump), Resp2Frame::Integer(at_ms)) => {
                (dump, Some(at_ms).filter(|&at_ms| at_ms >= 0))
            }
            (Resp2Frame::Error(reply), _) | (_, Resp2Frame::Error(reply)) => {
                let doing = format!("DUMP {}", shown_key(key));
                return Err(self.node.refused(&doing, reply));
            }
            _ => {
                let doing = format!("DUMP {}", shown_key(key));
                return Err(self.node.refused(&doing, "something that is no dump"));
            }
        };
        let Some(value) = writable(&dump) else {
            self.refused += 1;
            if self.refused <= SHOWN_REFUSALS {
                let line = format!(
                    "{}: left out, its value is of no type that can be written",
                    shown_key(key)
                );
                self.progress.say(&line);
            }
            return Ok(());
        };
        let mut entry = Vec::with_capacity(key.len() + value.len() + 32);
        put::entry(key, &value, expires_at_ms, &mut entry);
        self.keys += 1;
        self.out.write(&entry)
    }

    fn finish(mut self) -> Result<Completion, Error> {
        let len = self.out.finish()?;
        let mut summary = format!(
            "{} keys exported to {} ({}) in {:.1} s",
            self.keys,
            self.args.file.display(),
            size(len as f64),
            self.progress.elapsed().as_secs_f64()
        );
        if self.refused > 0 {
            summary += &format!(", {} left out", self.refused);
        }
        self.progress.say(&summary);
        Ok(if self.refused == 0 && !self.functions_refused {
            Completion::Whole
        } else {
            Completion::Partial
        })
    }
}

/// Cursor and keys in a reply to SCAN.
fn page_of(reply: Resp2Frame) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Resp2Frame::Array(parts) = reply else {
        return None;
    };
    let Ok([Resp2Frame::BulkString(cursor), Resp2Frame::Array(keys)]) =
        <[Resp2Frame; 2]>::try_from(parts)
    else {
        return None;
    };
    let key = |key| match key {
        Resp2Frame::BulkString(key) => Some(key),
        _ => None,
    };
    let keys: Option<Vec<Vec<u8>>> = keys.into_iter().map(key).collect();
    Some((cursor, keys?))
}

/// Type and value of a dump, in the version of the file; `None` if that has no such type. What a
/// later Redis dumped is read and written anew.
fn writable(dump: &[u8]) -> Option<Vec<u8>> {
    let value = rdb::without_footer(dump).ok()?;
    if rdb::is_written(*value.first()?) {
        return Some(value.to_vec());
    }
    match rdb::restore(dump, 0).ok()? {
        Value::Stream(held) => {
            let mut value = vec![rdb::STREAM_TYPE];
            stream::put(&held, &mut value);
            Some(value)
        }
        Value::Object(object) => Some(rdb::value_of(&object)),
        Value::String(_) => None,
    }
}

/// A file that grows under another name.
struct Target {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    crc: Crc,
    len: u64,
    is_done: bool,
}

impl Target {
    fn create(path: &Path) -> Result<Self, Error> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(Error::file(&partial))?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file: BufWriter::new(file),
            crc: Crc::default(),
            len: 0,
            is_done: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(Error::file(&self.partial))
    }

    /// Ends the file, brings it to disk and gives it its name. Returns its length.
    fn finish(&mut self) -> Result<u64, Error> {
        let mut end = Vec::new();
        put::end(self.crc, &mut end);
        self.write(&end)?;
        let synced = self.file.flush();
        let synced = synced.and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(Error::file(&self.partial))?;
        fs::rename(&self.partial, &self.path).map_err(Error::file(&self.path))?;
        self.is_done = true;
        // The name is on disk when its directory is.
        let parent = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let directory = File::open(parent).and_then(|directory| directory.sync_all());
        directory.map_err(Error::file(parent))?;
        Ok(self.len)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_done {
            // What is left is of no use; if it cannot be removed, the next run overwrites it.
            let _ = fs::remove_file(&self.partial);
        }
    }
}
