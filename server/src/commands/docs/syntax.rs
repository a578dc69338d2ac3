//! The arguments of a command, as a tree, from the line of notation in its row.
//!
//! ```text
//! name            an argument; what kind of value it takes follows from its name
//! TOKEN           a word that stands for itself
//! TOKEN name      an argument introduced by a word
//! a | b           one of several
//! [a]             optional
//! <a>             a group
//! a b [a b ...]   repeated; with `[TOKEN a [TOKEN a ...]]` the token is repeated too
//! ```
//!
//! A token before several names at the end of a group introduces them all: `[AUTH user password]`.
//! The notation comes from our own rows only, so a line that does not parse is a mistake of ours;
//! a test goes through all rows.

use crate::commands::{Command, Group};

/// What an argument accepts, in Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }
}

/// One argument, or a group of them.
///
/// Invariant: `arguments` is empty unless `kind` is `OneOf` or `Block`, and never empty there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The word before it, or for [`Kind::PureToken`] the word itself.
    pub(super) token: Option<&'static str>,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    /// A repetition repeats the token as well.
    pub(super) multiple_token: bool,
    pub(super) arguments: Vec<Argument>,
}

/// The arguments of a command; none if its notation is malformed.
pub(super) fn parse(command: &Command) -> Option<Vec<Argument>> {
    let tokens = tokenize(command.syntax);
    Reader { command }.sequence(&tokens)
}

impl Argument {
    fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            token: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            arguments: Vec::new(),
        }
    }

    fn group(kind: Kind, arguments: Vec<Argument>) -> Self {
        // Two names tell groups apart well enough.
        let names: Vec<&str> = arguments
            .iter()
            .take(2)
            .map(|arg| arg.name.as_str())
            .collect();
        Self {
            name: names.join("_"),
            arguments,
            ..Self::new("", kind)
        }
    }

    /// One argument for a sequence of them.
    fn joined(mut sequence: Vec<Argument>) -> Option<Self> {
        match sequence.len() {
            0 => None,
            1 => sequence.pop(),
            _ => Some(Self::group(Kind::Block, sequence)),
        }
    }

    fn introduced_by(self, token: &'static str) -> Self {
        let inner = if self.token.is_none() {
            self
        } else {
            Self::group(Kind::Block, vec![self])
        };
        Self {
            token: Some(token),
            ..inner
        }
    }

    fn repeated(self) -> Self {
        Self {
            multiple: true,
            multiple_token: self.token.is_some(),
            ..self
        }
    }
}

struct Reader<'a> {
    command: &'a Command,
}

