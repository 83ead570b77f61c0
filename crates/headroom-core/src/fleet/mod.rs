//! The fleet: what a policy file says, as values.
//!
//! These types are the policy format: their field names are what people write, their doc comments become the
//! reference page and the JSON schema. Nothing else parses configuration, and nothing is parsed after load. A
//! value that the types can't refuse on their own (a signal that no strategy could find, a budget of nothing)
//! is found by [`FleetSpec::check`], which reports every problem at once, each with the path of the value it is
//! about; the configuration loader turns paths into file, line and snippet.

mod balancer;
mod behavior;
mod listen;
mod notify;
mod problem;
mod shared;
mod signal;
mod source;
mod target;
mod warm_pool;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use balancer::{
    Algorithm, BalancerLimits, BalancerSettings, BalancerTimeouts, HaproxyBackend, HoldSettings, Stickiness,
    TlsSettings,
};
pub use behavior::{
    Behavior, Burst, CooldownSettings, GuardSettings, PolicySelect, RateLimitSettings, ScalingPolicy,
    ScalingRules,
};
pub use listen::{Listen, Listener};
pub use notify::{
    AlertSettings, EmailSettings, MailTls, NotifierName, NotifierSettings, Notify, PagerdutySettings,
    QuietTime, Route, SlackBot, SlackSettings, WebhookSettings,
};
pub use problem::{Path, Problem};
pub use shared::{BreakerSettings, SharedLimit};
pub use signal::{
    AbsentRule, BalancerSignal, ForecastEvent, ForecastSettings, ProcessSignal, PushSettings, Quantile,
    ReadSettings, Scope, Signal, SignalSource, WhenAbsent,
};
pub use source::{
    Ask, Auth, BasicAuth, ClientCertificate, ExecAsk, ExecSettings, HaproxyAsk, HaproxyFigure,
    HaproxySettings, HostAsk, HostFigure, HostSettings, HttpServer, JsonAsk, JsonHistory, KafkaAsk,
    KafkaSettings, KedaAsk, KedaFigure, KedaSettings, NatsAsk, NatsSettings, NotOneKind, OtlpAsk,
    OtlpSettings, PostgresSettings, PrometheusAsk, QueueCount, RabbitmqAsk, RabbitmqSettings, RedisAsk,
    RedisSettings, Relabel, RelabelAction, SaslAuth, SaslMechanism, ScrapeAsk, ScrapeSettings, SecretRef,
    SeriesCombine, ServerCertificate, SignalClass, SourceKind, SourceName, SourceSettings, SqlAsk, StatsdAsk,
    StatsdSettings, Uncommitted,
};
pub use target::{HealthSettings, ProcessSettings, RestartSettings, StopSettings, TargetSettings};
pub use warm_pool::{Preload, WarmPool};

use crate::combine::Combine;
use crate::names::{FleetName, LimitName, SignalName, WorkloadName};
use crate::strategy::Strategy;
use crate::units::{Price, Replicas};

/// A whole policy file: the body of the Kubernetes custom resource of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FleetDocument {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// Always `Fleet`.
    pub kind: Kind,
    /// What the fleet is called.
    pub metadata: Metadata,
    /// What is to be kept how.
    pub spec: FleetSpec,
}

/// The versions of the policy format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first version; it may still change.
    #[serde(rename = "headroom.dev/v1alpha1")]
    V1Alpha1,
}

/// The kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A fleet of workloads.
    Fleet,
}

/// What a document is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// The fleet's name: lower-case letters, digits, hyphens.
    pub name: FleetName,
}

/// The workloads to be kept, and what they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FleetSpec {
    /// Servers that signals are read from, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<SourceName, SourceSettings>,
    /// The workloads by name.
    pub workloads: BTreeMap<WorkloadName, Workload>,
    /// What several workloads draw from together, by name: connections of a database, machines of a quota.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<LimitName, SharedLimit>,
    /// Priorities by tier; a workload may have its own. Where a limit is short, the higher goes first and lower ones
    /// give way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub priorities: BTreeMap<String, i32>,
    /// Stops the fleet from changing too much at once. By default nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerSettings>,
    /// Who is told what. By default nobody is told anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// One thing that is scaled: where it runs, what is measured, and how it is to be sized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Workload {
    /// Which tier the workload belongs to, for the overview and for priorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Who goes first where a shared limit is short: the higher number. By default the priority of its tier, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What changes the number of replicas.
    pub target: TargetSettings,
    /// The built-in balancer in front of the replicas, if it is to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<BalancerSettings>,
    /// An HAProxy that already runs in front of the replicas, instead of the built-in balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<HaproxyBackend>,
    /// What one replica costs, for plans and reports. Unknown unless given: an unknown price is not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The bounds no decision leaves.
    pub replicas: ReplicaRange,
    /// Replicas kept started and warm beside those that take traffic, so that growing takes no start. Off unless
    /// written; `{}` keeps 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_pool: Option<WarmPool>,
    /// The metric streams of the workload, by name.
    #[serde(default)]
    pub signals: BTreeMap<SignalName, Signal>,
    /// What wants how many replicas, and why. Without any: an `objective` with its defaults.
    #[serde(default = "an_objective")]
    pub strategies: Vec<Strategy>,
    /// How several strategies become one number. By default the highest want wins.
    #[serde(default, skip_serializing_if = "Combine::is_default")]
    pub combine: Combine,
    /// How fast the count may move, with the semantics of the Horizontal Pod Autoscaler's `behavior`.
    #[serde(default, skip_serializing_if = "Behavior::is_default")]
    pub behavior: Behavior,
    /// What else limits or refuses a change.
    #[serde(default, skip_serializing_if = "GuardSettings::is_default")]
    pub guards: GuardSettings,
}

