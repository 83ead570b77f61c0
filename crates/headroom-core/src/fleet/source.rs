//! Sources: where signals are read from when headroom does not measure them itself.
//!
//! A source is a server (or a command, or this machine) that is named once under `spec.sources`, with its address,
//! its credentials and its deadline; signals say which figure of it they are. So a hundred workloads that read one
//! Prometheus share its connection and its answers. Secrets are never written here, only where they are to be found.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signal::Quantile;
use super::{Listen, Path, Problem};
use crate::names::SignalName;
use crate::units::{Span, Unit};

/// How long an answer may take unless the source says otherwise: longer than a busy server needs, short enough that
/// a server that hangs is known within the freshness of a signal read every second (3.5 s).
const DEADLINE: Span = Span::seconds(2);

/// The shortest interval: a figure is of a moment, and no server is to be asked without a pause.
const SHORTEST: Span = Span::millis(100);

/// The name of a source: the same alphabet as a signal's.
pub type SourceName = SignalName;

/// A server that figures are read from. Exactly one kind is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SourceText", into = "SourceText")]
#[schemars(with = "SourceText")]
pub struct SourceSettings {
    /// What it is and where.
    pub kind: SourceKind,
    /// How long one answer may take.
    pub deadline: Span,
}

macro_rules! sources {
    ($($(#[$doc:meta])* $variant:ident($settings:ty), $(#[$ask_doc:meta])* $ask:ty, $field:ident, $word:literal;)*) => {
        /// The kinds of source, each with what is needed to reach it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum SourceKind {
            $($(#[$doc])* $variant($settings),)*
        }

        /// How a source stands in a policy.
        #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        #[schemars(rename = "Source")]
        struct SourceText {
            $($(#[$doc])*
            #[serde(default, skip_serializing_if = "Option::is_none")]
            $field: Option<$settings>,)*
            /// How long one answer may take; by default 2s.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            deadline: Option<Span>,
        }

        impl TryFrom<SourceText> for SourceSettings {
            type Error = NotOneKind;
            fn try_from(text: SourceText) -> Result<Self, NotOneKind> {
                let deadline = text.deadline.unwrap_or(DEADLINE);
                let mut kinds = [$(text.$field.map(SourceKind::$variant)),*].into_iter().flatten();
                match (kinds.next(), kinds.next()) {
                    (Some(kind), None) => Ok(Self { kind, deadline }),
                    _ => Err(NotOneKind),
                }
            }
        }

        impl From<SourceSettings> for SourceText {
            fn from(settings: SourceSettings) -> Self {
                let mut text = Self { deadline: Some(settings.deadline), ..Self::default() };
                match settings.kind {
                    $(SourceKind::$variant(kind) => text.$field = Some(kind),)*
                }
                text
            }
        }

        impl SourceKind {
            /// The words for all kinds in a policy.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word for it in a policy.
            #[must_use]
            pub fn word(&self) -> &'static str {
                match self { $(Self::$variant(_) => $word,)* }
            }
        }

        /// Which figure of a source a signal is.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Ask {
            $($(#[$ask_doc])* $variant($ask),)*
        }

        impl Ask {
            /// The source it is asked of.
            #[must_use]
            pub fn from(&self) -> &SourceName {
                match self { $(Self::$variant(ask) => &ask.from,)* }
            }

            /// The kind of source it can be asked of, as it is written in a policy.
            #[must_use]
            pub fn word(&self) -> &'static str {
                match self { $(Self::$variant(_) => $word,)* }
            }
        }

        /// The part of a signal's text that names a figure of a source.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Asks {
            $(pub(super) $field: Option<$ask>,)*
        }

        impl Asks {
            /// Every figure named, in the order of the settings.
            pub(super) fn all(self) -> impl Iterator<Item = Ask> {
                [$(self.$field.map(Ask::$variant)),*].into_iter().flatten()
            }
        }

        impl From<Ask> for Asks {
            fn from(ask: Ask) -> Self {
                let mut asks = Self::default();
                match ask {
                    $(Ask::$variant(ask) => asks.$field = Some(ask),)*
                }
                asks
            }
        }
    };
}

sources! {
    /// A Prometheus server, or one that answers its query API (Thanos, Mimir, VictoriaMetrics).
    Prometheus(HttpServer), /// A PromQL query.
    PrometheusAsk, prometheus, "prometheus";
    /// Metrics in the text format of Prometheus or OpenMetrics, fetched from the programs themselves.
    Scrape(ScrapeSettings), /// A metric of the scraped programs.
    ScrapeAsk, scrape, "scrape";
    /// A JSON document behind a URL.
    Http(HttpServer), /// A number in the document.
    JsonAsk, http, "http";
    /// A command whose output holds the figures.
    Exec(ExecSettings), /// A number in its output.
    ExecAsk, exec, "exec";
    /// This machine.
    Host(HostSettings), /// A figure of this machine.
    HostAsk, host, "host";
    /// A PostgreSQL database.
    Postgres(PostgresSettings), /// A query for one number.
    SqlAsk, postgres, "postgres";
    /// A Redis server.
    Redis(RedisSettings), /// The length of a list or the backlog of a stream.
    RedisAsk, redis, "redis";
    /// A RabbitMQ broker, by its management API.
    Rabbitmq(RabbitmqSettings), /// The messages of a queue.
    RabbitmqAsk, rabbitmq, "rabbitmq";
    /// A NATS server with JetStream, by its monitoring port.
    Nats(NatsSettings), /// The backlog of a consumer.
    NatsAsk, nats, "nats";
    /// An HAProxy, by its runtime API.
    Haproxy(HaproxySettings), /// A figure of a proxy.
    HaproxyAsk, haproxy, "haproxy";
    /// statsd packets that programs send here.
    Statsd(StatsdSettings), /// A metric of the packets.
    StatsdAsk, statsd, "statsd";
    /// Metrics that programs push here over OTLP.
    Otlp(OtlpSettings), /// A pushed metric.
    OtlpAsk, otlp, "otlp";
    /// An external scaler of KEDA.
    Keda(KedaSettings), /// A figure of the scaler.
    KedaAsk, keda, "keda";
    /// A Kafka cluster.
    Kafka(KafkaSettings), /// How far a consumer group is behind.
    KafkaAsk, kafka, "kafka";
}

/// A source without a kind, or with two.
#[derive(Debug, thiserror::Error)]
#[error("a source is of exactly one kind; name one of `{}`", SourceKind::WORDS.join("`, `"))]
pub struct NotOneKind;

/// Where a secret is to be found. It is read when it is needed, so a file may be replaced at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum SecretRef {
    /// An environment variable of headroom.
    Env(String),
    /// A file; white space at its end is not part of the secret.
    File(PathBuf),
}

/// How headroom shows who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer(SecretRef),
    /// A user and a password.
    Basic(BasicAuth),
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BasicAuth {
    /// The user.
    pub user: String,
    /// Where the password is.
    pub password: SecretRef,
}

/// Who headroom is to a server that wants a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClientCertificate {
    /// A PEM file with the certificate, and those between it and its authority. Read at each connection, so it may be
    /// replaced at any time.
    pub certificate: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
}

