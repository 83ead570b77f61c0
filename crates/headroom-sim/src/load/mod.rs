//! Loads: how many requests a second come, step by step.
//!
//! A load is a trace, a formula, or a mixture of such, scaled and shifted. It is a stream: a run of any length
//! takes the same memory. It knows no replicas; what a replica carries is the world's matter.

mod trace;

use headroom_core::units::{Span, Timestamp};
use serde::{Deserialize, Serialize};

pub use trace::{TraceFacts, TraceSource, averaged, check};

use crate::rng::Rng;

/// Traces set the step between these: the live controller looks once a second, and an objective decides every 5 s.
const SHORTEST_OWN_STEP: Span = Span::seconds(1);
const LONGEST_OWN_STEP: Span = Span::seconds(5);

/// What may be wrong with a load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A text that is no load.
    #[error("{0}")]
    Text(String),
    /// The file can't be read.
    #[error("the trace {trace} can't be read: {why}")]
    Unreadable {
        /// Which.
        trace: String,
        /// The system's words.
        why: String,
    },
    /// No row at all.
    #[error("the trace {trace} is empty; it needs the header `timestamp,value` and at least two rows")]
    Empty {
        /// Which.
        trace: String,
    },
    /// One row says nothing of the time between rows.
    #[error("the trace {trace} has a single row; two are needed to know how far rows stand apart")]
    OneRow {
        /// Which.
        trace: String,
    },
    /// Not the header of a trace.
    #[error("the trace {trace} starts with {found:?}; its first line must be `timestamp,value`")]
    Header {
        /// Which.
        trace: String,
        /// What stands there.
        found: String,
    },
    /// A row that can't be a load.
    #[error("the trace {trace}, line {line}: {what}")]
    Row {
        /// Which.
        trace: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong and what to do.
        what: String,
    },
    /// A formula with a figure that can't be.
    #[error("the load's `{what}` {why}")]
    Formula {
        /// Which part.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A load that never exceeds nothing can't be scaled to a peak.
    #[error("the load is 0 all the time, so no factor brings its peak to the replicas asked for")]
    NoPeak,
    /// Formulas go on for ever.
    #[error("a load of formulas has no end; say how long to simulate")]
    NoEnd,
}

/// A load in requests a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// As measured: the path of a file with rows of `timestamp,value`.
    Trace(TraceSource),
    /// Always the same.
    Constant(f64),
    /// A sine between `low` and `high`.
    Wave(Wave),
    /// A straight line from one level to another.
    Ramp(Ramp),
    /// Quiet but for a surge.
    Surge(Surge),
    /// The sum of several loads.
    Sum(Vec<Load>),
    /// A load times a factor.
    Scaled(Box<Scaled>),
    /// A load that comes later; before, it stands at its first value.
    Shifted(Box<Shifted>),
    /// A load with chance in it.
    Noisy(Box<Noisy>),
}

/// See [`Load::Wave`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// From one peak to the next.
    #[serde(default = "a_day")]
    pub period: Span,
    /// When the first peak is, from the start.
    #[serde(default = "half_a_day")]
    pub peak_at: Span,
}

fn a_day() -> Span {
    Span::days(1)
}
fn half_a_day() -> Span {
    Span::hours(12)
}

/// See [`Load::Ramp`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ramp {
    /// The level before.
    pub from: f64,
    /// The level after.
    pub to: f64,
    /// When it starts to change.
    pub at: Span,
    /// How long it takes; at once, if not given.
    #[serde(default)]
    pub over: Span,
}

/// See [`Load::Surge`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Surge {
    /// How much it adds at its height.
    pub add: f64,
    /// When it starts.
    pub at: Span,
    /// From nothing to its height.
    #[serde(default)]
    pub rise: Span,
    /// How long it stays.
    pub hold: Span,
    /// From its height to nothing.
    #[serde(default)]
    pub fall: Span,
    /// From one surge to the next; a single one, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

/// See [`Load::Scaled`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scaled {
    /// The factor.
    pub by: f64,
    /// The load.
    pub load: Load,
}

/// See [`Load::Shifted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shifted {
    /// How much later.
    pub by: Span,
    /// The load.
    pub load: Load,
}

/// See [`Load::Noisy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Noisy {
    /// The deviation of a slow wandering, as a share of the load: 0.05 puts back what averaging over minutes
    /// takes out of web traffic.
    #[serde(default)]
    pub wander: f64,
    /// Whether requests come independently of each other (Poisson).
    #[serde(default)]
    pub arrivals: bool,
    /// The load.
    pub load: Load,
}

/// How long a wandering load remembers where it was.
const WANDER_MEMORY_S: f64 = 60.0;

