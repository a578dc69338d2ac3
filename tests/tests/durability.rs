//! What was acknowledged is there after any end of the process; damage is named, never served.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bailiwick_tests::client::{Client, Value, request};
use bailiwick_tests::kill::{Ending, Plan, run};
use bailiwick_tests::server::{DEADLINE, Launch, Server, directory, wait_until};

#[test]
fn kill_under_load_loses_nothing_that_was_acknowledged() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let summary = run(&Plan {
        seed,
        rounds: 8,
        writers: 5,
        round_ms: 800,
        endings: vec![Ending::Kill],
        verbose: true,
    });
    println!("{:?}", summary.unwrap());
}

#[test]
fn an_orderly_end_under_load_exits_with_zero_and_loses_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let summary = run(&Plan {
        seed,
        rounds: 4,
        writers: 4,
        round_ms: 500,
        endings: vec![Ending::Terminate, Ending::Shutdown],
        verbose: true,
    });
    assert!(
        summary.unwrap().newest_checkpoint > 0,
        "an orderly end writes a checkpoint"
    );
}

#[test]
fn a_torn_tail_loses_the_last_writes_and_nothing_before_them() {
    let launch = Launch::bailiwick().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut written = 0;
    for round in 0..6 {
        let mut server = launch.start().unwrap();
        let mut client = server.connect().unwrap();
        let log = log_file(launch.data_path(), Which::Last);
        let mut ends = vec![used_bytes(&log)];
        for _ in 0..200 {
            written += 1;
            let key = format!("key:{written}");
            assert_eq!(
                client
                    .call(["SET", &key, &"v".repeat(rng.usize(..300))])
                    .unwrap(),
                Value::ok()
            );
            ends.push(used_bytes(&log));
        }
        server.kill().unwrap();
        let end = used_bytes(&log);
        let cut = loop {
            let cut = rng.u64(1..20_000).min(end / 2);
            // A log that ends where a record ends is not torn. A record may end in some zeros, and
            // the length at its beginning begins with some; both look like the room behind the log.
            if ends.iter().all(|&e| !(e..=e + 16).contains(&(end - cut))) {
                break cut;
            }
        };
        OpenOptions::new()
            .write(true)
            .open(&log)
            .unwrap()
            .set_len(end - cut)
            .unwrap();
        let server = launch.start().unwrap();
        assert!(
            server.output().contains("the log ended in a record"),
            "{}",
            server.output()
        );
        let mut client = server.connect().unwrap();
        let left = client.run("DBSIZE").unwrap().as_integer().unwrap();
        assert!(
            left < written,
            "{cut} bytes were cut off in round {round}, all {written} keys are there"
        );
        for n in 1..=left {
            assert_eq!(
                client.run(&format!("EXISTS key:{n}")).unwrap(),
                Value::Integer(1),
                "key {n} of {left}"
            );
        }
        // What comes next takes the place of what was lost, and stays.
        written = left;
    }
}

#[test]
fn a_log_that_is_damaged_in_the_middle_stops_the_start_with_file_and_offset() {
    let launch = Launch::bailiwick().unwrap();
    fill(&launch, 500);
    let log = log_file(launch.data_path(), Which::First);
    let middle = used_bytes(&log) / 2;
    flip(&log, middle);
    refused(&launch, &[log.to_str().unwrap(), "is damaged at byte"]);
    // Nothing was changed by that: with the byte mended, all is there.
    flip(&log, middle);
    assert_filled(&launch.start().unwrap(), 500);
}