/// Who headroom is to those who connect to an address of its own, over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerCertificate {
    /// A PEM file with the certificate, and those between it and its authority. Looked at for each connection, so it may be
    /// replaced at any time.
    pub certificate: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
    /// A PEM file with the authorities of those who may connect; without it whoever reaches the address can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// An HTTP server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpServer {
    /// `http://` or `https://`, host, port, and the path if there is one.
    pub url: String,
    /// Credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// A PEM file with the authorities to trust instead of this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show to servers that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// Programs that show their own metrics (A12). Targets are named, listed in a file, or found in DNS; all that are
/// given count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ScrapeSettings {
    /// Addresses, `host:port`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// A file with targets, read anew each round: a JSON list of `{"targets": ["host:port"], "labels": {…}}`, as
    /// Prometheus's `file_sd_configs` reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A name whose every address is a target, `name:port`; resolved anew each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The path; by default `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether to speak TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// A PEM file with the authorities to trust instead of this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Rules that change or drop series, in order, as Prometheus's `metric_relabel_configs` do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relabel: Vec<Relabel>,
    /// The certificate to show; with it TLS is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// One rule of relabelling: the values of `sourceLabels`, joined by `separator`, are held against `regex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Relabel {
    /// Whose values; `__name__` is the metric's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<String>,
    /// What stands between the values.
    #[serde(default = "semicolon")]
    pub separator: String,
    /// The expression, which must match the whole.
    #[serde(default = "anything")]
    pub regex: String,
    /// Which label `replace` sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_label: Option<String>,
    /// What `replace` sets it to; `$1` is the first group. Empty removes the label.
    #[serde(default = "first_group")]
    pub replacement: String,
    /// What is done.
    #[serde(default)]
    pub action: RelabelAction,
}

