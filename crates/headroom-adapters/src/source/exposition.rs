//! Metrics as programs show them: the text formats of Prometheus and OpenMetrics, and Prometheus's protobuf format,
//! which is the only one that carries native histograms.
//!
//! The text parser is lenient where Prometheus is (a line without a type is a gauge) and strict where a wrong guess
//! would be a wrong number: a line that can't be read makes the whole answer unreadable.

use std::collections::{BTreeMap, HashMap, HashSet};

use headroom_core::units::Timestamp;

/// Labels of a series; the metric's name is not among them.
pub(crate) type Labels = BTreeMap<String, String>;

/// Buckets one histogram may have: resolution 8 over the whole range of doubles would be half a million.
pub(crate) const MOST_BUCKETS: usize = 4096;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Counter,
    Gauge,
    Distribution,
    Unknown,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
    pub(crate) at: Option<Timestamp>,
}

/// A native histogram: counts of each bucket, not cumulated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Native {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) schema: i32,
    pub(crate) buckets: Vec<Bucket>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// What a program shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exposition {
    pub(crate) types: HashMap<String, Type>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) natives: Vec<Native>,
}

impl Exposition {
    /// Whether a sample of this name only grows.
    pub(crate) fn is_counter(&self, name: &str) -> bool {
        let of = |name: &str| self.types.get(name).copied();
        match of(name) {
            Some(Type::Counter) => return true,
            Some(Type::Gauge | Type::Distribution | Type::Unknown) => return false,
            None => {}
        }
        if let Some(base) = name.strip_suffix("_total") {
            return !matches!(of(base), Some(Type::Gauge));
        }
        ["_count", "_sum", "_bucket"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix).and_then(of) == Some(Type::Distribution))
    }
}

/// Which names are kept; `None` keeps all.
pub(crate) type Wanted<'a> = Option<&'a HashSet<String>>;

/// Reads an answer by its content type.
pub(crate) fn parse(body: &[u8], content_type: &str, wanted: Wanted<'_>) -> Result<Exposition, String> {
    if content_type.starts_with("application/vnd.google.protobuf") {
        return protobuf(body, wanted);
    }
    let text = std::str::from_utf8(body).map_err(|_| "it is no text".to_owned())?;
    text_format(text, content_type.starts_with("application/openmetrics-text"), wanted)
}

fn text_format(text: &str, open_metrics: bool, wanted: Wanted<'_>) -> Result<Exposition, String> {
    let mut exposition = Exposition::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if words.next() == Some("TYPE")
                && let (Some(name), Some(kind)) = (words.next(), words.next())
            {
                let kind = match kind {
                    "counter" => Type::Counter,
                    "gauge" => Type::Gauge,
                    "histogram" | "summary" | "gaugehistogram" => Type::Distribution,
                    _ => Type::Unknown,
                };
                exposition.types.insert(name.to_owned(), kind);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let sample = sample(line, open_metrics, wanted)
            .ok_or_else(|| format!("line {}: {:?}", number + 1, line.chars().take(80).collect::<String>()))?;
        exposition.samples.extend(sample);
    }
    Ok(exposition)
}

/// A line's value; the outer `None` is a line that can't be read, the inner one that is not wanted.
fn sample(line: &str, open_metrics: bool, wanted: Wanted<'_>) -> Option<Option<Sample>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    if wanted.is_some_and(|wanted| !wanted.contains(name)) {
        return Some(None);
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    // An exemplar stands after the value.
    let values = if open_metrics { rest.split(" # ").next()? } else { rest };
    let mut words = values.split_whitespace();
    let value = number(words.next()?)?;
    let at = match words.next() {
        None => None,
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any real moment fit")]
        Some(text) if open_metrics => Some((number(text)? * 1000.0).round() as i64),
        Some(text) => Some(text.parse().ok()?),
    };
    if words.next().is_some() {
        return None;
    }
    Some(Some(Sample { name: name.to_owned(), labels, value, at: at.map(Timestamp::from_millis) }))
}

/// A number as Go and Rust both write it; Rust reads `+Inf` and `NaN`, too.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Labels up to the closing brace, and what comes after it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let mut characters = after.trim_start().strip_prefix('"')?.char_indices();
        let text = after.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let end = loop {
            match characters.next()? {
                (i, '"') => break i + 1,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
        rest = text.get(end..)?;
    }
}

// Protobuf: the fields of io.prometheus.client.MetricFamily that are needed, by number.

