//! The Bailiwick node: a server that speaks Redis's protocol over a durable, ordered log.
//!
//! `keyspace`, `commands` and `state` are pure: no sockets, no files, no clock. `group` puts a log
//! under a state; `node`, `worker` and `connection` put clients in front of it; `run` is the life
//! of the process, which `config` describes.
//!
//! A node of a cluster knows from `directory` which group serves which prefix; `authority` is what
//! a group itself knows of that, `handoff` changes it, `estate` keeps both and the node's seats up
//! to date. `routing` decides where a request runs, `proxy` has it run elsewhere. `pubsub` and
//! `notices` carry what clients are sent unasked. `rdb` and `transfer` exchange data with Redis;
//! `demo` is several nodes in one process. ARCHITECTURE.md has all of them, with their entry
//! points.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that fails by panicking fails as it should"
    )
)]

pub mod authority;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod connection;
pub mod demo;
pub mod directory;
pub mod estate;
pub mod group;
pub mod handoff;
pub mod keyspace;
pub mod latency;
pub mod logging;
pub mod node;
pub mod notices;
pub mod proxy;
pub mod pubsub;
pub mod rdb;
pub mod routing;
pub mod run;
pub mod slowlog;
pub mod state;
mod threads;
pub mod transfer;
pub mod worker;