/// What a rule of relabelling does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RelabelAction {
    /// Sets `targetLabel` where the expression matches.
    #[default]
    Replace,
    /// Keeps only series that match.
    Keep,
    /// Drops series that match.
    Drop,
    /// Removes labels whose names match.
    LabelDrop,
    /// Copies labels whose names match to the name that `replacement` makes.
    LabelMap,
}

fn semicolon() -> String {
    ";".to_owned()
}

fn anything() -> String {
    "(.*)".to_owned()
}

fn first_group() -> String {
    "$1".to_owned()
}

/// A command that prints figures: a number alone, or JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecSettings {
    /// The program and its arguments; it runs in the policy's folder. One that outlives the deadline is killed with
    /// its children.
    pub command: Vec<String>,
}

/// This machine; there is nothing to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HostSettings {}

/// A PostgreSQL database. Queries run in a transaction that may only read, with the deadline as their limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PostgresSettings {
    /// `host:port`.
    pub address: String,
    /// The database.
    pub database: String,
    /// The role; one that may only read what it must.
    pub user: String,
    /// Where its password is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// Whether to speak TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// A PEM file with the authorities to trust instead of this machine's; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedisSettings {
    /// `host:port`.
    pub address: String,
    /// The user, where access lists are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// The number of the database.
    #[serde(default)]
    pub database: u32,
    /// Whether to speak TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// A PEM file with the authorities to trust instead of this machine's; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// A RabbitMQ broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RabbitmqSettings {
    /// Its management API, for example `http://127.0.0.1:15672`.
    pub url: String,
    /// The virtual host.
    #[serde(default = "root_vhost")]
    pub vhost: String,
    /// Credentials; a user with the tag `monitoring` is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// A PEM file with the authorities to trust instead of this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show to servers that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

fn root_vhost() -> String {
    "/".to_owned()
}

/// A NATS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NatsSettings {
    /// Its monitoring port, for example `http://127.0.0.1:8222`.
    pub url: String,
    /// The account whose streams are meant; `$G` is the one of a server without accounts.
    #[serde(default = "global_account")]
    pub account: String,
    /// A PEM file with the authorities to trust instead of this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show to servers that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

fn global_account() -> String {
    "$G".to_owned()
}

/// An HAProxy's runtime API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HaproxySettings {
    /// The socket that `stats socket` names: a path, or `host:port`.
    pub socket: String,
    /// The UDP address at which HAProxy's log is taken in (`log ADDRESS local0` and `option httplog` in its
    /// configuration), which has the time of each request; needed for a `quantile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "127.0.0.1:5514")]
    pub log: Option<SocketAddr>,
}

/// Where statsd packets are taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StatsdSettings {
    /// The UDP address to listen at.
    #[schemars(with = "String", example = "127.0.0.1:8125")]
    pub listen: SocketAddr,
}

