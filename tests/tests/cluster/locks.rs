//! Locks with fencing tokens, while holders stall and vanish, and leaders with them.
//!
//! A lock that expires cannot keep a holder that stalls from going on after its time. What does is
//! a resource that refuses tokens lower than one it has seen. So tokens must grow from holder to
//! holder, whatever fails in between; that is what is looked at here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_tests::client::{Address, Client, Value};
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::server::{DEADLINE, POLL};

use super::leader_and_others;

/// How long a lock is held at most, in milliseconds.
const LEASE_MS: u64 = 150;

/// A holder that stalls does so for longer than it holds the lock.
const STALL: Duration = Duration::from_millis(2 * LEASE_MS);

/// Nodes that do not answer by then are not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

const HOLDERS: u64 = 6;

/// Locks taken between two failures.
const A_FEW: usize = 12;

/// What the lock is for.
#[derive(Default)]
struct Resource {
    highest: u64,
    /// Who wrote, with which token.
    writes: Vec<(u64, u64)>,
    refused: usize,
}

impl Resource {
    fn write(&mut self, token: u64, holder: u64) -> bool {
        if token < self.highest {
            self.refused += 1;
            return false;
        }
        self.highest = token;
        self.writes.push((token, holder));
        true
    }
}

/// A lock that was taken.
struct Grant {
    asked: Instant,
    answered: Instant,
    token: u64,
    holder: u64,
}

#[derive(Default)]
struct Ground {
    resource: Mutex<Resource>,
    grants: Mutex<Vec<Grant>>,
    is_over: AtomicBool,
}

impl Ground {
    /// Takes the lock again and again, and does with it what holders do.
    fn hold(&self, holder: u64, nodes: &[Address]) {
        let mut rng = fastrand::Rng::with_seed(holder);
        let mut client: Option<Client> = None;
        let mut turn = 0;
        while !self.is_over.load(Ordering::Acquire) {
            let Some(connected) = &mut client else {
                client = Client::connect(&nodes[rng.usize(..nodes.len())]).ok();
                if let Some(client) = &mut client {
                    client.set_timeout(PATIENCE).unwrap();
                }
                thread::sleep(POLL);
                continue;
            };
            turn += 1;
            // Another name each time: who does not hear whether it got the lock has not got it.
            let name = format!("{holder}:{turn}");
            let asked = Instant::now();
            let lease = LEASE_MS.to_string();
            match connected.call(["SET", "lock", &name, "NX", "PX", &lease, "FENCE"]) {
                Ok(Value::Integer(token)) => {
                    let token = u64::try_from(token).unwrap();
                    let grant = Grant {
                        asked,
                        answered: Instant::now(),
                        token,
                        holder,
                    };
                    self.grants.lock().unwrap().push(grant);
                    self.work(&mut rng, holder, token);
                    // Some vanish without giving it back.
                    if rng.u8(..4) > 0 && connected.call(["DELIFEQ", "lock", &name]).is_err() {
                        client = None;
                    }
                }
                Ok(Value::Null) => thread::sleep(POLL),
                Ok(Value::Error(_)) | Err(_) => client = None,
                Ok(other) => panic!("SET was answered {other:?}"),
            }
        }
    }

    fn work(&self, rng: &mut fastrand::Rng, holder: u64, token: u64) {
        for _ in 0..3 {
            if rng.u8(..8) == 0 {
                thread::sleep(STALL);
            }
            if !self.resource.lock().unwrap().write(token, holder) {
                return;
            }
            thread::sleep(POLL);
        }
    }

    fn wait_for_grants(&self) {
        let taken = || self.grants.lock().unwrap().len();
        let (before, start) = (taken(), Instant::now());
        while taken() < before + A_FEW {
            assert!(start.elapsed() < DEADLINE, "nobody gets the lock any more");
            thread::sleep(POLL);
        }
    }

    fn check(&self) {
        let grants = self.grants.lock().unwrap();
        for one in grants.iter() {
            for other in grants.iter() {
                // Whoever asked after another one was answered came after it.
                if one.answered < other.asked {
                    assert!(
                        one.token < other.token,
                        "{} then {}",
                        one.token,
                        other.token
                    );
                }
            }
        }
        let mut tokens: Vec<u64> = grants.iter().map(|grant| grant.token).collect();
        tokens.sort_unstable();
        assert!(tokens.is_sorted_by(|one, next| one < next), "a token twice");
        let resource = self.resource.lock().unwrap();
        assert!(resource.writes.is_sorted_by_key(|write| write.0));
        for (token, holder) in &resource.writes {
            let grant = grants.iter().find(|grant| grant.token == *token);
            assert_eq!(grant.map(|grant| grant.holder), Some(*holder));
        }
        println!(
            "{} locks taken, {} writes, {} late writes refused",
            grants.len(),
            resource.writes.len(),
            resource.refused
        );
        assert!(resource.refused > 0, "no holder was late");
    }
}

#[test]
fn fencing_tokens_keep_holders_apart_while_they_stall_and_leaders_die() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let nodes: Vec<Address> = cluster
        .nodes()
        .map(|node| Address::Tcp(cluster.address(node)))
        .collect();
    let ground = Ground::default();
    thread::scope(|scope| {
        for holder in 0..HOLDERS {
            let (ground, nodes) = (&ground, &nodes);
            scope.spawn(move || ground.hold(holder, nodes));
        }
        // Nodes die with the thread that started them, so this one starts them again.
        for _ in 0..2 {
            ground.wait_for_grants();
            let (leader, _) = leader_and_others(&cluster);
            cluster.kill(leader).unwrap();
            ground.wait_for_grants();
            cluster.restart(leader).unwrap();
            ground.wait_for_grants();
            let (leader, _) = leader_and_others(&cluster);
            cluster.stop(leader).unwrap();
            ground.wait_for_grants();
            cluster.cont(leader).unwrap();
        }
        ground.wait_for_grants();
        ground.is_over.store(true, Ordering::Release);
    });
    ground.check();
    cluster.wait_for_agreement().unwrap();
}