#[test]
fn a_damaged_checkpoint_is_never_served() {
    let launch = Launch::bailiwick().unwrap();
    for count in [300, 600] {
        let server = launch.start().unwrap();
        write_keys(&mut server.connect().unwrap(), count);
        assert_eq!(server.connect().unwrap().run("SAVE").unwrap(), Value::ok());
    }
    let checkpoints = files(&launch.data_path().join("checkpoint"));
    let newest = checkpoints.last().unwrap();
    let length = fs::metadata(newest).unwrap().len();
    for offset in [0, 20, length / 2, length - 1] {
        flip(newest, offset);
        let mut server = launch.spawn().unwrap();
        match server.wait_until_ready() {
            // An older checkpoint and the log behind it make up for it; the damage is told all the
            // same.
            Ok(()) => assert_filled(&server, 600),
            Err(_) => assert_eq!(server.wait_for_end().unwrap(), 1),
        }
        let output = server.output();
        assert!(
            output.contains(newest.to_str().unwrap()),
            "byte {offset}: {output}"
        );
        drop(server);
        flip(newest, offset);
        assert_filled(&launch.start().unwrap(), 600);
    }
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let launch = Launch::bailiwick().unwrap();
    let first = launch.start().unwrap();
    let pid = first.pid().to_string();
    let second = Launch::bailiwick().unwrap().data(launch.data_path());
    refused(
        &second,
        &[
            "is in use by process",
            &pid,
            launch.data_path().to_str().unwrap(),
        ],
    );
    assert_eq!(
        first.connect().unwrap().run("PING").unwrap(),
        Value::Status("PONG".into())
    );
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let holder = directory().unwrap();
    let file = holder.path().join("file");
    File::create(&file).unwrap();
    refused(
        &Launch::bailiwick().unwrap().data(&file),
        &[file.to_str().unwrap()],
    );
    let below = file.join("data");
    refused(
        &Launch::bailiwick().unwrap().data(&below),
        &[below.to_str().unwrap()],
    );
    // Nobody can make a directory there.
    refused(
        &Launch::bailiwick()
            .unwrap()
            .data(Path::new("/proc/bailiwick")),
        &["/proc/bailiwick"],
    );
}

#[test]
fn values_and_expiries_of_all_forms_survive_any_end() {
    let values: [(&str, Vec<u8>); 9] = [
        ("integer", b"12345".to_vec()),
        ("least", b"-9223372036854775808".to_vec()),
        ("almost an integer", b"007".to_vec()),
        ("empty", Vec::new()),
        ("short", b"hello".to_vec()),
        ("long", vec![b'x'; 100_000]),
        ("large", vec![b'y'; 5 << 20]),
        ("binary", (0..=255).collect()),
        ("bits", vec![0x80, 0, 0, 1]),
    ];
    let launch = Launch::bailiwick().unwrap();
    let mut server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    for database in ["0", "15"] {
        client.call(["SELECT", database]).unwrap();
        for (key, value) in &values {
            assert_eq!(
                client.call([&b"SET"[..], key.as_bytes(), value]).unwrap(),
                Value::ok()
            );
            let copy = format!("expiring {key}");
            let set = [
                &b"SET"[..],
                copy.as_bytes(),
                value,
                b"PXAT",
                b"33177117420123",
            ];
            assert_eq!(client.call(set).unwrap(), Value::ok());
        }
        client
            .call([&b"SET"[..], b"\x00\xff\r\n", b"binary key"])
            .unwrap();
        client.run("SET gone v").unwrap();
        client.run("DEL gone").unwrap();
        client.run("SET short-lived v PX 1").unwrap();
    }
    drop(client);
    let ends: [&dyn Fn(&mut Server); 4] = [
        &|server| server.kill().unwrap(),
        &|server| {
            server.signal(libc::SIGTERM).unwrap();
            assert_eq!(server.wait_for_end().unwrap(), 0, "{}", server.output());
        },
        &|server| {
            let saved = server.connect().unwrap().run("SAVE").unwrap();
            assert_eq!(saved, Value::ok());
            server.kill().unwrap();
        },
        &|server| {
            server
                .connect()
                .unwrap()
                .send(&request(["SHUTDOWN", "NOSAVE"]))
                .unwrap();
            assert_eq!(server.wait_for_end().unwrap(), 0, "{}", server.output());
        },
    ];
    for (number, end) in ends.iter().enumerate() {
        end(&mut server);
        server = launch.start().unwrap();
        let mut client = server.connect().unwrap();
        for database in ["0", "15"] {
            client.call(["SELECT", database]).unwrap();
            for (key, value) in &values {
                let at = format!("{key} in database {database} after end {number}");
                let found = client.call(["GET", key]).unwrap();
                assert!(found == Value::bytes(value), "{at}");
                assert_eq!(
                    client.call(["TTL", key]).unwrap(),
                    Value::Integer(-1),
                    "{at}"
                );
                let copy = format!("expiring {key}");
                let found = client.call(["GET", &copy]).unwrap();
                assert!(found == Value::bytes(value), "{at}");
                let expiry = client.call(["PEXPIRETIME", &copy]).unwrap();
                assert_eq!(expiry, Value::Integer(33_177_117_420_123), "{at}");
            }
            let encodings = ["integer", "short", "long"]
                .map(|key| client.call(["OBJECT", "ENCODING", key]).unwrap().text());
            assert_eq!(encodings, ["int", "embstr", "raw"]);
            let binary = client.call([&b"GET"[..], b"\x00\xff\r\n"]).unwrap();
            assert_eq!(binary, Value::bytes("binary key"));
            assert_eq!(
                client.run("EXISTS gone short-lived").unwrap(),
                Value::Integer(0)
            );
        }
    }
}

