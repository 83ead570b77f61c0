//! The fleet's books: what the workloads hold of what they share, and how much of the fleet changed of late.
//!
//! The controller decides on one workload at a time, as its figures arrive. So that their sum stays within a limit
//! all the same, each workload's stand is entered here whenever its memory changes: what it holds (the most there
//! may be: asked for, under way, starting, draining), what is promised to it, what it would want if nothing were
//! short, and what it could give. A decision asks the books in time that doesn't grow with the fleet; two workloads
//! can't be promised the same room, because a promise is entered before the next decision is made.
//!
//! The books hold nothing that is not in the memories, except what the breaker remembers: they are made anew from
//! them after a restart. [`inspect`](crate::inspect) adds the stands up again by itself.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::{BreakerSettings, Fleet, Workload};
use crate::memory::{LOOK_FRESH_FOR, Memory};
use crate::names::{LimitName, SignalName, WorkloadName};
use crate::units::{Replicas, Span, Timestamp};

/// Entries of changes kept for the breaker; more within its stretch are added up into the oldest.
const MAX_ENTRIES: usize = 1024;

/// The facts of one workload that concern others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The most replicas there may be now: asked for, under way, running or draining. A workload that was never
    /// seen may have as many as its policy allows.
    pub held: Replicas,
    /// The count it will have once what is under way is done.
    pub promised: Replicas,
    /// Replicas on their way out, which still hold what they hold.
    pub draining: Replicas,
    /// Ready replicas that will stay.
    pub ready: Replicas,
    /// When its target was last seen, unless the last look failed.
    pub seen: Option<Timestamp>,
    /// What it would want beyond `promised` if the limit named were not short.
    pub short: Replicas,
    /// How many replicas could go if another needs the room more.
    pub gives: Replicas,
    /// Replicas an action under way takes away.
    pub leaving: Replicas,
    /// Replicas an action under way adds.
    pub coming: Replicas,
}

impl Stand {
    /// The stand of a workload by its memory.
    #[must_use]
    pub fn of(workload: &Workload, memory: &Memory) -> Self {
        let status = memory.status.as_ref().map(|(_, status)| status);
        let action = memory.in_flight.as_ref();
        let held = memory.held().unwrap_or(workload.replicas.max);
        let promised = memory.present().or(memory.believed).unwrap_or(workload.replicas.max);
        let seen = memory.status.as_ref().map(|(at, _)| *at).filter(|_| memory.look_error.is_none());
        let ask = memory.ask.as_ref();
        let wants = ask.filter(|ask| ask.short_of.is_some()).map_or(Replicas::ZERO, |ask| ask.wants);
        let least = ask.filter(|_| seen.is_some()).map_or(promised, |ask| ask.least);
        Self {
            held,
            promised,
            draining: status.map_or(Replicas::ZERO, |s| s.draining),
            ready: status.map_or(Replicas::ZERO, |s| s.ready.min(promised)),
            seen,
            short: wants.minus(promised.0),
            gives: promised.minus(least.0),
            leaving: action.map_or(Replicas::ZERO, |a| a.saw.minus(a.to.0)),
            coming: action.map_or(Replicas::ZERO, |a| a.to.minus(a.saw.0)),
        }
    }

    const NOTHING: Self = Self {
        held: Replicas::ZERO,
        promised: Replicas::ZERO,
        draining: Replicas::ZERO,
        ready: Replicas::ZERO,
        seen: None,
        short: Replicas::ZERO,
        gives: Replicas::ZERO,
        leaving: Replicas::ZERO,
        coming: Replicas::ZERO,
    };
}

/// What a workload said of the room it needs, when it was last looked over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// The count it would have if no limit were short.
    pub(crate) wants: Replicas,
    /// The limit that keeps it from having it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) short_of: Option<LimitName>,
    /// How far it could go down for others.
    pub(crate) least: Replicas,
}

/// One limit's books.
#[derive(Clone, Debug)]
struct Books {
    name: LimitName,
    fixed: u64,
    suppliers: Vec<(WorkloadName, u64)>,
    /// What is held and what is promised, of all that use it.
    held: u128,
    promised: u128,
    /// What those that are short of it need more, with their priorities.
    needy: BTreeMap<WorkloadName, (i32, u128)>,
    /// What could be given up, by priority.
    gives: BTreeMap<i32, u128>,
}

