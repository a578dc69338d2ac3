//! Ctrl-C as a flag.
//!
//! The handler does nothing but set the flag; whoever waits or loops asks `check()` and returns an
//! error, so that servers are stopped and their directories removed on the ordinary way out.
//! It is installed without `SA_RESTART`: a wait that is interrupted returns at once.
//! A second signal ends the process at once; the servers still end with it (see `servers`).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT and SIGTERM set the flag.
///
/// # Errors
/// If the system refuses the handler.
pub(crate) fn install() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the struct is plain data for which zero is valid, the handler only stores to an
        // atomic, and SA_RESETHAND makes a second signal take the default action.
        let code = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// # Errors
/// If the process has been asked to stop.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

extern "C" fn on_signal(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
