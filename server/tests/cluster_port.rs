//! Redis Cluster's protocol: the port for it, what CLUSTER answers, and ROUTE.
//!
//! Who leads may change while a test runs on a busy machine, so what depends on it is asked again
//! until it fits.

mod node;

use node::{Node, wait_until};

/// The slot of `foo`.
const SLOT: u16 = 12182;

/// Where the node sends those that ask for `foo`; `None` if it is executed there.
fn moved(node: &Node) -> Option<String> {
    let reply = node.cluster_client().call("GET foo");
    let target = reply.strip_prefix(&format!("-MOVED {SLOT} 127.0.0.1:"));
    if target.is_none() {
        assert!(reply.starts_with('$'), "{reply}");
    }
    target.map(str::to_owned)
}

/// The port that CLUSTER SLOTS gives for all slots, as the node sees it.
fn master_port(node: &Node) -> String {
    let reply = node.cluster_client().call("CLUSTER SLOTS");
    let rest = reply.strip_prefix("*1|*5|:0|:16383|*4|$9|127.0.0.1|:");
    let rest = rest.unwrap_or_else(|| panic!("{reply}"));
    rest.split('|').next().unwrap_or_default().to_owned()
}

/// The nodes once they agree who leads: the leader, and a follower that knows it.
fn leader_and_follower(nodes: &[Node]) -> (usize, usize) {
    let mut found = None;
    wait_until("a follower redirects to a leader", || {
        let targets: Vec<_> = nodes.iter().map(moved).collect();
        let leader = targets.iter().position(Option::is_none);
        found = leader.and_then(|leader| {
            let port = Some(nodes[leader].cluster_port().to_string());
            let follower = targets.iter().position(|target| *target == port)?;
            Some((leader, follower))
        });
        found.is_some()
    });
    found.expect("it was just found")
}

#[test]
fn a_redirect_says_what_the_slot_map_says() {
    let nodes = Node::start_cluster(3);
    leader_and_follower(&nodes);
    for node in &nodes {
        wait_until("redirect and slot map agree", || {
            let own = node.cluster_port().to_string();
            moved(node).unwrap_or(own) == master_port(node)
        });
        // Other ports and other clients are never redirected.
        assert_eq!(node.client().call("SET foo bar"), "+OK");
    }
}

