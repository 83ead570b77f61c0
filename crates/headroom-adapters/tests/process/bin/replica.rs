//! A replica for tests, on the standard library alone: `test-replica [OPTION]…`, options in any order.
//!
//! * `--port N` serves `GET` on N: `/health` says 503 while a file `sick-<replica>` or `sick` is in the
//!   working directory, else 200; everything else says the replica's name. Without it, it only lives.
//! * `--ready-after MS` answers 503 until then; `--never-ready` for ever.
//! * `--exit-after MS` ends with code 3 then, saying why on stderr.
//! * `--child` starts a child that only lives, in this process group; `--daemon` one in a session of its
//!   own with an empty environment. Their pids are appended to the file `children`.
//! * `--spin` uses one core.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a replica looks whether its test is still there.
const LOOK_AROUND: Duration = Duration::from_millis(500);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let name = std::env::var("HEADROOM_REPLICA").unwrap_or_default();
    println!("{name} starts");

    if has("--child") {
        remember_child(&mut Command::new("sleep"));
    }
    if has("--daemon") {
        remember_child(Command::new("setsid").arg("sleep").env_clear());
    }
    let end = number("--exit-after").map(|ms| Instant::now() + Duration::from_millis(ms));
    let ready = Instant::now() + Duration::from_millis(number("--ready-after").unwrap_or(0));
    if has("--spin") {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    if let Some(port) = number("--port") {
        let port = u16::try_from(port).unwrap_or(0);
        let listener = match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("cannot listen on {port}: {error}");
                std::process::exit(98);
            }
        };
        let never = has("--never-ready");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let healthy = !never && Instant::now() >= ready;
                let name = name.clone();
                // Each on its own, so that one that is slow to ask holds up no other; one that goes away
                // is none of a replica's concern.
                std::thread::spawn(move || answer(stream, &name, healthy));
            }
        });
    }
    loop {
        match end.map(|end| end.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => {
                eprintln!("cannot reach the database");
                std::process::exit(3);
            }
            Some(left) => std::thread::sleep(left.min(LOOK_AROUND)),
            None => std::thread::sleep(LOOK_AROUND),
        }
        // The directory goes with its test: a test that failed leaves nothing running.
        if std::env::current_dir().is_err() {
            return;
        }
    }
}

fn remember_child(command: &mut Command) {
    match command.arg("120").stdin(Stdio::null()).spawn() {
        Ok(child) => {
            let file = std::fs::File::options().create(true).append(true).open("children");
            if let Ok(mut file) = file {
                let _ = writeln!(file, "{}", child.id());
            }
        }
        Err(error) => eprintln!("no child: {error}"),
    }
}

fn answer(mut stream: std::net::TcpStream, name: &str, healthy: bool) -> std::io::Result<()> {
    let mut request = [0; 2048];
    let read = stream.read(&mut request)?;
    let sick = Path::new("sick").exists() || Path::new(&format!("sick-{name}")).exists();
    let health = request[..read].starts_with(b"GET /health");
    let (status, body) = match (health, healthy && !sick) {
        (true, false) => ("503 Service Unavailable", "not well"),
        _ => ("200 OK", name),
    };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
