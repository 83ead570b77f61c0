//! Listening sockets: one per worker on the same address.
//!
//! They are opened once and kept over every change of a service's settings but its address. The control
//! thread holds them, so a worker that stops listening closes nothing.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::service::Listeners;

/// Connections the kernel queues per socket while a worker is busy. The kernel lowers it to its own
/// bound (`net.core.somaxconn`, 4096 by default).
const BACKLOG: i32 = 4_096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "cannot listen on {0}: another process listens there already; stop it (find it with `ss -ltnp`) \
         or choose another port"
    )]
    Taken(SocketAddr),
    #[error(
        "cannot listen on {0}: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, so choose \
         a higher one or grant that"
    )]
    Denied(SocketAddr),
    #[error("cannot listen on {0}: this machine has no such address; listen on one it has, or on 0.0.0.0")]
    NoSuchAddress(SocketAddr),
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

/// Listens on an address, once per worker.
pub(crate) fn listen(address: SocketAddr, workers: usize) -> Result<Listeners, ListenError> {
    let explain = |why: io::Error| match why.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NoSuchAddress(address),
        _ => ListenError::Other(address, why),
    };
    // With SO_REUSEPORT a second balancer of the same user could share the port unnoticed; a first
    // socket without it tells whether anyone listens there.
    drop(open(address, false).map_err(explain)?);
    let first = open(address, true).map_err(explain)?;
    let bound = first.local_addr().ok().and_then(|a| a.as_socket());
    let bound = bound.ok_or_else(|| explain(io::Error::other("the socket has no address")))?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(open(bound, true).map_err(explain)?);
    }
    for socket in &sockets {
        socket.listen(BACKLOG).map_err(explain)?;
    }
    Ok(Listeners { bound, sockets: sockets.into_iter().map(Into::into).collect() })
}

fn open(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that linger in TIME_WAIT are no reason not to listen.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if !share {
        socket.listen(1)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let taken = listen("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = listen(taken.bound, 2).unwrap_err().to_string();
        assert!(error.contains("another process listens there already; stop it"), "{error}");
        let error = listen("192.0.2.1:80".parse().unwrap(), 1).unwrap_err().to_string();
        assert!(error.contains("this machine has no such address"), "{error}");
    }

    #[test]
    fn every_worker_listens_on_the_same_port() {
        let l = listen("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert!(l.sockets.iter().all(|s| s.local_addr().unwrap() == l.bound));
        assert_eq!(l.sockets.len(), 3);
    }
}