fn an_objective() -> Vec<Strategy> {
    vec![Strategy::Objective(crate::strategy::Objective::default())]
}

/// The least and the most replicas a workload may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReplicaRange {
    /// The least; 0 allows scaling to zero.
    pub min: Replicas,
    /// The most.
    pub max: Replicas,
}

impl ReplicaRange {
    /// `replicas`, moved into the range.
    #[must_use]
    pub fn clamp(&self, replicas: Replicas) -> Replicas {
        // Not `Ord::clamp`, which panics where min > max: a fleet is checked, but a bound never panics.
        replicas.min(self.max).max(self.min)
    }
}

/// A fleet that was checked: its name and its workloads.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    name: FleetName,
    spec: FleetSpec,
}

impl Fleet {
    /// Checks a document.
    ///
    /// # Errors
    /// Every problem found, in the order of the document.
    pub fn new(document: FleetDocument) -> Result<Self, Vec<Problem>> {
        let problems = document.spec.check();
        if problems.is_empty() {
            Ok(Self { name: document.metadata.name, spec: document.spec })
        } else {
            Err(problems)
        }
    }

    /// What the fleet is called.
    #[must_use]
    pub fn name(&self) -> &FleetName {
        &self.name
    }

    /// The workloads by name.
    #[must_use]
    pub fn workloads(&self) -> &BTreeMap<WorkloadName, Workload> {
        &self.spec.workloads
    }

    /// The sources by name.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<SourceName, SourceSettings> {
        &self.spec.sources
    }

    /// What of the policy listens at an address of this machine.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        self.spec.listeners()
    }

    /// The workload called `name`.
    #[must_use]
    pub fn workload(&self, name: &WorkloadName) -> Option<&Workload> {
        self.spec.workloads.get(name)
    }

    /// What the workloads draw from together, by name.
    #[must_use]
    pub fn limits(&self) -> &BTreeMap<LimitName, SharedLimit> {
        &self.spec.limits
    }

    /// What stops the fleet from changing too much at once.
    #[must_use]
    pub fn breaker(&self) -> Option<&BreakerSettings> {
        self.spec.breaker.as_ref()
    }

    /// Who is told what.
    #[must_use]
    pub fn notify(&self) -> Option<&Notify> {
        self.spec.notify.as_ref()
    }

    /// The priority of `workload`: its own, else its tier's, else 0.
    #[must_use]
    pub fn priority(&self, workload: &Workload) -> i32 {
        let of_tier = || workload.tier.as_ref().and_then(|tier| self.spec.priorities.get(tier)).copied();
        workload.priority.or_else(of_tier).unwrap_or(0)
    }

    /// The policy as it stands, every default filled in.
    #[must_use]
    pub fn document(&self) -> FleetDocument {
        FleetDocument {
            api_version: ApiVersion::V1Alpha1,
            kind: Kind::Fleet,
            metadata: Metadata { name: self.name.clone() },
            spec: self.spec.clone(),
        }
    }
}

