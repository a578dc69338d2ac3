//! MEMORY, but for USAGE, which looks at a key and is therefore a read like others.

use std::ffi::{CStr, c_char, c_void};
use std::fmt::Write as _;

use bailiwick_frame::Encoder;

use super::info::{human, ratio};
use super::info_state::{Memory, client_bytes};
use super::{Flow, NodeContext, NodeOutcome};

/// Below this there is too little data for ratios to mean anything.
const SMALL_BYTES: u64 = 5 << 20;
/// Memory of the process over memory of the data from which on it is worth a word.
const HIGH_FRAGMENTATION: f64 = 1.4;
/// Peak over present use from which on it is worth a word.
const HIGH_PEAK: f64 = 1.5;

/// A figure of MEMORY STATS.
enum Figure {
    Integer(u64),
    Double(f64),
}

pub(super) fn stats(context: &mut NodeContext<'_>) -> NodeOutcome {
    use Figure::{Double, Integer};
    let memory = Memory::of(context.node);
    let Memory {
        used,
        peak,
        resident,
        keys,
        ..
    } = memory;
    let committed = committed_bytes();
    let before = [
        ("peak.allocated", Integer(peak)),
        ("total.allocated", Integer(used)),
        ("startup.allocated", Integer(0)),
        ("replication.backlog", Integer(0)),
        ("clients.slaves", Integer(0)),
        ("clients.normal", Integer(client_bytes(context.node))),
        ("cluster.links", Integer(0)),
        ("aof.buffer", Integer(0)),
        ("lua.caches", Integer(0)),
        ("functions.caches", Integer(0)),
    ];
    let after = [
        ("overhead.total", Integer(memory.overhead)),
        ("keys.count", Integer(keys)),
        ("keys.bytes-per-key", Integer(used / keys.max(1))),
        ("dataset.bytes", Integer(memory.dataset())),
        (
            "dataset.percentage",
            Double(ratio(memory.dataset(), used) * 100.0),
        ),
        ("peak.percentage", Double(ratio(used, peak) * 100.0)),
        ("allocator.allocated", Integer(used)),
        ("allocator.active", Integer(committed)),
        ("allocator.resident", Integer(resident)),
        (
            "allocator-fragmentation.ratio",
            Double(ratio(committed, used)),
        ),
        (
            "allocator-fragmentation.bytes",
            Integer(committed.saturating_sub(used)),
        ),
        ("allocator-rss.ratio", Double(ratio(resident, committed))),
        (
            "allocator-rss.bytes",
            Integer(resident.saturating_sub(committed)),
        ),
        ("rss-overhead.ratio", Double(1.0)),
        ("rss-overhead.bytes", Integer(0)),
        ("fragmentation", Double(ratio(resident, used))),
        (
            "fragmentation.bytes",
            Integer(resident.saturating_sub(used)),
        ),
    ];
    let databases = databases(context);
    let mut encoder = context.encoder();
    encoder.map(before.len() + databases.len() + after.len());
    write_figures(&before, &mut encoder);
    for (number, main_bytes) in databases {
        encoder.bulk(format!("db.{number}").as_bytes());
        let figures = [
            ("overhead.hashtable.main", Integer(main_bytes)),
            ("overhead.hashtable.expires", Integer(0)),
            ("overhead.hashtable.slot-to-keys", Integer(0)),
        ];
        encoder.map(figures.len());
        write_figures(&figures, &mut encoder);
    }
    write_figures(&after, &mut encoder);
    Ok(Flow::Continue)
}

fn write_figures(figures: &[(&str, Figure)], encoder: &mut Encoder<'_>) {
    for (name, figure) in figures {
        encoder.bulk(name.as_bytes());
        match *figure {
            Figure::Integer(value) => encoder.integer(value as i64),
            Figure::Double(value) => encoder.double(value),
        }
    }
}

