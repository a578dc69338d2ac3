//! The RESP codec: bytes to requests, replies to bytes.
//!
//! Pure: no socket, no clock, no tokio. A connection owns its buffers; this crate says where
//! in them the requests lie ([`Parser`], [`Requests`], [`Args`]), writes replies into them in
//! the connection's protocol version ([`Encoder`]), and decodes the replies of other servers
//! ([`reply`]). It knows nothing of commands: arity, keys and types are checked above.
//!
//! How it fails: what a client sends is never a panic. A malformed request is a
//! [`ProtocolError`] that carries Redis's text; a malformed reply is a [`reply::ReplyError`];
//! an incomplete one is neither, it waits for more bytes. Memory is bounded by what has
//! arrived, never by what a header announces.
//!
//! Limit: a buffer is parsed up to 4 GiB, since argument ranges hold 32-bit offsets; a
//! request that would need more is refused ([`ProtocolError::TooBigRequest`]).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that fails by panicking fails as it should"
    )
)]

mod args;
mod double;
mod encoder;
mod error;
mod fast;
mod inline;
mod parser;
pub mod reply;

pub use args::{ArgRange, Args, Requests};
pub use double::format_double;
pub use encoder::{Deferred, Encoder, Protocol};
pub use error::ProtocolError;
pub use parser::{Limits, Parser};
