//! How far consumer groups are behind in Kafka.
//!
//! Four questions of the protocol, in versions that every broker since 1.0 speaks (Kafka 4 dropped some older ones): who
//! leads each partition, who coordinates a group, what the group has committed, and where each partition ends. Spoken by
//! hand: a client that consumes is another thing, and every length an answer claims is held against a bound before it
//! is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use headroom_core::fleet::{Ask, KafkaAsk, KafkaSettings, SaslAuth, SaslMechanism, Uncommitted};
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::poll::{Figure, ReadError, Reader, Want};
use super::scram::{self, Hash};
use crate::net::{Address, Stream, Tls};
use crate::secret::Secret;

/// The most bytes one answer may have: some ten thousand partitions.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// What brokers see in their logs and quotas.
const CLIENT: &str = "headroom";

const LIST_OFFSETS: Api = Api { key: 2, version: 1 };
const METADATA: Api = Api { key: 3, version: 4 };
/// The last that can't be told not to make a topic that is only asked about; for brokers that know no later one.
const OLD_METADATA: Api = Api { key: 3, version: 1 };
const OFFSET_FETCH: Api = Api { key: 9, version: 2 };
const FIND_COORDINATOR: Api = Api { key: 10, version: 1 };
const API_VERSIONS: Api = Api { key: 18, version: 0 };
const SASL_HANDSHAKE: Api = Api { key: 17, version: 1 };
const SASL_AUTHENTICATE: Api = Api { key: 36, version: 0 };

/// Timestamps that stand for a partition's end and its beginning.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Codes of errors that are one topic's or one group's own.
const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_REFUSED: i16 = 29;
const GROUP_REFUSED: i16 = 30;
const NO_SUCH_MECHANISM: i16 = 33;

/// A question of the protocol.
#[derive(Clone, Copy)]
struct Api {
    key: i16,
    version: i16,
}

/// Asks a Kafka.
pub struct Kafka {
    settings: KafkaSettings,
    brokers: Vec<Address>,
    base: PathBuf,
    asks: Vec<KafkaAsk>,
    /// Kept while they work, by address.
    connections: BTreeMap<String, Connection>,
    /// Whether a round was begun and did not end well.
    is_under_way: bool,
}

