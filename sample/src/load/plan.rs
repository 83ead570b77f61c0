//! How many requests a second are offered, and when: the plan of a load.
//!
//! A plan is a list of phases, and it has a text form short enough for a flag:
//!
//! ```text
//! calm 20s @50, surge 20s x10, calm 20s x1
//! 20*(calm 5s @50, surge 5s x10)
//! ramp 1m @10..200, day 5m daily @80, replay 10m trace requests.csv @300
//! ```
//!
//! A phase is `[name] time shape`. Shapes:
//!
//! | shape | is |
//! |---|---|
//! | `@50` | 50 requests a second |
//! | `@10..200` | growing (or falling) evenly from 10 to 200 |
//! | `x10`, `×10` | ten times the last rate given with a single `@` |
//! | `daily @80` | a day of office traffic around 80, compressed into the time |
//! | `trace FILE @300` | the last column of a CSV file, scaled so that its peak is 300 |
//!
//! A phase named `surge` is one whose begin the statistics report as such. A plan is only numbers:
//! it knows no clock and sends nothing.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::random::Random;
use crate::units::duration;

/// The most phases of a plan. Statistics are kept for each, some ten kilobytes.
const MOST_PHASES: usize = 1000;
/// The most steps of a trace: two years of minutes.
const MOST_STEPS: usize = 1_000_000;
/// The most requests a second: a hundred times what one generator is made for.
const HIGHEST_RATE: f64 = 1e6;
/// The name that makes a phase a surge.
const SURGE: &str = "surge";
/// A working day by the hour, as a share of the baseline (A2): nights 30 %, 9–10 200 %, 12–13 150 %,
/// 18–20 250 %.
const DAY: [f64; 24] = [
    1.0, 1.0, 0.3, 0.3, 0.3, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 2.5, 2.5, 1.0,
    1.0, 1.0, 1.0,
];

/// Requests per second: finite, from 0 to a million.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// A rate of `per_second`; none if it is negative, not a number or over a million.
    #[must_use]
    pub fn new(per_second: f64) -> Option<Self> {
        (0.0..=HIGHEST_RATE).contains(&per_second).then_some(Self(per_second))
    }

    /// Requests per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }

    fn times(self, factor: f64) -> Option<Self> {
        Self::new(self.0 * factor)
    }
}

/// How the rate runs within a phase.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Always the same.
    Constant(Rate),
    /// Changing evenly.
    Ramp {
        /// At the begin.
        from: Rate,
        /// At the end.
        to: Rate,
    },
    /// One rate after another, all for the same time.
    Steps(Vec<Rate>),
}

/// A part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// What reports call it; `surge` marks a surge.
    pub name: String,
    /// How long it takes.
    pub lasts: Duration,
    /// The rate meanwhile.
    pub shape: Shape,
}

impl Phase {
    /// Whether the load jumps up in this phase, by its name.
    #[must_use]
    pub fn is_surge(&self) -> bool {
        self.name == SURGE
    }

    /// The pieces of this phase in each of which the rate is a straight line: (seconds, from, to).
    fn pieces(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        let seconds = self.lasts.as_secs_f64();
        let (steps, ends) = match &self.shape {
            Shape::Constant(rate) => (&[][..], Some((rate.0, rate.0))),
            Shape::Ramp { from, to } => (&[][..], Some((from.0, to.0))),
            Shape::Steps(steps) => (&steps[..], None),
        };
        #[expect(clippy::cast_precision_loss, reason = "at most MOST_STEPS")]
        let step = seconds / steps.len().max(1) as f64;
        ends.map(|(from, to)| (seconds, from, to))
            .into_iter()
            .chain(steps.iter().map(move |rate| (step, rate.0, rate.0)))
    }
}

/// A load: phases, one after the other. Never empty, takes time, at most 1000 phases.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan {
    phases: Vec<Phase>,
}