impl Load {
    /// Reads a load as it stands in a scenario.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        serde_saphyr::from_str(text).map_err(|error| LoadError::Text(error.to_string()))
    }

    /// The step to simulate this load at, where nobody asks for another: a second, as the live controller looks. A trace
    /// with rows 1 to 5 s apart sets its own: between them there is nothing to see but a straight line, and joining
    /// their middles by one would blunt every peak.
    ///
    /// # Errors
    /// What is wrong with the beginning of the trace.
    pub fn step(&self) -> Result<Span, LoadError> {
        let Self::Trace(source) = self else { return Ok(SHORTEST_OWN_STEP) };
        let spacing = Span::millis(trace::spacing(source)?.unsigned_abs());
        let own = (SHORTEST_OWN_STEP..=LONGEST_OWN_STEP).contains(&spacing);
        Ok(if own { spacing } else { SHORTEST_OWN_STEP })
    }

    /// A load read from a trace file.
    #[must_use]
    pub fn trace_file(path: impl Into<std::path::PathBuf>) -> Self {
        Self::Trace(TraceSource::File(path.into()))
    }

    /// The same load with traces looked for relative to `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &std::path::Path) -> Self {
        match self {
            Self::Trace(TraceSource::File(path)) => Self::Trace(TraceSource::File(folder.join(path))),
            Self::Sum(parts) => Self::Sum(parts.into_iter().map(|p| p.relative_to(folder)).collect()),
            Self::Scaled(s) => s.load.relative_to(folder).scaled(s.by),
            Self::Shifted(s) => s.load.relative_to(folder).shifted(s.by),
            Self::Noisy(n) => Self::Noisy(Box::new(Noisy { load: n.load.relative_to(folder), ..*n })),
            other @ (Self::Trace(_) | Self::Constant(_) | Self::Wave(_) | Self::Ramp(_) | Self::Surge(_)) => {
                other
            }
        }
    }

    /// `self` times `by`.
    #[must_use]
    pub fn scaled(self, by: f64) -> Self {
        Self::Scaled(Box::new(Scaled { by, load: self }))
    }

    /// `self`, later by `by`.
    #[must_use]
    pub fn shifted(self, by: Span) -> Self {
        Self::Shifted(Box::new(Shifted { by, load: self }))
    }

    /// Opens the load as a stream of one value per `step`. Traces are read through once, so what is wrong with
    /// them is said before anything runs.
    ///
    /// # Errors
    /// What is wrong with the load.
    pub fn open(&self, step: Span, seed: u64) -> Result<LoadStream, LoadError> {
        let mut facts = None;
        let node = Node::open(self, step, &mut Rng::fork(seed, "load"), &mut facts)?;
        Ok(LoadStream { node, step: step.as_secs_f64(), index: 0, facts })
    }
}

/// A load being read.
pub struct LoadStream {
    node: Node,
    step: f64,
    index: u64,
    facts: Option<TraceFacts>,
}

impl LoadStream {
    /// What was found of the first trace in it.
    #[must_use]
    pub fn facts(&self) -> Option<&TraceFacts> {
        self.facts.as_ref()
    }

    /// The moment of the first value, where a trace says it.
    #[must_use]
    pub fn start(&self) -> Option<Timestamp> {
        self.facts.map(|f| f.start)
    }

    /// The mean of the next step in requests a second; `None` after the end.
    ///
    /// # Errors
    /// A file that changed or failed under the reader.
    pub fn next_step(&mut self) -> Result<Option<f64>, LoadError> {
        #[expect(clippy::cast_precision_loss, reason = "a step's index is far below 2^53")]
        let middle = (self.index as f64 + 0.5) * self.step;
        self.index += 1;
        self.node.next(middle, self.step)
    }
}

/// A load being read, part by part.
enum Node {
    Trace(Box<trace::TraceStream>),
    Constant(f64),
    Wave(Wave),
    Ramp(Ramp),
    Surge(Surge),
    Sum(Vec<Node>),
    Scaled(f64, Box<Node>),
    Shifted { left: u64, first: Option<f64>, inner: Box<Node>, back: f64 },
    Noisy { rng: Rng, wander: f64, arrivals: bool, state: f64, keep: f64, inner: Box<Node> },
}

