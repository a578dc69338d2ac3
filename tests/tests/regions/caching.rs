//! Copies that clients keep of keys of other regions: no change is missed, whatever breaks.

use bailiwick_tests::caching::{Cache, Place, check_no_loop};
use bailiwick_tests::client::Value;
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::relay::Rule;
use bailiwick_tests::server::POLL;

use super::expect;

fn cache(world: &World, region: &str, options: &str) -> Cache {
    Cache::new(world.connect(region).unwrap(), options).unwrap()
}

#[test]
fn a_copy_is_given_up_when_the_key_is_written_through_any_node() {
    let world = World::start(&Layout::three(1)).unwrap();
    world.set_around("us", Rule::slow(3, 5));
    for reader in ["eu", "us", "ap"] {
        for key in ["eu:k", "us:k", "ap:k", "k"] {
            let mut cache = cache(&world, reader, "");
            expect(&world, reader, &format!("SET {key} 0"), &Value::ok());
            cache.settle(key).unwrap();
            for (round, writer) in ["eu", "us", "ap"].into_iter().enumerate() {
                let value = (round + 1).to_string();
                cache.settle(key).unwrap();
                expect(&world, writer, &format!("SET {key} {value}"), &Value::ok());
                cache.wait_until_told(key).unwrap();
                assert_eq!(
                    cache.get(key).unwrap(),
                    Value::bytes(&value),
                    "{key} in {reader}"
                );
            }
        }
    }
}

#[test]
fn who_does_not_want_to_hear_of_its_own_changes_does_not_on_any_node() {
    let world = World::start(&Layout::three(1)).unwrap();
    world.set_around("us", Rule::slow(3, 5));
    for (here, elsewhere) in [("us", "ap"), ("ap", "eu"), ("eu", "us")] {
        let place = Place {
            here: &|| world.connect(here),
            elsewhere: &|| world.connect(elsewhere),
            head: "eu:",
            foreign: "us:other",
            runs_scripts: here == "eu",
        };
        check_no_loop(&place).unwrap();
    }
}

#[test]
fn a_script_that_runs_in_another_region_costs_all_copies() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut cache = cache(&world, "us", "");
    for request in ["EVAL", "EVAL_RO"] {
        cache.keep("us:k").unwrap();
        let script = "return redis.call('GET', 'eu:unnamed')";
        cache.ask(&[request, script, "1", "eu:k"]).unwrap();
        cache.wait_until_told("us:k").unwrap();
    }
}

#[test]
fn what_scripts_call_in_another_region_is_counted_there_once() {
    let world = World::start(&Layout::three(3)).unwrap();
    let script = "return redis.call('STRLEN', KEYS[1])";
    for (request, calls) in [("EVAL", 1), ("EVAL_RO", 2)] {
        let eval = [request, script, "1", "eu:k"];
        let answer = world.connect("us").unwrap().call(eval).unwrap();
        assert_eq!(answer, Value::Integer(0));
        world.cluster.wait_for_agreement().unwrap();
        let count = |node| {
            let stats = world
                .cluster
                .connect(node)
                .unwrap()
                .run("INFO commandstats");
            let stats = stats.unwrap().text();
            let calls = stats.split_once("cmdstat_strlen:calls=").map(|(_, rest)| {
                let (calls, _) = rest.split_once(',').unwrap();
                calls.parse::<u32>().unwrap()
            });
            calls.unwrap_or(0)
        };
        assert_eq!(world.cluster.nodes().map(count).sum::<u32>(), calls);
    }
}

#[test]
fn broadcasting_tells_of_the_keys_of_all_regions() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut cache = cache(&world, "us", " BCAST PREFIX eu: PREFIX us:");
    for key in ["eu:k", "us:k"] {
        // Once it has been told of one change it is told of all.
        let mut n = 0;
        let told = cache.wait("news", |cache| {
            n += 1;
            cache.copies.insert(key.to_owned(), Value::Null);
            expect(&world, "ap", &format!("SET {key} {n}"), &Value::ok());
            cache.listen()?;
            Ok(!cache.copies.contains_key(key))
        });
        told.unwrap();
        for _ in 0..20 {
            cache.copies.insert(key.to_owned(), Value::Null);
            n += 1;
            expect(&world, "eu", &format!("SET {key} {n}"), &Value::ok());
            cache.wait_until_told(key).unwrap();
        }
    }
}

