//! Sources: what signals are read from, one file each.
//!
//! Two kinds measure here (`channel` passes on the balancer's figures, `process` those of the replicas). The rest
//! read other people's servers, and share one frame, [`poll`]: its pace, deadline, back-off and batching are the same
//! for all, and a source's own file only knows how to ask and how to read the answer.

pub mod channel;
pub mod exec;
mod exposition;
pub mod haproxy;
pub mod host;
pub mod json;
pub mod kafka;
#[cfg(feature = "keda")]
pub mod keda;
pub mod nats;
pub mod otlp;
pub mod poll;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod rabbitmq;
mod rate;
pub mod recall;
pub mod redis;
mod refusals;
mod scram;
pub mod scrape;
mod series;
pub mod statsd;

use std::path::Path;

use headroom_core::fleet::{Ask, Fleet, SignalSource, SourceKind, SourceName, SourceSettings};
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::units::Span;

pub use poll::{Figure, Poller, ReadError, Reader, Want};

/// Everything of one fleet that is read from one source at one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The source's name.
    pub name: SourceName,
    /// How it is reached.
    pub settings: SourceSettings,
    /// How often it is asked.
    pub every: Span,
    /// What is asked of it, and whose signal the answer is; each workload's together.
    pub wants: Vec<(WorkloadName, SignalName, Want)>,
}

/// The groups of a fleet: one for each source and interval, however many workloads share it; and one for a source that
/// listens, at the shortest of its intervals.
#[must_use]
pub fn groups(fleet: &Fleet) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (workload, settings) in fleet.workloads() {
        for (signal, of) in &settings.signals {
            let SignalSource::Read(read) = &of.source else { continue };
            // A fleet is checked: the source is there.
            let Some(source) = fleet.sources().get(read.ask.from()) else { continue };
            let want = Want { ask: read.ask.clone(), window: of.window, fresh_for: of.fresh_for };
            let is_mine =
                |g: &&mut Group| g.name == *read.ask.from() && (g.every == read.every || source.listens());
            let mine = groups.iter_mut().find(is_mine);
            let entry = (workload.clone(), signal.clone(), want);
            match mine {
                Some(group) => {
                    group.every = group.every.min(read.every);
                    group.wants.push(entry);
                }
                None => groups.push(Group {
                    name: read.ask.from().clone(),
                    settings: source.clone(),
                    every: read.every,
                    wants: vec![entry],
                }),
            }
        }
    }
    groups
}

/// Opens a group as a source for the engine. Files are relative to `base`, the policy's folder. Nothing is connected
/// yet, and what can't be set up is told as the source's failure, again and again, until the policy is mended.
#[must_use]
pub fn open(group: &Group, base: &Path) -> Poller {
    Poller::new(group, |wants| reader(&group.settings.kind, group.settings.deadline, &wants, base))
}

fn reader(
    kind: &SourceKind,
    deadline: Span,
    wants: &[Want],
    base: &Path,
) -> Result<Box<dyn Reader>, ReadError> {
    Ok(match kind {
        SourceKind::Prometheus(server) => Box::new(prometheus::Prometheus::new(server, wants, base)?),
        SourceKind::Scrape(settings) => Box::new(scrape::Scrape::new(settings, deadline, wants, base)?),
        SourceKind::Http(server) => Box::new(json::Http::new(server, wants, base)?),
        SourceKind::Exec(settings) => Box::new(exec::Exec::new(settings, wants, base)?),
        SourceKind::Host(_) => Box::new(host::Host::new(wants)?),
        SourceKind::Postgres(settings) => Box::new(postgres::Postgres::new(settings, deadline, wants, base)?),
        SourceKind::Redis(settings) => Box::new(redis::Redis::new(settings, wants, base)?),
        SourceKind::Rabbitmq(settings) => Box::new(rabbitmq::Rabbitmq::new(settings, wants, base)?),
        SourceKind::Nats(settings) => Box::new(nats::Nats::new(settings, wants, base)?),
        SourceKind::Haproxy(settings) => Box::new(haproxy::Haproxy::new(settings, wants, base)?),
        SourceKind::Statsd(settings) => Box::new(statsd::Statsd::new(settings, wants)?),
        SourceKind::Kafka(settings) => Box::new(kafka::Kafka::new(settings, wants, base)?),
        SourceKind::Otlp(settings) => Box::new(otlp::Otlp::new(settings, wants, base)?),
        #[cfg(feature = "keda")]
        SourceKind::Keda(settings) => Box::new(keda::Keda::new(settings, wants, base)?),
        #[cfg(not(feature = "keda"))]
        SourceKind::Keda(_) => {
            return Err(ReadError::Setup(
                "this program is built without KEDA's protocol; build it with the feature `keda`".to_owned(),
            ));
        }
    })
}

/// The wants of one kind of source; the check of the fleet has seen that there are no others.
fn asks<'a, T: 'a>(
    wants: &'a [Want],
    of: impl Fn(&'a Ask) -> Option<&'a T>,
) -> Result<Vec<&'a T>, ReadError> {
    wants
        .iter()
        .map(|want| {
            of(&want.ask).ok_or_else(|| ReadError::Setup(format!("{} is no figure of it", want.ask.word())))
        })
        .collect()
}
