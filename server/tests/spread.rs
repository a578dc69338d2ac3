//! Requests that concern several groups, over real processes: three nodes that form the root group,
//! of which node 2 is also the group `eu` and node 3 the group `us`, each with a prefix of that
//! name.

mod node;

use std::collections::BTreeSet;

use node::{Client, Node, wait_until};

/// Keys under each of the two prefixes, and beside them.
const KEYS: usize = 150;

struct World {
    nodes: Vec<Node>,
}

impl World {
    fn start() -> Self {
        let world = Self {
            nodes: Node::start_cluster(3),
        };
        let mut client = world.nodes[0].client();
        for (name, id) in [("eu", 2), ("us", 3)] {
            let order = format!("PREFIX CREATE {name}: NODES {id} AS {name}");
            assert_eq!(client.call(&order), "+OK");
        }
        for name in ["eu", "us"] {
            world.wait_for_owner(&format!("{name}:"), name);
        }
        world
    }

    /// Waits until every node knows who owns a prefix.
    fn wait_for_owner(&self, prefix: &str, group: &str) {
        let expected = format!("|prefix|${}|{prefix}|$5|group|$2|{group}|", prefix.len());
        for node in &self.nodes {
            let mut client = node.client();
            wait_until("all know who owns the prefix", || {
                let explained = client.call(&format!("ROUTE EXPLAIN {prefix}key"));
                explained.contains(&expected)
            });
        }
    }

    fn fill(&self) -> BTreeSet<String> {
        let mut client = self.nodes[0].client();
        let mut keys = BTreeSet::new();
        for number in 0..KEYS {
            for prefix in ["eu:", "us:", ""] {
                let key = format!("{prefix}{number}");
                assert_eq!(client.call(&format!("SET {key} {number}")), "+OK");
                keys.insert(key);
            }
        }
        keys
    }
}

/// The strings of an array in the form of [`Client::call`].
fn strings(reply: &str) -> Vec<String> {
    assert!(reply.starts_with('*'), "{reply}");
    let lines: Vec<&str> = reply.split('|').collect();
    let headers = lines.iter().zip(&lines[1..]);
    let strings = headers.filter(|(header, _)| header.starts_with('$'));
    strings.map(|(_, string)| (*string).to_owned()).collect()
}

/// Scans from the beginning to the end; no key may come twice.
fn scan(client: &mut Client, options: &str, mut meanwhile: impl FnMut()) -> BTreeSet<String> {
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    loop {
        let reply = client.call(&format!("SCAN {cursor} {options}"));
        let mut found = strings(&reply).into_iter();
        cursor = found.next().expect("a cursor");
        for key in found {
            assert!(seen.insert(key.clone()), "{key} came twice");
        }
        if cursor == "0" {
            return seen;
        }
        meanwhile();
    }
}

#[test]
fn every_node_lists_the_keys_of_all_groups() {
    let world = World::start();
    let keys = world.fill();
    let of = |prefix: &str| -> BTreeSet<String> {
        let mine = keys.iter().filter(|key| key.starts_with(prefix));
        mine.cloned().collect()
    };
    for node in &world.nodes {
        let mut client = node.client();
        assert_eq!(client.call("DBSIZE"), format!(":{}", keys.len()));
        assert_eq!(scan(&mut client, "COUNT 7", || {}), keys);
        assert_eq!(scan(&mut client, "MATCH eu:* COUNT 50", || {}), of("eu:"));
        assert_eq!(
            scan(&mut client, "MATCH *7 TYPE hash", || {}),
            BTreeSet::new()
        );
        let listed: BTreeSet<String> = strings(&client.call("KEYS us:*")).into_iter().collect();
        assert_eq!(listed, of("us:"));
        let random = client.call("RANDOMKEY");
        assert!(
            keys.contains(random.split('|').nth(1).expect("a key")),
            "{random}"
        );
    }
    // Cluster clients ask every node, and add up.
    let counts = world.nodes.iter().map(|node| {
        let count = node.cluster_client().call("DBSIZE");
        count[1..].parse::<usize>().expect("a number")
    });
    assert_eq!(counts.sum::<usize>(), keys.len());
    let mut client = world.nodes[1].client();
    assert_eq!(client.call("FLUSHALL now"), "-ERR syntax error");
    assert_eq!(client.call("SELECT 1"), "+OK");
    assert_eq!(client.call("SET us:other 1"), "+OK");
    assert_eq!(client.call("SELECT 0"), "+OK");
    assert_eq!(client.call("FLUSHDB"), "+OK");
    assert_eq!(client.call("DBSIZE"), ":0");
    assert_eq!(client.call("RANDOMKEY"), "$-1");
    assert_eq!(client.call("SELECT 1"), "+OK");
    assert_eq!(client.call("DBSIZE"), ":1");
    assert_eq!(client.call("FLUSHALL ASYNC"), "+OK");
    assert_eq!(client.call("DBSIZE"), ":0");
}

