//! Why a command was refused.

use std::borrow::Cow;

use crate::authority::Stray;
use crate::state::Awaits;

/// A refusal: the client gets it as an error reply, and the connection lives on. The display form
/// is the reply without its leading `-`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// An argument or a value is no 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or a value is no number.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// Options that do not exist or contradict one another.
    #[error("ERR syntax error")]
    Syntax,
    /// The command needs a key that is not there.
    #[error("ERR no such key")]
    NoSuchKey,
    /// An increment would leave the range of 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// An index is beyond what is there.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// A database number that does not exist.
    #[error("ERR DB index is out of range")]
    DatabaseOutOfRange,
    /// A string would become longer than `proto-max-bulk-len`.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// The data is not loaded yet.
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    /// One of the keys is not served by the group. Nothing was done; another group may do it.
    #[error("{0}")]
    Stray(Box<Stray>),
    /// There is nothing to reply with yet, and the client may wait. Nothing was done.
    #[error("ERR this command waits for keys")]
    Blocks(Box<Awaits>),
    /// Anything said only once; the text begins with its code.
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl CommandError {
    /// Memory is short, and the command might need some.
    pub const OUT_OF_MEMORY: Self =
        Self::text("OOM command not allowed when used memory > 'maxmemory'.");

    /// The command may have been done.
    pub const UNCERTAIN: Self = Self::text(
        "UNCERTAIN The command was given to the group, but its outcome could not be learnt in \
         time: it may have been done, or be done yet. Read the keys before repeating it",
    );

    /// What EXEC answers if one of the commands is refused like this when it is about to run.
    #[must_use]
    pub fn aborting_exec(&self) -> Self {
        Self::composed(format!(
            "EXECABORT Transaction discarded because of: {self}"
        ))
    }

    /// An error with a fixed text, its code included.
    #[must_use]
    pub const fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// An error with a composed text, its code included.
    #[must_use]
    pub fn composed(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// `ERR wrong number of arguments for 'name' command`.
    #[must_use]
    pub fn arity(full_name: &str) -> Self {
        Self::composed(format!(
            "ERR wrong number of arguments for '{full_name}' command"
        ))
    }

    /// `ERR invalid expire time in 'name' command`.
    #[must_use]
    pub fn invalid_expire(name: &str) -> Self {
        Self::composed(format!("ERR invalid expire time in '{name}' command"))
    }
}
