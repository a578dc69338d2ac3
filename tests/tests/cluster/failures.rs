//! Nodes that are killed, frozen and told to stop.

use std::time::Instant;

use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::counting::{Counting, check};

use super::{connect, expect, leader_and_others};

/// Answers of each client, so that all of them are at work.
const A_FEW: u64 = 20;

#[test]
fn clients_of_the_others_wait_and_see_no_error_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    for round in 0..3 {
        let (leader, others) = leader_and_others(&cluster);
        let load = Counting::start(&cluster, &format!("kill:{round}"), others.clone(), 2).unwrap();
        load.wait_for(A_FEW).unwrap();
        let killed = Instant::now();
        cluster.kill(leader).unwrap();
        let mut client = connect(&cluster, others[0]);
        assert_eq!(client.run("SET next 1").unwrap(), Value::ok());
        let next = killed.elapsed();
        load.wait_for(A_FEW).unwrap();
        cluster.restart(leader).unwrap();
        load.wait_for(A_FEW).unwrap();
        let longest = load.stop_and_check(&cluster).unwrap();
        println!("leader killed: next acknowledged write after {next:?}, longest wait {longest:?}");
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn clients_of_the_others_wait_and_see_no_error_when_the_leader_is_frozen() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    for round in 0..2 {
        let (leader, others) = leader_and_others(&cluster);
        let load =
            Counting::start(&cluster, &format!("freeze:{round}"), others.clone(), 2).unwrap();
        load.wait_for(A_FEW).unwrap();
        expect(&cluster, leader, "SET which old", &Value::ok());
        let mut client = connect(&cluster, leader);
        assert_eq!(client.run("GET which").unwrap(), Value::bytes("old"));
        cluster.stop(leader).unwrap();
        // It is asked while it sleeps, and wakes up believing that it leads.
        client.send(b"GET which\r\n").unwrap();
        let frozen = Instant::now();
        expect(&cluster, others[0], "SET which new", &Value::ok());
        println!(
            "leader frozen: next acknowledged write after {:?}",
            frozen.elapsed()
        );
        load.wait_for(A_FEW).unwrap();
        client.send(b"GET which\r\n").unwrap();
        cluster.cont(leader).unwrap();
        client.read().unwrap();
        // This one was asked after the write was acknowledged.
        assert_eq!(client.read().unwrap(), Value::bytes("new"));
        load.wait_for(A_FEW).unwrap();
        load.stop_and_check(&cluster).unwrap();
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_follower_that_is_killed_or_frozen_holds_nobody_up() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let (victim, other) = (others[0], others[1]);
    let load = Counting::start(&cluster, "follower", [leader, other], 2).unwrap();
    load.wait_for(A_FEW).unwrap();
    cluster.kill(victim).unwrap();
    load.wait_for(10 * A_FEW).unwrap();
    cluster.restart(victim).unwrap();
    load.wait_for(A_FEW).unwrap();
    cluster.stop(victim).unwrap();
    load.wait_for(10 * A_FEW).unwrap();
    cluster.cont(victim).unwrap();
    load.wait_for(A_FEW).unwrap();
    let longest = load.stop_and_check(&cluster).unwrap();
    println!("longest wait {longest:?}");
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn all_data_is_there_after_all_nodes_were_killed_under_load() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    for round in 0..2 {
        for node in cluster.nodes() {
            let mut client = connect(&cluster, node);
            for n in 0..100 {
                let key = format!("{round}:{node}:{n}");
                let set = client.call(["SET", &key, &n.to_string()]);
                assert_eq!(set.unwrap(), Value::ok());
            }
        }
        // What is under way when they die may be there or not; what was answered is.
        let writers: Vec<_> = cluster
            .nodes()
            .map(|node| {
                let mut client = connect(&cluster, node);
                std::thread::spawn(move || {
                    let key = format!("counted:{round}:{node}");
                    let mut last = 0;
                    while let Ok(Value::Integer(number)) = client.call(["INCR", &key]) {
                        last = number;
                    }
                    (key, last)
                })
            })
            .collect();
        expect(&cluster, 1, "SET under way", &Value::ok());
        for node in cluster.nodes() {
            cluster.kill(node).unwrap();
        }
        let counted: Vec<_> = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        cluster.heal().unwrap();
        for node in cluster.nodes() {
            let mut client = connect(&cluster, node);
            for from in cluster.nodes() {
                for n in 0..100 {
                    let found = client
                        .call(["GET", &format!("{round}:{from}:{n}")])
                        .unwrap();
                    assert_eq!(found, Value::bytes(n.to_string()));
                }
            }
            for (key, last) in &counted {
                let found = client.call(["GET", key]).unwrap().text();
                let found = found.parse().unwrap_or(0);
                assert!(
                    (*last..=last + 1).contains(&found),
                    "{key}: {found}, not {last}"
                );
            }
        }
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_and_nobody_sees_an_error() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    for round in 0..2 {
        let (leader, others) = leader_and_others(&cluster);
        let name = format!("stop:{round}");
        let load = Counting::start(&cluster, &name, others.clone(), 2).unwrap();
        load.wait_for(A_FEW).unwrap();
        let code = cluster.terminate(leader).unwrap();
        assert_eq!(code, 0, "{}", cluster.output(leader));
        load.wait_for(A_FEW).unwrap();
        let counts = load.stop().unwrap();
        for node in others {
            check(&cluster, node, &counts).unwrap();
        }
        let longest = counts.iter().map(|count| count.longest).max();
        println!("leader stopped: longest wait {:?}", longest.unwrap());
        cluster.restart(leader).unwrap();
    }
    cluster.wait_for_agreement().unwrap();
}