#[test]
fn copies_are_given_up_when_the_region_is_cut_off_and_when_its_node_is_killed() {
    let mut world = World::start(&Layout::three(1)).unwrap();
    expect(&world, "eu", "SET eu:k 1", &Value::ok());
    let mut cache = cache(&world, "us", "");
    cache.settle("eu:k").unwrap();
    world.set_around("eu", Rule::CUT);
    cache.wait_until_told("eu:k").unwrap();
    // Nobody who could tell of this is linked.
    expect(&world, "eu", "SET eu:k 2", &Value::ok());
    world.set_around("eu", Rule::OPEN);
    cache.settle("eu:k").unwrap();
    assert_eq!(cache.get("eu:k").unwrap(), Value::bytes("2"));
    let node = world.node_in("eu");
    world.cluster.kill(node).unwrap();
    cache.wait_until_told("eu:k").unwrap();
    world.cluster.restart(node).unwrap();
    cache.settle("eu:k").unwrap();
    expect(&world, "ap", "SET eu:k 3", &Value::ok());
    cache.wait_until_told("eu:k").unwrap();
    assert_eq!(cache.get("eu:k").unwrap(), Value::bytes("3"));
}

#[test]
fn copies_are_given_up_when_the_keys_move_and_are_told_of_from_there() {
    let world = World::start(&Layout::three(1)).unwrap();
    expect(
        &world,
        "eu",
        "PREFIX CREATE eu:moving: GROUP eu",
        &Value::ok(),
    );
    world.wait_for_owner("eu:moving:", "eu").unwrap();
    for reader in ["eu", "us", "ap"] {
        expect(&world, reader, "SET eu:moving:k 0", &Value::ok());
        let mut cache = cache(&world, reader, "");
        for to in ["us", "ap", "eu"] {
            cache.settle("eu:moving:k").unwrap();
            let value = format!("for {to}");
            world
                .connect("eu")
                .unwrap()
                .run(&format!("PREFIX MOVE eu:moving: GROUP {to}"))
                .unwrap();
            world.wait_for_owner("eu:moving:", to).unwrap();
            let set = ["SET", "eu:moving:k", &value];
            assert_eq!(world.connect("ap").unwrap().call(set).unwrap(), Value::ok());
            let seen = cache.wait("the new value", |cache| {
                cache.listen()?;
                Ok(cache.get("eu:moving:k")? == Value::bytes(&value))
            });
            seen.unwrap();
        }
    }
}

#[test]
fn nodes_tell_their_subscribers_of_keys_of_other_regions() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut listener = world.connect("us").unwrap();
    let set = ["CONFIG", "SET", "notify-keyspace-events", "KEA"];
    assert_eq!(world.connect("us").unwrap().call(set).unwrap(), Value::ok());
    listener.run("PSUBSCRIBE __keyspace@0__:*:k").unwrap();
    for (key, writer) in [("eu:k", "ap"), ("us:k", "eu"), ("ap:k", "us")] {
        // The setting travels in its own time, unlike the subscription.
        listener.set_timeout(20 * POLL).unwrap();
        let channel = format!("__keyspace@0__:{key}");
        let mut n = 0;
        let told = loop {
            n += 1;
            assert!(n < 1000, "nothing is told of {key}");
            expect(&world, writer, &format!("SET {key} {n}"), &Value::ok());
            // What is told late of the key before is not meant.
            let mut told = std::iter::from_fn(|| listener.read().ok());
            if let Some(told) = told.find(|told| told.list()[2].text() == channel) {
                break told;
            }
        };
        assert_eq!(told.list()[3].text(), "set");
    }
}
