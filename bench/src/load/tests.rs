//! The generator against a few lines of server that answers as it is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::requests::{KeyOrder, Mix};

fn spec(address: SocketAddr, clients: usize, pipeline: u64, mix: Mix) -> LoadSpec {
    let shape = Shape {
        mix,
        order: KeyOrder::Random,
        keys: 1000,
        key_bytes: 16,
        value_bytes: 64,
        seed: 1,
    };
    LoadSpec {
        address,
        clients,
        pipeline,
        rate: None,
        shape,
    }
}

/// Serves `clients` connections until they close; each request, known by its `*`, gets `reply`.
fn serve(clients: usize, reply: &'static [u8]) -> (SocketAddr, thread::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let workers: Vec<_> = (0..clients)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    let mut requests = 0;
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        let heads = buffer[..length]
                            .iter()
                            .filter(|byte| **byte == b'*')
                            .count();
                        requests += heads as u64;
                        if stream.write_all(&reply.repeat(heads)).is_err() {
                            break;
                        }
                    }
                    requests
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    (address, server)
}

#[test]
fn every_request_asked_for_is_sent_and_answered() {
    for (clients, pipeline, requests) in [(1, 1, 10), (3, 16, 1001), (8, 64, 5000)] {
        let (address, server) = serve(clients, b"+OK\r\n");
        let mut generator =
            Generator::connect(spec(address, clients, pipeline, Mix::Mixed)).unwrap();
        let outcome = generator.run(&Stop::Requests(requests)).unwrap();
        drop(generator);
        assert_eq!(outcome.operations, requests);
        assert_eq!(server.join().unwrap(), requests);
        assert_eq!(outcome.latency.len(), requests.div_ceil(pipeline));
    }
}

#[test]
fn misses_are_counted_per_run() {
    let (address, server) = serve(2, b"$-1\r\n");
    let mut generator = Generator::connect(spec(address, 2, 4, Mix::Get)).unwrap();
    assert_eq!(generator.run(&Stop::Requests(100)).unwrap().misses, 100);
    assert_eq!(generator.run(&Stop::Requests(50)).unwrap().misses, 50);
    drop(generator);
    server.join().unwrap();
}

#[test]
fn an_error_reply_ends_the_run_with_its_text() {
    let (address, server) = serve(1, b"-OOM not now\r\n");
    let mut generator = Generator::connect(spec(address, 1, 1, Mix::Set)).unwrap();
    let error = generator.run(&Stop::Requests(1)).unwrap_err();
    assert!(error.to_string().contains("OOM not now"), "{error}");
    drop(generator);
    server.join().unwrap();
}

#[test]
fn a_paced_run_takes_as_long_as_its_rate_says() {
    let (address, server) = serve(4, b"+OK\r\n");
    let paced = LoadSpec {
        rate: Some(2000.0),
        ..spec(address, 4, 1, Mix::Set)
    };
    let mut generator = Generator::connect(paced).unwrap();
    let outcome = generator.run(&Stop::Requests(201)).unwrap();
    drop(generator);
    // The last of 201 requests is due exactly 100 ms after the first.
    assert!(
        outcome.elapsed >= Duration::from_millis(100),
        "{:?}",
        outcome.elapsed
    );
    assert_eq!(server.join().unwrap(), 201);
}

#[test]
fn nobody_listening_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(Generator::connect(spec(address, 1, 1, Mix::Get)).is_err());
}
