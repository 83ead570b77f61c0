//! `headroom demo`: an app, the balancer, the controller, the page and a surge, all on this machine.
//!
//! Nothing is mocked: the same parts that `headroom run` starts keep a real program behind the real balancer,
//! and an open-loop load offers its requests whether or not they are answered. Only the app's slowness is
//! simulated, so that a laptop shows what ten machines would.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headroom_api::Listening;
use headroom_core::capacity::{Basis, Capacity};
use headroom_core::decision::SeenSignal;
use headroom_core::say;
use headroom_core::units::{Level, Span};
use headroom_engine::handle::Event;
use headroom_engine::ports::Leave;
use headroom_lb::control as lb;
use headroom_lb::names::BackendId;
use headroom_sample::load::{Generator, LiveStats, LoadOptions, LoadPlan};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;

use crate::cli::Demo;
use crate::controller::{Options, Running, ScratchDir};
use crate::exit::Exit;
use crate::output::Printer;

/// What one replica of the demo's app carries, in requests a second, and how much of it the policy uses.
const CAPACITY: u32 = 100;
const TARGET: u32 = 70;
/// The load of a demo somebody watches: calm, a surge of ten times as much, calm, and a day within minutes.
const SHOWN: &str = "200*(calm 20s @60, surge 20s x10, calm 20s @60, day 3m daily @150)";
/// The load of a demo that is measured: many surges.
const MEASURED: &str = "400*(calm 8s @60, surge 4s x10)";
/// With an objective: nothing to learn from but the load itself, so a day comes before the surge.
const WITH_OBJECTIVE: &str = "200*(calm 10s @60, day 40s daily @150, calm 5s @60, surge 10s x10)";
/// 95 % of the demo's requests are to be answered within this: ten times what an idle replica takes.
const LIMIT: Span = Span::millis(500);
/// How long a headless demo runs unless told otherwise.
const HEADLESS: Duration = Duration::from_secs(60);
/// With an objective: two rounds of its load, one to learn from and one to show what was learned.
const HEADLESS_OBJECTIVE: Duration = Duration::from_secs(130);
/// Connections of the load: what a surge of 600 requests a second leaves waiting while replicas start.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(3000).expect("not zero");
/// How often the live line is drawn.
const LINE: Duration = Duration::from_millis(250);
/// How long the first replicas may take.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The figures of a demo, as `-o json` prints them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    /// From the first request of a surge to the order to grow.
    reaction_ms: Spread,
    /// From the first request of a surge to the first one that a replica started for it answered; within a tenth
    /// of a second, which is how often the balancer tells.
    first_served_ms: Spread,
    /// How long the app takes to start, which is part of the above.
    start_up_ms: u64,
    requests: Requests,
    latency_ms: Latency,
    replicas: Counts,
    /// Decisions that changed something.
    decisions: u64,
    duration_s: f64,
    /// What one replica carries, as it was learned; with `--objective`.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<Learned>,
    /// How the objective was kept; with `--objective`.
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<Kept>,
}

/// What one replica carries, in requests a second.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Learned {
    /// What is reckoned with; `None` where nothing was learned.
    learned: Option<f64>,
    /// So much was carried.
    carried: Option<f64>,
    /// So much was not, where that was seen.
    not_carried: Option<f64>,
    /// Measurements it rests on.
    evidence: u32,
    /// Where the figure comes from.
    basis: Option<Basis>,
}

