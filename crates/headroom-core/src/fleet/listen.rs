//! Addresses of this machine that a policy listens at.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::Path;

/// An address that is listened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// For connections.
    Tcp(SocketAddr),
    /// For packets.
    Udp(SocketAddr),
}

impl Listen {
    /// Whether not both can be listened at: the same port of the same protocol, where one address is, or covers, the
    /// other. Port 0 is any free one.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) | (Self::Udp(a), Self::Udp(b)) => (a, b),
            _ => return false,
        };
        a.port() != 0 && a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
    }
}

/// Whether who listens at `a` has `b` as well: `0.0.0.0` is every IPv4 address, `[::]` every address.
fn covers(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_unspecified() && (a.is_ipv6() || b.is_ipv4()))
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
        }
    }
}

/// What of a policy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub listen: Listen,
    /// Whose it is: "workload `web`".
    pub whose: String,
    /// Where the policy says so.
    pub at: Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_by_itself_and_by_what_covers_it() {
        let tcp = |text: &str| Listen::Tcp(text.parse().unwrap());
        let udp = |text: &str| Listen::Udp(text.parse().unwrap());
        let cases = [
            (tcp("127.0.0.1:80"), tcp("127.0.0.1:80"), true),
            (tcp("127.0.0.1:80"), tcp("127.0.0.1:81"), false),
            (tcp("127.0.0.1:80"), tcp("127.0.0.2:80"), false),
            (tcp("127.0.0.1:80"), udp("127.0.0.1:80"), false),
            (udp("127.0.0.1:80"), udp("0.0.0.0:80"), true),
            (tcp("0.0.0.0:80"), tcp("127.0.0.1:80"), true),
            (tcp("0.0.0.0:80"), tcp("[::1]:80"), false),
            (tcp("[::]:80"), tcp("127.0.0.1:80"), true),
            (tcp("[::]:80"), tcp("0.0.0.0:80"), true),
            (tcp("127.0.0.1:0"), tcp("127.0.0.1:0"), false),
            (tcp("0.0.0.0:0"), tcp("127.0.0.1:0"), false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.overlaps(&b), expected, "{a} and {b}");
            assert_eq!(b.overlaps(&a), expected, "{b} and {a}");
        }
    }
}