/// A workload's part in what is shared.
#[derive(Clone, Debug)]
struct Member {
    stand: Stand,
    short_of: Option<LimitName>,
    priority: i32,
    /// Limits it uses and how much of each a replica takes, by their place in the books.
    uses: Vec<(usize, u64)>,
    /// Limits it supplies and how much a ready replica adds.
    supplies: Vec<(usize, u64)>,
}

/// Room in the limits for one workload, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// It may grow to so many: the tightest limit says so.
    pub(crate) growth: Option<Tight>,
    /// So many are to go, because one of a higher priority is short.
    pub(crate) gives: Option<Give>,
    /// It may not shrink below so many, because others hold what it supplies.
    pub(crate) keeps: Option<Tight>,
}

/// A limit's word on a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tight {
    pub(crate) limit: LimitName,
    /// The most, or the least, replicas.
    pub(crate) bound: Replicas,
    pub(crate) supply: u64,
    /// Held by all that use it.
    pub(crate) held: u64,
}

/// What is to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Give {
    pub(crate) limit: LimitName,
    pub(crate) replicas: Replicas,
    pub(crate) to: WorkloadName,
}

/// A workload's part in a limit, as people and its replicas read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Which limit.
    pub limit: LimitName,
    /// How much there is.
    pub supply: u64,
    /// How much all that use it hold, what is under way included.
    pub held: u64,
    /// How much one replica of this workload is reckoned with.
    pub each: u64,
    /// How much each replica of this workload may take now, so that all of them together stay within the supply: a
    /// connection pool is to be no larger (A33: limit ÷ replicas).
    pub pool: u64,
}

/// The breaker, as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    /// Since when it is open.
    pub at: Timestamp,
    /// When it closes by itself.
    pub until: Timestamp,
    /// Whose change opened it.
    pub workload: WorkloadName,
    /// Replicas that would have changed within the stretch.
    pub changed: u64,
    /// Replicas that may.
    pub most: u64,
}

/// What the breaker remembers; not to be found in any workload's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BreakerMemory {
    /// Replicas that went and came, oldest first.
    done: VecDeque<Done>,
    /// It is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) opened: Option<Opened>,
    /// A person closed it: until then it does not open again.
    #[serde(skip_serializing_if = "Option::is_none")]
    let_pass_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    at: Timestamp,
    gone: u64,
    come: u64,
}

/// What the breaker says of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It may pass.
    Pass,
    /// The breaker is open.
    Open { until: Timestamp },
    /// This change is one too many.
    Trips { changed: u64, most: u64 },
}

/// The books of a fleet.
#[derive(Clone, Debug)]
pub struct Together {
    limits: Vec<Books>,
    members: BTreeMap<WorkloadName, Member>,
    /// The workloads by priority, the highest first; empty where nothing is shared.
    order: Vec<WorkloadName>,
    /// Whose looks are someone's signal.
    followers: BTreeMap<WorkloadName, Vec<(WorkloadName, SignalName)>>,
    settings: Option<BreakerSettings>,
    pub(crate) breaker: BreakerMemory,
    replicas: u64,
    leaving: u64,
    coming: u64,
}

