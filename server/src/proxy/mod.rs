//! Requests of this node's clients that other groups execute, and those of other nodes' clients
//! that groups of this node execute.
//!
//! A client may ask any node for any key. What concerns a group in which this node has no seat goes
//! to a member of that group and comes back with replies: one hop, whatever the number of nodes.
//! [`Courier`] is the asking side, [`clerk`] the serving one; both know no I/O. `desk` is the
//! thread that serves, `wire` what they say to each other, and [`Proxy`] joins them with the links.
//!
//! Writes are executed once, whatever breaks meanwhile: the asking node gives each parcel a number
//! of its own, which stands in the executing group's log, and the group keeps the replies until the
//! asking node says that it has them.

pub mod clerk;
mod courier;
mod desk;
mod lane;
mod outcome;
mod parcel;
mod service;
pub mod wire;

pub use courier::{Courier, Groups, Patience};
pub use service::Proxy;