/// Where metrics are pushed to, over OTLP/HTTP or OTLP/gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OtlpSettings {
    /// The TCP address to listen at, for both; over HTTP exporters send to `http://ADDRESS/v1/metrics`.
    #[schemars(with = "String", example = "127.0.0.1:4318")]
    pub listen: SocketAddr,
    /// With what TLS is spoken; without it, it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerCertificate>,
    /// What a sender must show as `Authorization: Bearer …`; without it whoever reaches the address can push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
}

/// An external scaler of KEDA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KedaSettings {
    /// `host:port`, as in the trigger's `scalerAddress`.
    pub address: String,
    /// The name of the `ScaledObject` it is told of; some scalers look at it.
    #[serde(default = "headroom")]
    pub name: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Whether to speak TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// A PEM file with the authorities to trust instead of this machine's; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

fn headroom() -> String {
    "headroom".to_owned()
}

/// A Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KafkaSettings {
    /// Some of its brokers, each `host:port`; the first that answers says where the others are.
    pub brokers: Vec<String>,
    /// Credentials for SASL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SaslAuth>,
    /// Whether to speak TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// A PEM file with the authorities to trust instead of this machine's; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show; with it TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// A user and a password, and how they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SaslAuth {
    /// The user.
    pub user: String,
    /// Where the password is.
    pub password: SecretRef,
    /// The mechanism.
    #[serde(default)]
    pub mechanism: SaslMechanism,
}

/// How a user and a password are shown to a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SaslMechanism {
    /// As they are; to be used with TLS.
    #[default]
    Plain,
    /// SCRAM-SHA-256 (RFC 7677): the password is proved and never sent, and the broker proves that it knows it.
    ScramSha256,
    /// SCRAM-SHA-512: the same with the longer hash.
    ScramSha512,
}

/// A figure that a PromQL query gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrometheusAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The query. Workloads that give the same query share one request.
    pub query: String,
    /// Which of the answer's series is meant, by its labels. The answer may hold one series per workload.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A figure of scraped programs. What is done depends on the metric's type: a counter becomes a rate over the signal's
/// `window`, a gauge is taken as it is, a histogram needs `quantile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScrapeAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The metric's name, without `_bucket`, `_sum` or `_count` where it is a histogram.
    pub metric: String,
    /// Labels that a series must have to count; `instance` is the target's address.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Which quantile of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
    /// How the series of several targets become one number. A histogram's buckets are always summed.
    #[serde(default)]
    pub combine: SeriesCombine,
}

/// How several series become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SeriesCombine {
    /// All together.
    #[default]
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// A number in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JsonAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// Where the number stands: `$.queues[0].depth`; `$.queues[*].depth` is the sum of all.
    pub path: String,
    /// Where the moment stands at which it was true (RFC 3339, or seconds since 1970); by default it is true now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The figure's past, asked once where a signal that is foreseen is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<JsonHistory>,
}

/// The past of a number in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JsonHistory {
    /// Path and query at the source's server, from its root. `{start}` and `{end}` stand for the first moment and the one
    /// after the last, `{step}` for how far apart the points are to be, all in seconds (since 1970).
    #[schemars(example = "/history?from={start}&to={end}&step={step}")]
    pub path: String,
    /// Where the moments of all points stand (RFC 3339, or seconds since 1970).
    #[schemars(example = "$.points[*].t")]
    pub at: String,
    /// Where their numbers stand, in the same order; null is a gap.
    #[schemars(example = "$.points[*].v")]
    pub values: String,
}

/// A number in a command's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// Where the number stands in its JSON; left out, the output is the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A figure of this machine (A12's infrastructure class).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HostAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// Which.
    pub figure: HostFigure,
}

/// What is measured of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HostFigure {
    /// The share of all cores that is busy.
    Cpu,
    /// The share of memory that is not available to programs.
    Memory,
    /// Tasks that run or wait to, over the last minute.
    Load,
    /// Bytes a second from and to disks.
    DiskIo,
    /// Bytes a second over the network, the loopback left out.
    Network,
    /// The share of time in which some task waited for a core (pressure stall information, 10 s mean).
    CpuPressure,
}

