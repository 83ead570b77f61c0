//! Signals: what is measured of a workload, and where the figure comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::{
    Ask, Asks, ExecAsk, HaproxyAsk, HostAsk, JsonAsk, KafkaAsk, KedaAsk, NatsAsk, OtlpAsk, PrometheusAsk,
    RabbitmqAsk, RedisAsk, ScrapeAsk, SignalClass, SqlAsk, StatsdAsk, check_interval,
};
use super::{Path, Problem, TargetSettings, Workload};
use crate::calendar::Zone;
use crate::names::{SignalName, WorkloadName};
use crate::units::{Level, Quantity, Replicas, Span, Unit};

/// A metric stream of a workload. Exactly one source is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SignalText", into = "SignalText")]
#[schemars(with = "SignalText")]
pub struct Signal {
    /// Where the figure comes from.
    pub source: SignalSource,
    /// How old a value may be and still be acted on.
    pub fresh_for: Span,
    /// Over how long the source averages.
    pub window: Span,
    /// What is done while the figure can't be read.
    pub absent: AbsentRule,
    /// Present: a forecast of it is kept.
    pub forecast: Option<ForecastSettings>,
}

/// What a forecast is to know that the past doesn't show. Written, even empty, it has the signal forecast, also
/// where no strategy asks for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ForecastSettings {
    /// The time zone of the events.
    pub time_zone: Zone,
    /// Holidays, launches, sales: stretches of time that are not like the others, past ones included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ForecastEvent>,
}

/// A dated stretch of time with a load of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ForecastEvent {
    /// What kind of event: past stretches of the same label teach what the next ones do to the load.
    pub label: String,
    /// From when on the zone's clocks, inclusive, such as `2026-11-27T00:00`.
    #[schemars(with = "String")]
    pub from: jiff::civil::DateTime,
    /// Until when on the zone's clocks, exclusive.
    #[schemars(with = "String")]
    pub to: jiff::civil::DateTime,
    /// The load expected, as a share of an ordinary day's, such as 250%, until past stretches have shown it. Without
    /// it nothing is assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Quantity>,
}

impl ForecastSettings {
    /// The events as the forecaster knows them.
    #[must_use]
    pub fn events(&self) -> Vec<headroom_forecast::Event> {
        let seconds = |local| self.time_zone.moment(local).map(|at| at.as_millis().div_euclid(1000));
        let event = |e: &ForecastEvent| {
            Some(headroom_forecast::Event {
                label: e.label.clone(),
                start_unix_s: seconds(e.from)?,
                end_unix_s: seconds(e.to)?,
                expected: e.load.map(|load| load.level.get()),
            })
        };
        self.events.iter().filter_map(event).collect()
    }

    fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        if self.events.len() > headroom_forecast::MAX_EVENTS {
            let most = headroom_forecast::MAX_EVENTS;
            problems.push(Problem::new(at.key("events"), format!("more than {most} events")));
        }
        for (index, event) in self.events.iter().enumerate() {
            let at = at.key("events").index(index);
            if event.from >= event.to {
                problems.push(Problem::new(at.key("to"), "is not after `from`"));
            }
            let no_share = |load: &Quantity| load.level == Level::ZERO || !load.fits(Unit::Ratio);
            if event.load.as_ref().is_some_and(no_share) {
                problems.push(Problem::new(at.key("load"), "a share of the ordinary load, such as 250%"));
            }
        }
    }
}

/// What is done while a signal can't be read, by direction of the change. Having nothing to measure (no request, no
/// replica) is no fault and not meant here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AbsentRule {
    /// For growing. `hold`: what needs the signal abstains, others may grow.
    pub grow: WhenAbsent,
    /// For shrinking. `hold`: nothing shrinks.
    pub shrink: WhenAbsent,
}

/// What stands in for a signal that can't be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenAbsent {
    /// Nothing.
    #[default]
    Hold,
    /// Its last value, up to this age.
    LastKnown(Span),
    /// Another signal of the same unit.
    Signal(SignalName),
    /// A count of replicas: at least so many when growing, no fewer when shrinking.
    Replicas(Replicas),
}

impl AbsentRule {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a figure comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum SignalSource {
    /// Figures of the built-in balancer.
    Balancer(BalancerSignal),
    /// Figures of the replicas' processes.
    Process(ProcessSignal),
    /// Values that someone sends to the API.
    Push(PushSettings),
    /// A figure of a source under `spec.sources`.
    Read(ReadSettings),
    /// The ready replicas of another workload of the fleet.
    ReplicasOf(WorkloadName),
}

/// A figure that is read from a source again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadSettings {
    /// Which figure of which source.
    pub ask: Ask,
    /// What the value counts.
    pub unit: Unit,
    /// What the value is of.
    pub scope: Scope,
    /// How often it is read.
    pub every: Span,
}

