//! Scripts that somebody looks at while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::attend::{Attendant, LOOK_STEPS, Sight, attend, outside_log, within};
use crate::commands::testing::{Fixture, run};

/// Ends what may be ended at the `patience`-th look.
#[derive(Default)]
struct Onlooker {
    patience: u64,
    looks: AtomicU64,
    left: AtomicU64,
    seen: Mutex<Vec<(String, bool, usize)>>,
}

impl Attendant for Onlooker {
    fn look(&self, script: &Sight<'_>) -> bool {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        if looks == 1 {
            let seen = (script.name(), script.is_function, script.request.len());
            self.seen.lock().push(seen);
        }
        looks < self.patience
    }

    fn left(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs a request while somebody looks on, and tells who did.
fn attended(patience: u64, request: &str, is_outside_log: bool) -> (String, Arc<Onlooker>) {
    let onlooker = Arc::new(Onlooker {
        patience,
        ..Onlooker::default()
    });
    // An attendant is one of a thread for good.
    let reply = std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(super::STACK_BYTES);
        let thread = builder.spawn_scoped(scope, || {
            attend(onlooker.clone());
            let mut fixture = Fixture::default();
            match is_outside_log {
                true => outside_log(|| run(&mut fixture, request)),
                false => run(&mut fixture, request),
            }
        });
        thread.unwrap().join().unwrap()
    });
    (reply, onlooker)
}

const LOOP: &str = "for i=1,1e6 do end";

fn request(command: &str, script: &str) -> String {
    format!("{command} \"{script}\" 0")
}

#[test]
fn a_short_script_is_looked_at_by_nobody() {
    let (reply, onlooker) = attended(1, &request("eval_ro", "return 1"), true);
    assert_eq!(reply, "1");
    assert_eq!(onlooker.looks.load(Ordering::Relaxed), 0);
    assert_eq!(onlooker.left.load(Ordering::Relaxed), 0);
}

#[test]
fn a_long_script_is_looked_at_again_and_again_and_left_once() {
    let (reply, onlooker) = attended(u64::MAX, &request("eval", LOOP), false);
    assert_eq!(reply, "nil");
    let looks = onlooker.looks.load(Ordering::Relaxed);
    assert!(looks >= 1_000_000 / (2 * LOOK_STEPS), "{looks} looks");
    assert_eq!(onlooker.left.load(Ordering::Relaxed), 1);
    let seen = onlooker.seen.lock();
    let (name, is_function, words) = &seen[0];
    assert_eq!((name.len(), *is_function, *words), (40, false, 3));
}

#[test]
fn what_only_reads_is_ended_where_its_reply_is_in_no_log() {
    let script = "while true do pcall(function() while true do end end) end";
    let (reply, onlooker) = attended(3, &request("eval_ro", script), true);
    assert!(
        reply.contains("Script killed by user with SCRIPT KILL. script: ")
            && reply.ends_with(", on @user_script:1."),
        "{reply}"
    );
    assert_eq!(onlooker.left.load(Ordering::Relaxed), 1);
    let (reply, _) = attended(3, &request("eval_ro", LOOP), false);
    assert_eq!(reply, "nil", "its reply may stand in the log");
    let (reply, _) = attended(3, &request("eval", LOOP), true);
    assert_eq!(reply, "nil", "it stands in the log itself");
}

#[test]
fn a_script_that_takes_too_long_for_a_thread_is_given_up() {
    let mut fixture = Fixture::default();
    let long = request("eval_ro", LOOP);
    assert_eq!(within(10_000, || run(&mut fixture, &long)), None);
    let short = request("eval_ro", "return 1");
    let short = within(10_000, || run(&mut fixture, &short));
    assert_eq!(short.as_deref(), Some("1"));
    assert_eq!(run(&mut fixture, &long), "nil", "elsewhere it has time");
}
