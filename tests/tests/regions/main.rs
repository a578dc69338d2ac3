//! Regions, real processes, and the distance between them: any node answers for any key, a region
//! needs nobody else for its own keys, and keys move without anybody noticing more than a wait.
//!
//! `serving` is about commands on keys that live elsewhere, `listings` about commands on all keys,
//! `prefixes` about who owns what, `cut` about regions that are cut off, `moves` about moving under
//! load while leaders die, `membership` about what nodes know of each other, `clients` about client
//! libraries, `locks` about tokens of locks that move, `blocking` about clients that wait for keys,
//! `pubsub` about messages between clients, `caching` about copies that clients keep.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

mod blocking;
mod caching;
mod clients;
mod cut;
mod listings;
mod locks;
mod membership;
mod moves;
mod prefixes;
mod pubsub;
mod serving;

use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::regions::World;

/// Runs a command through a region's first node and wants this answer.
#[track_caller]
fn expect(world: &World, region: &str, line: &str, wanted: &Value) {
    expect_on(&mut world.connect(region).unwrap(), line, wanted);
}

/// The same on a connection.
#[track_caller]
fn expect_on(client: &mut Client, line: &str, wanted: &Value) {
    let answer = client.run(line);
    let answer = answer.unwrap_or_else(|error| panic!("{line}: {error:#}"));
    assert_eq!(answer, *wanted, "{line}");
}

/// Runs a command through a region's first node and wants this error, by its first word.
#[track_caller]
fn expect_error(world: &World, region: &str, line: &str, code: &str) -> String {
    match world.connect(region).unwrap().run(line).unwrap() {
        Value::Error(text) if text.split(' ').next() == Some(code) => text,
        other => panic!("{line} in {region} was answered {other:?}, and not with {code}"),
    }
}

/// All keys that a scan of this kind finds, each as often as it comes.
#[track_caller]
fn scan(client: &mut Client, options: &str) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let line = format!("SCAN {cursor}{options}");
        let answer = client.run(&line).unwrap();
        let [next, keys] = answer.list() else {
            panic!("{line}: {answer:?}");
        };
        found.extend(keys.list().iter().map(Value::text));
        cursor = next.text();
        if cursor == "0" {
            return found;
        }
    }
}
