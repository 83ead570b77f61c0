//! Metrics that programs send here in statsd packets, over UDP.
//!
//! Only what a policy names is kept, so a sender can fill no memory. A counter that nobody sends is not zero: statsd
//! can't tell a quiet program from a dead one, so silence is "nothing to measure".

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headroom_core::fleet::{Ask, Quantile, StatsdAsk, StatsdSettings};
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::poll::{Figure, ReadError, Reader, Want};
use super::refusals::Refusals;
use crate::http::first_words;

/// Events of one metric kept at the most; the oldest go first, and a quantile is then of the newest.
const KEPT: usize = 100_000;
/// The largest packet: what fits into UDP.
const PACKET: usize = 65_535;

/// Takes in packets.
pub struct Statsd {
    listen: SocketAddr,
    asks: Vec<(StatsdAsk, Want)>,
    taken: Arc<Mutex<Taken>>,
    listener: Option<JoinHandle<()>>,
}

/// What has come of the metrics that someone asks for.
#[derive(Debug, Default)]
struct Taken {
    metrics: Metrics,
    refusals: Refusals,
}

type Metrics = HashMap<String, Metric>;

#[derive(Debug, Default, PartialEq)]
struct Metric {
    window: Span,
    gauge: Option<(Timestamp, f64)>,
    /// When, how many, and how long, for counters (one of them without a length) and timers.
    events: VecDeque<(Timestamp, f64, Option<f64>)>,
    counted_since: Option<Timestamp>,
}

impl Statsd {
    /// Takes in what is wanted.
    ///
    /// # Errors
    /// Where something else is wanted.
    pub fn new(settings: &StatsdSettings, wants: &[Want]) -> Result<Self, ReadError> {
        let asks: Vec<&StatsdAsk> = super::asks(wants, |ask| match ask {
            Ask::Statsd(ask) => Some(ask),
            _ => None,
        })?;
        let asks: Vec<_> = asks.into_iter().cloned().zip(wants.iter().cloned()).collect();
        let mut taken = Taken::default();
        for (ask, want) in &asks {
            let metric = taken.metrics.entry(ask.metric.clone()).or_default();
            metric.window = metric.window.max(want.window);
        }
        Ok(Self { listen: settings.listen, asks, taken: Arc::new(Mutex::new(taken)), listener: None })
    }

    async fn listen(&mut self) -> Result<(), ReadError> {
        if self.listener.as_ref().is_some_and(|listener| !listener.is_finished()) {
            return Ok(());
        }
        let socket = UdpSocket::bind(self.listen)
            .await
            .map_err(|e| ReadError::Setup(format!("packets can't be taken in at {}: {e}", self.listen)))?;
        let (taken, listen) = (Arc::clone(&self.taken), self.listen);
        self.listener = Some(tokio::spawn(async move {
            let mut packet = vec![0; PACKET];
            // A socket that fails ends the task; the next round binds it anew.
            while let Ok(length) = socket.recv(&mut packet).await {
                let text = String::from_utf8_lossy(packet.get(..length).unwrap_or_default());
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                let Taken { metrics, refusals } = &mut *taken;
                if let Err(line) = take_in(metrics, &text, now()) {
                    let begins = first_words(line.as_bytes());
                    let why = format!(
                        "what comes is no metric: {begins:?}; see that senders to {listen} write `name:value|type`"
                    );
                    refusals.note(now(), why);
                }
            }
        }));
        Ok(())
    }
}

impl Drop for Statsd {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

#[async_trait]
impl Reader for Statsd {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        self.listen().await?;
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now();
        let figure = |(ask, want): &(StatsdAsk, Want)| {
            let metric = taken.metrics.get(&ask.metric);
            let figure =
                metric.map_or(Err(Absence::Empty), |metric| metric.figure(ask.quantile, want.window, at));
            taken.refusals.explain(figure, want.fresh_for, at)
        };
        Ok(self.asks.iter().map(figure).collect())
    }
}

/// Takes in what is wanted of a packet.
///
/// # Errors
/// The line that no value can be read from, where a wanted metric's is, or none of the packet is any better.
fn take_in<'a>(metrics: &mut Metrics, packet: &'a str, at: Timestamp) -> Result<(), &'a str> {
    let (mut wrong, mut shapeless, mut is_statsd) = (None, None, false);
    for line in packet.lines().filter(|line| !line.trim().is_empty()) {
        // name:value|type|@rate|#tags; what is not understood is left out, as statsd does.
        let mut parts = line.split('|');
        let named = parts.next().and_then(|part| part.split_once(':'));
        let kind = parts.next();
        // DogStatsD's service checks are no metrics, and no garbage.
        if named.is_some() && kind.is_some() || line.starts_with("_sc|") {
            is_statsd = true;
        } else {
            shapeless.get_or_insert(line);
        }
        let wanted = named.and_then(|(name, text)| Some((metrics.get_mut(name)?, text)));
        let Some((metric, text)) = wanted else { continue };
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        let (Some(value), Some(kind)) = (value, kind) else {
            wrong = Some(line);
            continue;
        };
        let rate = parts.find_map(|part| part.strip_prefix('@')).and_then(|rate| rate.parse::<f64>().ok());
        let stands_for = rate.filter(|rate| *rate > 0.0 && *rate <= 1.0).map_or(1.0, |rate| 1.0 / rate);
        match kind.trim_end() {
            "c" => metric.push(at, value * stands_for, None),
            "ms" | "h" | "d" => metric.push(at, stands_for, Some(value / 1000.0)),
            "g" if text.starts_with(['+', '-']) => {
                let before = metric.gauge.map_or(0.0, |(_, value)| value);
                metric.gauge = Some((at, before + value));
            }
            "g" => metric.gauge = Some((at, value)),
            _ => {}
        }
    }
    wrong.or(shapeless.filter(|_| !is_statsd)).map_or(Ok(()), Err)
}

