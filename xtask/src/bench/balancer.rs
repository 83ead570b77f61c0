//! The balancer against HAProxy and nginx: requests/s, p99 and requests per CPU second.
//!
//! All three carry the same load to the same backends on the same cores in one run, in turns whose
//! order changes each round, because a machine's speed drifts by more than what is to be measured. The
//! figures to trust are the ratios; requests per CPU second is the one least disturbed by other work on
//! the machine. A run with an error or an answer that is not 200 is no measurement and fails.
//!
//! Needs `haproxy`, `nginx`, `wrk` and `taskset` (`apt-get install haproxy nginx wrk util-linux`).
//! `HEADROOM_BENCH_ROUNDS` (default 5) and `HEADROOM_BENCH_SECONDS` (default 5, per turn) make it
//! longer or shorter.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// Size of an answer's body: a 1 KB page, small enough that the proxy and not the copying counts.
const BODY: usize = 1024;

/// Keep-alive connections of the load: enough to keep every core busy, few enough not to measure
/// queueing alone.
const CONNECTIONS: usize = 64;

/// Backends, so that balancing takes place.
const BACKENDS: usize = 2;

/// Clock ticks per second of `/proc/PID/stat`: fixed at 100 for user space on Linux.
const TICKS: f64 = 100.0;

/// Names of the contestants, ours first.
const PROXIES: [&str; 3] = ["headroom-lb", "haproxy", "nginx"];

/// One turn of one proxy.
#[derive(Debug, Clone, Copy)]
struct Turn {
    per_second: f64,
    p99_millis: f64,
    per_cpu_second: f64,
}

/// Runs the benchmark and prints it, as JSON or as a table.
///
/// # Errors
/// If a program is missing, does not start, or answers anything but 200.
pub(crate) fn run(json: bool) -> Result<()> {
    let rounds = number("HEADROOM_BENCH_ROUNDS", 5)?;
    let seconds = number("HEADROOM_BENCH_SECONDS", 5)?;
    let dir = env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, rounds, seconds);
    let _ = fs::remove_dir_all(&dir);
    let turns = measured?;
    if json {
        print_json(&turns, rounds, seconds);
    } else {
        print_table(&turns, rounds, seconds);
    }
    Ok(())
}

fn number(name: &str, default: u32) -> Result<u32> {
    match env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => {
            let n = text.parse().with_context(|| format!("{name} must be a number, not `{text}`"))?;
            ensure!((1..=1_000).contains(&n), "{name} must be between 1 and 1000");
            Ok(n)
        }
    }
}

/// Cores for the proxies, and for load and backends. With four or more they are kept apart; with fewer
/// all share all, which is the same for each proxy.
fn cores() -> (usize, String, String) {
    let n = std::thread::available_parallelism().map_or(1, usize::from);
    if n >= 4 {
        (2, "0,1".into(), format!("2-{}", n - 1))
    } else {
        (n, format!("0-{}", n - 1), format!("0-{}", n - 1))
    }
}

/// Turns of each proxy, in the order of [`PROXIES`].
fn measure(dir: &Path, rounds: u32, seconds: u32) -> Result<[Vec<Turn>; 3]> {
    let (threads, proxy_cores, load_cores) = cores();
    let mut backends = Vec::new();
    let mut running = Vec::new();
    for i in 0..BACKENDS {
        let port = free_port()?;
        let body = "x".repeat(BODY);
        let http = format!(
            "server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ default_type text/plain; return 200 '{body}'; }} }}"
        );
        running.push(nginx(dir, &format!("backend-{i}"), 1, &load_cores, &http)?);
        backends.push(port);
    }
    let ports = [free_port()?, free_port()?, free_port()?];
    let proxies = [
        headroom_lb(dir, threads, &proxy_cores, ports[0], &backends)?,
        haproxy(dir, threads, &proxy_cores, ports[1], &backends)?,
        nginx(dir, "proxy", threads, &proxy_cores, &proxy_http(ports[2], &backends))?,
    ];
    for port in backends.iter().chain(&ports) {
        wait_for_200(*port)?;
    }
    // Caches, pools and branch predictors first; their turns do not count.
    for port in ports {
        load(port, 1, &load_cores)?;
    }
    let mut turns = [const { Vec::new() }; 3];
    for round in 0..rounds as usize {
        for place in 0..PROXIES.len() {
            let which = (place + round) % PROXIES.len();
            let before = proxies[which].cpu_seconds()?;
            let (per_second, p99_millis, requests) = load(ports[which], seconds, &load_cores)?;
            let cpu = proxies[which].cpu_seconds()? - before;
            ensure!(cpu > 0.0, "{} used no CPU: is it the process that serves?", PROXIES[which]);
            turns[which].push(Turn { per_second, p99_millis, per_cpu_second: requests / cpu });
        }
    }
    drop((running, proxies));
    Ok(turns)
}

