//! Values and whole files that go from a real Redis to Bailiwick and back.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::path::Path;
use std::process::{Command, Output};

use bailiwick::rdb::{self, Value as Restored, stream};
use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::differential::{DATABASES, sequence};
use bailiwick_tests::server::{DEADLINE, Launch, Server, bailiwick_program, wait_until};

const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];

/// Thresholds that make Redis keep in one block what is large here, and compress what it can.
const LARGE_BLOCKS: [&str; 12] = [
    "--hash-max-listpack-entries",
    "5000",
    "--zset-max-listpack-entries",
    "5000",
    "--set-max-intset-entries",
    "5000",
    "--hash-max-listpack-value",
    "5000",
    "--list-max-listpack-size",
    "-5",
    "--list-compress-depth",
    "1",
];

fn bailiwick() -> Server {
    let launch = Launch::bailiwick().unwrap().args(["--fsync", "never"]);
    launch.args(DEBUG).start().unwrap()
}

fn redis(arguments: &[&str]) -> Server {
    let launch = Launch::redis().unwrap().args(DEBUG);
    launch.args(arguments).start().unwrap()
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    let keys = client.run("KEYS *").unwrap();
    keys.list().iter().cloned().map(bytes).collect()
}

fn digest(client: &mut Client, key: &[u8]) -> Value {
    client.call([&b"DEBUG"[..], b"DIGEST-VALUE", key]).unwrap()
}

/// Restores every value of one server at the other under the same key, and back under another name.
fn travel(here: &mut Client, there: &mut Client) -> usize {
    for key in keys(here) {
        here.call([b"PERSIST", &key[..]]).unwrap();
    }
    let keys = keys(here);
    for key in &keys {
        let dump = bytes(here.call([b"DUMP", &key[..]]).unwrap());
        let restored = there.call([b"RESTORE", &key[..], b"0", &dump, b"REPLACE"]);
        assert_eq!(restored.unwrap(), Value::ok(), "{}", key.escape_ascii());
        assert_eq!(
            digest(there, key),
            digest(here, key),
            "{}",
            key.escape_ascii()
        );
        let back = bytes(there.call([b"DUMP", &key[..]]).unwrap());
        let copy = [&key[..], b":copy"].concat();
        let restored = here.call([b"RESTORE", &copy[..], b"0", &back, b"REPLACE"]);
        assert_eq!(restored.unwrap(), Value::ok(), "{}", key.escape_ascii());
        assert_eq!(
            digest(here, &copy),
            digest(here, key),
            "{}",
            key.escape_ascii()
        );
        here.call([b"DEL", &copy[..]]).unwrap();
    }
    keys.len()
}

#[test]
fn values_travel_between_redis_and_bailiwick() {
    let ours = bailiwick();
    for settings in [&[][..], &LARGE_BLOCKS] {
        let theirs = redis(settings);
        let mut travelled = 0;
        for seed in 1..41 {
            for server in [&ours, &theirs] {
                assert_eq!(
                    server.connect().unwrap().run("FLUSHALL").unwrap(),
                    Value::ok()
                );
            }
            let mut client = theirs.connect().unwrap();
            for step in sequence(seed, 300) {
                client.call(&step.words).unwrap();
            }
            let (mut there, mut here) = (theirs.connect().unwrap(), ours.connect().unwrap());
            for database in DATABASES {
                there.call(["SELECT", database]).unwrap();
                here.call(["SELECT", database]).unwrap();
                travelled += travel(&mut there, &mut here);
                // What is only here, now that there is a copy of everything, comes from here.
                travelled += travel(&mut here, &mut there);
            }
        }
        assert!(travelled > 500, "seeds make few keys: {travelled}");
    }
}

#[test]
fn large_values_travel_in_every_representation() {
    let ours = bailiwick();
    for settings in [&[][..], &LARGE_BLOCKS] {
        let theirs = redis(settings);
        let mut there = theirs.connect().unwrap();
        for count in [100, 3000] {
            for number in 0..count {
                let word = format!("{}:{number}", "word".repeat(number % 30));
                let number = (number * number).to_string();
                for line in [
                    format!("RPUSH list:{count} {word} {number}"),
                    format!("SADD set:{count} {word} {number}"),
                    format!("SADD ints:{count} {number}"),
                    format!("HSET hash:{count} {word} {number} {number} {word}"),
                    format!("ZADD zset:{count} {number} {word} 0.{number} {number}"),
                    format!("APPEND string:{count} {word}"),
                ] {
                    assert!(
                        !matches!(there.run(&line).unwrap(), Value::Error(_)),
                        "{line}"
                    );
                }
            }
        }
        let mut here = ours.connect().unwrap();
        assert_eq!(here.run("FLUSHALL").unwrap(), Value::ok());
        assert_eq!(travel(&mut there, &mut here), 12);
    }
}

