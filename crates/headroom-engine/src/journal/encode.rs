//! Inputs as text.
//!
//! Nine of ten inputs are samples, and their JSON is mostly field names and dates. Those are written in a short
//! form, `[at,[["web",[["rps",-12,250.5]]]]]`: names once, times as the distance in milliseconds from the arrival. All
//! others are written as they are. Both give back the very same input, to the last bit of every value.

use headroom_core::controller::{Input, Measured};
use headroom_core::names::{ReplicaId, SignalName, WorkloadName};
use headroom_core::reading::{Absence, ReplicaLevel, Sample};
use headroom_core::units::{Level, Timestamp};
use serde::{Deserialize, Serialize};

/// How an input's text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `serde_json` of the [`Input`].
    Plain,
    /// Samples in short form.
    Samples,
}

impl Kind {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Plain => 0,
            Self::Samples => 1,
        }
    }

    pub(crate) fn of(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Plain),
            1 => Some(Self::Samples),
            _ => None,
        }
    }
}

/// Arrival, then the samples; samples of one workload that stand together share its name.
#[derive(Serialize, Deserialize)]
struct Short(i64, Vec<(WorkloadName, Vec<ShortSample>)>);

/// Told apart by their length and the type of the second part.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ShortSample {
    Parts(SignalName, i64, Level, Vec<(ReplicaId, Level)>),
    Whole(SignalName, i64, Level),
    Absent(SignalName, Absence),
}

/// When an input happened.
pub(crate) fn at(input: &Input) -> Timestamp {
    match input {
        Input::Tick { at }
        | Input::Sampled { at, .. }
        | Input::Looked { at, .. }
        | Input::Settled { at, .. }
        | Input::Waiting { at, .. }
        | Input::Overridden { at, .. }
        | Input::Ordered { at, .. }
        | Input::Fitted { at, .. }
        | Input::Recalled { at, .. }
        | Input::FleetChanged { at, .. }
        | Input::Restarted { at } => *at,
    }
}

/// An input as text.
pub(crate) fn write(input: &Input) -> serde_json::Result<(Kind, String)> {
    match input {
        Input::Sampled { at, samples } => {
            let mut short = Short(at.as_millis(), Vec::new());
            for Measured { workload, signal, value } in samples {
                if short.1.last().is_none_or(|(name, _)| name != workload) {
                    short.1.push((workload.clone(), Vec::new()));
                }
                let (_, list) = short.1.last_mut().expect("one was pushed if there was none");
                list.push(shorten(*at, signal.clone(), value));
            }
            Ok((Kind::Samples, serde_json::to_string(&short)?))
        }
        Input::Tick { .. }
        | Input::Looked { .. }
        | Input::Settled { .. }
        | Input::Waiting { .. }
        | Input::Overridden { .. }
        | Input::Ordered { .. }
        | Input::Fitted { .. }
        | Input::Recalled { .. }
        | Input::FleetChanged { .. }
        | Input::Restarted { .. } => Ok((Kind::Plain, serde_json::to_string(input)?)),
    }
}

/// The input that the text stands for.
pub(crate) fn read(kind: Kind, text: &str) -> serde_json::Result<Input> {
    match kind {
        Kind::Plain => serde_json::from_str(text),
        Kind::Samples => {
            let Short(at, workloads) = serde_json::from_str(text)?;
            let samples = workloads
                .into_iter()
                .flat_map(|(workload, list)| list.into_iter().map(move |s| lengthen(at, workload.clone(), s)))
                .collect();
            Ok(Input::Sampled { at: Timestamp::from_millis(at), samples })
        }
    }
}

fn shorten(arrived: Timestamp, signal: SignalName, value: &Result<Sample, Absence>) -> ShortSample {
    match value {
        Err(absence) => ShortSample::Absent(signal, absence.clone()),
        Ok(Sample { at, value, by_replica }) => {
            // Wrapping there and back gives the same moment for any two.
            let apart = at.as_millis().wrapping_sub(arrived.as_millis());
            match by_replica {
                None => ShortSample::Whole(signal, apart, *value),
                Some(parts) => ShortSample::Parts(
                    signal,
                    apart,
                    *value,
                    parts.iter().map(|p| (p.replica.clone(), p.value)).collect(),
                ),
            }
        }
    }
}

