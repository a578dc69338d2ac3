//! Tests of `CONFIG GET`, `CONFIG SET` and `CONFIG REWRITE`.

use bailiwick_frame::{ArgRange, Protocol};

use super::*;
use crate::config::{Fsync, LogLevel};

fn with_args<R>(words: &[&str], f: impl FnOnce(Args<'_>) -> R) -> R {
    let buffer = words.concat();
    let mut end = 0;
    let ranges: Vec<ArgRange> = words
        .iter()
        .map(|word| {
            let start = end;
            end += word.len() as u32;
            ArgRange { start, end }
        })
        .collect();
    f(Args::new(buffer.as_bytes(), &ranges))
}

fn store() -> Store {
    Store::new(Settings::default(), None)
}

fn set(store: &Store, words: &[&str]) -> Result<Vec<&'static str>, String> {
    let changed = with_args(words, |args| store.set(args)).map_err(|error| error.to_string())?;
    Ok(changed.iter().map(|row| row.name).collect())
}

/// The reply of `CONFIG GET` in RESP3, one space for each line end. The patterns here end in `*`.
fn get(store: &Store, patterns: &[&str]) -> String {
    let mut out = Vec::new();
    let prefix = |pattern: &[u8], name: &[u8]| name.starts_with(pattern.trim_ascii_end_star());
    with_args(patterns, |args| {
        store.write_get(args, &mut Encoder::new(&mut out, Protocol::Resp3), prefix);
    });
    String::from_utf8(out)
        .unwrap()
        .replace("\r\n", " ")
        .trim_end()
        .to_owned()
}

trait TrimStar {
    fn trim_ascii_end_star(&self) -> &[u8];
}

impl TrimStar for [u8] {
    fn trim_ascii_end_star(&self) -> &[u8] {
        self.strip_suffix(b"*")
            .expect("a pattern that ends in a star")
    }
}

#[test]
fn several_parameters_are_set_at_once() {
    let store = store();
    let words = [
        "maxmemory",
        "100mb",
        "APPENDFSYNC",
        "everysec",
        "loglevel",
        "verbose",
    ];
    assert_eq!(
        set(&store, &words),
        Ok(vec!["maxmemory", "appendfsync", "loglevel"])
    );
    let settings = store.load();
    assert_eq!(settings.maxmemory_bytes, 100 << 20);
    assert_eq!(settings.fsync, Fsync::Interval);
    assert_eq!(settings.log_level, LogLevel::Debug);
    assert_eq!(store.version(), 1);
}

#[test]
fn one_bad_pair_leaves_everything_as_it_was() {
    let store = store();
    for words in [
        ["maxmemory", "1gb", "hz", "abc"],
        ["maxmemory", "1gb", "nonsense", "1"],
        ["maxmemory", "1gb", "port", "1"],
        ["maxmemory", "1gb", "maxmemory", "2gb"],
    ] {
        assert!(set(&store, &words).is_err(), "{words:?}");
        assert_eq!(**store.load(), Settings::default(), "{words:?}");
    }
    assert_eq!(store.version(), 0);
}

#[test]
fn refusals_are_worded_as_redis_words_them() {
    let store = store();
    let failed = |name: &str, reason: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    };
    let refusals: [(&[&str], String); 10] = [
        (
            &["foo", "bar"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'foo'".to_owned(),
        ),
        (&["maxmemory", "1", "foo"], "ERR syntax error".to_owned()),
        (
            &["maxmemory", "abc"],
            failed("maxmemory", "argument must be a memory value"),
        ),
        (
            &["hz", "abc"],
            failed("hz", "argument couldn't be parsed into an integer"),
        ),
        (
            &["maxmemory-samples", "0"],
            failed(
                "maxmemory-samples",
                "argument must be between 1 and 64 inclusive",
            ),
        ),
        (
            &["protected-mode", "1"],
            failed("protected-mode", "argument must be 'yes' or 'no'"),
        ),
        (
            &["appendfsync", "foo"],
            failed(
                "appendfsync",
                "argument(s) must be one of the following: everysec, always, no",
            ),
        ),
        (
            &["daemonize", "yes", "foo", "1"],
            failed("daemonize", "can't set immutable config"),
        ),
        (&["hz", "1", "HZ", "2"], failed("hz", "duplicate parameter")),
        (
            &["client-output-buffer-limit", "normal 1 2"],
            failed(
                "client-output-buffer-limit",
                "Wrong number of arguments in buffer limit configuration.",
            ),
        ),
    ];
    for (words, text) in refusals {
        assert_eq!(set(&store, words), Err(text));
    }
}

#[test]
fn get_knows_patterns_exact_names_and_aliases() {
    let store = store();
    assert_eq!(get(&store, &["save"]), "%1 $4 save $0");
    assert_eq!(get(&store, &["MaxMemory"]), "%1 $9 MaxMemory $1 0");
    assert_eq!(get(&store, &["nonsense"]), "%0");
    let both = "%2 $25 hash-max-listpack-entries $3 512 $24 hash-max-ziplist-entries $3 512";
    assert_eq!(
        get(&store, &["hash-max-listpack-e*", "hash-max-ziplist-e*"]),
        both
    );
    assert_eq!(
        get(&store, &["MAXMEMORY-S*", "maxmemory-samples"]),
        "%1 $17 maxmemory-samples $1 5"
    );
}

#[test]
fn a_change_by_one_name_is_seen_by_all() {
    let store = store();
    set(&store, &["fsync", "never", "hash-max-ziplist-entries", "7"]).unwrap();
    assert_eq!(get(&store, &["appendfsync"]), "%1 $11 appendfsync $2 no");
    let shown = "%1 $25 hash-max-listpack-entries $1 7";
    assert_eq!(get(&store, &["hash-max-listpack-entries"]), shown);
}

#[test]
fn a_rewrite_needs_a_file() {
    let refused = store().rewrite().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "ERR The server is running without a config file"
    );
}

#[test]
fn a_rewrite_puts_changes_into_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.toml");
    std::fs::write(&path, "# mine\nhz = 20\n").unwrap();
    let mut settings = Settings::default();
    file::apply("hz = 20", &path, &mut settings).unwrap();
    let store = Store::new(settings, Some(path.clone()));
    set(&store, &["maxmemory", "1gb"]).unwrap();
    store.rewrite().unwrap();
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(after, "# mine\nhz = 20\nmaxmemory = 1073741824\n");
}