#[test]
fn only_the_cluster_port_is_that_of_a_cluster_node() {
    let nodes = Node::start_cluster(3);
    let (leader, follower) = leader_and_follower(&nodes);
    let (leader, follower) = (&nodes[leader], &nodes[follower]);
    assert_eq!(leader.client().call("SET foo bar"), "+OK");
    let mut names = Vec::new();
    for node in &nodes {
        for (mut client, mode, enabled) in [
            (node.client(), "standalone", "0"),
            (node.cluster_client(), "cluster", "1"),
        ] {
            assert_eq!(client.info("server", "redis_mode"), mode);
            assert_eq!(client.info("cluster", "cluster_enabled"), enabled);
            let hello = client.call("HELLO");
            assert!(
                hello.contains(&format!("|mode|${}|{mode}|", mode.len())),
                "{hello}"
            );
            assert_eq!(client.call("ASKING"), "+OK");
        }
        names.push(node.client().call("CLUSTER MYID"));
        let lines = node.cluster_client().call("CLUSTER NODES");
        assert_eq!(lines.matches(" connected").count(), 3, "{lines}");
        assert_eq!(lines.matches("myself,").count(), 1, "{lines}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
    // A copy may be asked by who says so.
    let mut client = follower.cluster_client();
    assert_eq!(client.call("READONLY"), "+OK");
    wait_until("the copy has it", || client.call("GET foo") == "$3|bar");
    assert!(client.call("SET foo baz").starts_with("-MOVED 12182 ") || moved(follower).is_none());
    // A transaction is redirected when its first command is queued.
    let mut client = follower.cluster_client();
    client.call("MULTI");
    if client.call("SET foo baz").starts_with("-MOVED ") {
        let reply = "-EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(client.call("EXEC"), reply);
    }
}

#[test]
fn slots_are_counted_and_cannot_be_ordered_about() {
    let nodes = Node::start_cluster(1);
    let mut client = nodes[0].cluster_client();
    assert_eq!(client.call("MSET foo 1 {foo}bar 2 other 3"), "+OK");
    assert_eq!(client.call("CLUSTER KEYSLOT {foo}x"), ":12182");
    assert_eq!(client.call("CLUSTER COUNTKEYSINSLOT 12182"), ":2");
    assert_eq!(
        client
            .call("CLUSTER GETKEYSINSLOT 12182 1")
            .matches('$')
            .count(),
        1
    );
    assert_eq!(
        client
            .call("CLUSTER GETKEYSINSLOT 12182 9")
            .matches('$')
            .count(),
        2
    );
    assert_eq!(
        client.call("CLUSTER COUNTKEYSINSLOT 16384"),
        "-ERR Invalid slot"
    );
    assert_eq!(
        client.call("CLUSTER GETKEYSINSLOT 1 -1"),
        "-ERR Invalid slot or number of keys"
    );
    let info = client.call("CLUSTER INFO");
    assert!(
        info.contains("|cluster_state:ok|cluster_slots_assigned:16384|"),
        "{info}"
    );
    let name = client.call("CLUSTER MYID");
    let (_, name) = name.split_once('|').expect("a bulk string");
    assert_eq!(
        client.call(&format!("CLUSTER COUNT-FAILURE-REPORTS {name}")),
        ":0"
    );
    assert_eq!(
        client.call("CLUSTER COUNT-FAILURE-REPORTS x"),
        "-ERR Unknown node x"
    );
    assert_eq!(client.call(&format!("CLUSTER REPLICAS {name}")), "*0");
    for order in [
        "RESET",
        "FAILOVER FORCE",
        "ADDSLOTS 1",
        "SETSLOT 1 STABLE",
        "FLUSHSLOTS",
    ] {
        let reply = client.call(&format!("CLUSTER {order}"));
        assert!(reply.starts_with("-ERR CLUSTER "), "{reply}");
    }
    let shards = client.call("CLUSTER SHARDS");
    assert!(
        shards.starts_with("*1|*4|$5|slots|*2|:0|:16383|$5|nodes|*1|*14|$2|id|"),
        "{shards}"
    );
}

#[test]
fn a_client_learns_where_a_key_lives_and_may_ask_to_be_sent_there() {
    let nodes = Node::start_cluster(3);
    let (leader, follower) = leader_and_follower(&nodes);
    let explain = |node: &Node| node.client().call("ROUTE EXPLAIN foo");
    wait_until("both know who leads", || {
        explain(&nodes[leader]).ends_with("|$4|hops|:0|$4|slot|:12182")
            && explain(&nodes[follower]).ends_with("|$4|hops|:1|$4|slot|:12182")
    });
    let explained = explain(&nodes[follower]);
    assert!(
        explained.starts_with("*16|$6|prefix|$0||$5|group|$4|root|$5|epoch|:1|"),
        "{explained}"
    );
    assert!(
        explained.contains("|$7|members|*3|:1|:2|:3|"),
        "{explained}"
    );
    let mut client = nodes[follower].client();
    assert_eq!(client.call("SET foo 1"), "+OK");
    assert_eq!(client.call("ROUTE MODE redirect"), "+OK");
    let to = nodes[leader].port();
    wait_until("the follower redirects", || {
        client.call("SET foo 2") == format!("-MOVED {SLOT} 127.0.0.1:{to}")
    });
    assert_eq!(client.call("PING"), "+PONG");
    assert_eq!(client.call("ROUTE MODE proxy"), "+OK");
    assert_eq!(client.call("SET foo 3"), "+OK");
    assert!(
        client
            .call("ROUTE MODE up")
            .starts_with("-ERR expected proxy ")
    );
}

#[test]
fn a_node_without_a_cluster_has_cluster_support_disabled() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let disabled = "-ERR This instance has cluster support disabled";
    for request in [
        "INFO",
        "MYID",
        "NODES",
        "SLOTS",
        "SHARDS",
        "KEYSLOT a",
        "COUNTKEYSINSLOT 1",
        "GETKEYSINSLOT 1 1",
        "COUNT-FAILURE-REPORTS x",
        "REPLICAS x",
        "RESET",
        "LINKS",
    ] {
        assert_eq!(
            client.call(&format!("CLUSTER {request}")),
            disabled,
            "{request}"
        );
    }
    assert_eq!(
        client.call("CLUSTER FOO"),
        "-ERR unknown subcommand 'FOO'. Try CLUSTER HELP."
    );
    assert_eq!(
        client.call("CLUSTER SLOTS x"),
        "-ERR wrong number of arguments for 'cluster|slots' command"
    );
    let explained = client.call("ROUTE EXPLAIN foo");
    assert!(
        explained.contains("|$4|hops|:0|$4|slot|:12182"),
        "{explained}"
    );
    for internal in ["_SCAN 0", "_COUNT", "_RANDOMKEY", "_FLUSH ALL"] {
        let reply = client.call(internal);
        assert!(reply.starts_with("-ERR unknown command '_"), "{reply}");
    }
}
