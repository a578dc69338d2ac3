//! Ports for the nodes of a demo.
//!
//! They are chosen where the kernel does not take ports for outgoing connections from, of which a
//! demo makes many. That another process comes to listen at one before the node does can still
//! happen; `nodes` begins anew then.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::cluster::Address;

/// Ports below are used for too much.
const FIRST: u16 = 10_000;
/// The kernel's own default, where it does not say from where on it takes ports.
const FIRST_OUTGOING: u16 = 32_768;
/// So many are tried for each one that is wanted.
const ATTEMPTS: usize = 100;

/// Pairs of free addresses, for clients and for other nodes.
///
/// # Errors
/// So many are not to be found.
pub(super) fn free_pairs(nodes: usize) -> io::Result<Vec<(Address, Address)>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ports = range_below(&range);
    // All are held until all are chosen, so that no two are the same.
    let mut held: Vec<TcpListener> = Vec::new();
    for _ in 0..2 * nodes * ATTEMPTS {
        if held.len() == 2 * nodes {
            break;
        }
        held.extend(TcpListener::bind((
            Ipv4Addr::LOCALHOST,
            fastrand::u16(ports.clone()),
        )));
    }
    // A machine may give out nearly all its ports; then the kernel chooses.
    while held.len() < 2 * nodes {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    let addresses = held.iter().map(TcpListener::local_addr);
    let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
    let pairs = addresses.chunks_exact(2);
    Ok(pairs.map(|pair| (pair[0].into(), pair[1].into())).collect())
}

/// The ports below those of the kernel's range, `first last`; some, whatever it is.
fn range_below(range: &str) -> std::ops::Range<u16> {
    let first = range.split_whitespace().next();
    let first = first.and_then(|first| first.parse().ok());
    FIRST..first.unwrap_or(FIRST_OUTGOING).max(FIRST + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_below_those_of_outgoing_connections() {
        assert_eq!(range_below("32768\t60999\n"), 10_000..32_768);
        assert_eq!(range_below("20000 60999"), 10_000..20_000);
        assert_eq!(range_below(""), 10_000..32_768);
        assert_eq!(range_below("1024\t65535\n"), 10_000..10_001);
    }

    #[test]
    fn no_port_is_there_twice() {
        let pairs = free_pairs(20).unwrap();
        let ports: BTreeSet<u16> = pairs
            .iter()
            .flat_map(|(client, peer)| [client.port(), peer.port()])
            .collect();
        assert_eq!(ports.len(), 40);
    }
}
