//! What clients see of a healthy cluster: any node takes any command.

use std::thread;

use bailiwick_frame::Protocol;
use bailiwick_tests::client::{Value, request};
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::server::wait_until;

use super::{connect, expect, leader_and_others};

/// Bytes of a value that takes many reads and one entry.
const BIG_BYTES: usize = 20 << 20;

#[test]
fn any_node_takes_any_command_and_all_see_it_at_once() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let nodes: Vec<u32> = cluster.nodes().collect();
    let mut clients: Vec<_> = nodes.iter().map(|node| connect(&cluster, *node)).collect();
    for round in 0..60 {
        let value = round.to_string();
        let writer = round % clients.len();
        assert_eq!(
            clients[writer].call(["SET", "key", &value]).unwrap(),
            Value::ok()
        );
        // Acknowledged to one client, and so seen by all others, whichever they ask.
        for client in &mut clients {
            assert_eq!(client.run("GET key").unwrap(), Value::bytes(&value));
        }
        let counted = clients[writer].run("INCR counter").unwrap();
        assert_eq!(counted, Value::Integer(round as i64 + 1));
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_pipeline_through_any_node_keeps_its_order() {
    const REQUESTS: i64 = 400;
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    for node in cluster.nodes() {
        let mut client = connect(&cluster, node);
        let key = format!("key:{node}");
        let mut count = 0;
        for _ in 0..4 {
            // Reads and commands of the node itself stand between writes.
            let mut bytes = Vec::new();
            for n in 0..REQUESTS {
                bytes.extend(request(["INCR", &key]));
                bytes.extend(request(["GET", &key]));
                bytes.extend(request(["ECHO", &n.to_string()]));
            }
            client.send(&bytes).unwrap();
            for n in 0..REQUESTS {
                count += 1;
                assert_eq!(client.read().unwrap(), Value::Integer(count));
                assert_eq!(client.read().unwrap(), Value::bytes(count.to_string()));
                assert_eq!(client.read().unwrap(), Value::bytes(n.to_string()));
            }
        }
    }
}

#[test]
fn a_transaction_through_a_follower_is_one_and_notices_what_it_watches() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let mut client = connect(&cluster, others[0]);
    let queued = Value::Status("QUEUED".to_owned());
    expect(&cluster, leader, "SET watched 1", &Value::ok());

    // WATCH takes what this node has applied; a read first makes that the latest.
    assert_eq!(client.run("GET watched").unwrap(), Value::bytes("1"));
    assert_eq!(client.run("WATCH watched absent").unwrap(), Value::ok());
    assert_eq!(client.run("MULTI").unwrap(), Value::ok());
    assert_eq!(client.run("INCR watched").unwrap(), queued);
    assert_eq!(client.run("GET watched").unwrap(), queued);
    let done = Value::List(vec![Value::Integer(2), Value::bytes("2")]);
    assert_eq!(client.run("EXEC").unwrap(), done);

    for (writer, line) in [(leader, "SET watched 5"), (others[1], "SET absent 5")] {
        assert_eq!(client.run("WATCH watched absent").unwrap(), Value::ok());
        connect(&cluster, writer).run(line).unwrap();
        assert_eq!(client.run("MULTI").unwrap(), Value::ok());
        assert_eq!(client.run("INCR watched").unwrap(), queued);
        assert_eq!(client.run("EXEC").unwrap(), Value::Null, "after {line}");
    }
    for node in cluster.nodes() {
        expect(&cluster, node, "GET watched", &Value::bytes("5"));
    }
}

