//! SORT and SORT_RO: the elements of a list, set or sorted set in another order, or what they name.
//!
//! The work has four steps: options, elements, order, output. What BY and GET name is looked up in
//! the state in which the command runs, so SORT with STORE does the same on every replica. Numbers
//! are compared with the element itself as tie-break, as in Redis; where Redis leaves the order
//! open (equal weights of ALPHA BY), elements keep the order in which they stood.
//!
//! Keys that patterns make up are not known before the command runs. They must belong to the group
//! that serves the sorted key; Redis, in cluster mode, refuses such patterns altogether. The check
//! is made for each key before it is looked at, so what is refused has changed nothing.

use std::borrow::Cow;
use std::cmp::Ordering;

use bailiwick_frame::{Args, Encoder};

use super::double::sort_weight;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Handler, Keys, Outcome, ReadContext, StringRef,
    WriteContext, is_option, parse,
};
use crate::authority::Stray;
use crate::keyspace::list::{Element, End};
use crate::keyspace::{Elements, Entry, Hash, List, Member, Object, Set, SortedSet, ValueRef};

const NO_NUMBER: CommandError =
    CommandError::text("ERR One or more scores can't be converted into double");

const CROSSSLOT: CommandError = CommandError::text(
    "CROSSSLOT Keys that BY or GET of SORT name don't hash to the same slot: they belong to \
     different groups, which do nothing together; see ROUTE EXPLAIN",
);

const ROW: Command = Command {
    arity: -2,
    categories: Category::Set as u32
        | Category::Sortedset as u32
        | Category::List as u32
        | Category::Dangerous as u32,
    complexity: "O(N+M*log(M)) where N is the number of elements and M the number of those returned",
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "sort",
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        keys: Keys::Sorted { stores: true },
        summary: "Sorts a list, set or sorted set, and replies with the result or stores it.",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] \
                 [ASC | DESC] [ALPHA] [STORE destination]",
        handler: Handler::Write(sort),
        ..ROW
    },
    Command {
        name: "sort_ro",
        flags: Flag::Readonly as u32,
        keys: Keys::Sorted { stores: false },
        since: "7.0.0",
        summary: "Sorts a list, set or sorted set, and replies with the result.",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] \
                 [ASC | DESC] [ALPHA]",
        handler: Handler::Read(sort_ro),
        ..ROW
    },
];

fn sort_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, false)?;
    write(ctx, &options, args.arg(1), out)
}

fn sort(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, true)?;
    let Some(target) = options.store else {
        return write(&ctx.reader(), &options, args.arg(1), out);
    };
    let mut list = List::new();
    output(&ctx.reader(), &options, args.arg(1), |shown| {
        let element = shown.unwrap_or_default();
        list.expect(element.len());
        list.push(End::Back, &element);
    })?;
    out.integer(list.len() as i64);
    ctx.store(target, list);
    Ok(())
}

fn write(
    ctx: &ReadContext<'_>,
    options: &Options<'_>,
    key: &[u8],
    out: &mut Encoder<'_>,
) -> Outcome {
    let mut shown = Vec::new();
    output(ctx, options, key, |element| shown.push(element))?;
    out.array(shown.len());
    for element in shown {
        match element {
            Some(bytes) => out.bulk(&bytes),
            None => out.null(),
        }
    }
    Ok(())
}

/// Calls `show` with everything that the command outputs, in order; null is what is not there.
fn output<'a>(
    ctx: &ReadContext<'a>,
    options: &Options<'_>,
    key: &[u8],
    mut show: impl FnMut(Option<Cow<'a, [u8]>>),
) -> Outcome {
    let source = Source::find(ctx, key)?;
    let range = options.range(source.len());
    // What is stored must not depend on the order in which a set happens to be kept.
    let order = match options.order {
        Order::Kept if options.store.is_some() && matches!(source, Source::Set(_)) => {
            Order::Elements { alpha: true }
        }
        order => order,
    };
    let elements = match order {
        Order::Kept => source.part(range, options.desc),
        _ => {
            let all = source.part(0..source.len(), false);
            let mut sorted = options.sort(ctx, order, all)?;
            sorted.truncate(range.end);
            sorted.split_off(range.start)
        }
    };
    for element in &elements {
        if options.get.is_empty() {
            show(Some(element.clone()));
        }
        for pattern in &options.get {
            show(look_up(ctx, pattern, element)?);
        }
    }
    Ok(())
}

