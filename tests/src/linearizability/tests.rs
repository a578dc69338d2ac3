//! Hand-made histories, random executions, and an oracle that tries every order.

use proptest::prelude::*;

use super::*;
use crate::history::Begun;

/// One line an operation: `invoked returned operation [argument] reply`, where `?` as the reply is
/// an unknown outcome and `!` a refusal.
fn history(lines: &[&str]) -> History {
    let mut history = History::default();
    for (client, line) in lines.iter().enumerate() {
        let mut words: Vec<_> = line.split(' ').collect();
        let time = |text: &str| text.parse().unwrap();
        let (invoked, returned) = (time(words[0]), time(words[1]));
        let reply = words.pop().unwrap();
        let argument = words.get(3).map(|word| word.as_bytes().to_vec());
        let operation = match words[2] {
            "get" => Operation::Get,
            "incr" => Operation::Increment,
            "del" => Operation::Delete,
            "set" => Operation::Set(argument.unwrap()),
            "swap" => Operation::Swap(argument.unwrap()),
            "append" => Operation::Append(argument.unwrap()),
            other => panic!("{other}"),
        };
        let value = |text: &str| (text != "nil").then(|| text.as_bytes().to_vec());
        let outcome = match reply {
            "?" => Outcome::Unknown,
            "!" => Outcome::Refused,
            "ok" => Outcome::Answered(Reply::Done),
            text if matches!(operation, Operation::Get | Operation::Swap(_)) => {
                Outcome::Answered(Reply::Value(value(text)))
            }
            text => Outcome::Answered(Reply::Number(text.parse().unwrap())),
        };
        let begun = history.begin(client as u32, "k", operation, invoked);
        history.finish(begun, outcome, returned);
    }
    history
}

fn good(lines: &[&str]) {
    assert_eq!(check(&history(lines)), Ok(()));
}