impl Together {
    /// The books of `fleet`, from the memories of its workloads.
    #[must_use]
    pub fn new(fleet: &Fleet, memories: &BTreeMap<WorkloadName, Memory>, breaker: BreakerMemory) -> Self {
        let mut limits = Vec::new();
        let mut members: BTreeMap<WorkloadName, Member> = BTreeMap::new();
        let member = |name: &WorkloadName, members: &mut BTreeMap<WorkloadName, Member>, part: Role| {
            let Some(workload) = fleet.workload(name) else { return };
            let entry = members.entry(name.clone()).or_insert_with(|| Member {
                stand: Stand::NOTHING,
                short_of: None,
                priority: fleet.priority(workload),
                uses: Vec::new(),
                supplies: Vec::new(),
            });
            match part {
                Role::Uses(limit, each) => entry.uses.push((limit, each)),
                Role::Supplies(limit, each) => entry.supplies.push((limit, each)),
                Role::Counts => {}
            }
        };
        for (index, (name, limit)) in fleet.limits().iter().enumerate() {
            for (user, each) in &limit.uses {
                member(user, &mut members, Role::Uses(index, *each));
            }
            for (supplier, each) in &limit.suppliers {
                member(supplier, &mut members, Role::Supplies(index, *each));
            }
            limits.push(Books {
                name: name.clone(),
                fixed: limit.supply,
                suppliers: limit.suppliers.iter().map(|(name, each)| (name.clone(), *each)).collect(),
                held: 0,
                promised: 0,
                needy: BTreeMap::new(),
                gives: BTreeMap::new(),
            });
        }
        if fleet.breaker().is_some() {
            for name in fleet.workloads().keys() {
                member(name, &mut members, Role::Counts);
            }
        }
        let mut order = Vec::new();
        if !limits.is_empty() {
            order.extend(
                fleet.workloads().iter().map(|(name, w)| (-i64::from(fleet.priority(w)), name.clone())),
            );
            order.sort();
        }
        let mut followers: BTreeMap<WorkloadName, Vec<(WorkloadName, SignalName)>> = BTreeMap::new();
        for (name, workload) in fleet.workloads() {
            for (signal, settings) in &workload.signals {
                if let Some(of) = settings.replicas_of() {
                    followers.entry(of.clone()).or_default().push((name.clone(), signal.clone()));
                }
            }
        }
        let mut together = Self {
            limits,
            members,
            order: order.into_iter().map(|(_, name)| name).collect(),
            followers,
            settings: fleet.breaker().copied(),
            breaker,
            replicas: 0,
            leaving: 0,
            coming: 0,
        };
        for (name, memory) in memories {
            if let Some(workload) = fleet.workload(name) {
                together.enter(name, workload, memory);
            }
        }
        together
    }

    /// The workloads in the order in which a tick looks them over, where that is not the order of their names.
    pub(crate) fn order(&self) -> Option<&[WorkloadName]> {
        (!self.order.is_empty()).then_some(&self.order)
    }

    /// Whose signal a look at `workload` is.
    pub(crate) fn followers(&self, workload: &WorkloadName) -> &[(WorkloadName, SignalName)] {
        self.followers.get(workload).map_or(&[], Vec::as_slice)
    }

    /// Whether `workload` shares anything with others.
    pub(crate) fn shares(&self, workload: &WorkloadName) -> bool {
        !self.members.is_empty() && self.members.contains_key(workload)
    }

    /// Enters a workload's stand after its memory changed.
    pub(crate) fn enter(&mut self, name: &WorkloadName, workload: &Workload, memory: &Memory) {
        if self.members.is_empty() {
            return;
        }
        let Some(member) = self.members.get_mut(name) else { return };
        let (old, new) = (member.stand, Stand::of(workload, memory));
        let short_of = memory.ask.as_ref().and_then(|ask| ask.short_of.as_ref());
        if old == new && member.short_of.as_ref() == short_of {
            return;
        }
        member.stand = new;
        member.short_of = short_of.cloned();
        for (index, each) in &member.uses {
            let Some(books) = self.limits.get_mut(*index) else { continue };
            let amount = |count: Replicas| u128::from(*each) * u128::from(count.0);
            books.held = books.held - amount(old.held) + amount(new.held);
            books.promised = books.promised - amount(old.promised) + amount(new.promised);
            let gives = books.gives.entry(member.priority).or_default();
            *gives = *gives - amount(old.gives) + amount(new.gives);
            if new.short > Replicas::ZERO && member.short_of.as_ref() == Some(&books.name) {
                books.needy.insert(name.clone(), (member.priority, amount(new.short)));
            } else {
                books.needy.remove(name);
            }
        }
        let count = |replicas: Replicas| u64::from(replicas.0);
        self.replicas = self.replicas - count(old.promised) + count(new.promised);
        self.leaving = self.leaving - count(old.leaving) + count(new.leaving);
        self.coming = self.coming - count(old.coming) + count(new.coming);
    }

    /// A workload's stand, where it shares anything.
    #[must_use]
    pub fn stand(&self, workload: &WorkloadName) -> Option<&Stand> {
        self.members.get(workload).map(|member| &member.stand)
    }

