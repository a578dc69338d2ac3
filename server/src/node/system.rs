//! What the operating system knows of this process and this machine, for INFO.
//!
//! Everything here is a figure for people; what the system does not tell is zero or empty.

use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;

/// Bytes of memory that are resident.
#[must_use]
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * page_bytes()
}

/// Bytes of memory that the machine has.
#[must_use]
pub fn total_memory_bytes() -> u64 {
    // SAFETY: a plain call without pointers.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).unwrap_or(0) * page_bytes()
}

fn page_bytes() -> u64 {
    // SAFETY: a plain call without pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(0)
}

/// Processor time, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// In the system.
    pub system_s: f64,
    /// In the program.
    pub user_s: f64,
}

/// Processor time that the process has used so far.
#[must_use]
pub fn cpu_time() -> CpuTime {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is good for a write; a zeroed rusage is a valid one if nothing is
    // written.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    CpuTime {
        system_s: seconds(usage.ru_stime),
        user_s: seconds(usage.ru_utime),
    }
}

/// Name, release and machine of the system: `Linux 6.1.0 x86_64`.
#[must_use]
pub fn description() -> String {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the pointer is good for a write; a zeroed utsname holds empty strings.
    let name = unsafe {
        libc::uname(name.as_mut_ptr());
        name.assume_init()
    };
    let text = |field: &[libc::c_char]| {
        // SAFETY: the system ends each field with a zero; so does the zeroed value.
        let text = unsafe { CStr::from_ptr(field.as_ptr()) };
        text.to_string_lossy().into_owned()
    };
    format!(
        "{} {} {}",
        text(&name.sysname),
        text(&name.release),
        text(&name.machine)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_figures() {
        assert!(resident_bytes() > 0);
        assert!(total_memory_bytes() >= resident_bytes());
        assert!(description().starts_with("Linux "), "{}", description());
        let cpu = cpu_time();
        assert!(cpu.system_s + cpu.user_s >= 0.0);
    }
}