impl Kafka {
    /// Asks `settings` for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(settings: &KafkaSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&KafkaAsk> = super::asks(wants, |ask| match ask {
            Ask::Kafka(ask) => Some(ask),
            _ => None,
        })?;
        let tls = Tls::asked(settings.tls, settings.ca.as_ref(), settings.client.as_ref(), base);
        let brokers = settings.brokers.iter().map(|broker| Address::parse(broker, tls.clone()));
        Ok(Self {
            settings: settings.clone(),
            brokers: brokers.collect::<Result<_, _>>()?,
            base: base.to_owned(),
            asks: asks.into_iter().cloned().collect(),
            connections: BTreeMap::new(),
            is_under_way: false,
        })
    }

    /// A broker's connection, made where there is none.
    async fn broker(&mut self, address: &Address) -> Result<&mut Connection, ReadError> {
        let key = format!("{}:{}", address.host, address.port);
        if !self.connections.contains_key(&key) {
            let made = self.connect(address).await?;
            self.connections.insert(key.clone(), made);
        }
        self.connections.get_mut(&key).ok_or_else(|| ReadError::Broken { why: "no connection".to_owned() })
    }

    async fn connect(&self, address: &Address) -> Result<Connection, ReadError> {
        let stream = BufReader::new(address.connect().await?);
        let mut connection = Connection { stream, number: 0, metadata: OLD_METADATA };
        let mut answer = connection.ask(API_VERSIONS, &Text::new()).await?;
        answer.may_fail()?;
        for _ in 0..answer.length()? {
            let (key, _least, most) = (answer.i16()?, answer.i16()?, answer.i16()?);
            if key == METADATA.key && most >= METADATA.version {
                connection.metadata = METADATA;
            }
        }
        if let Some(auth) = &self.settings.auth {
            let password = Secret::read(&auth.password, &self.base).await?;
            connection.log_in(auth, password).await?;
        }
        Ok(connection)
    }

    /// Any broker that answers; the first in the list that does.
    async fn any(&mut self) -> Result<Address, ReadError> {
        let mut first = None;
        for address in self.brokers.clone() {
            match self.broker(&address).await {
                Ok(_) => return Ok(address),
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| ReadError::Setup("no broker is named".to_owned())))
    }

    /// What is known of the topics, and where the brokers are.
    async fn cluster(&mut self) -> Result<Cluster, ReadError> {
        let topics: BTreeSet<&str> = self.asks.iter().map(|ask| ask.topic.as_str()).collect();
        let mut question =
            topics.iter().fold(Text::new().length(topics.len()), |text, topic| text.string(topic));
        let any = self.any().await?;
        let broker = self.broker(&any).await?;
        let is_new = broker.metadata.version == METADATA.version;
        if is_new {
            // Asking makes no topic.
            question = question.i8(0);
        }
        let mut answer = broker.ask(broker.metadata, &question).await?;
        if is_new {
            let _throttled = answer.i32()?;
        }
        let mut cluster = Cluster { any, brokers: BTreeMap::new(), topics: BTreeMap::new() };
        for _ in 0..answer.length()? {
            let node = answer.i32()?;
            let (host, port) = (answer.string()?.unwrap_or_default(), answer.i32()?);
            let _rack = answer.string()?;
            let port = u16::try_from(port).map_err(|_| garbage())?;
            let tls = cluster.any.tls.clone();
            cluster.brokers.insert(node, Address { host, port, tls });
        }
        if is_new {
            let _cluster = answer.string()?;
        }
        let _controller = answer.i32()?;
        for _ in 0..answer.length()? {
            let code = answer.i16()?;
            let name = answer.string()?.ok_or_else(garbage)?;
            let _is_internal = answer.i8()?;
            let mut leaders = BTreeMap::new();
            for _ in 0..answer.length()? {
                let (_code, partition, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
                for _ in 0..2 {
                    for _ in 0..answer.length()? {
                        answer.i32()?;
                    }
                }
                leaders.insert(partition, leader);
            }
            cluster.topics.insert(name, if code == 0 { Ok(leaders) } else { Err(code) });
        }
        Ok(cluster)
    }

    /// What a group has committed of the topics it is asked about; none where it has not.
    async fn committed(&mut self, cluster: &Cluster, group: &str) -> Result<Result<Offsets, i16>, ReadError> {
        let question = Text::new().string(group).i8(0);
        let mut answer = self.broker(&cluster.any).await?.ask(FIND_COORDINATOR, &question).await?;
        let _throttled = answer.i32()?;
        let code = answer.i16()?;
        let _why = answer.string()?;
        let (_node, host, port) = (answer.i32()?, answer.string()?.unwrap_or_default(), answer.i32()?);
        match code {
            0 => {}
            GROUP_REFUSED => return Ok(Err(code)),
            code => return Err(said(code)),
        }
        let port = u16::try_from(port).map_err(|_| garbage())?;
        let coordinator = Address { host, port, tls: cluster.any.tls.clone() };
        let topics: Vec<(&str, Vec<i32>)> = self
            .topics_of(group)
            .into_iter()
            .filter_map(|topic| {
                let leaders = cluster.topics.get(topic)?.as_ref().ok()?;
                Some((topic, leaders.keys().copied().collect()))
            })
            .collect();
        let mut question = Text::new().string(group).length(topics.len());
        for (topic, partitions) in &topics {
            question = question.string(topic).length(partitions.len());
            question = partitions.iter().fold(question, |text, partition| text.i32(*partition));
        }
        let mut answer = self.broker(&coordinator).await?.ask(OFFSET_FETCH, &question).await?;
        let mut offsets = Offsets::new();
        for _ in 0..answer.length()? {
            let topic = answer.string()?.ok_or_else(garbage)?;
            for _ in 0..answer.length()? {
                let (partition, offset) = (answer.i32()?, answer.i64()?);
                let _metadata = answer.string()?;
                match answer.i16()? {
                    0 if offset >= 0 => {
                        offsets.insert((topic.clone(), partition), offset);
                    }
                    0 | UNKNOWN_TOPIC => {}
                    code @ (TOPIC_REFUSED | GROUP_REFUSED) => return Ok(Err(code)),
                    code => return Err(said(code)),
                }
            }
        }
        match answer.i16()? {
            0 => Ok(Ok(offsets)),
            GROUP_REFUSED => Ok(Err(GROUP_REFUSED)),
            code => Err(said(code)),
        }
    }

    /// Partitions that count from their beginning.
    fn never_committed(
        &self,
        cluster: &Cluster,
        committed: &BTreeMap<String, Result<Offsets, i16>>,
    ) -> BTreeSet<(String, i32)> {
        let mut begun = BTreeSet::new();
        for ask in self.asks.iter().filter(|ask| ask.uncommitted == Uncommitted::All) {
            let (Some(Ok(leaders)), Some(Ok(offsets))) =
                (cluster.topics.get(&ask.topic), committed.get(&ask.group))
            else {
                continue;
            };
            let of_topic = leaders.keys().map(|partition| (ask.topic.clone(), *partition));
            begun.extend(of_topic.filter(|of| !offsets.contains_key(of)));
        }
        begun
    }

    fn topics_of(&self, group: &str) -> BTreeSet<&str> {
        self.asks.iter().filter(|ask| ask.group == group).map(|ask| ask.topic.as_str()).collect()
    }

    /// Where partitions end, or begin: each leader is asked about its own.
    async fn bounds(
        &mut self,
        cluster: &Cluster,
        partitions: &BTreeSet<(String, i32)>,
        moment: i64,
    ) -> Result<Offsets, ReadError> {
        let mut of_leader: BTreeMap<i32, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        for (topic, partition) in partitions {
            let leader = cluster.topics.get(topic).and_then(|topic| topic.as_ref().ok()?.get(partition));
            let Some(leader) = leader else { continue };
            of_leader.entry(*leader).or_default().entry(topic).or_default().push(*partition);
        }
        let mut offsets = Offsets::new();
        for (leader, topics) in of_leader {
            // A partition without a leader for the moment makes its topic unknown, not short.
            let Some(address) = cluster.brokers.get(&leader) else { continue };
            // No replica, but a client.
            let mut question = Text::new().i32(-1).length(topics.len());
            for (topic, partitions) in topics {
                question = question.string(topic).length(partitions.len());
                question =
                    partitions.iter().fold(question, |text, partition| text.i32(*partition).i64(moment));
            }
            let mut answer = self.broker(address).await?.ask(LIST_OFFSETS, &question).await?;
            for _ in 0..answer.length()? {
                let topic = answer.string()?.ok_or_else(garbage)?;
                for _ in 0..answer.length()? {
                    let (partition, code) = (answer.i32()?, answer.i16()?);
                    let (_timestamp, offset) = (answer.i64()?, answer.i64()?);
                    // Its leader moved, or is not to be asked: what is missing is told of the topic.
                    if code == 0 {
                        offsets.insert((topic.clone(), partition), offset);
                    }
                }
            }
        }
        Ok(offsets)
    }

    async fn figures(&mut self) -> Result<Vec<Figure>, ReadError> {
        let cluster = self.cluster().await?;
        let groups: BTreeSet<String> = self.asks.iter().map(|ask| ask.group.clone()).collect();
        let mut committed = BTreeMap::new();
        for group in groups {
            let offsets = self.committed(&cluster, &group).await?;
            committed.insert(group, offsets);
        }
        let all: BTreeSet<(String, i32)> = cluster.partitions().collect();
        // The ends come after what was committed, so that no group seems to be ahead.
        let ends = self.bounds(&cluster, &all, LATEST).await?;
        let begun = self.never_committed(&cluster, &committed);
        let beginnings =
            if begun.is_empty() { Offsets::new() } else { self.bounds(&cluster, &begun, EARLIEST).await? };
        let at = now();
        let figure = |ask: &KafkaAsk| {
            let topic = cluster.topics.get(&ask.topic).ok_or(Absence::Empty)?;
            let leaders = topic.as_ref().map_err(|code| absent(*code))?;
            let offsets =
                committed.get(&ask.group).ok_or(Absence::Empty)?.as_ref().map_err(|code| absent(*code))?;
            lag(ask, leaders.keys(), offsets, &ends, &beginnings).map(|lag| (at, lag))
        };
        Ok(self.asks.iter().map(figure).collect())
    }
}

