//! Notation to trees, construct by construct and for every row of the table.

use super::*;
use crate::commands::{DEFAULT, all};

/// A tree in one line: flags after a colon, children in parentheses.
fn show(argument: &Argument) -> String {
    let flags = [
        (argument.optional, '?'),
        (argument.multiple, '*'),
        (argument.multiple_token, '+'),
    ];
    let flags: String = flags
        .into_iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1)
        .collect();
    let token = argument
        .token
        .map(|token| format!("{token}="))
        .unwrap_or_default();
    let inner = match argument.arguments.as_slice() {
        [] => argument.name.clone(),
        arguments => format!(
            "({})",
            arguments.iter().map(show).collect::<Vec<_>>().join(" ")
        ),
    };
    format!("{token}{}:{inner}{flags}", argument.kind.name())
}

fn parsed(syntax: &'static str) -> Option<String> {
    let arguments = parse(&Command { syntax, ..DEFAULT })?;
    Some(arguments.iter().map(show).collect::<Vec<_>>().join(" "))
}

#[test]
fn each_construct_gives_the_tree_that_redis_gives() {
    for (syntax, expected) in [
        ("", ""),
        ("key value", "key:key string:value"),
        ("key [key ...]", "key:key*"),
        ("[section [section ...]]", "string:section?*"),
        ("key value [key value ...]", "block:(key:key string:value)*"),
        (
            "[NX | XX] [GET]",
            "oneof:(NX=pure-token:nx XX=pure-token:xx)? GET=pure-token:get?",
        ),
        (
            "[EX seconds | KEEPTTL]",
            "oneof:(EX=integer:seconds KEEPTTL=pure-token:keepttl)?",
        ),
        (
            "cursor [MATCH pattern]",
            "integer:cursor MATCH=pattern:pattern?",
        ),
        (
            "[protover [AUTH username password] [SETNAME clientname]]",
            "block:(integer:protover AUTH=block:(string:username string:password)? \
             SETNAME=string:clientname?)?",
        ),
        ("[ID client-id [client-id ...]]", "ID=integer:client-id?*"),
        (
            "[GET encoding [GET encoding ...]]",
            "GET=string:encoding?*+",
        ),
        ("<ON | OFF>", "oneof:(ON=pure-token:on OFF=pure-token:off)"),
        (
            "[BY <MODULE m | X y>]",
            "BY=oneof:(MODULE=string:m X=string:y)?",
        ),
        (
            "key [GET a b | [O <W | S>] <SET a b | C> [GET a b | [O <W | S>] <SET a b | C> ...]]",
            "key:key oneof:(GET=block:(string:a string:b) block:(O=oneof:(W=pure-token:w \
             S=pure-token:s)? oneof:(SET=block:(string:a string:b) C=pure-token:c)))?*",
        ),
        (
            "key bit [start [end [BYTE | BIT]]]",
            "key:key integer:bit block:(integer:start block:(integer:end \
              oneof:(BYTE=pure-token:byte \
          BIT=pure-token:bit)?)?)?",
        ),
    ] {
        assert_eq!(parsed(syntax).as_deref(), Some(expected), "{syntax}");
    }
}

#[test]
fn a_malformed_line_gives_nothing() {
    for syntax in [
        "[",
        "a]",
        "<a",
        "a | b",
        "[a [b ...]]",
        "[]",
        "...",
        "[a | ]",
    ] {
        assert_eq!(parsed(syntax), None, "{syntax}");
    }
}

/// The fewest and the most words that an argument may take; no upper bound if it repeats.
fn words(arguments: &[Argument]) -> (usize, Option<usize>) {
    arguments
        .iter()
        .map(words_of)
        .fold((0, Some(0)), |sum, next| {
            (
                sum.0 + next.0,
                sum.1.zip(next.1).map(|(sum, next)| sum + next),
            )
        })
}

fn words_of(argument: &Argument) -> (usize, Option<usize>) {
    let (least, most) = match argument.kind {
        Kind::PureToken => (0, Some(0)),
        Kind::Block => words(&argument.arguments),
        Kind::OneOf => {
            let each: Vec<_> = argument.arguments.iter().map(words_of).collect();
            let least = each.iter().map(|words| words.0).min().unwrap_or(0);
            (
                least,
                each.iter()
                    .map(|words| words.1)
                    .try_fold(0, |most, n| Some(most.max(n?))),
            )
        }
        _ => (1, Some(1)),
    };
    let token = usize::from(argument.token.is_some());
    let least = if argument.optional { 0 } else { least + token };
    (
        least,
        most.filter(|_| !argument.multiple).map(|most| most + token),
    )
}

#[test]
fn every_row_parses_and_agrees_with_its_arity() {
    for command in all().flat_map(|command| std::iter::once(command).chain(command.subcommands)) {
        let name = command.full_name();
        let arguments = parse(command).unwrap_or_else(|| panic!("syntax of {name}"));
        if !command.subcommands.is_empty() {
            assert!(arguments.is_empty(), "{name}");
            continue;
        }
        let name_words = if command.parent.is_empty() { 1 } else { 2 };
        let (least, most) = words(&arguments);
        assert_eq!(
            usize::from(command.arity.unsigned_abs()),
            name_words + least,
            "{name}"
        );
        assert!(command.arity < 0 || most == Some(least), "{name}");
        assert!(
            command.arity > 0 || most != Some(least) || command.name == "quit",
            "{name}"
        );
    }
}
