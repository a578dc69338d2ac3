//! Commands on keys that live elsewhere, from any node.

use std::collections::BTreeSet;
use std::thread;

use bailiwick_frame::Protocol;
use bailiwick_tests::client::{Value, request};
use bailiwick_tests::regions::{Layout, World, in_map};
use bailiwick_tests::relay::Rule;

use super::{expect, expect_error, expect_on};

const REGIONS: [&str; 3] = ["eu", "us", "ap"];

fn queued() -> Value {
    Value::Status("QUEUED".to_owned())
}

#[test]
fn any_node_answers_for_any_key_and_all_see_it_at_once() {
    let world = World::start(&Layout::three(3)).unwrap();
    let nodes: Vec<u32> = world.cluster.nodes().collect();
    for (round, writer) in nodes.iter().enumerate() {
        for prefix in ["eu:", "us:", "ap:", ""] {
            let key = format!("{prefix}key");
            let value = format!("{round} by {writer}");
            let mut client = world.cluster.connect(*writer).unwrap();
            assert_eq!(client.call(["SET", &key, &value]).unwrap(), Value::ok());
            let counted = client.call(["INCR", &format!("{prefix}count")]).unwrap();
            assert_eq!(counted, Value::Integer(round as i64 + 1));
            // Acknowledged to one client, and so seen by all others, whichever they ask.
            for reader in &nodes {
                let mut client = world.cluster.connect(*reader).unwrap();
                let found = client.call(["GET", &key]).unwrap();
                assert_eq!(found, Value::bytes(&value), "{key} on node {reader}");
            }
        }
    }
    for region in REGIONS {
        world.wait_for_leader(region).unwrap();
    }
}

#[test]
fn a_pipeline_over_all_regions_keeps_its_order() {
    const REQUESTS: i64 = 300;
    let world = World::start(&Layout::three(1)).unwrap();
    world.set_around("us", Rule::slow(3, 5));
    for region in REGIONS {
        let mut client = world.connect(region).unwrap();
        let mut bytes = Vec::new();
        for n in 0..REQUESTS {
            for prefix in REGIONS {
                bytes.extend(request(["INCR", &format!("{prefix}:from-{region}")]));
                bytes.extend(request(["GET", &format!("{prefix}:from-{region}")]));
            }
            bytes.extend(request(["ECHO", &n.to_string()]));
        }
        client.send(&bytes).unwrap();
        for n in 0..REQUESTS {
            for _ in REGIONS {
                assert_eq!(client.read().unwrap(), Value::Integer(n + 1));
                assert_eq!(client.read().unwrap(), Value::bytes((n + 1).to_string()));
            }
            assert_eq!(client.read().unwrap(), Value::bytes(n.to_string()));
        }
    }
}

#[test]
fn transactions_and_watch_work_on_keys_of_another_region() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut client = world.connect("us").unwrap();
    expect(&world, "ap", "SET eu:watched 1", &Value::ok());

    expect_on(&mut client, "WATCH eu:watched eu:absent", &Value::ok());
    expect_on(&mut client, "GET eu:watched", &Value::bytes("1"));
    expect_on(&mut client, "MULTI", &Value::ok());
    expect_on(&mut client, "INCR eu:watched", &queued());
    expect_on(&mut client, "GET eu:watched", &queued());
    let done = Value::List(vec![Value::Integer(2), Value::bytes("2")]);
    expect_on(&mut client, "EXEC", &done);

    // Whoever interferes, wherever: at home, abroad, or through the same node.
    for (region, line) in [
        ("eu", "SET eu:watched 5"),
        ("ap", "SET eu:absent 5"),
        ("us", "DEL eu:absent"),
    ] {
        expect_on(&mut client, "WATCH eu:watched eu:absent", &Value::ok());
        world.connect(region).unwrap().run(line).unwrap();
        expect_on(&mut client, "MULTI", &Value::ok());
        expect_on(&mut client, "INCR eu:watched", &queued());
        expect_on(&mut client, "EXEC", &Value::Null);
    }
    expect(&world, "us", "GET eu:watched", &Value::bytes("5"));

    // An error of one command leaves the others done, as in Redis.
    expect_on(&mut client, "SET eu:text word", &Value::ok());
    expect_on(&mut client, "MULTI", &Value::ok());
    expect_on(&mut client, "INCR eu:text", &queued());
    expect_on(&mut client, "SET eu:done yes", &queued());
    let answer = client.run("EXEC").unwrap();
    let [Value::Error(_), done] = answer.list() else {
        panic!("EXEC: {answer:?}");
    };
    assert_eq!(*done, Value::ok());
    expect(&world, "eu", "GET eu:done", &Value::bytes("yes"));
}