/// Databases with keys, and the bytes of each that are not keys and values.
fn databases(context: &NodeContext<'_>) -> Vec<(usize, u64)> {
    let Some(group) = context.node.group() else {
        return Vec::new();
    };
    let Some(state) = group.glance() else {
        return Vec::new();
    };
    let keyspace = &state.keyspace;
    let used = (0..keyspace.databases()).filter(|&number| keyspace.len_of(number) > 0);
    used.map(|number| (number, keyspace.structure_bytes_of(number) as u64))
        .collect()
}

pub(super) fn doctor(context: &mut NodeContext<'_>) -> NodeOutcome {
    let report = report(&Memory::of(context.node));
    context.encoder().verbatim("txt", report.as_bytes());
    Ok(Flow::Continue)
}

fn report(memory: &Memory) -> String {
    if memory.used < SMALL_BYTES {
        return "There is too little data for a diagnosis.\n".to_owned();
    }
    let mut text = String::new();
    let peak = ratio(memory.peak, memory.used);
    if peak > HIGH_PEAK {
        let (peak, used) = (human(memory.peak), human(memory.used));
        writeln!(
            text,
            "Peak: the data once took {peak} and takes {used} now. The process may still hold \
             memory from then; MEMORY PURGE gives back what can be given back."
        )
        .expect("writing to a String does not fail");
    }
    let fragmentation = ratio(memory.resident, memory.used);
    if fragmentation > HIGH_FRAGMENTATION {
        writeln!(
            text,
            "Overhead: the process takes {fragmentation:.2} times the memory of the data. Buffers \
             of many clients, a checkpoint in progress or removed keys can be the reason."
        )
        .expect("writing to a String does not fail");
    }
    if text.is_empty() {
        "The memory figures look sound.\n".to_owned()
    } else {
        text
    }
}

pub(super) fn purge(context: &mut NodeContext<'_>) -> NodeOutcome {
    // SAFETY: it may be called at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
    context.ok()
}

pub(super) fn allocator_stats(context: &mut NodeContext<'_>) -> NodeOutcome {
    extern "C" fn gather(text: *const c_char, gathered: *mut c_void) {
        // SAFETY: the allocator hands out a string that ends with a zero, and hands back the
        // pointer it was given below, while what it points to is borrowed by nobody else.
        unsafe {
            let gathered = &mut *gathered.cast::<Vec<u8>>();
            gathered.extend_from_slice(CStr::from_ptr(text).to_bytes());
        }
    }
    let mut text: Vec<u8> = Vec::new();
    // SAFETY: `gather` gets what it expects, and is not called after this call.
    unsafe { libmimalloc_sys::mi_stats_print_out(Some(gather), (&raw mut text).cast()) };
    context.encoder().verbatim("txt", &text);
    Ok(Flow::Continue)
}

/// Bytes that the allocator has taken from the system and not given back.
fn committed_bytes() -> u64 {
    let mut figures = [0usize; 8];
    let [
        elapsed,
        user,
        system,
        resident,
        peak_resident,
        committed,
        peak_committed,
        faults,
    ] = figures.each_mut();
    // SAFETY: each pointer is good for a write.
    unsafe {
        libmimalloc_sys::mi_process_info(
            elapsed,
            user,
            system,
            resident,
            peak_resident,
            committed,
            peak_committed,
            faults,
        );
    }
    figures[5] as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_node_gets_no_diagnosis_and_a_sound_one_no_advice() {
        let mut memory = Memory {
            used: 1000,
            peak: 9000,
            resident: 1 << 30,
            ..Memory::default()
        };
        assert!(report(&memory).contains("too little data"));
        memory = Memory {
            used: 100 << 20,
            peak: 100 << 20,
            resident: 110 << 20,
            ..memory
        };
        assert!(report(&memory).contains("sound"));
    }

    #[test]
    fn what_is_odd_is_named() {
        let memory = Memory {
            used: 100 << 20,
            peak: 200 << 20,
            resident: 300 << 20,
            ..Memory::default()
        };
        let report = report(&memory);
        assert!(
            report.contains("200.00M") && report.contains("3.00 times"),
            "{report}"
        );
    }
}
