//! Nodes that must not start, and what they say.

use std::fs;
use std::path::Path;

use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::server::{Directory, Launch, directory};

use super::expect;

/// The exit code for what is wrong on the command line or in the cluster's file.
const CONFIGURATION: i32 = 2;
/// The exit code for a data directory that cannot be used.
const DATA: i32 = 1;

/// Starts a node that must end with this code, and with all of these words.
#[track_caller]
fn refused(launch: &Launch, code: i32, words: &[&str]) {
    let mut server = launch.spawn().unwrap();
    let ended = server.wait_for_end().unwrap();
    let output = server.output();
    assert_eq!(ended, code, "{output}");
    for word in words {
        assert!(output.contains(word), "{word:?} is not in: {output}");
    }
}

fn node(directory: &Directory, file: &Path, node: u32) -> Launch {
    let nowhere = "127.0.0.1:0".parse().unwrap();
    Launch::member_in(directory, file, node, nowhere)
}

#[test]
fn a_data_directory_serves_only_the_node_and_the_cluster_that_it_was_made_for() {
    let mut cluster = Cluster::start(&Options {
        group: vec![1],
        ..Options::direct(2)
    })
    .unwrap();
    expect(&cluster, 1, "SET x 1", &Value::ok());
    let data = cluster.launch(1).data_path().to_owned();
    let holder = directory().unwrap();
    refused(cluster.launch(1), DATA, &["is in use by process"]);
    cluster.kill(1).unwrap();
    cluster.kill(2).unwrap();
    let shown = data.display().to_string();

    let second = cluster.launch(2).clone().data(&data);
    refused(&second, DATA, &[&shown, "node 1", "node 2"]);

    let file = holder.path().join("cluster.toml");
    let text = fs::read_to_string(data.parent().unwrap().join("cluster.toml")).unwrap();
    let other = text.replace("cluster = \"test\"", "cluster = \"other\"");
    assert_ne!(text, other);
    fs::write(&file, other).unwrap();
    refused(
        &node(&holder, &file, 1).data(&data),
        DATA,
        &[&shown, "cluster"],
    );

    let alone = Launch::bailiwick_in(&holder).data(&data);
    refused(&alone, DATA, &[&shown, "node 1 of cluster"]);

    // Refusals have changed nothing.
    cluster.restart(1).unwrap();
    expect(&cluster, 1, "GET x", &Value::bytes("1"));

    let single = directory().unwrap();
    let mut server = Launch::bailiwick_in(&single).start().unwrap();
    server.kill().unwrap();
    let data = single.path().join("data");
    let joining = cluster.launch(2).clone().data(&data);
    refused(&joining, DATA, &[&data.display().to_string(), "node 2"]);
}

#[test]
fn a_faulty_cluster_file_is_refused_with_all_that_is_wrong_in_it() {
    let directory = directory().unwrap();
    let file = directory.path().join("cluster.toml");
    let name = file.display().to_string();
    refused(
        &node(&directory, &file, 1),
        CONFIGURATION,
        &[&name, "cannot read"],
    );
    let text = "cluster = \"test\"\n\
                [[node]]\nid = 1\nregion = \"here\"\nclient = \"127.0.0.1:1\"\npeer = \"nonsense\"\n\
                [[node]]\nid = 1\nregion = \"here\"\nclient = \"127.0.0.1:3\"\npeer = \"127.0.0.1:4\"\n\
                [[group]]\nname = \"root\"\nnodes = [1, 7]\ncolour = \"red\"\n";
    fs::write(&file, text).unwrap();
    let words = [
        "line 6:", "nonsense", "line 8:", "line 14:", "line 15:", "colour",
    ];
    refused(&node(&directory, &file, 1), CONFIGURATION, &words);
    fs::write(&file, "cluster = \n").unwrap();
    refused(&node(&directory, &file, 1), CONFIGURATION, &["line 1:"]);
    assert!(!directory.path().join("data").exists(), "nothing was begun");
}

#[test]
fn flags_that_contradict_the_cluster_file_are_refused() {
    let directory = directory().unwrap();
    let file = directory.path().join("cluster.toml");
    let text = "cluster = \"test\"\n[[node]]\nid = 1\nregion = \"here\"\n\
                client = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n";
    fs::write(&file, text).unwrap();
    refused(
        &node(&directory, &file, 2),
        CONFIGURATION,
        &["--node", "node of", "1"],
    );
    let port = node(&directory, &file, 1).args(["--port", "7000"]);
    refused(&port, CONFIGURATION, &["--port", "127.0.0.1:1"]);
    let alone = Launch::bailiwick_in(&directory).args(["--node", "1"]);
    refused(&alone, CONFIGURATION, &["--node: needs --cluster"]);
}
