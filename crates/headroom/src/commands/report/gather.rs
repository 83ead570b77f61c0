//! Reading what a report holds out of the journal.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use headroom_core::controller::Snapshot;
use headroom_core::decision::{Advice, Decision};
use headroom_core::fleet::{AlertSettings, Fleet, Signal, Workload};
use headroom_core::memory::Memory;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::outlook::Outlook;
use headroom_core::reason::Reason;
use headroom_core::say::Language;
use headroom_core::strategy::Strategy;
use headroom_core::units::{Level, Price, Replicas, Span, Timestamp, Unit};
use headroom_engine::journal::{
    ActionOutcome, Cursor, DRAINING, DecisionQuery, FinePoint, MAX_PAGE, Query, READY, Reader, STARTING,
    SeriesPoint, WARM,
};

use super::render::length;
use super::{Changes, Foreseen, Idle, Kept, Of, Report, Warm};

/// Whether something held is told by the minute, where the journal keeps minutes.
const MINUTE: Span = Span::minutes(1);
/// A look that shows nothing new is written down every five seconds; two that were missed are a gap.
const HOLDS: Span = Span::seconds(12);
/// Steps of a course: as many as a picture shows.
const COURSE: u32 = 120;
/// Hours of an average month.
const MONTH: f64 = 730.0;

/// What `since` to `until` came to, for all workloads or for `only` these.
pub(super) async fn report(
    reader: &Reader,
    snapshot: Snapshot,
    since: Timestamp,
    until: Timestamp,
    only: &[WorkloadName],
    language: Language,
) -> Result<Report> {
    let fleet = Fleet::new(snapshot.fleet)
        .map_err(|problems| anyhow::anyhow!("the recorded policy is not valid any more: {problems:?}"))?;
    if let Some(unknown) = only.iter().find(|name| fleet.workload(name).is_none()) {
        bail!("the journal knows no workload called `{unknown}`");
    }
    let defaults = AlertSettings::default();
    let settings = fleet.notify().map_or(&defaults, |notify| &notify.alerts);
    let mut workloads = Vec::new();
    for (name, workload) in fleet.workloads() {
        let Some(memory) = snapshot.memories.get(name) else { continue };
        if only.is_empty() || only.contains(name) {
            let past = Past { reader, name, workload, since, until };
            workloads.push(past.report(memory, settings).await?);
        }
    }
    let total = Report::total(&workloads);
    let notes = notes(&fleet, &workloads, since, until, language);
    Ok(Report { fleet: fleet.name().to_string(), since, until, total, workloads, notes })
}

fn notes(
    fleet: &Fleet,
    workloads: &[Of],
    since: Timestamp,
    until: Timestamp,
    language: Language,
) -> Vec<String> {
    let fixed = language.pick(
        "“Fixed” is as many replicas all the time as were ready at the most; prices are those of the policy in force. What \
         a warm pool came to is in the replica-hours and the cost.",
        "“고정”은 가장 많이 준비됐던 만큼의 레플리카를 내내 두었을 때입니다. 가격은 현재 정책을 따르고, 예열 풀은 레플리카 \
         시간과 비용에 포함됩니다.",
    );
    let points = language.pick(
        "What is over an objective is told by points of a minute where the journal keeps them, else of an hour: “over” \
         counts points whose mean is over the limit, “touched” those in which any sample is.",
        "목표 초과는 저널이 보관하는 1분 단위(없으면 1시간 단위) 값으로 판단합니다. “초과”는 평균이 한도를 넘은 구간, \
         “스침”은 표본이 하나라도 넘은 구간입니다.",
    );
    let mut notes = vec![fixed.to_owned(), points.to_owned()];
    let exact = workloads.iter().map(|of| of.points_of).max().unwrap_or(Span::ZERO);
    if exact > Span::ZERO {
        notes.push(match language {
            Language::English => format!(
                "Hours and replica-hours are sums of the finest points that the journal keeps, here of up to {exact}: each \
                 moment at which recording began or ended, or a count changed, may be off by as much."
            ),
            Language::Korean => format!(
                "시간과 레플리카 시간은 저널이 보관하는 가장 세밀한 구간(여기서는 최대 {exact})의 합이며, 기록이 시작되거나 \
                 끝난 시점과 개수가 바뀐 시점마다 그만큼 어긋날 수 있습니다."
            ),
        });
    }
    let all = length(hours(until.since(since)), language);
    let list = |of: &mut dyn Iterator<Item = (&Of, f64)>| {
        let names = of.map(|(of, hours)| format!("`{}` {}", of.workload, length(hours, language)));
        names.collect::<Vec<_>>().join(", ")
    };
    let whole = 0.98 * hours(until.since(since));
    let partly =
        list(&mut workloads.iter().filter(|of| of.recorded_hours < whole).map(|of| (of, of.recorded_hours)));
    if !partly.is_empty() {
        notes.push(match language {
            Language::English => {
                format!("Not all of the {all} is recorded, and what is not is in no figure: of {partly}.")
            }
            Language::Korean => {
                format!(
                    "{all} 전부가 기록된 것은 아니며, 기록되지 않은 시간은 어떤 수치에도 없습니다: {partly}."
                )
            }
        });
    }
    let pool = |of: &Of| fleet.workload(&of.workload).is_some_and(|workload| workload.warm_pool.is_some());
    let seen = |of: &Of| of.warm.as_ref().map_or(0.0, |warm| warm.recorded_hours);
    let warm = list(
        &mut workloads
            .iter()
            .filter(|of| pool(of) && seen(of) < 0.98 * of.recorded_hours)
            .map(|of| (of, seen(of))),
    );
    if !warm.is_empty() {
        notes.push(match language {
            Language::English => format!(
                "Of a warm pool less is recorded than of the replicas beside it, and the rest of its cost is not in here: of {warm}."
            ),
            Language::Korean => {
                format!("예열 풀은 일부만 기록되어 있고 나머지 비용은 빠져 있습니다: {warm}.")
            }
        });
    }
    let unpriced: Vec<_> =
        workloads.iter().filter(|of| of.price.is_none()).map(|of| format!("`{}`", of.workload)).collect();
    if !unpriced.is_empty() {
        let unpriced = unpriced.join(", ");
        notes.push(match language {
            Language::English => {
                format!("Without a price in the policy, and so without a cost: {unpriced}.")
            }
            Language::Korean => format!("정책에 가격이 없어 비용을 계산하지 않음: {unpriced}."),
        });
    }
    notes
}