/// Why something isn't a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing to do.
    #[error("the plan is empty; write for instance `calm 20s @50, surge 20s x10`")]
    Empty,
    /// Too much to do.
    #[error("the plan has {0} phases, at most {MOST_PHASES} are allowed; make them longer or fewer")]
    TooManyPhases(usize),
    /// A part of the text isn't understood.
    #[error("column {column} of the plan, `{text}`: {problem}")]
    At {
        /// Where, in characters from 1.
        column: usize,
        /// What stands there.
        text: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// A trace can't be read.
    #[error("can't read the trace `{path}`; paths are relative to the working directory")]
    Trace {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A trace isn't one.
    #[error("line {line} of the trace `{path}`: {problem}")]
    TraceLine {
        /// The file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

impl LoadPlan {
    /// A plan of these phases.
    ///
    /// # Errors
    /// When there are none that take time, or too many.
    pub fn new(phases: Vec<Phase>) -> Result<Self, PlanError> {
        if phases.iter().all(|phase| phase.lasts.is_zero()) {
            return Err(PlanError::Empty);
        }
        if phases.len() > MOST_PHASES {
            return Err(PlanError::TooManyPhases(phases.len()));
        }
        Ok(Self { phases })
    }

    /// The phases, in order.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// The time the whole plan takes.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }

    /// The number of requests it offers on average; with even spacing, to within one.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.phases
            .iter()
            .flat_map(Phase::pieces)
            .map(|(seconds, from, to)| seconds * (from + to) / 2.0)
            .sum()
    }

    /// The moments at which requests are due.
    pub fn arrivals(&self, spacing: Spacing, seed: u64) -> Arrivals<'_> {
        let mut random = Random::new(seed, "arrivals");
        let next = match spacing {
            Spacing::Even => 0.0,
            Spacing::Poisson => random.exponential(),
        };
        let mut pieces = self.phases.iter().enumerate().flat_map(|(index, phase)| {
            phase.pieces().map(move |(seconds, from, to)| Piece { index, seconds, from, to })
        });
        Arrivals {
            piece: pieces.next(),
            pieces: Box::new(pieces),
            began: 0.0,
            offered: 0.0,
            next,
            spacing,
            random,
        }
    }

    /// Reads the text form; `read` gives the text of a trace.
    fn parse(text: &str, read: &dyn Fn(&str) -> io::Result<String>) -> Result<Self, PlanError> {
        let mut reader = Reader { text, at: 0, base: None, read, phases: Vec::new() };
        reader.items(false)?;
        Self::new(reader.phases)
    }
}

impl FromStr for LoadPlan {
    type Err = PlanError;

    /// Reads the text form. Traces are read from the file system.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, &|path| std::fs::read_to_string(path))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ", self.name, self.lasts)?;
        match &self.shape {
            Shape::Constant(rate) => write!(f, "@{}", rate.0),
            Shape::Ramp { from, to } => write!(f, "@{}..{}", from.0, to.0),
            Shape::Steps(steps) => write!(f, "in {} steps", steps.len()),
        }
    }
}

/// How requests are spaced around the planned rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Spacing {
    /// Like a metronome: the fewest surprises.
    Even,
    /// Independently of each other, like many users: bursts and gaps.
    Poisson,
}

/// A request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, from the begin of the plan.
    pub at: Duration,
    /// In which phase, an index into [`LoadPlan::phases`].
    pub phase: usize,
}

/// The moments at which the requests of a plan are due, in order.
///
/// Requests are spaced in *offered load* (the integral of the rate), where they come at rate 1, and
/// mapped back to time (Çinlar's inversion for non-homogeneous Poisson processes). So no phase begins
/// with a fresh gap, and a rate that changes within a phase is met exactly.
pub struct Arrivals<'a> {
    piece: Option<Piece>,
    pieces: Box<dyn Iterator<Item = Piece> + Send + 'a>,
    /// Seconds before the current piece.
    began: f64,
    /// Load offered before the current piece.
    offered: f64,
    /// The load at which the next request is due.
    next: f64,
    spacing: Spacing,
    random: Random,
}

impl fmt::Debug for Arrivals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals")
            .field("piece", &self.piece)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    index: usize,
    seconds: f64,
    from: f64,
    to: f64,
}

impl Piece {
    fn load(&self) -> f64 {
        self.seconds * (self.from + self.to) / 2.0
    }

    /// The second of this piece by which `load` of it has been offered.
    fn second(&self, load: f64) -> f64 {
        // load = from·t + slope·t²/2, solved for t in the form that keeps its digits when slope is near 0.
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * load).max(0.0).sqrt();
        let second = if load > 0.0 { 2.0 * load / (self.from + root) } else { 0.0 };
        second.min(self.seconds)
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let piece = self.piece?;
            let load = piece.load();
            if self.next - self.offered < load {
                let second = self.began + piece.second(self.next - self.offered);
                self.next += match self.spacing {
                    Spacing::Even => 1.0,
                    Spacing::Poisson => self.random.exponential(),
                };
                return Some(Arrival { at: Duration::from_secs_f64(second), phase: piece.index });
            }
            self.began += piece.seconds;
            self.offered += load;
            self.piece = self.pieces.next();
        }
    }
}