/// What decides the order.
#[derive(Clone, Copy)]
enum Order<'a> {
    /// Nothing; elements stay as they stand.
    Kept,
    /// The elements themselves, as text or as numbers.
    Elements { alpha: bool },
    /// What this pattern names for each element.
    Named { pattern: &'a [u8], alpha: bool },
}

/// The options behind the key.
struct Options<'a> {
    order: Order<'a>,
    get: Vec<&'a [u8]>,
    desc: bool,
    offset: i64,
    /// Negative for all.
    count: i64,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, stores: bool) -> Result<Self, CommandError> {
        let mut options = Self {
            order: Order::Kept,
            get: Vec::new(),
            desc: false,
            offset: 0,
            count: -1,
            store: None,
        };
        let (mut alpha, mut by, mut is_kept) = (false, None, false);
        let mut at = 2;
        while at < args.len() {
            let value = args.get(at + 1);
            let is = |name| is_option(args, at, name);
            match value {
                _ if is("asc") => options.desc = false,
                _ if is("desc") => options.desc = true,
                _ if is("alpha") => alpha = true,
                Some(offset) if is("limit") && at + 2 < args.len() => {
                    options.offset = parse::integer(offset)?;
                    options.count = parse::integer(args.arg(at + 2))?;
                    at += 2;
                }
                Some(target) if stores && is("store") => {
                    options.store = Some(target);
                    at += 1;
                }
                Some(pattern) if is("by") => {
                    by = Some(pattern);
                    is_kept |= !pattern.contains(&b'*');
                    at += 1;
                }
                Some(pattern) if is("get") => {
                    options.get.push(pattern);
                    at += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        options.order = match by {
            _ if is_kept => Order::Kept,
            Some(pattern) => Order::Named { pattern, alpha },
            None => Order::Elements { alpha },
        };
        Ok(options)
    }

    /// The part of `len` elements that LIMIT leaves.
    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let bounded = |number: i64| usize::try_from(number.max(0)).map_or(len, |n| n.min(len));
        let start = bounded(self.offset);
        let end = match self.count {
            ..0 => len,
            count => (start + bounded(count)).min(len),
        };
        start..end
    }

    fn sort<'e>(
        &self,
        ctx: &ReadContext<'e>,
        order: Order<'_>,
        elements: Vec<Cow<'e, [u8]>>,
    ) -> Result<Vec<Cow<'e, [u8]>>, CommandError> {
        let mut rows = Vec::with_capacity(elements.len());
        for element in elements {
            rows.push((weight(ctx, order, &element)?, element));
        }
        if rows
            .iter()
            .any(|(weight, _)| matches!(weight, Weight::Number(number) if number.is_nan()))
        {
            return Err(NO_NUMBER);
        }
        rows.sort_by(|one, other| {
            let ordering = compare(one, other);
            if self.desc {
                ordering.reverse()
            } else {
                ordering
            }
        });
        Ok(rows.into_iter().map(|(_, element)| element).collect())
    }
}

/// What an element is sorted by.
enum Weight<'a> {
    /// NaN for what is no number.
    Number(f64),
    Text(Option<Cow<'a, [u8]>>),
    /// The element itself.
    Itself,
}

fn weight<'a>(
    ctx: &ReadContext<'a>,
    order: Order<'_>,
    element: &Cow<'a, [u8]>,
) -> Result<Weight<'a>, CommandError> {
    let number = |bytes: &[u8]| Weight::Number(sort_weight(bytes).unwrap_or(f64::NAN));
    Ok(match order {
        Order::Kept | Order::Elements { alpha: true } => Weight::Itself,
        Order::Elements { alpha: false } => number(element),
        Order::Named {
            pattern,
            alpha: true,
        } => Weight::Text(look_up(ctx, pattern, element)?),
        Order::Named {
            pattern,
            alpha: false,
        } => match look_up(ctx, pattern, element)? {
            Some(found) => number(&found),
            None => Weight::Number(0.0),
        },
    })
}

