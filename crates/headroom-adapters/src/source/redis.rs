//! The length of Redis lists and the backlog of streams.
//!
//! The protocol is spoken by hand: four commands and their answers are less than a client library, and every length
//! an answer claims is held against a bound before it is believed.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use headroom_core::fleet::{Ask, RedisAsk, RedisSettings};
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::poll::{Figure, ReadError, Reader, Want};
use crate::net::{Address, Stream, Tls};
use crate::secret::Secret;

/// The most bytes one answer may have.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// How deep answers are nested at the most; those that are read are nested twice.
const DEEPEST: u32 = 8;
/// How many entries are counted by hand where Redis does not know a group's lag: more make the figure a lower bound.
const COUNTED: usize = 1000;

/// Asks a Redis.
pub struct Redis {
    settings: RedisSettings,
    address: Address,
    base: PathBuf,
    asks: Vec<RedisAsk>,
    connection: Option<BufReader<Box<dyn Stream>>>,
}

/// An answer of the protocol.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(i64),
    Nothing,
    Error(String),
    Many(Vec<Value>),
}

impl Redis {
    /// Asks `settings` for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(settings: &RedisSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&RedisAsk> = super::asks(wants, |ask| match ask {
            Ask::Redis(ask) => Some(ask),
            _ => None,
        })?;
        let asks = asks.into_iter().cloned().collect();
        let tls = Tls::asked(settings.tls, settings.ca.as_ref(), settings.client.as_ref(), base);
        Ok(Self {
            settings: settings.clone(),
            address: Address::parse(&settings.address, tls)?,
            base: base.to_owned(),
            asks,
            connection: None,
        })
    }

    async fn connect(&self) -> Result<BufReader<Box<dyn Stream>>, ReadError> {
        let mut connection = BufReader::new(self.address.connect().await?);
        let mut hello: Vec<Vec<&str>> = Vec::new();
        let password = match &self.settings.password {
            Some(place) => Some(Secret::read(place, &self.base).await?),
            None => None,
        };
        match (&self.settings.user, &password) {
            (Some(user), Some(password)) => hello.push(vec!["AUTH", user, password.expose()]),
            (None, Some(password)) => hello.push(vec!["AUTH", password.expose()]),
            (_, None) => {}
        }
        let database = self.settings.database.to_string();
        if self.settings.database > 0 {
            hello.push(vec!["SELECT", &database]);
        }
        for answer in talk(&mut connection, &hello).await? {
            if let Value::Error(why) = answer {
                return Err(ReadError::Refused(why));
            }
        }
        Ok(connection)
    }

    async fn figures(&self, connection: &mut BufReader<Box<dyn Stream>>) -> Result<Vec<Figure>, ReadError> {
        let mut commands: Vec<Vec<&str>> = Vec::new();
        for ask in &self.asks {
            if let Some(list) = &ask.list {
                commands.push(vec!["LLEN", list]);
                if let Some(taken) = &ask.in_flight {
                    commands.push(vec!["LLEN", taken]);
                }
            } else if let Some(stream) = &ask.stream {
                commands.push(vec!["XINFO", "GROUPS", stream]);
            }
        }
        let mut answers = talk(connection, &commands).await?.into_iter();
        let at = now();
        let mut figures = Vec::with_capacity(self.asks.len());
        for ask in &self.asks {
            let figure = if ask.list.is_some() {
                let length = length(answers.next());
                match (&ask.in_flight, length) {
                    (None, length) => length,
                    (Some(_), length) => {
                        let taken = self::length(answers.next());
                        length.and_then(|waiting| Ok(waiting + taken?))
                    }
                }
            } else {
                let group = group(answers.next(), ask.group.as_deref().unwrap_or_default());
                match group {
                    Err(absence) => Err(absence),
                    Ok(Group { pending, lag: Some(lag), .. }) => Ok((pending + lag) as f64),
                    // After entries were deleted Redis does not know how far behind a group is.
                    Ok(Group { pending, lag: None, last }) => {
                        let stream = ask.stream.as_deref().unwrap_or_default();
                        let (from, count) = (format!("({last}"), COUNTED.to_string());
                        let command = vec!["XRANGE", stream, &from, "+", "COUNT", &count];
                        let behind = match talk(connection, &[command]).await?.pop() {
                            Some(Value::Many(entries)) => Ok(entries.len()),
                            Some(Value::Error(why)) => Err(refused(&why)),
                            _ => Err(Absence::Empty),
                        };
                        behind.map(|behind| pending as f64 + behind as f64)
                    }
                }
            };
            figures.push(figure.map(|value| (at, value)));
        }
        Ok(figures)
    }
}

