//! Real servers as child processes, for every test program that needs one.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use headroom_testkit::port::free as free_port;

/// So long a test waits for a server.
const NEVER: Duration = Duration::from_secs(90);

/// Whether tests with real servers are left out.
pub(crate) fn skip_real(what: &str) -> bool {
    let skip = std::env::var_os("HEADROOM_SKIP_REAL").is_some();
    if skip {
        eprintln!("skipped: HEADROOM_SKIP_REAL is set, so {what} is not started");
    }
    skip
}

/// A server, killed with its children at the end of its test.
pub(crate) struct Server(Child);

impl Server {
    /// Starts `program`; what it says goes to `log`.
    pub(crate) fn start(program: &str, arguments: &[&str], env: &[(&str, &str)], log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|e| {
            panic!("{program} can't be started ({e}): install it, or set HEADROOM_SKIP_REAL=1 to leave these tests out")
        });
        Self(child)
    }

    /// Waits until something listens at `port`.
    pub(crate) async fn listens(&mut self, port: u16, log: &Path) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            if let Ok(Some(status)) = self.0.try_wait() {
                panic!("the server ended with {status}: {}", said());
            }
            assert!(begun.elapsed() < NEVER, "the server does not listen: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}
