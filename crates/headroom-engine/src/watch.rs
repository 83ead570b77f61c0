//! What people must know, found after each round: alerts of workloads, sources, the breaker and the journal, and who is
//! told of them. Pure; the driver writes down what comes of it and sends it.

use std::collections::BTreeMap;

use headroom_core::alert::{
    Alert, AlertKind, AlertNews, Alerts, Delivery, Facts, Progress, Routes, Seen, Stand, Subject, Why,
};
use headroom_core::controller::Controller;
use headroom_core::decision::Decision;
use headroom_core::fleet::{AlertSettings, Fleet};
use headroom_core::names::WorkloadName;
use headroom_core::units::Timestamp;

use crate::journal::Batch;
use crate::sources::{Sources, is_source};

/// What comes of a look.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The alerts that are raised, where that changed.
    pub(crate) raised: Option<Vec<Alert>>,
    /// What alerts on their way remember, where that changed.
    pub(crate) progress: BTreeMap<WorkloadName, Option<Progress>>,
    /// Who is told what.
    pub(crate) deliveries: Vec<Delivery>,
}

/// The alerts and who is told of them.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    alerts: Alerts,
    routes: Routes,
    /// The alerts that are raised were not written down when they changed.
    is_behind: bool,
}

impl Watch {
    /// Goes on with what was raised before, and with what was on its way.
    pub(crate) fn restore(raised: Vec<Alert>, progress: BTreeMap<WorkloadName, Progress>) -> Self {
        Self { alerts: Alerts::restore(raised, progress), routes: Routes::default(), is_behind: false }
    }

    /// The alerts that are raised, the most severe first.
    pub(crate) fn raised(&self) -> Vec<Alert> {
        let mut raised: Vec<_> = self.alerts.raised().cloned().collect();
        raised.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
        raised
    }

    /// Looks everything over.
    pub(crate) fn look(
        &mut self,
        controller: &Controller,
        sources: &Sources,
        journal: Option<&str>,
        at: Timestamp,
    ) -> Found {
        let fleet = controller.fleet();
        let defaults = AlertSettings::default();
        let settings = fleet.notify().map_or(&defaults, |notify| &notify.alerts);
        let mut news = Vec::new();
        for (name, workload) in fleet.workloads() {
            if let Some(memory) = controller.memory(name) {
                news.extend(self.alerts.look(settings, &Seen { at, name, workload, memory }));
            }
        }
        for (name, why) in sources.down() {
            let subject = Subject::Source(name.to_owned());
            let stand = why.map_or(Stand::Clear, |why| Stand::Holds(Facts::only(Why::Said(why.to_owned()))));
            news.extend(self.alerts.take(at, settings, &subject, AlertKind::SourceDown, stand));
        }
        let breaker = controller.breaker().map_or(Stand::Clear, |opened| {
            let why = Why::Opened { changed: opened.changed, most: opened.most, until: opened.until };
            Stand::Holds(Facts::only(why))
        });
        let journal =
            journal.map_or(Stand::Clear, |why| Stand::Holds(Facts::only(Why::Said(why.to_owned()))));
        for (kind, stand) in [(AlertKind::BreakerOpen, breaker), (AlertKind::JournalFailing, journal)] {
            news.extend(self.alerts.take(at, settings, &Subject::Fleet, kind, stand));
        }
        let mut found = self.tell(fleet, &news);
        if let Some(notify) = fleet.notify() {
            found.deliveries.extend(self.routes.repeats(notify, self.alerts.raised(), at));
        }
        found.progress = self.alerts.moved();
        if std::mem::take(&mut self.is_behind) {
            found.raised = Some(self.alerts.raised().cloned().collect());
        }
        found
    }

    /// What was found before will not be written down: the next look finds it again.
    pub(crate) fn not_kept(&mut self, batch: &Batch) {
        self.is_behind |= batch.raised.is_some();
        self.alerts.not_kept(batch.progress.keys().cloned());
    }

    /// Takes in a recorded decision.
    pub(crate) fn decided(&mut self, fleet: &Fleet, decision: &Decision) -> Vec<Delivery> {
        let workload = fleet.workload(&decision.id.workload);
        let news = workload.and_then(|workload| headroom_core::alert::scaled(decision, workload));
        news.map_or_else(Vec::new, |news| self.tell(fleet, &[news]).deliveries)
    }

    /// Ends what is about parts that a policy no longer has.
    pub(crate) fn fit(&mut self, fleet: &Fleet, at: Timestamp) -> Found {
        let news = self.alerts.fit(at, fleet, |name| is_source(fleet, name));
        self.tell(fleet, &news)
    }

    fn tell(&mut self, fleet: &Fleet, news: &[AlertNews]) -> Found {
        let mut found = Found::default();
        if news.is_empty() {
            return found;
        }
        found.raised = Some(self.alerts.raised().cloned().collect());
        for one in news {
            if let Some(notify) = fleet.notify() {
                found.deliveries.extend(self.routes.route(notify, one));
            }
        }
        found
    }
}