impl Node {
    fn open(
        load: &Load,
        step: Span,
        rng: &mut Rng,
        facts: &mut Option<TraceFacts>,
    ) -> Result<Self, LoadError> {
        let amount = |what, v: f64| {
            if v.is_finite() && v >= 0.0 {
                Ok(v)
            } else {
                Err(LoadError::Formula { what, why: "must be a finite number of 0 or more" })
            }
        };
        Ok(match load {
            Load::Trace(source) => {
                let found = check(source)?;
                let stream = trace::TraceStream::open(source, &found, step)?;
                facts.get_or_insert(found);
                Self::Trace(Box::new(stream))
            }
            Load::Constant(v) => Self::Constant(amount("constant", *v)?),
            Load::Wave(w) => {
                amount("wave.low", w.low)?;
                amount("wave.high", w.high)?;
                if w.period.is_zero() {
                    return Err(LoadError::Formula {
                        what: "wave.period",
                        why: "must be longer than nothing",
                    });
                }
                Self::Wave(*w)
            }
            Load::Ramp(r) => {
                amount("ramp.from", r.from)?;
                amount("ramp.to", r.to)?;
                Self::Ramp(*r)
            }
            Load::Surge(s) => {
                amount("surge.add", s.add)?;
                if s.every.is_some_and(Span::is_zero) {
                    return Err(LoadError::Formula {
                        what: "surge.every",
                        why: "must be longer than nothing",
                    });
                }
                Self::Surge(*s)
            }
            Load::Sum(parts) => {
                if parts.is_empty() {
                    return Err(LoadError::Formula { what: "sum", why: "needs at least one load" });
                }
                Self::Sum(parts.iter().map(|p| Self::open(p, step, rng, facts)).collect::<Result<_, _>>()?)
            }
            Load::Scaled(s) => {
                Self::Scaled(amount("scaled.by", s.by)?, Box::new(Self::open(&s.load, step, rng, facts)?))
            }
            Load::Shifted(s) => {
                let inner = Box::new(Self::open(&s.load, step, rng, facts)?);
                let steps = s.by.as_millis() / step.as_millis().max(1);
                #[expect(clippy::cast_precision_loss, reason = "a number of steps is far below 2^53")]
                let back = steps as f64 * step.as_secs_f64();
                Self::Shifted { left: steps, first: None, inner, back }
            }
            Load::Noisy(n) => Self::Noisy {
                rng: Rng::new(rng.bits()),
                wander: amount("noisy.wander", n.wander)?,
                arrivals: n.arrivals,
                state: 0.0,
                keep: libm::exp(-step.as_secs_f64() / WANDER_MEMORY_S),
                inner: Box::new(Self::open(&n.load, step, rng, facts)?),
            },
        })
    }

    /// The mean of the step around `middle` (seconds from the start).
    fn next(&mut self, middle: f64, step: f64) -> Result<Option<f64>, LoadError> {
        Ok(match self {
            Self::Trace(stream) => stream.next()?,
            Self::Constant(v) => Some(*v),
            Self::Wave(w) => {
                let phase = (middle - w.peak_at.as_secs_f64()) / w.period.as_secs_f64();
                let height = 0.5 + 0.5 * libm::cos(std::f64::consts::TAU * phase);
                Some(w.low + (w.high - w.low) * height)
            }
            Self::Ramp(r) => {
                let since = middle - r.at.as_secs_f64();
                let over = r.over.as_secs_f64();
                let share = if since < 0.0 {
                    0.0
                } else if since >= over {
                    1.0
                } else {
                    since / over
                };
                Some(r.from + (r.to - r.from) * share)
            }
            Self::Surge(s) => {
                let mut since = middle - s.at.as_secs_f64();
                if let Some(every) = s.every.filter(|_| since > 0.0) {
                    since %= every.as_secs_f64();
                }
                Some(s.add * pulse(since, s))
            }
            Self::Sum(parts) => {
                let mut sum = 0.0;
                for part in parts {
                    match part.next(middle, step)? {
                        Some(v) => sum += v,
                        None => return Ok(None),
                    }
                }
                Some(sum)
            }
            Self::Scaled(by, inner) => inner.next(middle, step)?.map(|v| v * *by),
            Self::Shifted { left, first, inner, back } => {
                if first.is_none() {
                    *first = inner.next(step / 2.0, step)?;
                }
                if *left > 0 {
                    *left -= 1;
                    *first
                } else if let Some(value) = first.filter(|_| middle - *back < step) {
                    Some(value)
                } else {
                    inner.next(middle - *back, step)?
                }
            }
            Self::Noisy { rng, wander, arrivals, state, keep, inner } => {
                let Some(mut v) = inner.next(middle, step)? else { return Ok(None) };
                if *wander > 0.0 {
                    // Ornstein and Uhlenbeck; the logarithm wanders, so the load stays positive and keeps its mean.
                    *state = *state * *keep + *wander * libm::sqrt(1.0 - *keep * *keep) * rng.normal();
                    v *= libm::exp(*state - *wander * *wander / 2.0);
                }
                if *arrivals {
                    v = rng.poisson(v * step) / step;
                }
                Some(v)
            }
        })
    }
}

