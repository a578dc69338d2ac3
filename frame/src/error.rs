//! What a client can do wrong in the request protocol.
//!
//! Owns the texts, which are Redis's own: client libraries and their test suites compare
//! them. Does not own the `-ERR ` in front of them, nor the decision to close the
//! connection, although every variant calls for it: after a malformed length nobody can
//! tell where the next request starts. "Not all there yet" is no error and has no variant.

/// A request that cannot be parsed. The text is what stands after `-ERR ` in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number after `*` is no number, or more than
    /// [`Limits::max_args`](crate::Limits::max_args).
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// The number after `$` is no number, negative, or more than
    /// [`Limits::max_bulk_bytes`](crate::Limits::max_bulk_bytes).
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument of a multibulk request starts with another byte than `$`. The byte is
    /// shown as the Latin-1 character, since a text cannot hold an arbitrary byte.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// The line that starts with `*` does not end within the line limit.
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// The line that should hold an argument's length does not end within the line limit.
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An inline request does not end within the line limit.
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// A quote is not closed, or something other than a space follows the closing quote.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// More than ten arguments from a client that has yet to authenticate.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// An argument over 16 KiB from a client that has yet to authenticate.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// The arguments of one request add up to more than 4 GiB, which argument ranges cannot
    /// address. Redis closes such a connection too, at its query buffer limit.
    #[error("Protocol error: too big request")]
    TooBigRequest,
}
