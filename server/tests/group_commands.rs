//! GROUP, CLUSTER and what INFO and ROLE say of replication, on a node without a cluster.

mod node;

use node::Node;

#[test]
fn a_node_without_a_cluster_is_a_group_of_one() {
    let node = Node::start(&[]);
    let mut client = node.client();
    assert_eq!(client.call("SET k v"), "+OK");
    let reply = client.call("GROUP INFO");
    let (_, lines) = reply.split_once('|').expect("a bulk string");
    let lines: Vec<_> = lines.split('|').collect();
    // The entry that creates the databases, and the SET.
    let member = "member1:role=leader,connected=1,decided=2,applied=2,durable=2,checkpoint=0,\
                  lag=0,last_contact_ms=0,full=0";
    assert_eq!(
        lines,
        [
            "group:root",
            "configuration:0",
            "this_node:1",
            "is_member:1",
            "leader:1",
            "decided:2",
            "applied:2",
            "waiters:0",
            "members:1",
            member,
        ]
    );
    assert_eq!(client.call("GROUP INFO root"), reply);
    let list = "*1|*8|$5|group|$4|root|$13|configuration|:0|$6|leader|:1|$7|members|*1|:1";
    assert_eq!(client.call("GROUP LIST"), list);
    let mut client = node.client().resp3();
    assert!(client.call("group info").starts_with('='));
    assert!(client.call("group list").starts_with("*1|%4|"));
}

#[test]
fn its_group_cannot_be_changed() {
    let node = Node::start(&[]);
    let mut client = node.client();
    for order in ["ADD", "REMOVE", "REPLACE", "TRANSFER"] {
        let reply = client.call(&format!("GROUP {order} root 2"));
        assert!(
            reply.starts_with("-ERR this node runs without a cluster"),
            "{reply}"
        );
        let reply = client.call(&format!("GROUP {order} root"));
        let name = order.to_ascii_lowercase();
        let expected = format!("-ERR wrong number of arguments for 'group|{name}' command");
        assert_eq!(reply, expected);
    }
    assert_eq!(
        client.call("GROUP INFO other"),
        "-ERR unknown group 'other'; this node has root"
    );
    assert_eq!(
        client.call("CLUSTER LINKS"),
        "-ERR This instance has cluster support disabled"
    );
    client.send("MULTI\nGROUP ADD root 2\nGROUP INFO\nEXEC");
    assert_eq!(client.read(), "+OK");
    let refusal = "-ERR Command not allowed inside a transaction";
    assert_eq!(client.read(), refusal);
    assert_eq!(client.read(), "+QUEUED");
    assert!(client.read().starts_with("-EXECABORT"));
}

#[test]
fn it_is_a_master_without_slaves() {
    let node = Node::start(&[]);
    let mut client = node.client();
    assert_eq!(client.call("SET k v"), "+OK");
    assert_eq!(client.call("ROLE"), "*3|$6|master|:2|*0");
    for (field, value) in [
        ("role", "master"),
        ("connected_slaves", "0"),
        ("master_repl_offset", "2"),
        ("group", "root"),
        ("node_id", "1"),
        ("leader_id", "1"),
    ] {
        assert_eq!(client.info("replication", field), value, "{field}");
    }
    let all = client.call("INFO");
    assert!(!all.contains("|master_host:"), "{all}");
    assert!(!all.contains("|checkpoint_transfer"), "{all}");
    assert!(all.contains("||# Replication|role:master|"), "{all}");
    assert!(
        all.contains("|cluster_enabled:0||# Keyspace|db0:keys=1,"),
        "{all}"
    );
}

#[test]
fn both_containers_have_help_and_documentation() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let help = client.call("GROUP HELP");
    for line in [
        "ADD group node-id",
        "INFO [group]",
        "LIST",
        "TRANSFER group node-id",
    ] {
        assert!(help.contains(&format!("|+{line}|")), "{line} in {help}");
    }
    assert!(client.call("CLUSTER HELP").contains("|+LINKS|"));
    let docs = client.call("COMMAND DOCS group|add cluster|links");
    assert!(docs.starts_with("*4|$9|group|add|"), "{docs}");
    // Group and node, in the words of the documentation.
    assert!(docs.contains("|$7|node-id|$4|type|$7|integer|"), "{docs}");
    assert_eq!(
        client.call("GROUP NOSUCH"),
        "-ERR unknown subcommand 'NOSUCH'. Try GROUP HELP."
    );
}