/// What the built-in balancer measures (C1's three and A12's application class).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BalancerSignal {
    /// Requests that arrived a second, held ones included, in all.
    RequestsPerSecond,
    /// Requests being worked on or held, in all.
    InFlight,
    /// Client connections open, in all.
    Connections,
    /// The share of answers that are 5xx, failed connections and time-outs.
    ErrorRatio,
    /// A quantile of the time from a request's arrival to the end of its answer.
    Latency(Quantile),
}

/// Which quantile of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Quantile {
    /// The median.
    P50,
    /// 95 %.
    P95,
    /// 99 %.
    P99,
}

/// What is measured of the replicas' processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProcessSignal {
    /// Share of one core a ready replica uses on average, its children included: 1 is a whole core.
    Cpu,
    /// Resident memory of a ready replica on average, in bytes.
    Memory,
}

/// A signal that someone else sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PushSettings {
    /// What the value counts.
    pub unit: Unit,
    /// Whether the value is of the whole workload, of one replica on average, or of neither.
    #[serde(default)]
    pub scope: Scope,
}

/// What a value is of, which decides how it turns into replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The whole workload's: more replicas share it (requests a second, queue length).
    #[default]
    Total,
    /// One replica's on average (CPU, memory).
    PerReplica,
    /// Neither: it describes how well requests fare (latency, share of errors).
    Quality,
}

/// How a signal stands in a policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "Signal")]
struct SignalText {
    /// Read from the built-in balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    balancer: Option<BalancerSignal>,
    /// Read from the replicas' processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<ProcessSignal>,
    /// Sent to the API by someone else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    push: Option<PushSettings>,
    /// The ready replicas of another workload: how many app servers a database has to serve (A33).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas_of: Option<WorkloadName>,
    /// A PromQL query's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prometheus: Option<PrometheusAsk>,
    /// A metric of programs that are scraped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scrape: Option<ScrapeAsk>,
    /// A number in a JSON document behind a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<JsonAsk>,
    /// A number in a command's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exec: Option<ExecAsk>,
    /// A figure of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<HostAsk>,
    /// The answer to a query of a PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postgres: Option<SqlAsk>,
    /// A Redis list's length or a stream's backlog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redis: Option<RedisAsk>,
    /// The messages of a RabbitMQ queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rabbitmq: Option<RabbitmqAsk>,
    /// The backlog of a NATS JetStream consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nats: Option<NatsAsk>,
    /// A figure of an HAProxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    haproxy: Option<HaproxyAsk>,
    /// A metric that is sent here in statsd packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statsd: Option<StatsdAsk>,
    /// A metric that is pushed here over OTLP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    otlp: Option<OtlpAsk>,
    /// A figure of an external scaler of KEDA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keda: Option<KedaAsk>,
    /// How far a consumer group is behind in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kafka: Option<KafkaAsk>,
    /// What the values of a figure read from a source count. Queue lengths and figures of this machine and of
    /// HAProxy know it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    /// Whether the values of a figure read from a source are of the whole workload (the default), of one replica on
    /// average, or of neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    /// How often a figure is read from its source. By default every second for `scrape`, `host`, `redis`, `nats`,
    /// `haproxy`, `statsd`, `otlp`, `keda` and `kafka`, every 5s for `prometheus`, `http`, `postgres` and `rabbitmq`, every 10s for `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<Span>,
    /// The class of a figure read from a source, which stands for `every`: infrastructure and external 60s,
    /// application 30s, business 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<SignalClass>,
    /// How old a value may be and still be acted on. By default 3s for the balancer, 10s for processes and replicas of others, 2m for
    /// pushed values, three and a half times `every` for what is read from a source: three missed deliveries and a
    /// little more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fresh_for: Option<Span>,
    /// Over how long the source averages. By default 1s, and 10s for latency and errors, of which a second of a
    /// quiet service holds too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Span>,
    /// What is done while the figure can't be read, by direction of the change. By default nothing shrinks, and what
    /// needs the signal abstains.
    #[serde(default, skip_serializing_if = "AbsentRule::is_default")]
    absent: AbsentRule,
    /// Have it forecast, and what the forecast is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastSettings>,
}

