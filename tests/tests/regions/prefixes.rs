//! Who owns what: prefixes are created, moved and dropped from any node, and of two that claim the
//! same one wins.

use std::sync::Barrier;
use std::thread;

use bailiwick_tests::client::Value;
use bailiwick_tests::regions::{Layout, World, in_map};

use super::{expect, expect_error};

#[test]
fn prefixes_are_created_moved_and_dropped_from_any_node_and_keys_go_along() {
    let world = World::start(&Layout::three(1)).unwrap();
    let all = ["shop:a", "shop:b", "shop:x:c", "other"];
    for key in all {
        expect(&world, "us", &format!("SET {key} {key}"), &Value::ok());
    }
    let are_there = |world: &World| {
        for region in ["eu", "us", "ap"] {
            for key in all {
                expect(world, region, &format!("GET {key}"), &Value::bytes(key));
            }
            expect(world, region, "DBSIZE", &Value::Integer(all.len() as i64));
        }
    };
    // Each order through another node, none of them that of the owner.
    expect(&world, "ap", "PREFIX CREATE shop: GROUP us", &Value::ok());
    world.wait_for_owner("shop:", "us").unwrap();
    are_there(&world);
    expect(&world, "eu", "PREFIX CREATE shop:x: GROUP ap", &Value::ok());
    world.wait_for_owner("shop:x:", "ap").unwrap();
    are_there(&world);
    let created = world.owner(1, "shop:x:c").unwrap();

    expect(&world, "ap", "PREFIX MOVE shop: GROUP eu", &Value::ok());
    world.wait_for_owner("shop:", "eu").unwrap();
    // What is below does not go along.
    assert_eq!(world.owner(2, "shop:x:c").unwrap(), created);
    are_there(&world);
    expect(&world, "us", "SET shop:new 1", &Value::ok());
    expect(&world, "eu", "DEL shop:new", &Value::Integer(1));

    expect(&world, "us", "PREFIX DROP shop:x:", &Value::ok());
    world.wait_until_gone("shop:x:").unwrap();
    assert_eq!(world.owner(3, "shop:x:c").unwrap().group, "eu");
    are_there(&world);
    expect(&world, "us", "PREFIX DROP shop:", &Value::ok());
    world.wait_until_gone("shop:").unwrap();
    are_there(&world);

    // A prefix that comes back has a higher epoch than it ever had.
    expect(&world, "us", "PREFIX CREATE shop:x: GROUP ap", &Value::ok());
    world.wait_for_owner("shop:x:", "ap").unwrap();
    assert!(world.owner(1, "shop:x:c").unwrap().epoch > created.epoch);
    are_there(&world);
}

#[test]
fn of_two_claims_at_once_one_wins_and_the_other_hears_who() {
    const ROUNDS: usize = 8;
    let world = World::start(&Layout::three(1)).unwrap();
    for round in 0..ROUNDS {
        let prefix = format!("claim-{round}:");
        let barrier = Barrier::new(2);
        let claim = |region: &str| {
            let mut client = world.connect(region).unwrap();
            barrier.wait();
            let answer = client.call(["PREFIX", "CREATE", &prefix, "GROUP", region]);
            answer.unwrap()
        };
        let (us, ap) = thread::scope(|scope| {
            let us = scope.spawn(|| claim("us"));
            let ap = claim("ap");
            (us.join().unwrap(), ap)
        });
        let (winner, refusal) = match (&us, &ap) {
            (Value::Status(_), Value::Error(text)) => ("us", text),
            (Value::Error(text), Value::Status(_)) => ("ap", text),
            other => panic!("{prefix} was claimed twice: {other:?}"),
        };
        assert!(refusal.starts_with("EXISTS"), "{refusal}");
        let names_it = refusal
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word == winner);
        assert!(names_it, "{refusal} does not name {winner}");
        world.wait_for_owner(&prefix, winner).unwrap();
    }
}

#[test]
fn a_group_can_be_made_of_any_nodes_and_get_a_prefix_at_once() {
    let world = World::start(&Layout::three(1)).unwrap();
    expect(&world, "us", "SET new:a 1", &Value::ok());
    expect(
        &world,
        "ap",
        "PREFIX CREATE new: NODES 1 2 3 AS wide",
        &Value::ok(),
    );
    world.wait_for_owner("new:", "wide").unwrap();
    for region in ["eu", "us", "ap"] {
        expect(&world, region, "GET new:a", &Value::bytes("1"));
    }
    expect(&world, "us", "GROUP CREATE pair NODES 1 3", &Value::ok());
    expect(&world, "eu", "PREFIX MOVE new: GROUP pair", &Value::ok());
    world.wait_for_owner("new:", "pair").unwrap();
    expect(&world, "us", "INCR new:a", &Value::Integer(2));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::start(&Layout::three(1)).unwrap();
    for line in [
        "PREFIX CREATE none: GROUP nobody",
        "PREFIX MOVE none: GROUP eu",
        "PREFIX DROP none:",
        "PREFIX INFO none:",
        "PREFIX CREATE none: NODES 99",
        "GROUP CREATE eu NODES 2",
        "PREFIX DROP",
    ] {
        match world.connect("us").unwrap().run(line).unwrap() {
            Value::Error(_) => {}
            other => panic!("{line}: {other:?}"),
        }
    }
    // What is internal is not for clients.
    for line in ["_DEPART eu: 9 0", "_DELEGATE x: 0", "_STATUS eu:"] {
        let text = expect_error(&world, "eu", line, "ERR");
        assert!(text.starts_with("ERR unknown command"), "{line}: {text}");
    }
    expect_error(&world, "ap", "PREFIX CREATE eu: GROUP ap", "EXISTS");
    assert_eq!(world.owner(3, "eu:x").unwrap().group, "eu");
}

#[test]
fn a_node_tells_what_there_is_to_know_of_a_prefix() {
    let world = World::start(&Layout::three(1).owning("us:shop:", "ap")).unwrap();
    for n in 0..5 {
        expect(&world, "eu", &format!("SET us:{n} v"), &Value::ok());
    }
    let mut client = world.connect("ap").unwrap();
    let answer = client.run("PREFIX INFO us:").unwrap();
    let told = |name: &str| in_map(&answer, name).unwrap_or_else(|| panic!("{name} in {answer:?}"));
    assert_eq!(told("group").text(), "us");
    assert_eq!(told("parent-group").text(), "root");
    assert_eq!(told("children").list(), [Value::bytes("us:shop:")]);
    assert_eq!(*told("keys"), Value::Integer(5));
    assert!(told("bytes").as_integer().unwrap() > 0);
    assert_eq!(*told("handoff"), Value::Null);
    let listed = client.run("PREFIX LIST us:").unwrap();
    let listed = listed
        .list()
        .iter()
        .map(|row| in_map(row, "prefix").unwrap().text());
    assert_eq!(listed.collect::<Vec<_>>(), ["us:", "us:shop:"]);
    let all = client.run("PREFIX LIST").unwrap();
    let all = all
        .list()
        .iter()
        .map(|row| in_map(row, "prefix").unwrap().text());
    assert_eq!(
        all.collect::<Vec<_>>(),
        ["", "ap:", "eu:", "us:", "us:shop:"]
    );
}
