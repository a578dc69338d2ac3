//! `memory`: resident bytes per key, beside Redis.
//!
//! For each size a fresh server is filled with keys of one length and random letters as values
//! (no number, which Redis would store more tightly than text, and nothing that compresses), and
//! what its resident set grew by is divided by the keys. One server runs at a time.
//!
//! How it fails: a size that does not fit into memory or on the disk of the data directory is
//! skipped with a line that says so; everything else is an error.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::admin::Admin;
use crate::interrupt;
use crate::load::{Generator, LoadSpec};
use crate::report::{self, Machine, Table, figure, times};
use crate::requests::{KeyOrder, Mix, Shape};
use crate::schedule::Stop;
use crate::servers::{Binaries, Class, Kind, Server};
use crate::stats::ratio;

/// A server may use this much per key besides key and value before a size is wrongly let in.
const OVERHEAD_BYTES: u64 = 160;

/// The resident set has settled when it moves by less than this share between two looks.
const SETTLED_SHARE: f64 = 0.001;
const SETTLE_POLL: Duration = Duration::from_millis(500);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The arguments of `memory redis`.
#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    binaries: Binaries,
    /// Numbers of keys
    #[arg(long, value_delimiter = ',', default_value = "1000000,5000000")]
    keys: Vec<u64>,
    /// Lengths of values
    #[arg(long, value_delimiter = ',', default_value = "8,64,1024")]
    values: Vec<usize>,
    /// Length of each key
    #[arg(long, default_value_t = 16)]
    key_bytes: usize,
    /// Connections that load
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 64)]
    pipeline: u64,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Memory {
    machine: Machine,
    key_bytes: usize,
    rows: Vec<Row>,
}

/// One size on both servers.
#[derive(Debug, Serialize)]
struct Row {
    keys: u64,
    value_bytes: usize,
    redis: Footprint,
    bailiwick: Footprint,
    /// Bytes per key, bailiwick over Redis.
    ratio: f64,
}

/// The resident set of one server before and after it was filled.
#[derive(Clone, Copy, Debug, Serialize)]
struct Footprint {
    empty_bytes: u64,
    full_bytes: u64,
    bytes_per_key: f64,
    load_s: f64,
}

/// Measures, prints and writes the footprints.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &MemoryArgs) -> Result<()> {
    let mut memory = Memory {
        machine: Machine::this(),
        key_bytes: args.key_bytes,
        rows: Vec::new(),
    };
    for &keys in &args.keys {
        for &value_bytes in &args.values {
            if let Some(obstacle) = obstacle(args, keys, value_bytes)? {
                eprintln!("skipped: {keys} keys of {value_bytes} bytes: {obstacle}");
                continue;
            }
            let redis = measure(args, Kind::Redis, keys, value_bytes)?;
            let bailiwick = measure(args, Kind::Bailiwick, keys, value_bytes)?;
            let ratio = ratio(bailiwick.bytes_per_key, redis.bytes_per_key);
            memory.rows.push(Row {
                keys,
                value_bytes,
                redis,
                bailiwick,
                ratio,
            });
        }
    }
    report::publish(
        &table(args.key_bytes, &memory.rows),
        &memory,
        args.json.as_deref(),
    )
}

fn measure(args: &MemoryArgs, kind: Kind, keys: u64, value_bytes: usize) -> Result<Footprint> {
    let server = Server::start(&args.binaries, kind, Class::Never)?;
    measure_server(args, &server, keys, value_bytes).map_err(|error| server.explain(error))
}