/// A query for one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SqlAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The query: one row, whose first column is the number (an integer, `numeric` or `double precision`). No row or
    /// null means that there is no figure, not zero.
    pub query: String,
    /// The query for the figure's past, asked once where a signal that is foreseen is new: rows of a moment
    /// (`timestamptz`, or seconds since 1970) and a number, one for each `{step}` seconds from `{start}` until before
    /// `{end}`, which are put in as seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "select date_bin('{step} s', at, 'epoch'), count(*) / {step}.0 from orders \
         where at >= to_timestamp({start}) and at < to_timestamp({end}) group by 1")]
    pub history: Option<String>,
}

/// The length of a list, or the backlog of a consumer group of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedisAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The key of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The key of the list that workers move messages to while they work on them (`LMOVE`); counted as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<String>,
    /// The key of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The stream's consumer group: what it has not been given yet, and what it has not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// The messages of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RabbitmqAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The queue.
    pub queue: String,
    /// Which messages count. With unlimited prefetch none are ready while hundreds are unacknowledged, so all do by
    /// default.
    #[serde(default)]
    pub count: QueueCount,
}

/// Which messages of a queue count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum QueueCount {
    /// Ready and unacknowledged.
    #[default]
    All,
    /// Waiting for a consumer.
    Ready,
    /// Given to a consumer and not acknowledged.
    Unacknowledged,
}

/// The backlog of a consumer: what it has not been given, and what it has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NatsAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The stream.
    pub stream: String,
    /// The durable consumer.
    pub consumer: String,
}

/// A figure of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HaproxyAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The backend (or frontend).
    pub proxy: String,
    /// Which.
    pub figure: HaproxyFigure,
    /// Which quantile of `responseTime`, over the signal's `window`, from the source's `log`; left out, it is the mean
    /// that the statistics have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
}

/// What is read of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HaproxyFigure {
    /// Requests that came a second, over the signal's `window`.
    RequestsPerSecond,
    /// Requests and connections being served or waiting.
    InFlight,
    /// Requests that wait for a server.
    Queued,
    /// The share of answers that are 5xx, over the signal's `window`.
    ErrorRatio,
    /// The time until an answer begins, queue included: the mean of the last 1024 requests, or a `quantile`.
    ResponseTime,
}

/// A metric of statsd packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StatsdAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The metric. A counter becomes a rate over the signal's `window`; a gauge is its last value; a timer, which is
    /// in milliseconds, becomes the quantile in seconds.
    pub metric: String,
    /// Which quantile of a timer; by default the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
}

/// A metric that is pushed. What is done depends on its type: a sum that only grows becomes a rate over the signal's
/// `window`, a gauge is taken as it is, a histogram needs `quantile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OtlpAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The metric's name.
    pub metric: String,
    /// Attributes of the point or its resource that a series must have to count.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Which quantile of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
    /// How several series become one number. A histogram's buckets are always summed.
    #[serde(default)]
    pub combine: SeriesCombine,
}

/// A figure of an external scaler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KedaAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The metric, by the name that the scaler gives it. Not needed for `active`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metric: String,
    /// What would stand in the trigger's metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What of it.
    #[serde(default)]
    pub figure: KedaFigure,
}

/// What an external scaler is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KedaFigure {
    /// The metric's value.
    #[default]
    Value,
    /// What of it one replica is to carry.
    Target,
    /// 1 where there is something to do, else 0.
    Active,
}

/// How many messages of a topic a consumer group has not committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KafkaAsk {
    /// The source, by its name under `spec.sources`.
    pub from: SourceName,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// What counts in partitions of which the group has never committed anything.
    #[serde(default)]
    pub uncommitted: Uncommitted,
}

