//! Messages from any node to listeners on every node.

use bailiwick_tests::client::{Client, Value, request};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::relay::Rule;

fn listen(world: &World, node: u32, line: &str) -> Client {
    let mut client = world.cluster.connect(node).unwrap();
    client.send(&request(line.split(' '))).unwrap();
    for _ in line.split(' ').skip(1) {
        client.read().unwrap();
    }
    client
}

fn payload(message: &Value) -> String {
    message.list().last().map(Value::text).unwrap_or_default()
}

#[test]
fn a_message_from_any_node_reaches_the_listeners_on_every_node_in_order() {
    const MESSAGES: usize = 200;
    let world = World::start(&Layout::three(1)).unwrap();
    world.set_around("us", Rule::slow(3, 5));
    let nodes: Vec<u32> = world.cluster.nodes().collect();
    let mut listeners: Vec<Client> = nodes
        .iter()
        .flat_map(|node| {
            ["SUBSCRIBE news", "PSUBSCRIBE n*s", "SSUBSCRIBE shard"].map(|line| (node, line))
        })
        .map(|(node, line)| listen(&world, *node, line))
        .collect();
    // Acknowledged, and so known everywhere: what is published from now on arrives.
    for publisher in &nodes {
        let mut client = world.cluster.connect(*publisher).unwrap();
        let mut bytes = Vec::new();
        for n in 0..MESSAGES {
            let text = format!("{publisher}:{n}");
            bytes.extend(request(["PUBLISH", "news", &text]));
            bytes.extend(request(["SPUBLISH", "shard", &text]));
        }
        client.send(&bytes).unwrap();
        for _ in 0..MESSAGES {
            // What Redis counts: the receivers on the node that was asked.
            assert_eq!(client.read().unwrap(), Value::Integer(2));
            assert_eq!(client.read().unwrap(), Value::Integer(1));
        }
        for listener in &mut listeners {
            for n in 0..MESSAGES {
                let message = listener.read().unwrap();
                assert_eq!(payload(&message), format!("{publisher}:{n}"));
            }
        }
    }
}

#[test]
fn nobody_is_sent_what_nobody_there_listens_to() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut listener = listen(&world, 2, "SUBSCRIBE here");
    let mut publisher = world.cluster.connect(1).unwrap();
    for line in [
        "PUBLISH elsewhere 1",
        "PUBLISH here 2",
        "SPUBLISH here 3",
        "PUBLISH here 4",
    ] {
        assert_eq!(publisher.run(line).unwrap(), Value::Integer(0));
    }
    assert_eq!(payload(&listener.read().unwrap()), "2");
    assert_eq!(payload(&listener.read().unwrap()), "4");
    listener.run("UNSUBSCRIBE").unwrap();
    let mut again = listen(&world, 2, "SUBSCRIBE other");
    publisher.run("PUBLISH here 5").unwrap();
    publisher.run("PUBLISH other 6").unwrap();
    assert_eq!(payload(&again.read().unwrap()), "6");
    assert_eq!(
        listener.run("PING").unwrap(),
        Value::Status("PONG".to_owned())
    );
}

#[test]
fn the_others_go_on_when_a_node_is_killed_and_it_listens_again_when_it_is_back() {
    let mut world = World::start(&Layout::three(1)).unwrap();
    let mut survivor = listen(&world, 2, "SUBSCRIBE news");
    drop(listen(&world, 3, "SUBSCRIBE news"));
    world.cluster.kill(3).unwrap();
    let mut publisher = world.cluster.connect(1).unwrap();
    for n in 0..50 {
        publisher.call(["PUBLISH", "news", &n.to_string()]).unwrap();
        assert_eq!(payload(&survivor.read().unwrap()), n.to_string());
    }
    world.cluster.restart(3).unwrap();
    let mut back = listen(&world, 3, "SUBSCRIBE news");
    // The link may come up after the subscription; what is sent before then is lost.
    let mut n = 0;
    back.set_timeout(std::time::Duration::from_millis(20))
        .unwrap();
    let first = loop {
        publisher
            .call(["PUBLISH", "news", &format!("again {n}")])
            .unwrap();
        n += 1;
        assert!(n < 3000, "nothing arrives");
        if let Ok(message) = back.read() {
            break payload(&message);
        }
    };
    assert!(first.starts_with("again "), "{first}");
}

#[test]
fn what_a_script_publishes_reaches_the_listeners_on_every_node_once() {
    let world = World::start(&Layout::three(1)).unwrap();
    let nodes: Vec<u32> = world.cluster.nodes().collect();
    let listeners = nodes
        .iter()
        .map(|&node| listen(&world, node, "SUBSCRIBE news"));
    let mut listeners: Vec<Client> = listeners.collect();
    let script =
        "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('PUBLISH', 'news', ARGV[1])";
    let mut published = Vec::new();
    for node in &nodes {
        let mut client = world.cluster.connect(*node).unwrap();
        for key in ["eu:key", "us:key", "ap:key", "key"] {
            let text = format!("{node} {key}");
            let reply = client.call(["EVAL", script, "1", key, &text]).unwrap();
            // How many receive it differs from replica to replica.
            assert_eq!(reply, Value::Integer(0), "{text}");
            published.push(text);
        }
    }
    published.sort();
    let mut publisher = world.cluster.connect(nodes[0]).unwrap();
    for listener in &mut listeners {
        let messages = published.iter().map(|_| payload(&listener.read().unwrap()));
        let mut messages: Vec<String> = messages.collect();
        messages.sort();
        assert_eq!(messages, published);
    }
    publisher.run("PUBLISH news end").unwrap();
    for listener in &mut listeners {
        assert_eq!(payload(&listener.read().unwrap()), "end");
    }
}