    /// How much there is of a limit. What can't be seen of late counts for growth only `if_unseen`.
    fn supply(&self, books: &Books, at: Timestamp, if_unseen: bool) -> u128 {
        let of = |(name, each): &(WorkloadName, u64)| {
            let stand = self.members.get(name).map_or(Stand::NOTHING, |member| member.stand);
            let fresh = stand.seen.is_some_and(|seen| at.since(seen).max(seen.since(at)) <= LOOK_FRESH_FOR);
            if fresh || if_unseen { u128::from(*each) * u128::from(stand.ready.0) } else { 0 }
        };
        u128::from(books.fixed) + books.suppliers.iter().map(of).sum::<u128>()
    }

    /// The room for `workload` in all its limits.
    pub(crate) fn room(&self, workload: &WorkloadName, at: Timestamp) -> Option<Room> {
        if self.limits.is_empty() {
            return None;
        }
        let member = self.members.get(workload)?;
        let mut room = Room::default();
        for (index, each) in &member.uses {
            let Some(books) = self.limits.get(*index) else { continue };
            let above =
                || books.needy.iter().filter(|(name, need)| need.0 > member.priority && *name != workload);
            let needed: u128 = above().map(|(_, (_, need))| need).sum();
            let supply = self.supply(books, at, false);
            let own = u128::from(*each) * u128::from(member.stand.held.0);
            let free = supply.saturating_sub(books.held - own).saturating_sub(needed);
            // Where it holds more than there is room for already, nothing is added.
            let room_for = if free < own { 0 } else { free / u128::from(*each) };
            let bound = whole(room_for).minus(member.stand.draining.0);
            if room.growth.as_ref().is_none_or(|tightest| bound < tightest.bound) {
                let (supply, held) = (amount(supply), amount(books.held));
                room.growth = Some(Tight { limit: books.name.clone(), bound, supply, held });
            }
            let known = self.supply(books, at, true);
            let lower: u128 = books.gives.range(..member.priority).map(|(_, gives)| gives).sum();
            let missing = (needed + books.promised).saturating_sub(known).saturating_sub(lower);
            let replicas = whole(missing.div_ceil(u128::from(*each)));
            // The neediest is named: of several the one of the highest priority.
            let to = above().max_by_key(|(_, need)| need.0).map(|(name, _)| name);
            if let Some(to) = to.filter(|_| replicas > Replicas::ZERO)
                && room.gives.as_ref().is_none_or(|most| replicas > most.replicas)
            {
                room.gives = Some(Give { limit: books.name.clone(), replicas, to: to.clone() });
            }
        }
        for (index, each) in &member.supplies {
            let Some(books) = self.limits.get(*index) else { continue };
            let own = u128::from(*each) * u128::from(member.stand.ready.0);
            let known = self.supply(books, at, true);
            let others = known - own;
            // While less is ready than is held, none goes: one that is starting may be what is missing.
            let bound = if books.held > known {
                Replicas::LIMIT
            } else {
                whole(books.held.saturating_sub(others).div_ceil(u128::from(*each)))
            };
            if room.keeps.as_ref().is_none_or(|tightest| bound > tightest.bound) {
                let (supply, held) = (amount(known), amount(books.held));
                room.keeps = Some(Tight { limit: books.name.clone(), bound, supply, held });
            }
        }
        Some(room)
    }

    /// A workload's parts in what it uses, for people and for its replicas.
    #[must_use]
    pub fn parts(&self, workload: &WorkloadName, at: Timestamp) -> Vec<Part> {
        let Some(member) = self.members.get(workload) else { return Vec::new() };
        let part = |(index, each): &(usize, u64)| {
            let books = self.limits.get(*index)?;
            let supply = self.supply(books, at, true);
            // Each replica's share follows its weight: with one user that is supply ÷ replicas.
            let pool = (u128::from(*each) * supply).checked_div(books.held);
            let pool = amount(pool.unwrap_or(supply).min(supply));
            let (supply, held) = (amount(supply), amount(books.held));
            Some(Part { limit: books.name.clone(), supply, held, each: *each, pool })
        };
        member.uses.iter().filter_map(part).collect()
    }

