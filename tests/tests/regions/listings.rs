//! Commands on all keys, wherever they live: complete, or an error that names what is missing.

use std::collections::BTreeSet;

use bailiwick_tests::client::{Value, request};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::relay::Rule;

use super::{expect, expect_error, expect_on, scan};

const PREFIXES: [&str; 5] = ["eu:", "us:", "ap:", "us:shop:", ""];

const KEYS_EACH: usize = 200;

/// Short, so that a region that is cut off is soon given up.
const REQUEST_TIMEOUT_MS: &str = "1500";

fn filled() -> (World, BTreeSet<String>) {
    let layout = Layout::three(1)
        .owning("us:shop:", "ap")
        .with("--request-timeout", REQUEST_TIMEOUT_MS);
    let world = World::start(&layout).unwrap();
    let mut client = world.connect("ap").unwrap();
    let mut keys = BTreeSet::new();
    let mut bytes = Vec::new();
    for prefix in PREFIXES {
        for n in 0..KEYS_EACH {
            let key = format!("{prefix}key-{n}");
            bytes.extend(request(["SET", &key, "v"]));
            keys.insert(key);
        }
    }
    client.send(&bytes).unwrap();
    for _ in &keys {
        assert_eq!(client.read().unwrap(), Value::ok());
    }
    (world, keys)
}

fn under(keys: &BTreeSet<String>, prefix: &str) -> BTreeSet<String> {
    let keys = keys.iter().filter(|key| key.starts_with(prefix));
    keys.cloned().collect()
}

/// What a scan found, each key once.
#[track_caller]
fn once(found: Vec<String>) -> BTreeSet<String> {
    let count = found.len();
    let found: BTreeSet<String> = found.into_iter().collect();
    assert_eq!(found.len(), count, "a key was returned twice");
    found
}

#[test]
fn listings_are_complete_from_everywhere() {
    let (world, keys) = filled();
    for region in ["eu", "us", "ap"] {
        let mut client = world.connect(region).unwrap();
        let size = Value::Integer(keys.len() as i64);
        expect_on(&mut client, "DBSIZE", &size);
        assert!(once(scan(&mut client, "")) == keys, "SCAN from {region}");
        assert!(
            once(scan(&mut client, " COUNT 333")) == keys,
            "SCAN COUNT from {region}"
        );
        for prefix in ["us:", "us:shop:", "eu:"] {
            let found = once(scan(&mut client, &format!(" MATCH {prefix}* COUNT 50")));
            assert_eq!(
                found,
                under(&keys, prefix),
                "SCAN MATCH {prefix}* from {region}"
            );
        }
        let of_type = once(scan(&mut client, " TYPE string COUNT 500"));
        assert_eq!(of_type.len(), keys.len());
        let none = scan(&mut client, " TYPE list COUNT 500");
        assert!(none.is_empty(), "{none:?}");
        let listed = client.run("KEYS us:*").unwrap();
        let listed = listed.list().iter().map(Value::text);
        assert_eq!(listed.collect::<BTreeSet<_>>(), under(&keys, "us:"));
        let random = client.run("RANDOMKEY").unwrap().text();
        assert!(keys.contains(&random), "{random}");
    }
    expect(&world, "us", "FLUSHDB", &Value::ok());
    for region in ["eu", "us", "ap"] {
        expect(&world, region, "DBSIZE", &Value::Integer(0));
        expect(&world, region, "RANDOMKEY", &Value::Null);
    }
}

#[test]
fn a_scan_returns_every_key_although_a_prefix_moves_meanwhile() {
    let (world, keys) = filled();
    let mut client = world.connect("eu").unwrap();
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    let mut steps = 0;
    loop {
        let answer = client.run(&format!("SCAN {cursor} COUNT 20")).unwrap();
        let [next, listed] = answer.list() else {
            panic!("SCAN {cursor}: {answer:?}");
        };
        found.extend(listed.list().iter().map(Value::text));
        cursor = next.text();
        steps += 1;
        match steps {
            5 => expect(&world, "us", "PREFIX MOVE us: GROUP ap", &Value::ok()),
            10 => world.wait_for_owner("us:", "ap").unwrap(),
            15 => expect(&world, "us", "PREFIX DROP us:shop:", &Value::ok()),
            20 => world.wait_until_gone("us:shop:").unwrap(),
            25 => expect(
                &world,
                "ap",
                "PREFIX CREATE eu:key-1 GROUP us",
                &Value::ok(),
            ),
            _ => {}
        }
        if cursor == "0" {
            break;
        }
    }
    assert!(steps > 25, "the scan was over after {steps} steps");
    let missing: Vec<_> = keys.difference(&found).collect();
    assert!(missing.is_empty(), "{} missing: {missing:?}", missing.len());
    assert_eq!(found, keys);
    expect(&world, "us", "DBSIZE", &Value::Integer(keys.len() as i64));
}

#[test]
fn a_listing_that_cannot_reach_an_owner_is_an_error_that_names_the_prefix() {
    let (world, keys) = filled();
    world.set_around("us", Rule::HELD);
    for line in ["DBSIZE", "KEYS *", "SCAN 0", "SCAN 0 MATCH us:* COUNT 10"] {
        let text = expect_error(&world, "eu", line, "CLUSTERDOWN");
        assert!(text.contains("us:"), "{line}: {text}");
    }
    // What cannot be there need not be asked for.
    let mut client = world.connect("eu").unwrap();
    let found = once(scan(&mut client, " MATCH eu:* COUNT 50"));
    assert_eq!(found, under(&keys, "eu:"));
    world.cluster.relay().heal();
    world.wait_until_serving().unwrap();
    assert!(once(scan(&mut client, " COUNT 100")) == keys);
}
