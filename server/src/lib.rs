//! The Bailiwick node: a server that speaks Redis's protocol over a durable, ordered log.
//!
//! `keyspace`, `commands` and `state` are pure: no sockets, no files, no clock. `group` puts a log
//! under a state; `node`, `worker` and `connection` put clients in front of it; `run` is the life
//! of the process.

#![cfg_attr(test, allow(clippy::unwrap_used))]

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
pub mod transfer;
pub mod worker;