    /// What the breaker says of a workload's change from one count to another.
    pub(crate) fn word(&self, name: &WorkloadName, from: Replicas, to: Replicas, at: Timestamp) -> Word {
        let Some(settings) = self.settings.as_ref().filter(|s| s.growth || to < from) else {
            return Word::Pass;
        };
        if let Some(opened) = &self.breaker.opened {
            return Word::Open { until: opened.until };
        }
        if self.breaker.let_pass_until.is_some_and(|until| at < until) {
            return Word::Pass;
        }
        let since = at.minus(settings.within);
        let (mut gone, mut come) = (0, 0);
        for done in self.breaker.done.iter().rev().take_while(|done| done.at > since) {
            gone += done.gone;
            come += done.come;
        }
        // What this workload has under way is overtaken by the change in question.
        let own = self.members.get(name).map_or(Stand::NOTHING, |member| member.stand);
        let leaving = self.leaving - u64::from(own.leaving.0);
        let coming = self.coming - u64::from(own.coming.0);
        let then = (self.replicas + gone + leaving).saturating_sub(come + coming);
        let share = Replicas::ceil(
            (Replicas(u32::try_from(then).unwrap_or(u32::MAX)).as_f64() * settings.most.level.get()).floor(),
        );
        let most = u64::from(share.max(settings.at_least).0);
        let counted = if settings.growth { come + coming } else { 0 };
        let changed = gone + leaving + counted + u64::from(from.0.abs_diff(to.0));
        if changed > most { Word::Trips { changed, most } } else { Word::Pass }
    }

    /// Opens the breaker, because `workload` would have been one too many.
    pub(crate) fn open(
        &mut self,
        workload: &WorkloadName,
        changed: u64,
        most: u64,
        at: Timestamp,
    ) -> Option<&Opened> {
        let until = at.plus(self.settings.as_ref()?.hold);
        self.breaker.opened = Some(Opened { at, until, workload: workload.clone(), changed, most });
        self.breaker.opened.as_ref()
    }

    /// Closes the breaker, where its time is up; gives what it was opened for.
    pub(crate) fn close_in_time(&mut self, at: Timestamp) -> Option<Opened> {
        let hold = self.settings.as_ref().map_or(Span::ZERO, |s| s.hold);
        // A clock that was set back must not keep it open for longer than it holds.
        if let Some(opened) = self.breaker.opened.as_mut().filter(|o| o.until > at.plus(hold)) {
            opened.until = at.plus(hold);
        }
        self.breaker.opened.take_if(|opened| at >= opened.until)
    }

    /// A person closes the breaker: for one stretch it lets everything pass.
    pub(crate) fn close_by_person(&mut self, at: Timestamp) -> Option<Opened> {
        let within = self.settings.as_ref()?.within;
        let opened = self.breaker.opened.take()?;
        self.breaker.let_pass_until = Some(at.plus(within));
        Some(opened)
    }

    /// The breaker, if it is open.
    #[must_use]
    pub fn opened(&self) -> Option<&Opened> {
        self.breaker.opened.as_ref()
    }

    /// What the breaker remembers.
    #[must_use]
    pub fn breaker(&self) -> &BreakerMemory {
        &self.breaker
    }

    /// Takes in a change that a target took.
    pub(crate) fn changed(&mut self, from: Replicas, to: Replicas, at: Timestamp) {
        let Some(settings) = &self.settings else { return };
        let (gone, come) = (u64::from(from.minus(to.0).0), u64::from(to.minus(from.0).0));
        let done = &mut self.breaker.done;
        // Brought back to the present where the clock was set back.
        done.iter_mut().rev().take_while(|d| d.at > at).for_each(|d| d.at = at);
        let since = at.minus(settings.within);
        while done.front().is_some_and(|d| d.at <= since) {
            done.pop_front();
        }
        let full = done.len() >= MAX_ENTRIES;
        match done.back_mut().filter(|last| last.at == at || full) {
            Some(last) => (last.at, last.gone, last.come) = (at, last.gone + gone, last.come + come),
            None => done.push_back(Done { at, gone, come }),
        }
    }
}

/// What a workload is to a limit, while the books are made.
enum Role {
    Uses(usize, u64),
    Supplies(usize, u64),
    Counts,
}

/// Replicas, as far as anyone can ask for.
fn whole(count: u128) -> Replicas {
    Replicas(u32::try_from(count).unwrap_or(u32::MAX).min(Replicas::LIMIT.0))
}

/// An amount for people; beyond 64 bits nothing is counted.
fn amount(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}