fn fill_stream(client: &mut Client) {
    for number in 0..300 {
        let fields = if number % 7 == 0 {
            "a 1 other x"
        } else {
            "a 1 b 22222222222"
        };
        client
            .run(&format!("XADD s 5-{} {fields}", number + 1))
            .unwrap();
    }
    for line in [
        "XDEL s 5-1 5-2 5-150 5-300",
        "XGROUP CREATE s g 5-3",
        "XGROUP CREATE s idle $",
        "XREADGROUP GROUP g one COUNT 10 STREAMS s >",
        "XREADGROUP GROUP g two COUNT 3 STREAMS s >",
        "XACK s g 5-5",
        "XGROUP CREATECONSUMER s g three",
    ] {
        assert!(
            !matches!(client.run(line).unwrap(), Value::Error(_)),
            "{line}"
        );
    }
}

#[test]
fn a_stream_of_redis_is_read_and_written_again() {
    let theirs = redis(&[]);
    let mut client = theirs.connect().unwrap();
    fill_stream(&mut client);
    let dump = bytes(client.run("DUMP s").unwrap());
    let Restored::Stream(held) = rdb::restore(&dump, 7).unwrap() else {
        panic!("a stream")
    };
    assert_eq!((held.nodes.len(), held.entries_added), (3, 300));
    let mut again = vec![rdb::STREAM_TYPE];
    stream::put(&held, &mut again);
    rdb::put_footer(&mut again);
    let restored = client
        .call([&b"RESTORE"[..], b"copy", b"0", &again])
        .unwrap();
    assert_eq!(restored, Value::ok());
    assert_eq!(digest(&mut client, b"copy"), digest(&mut client, b"s"));
    for look in ["XRANGE # - +", "XINFO GROUPS #", "XPENDING # g - + 100"] {
        let [copy, original] =
            ["copy", "s"].map(|key| client.run(&look.replace('#', key)).unwrap());
        // How long ago something was delivered differs by the time between the two looks.
        if !look.starts_with("XPENDING") {
            assert_eq!(copy, original, "{look}");
        }
        assert_eq!(copy.list().len(), original.list().len(), "{look}");
    }
}

/// Some of everything that both servers have.
fn fill(client: &mut Client) {
    let far = "99999999999999";
    for database in ["0", "3"] {
        client.call(["SELECT", database]).unwrap();
        for number in 0..2000 {
            client
                .run(&format!("SET key:{database}:{number} {number} PXAT {far}"))
                .unwrap();
        }
        for line in [
            format!("SET long {}", "abc".repeat(100_000)),
            "RPUSH list a b 1 2".to_owned(),
            "SADD ints 1 2 3".to_owned(),
            "SADD set a b 1".to_owned(),
            "HSET hash a b c d".to_owned(),
            "ZADD zset 1.5 a inf b".to_owned(),
            format!("PEXPIREAT list {far}"),
        ] {
            client.run(&line).unwrap();
        }
    }
}

/// Compares everything, expiries included.
fn assert_same(one: &mut Client, other: &mut Client) {
    for database in 0..16 {
        let select = format!("SELECT {database}");
        one.run(&select).unwrap();
        other.run(&select).unwrap();
        let (mut ours, mut theirs) = (keys(one), keys(other));
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "database {database}");
        for key in &ours {
            assert_eq!(
                digest(one, key),
                digest(other, key),
                "{}",
                key.escape_ascii()
            );
            let [ours, theirs] = [&mut *one, &mut *other]
                .map(|client| client.call([b"PEXPIRETIME", &key[..]]).unwrap());
            assert_eq!(ours, theirs, "{}", key.escape_ascii());
        }
    }
}

