//! Tests of the cluster's file.

use super::*;
use crate::cluster::Cluster;

const GOOD: &str = r#"# A shop in two regions.
cluster = "shop"

[[node]]
id = 1
region = "eu"
client = "eu-1.example.com:6379"
peer = "eu-1.example.com:7379"

[[node]]
id = 7
region = "eu"
client = "10.0.0.7:6379"
peer = "10.0.0.7:7379"

[[node]]
id = 2
region = "us"
client = "[2001:db8::2]:6379"
peer = "[2001:db8::2]:7379"

[[group]]
name = "root"
nodes = [1, 2, 7]
priority = [7, 1]

[[group]]
name = "us"
nodes = [2]

[[prefix]]
prefix = "us:"
group = "us"

[[prefix]]
prefix = "us:shared/\u00e9\u0000"
group = "root"
"#;

/// Three nodes in lines 2 to 13, each of four lines without a blank one between; line 14 is next.
fn with_nodes(rest: &str) -> String {
    let mut text = "cluster = \"c\"\n".to_owned();
    for id in 1..4 {
        text += &format!("[[node]]\nid={id}\nregion=\"a\"\nclient=\"h:{id}\"\npeer=\"h:1{id}\"\n");
    }
    text + rest
}

/// What is wrong with `text`, a line each.
fn refusal(text: &str) -> String {
    Cluster::parse(text).unwrap_err().to_string()
}

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn a_good_file_is_read_as_it_stands() {
    let cluster = Cluster::parse(GOOD).unwrap();
    assert_eq!(cluster.name, "shop");
    let nodes: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| format!("{} {} {} {}", node.id, node.region, node.client, node.peer))
        .collect();
    let expected = [
        "1 eu eu-1.example.com:6379 eu-1.example.com:7379",
        "7 eu 10.0.0.7:6379 10.0.0.7:7379",
        "2 us [2001:db8::2]:6379 [2001:db8::2]:7379",
    ];
    assert_eq!(nodes, expected);
    assert_eq!(cluster.root().name, "root");
    assert_eq!(cluster.root().nodes, ids(&[1, 2, 7]));
    assert_eq!(cluster.root().priority, ids(&[7, 1]));
    assert_eq!(cluster.group("us").unwrap().nodes, ids(&[2]));
    assert_eq!(cluster.node(NodeId(2)).unwrap().region, "us");
    assert!(cluster.node(NodeId(3)).is_none());
    let prefixes = cluster.prefixes.iter();
    let prefixes: Vec<_> = prefixes
        .map(|entry| (&*entry.prefix, &*entry.group))
        .collect();
    assert_eq!(prefixes, [("us:", "us"), ("us:shared/\u{e9}\0", "root")]);
    assert_eq!(
        cluster.regions().into_iter().collect::<Vec<_>>(),
        ["eu", "us"]
    );
}

#[test]
fn a_node_may_have_a_key() {
    let key = "0123456789abcdef".repeat(4);
    let node = |key: &str| {
        format!("[[node]]\nid=9\nregion=\"a\"\nclient=\"h:90\"\npeer=\"h:91\"\nkey={key}\n")
    };
    let cluster = Cluster::parse(&with_nodes(&node(&format!("\"{key}\"")))).unwrap();
    let key_of = |id| cluster.node(NodeId(id)).unwrap().key;
    assert_eq!(key_of(9).map(|key| key.to_string()), Some(key.clone()));
    assert_eq!(key_of(1), None);
    let short = &key[1..];
    assert_eq!(
        refusal(&with_nodes(&node(&format!("\"{short}\"")))),
        format!(
            "cluster.toml line 22: key \"{short}\" of node 9: expected the 64 hexadecimal digits \
             that the node writes to its log when it starts, and CLUSTER MEMBERS shows"
        )
    );
    assert_eq!(
        refusal(&with_nodes(&node("7"))),
        "cluster.toml line 22: key 7 of node 9: expected text in quotes, as in key = \"8a88e3dd...\""
    );
}

#[test]
fn without_groups_all_nodes_form_the_root_group() {
    let cluster = Cluster::parse(&with_nodes("")).unwrap();
    let root = GroupEntry {
        name: "root".to_owned(),
        nodes: ids(&[1, 2, 3]),
        priority: Vec::new(),
    };
    assert_eq!(cluster.groups, [root]);
}