fn lengthen(arrived: i64, workload: WorkloadName, short: ShortSample) -> Measured {
    let sample = |apart: i64, value, by_replica| {
        Ok(Sample { at: Timestamp::from_millis(arrived.wrapping_add(apart)), value, by_replica })
    };
    let (signal, value) = match short {
        ShortSample::Absent(signal, absence) => (signal, Err(absence)),
        ShortSample::Whole(signal, apart, value) => (signal, sample(apart, value, None)),
        ShortSample::Parts(signal, apart, value, parts) => {
            let parts = parts.into_iter().map(|(replica, value)| ReplicaLevel { replica, value }).collect();
            (signal, sample(apart, value, Some(parts)))
        }
    };
    Measured { workload, signal, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(workload: &str, value: Result<Sample, Absence>) -> Measured {
        Measured { workload: workload.parse().unwrap(), signal: "rps".parse().unwrap(), value }
    }

    fn sample(at: i64, value: f64) -> Result<Sample, Absence> {
        Ok(Sample::new(Timestamp::from_millis(at), Level::new(value).unwrap()))
    }

    #[test]
    fn samples_are_short_and_read_back_the_same() {
        let by_replica = |parts: &[(&str, f64)]| -> Result<Sample, Absence> {
            let parts = parts.iter().map(|(id, v)| ReplicaLevel {
                replica: ReplicaId((*id).into()),
                value: Level::new(*v).unwrap(),
            });
            Ok(Sample { by_replica: Some(parts.collect()), ..sample(1_000, 3.0).unwrap() })
        };
        let samples = vec![
            measured("web", sample(988, 250.5)),
            measured("web", sample(1_000, 0.1 + 0.2)),
            measured("db", Err(Absence::SourceFailed("connection refused".to_owned()))),
            measured("db", Err(Absence::NotANumber)),
            measured("web", by_replica(&[("web-1", 1.0), ("web-2", 2.0)])),
            measured("web", by_replica(&[])),
            measured("web", sample(i64::MIN, f64::MAX)),
            measured("web", sample(i64::MAX, f64::MIN_POSITIVE)),
        ];
        let input = Input::Sampled { at: Timestamp::from_millis(1_000), samples };
        let (kind, text) = write(&input).unwrap();
        assert!(text.starts_with(r#"[1000,[["web",[["rps",-12,250.5],["rps",0,"#), "{text}");
        assert_eq!(read(kind, &text).unwrap(), input);
        let none = Input::Sampled { at: Timestamp::from_millis(-5), samples: Vec::new() };
        let (kind, text) = write(&none).unwrap();
        assert_eq!(read(kind, &text).unwrap(), none);
    }

    #[test]
    fn every_bit_of_a_value_comes_back() {
        let mut bits = 0x1234_5678_9abc_def0_u64;
        for _ in 0..2_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits).abs();
            if !value.is_finite() {
                continue;
            }
            let input = Input::Sampled {
                at: Timestamp::from_millis(0),
                samples: vec![measured("w", sample(0, value))],
            };
            let (kind, text) = write(&input).unwrap();
            assert_eq!(read(kind, &text).unwrap(), input, "{value:e}");
        }
    }

    #[test]
    fn other_inputs_are_plain() {
        let at = Timestamp::from_millis(5);
        let looked = Input::Looked { at, workload: "web".parse().unwrap(), status: Err("gone".to_owned()) };
        for input in [Input::Tick { at }, Input::Restarted { at }, looked] {
            let (kind, text) = write(&input).unwrap();
            assert_eq!(kind, Kind::Plain);
            assert_eq!(read(kind, &text).unwrap(), input);
            assert_eq!(super::at(&input), at);
        }
    }
}