/// Returns how many operations the message shows.
fn bad(lines: &[&str]) -> usize {
    match check(&history(lines)) {
        Err(Violation::Contradiction { answered, .. }) => answered.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn concurrent_operations_may_be_ordered_as_the_answers_want() {
    good(&["0 10 set a ok", "0 10 set b ok", "11 12 get a"]);
    good(&["0 10 set a ok", "0 10 set b ok", "11 12 get b"]);
    good(&["0 10 set a ok", "1 2 get nil", "3 4 get a"]);
    good(&["0 10 incr 2", "0 10 incr 1", "0 10 incr 3", "5 6 get 1"]);
    good(&[
        "0 3 append x 1",
        "2 5 append y 2",
        "4 7 get xy",
        "8 9 del 1",
        "9 9 get nil",
    ]);
    good(&[
        "0 1 swap a nil",
        "2 9 swap b c",
        "3 5 swap c a",
        "10 10 get b",
    ]);
}

#[test]
fn a_read_that_goes_back_is_found() {
    assert_eq!(
        bad(&["0 1 set a ok", "2 3 set b ok", "4 5 get a"]),
        2,
        "set b and get a alone contradict each other"
    );
    bad(&["0 10 set a ok", "1 2 get a", "3 4 get nil"]);
    bad(&["0 1 incr 1", "2 3 incr 1"]);
    bad(&["0 1 incr 1", "2 3 incr 3"]);
    bad(&["0 1 append x 1", "2 3 append y 2", "4 5 get yx"]);
    bad(&["0 1 del 1"]);
    bad(&["0 1 get a"]);
}

#[test]
fn an_unknown_write_may_happen_late_or_never_but_not_early_or_twice() {
    good(&["0 1 set a ?", "2 3 get nil", "4 5 get a"]);
    good(&["0 1 set a ?", "2 3 get nil", "4 5 get nil"]);
    good(&["0 1 incr ?", "0 1 incr ?", "2 3 incr 2", "4 5 incr 4"]);
    bad(&["0 1 get a", "2 3 set a ?"]);
    bad(&["0 1 set a ?", "2 3 get a", "4 5 set b ok", "6 7 get a"]);
    bad(&["0 1 incr ?", "2 3 incr 3"]);
    bad(&["0 1 incr ?", "2 3 incr 2", "4 5 incr 4"]);
}

#[test]
fn a_refused_write_never_happens() {
    good(&["0 1 set a !", "2 3 get nil"]);
    bad(&["0 1 set a !", "2 3 get a"]);
}

#[test]
fn operations_that_touch_in_time_are_concurrent() {
    good(&["0 5 set a ok", "5 9 get nil"]);
    bad(&["0 4 set a ok", "5 9 get nil"]);
}

#[test]
fn the_window_leaves_out_what_does_not_matter() {
    let mut lines: Vec<String> = (0..500)
        .map(|n| format!("{} {} set v{n} ok", 10 * n, 10 * n + 5))
        .collect();
    lines.insert(300, "3006 3007 get v7".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(bad(&lines), 2);
    let text = check(&history(&lines)).unwrap_err().to_string();
    assert!(text.contains("get k -> \"v7\""), "{text}");
    assert!(text.lines().count() < 6, "{text}");
}

#[test]
fn many_open_writes_do_not_make_the_search_explode() {
    let mut lines = Vec::new();
    for n in 0..200 {
        lines.push(format!("{n} {n} set u{n} ?"));
        lines.push(format!("{n} {n} incr ?"));
        lines.push(format!("{n} {n} append x ?"));
    }
    for n in 200..400 {
        lines.push(format!("{n} {n} set {n} ok"));
        lines.push(format!("{n} {n} get {n}"));
    }
    let of = |lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        check(&history(&lines))
    };
    assert_eq!(of(&lines), Ok(()));
    lines.push("500 501 get never-written".to_owned());
    assert!(matches!(of(&lines), Err(Violation::Contradiction { .. })));
}

/// A client that makes one call at a time against a real register, some of them lost.
#[derive(Clone, Debug)]
struct Call {
    client: usize,
    operation: Operation,
    before: u64,
    after: u64,
    /// 0: unknown and done, 1: unknown and not done, 2: refused, others: answered.
    fate: u8,
}

fn call(clients: usize, is_counter: bool) -> impl Strategy<Value = Call> {
    let operation = (0..10_u8, any::<u32>()).prop_map(move |(kind, number)| {
        let value = format!("{:05};", number % 100_000).into_bytes();
        match kind {
            0..=3 => Operation::Get,
            4..=7 if is_counter => Operation::Increment,
            4 | 5 => Operation::Set(value),
            6 => Operation::Swap(value),
            7 => Operation::Append(value),
            8 if is_counter => Operation::Set(number.to_string().into_bytes()),
            8 => Operation::Append(value),
            _ => Operation::Delete,
        }
    });
    let times = (0..20_u64, 0..20_u64);
    (0..clients, operation, times, 0..60_u8).prop_map(
        |(client, operation, (before, after), fate)| Call {
            client,
            operation,
            before,
            after,
            fate,
        },
    )
}

/// Runs calls one after the other, each at a moment of its own, and records them with wider times.
fn execute(calls: &[Call]) -> History {
    let mut history = History::default();
    let mut free_at = [0_u64; 16];
    let mut register = register::Register::default();
    let mut state = State::ABSENT;
    let mut now = 0;
    for call in calls {
        // At most a client's last call before, so that its calls do not overlap.
        now = (now + 3).max(free_at[call.client] + 1);
        let invoked = now.saturating_sub(call.before).max(free_at[call.client]);
        let begun = history.begin(call.client as u32, "k", call.operation.clone(), invoked);
        if !matches!(call.fate, 1 | 2) {
            let reply = answer(&mut register, &mut state, &call.operation);
            if call.fate > 2 {
                history.finish(begun, Outcome::Answered(reply), now + call.after);
            }
        } else if call.fate == 2 {
            history.finish(begun, Outcome::Refused, now + call.after);
        }
        free_at[call.client] = now + call.after + 1;
    }
    history
}

fn answer(register: &mut register::Register, state: &mut State, operation: &Operation) -> Reply {
    let held = register.value(*state).map(|held| held.to_vec());
    *state = register.step(*state, operation, None).unwrap();
    let after = register.value(*state).map(|held| held.to_vec());
    match operation {
        Operation::Get | Operation::Swap(_) => Reply::Value(held),
        Operation::Set(_) => Reply::Done,
        Operation::Append(_) => Reply::Number(after.unwrap().len() as i64),
        Operation::Increment => {
            Reply::Number(String::from_utf8(after.unwrap()).unwrap().parse().unwrap())
        }
        Operation::Delete => Reply::Number(i64::from(held.is_some())),
    }
}

/// Tries every order of every choice of the unknown writes.
fn brute_force(history: &History) -> bool {
    let records: Vec<_> = history
        .records()
        .iter()
        .filter(|record| record.outcome != Outcome::Refused)
        .collect();
    fn go(records: &[&Record], left: u32, register: &mut register::Register, at: State) -> bool {
        let answered = |record: &Record| matches!(record.outcome, Outcome::Answered(_));
        let to_come = || (0..records.len()).filter(|n| left & (1 << n) != 0);
        if !to_come().any(|n| answered(records[n])) {
            return true;
        }
        to_come().any(|n| {
            let too_late = |other: usize| {
                answered(records[other]) && records[other].returned < records[n].invoked
            };
            if to_come().any(too_late) {
                return false;
            }
            let reply = match &records[n].outcome {
                Outcome::Answered(reply) => Some(reply),
                _ => None,
            };
            let after = register.step(at, &records[n].operation, reply);
            after.is_some_and(|after| go(records, left & !(1 << n), register, after))
        })
    }
    let all = (1 << records.len()) - 1;
    go(
        &records,
        all,
        &mut register::Register::default(),
        State::ABSENT,
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_a_real_register_did_is_linearizable(
        text in prop::collection::vec(call(10, false), 0..600),
        counter in prop::collection::vec(call(10, true), 0..600),
    ) {
        prop_assert_eq!(check(&execute(&text)), Ok(()));
        prop_assert_eq!(check(&execute(&counter)), Ok(()));
    }

    #[test]
    fn a_read_of_what_nobody_wrote_is_never_linearizable(
        calls in prop::collection::vec(call(10, false), 1..300),
        which in any::<prop::sample::Index>(),
    ) {
        let history = execute(&calls);
        let mut records = history.records().to_vec();
        let reads: Vec<_> = (0..records.len())
            .filter(|n| records[*n].operation.is_read())
            .filter(|n| matches!(records[*n].outcome, Outcome::Answered(_)))
            .collect();
        prop_assume!(!reads.is_empty());
        let read = &mut records[*which.get(&reads)];
        read.outcome = Outcome::Answered(Reply::Value(Some(b"nobody".to_vec())));
        prop_assert!(check(&recorded(&records)).is_err());
    }

    #[test]
    fn a_read_of_what_was_overwritten_before_it_is_never_linearizable(
        calls in prop::collection::vec(call(10, false), 0..300),
    ) {
        let mut history = execute(&calls);
        let mut now = 1_000_000;
        for (operation, reply) in [
            (Operation::Set(b"old".to_vec()), Reply::Done),
            (Operation::Set(b"new".to_vec()), Reply::Done),
            (Operation::Get, Reply::Value(Some(b"old".to_vec()))),
        ] {
            let begun = history.begin(0, "k", operation, now);
            history.finish(begun, Outcome::Answered(reply), now + 5);
            now += 10;
        }
        prop_assert!(check(&history).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Small histories, answers often wrong, against an oracle too simple to be wrong.
    #[test]
    fn the_search_agrees_with_trying_everything(
        calls in prop::collection::vec((call(3, true), 0..12_u8, 0..4_i64), 0..7),
    ) {
        let (just_calls, lies): (Vec<_>, Vec<_>) =
            calls.into_iter().map(|(call, lie, number)| (call, (lie, number))).unzip();
        let just_calls: Vec<_> = just_calls
            .into_iter()
            .map(|mut call| {
                if let Operation::Set(_) = call.operation {
                    call.operation = Operation::Set(b"1".to_vec());
                }
                call.fate = if call.fate < 20 { call.fate % 3 } else { call.fate };
                call
            })
            .collect();
        let mut records = execute(&just_calls).records().to_vec();
        for (record, (lie, number)) in records.iter_mut().zip(lies) {
            let Outcome::Answered(reply) = &mut record.outcome else { continue };
            match reply {
                Reply::Number(told) if lie == 0 => *told = number,
                Reply::Value(told) if lie == 0 => *told = Some(number.to_string().into_bytes()),
                Reply::Value(told) if lie == 1 => *told = None,
                _ => {}
            }
        }
        let history = recorded(&records);
        let found = check(&history);
        prop_assert_eq!(found.is_ok(), brute_force(&history), "{:?}", found);
    }
}

fn recorded(records: &[Record]) -> History {
    let mut history = History::default();
    for record in records {
        let begun: Begun = history.begin(
            record.client,
            &record.key,
            record.operation.clone(),
            record.invoked,
        );
        if record.outcome != Outcome::Unknown {
            history.finish(begun, record.outcome.clone(), record.returned);
        }
    }
    history
}