/// Messages behind, over all partitions.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn lag<'a>(
    ask: &KafkaAsk,
    partitions: impl Iterator<Item = &'a i32>,
    committed: &Offsets,
    ends: &Offsets,
    beginnings: &Offsets,
) -> Result<f64, Absence> {
    let mut behind: i64 = 0;
    let mut any = false;
    for partition in partitions {
        let of = (ask.topic.clone(), *partition);
        let unknown =
            || Absence::SourceFailed(format!("partition {partition} of `{}` has no leader", ask.topic));
        let end = *ends.get(&of).ok_or_else(unknown)?;
        let from = match committed.get(&of) {
            Some(offset) => *offset,
            None if ask.uncommitted == Uncommitted::None => end,
            None => *beginnings.get(&of).ok_or_else(unknown)?,
        };
        // A topic that was made anew has offsets below what was committed of the old one.
        behind = behind.saturating_add(end.saturating_sub(from).max(0));
        any = true;
    }
    if any { Ok(behind as f64) } else { Err(Absence::Empty) }
}

#[async_trait]
impl Reader for Kafka {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        if std::mem::replace(&mut self.is_under_way, true) {
            // The last round failed or was given up halfway: what its connections still bring is no answer of ours.
            self.connections.clear();
        }
        let kept = !self.connections.is_empty();
        let figures = match self.figures().await {
            // A broker closed it between two rounds: asked again over new ones.
            Err(ReadError::Broken { .. }) if kept => {
                self.connections.clear();
                self.figures().await?
            }
            figures => figures?,
        };
        self.is_under_way = false;
        Ok(figures)
    }
}