impl Reader<'_> {
    /// What stands between brackets: alternatives, or a sequence as one argument.
    fn group(&self, tokens: &[&'static str]) -> Option<Argument> {
        if let Some(repeated) = whole_repetition(tokens) {
            return self.group(repeated).map(Argument::repeated);
        }
        let mut alternatives = Vec::new();
        for alternative in split_at_bars(tokens)? {
            alternatives.push(Argument::joined(self.sequence(alternative)?)?);
        }
        match alternatives.len() {
            1 => alternatives.pop(),
            _ => Some(Argument::group(Kind::OneOf, alternatives)),
        }
    }

    fn sequence(&self, tokens: &[&'static str]) -> Option<Vec<Argument>> {
        // Each argument with the place of its first token.
        let mut items: Vec<(usize, Argument)> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let start = at;
            let argument = match tokens[at] {
                "[" => {
                    let inner = between(tokens, at)?;
                    at += inner.len() + 2;
                    if let Some((&"...", repeated)) = inner.split_last() {
                        if !tokens[..start].ends_with(repeated) {
                            return None;
                        }
                        repeat_from(&mut items, start - repeated.len())?;
                        continue;
                    }
                    Argument {
                        optional: true,
                        ..self.group(inner)?
                    }
                }
                "<" => {
                    let inner = between(tokens, at)?;
                    at += inner.len() + 2;
                    self.group(inner)?
                }
                "]" | ">" | "|" | "..." => return None,
                word if is_token(word) => {
                    let (argument, taken) = self.after_token(word, &tokens[at + 1..])?;
                    at += 1 + taken;
                    argument
                }
                word => {
                    at += 1;
                    self.leaf(word)
                }
            };
            items.push((start, argument));
        }
        Some(items.into_iter().map(|(_, argument)| argument).collect())
    }

    /// What a token introduces, and how many of the tokens behind it belong to that.
    fn after_token(&self, token: &'static str, rest: &[&'static str]) -> Option<(Argument, usize)> {
        if rest.first() == Some(&"<") {
            let inner = between(rest, 0)?;
            return Some((self.group(inner)?.introduced_by(token), inner.len() + 2));
        }
        let names = rest.iter().take_while(|word| is_name(word)).count();
        // Behind the last name of a group nothing could be meant but the token's own.
        let taken = if names == rest.len() {
            names
        } else {
            names.min(1)
        };
        if taken == 0 {
            let name = token.to_ascii_lowercase();
            return Some((Argument::new(name, Kind::PureToken).introduced_by(token), 0));
        }
        let introduced = rest[..taken].iter().map(|name| self.leaf(name)).collect();
        Some((Argument::joined(introduced)?.introduced_by(token), taken))
    }

    fn leaf(&self, name: &'static str) -> Argument {
        Argument::new(name, self.kind_of(name))
    }

    /// The kind of value that an argument of this name takes.
    fn kind_of(&self, name: &str) -> Kind {
        match name {
            "key" | "newkey" | "key1" | "key2" | "destkey" | "sourcekey" | "source"
            | "destination" => Kind::Key,
            "src" | "dst" => Kind::Key,
            "pattern" => Kind::Pattern,
            "increment" if self.command.name.ends_with("incrbyfloat") => Kind::Double,
            "score" | "longitude" | "latitude" | "radius" | "width" | "height" => Kind::Double,
            "min" | "max" if self.takes_scores() => Kind::Double,
            // Ranks, scores or members.
            "start" | "stop" if self.command.name == "zrange" => Kind::String,
            "start" | "end" if self.command.group == Group::Stream => Kind::String,
            "weight" => Kind::Integer,
            "value" if self.command.group == Group::Bitmap => Kind::Integer,
            "seconds" | "milliseconds" | "count" | "cursor" | "increment" | "decrement"
            | "numkeys" | "limit" | "rank" | "num-matches" | "offset" | "start" | "stop"
            | "end" | "index" | "index1" | "index2" | "db" | "destination-db" | "bit" | "len"
            | "min-match-len" | "protover" | "timeout" | "client-id" | "node-id" | "version" => {
                Kind::Integer
            }
            "ms" | "entries-read" | "entries-added" => Kind::Integer,
            // Idle times and the ends of ranges of streams.
            "min-idle-time" if self.command.name == "xpending" => Kind::Integer,
            _ if name.starts_with("unix-time-") => Kind::UnixTime,
            _ => Kind::String,
        }
    }

    /// Whether the ends of a range are scores.
    fn takes_scores(&self) -> bool {
        self.command.name == "zcount" || self.command.name.ends_with("byscore")
    }
}

/// Marks what starts at token `start` as repeated, as one group if it is several arguments.
fn repeat_from(items: &mut Vec<(usize, Argument)>, start: usize) -> Option<()> {
    if let Some(first) = items.iter().position(|&(at, _)| at == start) {
        let repeated = items.drain(first..).map(|(_, argument)| argument).collect();
        items.push((start, Argument::joined(repeated)?.repeated()));
        return Some(());
    }
    // `TOKEN name [name ...]`: only what the token introduces is repeated.
    let (at, last) = items.last_mut()?;
    last.multiple = *at + 1 == start && last.token.is_some();
    last.multiple.then_some(())
}

fn tokenize(syntax: &'static str) -> Vec<&'static str> {
    let is_mark = |c: char| matches!(c, '[' | ']' | '<' | '>' | '|');
    syntax
        .split_inclusive(is_mark)
        .flat_map(|piece| match piece.strip_suffix(is_mark) {
            Some(words) => [words, &piece[words.len()..]],
            None => [piece, ""],
        })
        .flat_map(str::split_whitespace)
        .collect()
}

/// The tokens inside the bracket that opens at `open`.
fn between<'t>(tokens: &'t [&'static str], open: usize) -> Option<&'t [&'static str]> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "[" | "<" => depth += 1,
            "]" | ">" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(&tokens[open + 1..at]);
        }
    }
    None
}

/// The `a` of `a [a ...]`, when nothing else stands there.
fn whole_repetition<'t>(tokens: &'t [&'static str]) -> Option<&'t [&'static str]> {
    (0..tokens.len())
        .filter(|&at| tokens[at] == "[")
        .find_map(|open| {
            let inner = between(tokens, open)?;
            let (&last, repeated) = inner.split_last()?;
            let whole = open + inner.len() + 2 == tokens.len();
            (whole && last == "..." && repeated == &tokens[..open]).then_some(repeated)
        })
}

fn split_at_bars<'t>(tokens: &'t [&'static str]) -> Option<Vec<&'t [&'static str]>> {
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "[" | "<" => depth += 1,
            "]" | ">" => depth = depth.checked_sub(1)?,
            "|" if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    Some(parts)
}

fn is_token(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_uppercase())
        && !word.contains(|c: char| c.is_ascii_lowercase())
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric()) && !is_token(word)
}

#[cfg(test)]
mod tests;
