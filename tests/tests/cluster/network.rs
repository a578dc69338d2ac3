//! Links that are cut, held and slow.

use std::time::{Duration, Instant};

use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::counting::Counting;
use bailiwick_tests::relay::{Relay, Rule};
use bailiwick_tests::server::wait_until;

use super::{connect, expect, expect_error, leader_and_others};

const A_FEW: u64 = 20;

/// Hurts the leader's network while clients of the others count, and heals it.
fn without_the_leaders_network(name: &str, hurt: fn(&Relay, u32, &[u32])) {
    let cluster = Cluster::start(&Options::relayed(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let load = Counting::start(&cluster, name, others.clone(), 2).unwrap();
    load.wait_for(A_FEW).unwrap();
    expect(&cluster, leader, "SET which old", &Value::ok());
    let hurt_at = Instant::now();
    hurt(cluster.relay(), leader, &others);
    let mut deposed = connect(&cluster, leader);
    expect(&cluster, others[0], "SET which new", &Value::ok());
    println!(
        "{name}: next acknowledged write after {:?}",
        hurt_at.elapsed()
    );
    // Asked of the old leader after that was acknowledged, and so never answered with the old one.
    deposed.send(b"GET which\r\nSET back again\r\n").unwrap();
    load.wait_for(10 * A_FEW).unwrap();
    cluster.relay().heal();
    assert_eq!(deposed.read().unwrap(), Value::bytes("new"));
    assert_eq!(deposed.read().unwrap(), Value::ok());
    load.wait_for(A_FEW).unwrap();
    let longest = load.stop_and_check(&cluster).unwrap();
    println!("{name}: longest wait {longest:?}");
    for node in cluster.nodes() {
        expect(&cluster, node, "GET back", &Value::bytes("again"));
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_leader_whose_links_are_cut_is_replaced_and_comes_back() {
    without_the_leaders_network("cut", |relay, leader, _| {
        relay.set_all_of(leader, Rule::CUT)
    });
}

#[test]
fn a_leader_that_nothing_reaches_and_nothing_leaves_is_replaced_and_comes_back() {
    without_the_leaders_network("held", |relay, leader, _| {
        relay.set_all_of(leader, Rule::HELD);
    });
}

#[test]
fn a_leader_that_is_not_heard_is_replaced_and_comes_back() {
    without_the_leaders_network("mute", |relay, leader, others| {
        others
            .iter()
            .for_each(|node| relay.hold_one_way(leader, *node));
    });
}

#[test]
fn a_leader_that_does_not_hear_is_replaced_and_comes_back() {
    without_the_leaders_network("deaf", |relay, leader, others| {
        others
            .iter()
            .for_each(|node| relay.hold_one_way(*node, leader));
    });
}

#[test]
fn a_node_that_reaches_all_others_serves_without_an_error_while_those_do_not_reach_each_other() {
    let cluster = Cluster::start(&Options::relayed(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let load = Counting::start(&cluster, "apart", [leader], 4).unwrap();
    load.wait_for(A_FEW).unwrap();
    cluster.relay().set_both(others[0], others[1], Rule::CUT);
    load.wait_for(10 * A_FEW).unwrap();
    cluster.relay().heal();
    load.wait_for(A_FEW).unwrap();
    load.stop_and_check(&cluster).unwrap();
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn an_isolated_node_says_so_after_its_time_and_never_reads_the_past() {
    let options = Options::relayed(3).with("--request-timeout", "700");
    let cluster = Cluster::start(&options).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    // Elections may take longer than this request-timeout, and show as errors.
    let set = |node: u32, value: &str| {
        let mut client = connect(&cluster, node);
        let is_set = || client.call(["SET", "which", value]).unwrap() == Value::ok();
        wait_until("a write is taken", is_set).unwrap();
    };
    for (round, isolated) in [others[0], leader].into_iter().enumerate() {
        let other = if isolated == leader {
            others[0]
        } else {
            leader
        };
        set(other, &format!("old {round}"));
        let old = Value::bytes(format!("old {round}"));
        // READONLY reads go on, with what was there.
        let mut past = connect(&cluster, isolated);
        wait_until("a read is answered", || {
            past.run("GET which").unwrap() == old
        })
        .unwrap();
        assert_eq!(past.run("READONLY").unwrap(), Value::ok());
        cluster.relay().set_all_of(isolated, Rule::HELD);
        set(other, &format!("new {round}"));
        let asked = Instant::now();
        expect_error(&cluster, isolated, "GET which", "CLUSTERDOWN");
        assert!(
            asked.elapsed() >= Duration::from_millis(700),
            "it did not wait"
        );
        let text = write_error(&cluster, isolated);
        println!("node {isolated}: {text}");
        assert_eq!(past.run("GET which").unwrap(), old);
        cluster.relay().heal();
        let mut client = connect(&cluster, isolated);
        let new = Value::bytes(format!("new {round}"));
        let is_answered = || match client.run("GET which").unwrap() {
            Value::Error(text) if text.starts_with("CLUSTERDOWN") => false,
            found => found == new || panic!("{found:?}, not {new:?}"),
        };
        wait_until("the node has its group back", is_answered).unwrap();
    }
    // A write that was given up as not done is not done later.
    cluster.wait_for_agreement().unwrap();
    expect(&cluster, leader, "EXISTS refused", &Value::Integer(0));
}

/// Has a write fail on an isolated node for want of a leader, and certainly not done.
fn write_error(cluster: &Cluster, node: u32) -> String {
    let mut client = connect(cluster, node);
    for n in 0..20 {
        // While it still believes in its leader, it sends the write there, and cannot know.
        let key = format!("uncertain:{n}");
        match client.call(["SET", &key, "v"]).unwrap() {
            Value::Error(text) if text.starts_with("CLUSTERDOWN") => {
                return expect_error(cluster, node, "SET refused v", "CLUSTERDOWN");
            }
            Value::Error(text) if text.starts_with("UNCERTAIN") => {}
            other => panic!("SET was answered {other:?}"),
        }
    }
    panic!("it never notices that it has no leader")
}

#[test]
fn slow_links_make_slow_answers_and_no_errors() {
    let cluster = Cluster::start(&Options::relayed(3)).unwrap();
    let load = Counting::start(&cluster, "slow", cluster.nodes(), 3).unwrap();
    load.wait_for(A_FEW).unwrap();
    for node in cluster.nodes() {
        cluster.relay().set_all_of(node, Rule::slow(15, 20));
    }
    load.wait_for(2 * A_FEW).unwrap();
    cluster.relay().heal();
    load.wait_for(A_FEW).unwrap();
    let longest = load.stop_and_check(&cluster).unwrap();
    println!("longest wait {longest:?}");
    cluster.wait_for_agreement().unwrap();
}