/// An offset for each partition of each topic.
type Offsets = BTreeMap<(String, i32), i64>;

/// What a round knows of the brokers.
struct Cluster {
    /// The one that was asked.
    any: Address,
    brokers: BTreeMap<i32, Address>,
    /// Who leads each partition, or why that is not told.
    topics: BTreeMap<String, Result<BTreeMap<i32, i32>, i16>>,
}

impl Cluster {
    fn partitions(&self) -> impl Iterator<Item = (String, i32)> {
        let known = self.topics.iter().filter_map(|(topic, leaders)| Some((topic, leaders.as_ref().ok()?)));
        known.flat_map(|(topic, leaders)| leaders.keys().map(|partition| (topic.clone(), *partition)))
    }
}

/// A broker's refusal in words.
fn words(code: i16) -> &'static str {
    match code {
        UNKNOWN_TOPIC => "no such topic",
        5 => "a partition has no leader",
        14 => "the group's coordinator is loading",
        15 => "the group has no coordinator yet",
        16 => "the group's coordinator moved",
        TOPIC_REFUSED => "the topic may not be described; allow DESCRIBE on it",
        GROUP_REFUSED => "the group may not be described; allow DESCRIBE on it",
        35 => "it is older than Kafka 1.0",
        _ => "see the protocol's list of error codes",
    }
}

fn said(code: i16) -> ReadError {
    ReadError::Refused(format!("error {code}: {}", words(code)))
}