/// What counts of a partition that a consumer group has never committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Uncommitted {
    /// All that it holds: what a group reads that begins at the earliest message.
    #[default]
    All,
    /// Nothing: a group that begins at the latest message has none of it to read.
    None,
}

/// The classes of A12, which say how often a figure is worth reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SignalClass {
    /// CPU, memory, disk, network: every 60s.
    Infrastructure,
    /// Response time, throughput, errors: every 30s.
    Application,
    /// Users, orders, revenue: every 5m.
    Business,
    /// Queue lengths, the latency of third parties: every 60s.
    External,
}

impl SignalClass {
    /// How often its figures are read (A12).
    #[must_use]
    pub fn interval(self) -> Span {
        match self {
            Self::Infrastructure | Self::External => Span::seconds(60),
            Self::Application => Span::seconds(30),
            Self::Business => Span::seconds(300),
        }
    }
}

impl Ask {
    /// How often it is read unless the policy says otherwise.
    ///
    /// What changes at once and costs little to ask is read every second, so that a surge is seen within the second
    /// that C1 gives it; what is itself collected every few seconds (RabbitMQ's management figures: 5 s) or costs its
    /// server more (queries of databases and of Prometheus, whose own scrapes are 15 s apart by default) every 5 s; a
    /// command, which is a process, every 10 s.
    #[must_use]
    pub fn default_interval(&self) -> Span {
        match self {
            Self::Scrape(_)
            | Self::Host(_)
            | Self::Redis(_)
            | Self::Nats(_)
            | Self::Haproxy(_)
            | Self::Statsd(_)
            | Self::Otlp(_)
            | Self::Keda(_)
            | Self::Kafka(_) => Span::seconds(1),
            Self::Prometheus(_) | Self::Http(_) | Self::Postgres(_) | Self::Rabbitmq(_) => Span::seconds(5),
            Self::Exec(_) => Span::seconds(10),
        }
    }

    /// What its values count, where that follows from what is asked.
    #[must_use]
    pub fn own_unit(&self) -> Option<Unit> {
        match self {
            Self::Redis(_) | Self::Rabbitmq(_) | Self::Nats(_) | Self::Kafka(_) => Some(Unit::Count),
            Self::Host(ask) => Some(match ask.figure {
                HostFigure::Cpu | HostFigure::Memory | HostFigure::CpuPressure => Unit::Ratio,
                HostFigure::Load => Unit::Count,
                HostFigure::DiskIo | HostFigure::Network => Unit::Bytes,
            }),
            Self::Haproxy(ask) => Some(match ask.figure {
                HaproxyFigure::RequestsPerSecond => Unit::PerSecond,
                HaproxyFigure::InFlight | HaproxyFigure::Queued => Unit::Count,
                HaproxyFigure::ErrorRatio => Unit::Ratio,
                HaproxyFigure::ResponseTime => Unit::Seconds,
            }),
            Self::Prometheus(_)
            | Self::Scrape(_)
            | Self::Http(_)
            | Self::Exec(_)
            | Self::Postgres(_)
            | Self::Statsd(_)
            | Self::Otlp(_)
            | Self::Keda(_) => None,
        }
    }

