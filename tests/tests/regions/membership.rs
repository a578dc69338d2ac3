//! What nodes know of each other without being told by a client: who is there, where, and who
//! leads.

use anyhow::{Context, Result, ensure};
use bailiwick_frame::Protocol;
use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::cluster::field;
use bailiwick_tests::regions::{Layout, World, in_map};

use super::expect_on;

/// Two regions of three nodes, so that each group has followers and each region a node that is in
/// no group but its region's.
fn two_regions() -> Layout {
    let regions = ["eu", "us"].map(str::to_owned).to_vec();
    Layout {
        regions,
        ..Layout::three(3)
    }
}

/// What `CLUSTER MEMBERS` on one node says of another.
fn told(client: &mut Client, of: u32) -> Result<Value> {
    let answer = client.run("CLUSTER MEMBERS")?;
    let is_it = |row: &&Value| in_map(row, "node") == Some(&Value::Integer(of.into()));
    let row = answer.list().iter().find(is_it);
    row.cloned()
        .with_context(|| format!("node {of} is not in {answer:?}"))
}

fn text(row: &Value, name: &str) -> String {
    in_map(row, name).map(Value::text).unwrap_or_default()
}

fn names(row: &Value, name: &str) -> Vec<String> {
    let list = in_map(row, name).map(Value::list).unwrap_or_default();
    list.iter().map(Value::text).collect()
}

/// A field of a command's lines.
fn line(client: &mut Client, command: &str, name: &str) -> Result<String> {
    let answer = client.run(command)?.text();
    let found = field(&answer, name).map(str::to_owned);
    found.with_context(|| format!("{command} has no {name}: {answer}"))
}

#[test]
fn every_node_tells_of_all_nodes_what_they_say_of_themselves() {
    let mut layout = Layout::three(1).owning("{us}", "us");
    (layout.redirects, layout.redirects_by_flag) = (true, true);
    let world = World::start(&layout).unwrap();
    for (at, protocol) in world
        .cluster
        .nodes()
        .zip([Protocol::Resp2, Protocol::Resp3].repeat(2))
    {
        let mut client = world.cluster.connect(at).unwrap();
        client.hello(protocol).unwrap();
        for (of, region) in world.cluster.nodes().zip(["eu", "us", "ap"]) {
            let what = format!("node {at} does not tell of node {of}");
            let told = |client: &mut Client| {
                let row = told(client, of)?;
                ensure!(text(&row, "state") == "alive", "{row:?}");
                ensure!(text(&row, "region") == region, "{row:?}");
                let client = world.cluster.address(of).to_string();
                ensure!(text(&row, "client") == client, "{row:?}");
                let redirecting = world.cluster.redirecting_address(of).to_string();
                ensure!(text(&row, "cluster") == redirecting, "{row:?}");
                ensure!(names(&row, "leads").contains(&region.to_owned()), "{row:?}");
                let groups = [names(&row, "leads"), names(&row, "follows")].concat();
                ensure!(groups.contains(&"root".to_owned()), "{row:?}");
                ensure!(text(&row, "directory") == "same", "{row:?}");
                ensure!(text(&row, "key").len() == 64, "{row:?}");
                Ok(())
            };
            world.wait_for(&what, || told(&mut client)).unwrap();
        }
    }
    // A port that only a flag gives is where cluster clients are sent.
    let home = world.cluster.redirecting_address(world.node_in("us"));
    let elsewhere = world.cluster.redirecting_address(world.node_in("ap"));
    let elsewhere = bailiwick_tests::client::Address::Tcp(elsewhere);
    let mut client = Client::connect(&elsewhere).unwrap();
    match client.run("GET {us}key").unwrap() {
        Value::Error(text) => assert!(
            text.starts_with("MOVED ") && text.ends_with(&home.to_string()),
            "{text}"
        ),
        other => panic!("GET was answered {other:?}"),
    }
    let slots = format!("{:?}", client.run("CLUSTER SLOTS").unwrap());
    assert!(slots.contains(&home.port().to_string()), "{slots}");
    let help = format!("{:?}", client.run("CLUSTER HELP").unwrap());
    assert!(help.contains("MEMBERS"), "{help}");
}