/// One topic's or group's own trouble.
fn absent(code: i16) -> Absence {
    match code {
        // It may come yet; that is no failure of the source.
        UNKNOWN_TOPIC => Absence::Empty,
        code => Absence::SourceFailed(format!("error {code}: {}", words(code))),
    }
}

fn garbage() -> ReadError {
    ReadError::Garbage("it is no answer to the question".to_owned())
}

/// A connection to a broker; answers come in the order of the questions.
struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    number: i32,
    /// How it is asked about topics.
    metadata: Api,
}

impl Connection {
    async fn log_in(&mut self, auth: &SaslAuth, password: Secret) -> Result<(), ReadError> {
        let hash = match auth.mechanism {
            SaslMechanism::Plain => {
                self.choose("PLAIN").await?;
                let word = format!("\0{}\0{}", auth.user, password.expose());
                return self.show(&word).await.map(drop);
            }
            SaslMechanism::ScramSha256 => Hash::Sha256,
            SaslMechanism::ScramSha512 => Hash::Sha512,
        };
        self.choose(hash.mechanism()).await?;
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(|e| ReadError::Setup(format!("no random numbers: {e}")))?;
        let nonce = base64::engine::general_purpose::STANDARD.encode(nonce);
        let client = scram::Client::new(hash, &auth.user, password, nonce);
        let server = self.show(&client.first()).await?;
        let (last, proved) = client.answer(&server)?;
        proved.by(&self.show(&last).await?)
    }

    /// Says how it will be shown who this is.
    async fn choose(&mut self, mechanism: &str) -> Result<(), ReadError> {
        let mut answer = self.ask(SASL_HANDSHAKE, &Text::new().string(mechanism)).await?;
        match answer.i16()? {
            0 => Ok(()),
            NO_SUCH_MECHANISM => {
                let count = answer.length()?;
                let offered = (0..count).map(|_| answer.string()).collect::<Result<Vec<_>, _>>()?;
                let offered = offered.into_iter().flatten().collect::<Vec<_>>().join(", ");
                let why = format!("it knows no {mechanism}, but {offered}; name that as `mechanism`");
                Err(ReadError::Refused(crate::http::first_words(why.as_bytes())))
            }
            code => Err(said(code)),
        }
    }

    /// Says something of who this is, and gives the answer.
    async fn show(&mut self, words: &str) -> Result<String, ReadError> {
        let mut answer = self.ask(SASL_AUTHENTICATE, &Text::new().bytes(words.as_bytes())).await?;
        let (code, why) = (answer.i16()?, answer.string()?);
        if code != 0 {
            return Err(ReadError::Refused(crate::http::first_words(why.unwrap_or_default().as_bytes())));
        }
        let length = answer.length()?;
        String::from_utf8(answer.take(length)?.to_vec()).map_err(|_| garbage())
    }

    async fn ask(&mut self, api: Api, question: &Text) -> Result<Parsed, ReadError> {
        let broken = |e: std::io::Error| ReadError::Broken { why: e.to_string() };
        self.number = self.number.wrapping_add(1);
        let head = Text::new().i16(api.key).i16(api.version).i32(self.number).string(CLIENT);
        let length = i32::try_from(head.0.len() + question.0.len()).map_err(|_| garbage())?;
        let whole = [&length.to_be_bytes()[..], &head.0, &question.0].concat();
        self.stream.write_all(&whole).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let length = self.stream.read_i32().await.map_err(broken)?;
        let length = usize::try_from(length).map_err(|_| garbage())?;
        if length > LARGEST_ANSWER {
            return Err(ReadError::TooLarge { limit: LARGEST_ANSWER });
        }
        // Filled as it comes: a length that is only claimed takes no memory.
        let mut answer = Vec::new();
        let cut = |e: std::io::Error| ReadError::Cut { why: e.to_string() };
        let read = (&mut self.stream).take(length as u64).read_to_end(&mut answer).await.map_err(cut)?;
        if read < length {
            return Err(ReadError::Cut { why: format!("{read} of {length} bytes came") });
        }
        let mut answer = Parsed { bytes: answer, at: 0 };
        if answer.i32()? == self.number { Ok(answer) } else { Err(garbage()) }
    }
}