#[test]
fn transactions_through_all_nodes_at_once_lose_no_update() {
    const ROUNDS: i64 = 25;
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    thread::scope(|scope| {
        for node in cluster.nodes() {
            let mut client = connect(&cluster, node);
            scope.spawn(move || {
                let mut done = 0;
                while done < ROUNDS {
                    client.run("WATCH sum").unwrap();
                    let found = client.run("GET sum").unwrap().text();
                    let next = found.parse::<i64>().unwrap_or(0) + 1;
                    client.run("MULTI").unwrap();
                    client.call(["SET", "sum", &next.to_string()]).unwrap();
                    // Null: somebody else was first.
                    match client.run("EXEC").unwrap() {
                        Value::List(replies) => {
                            assert_eq!(replies, [Value::ok()]);
                            done += 1;
                        }
                        other => assert_eq!(other, Value::Null),
                    }
                }
            });
        }
    });
    let sum = Value::bytes((3 * ROUNDS).to_string());
    expect(&cluster, 1, "GET sum", &sum);
}

#[test]
fn a_big_value_passes_through_a_follower() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (_, others) = leader_and_others(&cluster);
    let value: Vec<u8> = (0..BIG_BYTES).map(|n| ((n * 31) >> 3) as u8).collect();
    let mut client = connect(&cluster, others[0]);
    let set = client.call([b"SET".as_slice(), b"big", &value]).unwrap();
    assert_eq!(set, Value::ok());
    for node in cluster.nodes() {
        let found = connect(&cluster, node).run("GET big").unwrap();
        assert!(found == Value::Bytes(value.clone()), "on node {node}");
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn keys_expire_on_all_nodes() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let mut client = connect(&cluster, others[0]);
    assert_eq!(client.run("SET gone v PX 150").unwrap(), Value::ok());
    assert_eq!(client.run("SET stays v EX 1000").unwrap(), Value::ok());
    assert_eq!(client.run("SET persists v PX 150").unwrap(), Value::ok());
    let persisted = connect(&cluster, others[1])
        .run("PERSIST persists")
        .unwrap();
    let is_there = Value::bytes("v");
    for node in cluster.nodes() {
        let mut client = connect(&cluster, node);
        let has_gone = || client.run("GET gone").unwrap() == Value::Null;
        wait_until("the key has expired", has_gone).unwrap();
        assert_eq!(client.run("TTL gone").unwrap(), Value::Integer(-2));
        assert_eq!(client.run("GET stays").unwrap(), is_there);
        let ttl = client.run("TTL stays").unwrap().as_integer().unwrap();
        assert!((900..=1000).contains(&ttl), "{ttl}");
        // On a busy machine it may have been too late for that.
        if persisted == Value::Integer(1) {
            assert_eq!(client.run("GET persists").unwrap(), is_there);
        }
    }
    // The leader removes what nobody reads, too, and all agree on that.
    expect(&cluster, leader, "SET unread v PX 20", &Value::ok());
    let size = Value::Integer(1 + i64::from(persisted == Value::Integer(1)));
    for node in cluster.nodes() {
        let mut client = connect(&cluster, node);
        let is_removed = || client.run("DBSIZE").unwrap() == size;
        wait_until("the unread key is removed", is_removed).unwrap();
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_readonly_connection_of_a_follower_reads_what_is_there_and_still_writes() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let mut client = connect(&cluster, others[0]);
    client.hello(Protocol::Resp3).unwrap();
    assert_eq!(client.run("READONLY").unwrap(), Value::ok());
    let mut last = 0;
    for n in 1..=200_i64 {
        expect(&cluster, leader, "INCR steady", &Value::Integer(n));
        // Maybe old, never older than what it has said before.
        let found = client.run("GET steady").unwrap().text();
        let found = found.parse().unwrap_or(0);
        assert!((last..=n).contains(&found), "{found} after {last}, of {n}");
        last = found;
    }
    // Its own write it sees at once.
    assert_eq!(client.run("SET own 1").unwrap(), Value::ok());
    assert_eq!(client.run("GET own").unwrap(), Value::bytes("1"));
    assert_eq!(client.run("READWRITE").unwrap(), Value::ok());
    assert_eq!(client.run("GET steady").unwrap(), Value::bytes("200"));
}