/// One workload's past.
struct Past<'a> {
    reader: &'a Reader,
    name: &'a WorkloadName,
    workload: &'a Workload,
    since: Timestamp,
    until: Timestamp,
}

impl Past<'_> {
    async fn report(&self, memory: &Memory, settings: &AlertSettings) -> Result<Of> {
        let demand = demand(self.workload, memory);
        let mut names = [READY, STARTING, DRAINING, WARM].map(str::to_owned).to_vec();
        names.extend(demand.as_ref().map(|(signal, _)| signal.to_string()));
        let found = self.read(names).await?;
        let [ready, starting, draining, warm] = [0, 1, 2, 3].map(|i| self.weigh(&found[i], HOLDS));
        let load = demand.as_ref().zip(found.get(4));
        let load = load.map(|((signal, _), points)| self.weigh(points, self.holds(signal)));
        let load = load.unwrap_or_default();
        let points_of = longest(&ready);
        let running: f64 = [&ready, &starting, &draining, &warm].into_iter().map(|points| area(points)).sum();
        let (recorded, most) = (recorded(&ready), most(&ready));
        let dollars = |replica_hours: f64| self.workload.price.map(|price| money(price, replica_hours));
        let (changes, failed_actions) = (self.changes().await?, self.failed_actions().await?);
        Ok(Of {
            workload: self.name.clone(),
            tier: self.workload.tier.clone(),
            recorded_hours: recorded,
            points_of,
            replica_hours: running,
            most,
            price: self.workload.price,
            dollars: dollars(running),
            dollars_fixed: dollars(most.as_f64() * recorded),
            warm: (!warm.is_empty()).then(|| self.warm(&warm)),
            utilisation: demand.as_ref().and_then(|(_, each)| utilisation(&load, &ready, *each)),
            changes,
            failed_actions,
            objectives: self.objectives().await?,
            idle: demand.as_ref().and_then(|(_, each)| self.idle(&load, *each, settings)),
            forecasts: self.forecasts(memory),
            near_forecasts: memory.near_forecasts(self.workload).collect(),
            course: self.course(&ready, points_of),
        })
    }

    fn warm(&self, pool: &[Weighed]) -> Warm {
        let replica_hours = area(pool);
        Warm {
            recorded_hours: recorded(pool),
            replica_hours,
            most: most(pool),
            dollars: self.workload.price.map(|price| money(price, replica_hours)),
        }
    }

    async fn read(&self, series: Vec<String>) -> Result<Vec<Vec<FinePoint>>> {
        let until = self.until.plus(Span::millis(1));
        Ok(self.reader.finest(self.name.clone(), series, self.since, until).await?)
    }

    /// For how long a sample of a signal stands where no other follows.
    fn holds(&self, signal: &SignalName) -> Span {
        self.workload.signals.get(signal).map_or(HOLDS, |signal| signal.fresh_for.max(HOLDS))
    }

    /// Points with the hours that each of them stands for within the time of the report: until the next one, unless
    /// something is missing between them. What is longer than `holds` and half a point is missing.
    fn weigh(&self, points: &[FinePoint], holds: Span) -> Vec<Weighed> {
        let ends = points.iter().skip(1).map(|next| Some(next.point.at)).chain([None]);
        let weigh = |(FinePoint { point, length }, next): (&FinePoint, Option<Timestamp>)| {
            let longest = holds.max(Span::millis(length.as_millis() * 3 / 2));
            let own = point.at.plus(*length);
            let end = next.filter(|next| next.since(point.at) <= longest).unwrap_or(own).min(self.until);
            let from = point.at.max(self.since);
            Weighed { point: *point, length: *length, from, hours: hours(end.since(from)) }
        };
        points.iter().zip(ends).map(weigh).collect()
    }

    /// The page of this workload's time that ends before the entry given.
    fn query(&self, before: Option<Cursor>) -> Query {
        Query {
            workload: Some(self.name.clone()),
            since: Some(self.since),
            until: Some(self.until.plus(Span::millis(1))),
            before,
            limit: MAX_PAGE,
        }
    }

    async fn changes(&self) -> Result<Vec<Changes>> {
        let mut by_reason: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        let mut before = None;
        loop {
            let query = DecisionQuery { query: self.query(before), only_changes: true };
            let page = self.reader.decisions(query).await?;
            for decision in &page.entries {
                let (grew, shrank) =
                    by_reason.entry(deciding(decision).map_or("?", Reason::code)).or_default();
                if decision.to > decision.from {
                    *grew += 1;
                } else if decision.to < decision.from {
                    *shrank += 1;
                }
            }
            before = page.older;
            if before.is_none() {
                break;
            }
        }
        let change = |(reason, (grew, shrank)): (&str, (u64, u64))| Changes {
            reason: reason.to_owned(),
            grew,
            shrank,
        };
        let mut changes: Vec<_> = by_reason.into_iter().map(change).collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.grew + change.shrank));
        Ok(changes)
    }

    async fn failed_actions(&self) -> Result<u64> {
        let (mut failed, mut before) = (0, None);
        loop {
            let page = self.reader.actions(self.query(before)).await?;
            let ends = page.entries.iter().filter_map(|entry| entry.end.as_ref());
            failed += ends.filter(|end| matches!(end.outcome, ActionOutcome::Failed(_))).count() as u64;
            before = page.older;
            if before.is_none() {
                return Ok(failed);
            }
        }
    }

    /// What was to hold, in points of a minute where they are kept.
    async fn objectives(&self) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for strategy in &self.workload.strategies {
            let Strategy::Objective(objective) = strategy else { continue };
            for below in [&objective.latency, &objective.utilisation].into_iter().flatten() {
                let mut of = Kept {
                    signal: below.signal.clone(),
                    unit: self.workload.signals.get(&below.signal).map_or(Unit::Count, Signal::unit),
                    below: below.below.level,
                    allowed: objective.violations.level,
                    measured_hours: 0.0,
                    over_hours: 0.0,
                    touched_hours: 0.0,
                    worst: 0.0,
                    points_of: Span::ZERO,
                };
                let found = self.read(vec![below.signal.to_string()]).await?;
                for minute in minutes(&self.weigh(&found[0], self.holds(&below.signal))) {
                    of.take(&minute);
                }
                kept.push(of);
            }
        }
        Ok(kept)
    }

    fn idle(&self, load: &[Weighed], each: Level, settings: &AlertSettings) -> Option<Idle> {
        let min = self.workload.replicas.min;
        if min <= Replicas::ONE || load.is_empty() {
            return None;
        }
        let needed = load.iter().map(|weighed| weighed.point.max).fold(0.0, f64::max) / each.get();
        let share = needed / min.as_f64();
        if share >= settings.idle_below.level.get() {
            return None;
        }
        let enough = Replicas::ceil(needed).max(Replicas::ONE);
        let spare = min.minus(enough.0).as_f64();
        let dollars_a_month = self.workload.price.map(|price| money(price, spare * MONTH));
        Some(Idle { min, share, enough, dollars_a_month })
    }

    fn forecasts(&self, memory: &Memory) -> Vec<Foreseen> {
        let foreseen = |(signal, outlook): (&SignalName, &Outlook)| {
            let unit = self.workload.signals.get(signal)?.unit();
            let accuracy = outlook.foresight(signal, unit, false).accuracy?;
            Some(Foreseen { signal: signal.clone(), unit, accuracy })
        };
        memory.outlooks().filter_map(foreseen).collect()
    }

    /// Ready replicas in equal steps, none shorter than a point.
    fn course(&self, ready: &[Weighed], resolution: Span) -> Vec<Option<f64>> {
        let length = self.until.since(self.since).as_millis().max(1);
        let points = u32::try_from(length / resolution.as_millis().max(1)).unwrap_or(COURSE);
        let steps = points.clamp(1, COURSE);
        let step = hours(Span::millis(length)) / f64::from(steps);
        let mut sums = vec![(0.0, 0.0); steps as usize];
        for weighed in ready {
            let from = hours(weighed.from.since(self.since));
            for (place, (sum, filled)) in (0_u32..).zip(&mut sums) {
                let begin = f64::from(place) * step;
                let within = (from + weighed.hours).min(begin + step) - from.max(begin);
                if within > 0.0 {
                    *sum += weighed.point.mean * within;
                    *filled += within;
                }
            }
        }
        sums.into_iter().map(|(sum, hours)| (hours > 0.0).then(|| sum / hours)).collect()
    }
}