/// How the objective was kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// The 95 % quantile of latency was to stay below this.
    limit_ms: u64,
    /// How often it was looked at,
    looks: u64,
    /// and the share of looks at which it did, 0 to 1.
    met_share: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Spread {
    p50: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Requests {
    sent: u64,
    failed: u64,
    /// Not sent, because the generator had no connection left.
    overrun: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Counts {
    min: u32,
    max: u32,
    r#final: u32,
}

pub(crate) async fn run(args: &Demo, printer: Printer) -> Result<Exit> {
    super::logs(0);
    let built_in = match (args.objective, args.headless) {
        (true, _) => WITH_OBJECTIVE,
        (false, true) => MEASURED,
        (false, false) => SHOWN,
    };
    let plan = args.load.as_deref().unwrap_or(built_in);
    let plan: LoadPlan = plan.parse().context("the load can't be read")?;
    let scratch = ScratchDir::new("demo")?;
    let mut loaded =
        headroom_config::parse("demo.yaml", &policy(args)?).map_err(|e| anyhow::anyhow!(e.render(false)))?;
    loaded.base = scratch.path().to_owned();
    let api = if args.headless { None } else { Some(Listening::at(args.bind).await?) };
    let options = Options { data: scratch.path(), api, allow_hosts: &[], ours: Vec::new(), advise: false };
    let running = Running::start(loaded, options).await?;
    let outcome = watch(args, plan, &running, scratch.path()).await;
    running.stop(Leave::Stopped).await?;
    let figures = outcome?;
    printer.print(&figures, text)?;
    Ok(Exit::Success)
}

/// The demo's policy. It is what `examples/web.yaml` teaches, or `examples/learned-capacity.yaml`, with times for
/// impatient people.
fn policy(args: &Demo) -> Result<String> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let program = serde_json::to_string(&program.display().to_string())?;
    let start_up = args.start_up;
    Ok(format!(
        r#"apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: demo }}
spec:
  workloads:
    web:
      tier: web
      price: 0.0416 USD/h
      target:
        process:
          command: [{program}, sample-app, --port, "$PORT", --capacity, "{CAPACITY}", --start-up, {start_up}, --queue, "2000"]
          stop: {{ drain: 10s }}
      balancer: {{ listen: 127.0.0.1:0 }}
      replicas: {{ min: 2, max: 30 }}
      signals: {}
"#,
        rules(args)
    ))
}

/// What the demo's policy says of signals and strategies: a target to track, or only what must hold.
fn rules(args: &Demo) -> String {
    if args.objective {
        return format!(
            "{{ rps: {{ balancer: requestsPerSecond, window: 500ms }}, inFlight: {{ balancer: inFlight }},
          p95: {{ balancer: {{ latency: p95 }}, window: 2s }}, cpu: {{ process: cpu }} }}
      strategies:
        - objective: {{ signal: rps, latency: {{ signal: p95, below: {LIMIT} }}, startUp: {} }}",
            args.start_up
        );
    }
    format!(
        "{{ rps: {{ balancer: requestsPerSecond, window: 500ms }}, p95: {{ balancer: {{ latency: p95 }} }},
          cpu: {{ process: cpu }} }}
      strategies:
        - targetTracking: {{ signal: rps, perReplica: {TARGET}, scaleOutCooldown: 0s, scaleInCooldown: 0s }}
      behavior:
        scaleDown: {{ stabilization: 5s, policies: [{{ percent: 50, period: 5s }}] }}"
    )
}

/// Runs the load and watches what happens.
async fn watch(args: &Demo, plan: LoadPlan, running: &Running, data: &Path) -> Result<Figures> {
    let web = "web".parse()?;
    let served = running.say_where().await;
    let (_, address) = served.first().context("the balancer does not listen; see above")?;
    let ready = async {
        loop {
            let view = running.handle.workload(&web).await?;
            if view.status.is_some_and(|s| s.ready >= view.range.min) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ready)
        .await
        .with_context(|| format!("the app was not ready within {} s", READY_WITHIN.as_secs()))??;
    if let Some(page) = running.address {
        say!("page      http://{page}/#token={}", running.token.reveal());
        say!("app       http://{address}/");
        say!("stop      Ctrl-C\n");
    }
    let begun = Instant::now();
    let unless_told = if args.objective { HEADLESS_OBJECTIVE } else { HEADLESS };
    let lasts = args.lasts.map(Span::as_std).or(args.headless.then_some(unless_told));
    let mut events = running.handle.events();
    let options =
        LoadOptions { connections: CONNECTIONS, ..LoadOptions::new(format!("http://{address}/").parse()?) };
    let mut generator = Generator::start(plan, options);
    let live = generator.live();
    let mut tally = Tally::new(live.clone());
    let mut figures = figures(data).await?;
    let mut line = tokio::time::interval(LINE);
    let shows = !args.headless && std::io::stderr().is_terminal();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match lasts {
            Some(lasts) => tokio::time::sleep(lasts).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let finished = loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => tally.take(&event, shows),
                // A demo that is too slow to read its own events misses some; the figures say how many surges count.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break None,
            },
            Some(told) = figures.1.next() => tally.served(&told),
            _ = line.tick() => {
                let view = running.handle.workload(&web).await?;
                tally.looked(&view.signals);
                if let Some(status) = &view.status {
                    tally.saw(status.ready.0);
                    if shows {
                        draw(&live, status.ready.0, status.starting.0, &view.signals);
                    }
                }
            }
            report = generator.wait() => break Some(report),
            () = &mut over => break None,
            _ = interrupt.recv() => break None,
            _ = terminate.recv() => break None,
        }
    };
    if shows {
        // A terminal that has gone away needs no clean line.
        drop(write!(std::io::stderr(), "\r\u{1b}[2K"));
    }
    let report = match finished {
        Some(report) => report,
        None => {
            generator.stop();
            generator.finish().await
        }
    };
    let last = running.handle.workload(&web).await?;
    if let Some(status) = &last.status {
        tally.saw(status.ready.0);
    }
    let latency = report.latency_ms;
    Ok(Figures {
        reaction_ms: Spread::of(&tally.reactions),
        first_served_ms: Spread::of(&tally.first_served),
        start_up_ms: args.start_up.as_millis(),
        requests: Requests {
            sent: report.requests.sent,
            failed: report.requests.failed,
            overrun: report.requests.overrun,
        },
        latency_ms: Latency {
            p50: latency.map(|l| l.p50),
            p95: latency.map(|l| l.p95),
            p99: latency.map(|l| l.p99),
        },
        replicas: Counts { min: tally.min.unwrap_or(0), max: tally.max, r#final: tally.last },
        decisions: tally.acted,
        duration_s: begun.elapsed().as_secs_f64(),
        capacity: args.objective.then(|| Learned::of(last.capacity.as_ref())),
        objective: args.objective.then(|| tally.kept()),
    })
}

