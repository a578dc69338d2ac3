//! Whole-system tests: real processes, real sockets, real client programs.
//!
//! [`server`] starts and ends servers, [`client`] speaks the protocol to them, [`differential`]
//! runs random commands on Bailiwick and on Redis side by side, [`kill`] ends the node under load
//! and checks what it has kept. [`history`] records
//! what concurrent clients saw and [`linearizability`] judges it. The tests themselves are in `tests/`; long runs of the last two
//! are programs of their own.
//!
//! Nothing here uses a fixed port, and nothing outlives its test: servers are killed on drop, and
//! by the kernel should the test itself be killed. Deadlines are generous, and only tell a hang
//! from an answer; no test measures speed.

pub mod client;
pub mod differential;
pub mod history;
pub mod kill;
pub mod linearizability;
pub mod server;