/// A point and the hours it stands for, from a moment on.
#[derive(Clone, Copy)]
struct Weighed {
    point: SeriesPoint,
    length: Span,
    from: Timestamp,
    hours: f64,
}

impl Kept {
    fn take(&mut self, Weighed { point, length, hours, .. }: &Weighed) {
        self.measured_hours += hours;
        if point.mean > self.below.get() {
            self.over_hours += hours;
        }
        if point.max > self.below.get() {
            self.touched_hours += hours;
        }
        self.worst = self.worst.max(point.max);
        self.points_of = self.points_of.max(*length);
    }
}

/// The load and what one replica carries of it, where the policy says so or it was learned.
fn demand(workload: &Workload, memory: &Memory) -> Option<(SignalName, Level)> {
    let found = workload.strategies.iter().find_map(|strategy| match strategy {
        Strategy::TargetTracking(rule) => Some((rule.signal.clone(), rule.per_replica.as_ref()?.level)),
        Strategy::Objective(rule) => {
            Some((rule.demand(workload)?.clone(), memory.capacity(workload)?.usable))
        }
        _ => None,
    });
    found.filter(|(_, each)| *each > Level::ZERO)
}

/// The reason behind a change: behind "the highest want wins", why that was wanted.
fn deciding(decision: &Decision) -> Option<&Reason> {
    let main = decision.main_reason()?;
    if !matches!(main, Reason::HighestWant { .. }) {
        return Some(main);
    }
    let wants = decision.recommendations.iter().filter_map(|said| match &said.advice {
        Advice::Wants { replicas, why } => Some((*replicas, why)),
        _ => None,
    });
    wants.max_by_key(|(replicas, _)| *replicas).map(|(_, why)| why).or(Some(main))
}