/// Why a signal's text can't be one.
#[derive(Debug, thiserror::Error)]
enum NotASignal {
    /// A signal without a source, or with two.
    #[error(
        "a signal is read from exactly one source; name one of `balancer`, `process`, `push`, `prometheus`, `scrape`, \
         `http`, `exec`, `host`, `postgres`, `redis`, `rabbitmq`, `nats`, `haproxy`, `statsd`, `otlp`, `keda`, `kafka`, \
         `replicasOf`"
    )]
    NotOneSource,
    /// What a figure counts can't be told from its source.
    #[error(
        "what the figure counts is not known; add `unit: perSecond` (or `count`, `seconds`, `ratio`, `bytes`)"
    )]
    NoUnit,
    /// The unit is known, and it is another.
    #[error("this figure is of the unit `{0:?}`; leave `unit` out")]
    OtherUnit(Unit),
    /// Both say how often.
    #[error("`class` stands for `every`; give one of them")]
    TwoIntervals,
    /// Settings of sources on a signal that is not read from one.
    #[error(
        "`unit`, `scope`, `every` and `class` are for figures that are read from a source of `spec.sources`"
    )]
    NotRead,
}

impl TryFrom<SignalText> for Signal {
    type Error = NotASignal;
    fn try_from(text: SignalText) -> Result<Self, NotASignal> {
        let asks = Asks {
            prometheus: text.prometheus,
            scrape: text.scrape,
            http: text.http,
            exec: text.exec,
            host: text.host,
            postgres: text.postgres,
            redis: text.redis,
            rabbitmq: text.rabbitmq,
            nats: text.nats,
            haproxy: text.haproxy,
            statsd: text.statsd,
            otlp: text.otlp,
            keda: text.keda,
            kafka: text.kafka,
        };
        let own = [
            text.balancer.map(SignalSource::Balancer),
            text.process.map(SignalSource::Process),
            text.push.map(SignalSource::Push),
            text.replicas_of.map(SignalSource::ReplicasOf),
        ];
        let mut own = own.into_iter().flatten();
        let mut asks = asks.all();
        let source = match (own.next(), asks.next(), own.next().is_some() || asks.next().is_some()) {
            (Some(source), None, false) => {
                let set = (&text.unit, &text.scope, &text.every, &text.class);
                if !matches!(set, (None, None, None, None)) {
                    return Err(NotASignal::NotRead);
                }
                source
            }
            (None, Some(ask), false) => {
                let unit = match (ask.own_unit(), text.unit) {
                    (Some(own), Some(other)) if own != other => return Err(NotASignal::OtherUnit(own)),
                    (Some(unit), _) | (None, Some(unit)) => unit,
                    (None, None) => return Err(NotASignal::NoUnit),
                };
                let every = match (text.every, text.class) {
                    (Some(_), Some(_)) => return Err(NotASignal::TwoIntervals),
                    (Some(every), None) => every,
                    (None, Some(class)) => class.interval(),
                    (None, None) => ask.default_interval(),
                };
                SignalSource::Read(ReadSettings { ask, unit, scope: text.scope.unwrap_or_default(), every })
            }
            _ => return Err(NotASignal::NotOneSource),
        };
        Ok(Self {
            fresh_for: text.fresh_for.unwrap_or(source.default_freshness()),
            window: text.window.unwrap_or(source.default_window()),
            absent: text.absent,
            forecast: text.forecast,
            source,
        })
    }
}

impl From<Signal> for SignalText {
    fn from(signal: Signal) -> Self {
        let mut text = Self {
            fresh_for: Some(signal.fresh_for),
            window: Some(signal.window),
            absent: signal.absent,
            forecast: signal.forecast,
            ..Self::default()
        };
        match signal.source {
            SignalSource::Balancer(b) => text.balancer = Some(b),
            SignalSource::Process(p) => text.process = Some(p),
            SignalSource::Push(p) => text.push = Some(p),
            SignalSource::ReplicasOf(of) => text.replicas_of = Some(of),
            SignalSource::Read(ReadSettings { ask, unit, scope, every }) => {
                let asks = Asks::from(ask);
                text.prometheus = asks.prometheus;
                text.scrape = asks.scrape;
                text.http = asks.http;
                text.exec = asks.exec;
                text.host = asks.host;
                text.postgres = asks.postgres;
                text.redis = asks.redis;
                text.rabbitmq = asks.rabbitmq;
                text.nats = asks.nats;
                text.haproxy = asks.haproxy;
                text.statsd = asks.statsd;
                text.otlp = asks.otlp;
                text.keda = asks.keda;
                text.kafka = asks.kafka;
                text.unit = Some(unit);
                text.scope = Some(scope);
                text.every = Some(every);
            }
        }
        text
    }
}

impl SignalSource {
    fn default_freshness(&self) -> Span {
        match self {
            Self::Balancer(_) => Span::seconds(3),
            Self::Process(_) => Span::seconds(10),
            Self::ReplicasOf(_) => crate::memory::LOOK_FRESH_FOR,
            Self::Push(_) => Span::minutes(2),
            Self::Read(reading) => Span::millis(reading.every.as_millis().saturating_mul(7) / 2),
        }
    }
}

