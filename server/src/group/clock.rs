//! The clocks that a group looks at.

use std::time::{SystemTime, UNIX_EPOCH};

/// The node's clock, in milliseconds since 1970. It may jump.
#[must_use]
pub fn clock_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

/// Nanoseconds of a clock that never jumps and goes on while the machine is suspended: leases are
/// measured by it.
#[must_use]
pub fn boot_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of ours, which outlives the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(status, 0, "every Linux since 2.6.39 has CLOCK_BOOTTIME");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
