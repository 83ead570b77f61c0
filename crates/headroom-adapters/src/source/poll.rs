//! The frame that every polled source shares: pace, deadline, back-off, batching, and absence that says why.
//!
//! A round asks once for all that is wanted of a source at one interval; the same figure that many workloads want is
//! asked for once. A round that fails, or that is not over at its deadline, tells every signal as absent, with the
//! source's name and its words, and the next one comes later each time: a server in trouble is not helped by being
//! asked as before. One source's trouble is its own: each runs in a task of its own.

use std::time::Duration;

use async_trait::async_trait;
use headroom_core::controller::Measured;
use headroom_core::fleet::Ask;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::reading::{Absence, Sample};
use headroom_core::units::{Level, Span, Timestamp};
use headroom_engine::ports::{News, Source};
use tokio::time::{Instant, sleep_until, timeout};

use super::Group;
use crate::secret::SecretError;

/// The longest pause after failures, unless the interval itself is longer: a server that is back is noticed within
/// half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is wanted of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// Which figure.
    pub ask: Ask,
    /// Over how long it is averaged, where the source leaves that to us.
    pub window: Span,
    /// How old it may be at its source.
    pub fresh_for: Span,
}

/// What a source says of one want: the value and the moment at which it was true there, or why there is none.
pub type Figure = Result<(Timestamp, f64), Absence>;

/// Why a source could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Something in the policy or on this machine is not as it must be.
    #[error("{0}")]
    Setup(String),
    /// A secret is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody answers at the address.
    #[error("no connection to {at}: {why}; see that it runs and that the address is right")]
    Connect {
        /// Where.
        at: String,
        /// The system's words.
        why: String,
    },
    /// The connection broke before there was an answer.
    #[error("the connection broke: {why}")]
    Broken {
        /// The words of the layer below.
        why: String,
    },
    /// The connection broke in the middle of the answer.
    #[error("the answer was cut off: {why}")]
    Cut {
        /// The words of the layer below.
        why: String,
    },
    /// No answer in time.
    #[error("no answer within {} ms; raise `deadline` if it is always slow", .0.as_millis())]
    Deadline(Span),
    /// An answer that says no.
    #[error("it answered {status}: {text}")]
    Status {
        /// HTTP's status.
        status: u16,
        /// The start of its text.
        text: String,
    },
    /// It refused, in its own words.
    #[error("it refused: {0}")]
    Refused(String),
    /// An answer of more bytes than are ever read.
    #[error("its answer is larger than {limit} bytes; ask for less")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// An answer that is not what was asked for.
    #[error("its answer can't be read: {0}")]
    Garbage(String),
}

/// How one kind of source is asked.
#[async_trait]
pub trait Reader: Send {
    /// Asks for all that is wanted, and gives one figure for each want, in order. It need not keep a deadline: it is
    /// given up when the time is over, and must then work at the next call.
    ///
    /// # Errors
    /// Where the source as a whole could not be read; what is wrong with one figure is its [`Absence`].
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError>;
}

/// A source that is asked again and again.
pub struct Poller {
    name: String,
    /// Whose each figure is: the workload, the signal, and which of the reader's figures.
    owners: Vec<(WorkloadName, SignalName, usize)>,
    reader: Result<Box<dyn Reader>, ReadError>,
    every: Duration,
    deadline: Span,
    failures: u32,
    due: Instant,
}

impl Poller {
    /// A poller of `group`. `make` makes the reader of the distinct wants.
    pub fn new(group: &Group, make: impl FnOnce(Vec<Want>) -> Result<Box<dyn Reader>, ReadError>) -> Self {
        let mut distinct: Vec<Want> = Vec::new();
        // The text of a want finds its like; comparing each with all would take a second for ten thousand.
        let mut known = std::collections::HashMap::new();
        let mut owners = Vec::with_capacity(group.wants.len());
        for (workload, signal, want) in &group.wants {
            let index = *known.entry(format!("{want:?}")).or_insert_with(|| {
                distinct.push(want.clone());
                distinct.len() - 1
            });
            owners.push((workload.clone(), signal.clone(), index));
        }
        Self {
            name: group.name.to_string(),
            owners,
            reader: make(distinct),
            every: group.every.as_std(),
            deadline: group.settings.deadline,
            failures: 0,
            due: Instant::now(),
        }
    }

    async fn round(&mut self) -> Result<Vec<Figure>, ReadError> {
        let reader = self.reader.as_mut().map_err(|error| error.clone())?;
        timeout(self.deadline.as_std(), reader.read())
            .await
            .map_err(|_| ReadError::Deadline(self.deadline))?
    }

    /// How long it is until the next round.
    fn pause(&self) -> Duration {
        let doubled = self.every.saturating_mul(1 << self.failures.min(10));
        doubled.min(LONGEST_PAUSE.max(self.every))
    }

    fn failed(&mut self, error: &ReadError) {
        if self.failures == 0 {
            tracing::warn!(source = self.name, %error, "the source can't be read");
        }
        self.failures = self.failures.saturating_add(1);
    }

    fn read(&mut self) {
        if self.failures > 0 {
            tracing::info!(source = self.name, failures = self.failures, "the source can be read again");
        }
        self.failures = 0;
    }
}

#[async_trait]
impl Source for Poller {
    fn name(&self) -> &str {
        &self.name
    }

    async fn next(&mut self) -> Option<News> {
        sleep_until(self.due).await;
        let begun = Instant::now();
        let figures = self.round().await;
        let figures: Result<Vec<Result<Sample, Absence>>, Absence> = match figures {
            Ok(figures) => {
                self.read();
                let sample = |(at, value)| match Level::new(value) {
                    Ok(value) => Ok(Sample::new(at, value)),
                    Err(_) => Err(Absence::NotANumber),
                };
                let named = |absence| match absence {
                    Absence::SourceFailed(why) => Absence::SourceFailed(format!("`{}`: {why}", self.name)),
                    other => other,
                };
                Ok(figures.into_iter().map(|figure| figure.map_err(named).and_then(sample)).collect())
            }
            Err(error) => {
                self.failed(&error);
                Err(Absence::SourceFailed(format!("`{}`: {error}", self.name)))
            }
        };
        // In step with the interval, so that a slow answer does not make the next one late; never twice at once.
        self.due = (begun.max(self.due) + self.pause()).max(Instant::now());
        let value = |index: usize| match &figures {
            Ok(figures) => figures.get(index).cloned().unwrap_or(Err(Absence::Empty)),
            Err(absence) => Err(absence.clone()),
        };
        let measured = self.owners.iter().map(|(workload, signal, index)| Measured {
            workload: workload.clone(),
            signal: signal.clone(),
            value: value(*index),
        });
        Some(News::Samples(measured.collect()))
    }
}