#[test]
fn tables_may_be_written_in_line() {
    let text = "cluster = \"c\"\n\
                node = [{ id = 4, region = \"a\", client = \"h:1\", peer = \"h:2\" }]\n\
                group = [{ name = \"g\", nodes = [4] }]\n";
    let cluster = Cluster::parse(text).unwrap();
    assert_eq!(cluster.root().nodes, ids(&[4]));
}

#[test]
fn each_fault_of_a_node_is_told_with_its_line_and_what_would_be_right() {
    let node = "id=9\nregion=\"a\"\nclient=\"h:90\"\npeer=\"h:91\"\n";
    let faults = [
        (
            "id=9",
            "id=0",
            "18: id 0 of a node: expected a whole number from 1 to 4294967295",
        ),
        (
            "id=9",
            "id=4294967296",
            "18: id 4294967296 of a node: expected a whole number from 1 to 4294967295",
        ),
        (
            "id=9",
            "id=\"x\"",
            "18: id \"x\" of a node: expected a whole number from 1 to 4294967295",
        ),
        ("id=9\n", "", "17: this node has no id; add id = 1"),
        (
            "id=9",
            "id=2",
            "18: node 2 is already on line 8; give each node its own id",
        ),
        (
            "\"a\"",
            "\"\"",
            "19: region \"\" of node 9: expected 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            "\"a\"",
            "\"a b\"",
            "19: region \"a b\" of node 9: expected 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            "\"a\"",
            "3",
            "19: region 3 of node 9: expected text in quotes, as in region = \"eu\"",
        ),
        (
            "\"a\"",
            "[3]",
            "19: region (array) of node 9: expected text in quotes, as in region = \"eu\"",
        ),
        (
            "\"h:90\"",
            "\"h\"",
            "20: client \"h\" of node 9: expected host:port, but there is no port",
        ),
        (
            "\"h:90\"",
            "\"h:0\"",
            "20: client \"h:0\" of node 9: expected host:port, with a port from 1 to 65535",
        ),
        (
            "\"h:90\"",
            "\":7\"",
            "20: client \":7\" of node 9: expected host:port, with a name or an IP address as host, IPv6 in brackets",
        ),
        (
            "\"h:90\"",
            "\"0.0.0.0:7\"",
            "20: client \"0.0.0.0:7\" of node 9: expected host:port, with a host that others can connect to, which 0.0.0.0 is not",
        ),
        (
            "\"h:90\"",
            "\"H:12\"",
            "20: client \"H:12\" of node 9: already the peer address of node 2 on line 11; each needs a port of its own",
        ),
        (
            "\"h:91\"",
            "\"h:90\"",
            "21: peer \"h:90\" of node 9: already the client address of node 9 on line 20; each needs a port of its own",
        ),
        (
            "peer=\"h:91\"\n",
            "",
            "17: node 9 has no peer; add peer = \"10.0.0.1:7379\"",
        ),
        (
            "peer=",
            "per=",
            "17: node 9 has no peer; add peer = \"10.0.0.1:7379\"\ncluster.toml line 21: per: unknown key of node 9; did you mean peer?",
        ),
        (
            "id=9",
            "id=9\nx.y=9",
            "19: x: unknown key of node 9; expected id, region, client, cluster, peer, key",
        ),
    ];
    for (good, bad, expected) in faults {
        assert!(node.contains(good), "{good}");
        let text = with_nodes(&format!("[[node]]\n{}", node.replace(good, bad)));
        assert_eq!(refusal(&text), format!("cluster.toml line {expected}"));
    }
}