/// The same by the minute: points of a second or ten are put together.
fn minutes(points: &[Weighed]) -> Vec<Weighed> {
    let minute =
        |weighed: &Weighed| weighed.point.at.as_millis().div_euclid(MINUTE.as_millis().cast_signed());
    let together = |points: &[Weighed]| {
        let first = points[0];
        let hours = recorded(points);
        let mean = if hours > 0.0 { area(points) / hours } else { first.point.mean };
        let max = points.iter().map(|weighed| weighed.point.max).fold(first.point.max, f64::max);
        Weighed {
            point: SeriesPoint { mean, max, ..first.point },
            length: first.length.max(MINUTE),
            hours,
            ..first
        }
    };
    points.chunk_by(|a, b| minute(a) == minute(b)).map(together).collect()
}

/// The length of the longest point.
fn longest(points: &[Weighed]) -> Span {
    points.iter().map(|weighed| weighed.length).max().unwrap_or(Span::ZERO)
}

/// For how long something was recorded, hours.
fn recorded(points: &[Weighed]) -> f64 {
    points.iter().map(|weighed| weighed.hours).sum()
}

/// The most at once.
fn most(points: &[Weighed]) -> Replicas {
    Replicas::ceil(points.iter().map(|weighed| weighed.point.max).fold(0.0, f64::max))
}

fn area(points: &[Weighed]) -> f64 {
    points.iter().map(|weighed| weighed.point.mean * weighed.hours).sum()
}

fn utilisation(load: &[Weighed], ready: &[Weighed], each: Level) -> Option<f64> {
    let carried: f64 = area(ready) * each.get();
    (carried > 0.0 && !load.is_empty()).then(|| area(load) / carried)
}

fn hours(span: Span) -> f64 {
    span.as_secs_f64() / 3600.0
}

fn money(price: Price, replica_hours: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a million dollars an hour are 1e12 of them")]
    let dollars = price.as_micro_dollars_per_hour() as f64 / 1e6;
    dollars * replica_hours
}
