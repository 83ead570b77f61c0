//! Ports for servers that a test starts and that can't take one by themselves.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of the loopback that is free for TCP and UDP. It is below those that the system gives to whoever asks for any,
/// so only another call can give it again before it is taken, and each process begins elsewhere.
#[must_use]
pub fn free() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const PORTS: u32 = 12_000;
    loop {
        let next = std::process::id().wrapping_mul(97).wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        if let Ok(port) = u16::try_from(FIRST + next % PORTS)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            return port;
        }
    }
}