/// How high a surge stands `since` seconds after its start: 0 to 1.
fn pulse(since: f64, s: &Surge) -> f64 {
    let (rise, hold, fall) = (s.rise.as_secs_f64(), s.hold.as_secs_f64(), s.fall.as_secs_f64());
    if since < 0.0 {
        0.0
    } else if since < rise {
        since / rise
    } else if since < rise + hold {
        1.0
    } else if since < rise + hold + fall {
        (rise + hold + fall - since) / fall
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(load: &Load, step: u64, n: usize) -> Vec<f64> {
        let mut stream = load.open(Span::seconds(step), 1).unwrap();
        (0..n).map_while(|_| stream.next_step().unwrap()).collect()
    }

    #[test]
    fn a_trace_of_fine_rows_sets_its_own_step() {
        let step = |apart: f64| {
            let text = format!("timestamp,value\n0,1\n{apart},2\n{},3\n", 2.0 * apart);
            Load::Trace(TraceSource::Text { name: "t".into(), text: text.into() }).step().unwrap()
        };
        assert_eq!(
            [0.1, 1.0, 2.5, 5.0, 10.0, 300.0].map(|s| step(s).as_millis()),
            [1000, 1000, 2500, 5000, 1000, 1000]
        );
        assert_eq!(Load::Constant(1.0).step(), Ok(Span::seconds(1)));
    }

    #[test]
    fn formulas_give_what_they_say() {
        let surge = |every| {
            Load::Surge(Surge {
                add: 10.0,
                at: Span::seconds(2),
                rise: Span::seconds(2),
                hold: Span::seconds(1),
                fall: Span::ZERO,
                every,
            })
        };
        let ramp =
            |over| Load::Ramp(Ramp { from: 1.0, to: 5.0, at: Span::seconds(2), over: Span::seconds(over) });
        for (load, expected) in [
            (Load::Constant(3.0), vec![3.0, 3.0, 3.0]),
            (ramp(0), vec![1.0, 1.0, 5.0, 5.0]),
            (ramp(4), vec![1.0, 1.0, 1.5, 2.5, 3.5, 4.5, 5.0]),
            (surge(None), vec![0.0, 0.0, 2.5, 7.5, 10.0, 0.0, 0.0, 0.0]),
            (surge(Some(Span::seconds(4))), vec![0.0, 0.0, 2.5, 7.5, 10.0, 0.0, 2.5, 7.5]),
            (Load::Sum(vec![Load::Constant(1.0), ramp(0)]), vec![2.0, 2.0, 6.0]),
            (ramp(0).scaled(2.0), vec![2.0, 2.0, 10.0]),
            (ramp(0).shifted(Span::seconds(1)), vec![1.0, 1.0, 1.0, 5.0]),
        ] {
            assert_eq!(values(&load, 1, expected.len()), expected, "{load:?}");
        }
        let wave =
            Load::Wave(Wave { low: 100.0, high: 300.0, period: Span::days(1), peak_at: Span::hours(15) });
        let day = values(&wave, 3600, 24);
        assert!(day.iter().all(|v| (100.0..=300.0).contains(v)), "{day:?}");
        assert!(day[14] > 298.0 && day[2] < 102.0, "{day:?}");
    }

    #[test]
    fn a_shifted_trace_loses_nothing() {
        let source = TraceSource::Text { name: "t".into(), text: "timestamp,value\n0,1\n1,2\n2,3\n".into() };
        let trace = Load::Trace(source);
        assert_eq!(values(&trace, 1, 9), [1.0, 2.0, 3.0]);
        assert_eq!(values(&trace.shifted(Span::seconds(2)), 1, 9), [1.0, 1.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn noise_keeps_the_mean_and_repeats_with_its_seed() {
        let noisy =
            Load::Noisy(Box::new(Noisy { wander: 0.05, arrivals: true, load: Load::Constant(200.0) }));
        let a = values(&noisy, 1, 20_000);
        let mean = a.iter().sum::<f64>() / 2e4;
        assert!((mean - 200.0).abs() < 3.0, "{mean}");
        assert_eq!(a, values(&noisy, 1, 20_000));
    }

    #[test]
    fn impossible_figures_are_refused() {
        for load in [
            Load::Constant(-1.0),
            Load::Constant(f64::NAN),
            Load::Sum(vec![]),
            Load::Constant(1.0).scaled(f64::INFINITY),
            Load::Wave(Wave { low: 1.0, high: 2.0, period: Span::ZERO, peak_at: Span::ZERO }),
        ] {
            assert!(load.open(Span::seconds(1), 1).is_err(), "{load:?}");
        }
    }
}