/// A program and its children; killed when dropped.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's workers follow their master on SIGTERM; a master that is killed leaves them behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let patience = Instant::now() + Duration::from_secs(5);
        while Instant::now() < patience && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child })
    }

    /// User and system time of the process and its children, so far.
    fn cpu_seconds(&self) -> Result<f64> {
        let own = self.child.id();
        let mut ticks = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            // A process may end between the listing and the reading.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
            let fields: Vec<&str> = rest.split(' ').collect();
            let field = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
            if pid == own || field(1) == u64::from(own) {
                ticks += field(11) + field(12);
            }
        }
        Ok(ticks as f64 / TICKS)
    }
}

fn pinned(cores: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program);
    command
}

fn nginx(dir: &Path, name: &str, workers: usize, cores: &str, http: &str) -> Result<Running> {
    let config = dir.join(format!("{name}.conf"));
    let place = dir.display();
    fs::write(
        &config,
        format!(
            "daemon off; master_process on; worker_processes {workers}; pid {place}/{name}.pid; error_log /dev/null;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
             client_body_temp_path {place}/{name}-1; proxy_temp_path {place}/{name}-2;\n\
             fastcgi_temp_path {place}/{name}-3; uwsgi_temp_path {place}/{name}-4; scgi_temp_path {place}/{name}-5;\n\
             {http} }}\n"
        ),
    )?;
    let mut command = pinned(cores, "nginx");
    command.arg("-c").arg(&config).args(["-e", "/dev/null"]);
    Running::start(command)
}

fn proxy_http(port: u16, backends: &[u16]) -> String {
    let servers: String = backends.iter().map(|b| format!("server 127.0.0.1:{b}; ")).collect();
    format!(
        "upstream web {{ {servers} keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=1024 reuseport; location / {{ proxy_pass http://web;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }} }}"
    )
}

fn haproxy(dir: &Path, threads: usize, cores: &str, port: u16, backends: &[u16]) -> Result<Running> {
    let config = dir.join("haproxy.cfg");
    let servers: String = backends
        .iter()
        .enumerate()
        .map(|(i, b)| format!("  server s{i} 127.0.0.1:{b} check inter 1s\n"))
        .collect();
    fs::write(
        &config,
        format!(
            "global\n  nbthread {threads}\n  maxconn 4096\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
             \x20 option forwardfor\n  http-reuse always\n\
             frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
             backend b\n  balance roundrobin\n{servers}"
        ),
    )?;
    let mut command = pinned(cores, "haproxy");
    command.arg("-db").arg("-f").arg(&config);
    Running::start(command)
}

/// The balancer as it ships, with its figures, health checks and default algorithm.
fn headroom_lb(dir: &Path, threads: usize, cores: &str, port: u16, backends: &[u16]) -> Result<Running> {
    let socket = dir.join("lb.sock");
    let mut command = pinned(cores, built()?);
    command.arg("--socket").arg(&socket).args(["--workers", &threads.to_string()]);
    let running = Running::start(command)?;
    let mut control = connect(&socket)?;
    let generation = ask(&mut control, r#"{"id":1,"request":"claim"}"#)?["reply"]["claimed"].clone();
    let backends: Vec<_> = backends
        .iter()
        .map(|b| serde_json::json!({ "id": format!("b-{b}"), "address": format!("127.0.0.1:{b}") }))
        .collect();
    let put = serde_json::json!({ "id": 2, "generation": generation, "request": { "put": {
        "name": "bench", "listen": format!("127.0.0.1:{port}"), "backends": backends,
    } } });
    let answer = ask(&mut control, &put.to_string())?;
    ensure!(answer["error"].is_null(), "the balancer refused the service: {answer}");
    Ok(running)
}

/// Builds the balancer as it is released.
fn built() -> Result<PathBuf> {
    let profile = env::var("HEADROOM_BENCH_PROFILE").unwrap_or_else(|_| "release".into());
    let built = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["build", "--profile", &profile, "-p", "headroom-lb", "--bin", "headroom-lb"])
        .status()?;
    ensure!(built.success(), "the balancer does not build");
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    Ok(Path::new(&target).join(profile).join("headroom-lb"))
}

fn connect(socket: &Path) -> Result<BufReader<UnixStream>> {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(BufReader::new(stream)),
            Err(e) if Instant::now() > patience => bail!("the balancer's socket never came: {e}"),
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
}

fn ask(control: &mut BufReader<UnixStream>, line: &str) -> Result<serde_json::Value> {
    control.get_mut().write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    control.read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for_200(port: u16) -> Result<()> {
    let patience = Instant::now() + Duration::from_secs(10);
    while Instant::now() < patience {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut line = String::new();
            let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
            if asked.is_ok() && BufReader::new(stream).read_line(&mut line).is_ok() && line.contains(" 200 ")
            {
                return Ok(());
            }
        }
        sleep(Duration::from_millis(20));
    }
    bail!("nothing answers 200 on port {port}; is nginx, haproxy or the balancer missing?")
}

