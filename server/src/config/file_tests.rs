//! Tests of the configuration file.

use super::*;
use crate::config::settings::{Fsync, LogLevel};

fn read(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    apply(text, Path::new("b.toml"), &mut settings).map_err(|error| error.to_string())?;
    Ok(settings)
}

#[test]
fn values_come_as_any_fitting_toml_type() {
    let text = "port = 7000\nmax_clients = \"20\"\nprotected-mode = false\n\
                bind = [\"127.0.0.1\", \"::1\"]\nmaxmemory = \"1gb\"\n\
                latency-tracking-info-percentiles = [50, 99.9]\nappendfsync = \"everysec\"\n";
    let settings = read(text).unwrap();
    assert_eq!(settings.port, 7000);
    assert_eq!(settings.max_clients, 20);
    assert!(!settings.protected_mode);
    assert_eq!(settings.bind.len(), 2);
    assert_eq!(settings.maxmemory_bytes, 1 << 30);
    assert_eq!(settings.latency_tracking_info_percentiles, [50.0, 99.9]);
    assert_eq!(settings.fsync, Fsync::Interval);
}

#[test]
fn a_refusal_names_file_line_key_value_and_what_is_allowed() {
    let lines = [
        (
            "# first\n\nport = \"abc\"\n",
            "b.toml line 3: port \"abc\": expected a whole number from 0 to 65535",
        ),
        (
            "port = 1\nfsync = \"sometimes\"",
            "b.toml line 2: fsync \"sometimes\": expected always, interval or never",
        ),
        (
            "\nprot = 1\n",
            "b.toml line 2: prot: unknown key; did you mean port?",
        ),
        ("zzz = 1\n", "b.toml line 1: zzz: unknown key"),
        (
            "maxclients = 5\n\nmax_clients = 6\n",
            "b.toml line 3: max_clients: already set as maxclients on line 1",
        ),
        (
            "appendonly = false\n",
            "b.toml line 1: appendonly \"no\": expected \"yes\", the only value there is",
        ),
        (
            "[port]\nx = 1\n",
            "b.toml line 1: port \"table\": expected a whole number from 0 to 65535",
        ),
    ];
    for (text, line) in lines {
        assert_eq!(read(text).unwrap_err(), line);
    }
}

#[test]
fn broken_toml_is_one_line_with_its_number() {
    for text in [
        "port = 1\nport = 2\n",
        "port = 1\nbind = \"127\n",
        "port = 1\n= 3\n",
    ] {
        let line = read(text).unwrap_err();
        assert!(line.starts_with("b.toml line 2: "), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn a_rewrite_keeps_comments_order_and_spelling() {
    let before = "# Mine.\n\nport = 7000 # not the usual\nmaxmemory = \"1gb\"\n\
                  # Sync now and then.\nappendfsync = \"everysec\" # why not\nhz = 20\n\
                  bind = [\"127.0.0.1\"]\n";
    let mut settings = read(before).unwrap();
    assert_eq!(rewritten(before, &settings).unwrap(), before);

    settings.port = 7001;
    settings.fsync = Fsync::Never;
    settings.log_level = LogLevel::Debug;
    settings.protected_mode = false;
    let after = rewritten(before, &settings).unwrap();
    let expected = "# Mine.\n\nport = 7001 # not the usual\nmaxmemory = \"1gb\"\n\
                    # Sync now and then.\nappendfsync = \"no\" # why not\nhz = 20\n\
                    bind = [\"127.0.0.1\"]\nprotected-mode = false\nlog-level = \"debug\"\n";
    assert_eq!(after, expected);
    assert_eq!(read(&after).unwrap(), settings);
}

#[test]
fn a_value_back_at_its_default_is_rewritten_where_it_stands() {
    let mut settings = read("port = 7000\n").unwrap();
    settings.port = 6379;
    assert_eq!(
        rewritten("port = 7000\n", &settings).unwrap(),
        "port = 6379\n"
    );
}

#[test]
fn a_rewrite_on_disk_keeps_permissions_and_leaves_no_other_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.toml");
    fs::write(&path, "requirepass = \"a\"\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let settings = Settings {
        requirepass: "b".to_owned(),
        ..Settings::default()
    };
    rewrite(&path, &settings).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "requirepass = \"b\"\n");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_gone_is_written_anew_and_a_broken_one_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.toml");
    let settings = Settings {
        port: 1,
        ..Settings::default()
    };
    rewrite(&path, &settings).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "port = 1\n");

    fs::write(&path, "port = \n").unwrap();
    assert!(rewrite(&path, &settings).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "port = \n");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