#[test]
fn each_fault_of_a_group_is_told_with_its_line_and_what_would_be_right() {
    let group = "name=\"g\"\nnodes=[1,2,3]\npriority=[2]\n";
    let faults = [
        (
            "name=\"g\"\n",
            "",
            "17: this group has no name; add name = \"eu\"",
        ),
        (
            "\"g\"",
            "\"\"",
            "18: name \"\" of this group: expected 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            "[1,2,3]",
            "[]\nx=1",
            "19: nodes of group \"g\": expected 1 to 7 ids, better 1, 3 or 5, but there are 0\ncluster.toml line 20: x: unknown key of group \"g\"; expected name, nodes, priority\ncluster.toml line 21: priority of group \"g\": node 2 is not among its nodes; add it there, or leave it out here",
        ),
        (
            "[1,2,3]",
            "[1,2,\n9]",
            "20: nodes of group \"g\": there is no node 9; write a [[node]] with this id, or leave it out here",
        ),
        (
            "[1,2,3]",
            "[1,2,2]",
            "19: nodes of group \"g\": node 2 is there twice",
        ),
        (
            "[1,2,3]",
            "[1,2,\"a\"]",
            "19: nodes of group \"g\": expected the id of a node, not \"a\"",
        ),
        (
            "[1,2,3]",
            "[1, 2, -1 ]",
            "19: nodes of group \"g\": expected the id of a node, not -1",
        ),
        (
            "[1,2,3]",
            "3",
            "19: nodes 3 of group \"g\": expected a list of ids, as in [1, 2, 3]",
        ),
        (
            "nodes=[1,2,3]\n",
            "",
            "17: group \"g\" has no nodes; add nodes = [1, 2, 3]",
        ),
        (
            "nodes=",
            "node=",
            "17: group \"g\" has no nodes; add nodes = [1, 2, 3]\ncluster.toml line 19: node: unknown key of group \"g\"; did you mean nodes?",
        ),
        (
            "[2]",
            "[2,9]",
            "20: priority of group \"g\": node 9 is not among its nodes; add it there, or leave it out here",
        ),
        (
            "[2]",
            "[2,2]",
            "20: priority of group \"g\": node 2 is there twice",
        ),
        (
            "priority=[2]",
            "[[group]]\nname=\"g\"\nnodes=[1]",
            "21: group \"g\" is already on line 18; rename one",
        ),
        (
            "priority=[2]",
            "[[group]]\nname=\"root\"\nnodes=[1]",
            "21: group \"root\": only the first group may have this name, since the first is the root group; rename this one, or put it first",
        ),
    ];
    for (good, bad, expected) in faults {
        assert!(group.contains(good), "{good}");
        let text = with_nodes(&format!("[[group]]\n{}", group.replace(good, bad)));
        assert_eq!(refusal(&text), format!("cluster.toml line {expected}"));
    }
}

#[test]
fn each_fault_of_a_prefix_is_told_with_its_line_and_what_would_be_right() {
    let prefix = "prefix=\"p:\"\ngroup=\"g\"\n";
    let faults = [
        (
            "prefix=\"p:\"\n",
            "",
            "17: this prefix has no prefix; add prefix = \"eu:\"",
        ),
        (
            "\"p:\"",
            "\"\"",
            "18: a prefix of 0 bytes: expected 1 to 512",
        ),
        (
            "\"p:\"",
            "7",
            "18: prefix 7 of this prefix: expected text in quotes, as in prefix = \"eu:\"",
        ),
        (
            "group=\"g\"\n",
            "",
            "17: prefix \"p:\" has no group; add group = \"eu\"",
        ),
        (
            "\"g\"",
            "\"h\"",
            "19: group \"h\" of prefix \"p:\": there is no such group; write a [[group]] with this name",
        ),
        (
            "group=\"g\"",
            "group=\"g\"\ngrup=\"g\"",
            "20: grup: unknown key of prefix \"p:\"; did you mean group?",
        ),
        (
            "group=\"g\"",
            "group=\"g\"\n[[prefix]]\nprefix=\"p:\"\ngroup=\"g\"",
            "21: prefix \"p:\" is already on line 18; a prefix belongs to one group",
        ),
    ];
    for (good, bad, expected) in faults {
        assert!(prefix.contains(good), "{good}");
        let table = prefix.replace(good, bad);
        let rest = format!("[[prefix]]\n{table}[[group]]\nname=\"g\"\nnodes=[1]\n");
        assert_eq!(
            refusal(&with_nodes(&rest)),
            format!("cluster.toml line {expected}")
        );
    }
}

