//! Replies of the COMMAND family, compared with what a Redis server was seen to send.

use bailiwick_frame::{ArgRange, Args, Encoder, Protocol};

use super::*;
use crate::commands::testing::show;
use crate::commands::{NodeCommand, category_names};

type Writer = fn(Args<'_>, &mut Encoder<'_>) -> Outcome;

fn reply_of(writer: Writer, line: &str, protocol: Protocol) -> String {
    let mut ranges = Vec::new();
    for word in line.split(' ') {
        let start = (word.as_ptr() as usize - line.as_ptr() as usize) as u32;
        ranges.push(ArgRange {
            start,
            end: start + word.len() as u32,
        });
    }
    let mut reply = Vec::new();
    let mut out = Encoder::new(&mut reply, protocol);
    if let Err(error) = writer(Args::new(line.as_bytes(), &ranges), &mut out) {
        return format!("-{error}");
    }
    show(&reply).replace('"', "'")
}

#[test]
fn an_entry_has_the_shape_that_redis_gives_it() {
    let spec = "{'flags' ~[{}] 'begin_search' {'type' 'index' 'spec' {'index' {}}} 'find_keys' \
                {'type' 'range' 'spec' {'lastkey' 0 'keystep' 1 'limit' 0}}}";
    let spec = |uses, at| spec.replacen("{}", uses, 1).replacen("{}", at, 1);
    let expected = format!(
        "[['copy' -3 ~[+write +denyoom] 1 2 1 ~[+@keyspace +@write +@slow] ~[] ~[{} {}] ~[]] nil]",
        spec("+RO +access", "1"),
        spec("+OW +update", "2")
    );
    assert_eq!(
        reply_of(write_info, "command info copy nope", Protocol::Resp3),
        expected
    );
    let expected = "[['object|freq' 3 [+readonly] 2 2 1 [+@keyspace +@read +@slow] \
                    ['nondeterministic_output'] [['flags' [+RO] 'begin_search' ['type' 'index' \
                    'spec' ['index' 2]] 'find_keys' ['type' 'range' 'spec' ['lastkey' 0 'keystep' \
                    1 'limit' 0]]]] []]]";
    assert_eq!(
        reply_of(write_info, "command info OBJECT|Freq", Protocol::Resp2),
        expected
    );
}

#[test]
fn documentation_names_arguments_with_kind_token_and_flags() {
    let reply = reply_of(write_docs, "command docs scan nope", Protocol::Resp3);
    let (_, arguments) = reply.split_once("'arguments' ").expect("arguments");
    let argument = |name: &str, kind: &str, token: &str| {
        format!(
            "{{'name' '{name}' 'type' '{kind}' 'display_text' '{name}' 'token' '{token}' 'flags' \
             ~[+optional]}}"
        )
    };
    let expected = format!(
        "[{{'name' 'cursor' 'type' 'integer' 'display_text' 'cursor'}} {} {} {}]}}}}",
        argument("pattern", "pattern", "MATCH"),
        argument("count", "integer", "COUNT"),
        argument("type", "string", "TYPE")
    );
    assert_eq!(arguments, expected);
    assert!(reply.starts_with("{'scan' {'summary' "));
}

#[test]
fn key_arguments_name_their_key_specification() {
    let reply = reply_of(write_docs, "command docs rename", Protocol::Resp3);
    assert!(reply.contains("'display_text' 'key' 'key_spec_index' 0}"));
    assert!(reply.contains("'display_text' 'newkey' 'key_spec_index' 1}"));
    assert_eq!(
        reply_of(write_docs, "command docs nope", Protocol::Resp2),
        "[]"
    );
}

#[test]
fn a_container_documents_its_subcommands() {
    let reply = reply_of(write_docs, "command docs object", Protocol::Resp3);
    assert!(reply.contains("'subcommands' {'object|encoding' {'summary' "));
    assert!(!reply.contains("'arguments' []"));
}

#[test]
fn all_commands_are_described_counted_and_listed() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let everything = reply_of(write_command, "command", protocol);
        assert_eq!(everything, reply_of(write_info, "command info", protocol));
        reply_of(write_docs, "command docs", protocol);
    }
    let count = reply_of(write_count, "command count", Protocol::Resp2);
    let list = reply_of(write_list, "command list", Protocol::Resp2);
    let top_level = list.split(' ').filter(|name| !name.contains('|')).count();
    assert_eq!(count, top_level.to_string());
}