    pub(super) fn check(
        &self,
        sources: &BTreeMap<SourceName, SourceSettings>,
        at: &Path,
        problems: &mut Vec<Problem>,
    ) {
        let at = at.key(self.word());
        let from = at.key("from");
        match sources.get(self.from()) {
            None => problems.push(
                Problem::new(from, format!("no source called `{}` under spec.sources", self.from()))
                    .candidates(
                        self.from().as_str(),
                        sources
                            .iter()
                            .filter(|(_, source)| source.kind.word() == self.word())
                            .map(|(name, _)| name.as_str().to_owned()),
                    ),
            ),
            Some(source) if source.kind.word() != self.word() => problems.push(
                Problem::new(
                    from,
                    format!(
                        "`{}` is of the kind `{}`, not `{}`",
                        self.from(),
                        source.kind.word(),
                        self.word()
                    ),
                )
                .help(format!(
                    "write the signal as `{}: {{ from: {}, … }}`",
                    source.kind.word(),
                    self.from()
                )),
            ),
            Some(_) => {}
        }
        let mut not_empty = |key: &str, text: &str| {
            if text.trim().is_empty() {
                problems.push(Problem::new(at.key(key), "must not be empty"));
            }
        };
        match self {
            Self::Prometheus(ask) => not_empty("query", &ask.query),
            Self::Postgres(ask) => not_empty("query", &ask.query),
            Self::Scrape(ask) => not_empty("metric", &ask.metric),
            Self::Statsd(ask) => not_empty("metric", &ask.metric),
            Self::Otlp(ask) => not_empty("metric", &ask.metric),
            Self::Keda(ask) if ask.figure != KedaFigure::Active => not_empty("metric", &ask.metric),
            Self::Rabbitmq(ask) => not_empty("queue", &ask.queue),
            Self::Kafka(ask) => {
                not_empty("topic", &ask.topic);
                not_empty("group", &ask.group);
            }
            Self::Redis(ask) => {
                let of_list = ask.list.is_some() && ask.stream.is_none() && ask.group.is_none();
                let of_stream = ask.stream.is_some()
                    && ask.group.is_some()
                    && ask.list.is_none()
                    && ask.in_flight.is_none();
                if !of_list && !of_stream {
                    problems.push(Problem::new(at.clone(), "names neither a list nor a stream with its group").help(
                        "write `list: KEY` (and `inFlight: KEY` if workers use LMOVE), or `stream: KEY` and \
                         `group: NAME`",
                    ));
                }
            }
            Self::Haproxy(ask) if ask.quantile.is_some() => {
                if ask.figure != HaproxyFigure::ResponseTime {
                    problems.push(Problem::new(at.key("quantile"), "only `responseTime` has quantiles"));
                } else if !sources.get(&ask.from).is_some_and(keeps_log) {
                    problems.push(
                        Problem::new(at.key("quantile"), format!("`{}` takes in no log", ask.from))
                            .help("write `log: 127.0.0.1:5514` at the source, and the same address in HAProxy's configuration"),
                    );
                }
            }
            Self::Http(_)
            | Self::Exec(_)
            | Self::Host(_)
            | Self::Nats(_)
            | Self::Haproxy(_)
            | Self::Keda(_) => {}
        }
        let history = match self {
            Self::Postgres(ask) => ask.history.as_deref().map(|text| (at.key("history"), text)),
            Self::Http(ask) => ask.history.as_ref().map(|h| (at.key("history").key("path"), h.path.as_str())),
            _ => None,
        };
        if let Some((at, text)) =
            history.filter(|(_, text)| !text.contains("{start}") || !text.contains("{end}"))
        {
            problems.push(
                Problem::new(at, format!("asks for the same past again and again: {text:?}"))
                    .help("a past is asked for a stretch at a time: write `{start}` and `{end}` where its bounds belong"),
            );
        }
    }
}

fn keeps_log(source: &SourceSettings) -> bool {
    matches!(&source.kind, SourceKind::Haproxy(HaproxySettings { log: Some(_), .. }))
}

/// Checks how often a signal is read.
pub(super) fn check_interval(every: Span, at: &Path, problems: &mut Vec<Problem>) {
    if every < SHORTEST {
        problems.push(Problem::new(
            at.key("every"),
            format!("no source is asked more often than every {SHORTEST}"),
        ));
    }
}

/// What is wrong with the address of an HTTP server.
pub(super) fn check_url(url: &str, at: &Path, problems: &mut Vec<Problem>) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        None | Some("") => problems.push(
            Problem::new(at.clone(), "is no address of an HTTP server")
                .help("write it as http://host:port or https://host"),
        ),
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => problems.push(
            Problem::new(at.clone(), "holds a user or a password, which would be shown and logged")
                .help("write `auth: { basic: { user: …, password: { env: … } } }` instead"),
        ),
        Some(_) => {}
    }
}