impl SignalSource {
    fn default_window(&self) -> Span {
        match self {
            Self::Balancer(BalancerSignal::Latency(_) | BalancerSignal::ErrorRatio) => Span::seconds(10),
            Self::Balancer(_) | Self::Process(_) | Self::Push(_) | Self::ReplicasOf(_) => Span::seconds(1),
            // Ten readings: enough events for a rate and for a quantile.
            Self::Read(reading) => reading.every.times(10),
        }
    }
}

impl Signal {
    /// The workload whose ready replicas this signal counts.
    #[must_use]
    pub fn replicas_of(&self) -> Option<&WorkloadName> {
        match &self.source {
            SignalSource::ReplicasOf(of) => Some(of),
            SignalSource::Balancer(_)
            | SignalSource::Process(_)
            | SignalSource::Push(_)
            | SignalSource::Read(_) => None,
        }
    }

    /// What the signal's values count.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match &self.source {
            SignalSource::Balancer(b) => match b {
                BalancerSignal::RequestsPerSecond => Unit::PerSecond,
                BalancerSignal::InFlight | BalancerSignal::Connections => Unit::Count,
                BalancerSignal::ErrorRatio => Unit::Ratio,
                BalancerSignal::Latency(_) => Unit::Seconds,
            },
            SignalSource::Process(ProcessSignal::Cpu) => Unit::Ratio,
            SignalSource::Process(ProcessSignal::Memory) => Unit::Bytes,
            SignalSource::Push(push) => push.unit,
            SignalSource::ReplicasOf(_) => Unit::Count,
            SignalSource::Read(reading) => reading.unit,
        }
    }

    /// What the signal's values are of.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match &self.source {
            SignalSource::Balancer(b) => match b {
                BalancerSignal::RequestsPerSecond
                | BalancerSignal::InFlight
                | BalancerSignal::Connections => Scope::Total,
                BalancerSignal::ErrorRatio | BalancerSignal::Latency(_) => Scope::Quality,
            },
            SignalSource::Process(_) => Scope::PerReplica,
            SignalSource::Push(push) => push.scope,
            SignalSource::ReplicasOf(_) => Scope::Quality,
            SignalSource::Read(reading) => reading.scope,
        }
    }

    pub(super) fn check(&self, workload: &Workload, at: &Path, problems: &mut Vec<Problem>) {
        match &self.source {
            SignalSource::Balancer(_) if workload.haproxy.is_some() => problems.push(
                Problem::new(at.key("balancer"), "this workload has HAProxy instead of the built-in balancer").help(
                    "read it with a source, `edge: { haproxy: { socket: … } }`, and `haproxy: { from: edge, … }`",
                ),
            ),
            SignalSource::Balancer(_) if workload.balancer.is_none() => problems.push(
                Problem::new(at.key("balancer"), "this workload has no balancer to read from").help(
                    "add `balancer: { listen: 127.0.0.1:8080 }` to the workload, or name another source",
                ),
            ),
            SignalSource::Process(_) if !matches!(workload.target, TargetSettings::Process(_)) => problems
                .push(
                    Problem::new(at.key("process"), "this workload's target is no process")
                        .help("name another source for the signal"),
                ),
            SignalSource::Read(reading) => check_interval(reading.every, at, problems),
            SignalSource::Balancer(_)
            | SignalSource::Process(_)
            | SignalSource::Push(_)
            | SignalSource::ReplicasOf(_) => {}
        }
        for (key, rule) in [("grow", &self.absent.grow), ("shrink", &self.absent.shrink)] {
            let at = at.key("absent").key(key);
            match rule {
                WhenAbsent::LastKnown(age) if *age < self.fresh_for => problems.push(Problem::new(
                    at.key("lastKnown"),
                    format!(
                        "is shorter than `freshFor`, {}: the last value is used that long anyway",
                        self.fresh_for
                    ),
                )),
                WhenAbsent::Signal(name) => {
                    let at = at.key("signal");
                    if let Some(other) = workload.require_signal(name, &at, problems)
                        && (other.unit() != self.unit() || other.scope() != self.scope())
                    {
                        problems.push(Problem::new(at, format!("`{name}` is of another unit or scope")));
                    }
                }
                WhenAbsent::Hold | WhenAbsent::LastKnown(_) | WhenAbsent::Replicas(_) => {}
            }
        }
        if let Some(forecast) = &self.forecast {
            let at = at.key("forecast");
            if self.scope() != Scope::Total {
                problems.push(
                    Problem::new(at.clone(), "only a load of the whole workload can be forecast")
                        .help("what each replica shows depends on how many there are; forecast requests a second or the like"),
                );
            }
            forecast.check(&at, problems);
        }
        for (key, span) in [("freshFor", self.fresh_for), ("window", self.window)] {
            if span.is_zero() {
                problems.push(Problem::new(at.key(key), "must be longer than nothing"));
            }
        }
    }
}