#[async_trait]
impl Reader for Redis {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        // Taken out while in use: what is given up halfway leaves no connection in the middle of an answer.
        if let Some(mut kept) = self.connection.take() {
            match self.figures(&mut kept).await {
                Ok(figures) => {
                    self.connection = Some(kept);
                    return Ok(figures);
                }
                // The server closed it between two rounds: asked again over a new one.
                Err(ReadError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut fresh = self.connect().await?;
        let figures = self.figures(&mut fresh).await?;
        self.connection = Some(fresh);
        Ok(figures)
    }
}

fn refused(why: &str) -> Absence {
    Absence::SourceFailed(format!("it refused: {why}"))
}

/// A list's length. A list that is empty does not exist, so zero is a measured value here.
fn length(answer: Option<Value>) -> Result<f64, Absence> {
    match answer {
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 messages")]
        Some(Value::Number(length)) => Ok(length as f64),
        Some(Value::Error(why)) => Err(refused(&why)),
        _ => Err(Absence::Empty),
    }
}

/// How far a consumer group is.
#[derive(Debug, PartialEq)]
struct Group {
    pending: i64,
    lag: Option<i64>,
    last: String,
}

fn group(answer: Option<Value>, name: &str) -> Result<Group, Absence> {
    let groups = match answer {
        Some(Value::Many(groups)) => groups,
        Some(Value::Error(why)) if why.contains("no such key") => return Err(Absence::Empty),
        Some(Value::Error(why)) => return Err(refused(&why)),
        _ => return Err(Absence::Empty),
    };
    for group in groups {
        let Value::Many(fields) = group else { continue };
        let field = |wanted: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| pair[0] == Value::Text(wanted.to_owned())).map(|pair| &pair[1])
        };
        if field("name") != Some(&Value::Text(name.to_owned())) {
            continue;
        }
        let number = |wanted| match field(wanted) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        let last = match field("last-delivered-id") {
            Some(Value::Text(id)) => id.clone(),
            _ => return Err(Absence::Empty),
        };
        return Ok(Group { pending: number("pending").ok_or(Absence::Empty)?, lag: number("lag"), last });
    }
    Err(Absence::Empty)
}

/// Sends commands in one go and reads their answers.
async fn talk(
    connection: &mut BufReader<Box<dyn Stream>>,
    commands: &[Vec<&str>],
) -> Result<Vec<Value>, ReadError> {
    let mut asked = Vec::new();
    for command in commands {
        asked.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in command {
            asked.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    }
    let broken = |e: std::io::Error| ReadError::Broken { why: e.to_string() };
    connection.write_all(&asked).await.map_err(broken)?;
    connection.flush().await.map_err(broken)?;
    let mut answers = Vec::with_capacity(commands.len());
    let mut budget = LARGEST_ANSWER;
    for _ in commands {
        answers.push(answer(connection, 0, &mut budget).await?);
    }
    Ok(answers)
}

async fn answer(
    connection: &mut BufReader<Box<dyn Stream>>,
    depth: u32,
    budget: &mut usize,
) -> Result<Value, ReadError> {
    let mut line = Vec::new();
    let limit = (*budget).min(64 * 1024) as u64;
    let broken = |e: std::io::Error| ReadError::Broken { why: e.to_string() };
    let read = (&mut *connection).take(limit).read_until(b'\n', &mut line).await.map_err(broken)?;
    if read == 0 {
        return Err(ReadError::Broken { why: "it was closed".to_owned() });
    }
    let too_large = || ReadError::TooLarge { limit: LARGEST_ANSWER };
    *budget = budget.checked_sub(read).ok_or_else(too_large)?;
    let garbage =
        |line: &[u8]| ReadError::Garbage(format!("{:?} is none of Redis", crate::http::first_words(line)));
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| garbage(&line))?;
    let (kind, rest) = text.split_first().ok_or_else(|| garbage(&line))?;
    let rest = std::str::from_utf8(rest).map_err(|_| garbage(&line))?;
    let number = || rest.parse::<i64>().map_err(|_| garbage(&line));
    match kind {
        b'+' => Ok(Value::Text(rest.to_owned())),
        b'-' => Ok(Value::Error(rest.to_owned())),
        b':' => Ok(Value::Number(number()?)),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Value::Nothing) };
            *budget = budget.checked_sub(length.saturating_add(2)).ok_or_else(too_large)?;
            let mut text = vec![0; length + 2];
            connection.read_exact(&mut text).await.map_err(|e| ReadError::Cut { why: e.to_string() })?;
            text.truncate(length);
            Ok(Value::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        b'*' => {
            let Ok(count) = usize::try_from(number()?) else { return Ok(Value::Nothing) };
            if depth >= DEEPEST {
                return Err(garbage(&line));
            }
            // Each item takes three bytes at the least, so the budget bounds the count.
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(Box::pin(answer(connection, depth + 1, budget)).await?);
            }
            Ok(Value::Many(items))
        }
        _ => Err(garbage(&line)),
    }
}