/// A field's value.
enum Field<'a> {
    Number(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl Field<'_> {
    fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            _ => 0,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 events")]
    fn amount(&self) -> f64 {
        match self {
            Self::Double(value) => *value,
            Self::Number(number) => *number as f64,
            Self::Bytes(_) => f64::NAN,
        }
    }

    /// An integer in zigzag coding.
    fn signed(&self) -> i64 {
        unzigzag(self.number())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// The fields of a message, by number.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let cut = || "a message is cut off".to_owned();
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes).ok_or_else(cut)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes).ok_or_else(cut)?),
            1 => {
                let raw = take(&mut bytes, 8).and_then(|raw| raw.try_into().ok()).ok_or_else(cut)?;
                Field::Double(f64::from_le_bytes(raw))
            }
            2 => {
                let length = varint(&mut bytes).and_then(|n| usize::try_from(n).ok()).ok_or_else(cut)?;
                Field::Bytes(take(&mut bytes, length).ok_or_else(cut)?)
            }
            5 => {
                let raw = take(&mut bytes, 4).and_then(|raw| raw.try_into().ok()).ok_or_else(cut)?;
                Field::Double(f64::from(f32::from_le_bytes(raw)))
            }
            _ => return Err("a field is of an unknown kind".to_owned()),
        };
        all.push((key >> 3, field));
    }
    Ok(all)
}

fn protobuf(mut body: &[u8], wanted: Wanted<'_>) -> Result<Exposition, String> {
    let mut exposition = Exposition::default();
    while !body.is_empty() {
        let family = varint(&mut body)
            .and_then(|length| take(&mut body, usize::try_from(length).ok()?))
            .ok_or_else(|| "a family is cut off".to_owned())?;
        let family = fields(family)?;
        let name = family.iter().find(|(n, _)| *n == 1).map(|(_, f)| f.text()).unwrap_or_default();
        let kind = match family.iter().find(|(n, _)| *n == 3).map_or(0, |(_, f)| f.number()) {
            0 => Type::Counter,
            1 => Type::Gauge,
            2 | 4 | 5 => Type::Distribution,
            _ => Type::Unknown,
        };
        let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted.contains(name));
        for (_, metric) in family.iter().filter(|(n, _)| *n == 4) {
            let metric = fields(metric.bytes())?;
            let mut labels = Labels::new();
            for (_, label) in metric.iter().filter(|(n, _)| *n == 1) {
                let label = fields(label.bytes())?;
                let text = |wanted| {
                    label.iter().find(|(n, _)| *n == wanted).map(|(_, f)| f.text()).unwrap_or_default()
                };
                labels.insert(text(1), text(2));
            }
            let at = metric
                .iter()
                .find(|(n, _)| *n == 6)
                .map(|(_, f)| Timestamp::from_millis(f.number().cast_signed()));
            let mut push = |name: String, labels: Labels, value: f64| {
                if is_wanted(&name) {
                    exposition.samples.push(Sample { name, labels, value, at });
                }
            };
            for (number, field) in &metric {
                match number {
                    // Gauge, counter and untyped have their value as field 1.
                    2 | 3 | 5 => {
                        push(name.clone(), labels.clone(), pair(field)?.0);
                    }
                    4 => {
                        for (n, field) in fields(field.bytes())? {
                            match n {
                                1 => push(format!("{name}_count"), labels.clone(), field.amount()),
                                2 => push(format!("{name}_sum"), labels.clone(), field.amount()),
                                3 => {
                                    let (quantile, value) = pair(&field)?;
                                    let mut labels = labels.clone();
                                    labels.insert("quantile".to_owned(), quantile.to_string());
                                    push(name.clone(), labels, value);
                                }
                                _ => {}
                            }
                        }
                    }
                    7 => {
                        let histogram = fields(field.bytes())?;
                        for (n, field) in &histogram {
                            match n {
                                1 => push(format!("{name}_count"), labels.clone(), field.amount()),
                                2 => push(format!("{name}_sum"), labels.clone(), field.amount()),
                                3 => {
                                    let (count, bound) = pair(field)?;
                                    let mut labels = labels.clone();
                                    labels.insert("le".to_owned(), bound.to_string());
                                    push(format!("{name}_bucket"), labels, count);
                                }
                                _ => {}
                            }
                        }
                        if is_wanted(&name)
                            && let Some((schema, buckets)) = native(&histogram)?
                        {
                            exposition.natives.push(Native {
                                name: name.clone(),
                                labels: labels.clone(),
                                schema,
                                buckets,
                            });
                        }
                    }
                    _ => {}
                }
            }
        }
        exposition.types.insert(name, kind);
    }
    Ok(exposition)
}