/// A question being written.
struct Text(Vec<u8>);

impl Text {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i8(self, value: i8) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i16(self, value: i16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i32(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// How many follow; a policy names fewer than would not fit.
    fn length(self, of: usize) -> Self {
        self.i32(i32::try_from(of).unwrap_or(i32::MAX))
    }

    fn string(self, text: &str) -> Self {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX)).raw(text.as_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.length(bytes.len()).raw(bytes)
    }
}

/// An answer being read.
struct Parsed {
    bytes: Vec<u8>,
    at: usize,
}

impl Parsed {
    fn take(&mut self, length: usize) -> Result<&[u8], ReadError> {
        let end = self.at.checked_add(length).ok_or_else(garbage)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(garbage)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        self.take(N)?.try_into().map_err(|_| garbage())
    }

    fn i8(&mut self) -> Result<i8, ReadError> {
        self.array().map(i8::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, ReadError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, ReadError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, ReadError> {
        self.array().map(i64::from_be_bytes)
    }

    /// How many follow; each is at least a byte, so no more can be claimed than came.
    fn length(&mut self) -> Result<usize, ReadError> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        if length > self.bytes.len() - self.at { Err(garbage()) } else { Ok(length) }
    }

    fn string(&mut self) -> Result<Option<String>, ReadError> {
        let Ok(length) = usize::try_from(self.i16()?) else { return Ok(None) };
        String::from_utf8(self.take(length)?.to_vec()).map(Some).map_err(|_| garbage())
    }

    /// An answer that begins with the code of an error.
    fn may_fail(&mut self) -> Result<(), ReadError> {
        match self.i16()? {
            0 => Ok(()),
            code => Err(said(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(all: &[(i32, i64)]) -> Offsets {
        all.iter().map(|(partition, offset)| (("jobs".to_owned(), *partition), *offset)).collect()
    }

    fn behind(uncommitted: Uncommitted, committed: &[(i32, i64)]) -> Result<f64, Absence> {
        let ask = KafkaAsk {
            from: "x".parse().unwrap(),
            topic: "jobs".to_owned(),
            group: "workers".to_owned(),
            uncommitted,
        };
        let (ends, beginnings) = (offsets(&[(0, 100), (1, 50)]), offsets(&[(0, 10), (1, 20)]));
        lag(&ask, [0, 1].iter(), &offsets(committed), &ends, &beginnings)
    }

    #[test]
    fn what_was_never_committed_counts_from_its_beginning_or_not_at_all() {
        assert_eq!(behind(Uncommitted::All, &[(0, 90), (1, 50)]), Ok(10.0));
        assert_eq!(behind(Uncommitted::All, &[(0, 90)]), Ok(40.0));
        assert_eq!(behind(Uncommitted::None, &[(0, 90)]), Ok(10.0));
        assert_eq!(behind(Uncommitted::All, &[]), Ok(120.0));
        // What was committed of an earlier topic of that name.
        assert_eq!(behind(Uncommitted::All, &[(0, 900), (1, 40)]), Ok(10.0));
    }

    #[test]
    fn no_length_is_believed_that_does_not_fit() {
        for bytes in [&[][..], &[0x7f, 0xff, 0xff, 0xff], &[0, 0, 0, 9, 1]] {
            assert!(Parsed { bytes: bytes.to_vec(), at: 0 }.length().is_err(), "{bytes:?}");
        }
        assert_eq!(Parsed { bytes: vec![0xff, 0xff], at: 0 }.string(), Ok(None));
        assert!(Parsed { bytes: vec![0, 9, b'x'], at: 0 }.string().is_err());
    }
}
