//! Regions that are cut off, and that lose machines.
//!
//! That home is served at home is not measured with a watch: while nothing gets through between
//! regions, an answer proves that nobody else was needed for it.

use anyhow::{bail, ensure};
use bailiwick_tests::client::Value;
use bailiwick_tests::counting::Counting;
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::relay::Rule;

use super::{expect, expect_error, expect_on};

const A_FEW: u64 = 20;

fn impatient() -> Layout {
    Layout::three(3).with("--request-timeout", "5000")
}

#[test]
fn a_region_that_is_cut_off_serves_its_own_keys_and_names_what_it_misses() {
    let world = World::start(&impatient()).unwrap();
    for region in ["eu", "us", "ap"] {
        let line = format!("SET {region}:before {region}");
        expect(&world, "ap", &line, &Value::ok());
    }
    for (round, rule) in [Rule::HELD, Rule::CUT].into_iter().enumerate() {
        let own = |region: &str| format!("{region}:round:{round}");
        let at_home: Vec<_> = ["eu", "us", "ap"]
            .map(|region| {
                let nodes = world.nodes_of(region);
                Counting::start(&world.cluster, &own(region), nodes, 1).unwrap()
            })
            .into();
        at_home
            .iter()
            .for_each(|load| load.wait_for(A_FEW).unwrap());
        world.set_around("us", rule);
        // On both sides of the cut, and no client at home has got or gets anything but answers.
        at_home
            .iter()
            .for_each(|load| load.wait_for(5 * A_FEW).unwrap());
        for (region, foreign) in [("us", "eu:"), ("us", "ap:"), ("eu", "us:"), ("ap", "us:")] {
            for line in [
                format!("GET {foreign}before"),
                format!("SET {foreign}new 1"),
            ] {
                let text = expect_error(&world, region, &line, "CLUSTERDOWN");
                let named = format!("'{foreign}'");
                assert!(text.contains(&named), "{line} in {region}: {text}");
            }
        }
        expect(&world, "us", "GET us:before", &Value::bytes("us"));
        // The others have each other.
        expect(&world, "eu", "GET ap:before", &Value::bytes("ap"));
        expect(
            &world,
            "ap",
            "INCR root-has-a-majority-without-us",
            &Value::Integer(round as i64 + 1),
        );
        world.cluster.relay().heal();
        world.wait_until_serving().unwrap();
        for load in at_home {
            load.wait_for(A_FEW).unwrap();
            load.stop().unwrap();
        }
        for region in ["eu", "us", "ap"] {
            for home in ["eu", "us", "ap"] {
                let line = format!("GET {home}:before");
                expect(&world, region, &line, &Value::bytes(home));
            }
        }
    }
    // A write that was refused was not done.
    for home in ["eu", "us", "ap"] {
        expect(
            &world,
            "eu",
            &format!("EXISTS {home}:new"),
            &Value::Integer(0),
        );
    }
}

#[test]
fn a_region_without_its_majority_is_named_and_the_others_go_on() {
    let mut world = World::start(&impatient()).unwrap();
    expect(&world, "ap", "SET us:before 1", &Value::ok());
    let others: Vec<u32> = [world.nodes_of("eu"), world.nodes_of("ap")].concat();
    let load = Counting::start(&world.cluster, "ap:load", others, 1).unwrap();
    load.wait_for(A_FEW).unwrap();
    let lost = world.nodes_of("us");
    for node in &lost[1..] {
        world.cluster.kill(*node).unwrap();
    }
    load.wait_for(A_FEW).unwrap();
    for region in ["eu", "us"] {
        // If the node that is left was the leader it may serve reads until its lease ends.
        let is_refused = || {
            let answer = world.connect(region)?.run("GET us:before")?;
            let text = match &answer {
                Value::Error(text) => text,
                other => bail!("{other:?}"),
            };
            ensure!(text.starts_with("CLUSTERDOWN"), "{text}");
            ensure!(text.contains("'us:'"), "{text}");
            Ok(())
        };
        world.wait_for("us: is still served", is_refused).unwrap();
    }
    // If the node that is left was the leader it has taken the write, and nobody knows what becomes
    // of it.
    let write = world.connect("eu").unwrap().run("SET us:after 1").unwrap();
    let Value::Error(text) = &write else {
        panic!("a write without a majority was answered {write:?}");
    };
    let code = text.split(' ').next();
    assert!(matches!(code, Some("CLUSTERDOWN" | "UNCERTAIN")), "{text}");
    let was_not_done = code == Some("CLUSTERDOWN");
    // The node that is left serves what is not its region's.
    let mut left = world.cluster.connect(lost[0]).unwrap();
    expect_on(&mut left, "SET eu:from-us 1", &Value::ok());
    world.cluster.heal().unwrap();
    world.wait_until_serving().unwrap();
    load.wait_for(A_FEW).unwrap();
    load.stop().unwrap();
    expect(&world, "eu", "GET us:before", &Value::bytes("1"));
    if was_not_done {
        expect(&world, "eu", "EXISTS us:after", &Value::Integer(0));
    }
}

#[test]
fn the_leader_of_a_foreign_group_can_die_without_an_error() {
    let mut world = World::start(&Layout::three(3)).unwrap();
    for round in 0..2 {
        let leader = world.wait_for_leader("us").unwrap();
        let others = [world.nodes_of("eu"), world.nodes_of("ap")].concat();
        let load = Counting::start(&world.cluster, &format!("us:{round}"), others, 1).unwrap();
        load.wait_for(A_FEW).unwrap();
        world.cluster.kill(leader).unwrap();
        load.wait_for(2 * A_FEW).unwrap();
        world.cluster.restart(leader).unwrap();
        load.wait_for(A_FEW).unwrap();
        let counts = load.stop().unwrap();
        let longest = counts.iter().map(|count| count.longest).max();
        println!(
            "leader of a foreign group killed: longest wait {:?}",
            longest.unwrap()
        );
    }
}

#[test]
fn all_nodes_can_be_killed_and_know_again_who_owns_what() {
    let mut world = World::start(&Layout::three(1)).unwrap();
    expect(&world, "ap", "PREFIX CREATE shop: GROUP us", &Value::ok());
    world.wait_for_owner("shop:", "us").unwrap();
    expect(&world, "eu", "SET shop:a 1", &Value::ok());
    expect(&world, "eu", "PREFIX MOVE shop: GROUP ap", &Value::ok());
    world.wait_for_owner("shop:", "ap").unwrap();
    let nodes: Vec<u32> = world.cluster.nodes().collect();
    for node in nodes {
        world.cluster.kill(node).unwrap();
    }
    world.cluster.heal().unwrap();
    world.wait_until_serving().unwrap();
    world.wait_for_owner("shop:", "ap").unwrap();
    for region in ["eu", "us", "ap"] {
        expect(&world, region, "GET shop:a", &Value::bytes("1"));
    }
}