#[test]
fn the_group_of_all_nodes_can_be_named() {
    let rest = "[[prefix]]\nprefix=\"p\"\ngroup=\"root\"\n";
    let cluster = Cluster::parse(&with_nodes(rest)).unwrap();
    assert_eq!(cluster.prefixes[0].group, DEFAULT_GROUP);
    let told = refusal(&with_nodes(&rest.replace("root", "r")));
    let expected = "cluster.toml line 19: group \"r\" of prefix \"p\": there is no such group; ";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn each_fault_of_the_whole_is_told() {
    let faults = [
        (
            String::new(),
            "1: the file has no cluster; add cluster = \"shop\"\ncluster.toml line 1: there is no node; write a [[node]] table for each one, with id, region, client and peer",
        ),
        (
            with_nodes("").replace("\"c\"", "\"\""),
            "1: cluster \"\" of the file: expected 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            with_nodes("[groups]\n"),
            "17: groups: unknown key of the file; did you mean group?",
        ),
        (
            with_nodes("[group]\nname=\"g\"\n"),
            "17: group: expected tables, each under a line [[group]]",
        ),
        (
            "cluster=\"c\"\n[node]\nid=1\n[[group]]\nname=\"g\"\nnodes=[1]".to_owned(),
            "2: node: expected tables, each under a line [[node]]",
        ),
        (
            "node = []\ncluster = \"c\"".to_owned(),
            "1: there is no node; write a [[node]] table for each one, with id, region, client and peer",
        ),
    ];
    for (text, expected) in faults {
        assert_eq!(refusal(&text), format!("cluster.toml line {expected}"));
    }
}

#[test]
fn eight_nodes_need_groups() {
    let mut text = "cluster=\"c\"\n".to_owned();
    for id in 1..9 {
        text += &format!("[[node]]\nid={id}\nregion=\"a\"\nclient=\"h:{id}\"\npeer=\"i:{id}\"\n");
    }
    let expected = "cluster.toml line 1: 8 nodes are too many for one group; write [[group]] \
                    tables of at most 7 nodes each";
    assert_eq!(refusal(&text), expected);
    text += "[[group]]\nname=\"g\"\nnodes=[1,2,3,4,5,6,7]\n";
    Cluster::parse(&text).unwrap();
}

#[test]
fn several_faults_are_told_at_once_from_top_to_bottom() {
    let text = "cluster = \"c\"\n\n[[node]]\nid = 1\nregin = \"a\"\nclient = \"h\"\n\
                peer = \"h:2\"\n\n[[node]]\nid = 0\nregion = \"a\"\nclient = \"h:2\"\n\
                peer = \"h:3\"\n\n[[group]]\nname = \"g\"\nnodes = [1, 2]\npriority = [3]\n";
    let expected = "\
cluster.toml line 3: node 1 has no region; add region = \"eu\"
cluster.toml line 5: regin: unknown key of node 1; did you mean region?
cluster.toml line 6: client \"h\" of node 1: expected host:port, but there is no port
cluster.toml line 10: id 0 of a node: expected a whole number from 1 to 4294967295
cluster.toml line 12: client \"h:2\" of this node: already the peer address of node 1 on line 7; \
each needs a port of its own
cluster.toml line 18: priority of group \"g\": node 3 is not among its nodes; add it there, or \
leave it out here";
    assert_eq!(refusal(text), expected);
}

#[test]
fn text_that_is_no_toml_is_one_line_with_its_number() {
    for text in [
        "cluster = \"a\"\ncluster = \"b\"\n",
        "a = 1\n[[node]\n",
        "a = 1\n= 3\n",
    ] {
        let told = refusal(text);
        assert!(told.starts_with("cluster.toml line 2: "), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn a_file_is_named_as_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let told = Cluster::load(&path).unwrap_err().to_string();
    let expected = format!(
        "--cluster {:?}: cannot read it: ",
        path.display().to_string()
    );
    assert!(told.starts_with(&expected), "{told}");
    std::fs::write(&path, "node = 1").unwrap();
    let told = Cluster::load(&path).unwrap_err().to_string();
    assert!(
        told.starts_with(&format!("{} line 1: ", path.display())),
        "{told}"
    );
    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(Cluster::load(&path).unwrap(), Cluster::parse(GOOD).unwrap());
}