/// Reads the text form from left to right.
struct Reader<'a> {
    text: &'a str,
    /// The byte to read next.
    at: usize,
    /// The rate that factors refer to.
    base: Option<Rate>,
    read: &'a dyn Fn(&str) -> io::Result<String>,
    phases: Vec<Phase>,
}

/// A word and the byte it begins at.
type Word<'a> = (usize, &'a str);

impl<'a> Reader<'a> {
    /// Items with commas between them, to the end of the text or, `inside` brackets, to the closing one.
    fn items(&mut self, inside: bool) -> Result<(), PlanError> {
        loop {
            let words = self.words();
            match self.text[self.at..].chars().next() {
                Some('(') if !inside => self.repeat(&words)?,
                Some('(') => return Err(self.wrong((self.at, "("), "brackets can't stand within brackets")),
                _ => self.phase(&words)?,
            }
            match self.text[self.at..].chars().next() {
                Some(',') => self.at += 1,
                Some(')') if inside => return Ok(()),
                None if !inside => return Ok(()),
                None => return Err(self.wrong((self.at, ""), "a `)` is missing")),
                Some(_) => {
                    return Err(
                        self.wrong((self.at, &self.text[self.at..=self.at]), "expected `,` or the end")
                    );
                }
            }
        }
    }

    /// `20*(…)`: what is in the brackets, so many times.
    fn repeat(&mut self, words: &[Word<'a>]) -> Result<(), PlanError> {
        let help = "before `(` stands how often: `20*(calm 5s @50, surge 5s x10)`";
        let count = match words {
            [(_, word)] => word.strip_suffix('*'),
            [(_, word), (_, "*")] => Some(*word),
            _ => None,
        };
        let first = words.first().copied().unwrap_or((self.at, "("));
        let count: usize = count
            .and_then(|count| count.parse().ok())
            .filter(|count| (1..=MOST_PHASES).contains(count))
            .ok_or_else(|| self.wrong(first, help))?;
        self.at += 1;
        let begin = self.phases.len();
        self.items(true)?;
        self.at += 1;
        let once = self.phases[begin..].to_vec();
        let total = begin + once.len() * count;
        if total > MOST_PHASES {
            return Err(PlanError::TooManyPhases(total));
        }
        for _ in 1..count {
            self.phases.extend_from_slice(&once);
        }
        let rest = self.words();
        rest.first().map_or(Ok(()), |word| Err(self.wrong(*word, "after `)` comes `,` or the end")))
    }

    /// `[name] time shape`.
    fn phase(&mut self, words: &[Word<'a>]) -> Result<(), PlanError> {
        let Some(&first) = words.first() else {
            let empty = self.text.trim().is_empty();
            return Err(if empty {
                PlanError::Empty
            } else {
                self.wrong((self.at, ""), "a phase is missing here")
            });
        };
        let (name, words) =
            if first.1.starts_with(char::is_alphabetic) { (first.1, &words[1..]) } else { ("load", words) };
        let end = (self.at, "");
        let (&time, shape) = words
            .split_first()
            .ok_or_else(|| self.wrong(end, "a phase needs a time and a shape, such as `calm 20s @50`"))?;
        let lasts = duration(time.1).map_err(|error| self.wrong(time, &error.to_string()))?;
        let shape = match *shape {
            [word] if word.1.starts_with('@') => self.rate_or_ramp(word)?,
            [word] if word.1.starts_with(['x', '×']) => Shape::Constant(self.factor(word)?),
            [(_, "daily"), rate] => {
                let base = self.rate(rate)?;
                let hours = DAY.iter().map(|share| base.times(*share)).collect::<Option<_>>();
                Shape::Steps(
                    hours.ok_or_else(|| self.wrong(rate, "2.5 times this, the evening, is over 1000000"))?,
                )
            }
            [(_, "trace"), (_, path), peak] => {
                let peak = self.rate(peak)?;
                let text =
                    (self.read)(path).map_err(|source| PlanError::Trace { path: path.to_owned(), source })?;
                Shape::Steps(trace(path, &text, peak)?)
            }
            _ => {
                let word = shape.first().copied().unwrap_or(end);
                return Err(self.wrong(
                    word,
                    "a shape is one of `@50`, `@10..200`, `x10`, `daily @80`, `trace FILE @300`",
                ));
            }
        };
        if self.phases.len() == MOST_PHASES {
            return Err(PlanError::TooManyPhases(MOST_PHASES + 1));
        }
        self.phases.push(Phase { name: name.to_owned(), lasts, shape });
        Ok(())
    }

    fn rate_or_ramp(&mut self, word: Word<'a>) -> Result<Shape, PlanError> {
        if let Some((from, to)) = word.1.split_once("..") {
            let from = self.rate((word.0, from))?;
            let to = number(to).and_then(Rate::new).ok_or_else(|| self.wrong(word, RATE))?;
            return Ok(Shape::Ramp { from, to });
        }
        let rate = self.rate(word)?;
        self.base = Some(rate);
        Ok(Shape::Constant(rate))
    }

    fn rate(&self, word: Word<'a>) -> Result<Rate, PlanError> {
        let rate = word.1.strip_prefix('@').and_then(number).and_then(Rate::new);
        rate.ok_or_else(|| self.wrong(word, RATE))
    }

    fn factor(&self, word: Word<'a>) -> Result<Rate, PlanError> {
        let base = self
            .base
            .ok_or_else(|| self.wrong(word, "a factor needs a rate before it, such as `calm 20s @50`"))?;
        let factor = number(word.1.trim_start_matches(['x', '×']))
            .ok_or_else(|| self.wrong(word, "a factor is a number that isn't negative, such as `x10`"))?;
        base.times(factor).ok_or_else(|| self.wrong(word, "that is over 1000000 requests per second"))
    }

    /// The words up to a comma, a bracket or the end.
    fn words(&mut self) -> Vec<Word<'a>> {
        let rest = &self.text[self.at..];
        let part = &rest[..rest.find([',', '(', ')']).unwrap_or(rest.len())];
        let begin = self.at;
        self.at += part.len();
        let place = |word: &str| begin + (word.as_ptr() as usize - part.as_ptr() as usize);
        part.split_whitespace().map(|word| (place(word), word)).collect()
    }

    fn wrong(&self, (at, text): (usize, &str), problem: &str) -> PlanError {
        let column = self.text[..at].chars().count() + 1;
        PlanError::At { column, text: text.to_owned(), problem: problem.to_owned() }
    }
}

const RATE: &str = "a rate is a number of requests per second from 0 to 1000000, such as `@50`";

/// A number that isn't negative, written in digits.
fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| plain)
}

