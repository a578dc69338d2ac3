//! Processes that a test starts: they end with it, and are known to stand still.

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, ensure};

/// Has the kernel kill the child when the thread that starts it ends, and puts it into a process
/// group of its own.
pub fn die_with_this_thread(command: &mut Command) {
    let parent = std::process::id() as libc::pid_t;
    let prepare = move || {
        // SAFETY: both calls are async-signal-safe and take no pointer.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // If the parent ended before the line above, nobody will send that signal.
            if libc::getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates
    // nothing.
    unsafe { command.pre_exec(prepare) };
}

/// Waits until a child to which SIGSTOP was sent stands still. Until one of its threads has had the
/// processor to take the signal, the others run on, which takes a while on a busy machine.
///
/// # Errors
/// It has ended.
pub fn wait_until_stopped(pid: u32) -> Result<()> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let wanted = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the pointer is to a value of this type, which the call may write.
    let done = unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), wanted) };
    ensure!(done == 0, std::io::Error::last_os_error());
    // SAFETY: all bytes zero are a value of this type, and the call has succeeded.
    let code = unsafe { info.assume_init() }.si_code;
    ensure!(code == libc::CLD_STOPPED, "the process has ended");
    Ok(())
}
