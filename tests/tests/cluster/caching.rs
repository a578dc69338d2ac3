//! Messages, and copies that clients keep, in a group of several members.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bailiwick_tests::caching::{Cache, Place, check_no_loop};
use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};

use super::{connect, expect, leader_and_others};

#[test]
fn a_copy_is_given_up_whoever_is_asked_to_write_and_also_after_the_leader_was_killed() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    for round in 0..2 {
        let (leader, others) = leader_and_others(&cluster);
        let reader = others[round % others.len()];
        let mut cache = Cache::new(connect(&cluster, reader), "").unwrap();
        for writer in [leader, others[0], others[1]] {
            cache.settle("k").unwrap();
            let value = format!("{round} by {writer}");
            let set = ["SET", "k", &value];
            assert_eq!(connect(&cluster, writer).call(set).unwrap(), Value::ok());
            cache.wait_until_told("k").unwrap();
            assert_eq!(cache.get("k").unwrap(), Value::bytes(&value));
        }
        cache.settle("k").unwrap();
        cluster.kill(leader).unwrap();
        expect(&cluster, reader, "SET k new", &Value::ok());
        cache.wait_until_told("k").unwrap();
        assert_eq!(cache.get("k").unwrap(), Value::bytes("new"));
        cluster.restart(leader).unwrap();
        cluster.wait_for_agreement().unwrap();
    }
}

#[test]
fn who_does_not_want_to_hear_of_its_own_changes_does_not_on_any_member() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    for (here, elsewhere) in [(leader, others[0]), (others[0], others[1])] {
        let place = Place {
            here: &|| cluster.connect(here),
            elsewhere: &|| cluster.connect(elsewhere),
            head: "",
            foreign: "other",
            runs_scripts: true,
        };
        check_no_loop(&place).unwrap();
    }
}

#[test]
fn what_a_script_has_read_without_naming_it_is_told_of_by_any_member() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let script = "return redis.call('GET', 'k')";
    for reader in [leader, others[0]] {
        let mut cache = Cache::new(connect(&cluster, reader), "").unwrap();
        for request in ["EVAL", "EVAL_RO"] {
            let read = cache.ask(&[request, script, "0"]).unwrap();
            cache.copies.insert("k".to_owned(), read);
            expect(&cluster, others[1], "SET k 1", &Value::ok());
            cache.wait_until_told("k").unwrap();
        }
    }
}

#[test]
fn what_scripts_call_is_counted_by_the_node_of_their_client_alone() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (_, others) = leader_and_others(&cluster);
    let script = "redis.call('SETRANGE', KEYS[1], 0, 'x') return redis.call('STRLEN', KEYS[1])";
    let eval = ["EVAL", script, "1", "k"];
    let answer = connect(&cluster, others[0]).call(eval).unwrap();
    assert_eq!(answer, Value::Integer(1));
    cluster.wait_for_agreement().unwrap();
    for node in cluster.nodes() {
        let stats = connect(&cluster, node).run("INFO commandstats").unwrap();
        for command in ["setrange", "strlen"] {
            let is_counted = stats
                .text()
                .contains(&format!("cmdstat_{command}:calls=1,"));
            assert_eq!(is_counted, node == others[0], "{command} on node {node}");
        }
    }
}

#[test]
fn copies_are_current_when_all_has_been_told_however_fast_keys_change() {
    const KEYS: usize = 8;
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let nodes: Vec<u32> = cluster.nodes().collect();
    let keys: Vec<String> = (0..KEYS).map(|n| format!("k:{n}")).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for node in &nodes {
            let (cluster, keys, is_over) = (&cluster, &keys, &is_over);
            writers.push(scope.spawn(move || {
                let mut writer = connect(cluster, *node);
                for n in 0.. {
                    let value = format!("{n} by {node}");
                    let set = ["SET", &keys[n % KEYS], &value];
                    assert_eq!(writer.call(set).unwrap(), Value::ok());
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }));
        }
        let mut caches: Vec<Cache> = nodes
            .iter()
            .map(|node| Cache::new(connect(&cluster, *node), "").unwrap())
            .collect();
        for _ in 0..500 {
            for cache in &mut caches {
                for key in &keys {
                    cache.get(key).unwrap();
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        // The last write of all: once it is told of, all before it have been.
        for cache in &mut caches {
            cache.get("mark").unwrap();
        }
        while caches.iter().any(|cache| cache.copies.contains_key("mark")) {
            expect(&cluster, nodes[0], "INCR mark", &Value::Integer(1));
            for cache in &mut caches {
                cache.wait_until_told("mark").unwrap();
            }
        }
        for key in &keys {
            let current = connect(&cluster, nodes[0]).call(["GET", key]).unwrap();
            for cache in &mut caches {
                cache
                    .wait("the current value", |cache| {
                        cache.listen()?;
                        Ok(cache.copies.get(key).is_none_or(|copy| *copy == current))
                    })
                    .unwrap();
            }
        }
    });
}
