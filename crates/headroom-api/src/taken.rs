//! Who holds a port, so that "address in use" can say what to do.

use procfs::process::{FDTarget, all_processes};

/// The program and process that listens on `port`, where this user may see it.
pub(crate) fn holder(port: u16) -> Option<String> {
    let mut listening = procfs::net::tcp().unwrap_or_default();
    listening.extend(procfs::net::tcp6().unwrap_or_default());
    let inode = listening
        .iter()
        .find(|entry| entry.local_address.port() == port && entry.state == procfs::net::TcpState::Listen)?
        .inode;
    all_processes().ok()?.flatten().find_map(|process| {
        let mut files = process.fd().ok()?;
        files.any(|file| file.is_ok_and(|f| matches!(f.target, FDTarget::Socket(i) if i == inode))).then(
            || {
                let name = process.stat().map_or_else(|_| "a process".to_owned(), |stat| stat.comm);
                format!("{name} (pid {})", process.pid)
            },
        )
    })
}