#[test]
fn commands_over_several_groups_are_taken_apart_or_refused() {
    let world = World::start();
    world.fill();
    let mut client = world.nodes[0].client();
    assert_eq!(
        client.call("MGET us:1 1 eu:2 none us:none eu:3"),
        "*6|$1|1|$1|1|$1|2|$-1|$-1|$1|3"
    );
    assert_eq!(client.call("EXISTS us:1 1 eu:2 none us:1"), ":4");
    assert_eq!(client.call("TOUCH us:1 none eu:2"), ":2");
    assert_eq!(client.call("DEL us:1 eu:2 us:none 1"), ":3");
    assert_eq!(client.call("UNLINK us:1 eu:3"), ":1");
    assert_eq!(client.call("MGET us:1 1 eu:2"), "*3|$-1|$-1|$-1");
    for refused in [
        "MSET us:1 a eu:1 b",
        "RENAME us:2 eu:2",
        "COPY us:2 2",
        "SWAPDB 0 1",
    ] {
        let reply = client.call(refused);
        assert!(reply.starts_with("-CROSSSLOT "), "{refused}: {reply}");
    }
    assert_eq!(client.call("MSET us:1 a us:2 b"), "+OK");
    assert_eq!(client.call("MGET us:1 us:2 eu:1"), "*3|$1|a|$1|b|$1|1");
    // In one pipeline, in order.
    client.send("SET us:1 x\nMGET us:1 eu:1\nSET us:1 y\nDBSIZE\nGET us:1");
    let replies: Vec<String> = (0..5).map(|_| client.read()).collect();
    let expected = ["+OK", "*2|$1|x|$1|1", "+OK", ":447", "$1|y"];
    assert_eq!(replies, expected);
    let mut client = world.nodes[2].client().resp3();
    assert_eq!(client.call("MGET none us:none eu:1"), "*3|_|_|$1|1");
}

#[test]
fn a_scan_goes_on_while_a_prefix_moves_and_returns_every_key_once() {
    let world = World::start();
    let keys = world.fill();
    let mut orders = world.nodes[1].client();
    let (mut steps, mut owner) = (0, "eu");
    let mut client = world.nodes[0].client();
    let seen = scan(&mut client, "COUNT 5", || {
        steps += 1;
        if steps % 10 == 0 {
            owner = if owner == "eu" { "us" } else { "eu" };
            let order = format!("PREFIX MOVE eu: GROUP {owner}");
            wait_until("the move before this one has ended", || {
                orders.call(&order) == "+OK"
            });
        }
    });
    assert_eq!(seen, keys);
    assert!(steps >= 10, "{steps} steps");
    world.wait_for_owner("eu:", owner);
    assert_eq!(client.call("DBSIZE"), format!(":{}", keys.len()));
}

#[test]
fn a_listing_that_would_be_short_is_an_error_that_names_the_prefix() {
    let mut world = World::start();
    let keys = world.fill();
    drop(world.nodes.pop());
    let mut client = world.nodes[0].client();
    for request in ["DBSIZE", "SCAN 0", "KEYS *", "RANDOMKEY"] {
        let reply = client.call(request);
        let begins = "-CLUSTERDOWN Prefix 'us:' of group us cannot be reached, so the answer would \
                      not be complete: ";
        assert!(reply.starts_with(begins), "{request}: {reply}");
    }
    let reply = client.call("FLUSHALL");
    assert!(reply.starts_with("-CLUSTERDOWN Prefix 'us:' "), "{reply}");
    // What cannot hold such keys is not asked.
    let mut client = world.nodes[1].client();
    assert_eq!(client.call("SET eu:a 1"), "+OK");
    let found = scan(&mut client, "MATCH eu:*", || {});
    assert!(found.contains("eu:a"));
    assert!(found.iter().all(|key| key == "eu:a" || keys.contains(key)));
}
