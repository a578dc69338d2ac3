//! Threads of the process: with room for scripts, and the one that listens to signals.

use std::io;
use std::ops::ControlFlow;
use std::thread::{self, JoinHandle};

use crate::commands::SCRIPT_STACK_BYTES;

/// Starts a thread on which scripts may run.
///
/// # Errors
/// The system has no room for it.
pub(crate) fn spawn(
    name: impl Into<String>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.into());
    builder.stack_size(SCRIPT_STACK_BYTES).spawn(run)
}

/// The same while the node starts, when there is room.
pub(crate) fn spawn_early(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    spawn(name, run).expect("the system has room for a few threads at the start")
}

/// Says on a thread of its own when the process is told to end, by SIGTERM or SIGINT, each time
/// until `heard` has heard enough.
///
/// # Errors
/// The system lacks something basic.
pub(crate) fn on_signals(
    mut heard: impl FnMut() -> ControlFlow<()> + Send + 'static,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    let listen = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if heard().is_break() {
                break;
            }
        }
    };
    let builder = thread::Builder::new().name("signals".to_owned());
    builder.spawn(move || runtime.block_on(listen))?;
    Ok(())
}