fn run(command: &str, file: &Path, server: &Server, more: &[&str]) -> Output {
    let flag = if command == "import" {
        "--to"
    } else {
        "--from"
    };
    let mut program = Command::new("timeout");
    program
        .arg(DEADLINE.as_secs().to_string())
        .arg(bailiwick_program().unwrap())
        .args([command, flag, &format!("127.0.0.1:{}", server.port())])
        .args(more)
        .arg(file);
    program.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_whole_file_of_redis_is_imported_and_an_exported_one_loads_in_redis() {
    let origin = Launch::redis().unwrap().args(DEBUG);
    let file = origin.data_path().join("dump.rdb");
    let origin = origin.start().unwrap();
    let mut there = origin.connect().unwrap();
    fill(&mut there);
    there.run("SET gone x PX 1").unwrap();
    assert_eq!(there.run("SAVE").unwrap(), Value::ok());

    let ours = bailiwick();
    let mut here = ours.connect().unwrap();
    let output = run("import", &file, &ours, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains("4012 keys imported"),
        "{}",
        said(&output)
    );
    there.run("SELECT 3").unwrap();
    let has_gone = || there.run("EXISTS gone").unwrap() == Value::Integer(0);
    wait_until("the key has expired", has_gone).unwrap();
    assert_same(&mut here, &mut there);

    let target = Launch::redis().unwrap().args(DEBUG);
    let exported = target.data_path().join("dump.rdb");
    let output = run("export", &exported, &ours, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains("4012 keys exported"),
        "{}",
        said(&output)
    );
    let target = target.start().unwrap();
    assert_same(&mut here, &mut target.connect().unwrap());

    let part = exported.with_file_name("part.rdb");
    let output = run("export", &part, &ours, &["--match", "*s*t", "--db", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    here.run("FLUSHALL").unwrap();
    let output = run("import", &part, &ours, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    here.run("SELECT 3").unwrap();
    let mut found = keys(&mut here);
    found.sort();
    assert_eq!(found, [&b"list"[..], b"set", b"zset"]);
}

/// Two libraries; the second one is long enough for Redis to pack it.
fn libraries() -> [String; 2] {
    let filler = "-- of no consequence\n".repeat(100);
    [
        "#!lua name=one\nredis.register_function('first', function() return 'one' end)".to_owned(),
        format!(
            "#!lua name=two\n{filler}redis.register_function{{function_name='second', \
             callback=function(keys) return redis.call('GET', keys[1]) end, flags={{'no-writes'}}}}"
        ),
    ]
}

fn assert_functions_work(client: &mut Client) {
    client.run("SELECT 0").unwrap();
    let listed = client.run("FUNCTION LIST").unwrap();
    assert_eq!(listed.list().len(), 2, "{listed:?}");
    assert_eq!(client.run("FCALL first 0").unwrap(), Value::bytes("one"));
    let read = client.run("FCALL_RO second 1 key").unwrap();
    assert_eq!(read, Value::bytes("value"));
}

#[test]
fn functions_travel_in_files_of_redis_and_back() {
    let origin = Launch::redis().unwrap();
    let file = origin.data_path().join("dump.rdb");
    let origin = origin.start().unwrap();
    let mut there = origin.connect().unwrap();
    for code in libraries() {
        let loaded = there.call(["FUNCTION", "LOAD", &code]).unwrap();
        assert!(!matches!(loaded, Value::Error(_)), "{loaded:?}");
    }
    there.run("SET key value").unwrap();
    assert_eq!(there.run("SAVE").unwrap(), Value::ok());

    let ours = bailiwick();
    let mut here = ours.connect().unwrap();
    let output = run("import", &file, &ours, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("2 libraries of functions loaded"), "{text}");
    assert_functions_work(&mut here);

    let target = Launch::redis().unwrap();
    let exported = target.data_path().join("dump.rdb");
    let output = run("export", &exported, &ours, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_functions_work(&mut target.start().unwrap().connect().unwrap());

    // What is there is kept and reported, unless it is to be replaced.
    let again = run("import", &exported, &ours, &[]);
    assert_eq!(again.status.code(), Some(3), "{}", said(&again));
    let text = said(&again);
    assert!(text.contains("Library 'one' already exists"), "{text}");
    assert!(text.contains("2 libraries of functions left out"), "{text}");
    let again = run("import", &exported, &ours, &["--replace"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));

    // Some keys are some keys, without functions.
    let part = file.with_file_name("part.rdb");
    let output = run("export", &part, &ours, &["--match", "k*"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    here.run("FUNCTION FLUSH").unwrap();
    let output = run("import", &part, &ours, &["--replace"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(here.run("FUNCTION LIST").unwrap().list().len(), 0);
}

#[test]
fn what_cannot_be_imported_is_named() {
    let origin = Launch::redis().unwrap();
    let file = origin.data_path().join("dump.rdb");
    let origin = origin.start().unwrap();
    let mut there = origin.connect().unwrap();
    there.run("SET kept theirs").unwrap();
    there.run("SET other theirs").unwrap();
    there.run("RPUSH list a").unwrap();
    assert_eq!(there.run("SAVE").unwrap(), Value::ok());

    let ours = bailiwick();
    let mut here = ours.connect().unwrap();
    here.run("SET kept ours").unwrap();
    let output = run("import", &file, &ours, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("RESTORE \"kept\" (at byte "), "{text}");
    assert!(text.contains("BUSYKEY"), "{text}");
    assert!(text.contains("2 keys imported"), "{text}");
    assert_eq!(here.run("GET kept").unwrap(), Value::bytes("ours"));
    let output = run("import", &file, &ours, &["--replace"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(here.run("GET kept").unwrap(), Value::bytes("theirs"));

    let whole = std::fs::read(&file).unwrap();
    let broken = file.with_file_name("broken.rdb");
    for (bytes, complaint) in [
        (
            whole[..whole.len() - 20].to_vec(),
            "in the middle of what it has to say",
        ),
        (
            whole[..whole.len() - 3].to_vec(),
            "in the middle of what it has to say",
        ),
        (
            [&whole[..whole.len() - 1], b"x"].concat(),
            "its checksum is wrong",
        ),
        (b"no such file at all".to_vec(), "this is no RDB file"),
        (b"REDIS0099\xff".to_vec(), "RDB version 99 is not supported"),
        (b"REDIS0009\xf7\x01".to_vec(), "at byte 9: data of a module"),
    ] {
        std::fs::write(&broken, bytes).unwrap();
        let output = run("import", &broken, &ours, &["--replace"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(complaint), "{}", said(&output));
    }
    let missing = run("import", &file.with_file_name("nope"), &ours, &[]);
    assert_eq!(missing.status.code(), Some(1));
    let unwritable = run("export", Path::new("/proc/nope/x.rdb"), &ours, &[]);
    assert_eq!(unwritable.status.code(), Some(1), "{}", said(&unwritable));
}
