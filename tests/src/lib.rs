//! Whole-system tests: real processes, real sockets, real client programs.
//!
//! [`server`] starts and ends servers, [`client`] speaks the protocol to them, [`differential`]
//! runs random commands on Bailiwick and on Redis side by side, [`blocking`] clients that wait for
//! keys, [`kill`] ends the node under load and checks what it has kept. What comes unasked is seen
//! by an [`audience`] of connections, and by [`caching`] clients, which keep copies of what they
//! read.
//!
//! [`cluster`] starts several nodes with a network between them ([`relay`]) and disks ([`disk`])
//! that can be made to fail, and [`counting`] clients notice if they do, as do those of
//! [`queueing`], who wait for keys; [`chaos`] does so under load, records what clients saw
//! ([`history`]) and has it judged ([`linearizability`]). [`regions`] starts clusters of several
//! regions, far from each other, and moves keys between them under load. [`simulation`] runs whole
//! clusters in one thread, on simulated clocks, network and disks. The tests themselves are in
//! `tests/`; long runs of five of these are programs of their own, in `bin/`.
//!
//! [`libraries`] installs client libraries and frameworks of other languages. Nothing here uses a
//! fixed port, and nothing outlives its test: servers are killed on drop, and by the kernel should
//! the test itself be killed ([`child`]). Deadlines are generous, and only tell a hang from an answer; no test
//! measures speed.

pub mod audience;
pub mod blocking;
pub mod caching;
pub mod chaos;
pub mod child;
pub mod client;
pub mod cluster;
pub mod counting;
pub mod differential;
pub mod disk;
pub mod history;
pub mod kill;
pub mod libraries;
pub mod linearizability;
pub mod queueing;
pub mod regions;
pub mod relay;
pub mod server;
pub mod simulation;