impl SourceSettings {
    /// Whether it takes in at an address of ours what others send. It is read as one, since an address can be listened at
    /// once only.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.listen().is_some()
    }

    /// The address at which it takes in what others send.
    #[must_use]
    pub fn listen(&self) -> Option<Listen> {
        match &self.kind {
            SourceKind::Statsd(settings) => Some(Listen::Udp(settings.listen)),
            SourceKind::Otlp(settings) => Some(Listen::Tcp(settings.listen)),
            SourceKind::Haproxy(settings) => settings.log.map(Listen::Udp),
            _ => None,
        }
    }

    pub(super) fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        if self.deadline.is_zero() {
            problems.push(Problem::new(at.key("deadline"), "must be longer than nothing"));
        }
        let at = at.key(self.kind.word());
        let mut url = |url: &str| check_url(url, &at.key("url"), problems);
        match &self.kind {
            SourceKind::Prometheus(server) | SourceKind::Http(server) => url(&server.url),
            SourceKind::Rabbitmq(server) => url(&server.url),
            SourceKind::Nats(server) => url(&server.url),
            SourceKind::Scrape(scrape) => {
                if scrape.targets.is_empty() && scrape.file.is_none() && scrape.dns.is_none() {
                    problems.push(
                        Problem::new(at, "names nothing to scrape")
                            .help("write `targets: [host:port]`, `file: targets.json` or `dns: name:port`"),
                    );
                }
            }
            SourceKind::Exec(exec) => {
                if exec.command.first().is_none_or(|program| program.trim().is_empty()) {
                    problems.push(Problem::new(at.key("command"), "no program is named"));
                }
            }
            SourceKind::Kafka(kafka) => {
                if kafka.brokers.is_empty() {
                    problems.push(
                        Problem::new(at.key("brokers"), "no broker is named")
                            .help("write `brokers: [host:9092]`"),
                    );
                }
            }
            SourceKind::Host(_)
            | SourceKind::Postgres(_)
            | SourceKind::Redis(_)
            | SourceKind::Haproxy(_)
            | SourceKind::Statsd(_)
            | SourceKind::Otlp(_)
            | SourceKind::Keda(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A12: infrastructure 60 s, application 30 s, business 300 s, external 60 s.
    #[test]
    fn each_class_has_its_interval() {
        for (class, seconds) in [
            (SignalClass::Infrastructure, 60),
            (SignalClass::Application, 30),
            (SignalClass::Business, 300),
            (SignalClass::External, 60),
        ] {
            assert_eq!(class.interval(), Span::seconds(seconds));
        }
    }

    #[test]
    fn a_source_is_of_exactly_one_kind() {
        let parse = |json: &str| serde_json::from_str::<SourceSettings>(json);
        let fine = parse(r#"{"prometheus": {"url": "http://127.0.0.1:9090"}}"#).unwrap();
        assert_eq!(fine.deadline, Span::seconds(2));
        let back: SourceSettings = serde_json::from_value(serde_json::to_value(&fine).unwrap()).unwrap();
        assert_eq!(back, fine);
        for wrong in [r"{}", r#"{"host": {}, "exec": {"command": ["a"]}}"#, r#"{"hosts": {}}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused() {
        for (url, fine) in [
            ("http://127.0.0.1:9090", true),
            ("https://prom.example/prefix@x", true),
            ("https://user:secret@prom.example", false),
            ("prom.example:9090", false),
            ("http://", false),
        ] {
            let server = HttpServer { url: url.to_owned(), ..HttpServer::default() };
            let settings = SourceSettings { kind: SourceKind::Prometheus(server), deadline: DEADLINE };
            let mut problems = Vec::new();
            settings.check(&Path::root(), &mut problems);
            assert_eq!(problems.is_empty(), fine, "{url}: {problems:?}");
        }
    }
}