#[test]
fn a_list_is_filtered_by_pattern_and_category() {
    let list = |filter: &str| {
        reply_of(
            write_list,
            &format!("command list {filter}"),
            Protocol::Resp2,
        )
    };
    assert_eq!(list("filterby PATTERN OBJECT|f*"), "['object|freq']");
    assert_eq!(list("filterby module x"), "[]");
    assert_eq!(list("filterby aclcat nope"), "[]");
    assert!(list("filterby aclcat TRANSACTION").starts_with("['multi' 'exec'"));
    for bad in [
        "filterby",
        "filterby pattern",
        "filterby x y",
        "x pattern y",
    ] {
        assert_eq!(list(bad), "-ERR syntax error");
    }
}

#[test]
fn keys_are_found_in_a_command() {
    let keys = |request: &str| {
        reply_of(
            write_getkeys,
            &format!("command getkeys {request}"),
            Protocol::Resp2,
        )
    };
    assert_eq!(keys("rename a b"), "['a' 'b']");
    assert_eq!(keys("object encoding x"), "['x']");
    assert_eq!(keys("del a b c"), "['a' 'b' 'c']");
    assert_eq!(keys("zunionstore d 2 a b c"), "['d' 'a' 'b']");
    assert_eq!(keys("georadius a 1 2 3 m"), "['a']");
    assert_eq!(keys("georadius a 1 2 3 m store store asc"), "['a' 'store']");
    assert_eq!(
        keys("georadiusbymember a store 3 m StoreDist b store c"),
        "['a' 'c']"
    );
    assert_eq!(
        keys("xread count 1 streams streams a 0 $"),
        "['streams' 'a']"
    );
    assert_eq!(
        keys("xreadgroup group streams streams noack streams a >"),
        "['a']"
    );
    assert_eq!(
        keys("xread count 1 streams a b $"),
        "-ERR Invalid arguments specified for command"
    );
    assert_eq!(keys("foo 1"), "-ERR Invalid command specified");
    assert_eq!(keys("object nope x"), "-ERR Invalid command specified");
    assert_eq!(keys("ping x"), "-ERR The command has no key arguments");
    assert_eq!(
        keys("ttl a b"),
        "-ERR Invalid number of arguments specified for command"
    );
}

#[test]
fn the_use_of_keys_follows_the_options_where_redis_says_so() {
    let uses = |request: &str| {
        let line = format!("command getkeysandflags {request}");
        reply_of(write_getkeysandflags, &line, Protocol::Resp3)
    };
    assert_eq!(
        uses("rename a b"),
        "[['a' ~[+RW +access +delete]] ['b' ~[+OW +update]]]"
    );
    assert_eq!(uses("set a b"), "[['a' ~[+OW +update]]]");
    assert_eq!(uses("set a b get"), "[['a' ~[+RW +access +update]]]");
    assert_eq!(
        uses("bitfield a overflow fail get u8 0"),
        "[['a' ~[+RO +access]]]"
    );
    assert_eq!(
        uses("bitfield a get u8 0 set u8 0 1"),
        "[['a' ~[+RW +access +update]]]"
    );
}

#[test]
fn every_container_has_help_that_lists_its_subcommands() {
    for container in all().filter(|command| !command.subcommands.is_empty()) {
        let help = subcommand(container, b"help").expect(container.name);
        assert!(matches!(
            help.handler,
            crate::commands::Handler::Node(NodeCommand::Help)
        ));
        assert!(
            container
                .subcommands
                .iter()
                .all(|sub| sub.parent == container.name)
        );
    }
    let mut reply = Vec::new();
    let object = find(b"object").expect("a container");
    write_help(&object, &mut Encoder::new(&mut reply, Protocol::Resp2));
    let reply = String::from_utf8(reply).expect("text");
    assert!(reply.starts_with(
        "*11\r\n+OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n\
         +ENCODING key\r\n+    "
    ));
    assert!(reply.ends_with("+HELP\r\n+    Print this help.\r\n"));
}

#[test]
fn every_row_is_complete() {
    for command in all().flat_map(|command| std::iter::once(command).chain(command.subcommands)) {
        let name = command.full_name();
        assert!(
            !command.summary.is_empty() && command.summary.ends_with('.'),
            "{name}"
        );
        assert!(
            name.bytes().all(|byte| !byte.is_ascii_uppercase()),
            "{name}"
        );
        assert!(
            categories_of(command).all(|category| category_names().any(|name| name == category))
        );
    }
}