/// The last column of a CSV file, scaled to a peak. Rows follow each other evenly: where the stamps have
/// a gap, the trace goes on with the next row, for nobody knows what was in the gap.
fn trace(path: &str, text: &str, peak: Rate) -> Result<Vec<Rate>, PlanError> {
    let wrong = |line, problem| PlanError::TraceLine { path: path.to_owned(), line, problem };
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cell = line.rsplit(',').next().unwrap_or_default().trim();
        if line.trim().is_empty() || (index == 0 && cell.starts_with(|c: char| c.is_alphabetic() || c == '"'))
        {
            continue;
        }
        let value: f64 =
            cell.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0).ok_or_else(|| {
                wrong(
                    index + 1,
                    "the last column must be a number that isn't negative; leave rows without one out",
                )
            })?;
        if values.len() == MOST_STEPS {
            return Err(wrong(index + 1, "a trace has at most 1000000 rows"));
        }
        values.push(value);
    }
    let highest = values.iter().copied().fold(0.0, f64::max);
    if highest <= 0.0 {
        return Err(wrong(1, "no row has a value above 0"));
    }
    // A share of the peak is within the bounds of a rate if the peak is.
    Ok(values.into_iter().map(|value| Rate((value / highest).min(1.0) * peak.0)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str =
        "timestamp,value\n2024-01-01T00:00:00Z,5\n2024-01-01T00:01:00Z,10\n\n2024-01-01T00:02:00Z,0\n";

    fn read(path: &str) -> io::Result<String> {
        match path {
            "good.csv" => Ok(TRACE.to_owned()),
            "bad.csv" => Ok("timestamp,value\nx,1\ny,\n".to_owned()),
            "nan.csv" => Ok("1\nNaN\n".to_owned()),
            "idle.csv" => Ok("value\n0\n0\n".to_owned()),
            "empty.csv" => Ok(String::new()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn parse(text: &str) -> Result<LoadPlan, PlanError> {
        LoadPlan::parse(text, &read)
    }

    fn rates(text: &str) -> Vec<(String, u64, Vec<f64>)> {
        let plan = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let rates = |shape: &Shape| match shape {
            Shape::Constant(rate) => vec![rate.0],
            Shape::Ramp { from, to } => vec![from.0, to.0],
            Shape::Steps(steps) => steps.iter().map(|rate| rate.0).collect(),
        };
        plan.phases.iter().map(|p| (p.name.clone(), p.lasts.as_secs(), rates(&p.shape))).collect()
    }

    #[test]
    fn the_text_form_says_what_it_reads_as() {
        let phase = |name: &str, lasts, rates: &[f64]| (name.to_owned(), lasts, rates.to_vec());
        let calm = phase("calm", 20, &[50.0]);
        let surge = phase("surge", 10, &[500.0]);
        for (text, expected) in [
            ("20s @50", vec![phase("load", 20, &[50.0])]),
            ("calm 20s @50", vec![calm.clone()]),
            ("  calm   20s  @50 ", vec![calm.clone()]),
            ("calm 20s @50, surge 10s x10", vec![calm.clone(), surge.clone()]),
            ("calm 20s @50, surge 10s ×10, calm 20s x1", vec![calm.clone(), surge.clone(), calm.clone()]),
            (
                "2*(calm 20s @50,surge 10s x10)",
                vec![calm.clone(), surge.clone(), calm.clone(), surge.clone()],
            ),
            (
                "calm 20s @50, 2 * (surge 10s x10), calm 20s x1",
                vec![calm.clone(), surge.clone(), surge, calm],
            ),
            ("up 1m @10..200", vec![phase("up", 60, &[10.0, 200.0])]),
            ("idle 1m @0", vec![phase("idle", 60, &[0.0])]),
            ("a 1m @1000000", vec![phase("a", 60, &[1e6])]),
            ("r 3m trace good.csv @300", vec![phase("r", 180, &[150.0, 300.0, 0.0])]),
            ("d 24m daily @100", vec![phase("d", 1440, &DAY.map(|share| share * 100.0))]),
        ] {
            assert_eq!(rates(text), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_what_would_be_right() {
        for (text, expected) in [
            ("", "the plan is empty; write for instance `calm 20s @50, surge 20s x10`"),
            (" ", "the plan is empty; write for instance `calm 20s @50, surge 20s x10`"),
            ("calm 0s @50", "the plan is empty; write for instance `calm 20s @50, surge 20s x10`"),
            ("calm 20s @50,", "column 14 of the plan, ``: a phase is missing here"),
            ("calm", "column 5 of the plan, ``: a phase needs a time and a shape, such as `calm 20s @50`"),
            ("calm 20s", "column 9 of the plan, ``: a shape is one of"),
            ("calm 20 @50", "column 6 of the plan, `20`: `20` isn't a time with its unit"),
            ("calm 20s 50", "column 10 of the plan, `50`: a shape is one of"),
            ("calm 20s @", "column 10 of the plan, `@`: a rate is a number"),
            ("calm 20s @-5", "`@-5`: a rate is a number"),
            ("calm 20s @NaN", "`@NaN`: a rate is a number"),
            ("calm 20s @1e3", "`@1e3`: a rate is a number"),
            ("calm 20s @1000001", "`@1000001`: a rate is a number"),
            ("calm 20s @5..", "`@5..`: a rate is a number"),
            ("calm 20s @50 @60", "column 10 of the plan, `@50`: a shape is one of"),
            ("surge 20s x10", "column 11 of the plan, `x10`: a factor needs a rate before it"),
            ("calm 1s @50, surge 1s ×ten", "column 23 of the plan, `×ten`: a factor is a number"),
            ("calm 1s @50, surge 1s x99999", "`x99999`: that is over 1000000"),
            ("0*(calm 1s @1)", "column 1 of the plan, `0*`: before `(` stands how often"),
            ("(calm 1s @1)", "column 1 of the plan, `(`: before `(` stands how often"),
            ("2*(calm 1s @1", "column 14 of the plan, ``: a `)` is missing"),
            ("2*(2*(calm 1s @1))", "column 6 of the plan, `(`: brackets can't stand within brackets"),
            ("2*(calm 1s @1) x", "column 16 of the plan, `x`: after `)` comes"),
            ("calm 1s @1)", "column 11 of the plan, `)`: expected `,` or the end"),
            ("501*(a 1s @1, b 1s @2)", "the plan has 1002 phases"),
            ("a 1m daily @500000", "`@500000`: 2.5 times this"),
            ("a 1m trace none.csv @5", "can't read the trace `none.csv`"),
            ("a 1m trace bad.csv @5", "line 3 of the trace `bad.csv`: the last column must be a number"),
            ("a 1m trace nan.csv @5", "line 2 of the trace `nan.csv`: the last column must be a number"),
            ("a 1m trace idle.csv @5", "line 1 of the trace `idle.csv`: no row has a value above 0"),
            ("a 1m trace empty.csv @5", "line 1 of the trace `empty.csv`: no row has a value above 0"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}\n  expected {expected}\n  got      {error}");
        }
    }

    fn due(text: &str, spacing: Spacing) -> Vec<Arrival> {
        parse(text).unwrap().arrivals(spacing, 1).collect()
    }

    #[test]
    fn even_requests_are_as_many_as_planned_and_evenly_apart() {
        let arrivals = due("calm 20s @50, surge 20s x10", Spacing::Even);
        assert_eq!(arrivals.len(), 11_000);
        assert_eq!(arrivals[0], Arrival { at: Duration::ZERO, phase: 0 });
        assert_eq!(arrivals[1].at, Duration::from_millis(20));
        let surge = arrivals.iter().find(|arrival| arrival.phase == 1).unwrap();
        assert_eq!(surge.at, Duration::from_secs(20), "a surge begins with a request");
    }

    #[test]
    fn a_ramp_is_met_in_its_integral() {
        // From 0 to 200 in 10 s: t² × 10 requests by second t.
        let arrivals = due("up 10s @0..200", Spacing::Even);
        assert_eq!(arrivals.len(), 1000);
        let half = arrivals.iter().filter(|arrival| arrival.at < Duration::from_secs(5)).count();
        assert!((249..=251).contains(&half), "{half}");
        let down = due("down 10s @200..0", Spacing::Even);
        let half = down.iter().filter(|arrival| arrival.at < Duration::from_secs(5)).count();
        assert!((749..=751).contains(&half), "{half}");
    }

    #[test]
    fn silence_offers_nothing_and_is_passed() {
        let arrivals = due("a 1s @0, b 1s @1, c 1s @0, d 1s @1", Spacing::Even);
        let expected: Vec<_> =
            [(1, 1), (3, 3)].map(|(at, phase)| Arrival { at: Duration::from_secs(at), phase }).to_vec();
        assert_eq!(arrivals, expected);
        assert_eq!(due("a 1s @0", Spacing::Poisson), []);
    }

    #[test]
    fn poisson_requests_are_as_many_as_planned_on_average_and_irregular() {
        let arrivals = due("a 100s @1000", Spacing::Poisson);
        // Standard deviation √100 000 = 316.
        assert!((98_500..=101_500).contains(&arrivals.len()), "{}", arrivals.len());
        let gaps: Vec<_> = arrivals.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // The gaps of a Poisson process vary as much as their mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn a_seed_gives_its_load() {
        let plan = parse("a 10s @100").unwrap();
        let draw = |seed| plan.arrivals(Spacing::Poisson, seed).collect::<Vec<_>>();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    proptest! {
        #[test]
        fn any_text_is_a_plan_or_an_error(text in "[a-z0-9@x×*()., ]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn arrivals_are_in_order_within_their_phase_and_as_many_as_planned(
            phases in prop::collection::vec((0_u64..5000, 0.0..200.0_f64, 0.0..200.0_f64), 1..6),
            poisson in any::<bool>(),
        ) {
            let plan = LoadPlan::new(phases.iter().map(|(ms, from, to)| Phase {
                name: "p".to_owned(),
                lasts: Duration::from_millis(*ms),
                shape: Shape::Ramp { from: Rate(*from), to: Rate(*to) },
            }).collect());
            prop_assume!(plan.is_ok());
            let plan = plan.unwrap();
            let spacing = if poisson { Spacing::Poisson } else { Spacing::Even };
            let arrivals: Vec<_> = plan.arrivals(spacing, 1).collect();
            prop_assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
            for arrival in &arrivals {
                let begin: Duration = plan.phases[..arrival.phase].iter().map(|phase| phase.lasts).sum();
                let slack = Duration::from_micros(1);
                prop_assert!(arrival.at + slack >= begin);
                prop_assert!(arrival.at <= begin + plan.phases[arrival.phase].lasts + slack);
            }
            if !poisson {
                #[expect(clippy::cast_precision_loss, reason = "thousands")]
                let count = arrivals.len() as f64;
                prop_assert!((count - plan.requests()).abs() <= 1.0);
            }
        }
    }
}