/// Loads a proxy; requests per second, p99 in milliseconds, and requests in all.
fn load(port: u16, seconds: u32, cores: &str) -> Result<(f64, f64, f64)> {
    let output = pinned(cores, "wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency"])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .context("cannot start wrk; install it with `apt-get install wrk`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let bad = text.contains("Non-2xx") || text.contains("Socket errors");
    ensure!(output.status.success() && !bad, "the load ran into errors:\n{text}");
    let after = |start: &str| text.lines().find_map(|l| l.trim().strip_prefix(start)).map(str::trim);
    let per_second = after("Requests/sec:").and_then(|t| t.parse().ok());
    let p99 = after("99%").and_then(millis);
    let requests =
        text.lines().find_map(|l| l.split_once(" requests in ")).and_then(|(n, _)| n.trim().parse().ok());
    match (per_second, p99, requests) {
        (Some(per_second), Some(p99), Some(requests)) => Ok((per_second, p99, requests)),
        _ => bail!("wrk's output cannot be read:\n{text}"),
    }
}

/// A time as wrk writes it: `812.00us`, `3.05ms`, `1.02s`.
fn millis(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let n: f64 = text[..at].parse().ok()?;
    match &text[at..] {
        "us" => Some(n / 1e3),
        "ms" => Some(n),
        "s" => Some(n * 1e3),
        _ => None,
    }
}

fn median(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> f64 {
    let mut values: Vec<f64> = turns.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Medians of one proxy.
fn medians(turns: &[Turn]) -> Turn {
    Turn {
        per_second: median(turns, |t| t.per_second),
        p99_millis: median(turns, |t| t.p99_millis),
        per_cpu_second: median(turns, |t| t.per_cpu_second),
    }
}

/// Ours against the better of the others, each above 1 if ours is better.
fn ratios(all: &[Turn; 3]) -> Turn {
    let [ours, others @ ..] = all;
    let best = |of: fn(&Turn) -> f64| others.iter().map(of).fold(f64::MIN, f64::max);
    let least = others.iter().map(|t| t.p99_millis).fold(f64::MAX, f64::min);
    Turn {
        per_second: ours.per_second / best(|t| t.per_second),
        p99_millis: least / ours.p99_millis,
        per_cpu_second: ours.per_cpu_second / best(|t| t.per_cpu_second),
    }
}

fn print_table(turns: &[Vec<Turn>; 3], rounds: u32, seconds: u32) {
    let (threads, proxy, load) = cores();
    println!(
        "{CONNECTIONS} keep-alive connections, {BODY} B bodies, {BACKENDS} nginx backends, {threads} proxy threads; \
         proxies on cores {proxy}, load and backends on {load}; median of {rounds} turns of {seconds} s each"
    );
    println!(
        "{:<12} {:>12} {:>9} {:>13}   range of requests/s",
        "proxy", "requests/s", "p99 ms", "req / CPU s"
    );
    let all = [medians(&turns[0]), medians(&turns[1]), medians(&turns[2])];
    for ((name, t), turns) in PROXIES.iter().zip(&all).zip(turns) {
        let least = turns.iter().map(|t| t.per_second).fold(f64::MAX, f64::min);
        let most = turns.iter().map(|t| t.per_second).fold(f64::MIN, f64::max);
        println!(
            "{name:<12} {:>12.0} {:>9.2} {:>13.0}   {least:.0} to {most:.0}",
            t.per_second, t.p99_millis, t.per_cpu_second
        );
    }
    let r = ratios(&all);
    println!(
        "{:<12} {:>12.2} {:>9.2} {:>13.2}   ours against the better of the two; above 1 is better",
        "ratio", r.per_second, r.p99_millis, r.per_cpu_second
    );
}

fn print_json(turns: &[Vec<Turn>; 3], rounds: u32, seconds: u32) {
    let json = |t: &Turn| {
        serde_json::json!({
            "requestsPerSecond": t.per_second, "p99Millis": t.p99_millis, "requestsPerCpuSecond": t.per_cpu_second,
        })
    };
    let all = [medians(&turns[0]), medians(&turns[1]), medians(&turns[2])];
    let proxies: serde_json::Map<_, _> = PROXIES
        .iter()
        .zip(all.iter().zip(turns))
        .map(|(name, (median, turns))| {
            let turns: Vec<_> = turns.iter().map(json).collect();
            ((*name).to_owned(), serde_json::json!({ "median": json(median), "turns": turns }))
        })
        .collect();
    println!(
        "{:#}",
        serde_json::json!({
            "connections": CONNECTIONS, "bodyBytes": BODY, "backends": BACKENDS, "rounds": rounds,
            "secondsPerTurn": seconds, "proxies": proxies, "ratioToTheBetterOther": json(&ratios(&all)),
        })
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_wrk_are_read_in_every_unit() {
        for (text, expected) in
            [("812.00us", Some(0.812)), ("3.05ms", Some(3.05)), ("1.02s", Some(1020.0)), ("x", None)]
        {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn ratios_are_above_one_where_ours_is_better() {
        let t = |per_second, p99_millis, per_cpu_second| Turn { per_second, p99_millis, per_cpu_second };
        let r = ratios(&[t(90.0, 2.0, 50.0), t(100.0, 4.0, 40.0), t(60.0, 5.0, 20.0)]);
        assert_eq!((r.per_second, r.p99_millis, r.per_cpu_second), (0.9, 2.0, 1.25));
    }
}
