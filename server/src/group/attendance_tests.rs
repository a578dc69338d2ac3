//! A script that is looked at, from the first look to its end.

use std::sync::Arc;

use bailiwick_frame::Args;

use super::*;
use crate::commands::testing_sight;

fn seen(is_function: bool, may_be_ended: bool) -> Sight<'static> {
    testing_sight(is_function, may_be_ended, Args::new(&[], &[]))
}

#[test]
fn a_script_is_noticed_then_busy_then_over() {
    let attendance = Attendance::default();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (notices, errors) = (told.clone(), told.clone());
    attendance.on_notice(move |on| notices.lock().push(format!("noticed {on}")));
    attendance.set_calls(move |error| errors.lock().push(error.to_string()), || {});
    let script = seen(false, false);
    assert!(attendance.look(&script, 1000, 50));
    assert!(attendance.runs() && attendance.busy().is_none());
    assert!(attendance.look(&script, 1009, 50));
    assert!(told.lock().is_empty());
    assert!(attendance.look(&script, 1010, 50));
    assert!(attendance.look(&script, 1049, 50));
    assert_eq!(*told.lock(), ["noticed true"]);
    assert!(attendance.look(&script, 1050, 50));
    assert_eq!(attendance.busy(), Some(BUSY_SCRIPT));
    assert!(attendance.look(&script, 1060, 50));
    attendance.left();
    assert!(!attendance.runs() && attendance.busy().is_none());
    let busy = BUSY_SCRIPT.to_string();
    let expected = ["noticed true", &busy, &busy, "noticed false"];
    assert_eq!(*told.lock(), expected);
}

#[test]
fn a_threshold_of_nothing_makes_busy_at_the_first_look() {
    let attendance = Attendance::default();
    assert!(attendance.look(&seen(true, true), 7, 0));
    assert_eq!(attendance.busy(), Some(BUSY_FUNCTION));
}

#[test]
fn only_what_may_be_ended_is_and_only_by_its_own_name() {
    let attendance = Attendance::default();
    assert_eq!(attendance.kill(false), Kill::Idle);
    attendance.look(&seen(false, false), 0, 50);
    assert_eq!(attendance.kill(false), Kill::Logged);
    assert!(attendance.look(&seen(false, false), 1, 50));
    attendance.left();
    attendance.look(&seen(true, true), 0, 50);
    assert_eq!(attendance.kill(false), Kill::Other(BUSY_FUNCTION));
    assert!(attendance.look(&seen(true, true), 1, 50));
    assert_eq!(attendance.kill(true), Kill::Done);
    assert!(!attendance.look(&seen(true, true), 2, 50));
    attendance.left();
    let next = seen(true, true);
    assert!(attendance.look(&next, 3, 50), "the next one lives");
}

#[test]
fn a_group_is_occupied_as_long_as_somebody_says_so() {
    let attendance = Attendance::default();
    let (first, second) = (attendance.occupy(), attendance.occupy());
    drop(first);
    assert!(attendance.is_occupied());
    drop(second);
    assert!(!attendance.is_occupied());
}