#[test]
fn a_node_that_is_gone_is_suspected_and_comes_back_in_another_life() {
    let mut world = World::start(&Layout::three(1)).unwrap();
    let gone = world.node_in("ap");
    let row = |world: &World| told(&mut world.connect("eu")?, gone);
    let is_in = |world: &World, states: &[&str]| {
        world.wait_for(&format!("node {gone} is not {states:?}"), || {
            let row = row(world)?;
            ensure!(states.contains(&&*text(&row, "state")), "{row:?}");
            Ok(())
        })
    };
    is_in(&world, &["alive"]).unwrap();
    let incarnation = |row: &Value| in_map(row, "incarnation").and_then(Value::as_integer);
    let before = incarnation(&row(&world).unwrap()).unwrap();
    world.cluster.kill(gone).unwrap();
    is_in(&world, &["suspect", "dead"]).unwrap();
    let suspected = row(&world).unwrap();
    let level: f64 = text(&suspected, "suspicion").parse().unwrap();
    // It is shown with few digits.
    assert!(level >= 8.0, "{suspected:?}");
    world.cluster.restart(gone).unwrap();
    is_in(&world, &["alive"]).unwrap();
    let after = incarnation(&row(&world).unwrap()).unwrap();
    assert!(after > before, "{after} after {before}");
}

#[test]
fn a_new_leader_of_a_foreign_group_is_known_where_nobody_has_asked_for_it() {
    let world = World::start(&two_regions()).unwrap();
    // It is in no group but its own.
    let observer = world.nodes_of("eu")[1];
    for _ in 0..2 {
        let leader = world.wait_for_leader("us").unwrap();
        let mut members = world.nodes_of("us").into_iter();
        let next = members.rfind(|node| *node != leader).unwrap();
        let mut home = world.connect("us").unwrap();
        expect_on(
            &mut home,
            &format!("GROUP TRANSFER us {next}"),
            &Value::ok(),
        );
        world
            .wait_for("the new leader is not known", || {
                let leader = world.wait_for_leader("us")?;
                let mut client = world.cluster.connect(observer)?;
                let answer = client.run("ROUTE EXPLAIN us:key")?;
                let told = in_map(&answer, "leader").and_then(Value::as_integer);
                ensure!(told == Some(leader.into()), "{leader} leads: {answer:?}");
                let row = self::told(&mut client, leader)?;
                ensure!(names(&row, "leads").contains(&"us".to_owned()), "{row:?}");
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn records_whose_author_has_left_its_group_are_signed_anew() {
    let world = World::start(&two_regions()).unwrap();
    let mut client = world.connect("us").unwrap();
    // The leader of eu signs that, and leaves.
    expect_on(&mut client, "PREFIX CREATE eu:deep: GROUP us", &Value::ok());
    world.wait_for_owner("eu:deep:", "us").unwrap();
    let epoch = line(&mut client, "CLUSTER INFO", "cluster_current_epoch").unwrap();
    let author = world.wait_for_leader("eu").unwrap();
    let mut members = world.nodes_of("eu").into_iter();
    let other = members.rfind(|node| *node != author).unwrap();
    let mut other = world.cluster.connect(other).unwrap();
    expect_on(
        &mut other,
        &format!("GROUP REMOVE eu {author}"),
        &Value::ok(),
    );
    for node in world.cluster.nodes() {
        let what = format!("node {node} has records whose author is gone");
        let mut client = world.cluster.connect(node).unwrap();
        let mut look = || {
            let now = line(&mut client, "CLUSTER INFO", "cluster_current_epoch")?;
            ensure!(now != epoch, "node {node} does not know the new members");
            let left = line(&mut client, "INFO cluster", "directory_records_orphaned")?;
            ensure!(left == "0", "{left} orphans");
            Ok(())
        };
        world.wait_for(&what, &mut look).unwrap();
    }
    let roots: Vec<String> = world
        .cluster
        .nodes()
        .map(|node| {
            let mut client = world.cluster.connect(node).unwrap();
            line(&mut client, "INFO cluster", "directory_records_refused").unwrap()
        })
        .collect();
    assert!(roots.iter().all(|refused| refused == "0"), "{roots:?}");
}

#[test]
fn the_only_member_of_a_group_has_a_lease_without_end() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut client = world.connect("eu").unwrap();
    let left = line(&mut client, "GROUP INFO eu", "lease_left_ms").unwrap();
    assert_eq!(left, "-1");
}