#[test]
fn transactions_from_all_regions_at_once_lose_no_update() {
    const ROUNDS: i64 = 20;
    let world = World::start(&Layout::three(1)).unwrap();
    thread::scope(|scope| {
        for region in REGIONS {
            let mut client = world.connect(region).unwrap();
            scope.spawn(move || {
                let mut done = 0;
                while done < ROUNDS {
                    expect_on(&mut client, "WATCH us:sum", &Value::ok());
                    let found = client.run("GET us:sum").unwrap().text();
                    let next = found.parse::<i64>().unwrap_or(0) + 1;
                    expect_on(&mut client, "MULTI", &Value::ok());
                    expect_on(&mut client, &format!("SET us:sum {next}"), &queued());
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
    expect(&world, "ap", "GET us:sum", &sum);
}

#[test]
fn what_would_have_to_be_atomic_over_regions_is_refused_and_the_rest_is_split() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut client = world.connect("ap").unwrap();
    for line in [
        "MSET eu:a 1 us:a 2",
        "RENAME eu:a us:a",
        "COPY eu:a us:a",
        "BITOP OR eu:a us:a ap:a",
    ] {
        expect_error(&world, "ap", line, "CROSSSLOT");
    }
    expect_on(&mut client, "MULTI", &Value::ok());
    expect_on(&mut client, "SET eu:a 1", &queued());
    expect_on(&mut client, "SET us:a 1", &queued());
    match client.run("EXEC").unwrap() {
        Value::Error(text) => assert!(text.starts_with("CROSSSLOT"), "{text}"),
        other => panic!("EXEC: {other:?}"),
    }
    // Nothing of all that was done.
    expect_on(&mut client, "EXISTS eu:a us:a ap:a", &Value::Integer(0));

    expect_on(&mut client, "MSET eu:a 1 eu:b 2", &Value::ok());
    for prefix in ["us:", "ap:", ""] {
        expect_on(
            &mut client,
            &format!("SET {prefix}a {prefix}1"),
            &Value::ok(),
        );
    }
    let values = ["1", "us:1", "ap:1", "1", "2"].map(Value::bytes);
    let mut values = values.to_vec();
    values.push(Value::Null);
    expect_on(
        &mut client,
        "MGET eu:a us:a ap:a a eu:b us:none",
        &Value::List(values),
    );
    expect_on(
        &mut client,
        "EXISTS eu:a us:a us:a none",
        &Value::Integer(3),
    );
    expect_on(&mut client, "TOUCH eu:a ap:a", &Value::Integer(2));
    expect_on(&mut client, "DEL eu:a us:a ap:a none", &Value::Integer(3));
    expect_on(&mut client, "UNLINK eu:b a", &Value::Integer(2));
    expect_on(&mut client, "DBSIZE", &Value::Integer(0));
}

#[test]
fn a_node_explains_where_a_request_goes() {
    let world = World::start(&Layout::three(1)).unwrap();
    let home = world.node_in("eu");
    for (region, protocol) in [("eu", Protocol::Resp2), ("us", Protocol::Resp3)] {
        let mut client = world.connect(region).unwrap();
        client.hello(protocol).unwrap();
        let answer = client.run("ROUTE EXPLAIN eu:key").unwrap();
        let told = |name: &str| in_map(&answer, name).unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!(told("prefix").text(), "eu:");
        assert_eq!(told("group").text(), "eu");
        assert_eq!(*told("leader"), Value::Integer(home.into()));
        let hops = i64::from(region != "eu");
        assert_eq!(*told("hops"), Value::Integer(hops), "from {region}");
    }
    // A connection may ask for redirects; then it is told the address, and nothing is forwarded.
    let mut client = world.connect("us").unwrap();
    expect_on(&mut client, "ROUTE MODE redirect", &Value::ok());
    match client.run("GET eu:key").unwrap() {
        Value::Error(text) => {
            let address = world.cluster.address(home).to_string();
            assert!(
                text.starts_with("MOVED ") && text.ends_with(&address),
                "{text}"
            );
        }
        other => panic!("GET was answered {other:?}"),
    }
    expect_on(&mut client, "ROUTE MODE proxy", &Value::ok());
    expect_on(&mut client, "GET eu:key", &Value::Null);
}

#[test]
fn databases_and_binary_keys_are_the_same_from_everywhere() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut client = world.connect("us").unwrap();
    expect_on(&mut client, "SELECT 3", &Value::ok());
    let key = [b"eu:".as_slice(), &(0..=255).collect::<Vec<u8>>()].concat();
    let value = vec![0xff; 100_000];
    let set = client.call([b"SET".as_slice(), &key, &value]).unwrap();
    assert_eq!(set, Value::ok());
    let mut home = world.connect("eu").unwrap();
    assert_eq!(home.call([b"GET".as_slice(), &key]).unwrap(), Value::Null);
    expect_on(&mut home, "SELECT 3", &Value::ok());
    let found = home.call([b"GET".as_slice(), &key]).unwrap();
    assert!(found == Value::Bytes(value), "another value at home");
    let mut keys = BTreeSet::new();
    keys.extend(super::scan(&mut client, " COUNT 100"));
    assert_eq!(keys.len(), 1);
}
