//! What reading sources costs: 1 000 workloads with four signals each, from one Prometheus, every second.
//!
//! A real Prometheus scrapes a program that shows the moment as every value, once a second; so a sample that arrives
//! tells its whole age, the wait for the scrape included. The reading runs in a thread of its own, whose time on the
//! core is what is counted: neither Prometheus nor the program it scrapes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use headroom_adapters::source;
use headroom_engine::ports::{News, Source as _};
use serde::Serialize;

use super::Output;

const WORKLOADS: usize = 1_000;
const SIGNALS: [&str; 4] = ["rps", "latency", "cpu", "depth"];
/// How long Prometheus may take to show all series.
const PATIENCE: Duration = Duration::from_secs(60);
const MEASURED: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    workloads: usize,
    signals: usize,
    /// Groups that are read, each with one task and one connection.
    groups: usize,
    rounds: usize,
    seconds: f64,
    cores: f64,
    age_seconds_p50: f64,
    age_seconds_p99: f64,
    age_seconds_longest: f64,
    absent: usize,
}

pub(crate) fn run(output: Output) -> Result<()> {
    let shown = show()?;
    let folder = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _server = Server::start(folder.path(), port, shown)?;
    let measured = std::thread::spawn(move || -> Result<Figures> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(port))
    });
    let figures = measured.join().map_err(|_| anyhow::anyhow!("the measurement failed"))??;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Output::Text => println!(
            "{} workloads, {} signals, {} group: {:.3} of a core; age p50 {:.2} s, p99 {:.2} s, longest {:.2} s; {} of {} \
             values absent ({} rounds in {:.0} s)",
            figures.workloads,
            figures.signals,
            figures.groups,
            figures.cores,
            figures.age_seconds_p50,
            figures.age_seconds_p99,
            figures.age_seconds_longest,
            figures.absent,
            figures.rounds * figures.signals,
            figures.rounds,
            figures.seconds
        ),
    }
    Ok(())
}

async fn measure(port: u16) -> Result<Figures> {
    let fleet = fleet(port)?;
    let groups = source::groups(&fleet);
    let group = groups.first().context("the fleet reads something")?;
    let mut source = source::open(group, Path::new("/"));
    let patience = Instant::now();
    while round(&mut source).await?.1 > 0 {
        ensure!(patience.elapsed() < PATIENCE, "Prometheus does not show all series");
    }
    let (begun, cpu) = (Instant::now(), on_core()?);
    let (mut ages, mut absent, mut rounds) = (Vec::new(), 0, 0);
    while begun.elapsed() < MEASURED {
        let (more, without) = round(&mut source).await?;
        ages.extend(more);
        absent += without;
        rounds += 1;
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), on_core()? - cpu);
    ages.sort_by(f64::total_cmp);
    let at = |share: f64| ages.get((ages.len() as f64 * share) as usize).or(ages.last()).copied();
    Ok(Figures {
        workloads: WORKLOADS,
        signals: WORKLOADS * SIGNALS.len(),
        groups: groups.len(),
        rounds,
        seconds,
        cores: cpu / seconds,
        age_seconds_p50: at(0.5).context("no value came")?,
        age_seconds_p99: at(0.99).context("no value came")?,
        age_seconds_longest: at(1.0).context("no value came")?,
        absent,
    })
}

/// The ages of a round's values when they are there, and how many are absent.
async fn round(source: &mut source::Poller) -> Result<(Vec<f64>, usize)> {
    let Some(News::Samples(samples)) = source.next().await else { bail!("the source ended") };
    let now = unix_seconds();
    let ages: Vec<f64> =
        samples.iter().filter_map(|m| Some(now - m.value.as_ref().ok()?.value.get())).collect();
    let absent = samples.len() - ages.len();
    Ok((ages, absent))
}

fn fleet(port: u16) -> Result<headroom_core::fleet::Fleet> {
    let signal = |app: &str, name: &str| {
        serde_json::json!({
            "prometheus": { "from": "metrics", "query": format!("sum by (app) (bench_{name})"), "where": { "app": app } },
            "unit": "count", "every": "1s"
        })
    };
    let workload = |i: usize| {
        let app = format!("w{i:04}");
        let signals: serde_json::Map<_, _> =
            SIGNALS.iter().map(|name| ((*name).to_owned(), signal(&app, name))).collect();
        let workload = serde_json::json!({
            "target": { "process": { "command": ["app"] } },
            "replicas": { "min": 1, "max": 10 },
            "signals": signals,
            "strategies": [{ "targetTracking": { "signal": "depth", "perReplica": 100 } }]
        });
        (app, workload)
    };
    let workloads: serde_json::Map<_, _> = (0..WORKLOADS).map(workload).collect();
    let document = serde_json::from_value(serde_json::json!({
        "apiVersion": "headroom.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": "bench" },
        "spec": {
            "sources": { "metrics": { "prometheus": { "url": format!("http://127.0.0.1:{port}") } } },
            "workloads": workloads
        }
    }))?;
    headroom_core::fleet::Fleet::new(document).map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

/// Shows the moment as the value of every series, for as long as the benchmark runs; gives the port.
fn show() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 8192];
    while stream.read(&mut request)? > 0 {
        let now = unix_seconds();
        let mut text = String::new();
        for name in SIGNALS {
            text.push_str(&format!("# TYPE bench_{name} gauge\n"));
            for i in 0..WORKLOADS {
                text.push_str(&format!("bench_{name}{{app=\"w{i:04}\"}} {now:.3}\n"));
            }
        }
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", text.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Seconds that this thread has spent on a core.
pub(super) fn on_core() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().context("schedstat is empty")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// A Prometheus that scrapes one program every second.
struct Server(Child);

impl Server {
    fn start(folder: &Path, port: u16, shown: u16) -> Result<Self> {
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 900ms }}\nscrape_configs:\n  - job_name: bench\n    \
             static_configs: [ {{ targets: [\"127.0.0.1:{shown}\"] }} ]\n"
        );
        std::fs::write(&config, text)?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("prometheus can't be started; install the Debian package `prometheus`")?;
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that is still wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