impl Metric {
    fn push(&mut self, at: Timestamp, count: f64, length: Option<f64>) {
        self.counted_since.get_or_insert(at);
        self.events.push_back((at, count, length));
        while self.events.len() > KEPT
            || self.events.front().is_some_and(|(then, ..)| at.since(*then) > self.window)
        {
            self.events.pop_front();
        }
    }

    fn figure(&self, quantile: Option<Quantile>, window: Span, at: Timestamp) -> Figure {
        if let Some(gauge) = self.gauge {
            return Ok(gauge);
        }
        let since = self.counted_since.ok_or(Absence::NeverSeen)?;
        let recent = self.events.iter().filter(|(then, ..)| at.since(*then) <= window);
        let mut lengths: Vec<(f64, f64)> =
            recent.clone().filter_map(|(_, n, length)| Some(((*length)?, *n))).collect();
        if !lengths.is_empty() {
            lengths.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let share = match quantile {
                None | Some(Quantile::P50) => 0.5,
                Some(Quantile::P95) => 0.95,
                Some(Quantile::P99) => 0.99,
            };
            let wanted = lengths.iter().map(|(_, n)| n).sum::<f64>() * share;
            let mut seen = 0.0;
            let value = lengths.iter().find(|(_, n)| {
                seen += n;
                seen >= wanted
            });
            return value.or(lengths.last()).map(|(length, _)| (at, *length)).ok_or(Absence::Idle);
        }
        if recent.clone().next().is_none() {
            return Err(Absence::Idle);
        }
        let count: f64 = recent.map(|(_, n, _)| n).sum();
        // Counting may have begun within the window; a second is the least to speak of a rate.
        #[expect(clippy::cast_precision_loss, reason = "windows are short")]
        let seconds = window.min(at.since(since)).as_millis().max(1000) as f64 / 1000.0;
        Ok((at, count / seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Span = Span::seconds(10);

    fn metrics(packets: &[(i64, &str)]) -> Metrics {
        let mut metrics = Metrics::new();
        for name in ["hits", "depth", "time"] {
            metrics.insert(name.to_owned(), Metric { window: WINDOW, ..Metric::default() });
        }
        for (second, packet) in packets {
            let _ = take_in(&mut metrics, packet, Timestamp::from_millis(second * 1000));
        }
        metrics
    }

    fn value(metrics: &Metrics, name: &str, quantile: Option<Quantile>, second: i64) -> Result<f64, Absence> {
        let at = Timestamp::from_millis(second * 1000);
        metrics[name].figure(quantile, WINDOW, at).map(|(_, value)| value)
    }

    #[test]
    fn counters_become_rates_and_silence_is_not_zero() {
        let none = metrics(&[]);
        assert_eq!(value(&none, "hits", None, 0), Err(Absence::NeverSeen));
        let sent = metrics(&[(0, "hits:1|c"), (5, "hits:2|c|@0.1\nother:5|c"), (10, "hits:9|c|#a:b")]);
        assert_eq!(value(&sent, "hits", None, 10), Ok(3.0));
        assert_eq!(value(&sent, "hits", None, 60), Err(Absence::Idle));
    }

    #[test]
    fn gauges_keep_their_moment_and_move_by_steps() {
        let sent = metrics(&[(0, "depth:5|g"), (1, "depth:+3|g"), (2, "depth:-1|g")]);
        let at = Timestamp::from_millis(60_000);
        assert_eq!(sent["depth"].figure(None, WINDOW, at), Ok((Timestamp::from_millis(2000), 7.0)));
    }

    #[test]
    fn timers_become_quantiles_in_seconds() {
        let packet: Vec<String> = (1..=100).map(|ms| format!("time:{ms}|ms")).collect();
        let sent = metrics(&[(0, &packet.join("\n"))]);
        assert_eq!(value(&sent, "time", None, 1), Ok(0.05));
        assert_eq!(value(&sent, "time", Some(Quantile::P99), 1), Ok(0.099));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let sent = metrics(&[(0, "hits\nhits:|c\nhits:x|c\nhits:NaN|c\nhits:1\n:|\nhits:1|q\n\u{fffd}")]);
        assert_eq!(value(&sent, "hits", None, 0), Err(Absence::NeverSeen));
    }

    /// Other people's metrics are no garbage, whatever their kinds.
    #[test]
    fn what_is_refused_is_named() {
        for (packet, refused) in [
            ("", None),
            ("other:5|c\nusers:ann|s", None),
            ("_e{5,4}:title|text\n_sc|db|0", None),
            ("hits:1|c\nhalf of a li", None),
            ("half of a li", Some("half of a li")),
            ("other:1", Some("other:1")),
            ("hits:NaN|c\nother:5|c", Some("hits:NaN|c")),
            ("hits:5\nhits:1|c", Some("hits:5")),
        ] {
            let at = Timestamp::from_millis(0);
            assert_eq!(take_in(&mut metrics(&[]), packet, at).err(), refused, "{packet:?}");
        }
    }
}
