//! Client libraries against plain and cluster ports, with prefixes that are hash tags and ones that
//! are not: no client sees an error, and no cluster client a redirect that its slot map did not
//! foretell.
//!
//! redis-py and the libraries of Node.js are driven by scripts in `clients/`; redis-rs is a library
//! of ours.

use std::path::Path;
use std::process::Command;

use bailiwick_tests::libraries::{self, SCRIPTS, run};
use bailiwick_tests::regions::{Layout, World};
use redis::cluster::ClusterClient;
use redis::{Commands, RedisResult};

/// Where libraries are installed.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

const KINDS: [&str; 2] = ["plain", "cluster"];

fn start() -> World {
    let mut layout = Layout::three(1)
        .owning("{eu}", "eu")
        .owning("{us}", "us")
        .owning("{ap}", "ap");
    layout.redirects = true;
    World::start(&layout).unwrap()
}

/// The ports of all nodes for clients of a kind.
fn ports(world: &World, kind: &str) -> Vec<String> {
    let port = |node| match kind {
        "plain" => world.cluster.address(node).port(),
        _ => world.cluster.redirecting_address(node).port(),
    };
    let ports = world.cluster.nodes().map(port);
    ports.map(|port| port.to_string()).collect()
}

#[test]
fn redis_py_is_at_home_everywhere() {
    let python = libraries::python(Path::new(INSTALLED)).unwrap();
    let world = start();
    for kind in KINDS {
        for protocol in ["2", "3"] {
            let mut command = Command::new(&python);
            command.arg("-B").arg(format!("{SCRIPTS}/regions_py.py"));
            command.args([kind, protocol]).args(ports(&world, kind));
            run(&mut command).unwrap();
        }
    }
}

#[test]
fn ioredis_and_node_redis_are_at_home_everywhere() {
    let directory = libraries::node(Path::new(INSTALLED)).unwrap();
    let world = start();
    for library in ["ioredis", "node-redis"] {
        for kind in KINDS {
            let mut command = Command::new("node");
            command
                .current_dir(&directory)
                .arg(format!("{SCRIPTS}/regions.mjs"));
            command.args([library, kind]).args(ports(&world, kind));
            run(&mut command).unwrap();
        }
    }
}

#[test]
fn redis_rs_is_at_home_everywhere() {
    let world = start();
    for port in ports(&world, "plain") {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
        use_keys(&mut client.get_connection().unwrap()).unwrap();
    }
    for port in ports(&world, "cluster") {
        let nodes = vec![format!("redis://127.0.0.1:{port}/")];
        // An error is not tried again behind our back.
        let client = ClusterClient::builder(nodes).retries(0).build().unwrap();
        use_keys(&mut client.get_connection().unwrap()).unwrap();
    }
}

fn use_keys(connection: &mut impl Commands) -> RedisResult<()> {
    for prefix in ["{eu}:", "{us}:", "{ap}:", "eu:", "us:", "ap:", "nowhere:"] {
        let (text, number) = (format!("{prefix}k"), format!("{prefix}n"));
        let _: () = connection.set(&text, "v")?;
        let _: i64 = connection.del(&number)?;
        for n in 1..=20_i64 {
            let counted: i64 = connection.incr(&number, 1)?;
            assert_eq!(counted, n);
        }
        let found: Option<String> = connection.get(&text)?;
        assert_eq!(found.as_deref(), Some("v"));
    }
    Ok(())
}
