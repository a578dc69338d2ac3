//! Clients that wait for keys of other groups, also while these keys move.

use bailiwick_tests::blocking::{begin_to_wait, popped};
use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::queueing::Queueing;
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::server::{DEADLINE, POLL};

use super::expect;

/// Elements that go through, so that all clients are at work.
const A_FEW: u64 = 60;

/// Sends a request that waits through a region's first node, and returns when it does.
fn wait_in(world: &World, region: &str, line: &str) -> Client {
    begin_to_wait(|| world.connect(region), line).unwrap()
}

#[test]
fn any_node_waits_for_any_key_and_who_came_first_is_served_first() {
    let world = World::start(&Layout::three(1)).unwrap();
    let regions = ["us", "eu", "ap", "us", "eu"];
    let mut clients: Vec<Client> = regions
        .iter()
        .map(|region| wait_in(&world, region, "BLPOP eu:l eu:m 0"))
        .collect();
    expect(&world, "ap", "RPUSH eu:l a b c", &Value::Integer(3));
    expect(&world, "us", "RPUSH eu:m d e", &Value::Integer(2));
    let served = [("l", "a"), ("l", "b"), ("l", "c"), ("m", "d"), ("m", "e")];
    for (client, (key, element)) in clients.iter_mut().zip(served) {
        let key = format!("eu:{key}");
        assert_eq!(client.read().unwrap(), popped(&key, element));
    }
    // Time-outs and orders to wait no longer go there, too.
    let mut client = world.connect("ap").unwrap();
    assert_eq!(client.run("BZPOPMIN eu:z 0.05").unwrap(), Value::Null);
    let answer = client.run("BLMOVE eu:l us:l LEFT LEFT 0").unwrap();
    assert!(answer.text().starts_with("CROSSSLOT"), "{answer:?}");
    expect(&world, "us", "ZADD eu:z 1 m", &Value::Integer(1));
    expect(&world, "us", "ZCARD eu:z", &Value::Integer(1));
}

#[test]
fn who_waits_for_a_key_that_moves_waits_where_it_goes() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut clients: Vec<Client> = ["us", "ap", "eu"]
        .iter()
        .map(|region| wait_in(&world, region, "BLPOP shop:l 0"))
        .collect();
    for group in ["us", "ap", "eu"] {
        let order = if group == "us" { "CREATE" } else { "MOVE" };
        let line = format!("PREFIX {order} shop: GROUP {group}");
        expect(&world, "ap", &line, &Value::ok());
        world.wait_for_owner("shop:", group).unwrap();
        let mut client = clients.remove(0);
        let pushed = world
            .connect("eu")
            .unwrap()
            .run(&format!("RPUSH shop:l {group}"));
        assert_eq!(pushed.unwrap(), Value::Integer(1));
        // Who was first among those who come along may be another one than before.
        let mut rest = Vec::new();
        std::mem::swap(&mut rest, &mut clients);
        rest.push(client);
        client = served(&mut rest, &popped("shop:l", group));
        drop(client);
        clients = rest;
    }
    assert!(clients.is_empty());
}

/// Takes out the client that gets this reply, and no other.
fn served(clients: &mut Vec<Client>, wanted: &Value) -> Client {
    let started = std::time::Instant::now();
    loop {
        for at in 0..clients.len() {
            clients[at].set_timeout(POLL).unwrap();
            if let Ok(reply) = clients[at].read() {
                assert_eq!(reply, *wanted);
                return clients.remove(at);
            }
        }
        assert!(started.elapsed() < DEADLINE, "nobody gets {wanted:?}");
    }
}

#[test]
fn a_queue_that_moves_loses_and_repeats_nothing() {
    let world = World::start(&Layout::three(1)).unwrap();
    expect(&world, "eu", "PREFIX CREATE jobs: GROUP eu", &Value::ok());
    world.wait_for_owner("jobs:", "eu").unwrap();
    let nodes: Vec<u32> = world.cluster.nodes().collect();
    let queue = Queueing::start(&world.cluster, "jobs:queue", nodes).unwrap();
    for group in ["us", "ap", "eu"] {
        queue.wait_for(A_FEW).unwrap();
        let line = format!("PREFIX MOVE jobs: GROUP {group}");
        expect(&world, "us", &line, &Value::ok());
        world.wait_for_owner("jobs:", group).unwrap();
    }
    queue.wait_for(A_FEW).unwrap();
    println!("{} elements", queue.stop().unwrap());
}