/// What is counted while the demo runs.
struct Tally {
    live: LiveStats,
    answered: usize,
    reactions: Vec<f64>,
    first_served: Vec<f64>,
    /// The surge whose first new replica has not served yet.
    waiting: Option<Instant>,
    known: BTreeSet<BackendId>,
    min: Option<u32>,
    max: u32,
    last: u32,
    acted: u64,
    /// Looks at which the quantile of latency was known, and those at which it was within its limit.
    looks: u64,
    kept: u64,
}

impl Tally {
    fn new(live: LiveStats) -> Self {
        Self {
            live,
            answered: 0,
            reactions: Vec::new(),
            first_served: Vec::new(),
            waiting: None,
            known: BTreeSet::new(),
            min: None,
            max: 0,
            last: 0,
            acted: 0,
            looks: 0,
            kept: 0,
        }
    }

    fn looked(&mut self, signals: &[SeenSignal]) {
        let p95 = signals.iter().find(|s| s.name.as_str() == "p95").and_then(|s| s.reading.fresh());
        if let Some(p95) = p95 {
            self.looks += 1;
            self.kept += u64::from(p95.value.get() <= LIMIT.as_secs_f64());
        }
    }

    fn kept(&self) -> Kept {
        #[expect(clippy::cast_precision_loss, reason = "four looks a second")]
        let met_share = (self.looks > 0).then(|| self.kept as f64 / self.looks as f64);
        Kept { limit_ms: LIMIT.as_millis(), looks: self.looks, met_share }
    }

    fn take(&mut self, event: &Event, shows: bool) {
        match event {
            Event::Acting(action) => {
                self.acted += 1;
                let now = Instant::now();
                let surges = self.live.snapshot().surges;
                // The first growth after the begin of a surge answers it; one that is over was never answered.
                if action.to > action.saw
                    && surges.len() > self.answered
                    && let Some(surge) = surges.last()
                {
                    self.answered = surges.len();
                    self.waiting = Some(surge.sent);
                    self.reactions.push(now.duration_since(surge.sent).as_secs_f64() * 1000.0);
                }
            }
            Event::Decided(decision) if shows && decision.from != decision.to => {
                let headline = say::headline(decision, say::Language::English);
                let headline = crate::output::harmless(&headline);
                say!("\r\u{1b}[2K{}  {headline}", super::explain::moment(decision.at));
            }
            Event::Decided(_)
            | Event::Noticed(_)
            | Event::Settled { .. }
            | Event::Changed(_)
            | Event::FleetChanged => {}
        }
    }

    fn saw(&mut self, ready: u32) {
        self.min = Some(self.min.map_or(ready, |min| min.min(ready)));
        self.max = self.max.max(ready);
        self.last = ready;
    }