#[test]
fn a_second_signal_ends_the_node_at_once_and_loses_nothing() {
    let launch = Launch::bailiwick().unwrap();
    let mut server = launch.start().unwrap();
    write_keys(&mut server.connect().unwrap(), 2000);
    server.signal(libc::SIGTERM).unwrap();
    // The first one may already have done.
    let _ = server.signal(libc::SIGINT);
    let code = server.wait_for_end().unwrap();
    assert!([0, 130].contains(&code), "{code}: {}", server.output());
    assert_filled(&launch.start().unwrap(), 2000);
}

#[test]
fn loading_is_told_to_clients_until_it_is_over() {
    let launch = Launch::bailiwick().unwrap().args(["--fsync", "never"]);
    let mut server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    let value = "v".repeat(100);
    for batch in 0..600 {
        let set = |n| request(["SET", &format!("key:{batch}:{n}"), &value]);
        let bytes: Vec<u8> = (0..1000).flat_map(set).collect();
        client.send(&bytes).unwrap();
        for _ in 0..1000 {
            assert_eq!(client.read().unwrap(), Value::ok());
        }
    }
    server.kill().unwrap();
    let mut server = launch.spawn().unwrap();
    server.wait_until_listening().unwrap();
    let mut client = server.connect().unwrap();
    let is_answered = || match client.run("GET key:0:0").unwrap() {
        Value::Error(text) => {
            assert_eq!(text, "LOADING Redis is loading the dataset in memory");
            false
        }
        reply => reply == Value::bytes(&value) || panic!("{reply:?}"),
    };
    wait_until("the keys are there", is_answered).unwrap();
    // A quick node may have loaded before it was asked for the first time.
    let is_ready = || server.output().contains("ready for commands");
    wait_until("the node says that it is ready", is_ready).unwrap();
    let output = server.output();
    assert!(
        output.find("listening=") < output.find("ready for commands"),
        "the node was listening only after it had loaded: {output}"
    );
    assert_eq!(client.run("DBSIZE").unwrap(), Value::Integer(600_000));
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_reads_go_on() {
    let holder = directory().unwrap();
    let mount = holder.path().join("disk");
    fs::create_dir(&mount).unwrap();
    let script = "mount -t tmpfs -o size=64m tmpfs \"$0\" && dd if=/dev/zero of=\"$0/filler\" \
                  bs=1M count=24 status=none && exec \"$@\"";
    let through = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        mount.to_str().unwrap(),
    ];
    if !can_mount() {
        eprintln!("NOT CHECKED: a full disk, which takes the right to mount a file system (root)");
        return;
    }
    let launch = Launch::bailiwick_in(&holder)
        .through(through)
        .data(&mount.join("data"))
        .args(["--disk-reserve", "8mb", "--fsync", "always"]);
    let server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    let value = "v".repeat(100_000);
    let mut count = 0;
    let refusal = loop {
        match client
            .call(["SET", &format!("key:{count}"), &value])
            .unwrap()
        {
            Value::Status(_) => count += 1,
            Value::Error(text) => break text,
            other => panic!("{other:?}"),
        }
        assert!(count < 640, "more was stored than there was room for");
    };
    assert!(
        refusal.starts_with("MISCONF") && refusal.contains("full"),
        "{refusal}"
    );
    let multi = [
        request(["MULTI"]),
        request(["SET", "a", &value]),
        request(["EXEC"]),
    ]
    .concat();
    client.send(&multi).unwrap();
    let replies: Vec<_> = (0..3).map(|_| client.read().unwrap()).collect();
    assert!(
        matches!(&replies[2], Value::Error(text) if text.starts_with("EXECABORT")),
        "{replies:?}"
    );
    for n in 0..count {
        assert!(
            client.run(&format!("GET key:{n}")).unwrap() == Value::bytes(&value),
            "key {n}"
        );
    }
    assert_eq!(client.run("EXISTS a").unwrap(), Value::Integer(0));
    // The mount is seen from here through the process that lives in it.
    let inside = PathBuf::from(format!("/proc/{}/root", server.pid()));
    let filler = inside.join(mount.strip_prefix("/").unwrap()).join("filler");
    fs::remove_file(&filler).unwrap();
    let start = std::time::Instant::now();
    while client.call(["SET", "after", "1"]).unwrap() != Value::ok() {
        assert!(start.elapsed() < DEADLINE, "writes do not resume");
    }
    assert!(client.run("GET key:0").unwrap() == Value::bytes(&value));
}

