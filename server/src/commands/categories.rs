//! The ACL categories of a command: those of its row, and those that follow from its flags.

use super::{Category, Command, Flag};

/// What puts a command into a category.
enum Source {
    Row(Category),
    Flag(Flag),
    /// Either of the two.
    Either(Category, Flag),
    /// The absence of a flag.
    Not(Flag),
}

/// All categories in Redis's order.
static CATEGORIES: &[(&str, Source)] = &[
    ("keyspace", Source::Row(Category::Keyspace)),
    ("read", Source::Flag(Flag::Readonly)),
    ("write", Source::Flag(Flag::Write)),
    ("set", Source::Row(Category::Set)),
    ("sortedset", Source::Row(Category::Sortedset)),
    ("list", Source::Row(Category::List)),
    ("hash", Source::Row(Category::Hash)),
    ("string", Source::Row(Category::String)),
    ("bitmap", Source::Row(Category::Bitmap)),
    ("hyperloglog", Source::Row(Category::Hyperloglog)),
    ("geo", Source::Row(Category::Geo)),
    ("stream", Source::Row(Category::Stream)),
    ("pubsub", Source::Either(Category::Pubsub, Flag::Pubsub)),
    ("admin", Source::Either(Category::Admin, Flag::Admin)),
    ("fast", Source::Flag(Flag::Fast)),
    ("slow", Source::Not(Flag::Fast)),
    ("blocking", Source::Flag(Flag::Blocking)),
    (
        "dangerous",
        Source::Either(Category::Dangerous, Flag::Admin),
    ),
    ("connection", Source::Row(Category::Connection)),
    ("transaction", Source::Row(Category::Transaction)),
    ("scripting", Source::Row(Category::Scripting)),
];

/// The names of all categories, without their `@`.
pub fn category_names() -> impl ExactSizeIterator<Item = &'static str> {
    CATEGORIES.iter().map(|(name, _)| *name)
}

/// The names of a command's categories, without their `@`.
pub fn categories_of(command: &Command) -> impl Iterator<Item = &'static str> {
    CATEGORIES
        .iter()
        .filter(|(_, source)| holds(source, command))
        .map(|(name, _)| *name)
}

fn holds(source: &Source, command: &Command) -> bool {
    let in_row = |category: Category| command.categories & category as u32 != 0;
    match *source {
        // Scripts may do anything, so that they read only is no reason to allow them to readers.
        Source::Flag(Flag::Readonly) => command.has(Flag::Readonly) && !in_row(Category::Scripting),
        Source::Row(category) => in_row(category),
        Source::Flag(flag) => command.has(flag),
        Source::Either(category, flag) => in_row(category) || command.has(flag),
        Source::Not(flag) => !command.has(flag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::find;

    #[test]
    fn categories_follow_from_row_and_flags() {
        for (name, expected) in [
            ("keys", "keyspace read slow dangerous"),
            ("expire", "keyspace write fast"),
            ("save", "admin slow dangerous"),
            ("role", "admin fast dangerous"),
            ("exec", "slow transaction"),
            ("lolwut", "read fast"),
        ] {
            let command = find(name.as_bytes()).expect(name);
            assert_eq!(
                categories_of(&command).collect::<Vec<_>>().join(" "),
                expected,
                "{name}"
            );
        }
        assert_eq!(category_names().len(), 21);
    }
}