fn compare(one: &(Weight<'_>, Cow<'_, [u8]>), other: &(Weight<'_>, Cow<'_, [u8]>)) -> Ordering {
    match (&one.0, &other.0) {
        (Weight::Number(a), Weight::Number(b)) => {
            let by_number = a.partial_cmp(b).unwrap_or(Ordering::Equal);
            by_number.then_with(|| one.1.cmp(&other.1))
        }
        // What is not there comes first.
        (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
        _ => one.1.cmp(&other.1),
    }
}

/// What a pattern names for an element: the element itself for `#`; else the string at the key that
/// the pattern becomes when the element takes the place of its first `*`, or the field behind `->`
/// of the hash there.
fn look_up<'a>(
    ctx: &ReadContext<'a>,
    pattern: &[u8],
    element: &Cow<'a, [u8]>,
) -> Result<Option<Cow<'a, [u8]>>, CommandError> {
    if pattern == b"#" {
        return Ok(Some(element.clone()));
    }
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else {
        return Ok(None);
    };
    let (before, behind) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = behind.windows(2).position(|pair| pair == b"->");
    let (behind, field) = match arrow {
        Some(at) if at + 2 < behind.len() => (&behind[..at], Some(&behind[at + 2..])),
        _ => (behind, None),
    };
    let key = [before, element, behind].concat();
    check_place(ctx, &key)?;
    let Some(entry) = ctx.get(&key) else {
        return Ok(None);
    };
    Ok(match field {
        Some(field) => hash_of(entry).and_then(|hash| hash.get(field).map(Cow::Borrowed)),
        None => StringRef::of(entry).ok().map(|string| match string {
            StringRef::Bytes(bytes) => Cow::Borrowed(bytes),
            StringRef::Int(number) => Cow::Owned(number.to_string().into_bytes()),
        }),
    })
}

fn hash_of(entry: &Entry) -> Option<&Hash> {
    match entry.value() {
        ValueRef::Object(Object::Hash(hash)) => Some(hash),
        _ => None,
    }
}

/// Refuses a key that the group does not serve. Nobody can ask elsewhere in the name of the
/// command, so the refusal is the client's.
fn check_place(ctx: &ReadContext<'_>, key: &[u8]) -> Outcome {
    if ctx.authority.is_open() {
        return Ok(());
    }
    match Stray::of(ctx.authority.place(key)) {
        None => Ok(()),
        Some(Stray::Gone { .. }) => Err(CROSSSLOT),
        Some(held) => Err(CommandError::composed(held.to_string())),
    }
}

/// What is sorted.
enum Source<'a> {
    Nothing,
    List(&'a List),
    Set(&'a Set),
    SortedSet(&'a SortedSet),
}

impl<'a> Source<'a> {
    fn find(ctx: &ReadContext<'a>, key: &[u8]) -> Result<Self, CommandError> {
        match ctx.get(key).map(Entry::value) {
            None => Ok(Self::Nothing),
            Some(ValueRef::Object(Object::List(list))) => Ok(Self::List(list)),
            Some(ValueRef::Object(Object::Set(set))) => Ok(Self::Set(set)),
            Some(ValueRef::Object(Object::SortedSet(set))) => Ok(Self::SortedSet(set)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::List(list) => list.len(),
            Self::Set(set) => set.len(),
            Self::SortedSet(set) => set.len(),
        }
    }

    /// A part of the elements as they stand; counted, and given, from the end if `reverse`, except
    /// for a set, which has no end.
    fn part(&self, range: std::ops::Range<usize>, reverse: bool) -> Vec<Cow<'a, [u8]>> {
        let listed = |element| match element {
            Element::Bytes(bytes) => Cow::Borrowed(bytes),
            Element::Int(number) => Cow::Owned(number.to_string().into_bytes()),
        };
        let count = range.len();
        match *self {
            Self::Nothing => Vec::new(),
            Self::List(list) if reverse => {
                let end = list.len() - range.start;
                list.iter_back(end).take(count).map(listed).collect()
            }
            Self::List(list) => list.iter(range.start).take(count).map(listed).collect(),
            Self::Set(set) => {
                let shown = |member| match member {
                    Member::Bytes(bytes) => Cow::Borrowed(bytes),
                    Member::Int(number) => Cow::Owned(number.to_string().into_bytes()),
                };
                set.iter_from(range.start).take(count).map(shown).collect()
            }
            Self::SortedSet(set) => {
                let ranks = match reverse {
                    true => set.len() - range.end..set.len() - range.start,
                    false => range,
                };
                let members = set.walk(ranks, reverse);
                members.map(|(member, _)| Cow::Borrowed(member)).collect()
            }
        }
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