/// Fields 1 and 2 of a message inside, as numbers; what is not there is zero.
fn pair(field: &Field<'_>) -> Result<(f64, f64), String> {
    let inner = fields(field.bytes())?;
    let of = |wanted| inner.iter().find(|(n, _)| *n == wanted).map_or(0.0, |(_, f)| f.amount());
    Ok((of(1), of(2)))
}

/// The buckets of a native histogram; `None` where it is a classic one only.
fn native(histogram: &[(u64, Field<'_>)]) -> Result<Option<(i32, Vec<Bucket>)>, String> {
    let one = |wanted: u64| histogram.iter().find(|(n, _)| *n == wanted).map(|(_, f)| f);
    let spans = |wanted: u64| -> Result<Vec<(i64, u64)>, String> {
        let of = |(_, field): &(u64, Field<'_>)| {
            let inner = fields(field.bytes())?;
            let part = |wanted| inner.iter().find(|(n, _)| *n == wanted).map(|(_, f)| f);
            Ok((part(1).map_or(0, Field::signed), part(2).map_or(0, Field::number)))
        };
        histogram.iter().filter(|(n, _)| *n == wanted).map(of).collect()
    };
    let (negative, positive) = (spans(9)?, spans(12)?);
    // The zero threshold and a span without buckets mark a native histogram that is still empty.
    if positive.is_empty() && negative.is_empty() && one(6).is_none() {
        return Ok(None);
    }
    let schema = one(5).map_or(0, Field::signed);
    if !(-4..=8).contains(&schema) {
        return Err(format!("a native histogram of schema {schema} is not known"));
    }
    let schema = i32::try_from(schema).map_err(|e| e.to_string())?;
    let base = 2f64.powf(2f64.powi(-schema));
    let mut buckets = Vec::new();
    let threshold = one(6).map_or(0.0, Field::amount);
    let zero = one(8).or(one(7)).map_or(0.0, Field::amount);
    for (index, count) in counts(&negative, histogram, 10, 11)? {
        #[expect(clippy::cast_precision_loss, reason = "indices are small")]
        let lower = -base.powf(index as f64);
        buckets.push(Bucket { lower, upper: lower / base, count });
    }
    let below = if negative.is_empty() { 0.0 } else { -threshold };
    buckets.push(Bucket { lower: below, upper: threshold, count: zero });
    for (index, count) in counts(&positive, histogram, 13, 14)? {
        #[expect(clippy::cast_precision_loss, reason = "indices are small")]
        let upper = base.powf(index as f64);
        buckets.push(Bucket { lower: upper / base, upper, count });
    }
    Ok(Some((schema, buckets)))
}

/// The counts of the buckets that spans name: deltas of integers, or plain doubles.
fn counts(
    spans: &[(i64, u64)],
    histogram: &[(u64, Field<'_>)],
    deltas: u64,
    doubles: u64,
) -> Result<Vec<(i64, f64)>, String> {
    let mut values = Vec::new();
    let mut running = 0i64;
    for (number, field) in histogram {
        if *number == deltas {
            let mut take_in = |raw: u64| {
                running = running.saturating_add(unzigzag(raw));
                #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 events")]
                values.push(running as f64);
            };
            match field {
                // Packed or one by one; both are allowed.
                &Field::Bytes(mut packed) => {
                    while !packed.is_empty() {
                        take_in(varint(&mut packed).ok_or("a delta is cut off")?);
                    }
                }
                other => take_in(other.number()),
            }
        } else if *number == doubles {
            match field {
                Field::Bytes(packed) => {
                    values.extend(
                        packed.chunks_exact(8).filter_map(|c| Some(f64::from_le_bytes(c.try_into().ok()?))),
                    );
                }
                other => values.push(other.amount()),
            }
        }
    }
    let mut all = Vec::new();
    let (mut index, mut values) = (0i64, values.into_iter());
    for (offset, length) in spans {
        index = index.saturating_add(*offset);
        for _ in 0..*length {
            let count = values.next().ok_or("there are fewer counts than buckets")?;
            all.push((index, count));
            index += 1;
            if all.len() > MOST_BUCKETS {
                return Err(format!("a native histogram has more than {MOST_BUCKETS} buckets"));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_prometheus_reads_it() {
        let text = "# HELP a what\n# TYPE a counter\na{x=\"1\",y=\"q\\\"\\\\\\n,}\"} 3 1000\n\
                    b 1e3\nc{} NaN\nd +Inf\n\n# TYPE lat histogram\nlat_bucket{le=\"+Inf\",} 5\nlat_count 5\n";
        let read = parse(text.as_bytes(), "text/plain; version=0.0.4", None).unwrap();
        assert_eq!(read.samples.len(), 6);
        let a = &read.samples[0];
        assert_eq!((a.value, a.at), (3.0, Some(Timestamp::from_millis(1000))));
        assert_eq!(a.labels["y"], "q\"\\\n,}");
        assert_eq!(read.samples[1].value, 1000.0);
        assert!(read.samples[2].value.is_nan() && read.samples[3].value.is_infinite());
        assert!(read.is_counter("a") && read.is_counter("lat_count") && read.is_counter("x_total"));
        assert!(!read.is_counter("b") && !read.is_counter("lat"));
    }

    #[test]
    fn open_metrics_has_seconds_exemplars_and_an_end() {
        let text = "# TYPE a counter\na_total{x=\"1\"} 3 1.5 # {id=\"z\"} 0.5\n# EOF\n";
        let read = parse(text.as_bytes(), "application/openmetrics-text; version=1.0.0", None).unwrap();
        assert_eq!(read.samples[0].at, Some(Timestamp::from_millis(1500)));
        assert!(read.is_counter("a_total"));
    }

    #[test]
    fn what_is_no_exposition_is_refused_with_its_line() {
        for text in ["<html>\n", "a\n", "a x\n", "a{b=\"c} 1\n", "a{b} 1\n", "a 1 2 3\n", "{a=\"b\"} 1\n"] {
            let refused = parse(text.as_bytes(), "text/plain", None).unwrap_err();
            assert!(refused.contains("line 1"), "{text:?}: {refused}");
        }
        assert!(parse(&[0xff, 0xfe], "text/plain", None).is_err());
        assert!(parse(&[0xff, 0xfe], "application/vnd.google.protobuf", None).is_err());
    }

    /// Writes messages, for tests.
    struct Message(pub(in crate::source) Vec<u8>);

    impl Message {
        fn new() -> Self {
            Self(Vec::new())
        }

        fn varint(&mut self, mut number: u64) {
            while number >= 0x80 {
                self.0.push((number & 0x7f) as u8 | 0x80);
                number >>= 7;
            }
            self.0.push(number as u8);
        }

        fn number(mut self, field: u64, number: u64) -> Self {
            self.varint(field << 3);
            self.varint(number);
            self
        }

        fn signed(self, field: u64, number: i64) -> Self {
            self.number(field, ((number << 1) ^ (number >> 63)) as u64)
        }

        fn double(mut self, field: u64, value: f64) -> Self {
            self.varint(field << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
            self
        }

        fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
            self.varint(field << 3 | 2);
            self.varint(bytes.len() as u64);
            self.0.extend_from_slice(bytes);
            self
        }

        fn delimited(self) -> Vec<u8> {
            let mut all = Self::new();
            all.varint(self.0.len() as u64);
            all.0.extend_from_slice(&self.0);
            all.0
        }
    }

    /// A12: histograms classic and native.
    #[test]
    fn native_histograms_come_as_protobuf() {
        let span = Message::new().signed(1, 1).number(2, 2);
        let histogram = Message::new()
            .number(1, 7)
            .double(2, 9.0)
            .signed(5, 0)
            .double(6, 0.001)
            .number(7, 1)
            .bytes(12, &span.0)
            // Counts 2 and 4: deltas 2 and 2.
            .bytes(13, &[4, 4]);
        let label = Message::new().bytes(1, b"path").bytes(2, b"/");
        let metric = Message::new().bytes(1, &label.0).bytes(7, &histogram.0);
        let family = Message::new().bytes(1, b"lat").number(3, 4).bytes(4, &metric.0);
        let body = family.delimited();
        let read = parse(&body, "application/vnd.google.protobuf; proto=x", None).unwrap();
        let native = &read.natives[0];
        assert_eq!((native.name.as_str(), native.labels["path"].as_str()), ("lat", "/"));
        assert_eq!(
            native.buckets,
            [
                Bucket { lower: 0.0, upper: 0.001, count: 1.0 },
                Bucket { lower: 1.0, upper: 2.0, count: 2.0 },
                Bucket { lower: 2.0, upper: 4.0, count: 4.0 },
            ]
        );
        for cut in 1..body.len() {
            assert!(parse(&body[..cut], "application/vnd.google.protobuf", None).is_err(), "cut at {cut}");
        }
    }
}
