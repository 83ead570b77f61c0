//! A free loopback port for each replica.
//!
//! Nobody can hold a port for another process, so between the choice and the replica's own `bind` the
//! port may be lost. That shows as an early end with the port in another's hands, and is mended by
//! another port (see `replica`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::fault::Fault;

/// Where replicas' ports come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ports {
    /// The operating system chooses among its ephemeral ports.
    #[default]
    Ephemeral,
    /// From `first` to `last`, both included; for a firewall, or to keep clear of outgoing connections.
    Range {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
}

/// A port nobody listens on and that is not among `taken`. In a range the search begins at an offset
/// made of `seed`, so that two supervisors of one range seldom meet.
pub(crate) fn pick(ports: Ports, taken: &BTreeSet<u16>, seed: u64) -> Result<u16, Fault> {
    match ports {
        Ports::Ephemeral => {
            // The system may offer one that is promised to a replica which hasn't bound it yet; it offers
            // others after. Bounded, since more promises than tries mean that something else is wrong.
            (0..64)
                .filter_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok())
                .map(|address| address.port())
                .find(|port| !taken.contains(port))
                .ok_or(Fault::NoFreePort { first: 1024, last: u16::MAX })
        }
        Ports::Range { first, last } => {
            let count = u32::from(last.saturating_sub(first)) + 1;
            let offset = u32::try_from(seed % u64::from(count)).unwrap_or(0);
            (0..count)
                .filter_map(|step| u16::try_from(u32::from(first) + (offset + step) % count).ok())
                .filter(|port| *port <= last && *port != 0)
                .find(|port| !taken.contains(port) && is_free(*port))
                .ok_or(Fault::NoFreePort { first, last })
        }
    }
}

/// Whether a replica could listen on it.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(address(port)).is_ok()
}

/// Where a replica with this port is reached.
pub(crate) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_each_free_port_once_and_then_says_that_it_is_full() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let first = held.local_addr().unwrap().port().min(65_530);
        let ports = Ports::Range { first, last: first + 3 };
        let mut taken = BTreeSet::new();
        while let Ok(port) = pick(ports, &taken, 12_345) {
            assert!((first..=first + 3).contains(&port));
            assert_ne!(port, held.local_addr().unwrap().port(), "a port in use was given");
            assert!(taken.insert(port), "{port} was given twice");
        }
        assert_eq!(pick(ports, &taken, 0), Err(Fault::NoFreePort { first, last: first + 3 }));
    }

    #[test]
    fn an_upside_down_range_has_no_port_beyond_its_end() {
        let full = pick(Ports::Range { first: 10, last: 9 }, &BTreeSet::new(), 3);
        assert_eq!(full, Err(Fault::NoFreePort { first: 10, last: 9 }));
    }

    #[test]
    fn ephemeral_ports_are_free() {
        let port = pick(Ports::Ephemeral, &BTreeSet::new(), 0).unwrap();
        assert!(is_free(port));
    }
}
