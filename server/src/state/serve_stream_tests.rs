//! Who waits for entries of streams is served, or hears that its group is gone, alike on every
//! replica.

use super::*;

const NO_GROUP: &str =
    "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";

/// A stream with a group.
fn with_group() -> Replicas {
    let mut replicas = Replicas::new();
    replicas.run(&["XADD s 1-0 f v", "XGROUP CREATE s g $"]);
    replicas
}

fn read(number: u64, id: &str) -> (u64, String) {
    let len = id.len();
    (number, format!("*1 *2 $1 s *1 *2 ${len} {id} *2 $1 f $1 v"))
}

/// A part of a reply, as [`Replicas::proxied`] shows it.
fn bytes_of(text: &str) -> String {
    let shown = format!("{:?}", text.as_bytes());
    shown.trim_matches(['[', ']']).to_owned()
}

#[test]
fn all_readers_get_an_entry_and_one_consumer_of_a_group_does() {
    let mut replicas = with_group();
    replicas.wait(1, "XREAD BLOCK 0 STREAMS s $");
    replicas.wait(2, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    replicas.wait(3, "XREAD BLOCK 0 STREAMS other s $ 5-0");
    replicas.wait(4, "XREADGROUP GROUP g b NOACK BLOCK 0 STREAMS s >");
    let served = replicas.run(&["XADD s 5-0 f v"]);
    assert_eq!(served, [read(1, "5-0"), read(2, "5-0")]);
    assert_eq!(replicas.state.waiters.len(), 2);
    let served = replicas.run(&["XADD s 6-0 f v"]);
    assert_eq!(served, [read(3, "6-0"), read(4, "6-0")]);
    assert!(replicas.state.waiters.is_empty());
}

#[test]
fn a_transaction_s_entries_come_together_and_are_shared_out() {
    let mut replicas = with_group();
    for number in 1..=3 {
        let consumer = format!("XREADGROUP GROUP g c{number} COUNT 1 BLOCK 0 STREAMS s >");
        replicas.wait(number, &consumer);
    }
    let served = replicas.transaction(&["XADD s 2-0 f v", "XADD s 3-0 f v"]);
    assert_eq!(served, [read(1, "2-0"), read(2, "3-0")]);
    assert_eq!(replicas.state.waiters.len(), 1);
}

#[test]
fn what_the_newest_entry_was_does_not_change_while_a_reader_waits() {
    let mut replicas = with_group();
    let reply = replicas.proxied("_BLOCK 7 5 1 2 0 XREAD BLOCK 0 STREAMS none s $ $");
    let waits = bytes_of("+BLOCKED 1000 1 0-0 1-0\r\n");
    assert!(reply.0.contains(&waits), "{reply:?}");
    replicas.wait(2, "XREAD BLOCK 0 STREAMS s $");
    assert_eq!(replicas.run(&["XDEL s 1-0", "XSETID s 1-5"]), []);
    let served = replicas.run(&["XADD s 2-0 f v"]);
    assert_eq!(served, [(1, "Look".to_owned()), read(2, "2-0")]);
    // Whoever has to make the request anew does it behind the entries that there were.
    replicas.wait(3, "XREAD BLOCK 0 STREAMS none s 0-0 2-0");
    assert_eq!(replicas.run(&["XADD s 3-0 f v"]), [read(3, "3-0")]);
}

#[test]
fn consumers_hear_of_the_end_of_their_group_and_readers_wait_on() {
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for (end, reply) in [
        ("XGROUP DESTROY s g", NO_GROUP),
        ("DEL s", NO_GROUP),
        ("RENAME s t", NO_GROUP),
        ("MOVE s 1", NO_GROUP),
        ("PEXPIRE s 0", NO_GROUP),
        ("FLUSHALL", NO_GROUP),
        ("SWAPDB 0 1", NO_GROUP),
        ("SET s x", wrong),
    ] {
        let mut replicas = with_group();
        replicas.wait(1, "XREAD BLOCK 0 STREAMS s $");
        replicas.wait(2, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        assert_eq!(replicas.run(&[end]), [(2, reply.to_owned())], "{end}");
        assert_eq!(replicas.state.waiters.len(), 1, "{end}");
    }
}

#[test]
fn a_group_that_is_replaced_within_a_transaction_goes_on() {
    let mut replicas = with_group();
    replicas.wait(1, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    let replace = ["XGROUP DESTROY s g", "XGROUP CREATE s g $"];
    assert_eq!(replicas.transaction(&replace), []);
    assert_eq!(replicas.run(&["XADD s 2-0 f v"]), [read(1, "2-0")]);
}

#[test]
fn a_consumer_that_waits_is_there_and_what_wakes_nobody_does_not_touch_it() {
    let mut replicas = with_group();
    replicas.wait(1, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    replicas.wait(2, "XREADGROUP GROUP g d BLOCK 0 STREAMS s >");
    let described = |replicas: &mut Replicas| replicas.proxied("XINFO CONSUMERS s g").0;
    let before = described(&mut replicas);
    for consumer in ["$1\r\nc\r\n", "$1\r\nd\r\n"] {
        assert!(before.contains(&bytes_of(consumer)), "{before}");
    }
    replicas.time_ms += 5;
    // As in Redis, an earlier place of the group is noticed at the next entry.
    assert_eq!(replicas.run(&["XGROUP SETID s g 0"]), []);
    let idle = described(&mut replicas);
    assert!(idle != before, "{idle}");
    let served = replicas.run(&["XADD s 2-0 f v"]);
    let both = "*1 *2 $1 s *2 *2 $3 1-0 *2 $1 f $1 v *2 $3 2-0 *2 $1 f $1 v";
    assert_eq!(served, [(1, both.to_owned())]);
    assert_eq!(replicas.state.waiters.len(), 1);
}

#[test]
fn who_asks_for_history_or_may_not_wait_is_answered_at_once() {
    let mut replicas = with_group();
    replicas.run(&[
        "_BLOCK 1 1 1 2 0 XREADGROUP GROUP g c BLOCK 0 STREAMS s 0",
        "_BLOCK 1 1 2 2 0 XREADGROUP GROUP none c BLOCK 0 STREAMS s >",
        "XREAD BLOCK 0 STREAMS s $",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
    ]);
    replicas.transaction(&["XREAD BLOCK 0 STREAMS s $"]);
    assert!(replicas.state.waiters.is_empty());
}