impl FleetSpec {
    /// Every problem the types could not refuse on their own.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let root = Path::root().key("spec").key("workloads");
        let mut problems = Vec::new();
        if self.workloads.is_empty() {
            problems.push(
                Problem::new(root.clone(), "a fleet without workloads has nothing to keep")
                    .help("name at least one workload under spec.workloads"),
            );
        }
        for (name, source) in &self.sources {
            source.check(&Path::root().key("spec").key("sources").key(name.as_str()), &mut problems);
        }
        for (name, workload) in &self.workloads {
            let at = root.key(name.as_str());
            workload.check(&at, &mut problems);
            for (name, signal) in &workload.signals {
                if let SignalSource::Read(reading) = &signal.source {
                    reading.ask.check(&self.sources, &at.key("signals").key(name.as_str()), &mut problems);
                }
            }
        }
        self.check_listen_addresses(&mut problems);
        shared::check(self, &mut problems);
        if let Some(notify) = &self.notify {
            notify.check(&Path::root().key("spec").key("notify"), &self.workloads, &mut problems);
        }
        problems
    }

    /// Two can't listen at one address.
    fn check_listen_addresses(&self, problems: &mut Vec<Problem>) {
        let all = self.listeners();
        for (i, later) in all.iter().enumerate() {
            if let Some(earlier) = all[..i].iter().find(|earlier| earlier.listen.overlaps(&later.listen)) {
                problems.push(
                    Problem::new(
                        later.at.clone(),
                        format!("{} is the address of {} already", earlier.listen, earlier.whose),
                    )
                    .help("give each an address of its own; a balancer takes any free one with port 0"),
                );
            }
        }
    }

    fn listeners(&self) -> Vec<Listener> {
        let spec = Path::root().key("spec");
        let workloads = self.workloads.iter().filter_map(|(name, workload)| {
            Some(Listener {
                listen: Listen::Tcp(workload.balancer.as_ref()?.listen),
                whose: format!("workload `{name}`"),
                at: spec.key("workloads").key(name.as_str()).key("balancer").key("listen"),
            })
        });
        let sources = self.sources.iter().filter_map(|(name, source)| {
            let log = matches!(source.kind, SourceKind::Haproxy(_));
            let at = spec.key("sources").key(name.as_str()).key(source.kind.word());
            Some(Listener {
                listen: source.listen()?,
                whose: format!("source `{name}`"),
                at: at.key(if log { "log" } else { "listen" }),
            })
        });
        workloads.chain(sources).collect()
    }
}

impl Workload {
    fn check(&self, at: &Path, problems: &mut Vec<Problem>) {
        let range = &self.replicas;
        if range.min > range.max {
            problems.push(
                Problem::new(
                    at.key("replicas").key("min"),
                    format!("the least, {}, is above the most, {}", range.min, range.max),
                )
                .help("no count lies in this range; lower min or raise max"),
            );
        }
        if range.max == Replicas::ZERO {
            problems.push(Problem::new(
                at.key("replicas").key("max"),
                "a workload of at most 0 replicas never runs",
            ));
        }
        if range.max > Replicas::LIMIT {
            problems.push(Problem::new(
                at.key("replicas").key("max"),
                format!("more than {} replicas can't be asked for", Replicas::LIMIT),
            ));
        }
        if self.strategies.is_empty() {
            problems.push(
                Problem::new(at.key("strategies"), "without a strategy nothing ever wants a replica")
                    .help("add one, for example `- targetTracking: { signal: rps, perReplica: 100 }`"),
            );
        }
        for (name, signal) in &self.signals {
            signal.check(self, &at.key("signals").key(name.as_str()), problems);
        }
        for (index, strategy) in self.strategies.iter().enumerate() {
            strategy.check(self, &at.key("strategies").index(index).key(strategy.kind()), problems);
        }
        self.target.check(&at.key("target"), problems);
        if let Some(balancer) = &self.balancer {
            balancer.check(&at.key("balancer"), problems);
        }
        if let Some(haproxy) = &self.haproxy {
            haproxy.check(&at.key("haproxy"), problems);
            if self.balancer.is_some() {
                problems.push(
                    Problem::new(at.key("haproxy"), "this workload has the built-in balancer already").help(
                        "one of the two spreads requests and says when a replica has drained; keep one",
                    ),
                );
            }
        }
        if let Some(pool) = &self.warm_pool {
            pool.check(self, &at.key("warmPool"), problems);
        }
        self.behavior.check(&at.key("behavior"), problems);
        self.guards.check(self, &at.key("guards"), problems);
    }

    /// The stabilisation window for shrinking: as the policy writes it; else none for a workload with objectives only,
    /// whose patience is their own, and the HPA's 5 min for any other.
    #[must_use]
    pub fn down_window(&self) -> crate::units::Span {
        let written = self.behavior.scale_down.as_ref().and_then(|rules| rules.stabilization);
        let patient = self.strategies.iter().all(|s| matches!(s, Strategy::Objective(_)));
        match written {
            None if patient => crate::units::Span::ZERO,
            _ => self.behavior.down_window(),
        }
    }

    /// The signal called `name`, or a problem that names the nearest candidates.
    pub(crate) fn require_signal(
        &self,
        name: &SignalName,
        at: &Path,
        problems: &mut Vec<Problem>,
    ) -> Option<&Signal> {
        let found = self.signals.get(name);
        if found.is_none() {
            problems.push(
                Problem::new(at.clone(), format!("no signal called `{name}` in this workload"))
                    .candidates(name.as_str(), self.signals.keys().map(|n| n.as_str().to_owned())),
            );
        }
        found
    }
}