fn measure_server(
    args: &MemoryArgs,
    server: &Server,
    keys: u64,
    value_bytes: usize,
) -> Result<Footprint> {
    let empty_bytes = settled_resident_bytes(server.pid())?;
    let shape = Shape {
        mix: Mix::Set,
        order: KeyOrder::Sequential,
        keys,
        key_bytes: args.key_bytes,
        value_bytes,
        seed: 1,
    };
    let (clients, pipeline) = (args.clients, args.pipeline);
    let spec = LoadSpec {
        address: server.address(),
        clients,
        pipeline,
        rate: None,
        shape,
    };
    let outcome = Generator::connect(spec)?.run(&Stop::Requests(keys))?;
    let held: u64 = Admin::connect(server.address())?
        .ask(&["DBSIZE"])?
        .parse()?;
    ensure!(
        held == keys,
        "{} holds {held} keys instead of {keys}",
        server.kind().name()
    );
    let full_bytes = settled_resident_bytes(server.pid())?;
    let footprint = Footprint {
        empty_bytes,
        full_bytes,
        bytes_per_key: full_bytes.saturating_sub(empty_bytes) as f64 / keys as f64,
        load_s: outcome.elapsed.as_secs_f64(),
    };
    eprintln!(
        "{} with {keys} keys of {value_bytes} bytes: {:.1} bytes per key, loaded in {:.1} s",
        server.kind().name(),
        footprint.bytes_per_key,
        footprint.load_s,
    );
    Ok(footprint)
}

/// The resident set once it has stopped moving, or as it is after the time-out.
pub(crate) fn settled_resident_bytes(pid: u32) -> Result<u64> {
    let start = Instant::now();
    let mut last = resident_bytes(pid)?;
    loop {
        std::thread::sleep(SETTLE_POLL);
        interrupt::check()?;
        let now = resident_bytes(pid)?;
        if is_settled(last, now) || start.elapsed() > SETTLE_TIMEOUT {
            return Ok(now);
        }
        last = now;
    }
}

fn is_settled(before: u64, after: u64) -> bool {
    before.abs_diff(after) as f64 <= after as f64 * SETTLED_SHARE
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    kib_field(&text, "Rss").with_context(|| format!("no Rss in {path}"))
}

/// Why a size should not be tried, if so.
fn obstacle(args: &MemoryArgs, keys: u64, value_bytes: usize) -> Result<Option<String>> {
    let per_key = args.key_bytes as u64 + value_bytes as u64 + OVERHEAD_BYTES;
    let needed = keys.saturating_mul(per_key);
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let available = kib_field(&text, "MemAvailable").context("no MemAvailable")?;
    if needed > available {
        return Ok(Some(shortage("memory", needed, available)));
    }
    let parent = args.binaries.parent_dir(Class::Never);
    let free = free_disk_bytes(&parent)?;
    // The server without a switch for its log writes each key there once.
    let room = format!("room in {}", parent.display());
    Ok((needed > free).then(|| shortage(&room, needed, free)))
}

fn shortage(what: &str, needed: u64, available: u64) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "needs up to {} MiB of {what}, {} MiB available",
        mib(needed),
        mib(available)
    )
}

fn kib_field(text: &str, field: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field)
        .and_then(|(_, value)| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)
}

fn free_disk_bytes(path: &Path) -> Result<u64> {
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: statvfs is plain data for which zero is valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals, and the name ends with a zero.
    if unsafe { libc::statvfs(name.as_ptr(), &mut stat) } != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("cannot look at {}", path.display()));
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn table(key_bytes: usize, rows: &[Row]) -> Table {
    let head = [
        "keys",
        "value B",
        "key+value B",
        "redis B/key",
        "bailiwick B/key",
        "ratio",
    ];
    let mut table = Table::new(0, &head);
    for row in rows {
        table.row(vec![
            row.keys.to_string(),
            row.value_bytes.to_string(),
            (key_bytes + row.value_bytes).to_string(),
            figure(row.redis.bytes_per_key, 1),
            figure(row.bailiwick.bytes_per_key, 1),
            times(row.ratio),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_proc_is_read_in_bytes() {
        let text = "Rss:    12 kB\nRss_Anon:  7 kB\n";
        assert_eq!(kib_field(text, "Rss"), Some(12 * 1024));
        assert_eq!(kib_field(text, "Pss"), None);
    }

    #[test]
    fn this_process_resides_in_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
        assert!(free_disk_bytes(Path::new("/")).is_ok());
    }

    #[test]
    fn a_size_that_moves_has_not_settled() {
        assert!(is_settled(1_000_000, 1_000_500));
        assert!(!is_settled(1_000_000, 1_100_000));
        assert!(!is_settled(1_100_000, 1_000_000));
    }
}
