//! What `/metrics` says: the traffic a replica has seen and what it has used, as text for a scraper.
//!
//! Only traffic counts. Probes (`/health`, `/metrics`) are left out, or the health checks of a balancer
//! would look like load and an idle replica would never be idle.
//!
//! The process figures carry the names of the Prometheus client libraries. A figure that can't be read
//! on this system is left out, it is never written as 0.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Upper bounds of the latency buckets in seconds: Prometheus' customary ones up to 10 s, and 200 ms and
/// 2 s, which are objectives in the examples.
const BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0];

/// What a request that its client gave up is counted as; nginx's convention.
const CLIENT_CLOSED: u16 = 499;

/// The text formats a scraper may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format to answer an `Accept` header with.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The content type of the answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What the traffic has been since the start.
#[derive(Debug)]
pub(crate) struct Figures {
    started: Instant,
    started_at: SystemTime,
    traffic: Mutex<Traffic>,
}

#[derive(Debug, Default)]
struct Traffic {
    by_code: BTreeMap<u16, u64>,
    in_flight: u64,
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: Duration,
}

/// One request in flight. Dropped without [`InFlight::end`], it counts as given up by its client.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    figures: &'a Figures,
    began: Instant,
    code: u16,
}

impl InFlight<'_> {
    /// The request was answered with the status `code`.
    pub(crate) fn end(mut self, code: u16) {
        self.code = code;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let mut traffic = self.figures.traffic();
        traffic.in_flight -= 1;
        *traffic.by_code.entry(self.code).or_default() += 1;
        traffic.count += 1;
        traffic.sum += took;
        if let Some(bucket) = BUCKETS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            traffic.buckets[bucket] += 1;
        }
    }
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), started_at: SystemTime::now(), traffic: Mutex::default() }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// A request begins.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.traffic().in_flight += 1;
        InFlight { figures: self, began: Instant::now(), code: CLIENT_CLOSED }
    }

    /// All figures as text, with the `gauges` (name, help, value) of the rest of the app.
    pub(crate) fn render(&self, format: Format, gauges: &[(&str, &str, f64)]) -> String {
        let mut page = Page { format, text: String::with_capacity(4096) };
        {
            let traffic = self.traffic();
            page.family("http_requests", "counter", "Requests answered, by status; probes are not counted.");
            for (code, count) in &traffic.by_code {
                page.sample("http_requests_total", &format!("{{code=\"{code}\"}}"), count);
            }
            page.family("http_requests_in_flight", "gauge", "Requests being served or waiting.");
            page.sample("http_requests_in_flight", "", traffic.in_flight);
            page.family(
                "http_request_duration_seconds",
                "histogram",
                "Time from a request's head to its answer.",
            );
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(traffic.buckets) {
                below += count;
                page.sample("http_request_duration_seconds_bucket", &format!("{{le=\"{bound:?}\"}}"), below);
            }
            page.sample("http_request_duration_seconds_bucket", "{le=\"+Inf\"}", traffic.count);
            page.sample("http_request_duration_seconds_sum", "", traffic.sum.as_secs_f64());
            page.sample("http_request_duration_seconds_count", "", traffic.count);
        }
        page.family("process_cpu_seconds", "counter", "CPU time used by the process.");
        page.sample("process_cpu_seconds_total", "", cpu_time().as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            page.family("process_resident_memory_bytes", "gauge", "Memory of the process that is in RAM.");
            page.sample("process_resident_memory_bytes", "", bytes);
        }
        if let Ok(since) = self.started_at.duration_since(SystemTime::UNIX_EPOCH) {
            page.family("process_start_time_seconds", "gauge", "When the process started, Unix time.");
            page.sample("process_start_time_seconds", "", since.as_secs_f64());
        }
        page.family("process_uptime_seconds", "gauge", "How long the process has run.");
        page.sample("process_uptime_seconds", "", self.uptime().as_secs_f64());
        for (name, help, value) in gauges {
            page.family(name, "gauge", help);
            page.sample(name, "", value);
        }
        if format == Format::OpenMetrics {
            page.text.push_str("# EOF\n");
        }
        page.text
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        // Counters stay right whatever panicked while they were held.
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CPU time the process has used, user and system.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Memory in RAM, where the system says so (`VmRSS` of Linux' `/proc/self/status`).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// The two lines before a family. A counter's family is named with `_total` in Prometheus' format and
    /// without it in OpenMetrics.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let suffix = if kind == "counter" && self.format == Format::Prometheus { "_total" } else { "" };
        self.line(format_args!("# HELP {name}{suffix} {help}"));
        self.line(format_args!("# TYPE {name}{suffix} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string can't fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_flight_until_it_ends_and_is_counted_once() {
        let figures = Figures::new();
        let (first, second) = (figures.begin(), figures.begin());
        assert!(figures.render(Format::Prometheus, &[]).contains("\nhttp_requests_in_flight 2\n"));
        first.end(200);
        drop(second);
        let text = figures.render(Format::Prometheus, &[]);
        for line in [
            "http_requests_in_flight 0",
            "http_requests_total{code=\"200\"} 1",
            "http_requests_total{code=\"499\"} 1",
            "http_request_duration_seconds_count 2",
            "http_request_duration_seconds_bucket{le=\"+Inf\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn each_format_follows_its_own_rule_for_counters_and_the_end() {
        let figures = Figures::new();
        let prometheus = figures.render(Format::Prometheus, &[("extra", "More.", 1.5)]);
        assert!(prometheus.contains("# TYPE process_cpu_seconds_total counter\n"));
        assert!(prometheus.ends_with("# TYPE extra gauge\nextra 1.5\n"));
        let open = figures.render(Format::OpenMetrics, &[]);
        assert!(open.contains("# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total "));
        assert!(open.ends_with("# EOF\n"));
    }

    #[test]
    fn open_metrics_is_sent_only_to_who_asks_for_it() {
        for (accept, expected) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), Format::OpenMetrics),
        ] {
            assert_eq!(Format::accepted(accept), expected);
        }
    }
}