/// Whether this process may mount in a namespace of its own.
fn can_mount() -> bool {
    let mount = ["--mount", "sh", "-c", "mount -t tmpfs tmpfs /tmp"];
    let done = std::process::Command::new("unshare").args(mount).output();
    done.is_ok_and(|output| output.status.success())
}

/// The node must end with exit code 1 and a line that has all of these words.
fn refused(launch: &Launch, words: &[&str]) {
    let mut server = launch.spawn().unwrap();
    let code = server.wait_for_end().unwrap();
    let output = server.output();
    assert_eq!(code, 1, "{output}");
    let last = output.lines().last().unwrap_or_default();
    assert!(last.starts_with("bailiwick: "), "{output}");
    for word in words {
        assert!(last.contains(word), "no {word} in: {last}");
    }
}

fn fill(launch: &Launch, count: usize) {
    let mut server = launch.start().unwrap();
    write_keys(&mut server.connect().unwrap(), count);
    server.kill().unwrap();
}

fn write_keys(client: &mut Client, count: usize) {
    for n in 0..count {
        let set = client.call([
            "SET",
            &format!("key:{n}"),
            &format!("value {n} {}", ".".repeat(100)),
        ]);
        assert_eq!(set.unwrap(), Value::ok());
    }
}

fn assert_filled(server: &Server, count: usize) {
    let mut client = server.connect().unwrap();
    assert_eq!(client.run("DBSIZE").unwrap(), Value::Integer(count as i64));
    for n in 0..count {
        let expected = Value::bytes(format!("value {n} {}", ".".repeat(100)));
        assert_eq!(client.run(&format!("GET key:{n}")).unwrap(), expected);
    }
}

enum Which {
    First,
    Last,
}

/// A file of the write-ahead log.
fn log_file(data: &Path, which: Which) -> PathBuf {
    let mut logs = files(&data.join("log"));
    logs.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "raftlog")
    });
    match which {
        Which::First => logs.swap_remove(0),
        Which::Last => logs.pop().unwrap(),
    }
}

/// All files below a directory, sorted by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Where the data in a file ends; log files have room in advance, filled with zeros.
fn used_bytes(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

fn flip(path: &Path, offset: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ 0x55]).unwrap();
}