    /// Notes the replicas that answer requests, as the balancer tells.
    fn served(&mut self, told: &lb::protocol::Event) {
        let lb::protocol::Event::Figures(figures) = told else { return };
        for (backend, traffic) in &figures.backends {
            if traffic.totals.status_2xx > 0
                && self.known.insert(backend.clone())
                && let Some(surge) = self.waiting.take()
            {
                self.first_served.push(surge.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
}

impl Learned {
    fn of(capacity: Option<&Capacity>) -> Self {
        Self {
            learned: capacity.map(|c| c.usable.get()),
            carried: capacity.map(|c| c.low.get()),
            not_carried: capacity.and_then(|c| c.high).map(Level::get),
            evidence: capacity.map_or(0, |c| c.evidence),
            basis: capacity.map(|c| c.basis),
        }
    }
}

impl Spread {
    fn of(milliseconds: &[f64]) -> Self {
        let mut sorted = milliseconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        // The value that this share of the values does not exceed.
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index of a short list"
            )]
            #[expect(clippy::cast_precision_loss, reason = "a short list")]
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).map(|ms| (ms * 10.0).round() / 10.0)
        };
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0), count: sorted.len() as u64 }
    }
}

/// The balancer's figures, told to the demo as to any other controller.
async fn figures(data: &Path) -> Result<(lb::Client, lb::Events)> {
    let (client, events) = lb::Client::connect(data.join("balancer.sock")).await?;
    client.subscribe().await?;
    Ok((client, events))
}

/// The live line: what comes in, what is there, how long it takes.
fn draw(live: &LiveStats, ready: u32, starting: u32, signals: &[SeenSignal]) {
    let stats = live.snapshot();
    let signal = |name: &str| {
        let seen = signals.iter().find(|s| s.name.as_str() == name)?;
        Some(seen.unit.say(seen.reading.fresh()?.value))
    };
    let bar: String = (0..30)
        .map(|i| {
            if i < ready {
                '█'
            } else if i < ready + starting {
                '▒'
            } else {
                '·'
            }
        })
        .collect();
    let mut stderr = std::io::stderr().lock();
    // A terminal that has gone away needs no line.
    let _ = write!(
        stderr,
        "\r\u{1b}[2K{:>10} {bar} {ready:>2} ready {starting:>2} starting  p95 {:>8}  {} sent, {} failed",
        signal("rps").unwrap_or_else(|| "–".to_owned()),
        signal("p95").unwrap_or_else(|| "–".to_owned()),
        stats.sent,
        stats.failed_in_all(),
    );
    let _ = stderr.flush();
}

fn text(figures: &Figures) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.0} ms"));
    let f = figures;
    let mut out = format!(
        "reaction   p50 {}, p99 {}, max {} over {} surges (first request of the surge → order to grow)\n\
         served     p50 {}, p99 {} (first request of the surge → first answer of a new replica; it starts in {} ms)\n\
         requests   {} sent, {} failed\n\
         latency    p50 {}, p95 {}, p99 {}\n\
         replicas   {} to {}, {} at the end; {} changes in {:.0} s\n",
        ms(f.reaction_ms.p50),
        ms(f.reaction_ms.p99),
        ms(f.reaction_ms.max),
        f.reaction_ms.count,
        ms(f.first_served_ms.p50),
        ms(f.first_served_ms.p99),
        f.start_up_ms,
        f.requests.sent,
        f.requests.failed,
        ms(f.latency_ms.p50),
        ms(f.latency_ms.p95),
        ms(f.latency_ms.p99),
        f.replicas.min,
        f.replicas.max,
        f.replicas.r#final,
        f.decisions,
        f.duration_s,
    );
    if let Some(Learned { learned, carried, not_carried, evidence, .. }) = &f.capacity {
        let rate = |rate: &Option<f64>| rate.map_or_else(|| "–".to_owned(), |r| format!("{r:.0}/s"));
        out.push_str(&format!(
            "capacity   {} a replica, learned from {evidence} measurements: {} carried, {} not\n",
            rate(learned),
            rate(carried),
            rate(not_carried)
        ));
    }
    if let Some(Kept { limit_ms, looks, met_share: Some(share) }) = &f.objective {
        out.push_str(&format!(
            "objective  p95 below {limit_ms} ms at {:.1} % of {looks} looks\n",
            100.0 * share
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_loads_can_be_read_and_outlast_whoever_watches() {
        for load in [SHOWN, MEASURED, WITH_OBJECTIVE] {
            let plan: LoadPlan = load.parse().unwrap();
            assert!(plan.lasts() >= Duration::from_secs(3600), "{load}");
        }
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.p50, spread.p99, spread.max, spread.count), (Some(2.0), Some(4.0), Some(4.0), 4));
        assert_eq!(Spread::of(&[]).p50, None);
    }
}
