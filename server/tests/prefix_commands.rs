//! PREFIX and GROUP CREATE on a node that runs without a cluster: it owns everything, and says so.

mod node;

use node::Node;

#[test]
fn a_single_node_owns_every_key() {
    let node = Node::start(&[]);
    let mut client = node.client();
    assert_eq!(client.call("SET k v"), "+OK");
    let row = "$6|prefix|$0||$5|epoch|:1|$5|group|$4|root";
    assert_eq!(client.call("PREFIX OWNER eu:1"), format!("*6|{row}"));
    assert_eq!(client.call("PREFIX LIST"), format!("*1|*6|{row}"));
    assert_eq!(client.call("PREFIX LIST eu:"), "*0");
    let info = client.call("PREFIX INFO \"\"");
    let head = format!(
        "*18|{row}|$6|parent|$-1|$12|parent-group|$-1|$8|children|*0|$4|keys|:1|$5|bytes|:"
    );
    assert!(info.starts_with(&head), "{info}");
    assert!(info.ends_with("|$7|handoff|$-1"), "{info}");
    assert_eq!(
        client.call("PREFIX INFO eu:"),
        "-ERR there is no prefix 'eu:'; see PREFIX LIST, or PREFIX OWNER for a key"
    );
    let mut client = node.client().resp3();
    assert!(client.call("prefix owner k").starts_with("%3|"));
}

#[test]
fn it_hands_nothing_out() {
    let node = Node::start(&[]);
    let mut client = node.client();
    for order in [
        "PREFIX CREATE eu: GROUP eu",
        "PREFIX CREATE eu: NODES 1 2 3 AS eu",
        "PREFIX MOVE eu: GROUP eu",
        "PREFIX DROP eu:",
        "GROUP CREATE eu NODES 1 2 3",
    ] {
        let reply = client.call(order);
        assert!(
            reply.starts_with("-ERR this node runs without a cluster"),
            "{order}: {reply}"
        );
    }
    for nonsense in [
        "PREFIX CREATE eu: GROUPS eu",
        "PREFIX CREATE eu: GROUP eu AS x",
        "PREFIX MOVE eu: NODES 1",
        "GROUP CREATE eu NODE 1",
    ] {
        assert_eq!(client.call(nonsense), "-ERR syntax error", "{nonsense}");
    }
    assert_eq!(
        client.call("PREFIX CREATE eu:"),
        "-ERR wrong number of arguments for 'prefix|create' command"
    );
    assert!(
        client
            .call("PREFIX LIST a b")
            .starts_with("-ERR unknown subcommand or wrong")
    );
}

#[test]
fn internal_commands_are_unknown_to_clients() {
    let node = Node::start(&[]);
    let mut client = node.client();
    for name in ["_DELEGATE", "_OWNS", "_STATUS", "_COMMIT", "_FOUNDED"] {
        let reply = client.call(&format!("{name} a"));
        let expected = format!("-ERR unknown command '{name}', with args beginning with: 'a' ");
        assert_eq!(reply, expected);
    }
}

#[test]
fn prefix_has_help_and_documentation() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let help = client.call("PREFIX HELP");
    for line in [
        "CREATE prefix <GROUP group | NODES node-id [node-id ...]> [AS group]",
        "DROP prefix",
        "INFO prefix",
        "LIST [under]",
        "MOVE prefix GROUP group",
        "OWNER name",
    ] {
        assert!(help.contains(&format!("|+{line}|")), "{line} in {help}");
    }
    assert!(
        client
            .call("GROUP HELP")
            .contains("|+CREATE group NODES node-id [node-id ...]|")
    );
    let docs = client.call("COMMAND DOCS prefix|create");
    assert!(docs.starts_with("*2|$13|prefix|create|"), "{docs}");
}
