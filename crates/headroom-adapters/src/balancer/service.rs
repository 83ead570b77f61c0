//! A workload's policy and replicas as the balancer's settings.

use headroom_core::fleet::{Algorithm, BalancerSettings, HealthSettings, TargetSettings, Workload};
use headroom_core::names::WorkloadName;
use headroom_core::units::Span;
use headroom_lb::names::ServiceName;
use headroom_lb::settings::{self as lb, BackendConfig, BackendState, Millis, ServiceConfig};

use crate::target::process::{ReplicaState, Status};

/// What does not change as replicas come and go.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    base: ServiceConfig,
    drain: Span,
}

fn millis(span: Span) -> Millis {
    Millis(span.as_millis())
}

impl Plan {
    /// `None` where the workload has no balancer.
    pub(super) fn new(name: &WorkloadName, workload: &Workload) -> Option<Self> {
        let settings = workload.balancer.as_ref()?;
        let TargetSettings::Process(process) = &workload.target;
        // Every workload's name is a service's name: its alphabet is smaller.
        let name = ServiceName::new(name.as_str()).ok()?;
        let mut base = ServiceConfig::new(name, settings.listen);
        base.algorithm = match settings.algorithm {
            Algorithm::RoundRobin => lb::Algorithm::RoundRobin,
            Algorithm::LeastConnections => lb::Algorithm::LeastConnections,
            Algorithm::TwoRandomChoices => lb::Algorithm::TwoChoices,
        };
        base.health = health(&process.health);
        base.tls = settings
            .tls
            .as_ref()
            .map(|tls| lb::TlsFiles { cert: tls.certificate.clone(), key: tls.key.clone() });
        base.stickiness = settings
            .stickiness
            .as_ref()
            .map(|sticky| lb::Stickiness { cookie: sticky.cookie.clone(), max_age_seconds: None });
        base.hold = (settings.hold.requests > 0)
            .then(|| lb::Hold { requests: settings.hold.requests, wait: millis(settings.hold.timeout) });
        base.limits = limits(settings);
        Some(Self { base, drain: process.stop.drain })
    }

    /// The service with the replicas as they are. One that is stopping or has no address is none of its
    /// backends; the balancer's own checks decide which of the rest get traffic.
    pub(super) fn config(&self, status: &Status) -> ServiceConfig {
        let backends = status.replicas.iter().filter_map(|replica| {
            let state = match replica.state {
                ReplicaState::Starting | ReplicaState::Ready | ReplicaState::Unhealthy { .. } => {
                    BackendState::Active
                }
                ReplicaState::Draining => BackendState::Draining { delay: millis(self.drain) },
                // What waits in the warm pool takes no traffic before it is asked to.
                ReplicaState::Stopping
                | ReplicaState::Failed { .. }
                | ReplicaState::Warming
                | ReplicaState::Warm => return None,
            };
            let id = replica.id.parse().ok()?;
            Some(BackendConfig { id, address: replica.address?, state })
        });
        ServiceConfig { backends: backends.collect(), ..self.base.clone() }
    }
}

fn health(health: &HealthSettings) -> lb::HealthCheck {
    lb::HealthCheck {
        path: health.path.clone(),
        interval: millis(health.interval),
        timeout: millis(health.timeout),
        healthy: health.healthy,
        unhealthy: health.unhealthy,
        ..lb::HealthCheck::default()
    }
}

fn limits(settings: &BalancerSettings) -> lb::Limits {
    lb::Limits {
        header_bytes: settings.limits.header_bytes,
        connections: settings.limits.connections,
        header_timeout: millis(settings.timeouts.headers),
        idle_timeout: millis(settings.timeouts.idle),
        connect_timeout: millis(settings.timeouts.connect),
        response_timeout: millis(settings.timeouts.response),
        ..lb::Limits::default()
    }
}
