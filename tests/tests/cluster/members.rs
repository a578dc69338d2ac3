//! Who belongs to the group, who leads it, and how those catch up that are behind.

use std::time::Instant;

use bailiwick_tests::client::{Value, request};
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::counting::Counting;
use bailiwick_tests::server::{DEADLINE, wait_until};

use super::{connect, expect, expect_error, leader_and_others};

const A_FEW: u64 = 20;

#[test]
fn a_follower_that_was_down_for_longer_than_the_log_reaches_back_gets_a_checkpoint() {
    let options = Options::direct(3).with("--checkpoint-log-size", "1mb");
    let mut cluster = Cluster::start(&options).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let (victim, other) = (others[0], others[1]);
    expect(&cluster, victim, "SET before 1", &Value::ok());
    cluster.kill(victim).unwrap();
    let load = Counting::start(&cluster, "meanwhile", [leader, other], 2).unwrap();
    let mut client = connect(&cluster, leader);
    let value = vec![b'v'; 20_000];
    let trimmed = |node| cluster.group_info::<u64>(node, "trimmed").unwrap();
    let mut written = 0;
    let start = Instant::now();
    while trimmed(leader) < 100 || trimmed(other) < 100 {
        assert!(start.elapsed() < DEADLINE, "the log is not trimmed");
        let key = format!("value:{}", written % 300);
        let words = [b"SET".as_slice(), key.as_bytes(), &value];
        assert_eq!(client.call(words).unwrap(), Value::ok());
        written += 1;
    }
    println!(
        "{written} values written, log trimmed to {}",
        trimmed(leader)
    );
    cluster.restart(victim).unwrap();
    cluster
        .wait_for_output(victim, "checkpoint taken over")
        .unwrap();
    load.wait_for(A_FEW).unwrap();
    expect(&cluster, victim, "GET before", &Value::bytes("1"));
    load.stop_and_check(&cluster).unwrap();
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn an_emptied_data_directory_is_let_in_by_replace_only_and_then_counts() {
    let options = Options::direct(3).with("--request-timeout", "3000");
    let mut cluster = Cluster::start(&options).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let (victim, other) = (others[0], others[1]);
    let load = Counting::start(&cluster, "replace", [leader, other], 2).unwrap();
    expect(&cluster, victim, "SET before 1", &Value::ok());
    cluster.kill(victim).unwrap();
    cluster.wipe(victim).unwrap();
    cluster.spawn(victim).unwrap();
    let advice = format!("GROUP REPLACE <group> {victim}");
    cluster.wait_for_output(victim, &advice).unwrap();
    load.wait_for(A_FEW).unwrap();
    // It may have caught up, which makes it no member: what it answers it has asked a member for.
    match connect(&cluster, victim).run("GET before").unwrap() {
        Value::Error(text) if text.starts_with("LOADING") => {}
        value => assert_eq!(value, Value::bytes("1")),
    }
    let text = expect_error(&cluster, other, &format!("GROUP ADD root {victim}"), "ERR");
    assert!(text.contains("GROUP REPLACE"), "{text}");
    expect(
        &cluster,
        other,
        &format!("GROUP REPLACE root {victim}"),
        &Value::ok(),
    );
    cluster.wait_until_ready(victim).unwrap();
    expect(&cluster, victim, "GET before", &Value::bytes("1"));
    load.wait_for(A_FEW).unwrap();
    load.stop_and_check(&cluster).unwrap();
    cluster.wait_for_agreement().unwrap();
    // Its vote is needed from here on.
    cluster.kill(leader).unwrap();
    expect(&cluster, victim, "SET after 1", &Value::ok());
    expect(&cluster, other, "GET after", &Value::bytes("1"));
    // It stays a member across starts.
    cluster.kill(victim).unwrap();
    cluster.restart(victim).unwrap();
    expect(&cluster, victim, "GET after", &Value::bytes("1"));
    cluster.restart(leader).unwrap();
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_group_grows_from_one_node_to_three_and_shrinks_back_without_a_failed_command() {
    let mut cluster = Cluster::start(&Options {
        group: vec![1],
        ..Options::direct(3)
    })
    .unwrap();
    let load = Counting::start(&cluster, "grow", [1], 3).unwrap();
    for node in [2, 3] {
        load.wait_for(A_FEW).unwrap();
        // It is no member, and passes on what it is asked.
        expect(&cluster, node, "GET x", &Value::Null);
        expect(&cluster, 1, &format!("GROUP ADD root {node}"), &Value::ok());
        cluster.wait_until_ready(node).unwrap();
        cluster.set_in_group(node, true);
        // Asking for what is there already is no error.
        expect(
            &cluster,
            node,
            &format!("GROUP ADD root {node}"),
            &Value::ok(),
        );
    }
    let of_the_others = Counting::start(&cluster, "grown", [2], 2).unwrap();
    of_the_others.wait_for(A_FEW).unwrap();
    expect(&cluster, 2, "SET from 2", &Value::ok());
    expect(&cluster, 3, "GET from", &Value::bytes("2"));
    // The order goes to any member, also to one that is to go.
    for (node, by) in [(3, 3), (2, 1)] {
        load.wait_for(A_FEW).unwrap();
        expect(
            &cluster,
            by,
            &format!("GROUP REMOVE root {node}"),
            &Value::ok(),
        );
        cluster.set_in_group(node, false);
        if node == 3 {
            cluster.kill(3).unwrap();
        }
        // The clients of a node that goes are served by the others from here on.
        load.wait_for(A_FEW).unwrap();
        of_the_others.wait_for(A_FEW).unwrap();
    }
    let longest = of_the_others.stop_and_check(&cluster).unwrap();
    println!("longest wait of a client of a node that was removed {longest:?}");
    load.stop_and_check(&cluster).unwrap();
    let text = expect_error(&cluster, 1, "GROUP REMOVE root 1", "ERR");
    assert!(text.contains("last member"), "{text}");
    // It needs nobody any more.
    cluster.kill(2).unwrap();
    expect(&cluster, 1, "SET alone 1", &Value::ok());
    cluster.kill(1).unwrap();
    cluster.restart(1).unwrap();
    expect(&cluster, 1, "GET alone", &Value::bytes("1"));
}

#[test]
fn a_leader_is_removed_and_added_again_without_a_failed_command_of_the_others() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let load = Counting::start(&cluster, "remove", others.clone(), 2).unwrap();
    load.wait_for(A_FEW).unwrap();
    expect(
        &cluster,
        others[0],
        &format!("GROUP REMOVE root {leader}"),
        &Value::ok(),
    );
    cluster.set_in_group(leader, false);
    load.wait_for(A_FEW).unwrap();
    cluster.wait_for_leader().unwrap();
    expect(
        &cluster,
        others[1],
        &format!("GROUP ADD root {leader}"),
        &Value::ok(),
    );
    cluster.set_in_group(leader, true);
    load.wait_for(A_FEW).unwrap();
    load.stop_and_check(&cluster).unwrap();
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn nodes_leave_and_come_back_while_their_own_clients_work_without_a_failed_command() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let load = Counting::start(&cluster, "seats", cluster.nodes(), 4).unwrap();
    let mut waits = Vec::new();
    for node in [1, 2, 3] {
        let mut waiting = connect(&cluster, node);
        let words = ["BLPOP".to_owned(), format!("wanted:{node}"), "0".to_owned()];
        waiting.send(&request(words)).unwrap();
        waits.push(waiting);
    }
    for round in 0..6_u32 {
        let (node, by) = (1 + round % 3, 1 + (round + 1) % 3);
        load.wait_for(A_FEW).unwrap();
        let order = format!("GROUP REMOVE root {node}");
        expect(&cluster, by, &order, &Value::ok());
        cluster.set_in_group(node, false);
        load.wait_for(A_FEW).unwrap();
        let order = format!("GROUP ADD root {node}");
        expect(&cluster, by, &order, &Value::ok());
        cluster.set_in_group(node, true);
    }
    for (node, waiting) in (1..).zip(&mut waits) {
        let key = format!("wanted:{node}");
        expect(&cluster, 1, &format!("RPUSH {key} x"), &Value::Integer(1));
        let served = waiting.read().unwrap();
        assert_eq!(served.list(), [Value::bytes(key), Value::bytes("x")]);
    }
    let longest = load.stop_and_check(&cluster).unwrap();
    println!("longest wait {longest:?}");
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn leadership_is_transferred_to_each_member_without_a_failed_command() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let load = Counting::start(&cluster, "transfer", cluster.nodes(), 2).unwrap();
    for (round, node) in [2, 3, 1, 3, 2, 1].into_iter().enumerate() {
        load.wait_for(A_FEW).unwrap();
        let by = 1 + round as u32 % 3;
        expect(
            &cluster,
            by,
            &format!("GROUP TRANSFER root {node}"),
            &Value::ok(),
        );
        let leads = || cluster.group_info::<u32>(node, "leader") == Some(node);
        wait_until("the node leads", leads).unwrap();
    }
    load.wait_for(A_FEW).unwrap();
    let longest = load.stop_and_check(&cluster).unwrap();
    println!("longest wait {longest:?}");
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn changes_that_make_no_sense_are_refused_with_a_reason() {
    let cluster = Cluster::start(&Options {
        group: vec![1],
        ..Options::direct(2)
    })
    .unwrap();
    for line in [
        "GROUP ADD root 9",
        "GROUP ADD nosuch 2",
        "GROUP REPLACE root 2",
        "GROUP REMOVE root 1",
        "GROUP TRANSFER root 2",
        "GROUP TRANSFER root x",
    ] {
        let text = expect_error(&cluster, 1, line, "ERR");
        println!("{line}: {text}");
    }
    expect(&cluster, 1, "SET x 1", &Value::ok());
}
