//! The answers to queries of a PostgreSQL database.
//!
//! The session may only read, and its statements end before the source's deadline on the server, too: a query that is
//! given up here must not go on there. One that is slow takes at most half a round and is asked last from then on, so the
//! others are read beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use headroom_core::fleet::{Ask, PostgresSettings, SqlAsk};
use headroom_core::outlook::STEP;
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::poll::{Figure, ReadError, Reader, Want};
use super::recall::{self, At, Found, Stretch, filled};
use crate::http::LARGEST_ANSWER;
use crate::net::{Address, Stream, Tls};
use crate::secret::Secret;

/// Asks a database.
pub struct Postgres {
    settings: PostgresSettings,
    address: Address,
    tls: Option<Tls>,
    /// How many more bytes of answers are read in this round.
    left: Arc<AtomicUsize>,
    deadline: Span,
    base: PathBuf,
    queries: Vec<String>,
    /// How long a statement may take, unless less is left of a round.
    longest: Span,
    /// Which queries took too long when they were asked last: their turn is last.
    slow: BTreeSet<usize>,
    connection: Option<Connection>,
}

/// A stream that gives up when a round's answers are larger than any that is meant: the client below would hold all of
/// it.
struct Bounded {
    inner: Box<dyn Stream>,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(std::io::Error::other(ReadError::TooLarge { limit: LARGEST_ANSWER })));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let more = buffer.filled().len() - before;
        self.left.store(left.saturating_sub(more), Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

struct Connection {
    client: Client,
    /// How long a statement may take now.
    limit: Span,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Postgres {
    /// Asks `settings` for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(
        settings: &PostgresSettings,
        deadline: Span,
        wants: &[Want],
        base: &Path,
    ) -> Result<Self, ReadError> {
        let asks: Vec<&SqlAsk> = super::asks(wants, |ask| match ask {
            Ask::Postgres(ask) => Some(ask),
            _ => None,
        })?;
        let queries = asks.into_iter().map(|ask| ask.query.clone()).collect();
        Self::of_queries(settings, deadline, deadline.as_millis() / 2, queries, base)
    }

    fn of_queries(
        settings: &PostgresSettings,
        deadline: Span,
        longest_ms: u64,
        queries: Vec<String>,
        base: &Path,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            settings: settings.clone(),
            // TLS is asked for in the protocol, not spoken from the start.
            address: Address::parse(&settings.address, None)?,
            tls: Tls::asked(settings.tls, settings.ca.as_ref(), settings.client.as_ref(), base),
            left: Arc::default(),
            deadline,
            base: base.to_owned(),
            queries,
            longest: Span::millis(longest_ms.max(1)),
            slow: BTreeSet::new(),
            connection: None,
        })
    }

    /// The connection, taken out while it is in use: a round that is given up halfway leaves none behind.
    async fn connection(&mut self) -> Result<Connection, ReadError> {
        self.left.store(LARGEST_ANSWER, Ordering::Relaxed);
        match self.connection.take().filter(|kept| !kept.client.is_closed()) {
            Some(kept) => Ok(kept),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Connection, ReadError> {
        let mut config = Config::new();
        config
            .dbname(&self.settings.database)
            .user(&self.settings.user)
            .application_name("headroom")
            .options(format!(
                "-c default_transaction_read_only=on -c datestyle=ISO -c timezone=UTC -c statement_timeout={}",
                self.longest.as_millis()
            ));
        if let Some(place) = &self.settings.password {
            config.password(Secret::read(place, &self.base).await?.expose());
        }
        let no = |e: tokio_postgres::Error| match e.as_db_error() {
            Some(_) => ReadError::Refused(said(&e)),
            None => ReadError::Connect { at: self.settings.address.clone(), why: said(&e) },
        };
        let stream = Bounded { inner: self.address.connect().await?, left: Arc::clone(&self.left) };
        match &self.tls {
            None => {
                let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(no)?;
                // Its end shows at the next query.
                let task = tokio::spawn(async move { drop(connection.await) });
                Ok(Connection { client, limit: self.longest, task })
            }
            Some(tls) => {
                let mut tls = MakeRustlsConnect::new(tls.config()?);
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let tls = MakeTlsConnect::<Bounded>::make_tls_connect(&mut tls, &self.address.host).map_err(
                    |e| ReadError::Setup(format!("{:?} is no name for TLS: {e}", self.address.host)),
                )?;
                let (client, connection) = config.connect_raw(stream, tls).await.map_err(no)?;
                let task = tokio::spawn(async move { drop(connection.await) });
                Ok(Connection { client, limit: self.longest, task })
            }
        }
    }
}

/// An error with the server's own words, which stand in its cause.
fn said(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// The first column of the only row.
fn number(answer: &[SimpleQueryMessage]) -> Result<f64, Absence> {
    let mut rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let (Some(row), more) = (rows.next(), rows.next().is_some()) else { return Err(Absence::Empty) };
    if more {
        return Err(Absence::SourceFailed(
            "the query gives several rows; write one that gives one".to_owned(),
        ));
    }
    let text = row.try_get(0).ok().flatten().ok_or(Absence::Empty)?;
    text.parse().map_err(|_| Absence::NotANumber)
}

#[async_trait]
impl Reader for Postgres {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let begun = Instant::now();
        let mut connection = self.connection().await?;
        let mut figures = vec![Err(Absence::Empty); self.queries.len()];
        let mut order: Vec<usize> = (0..self.queries.len()).collect();
        order.sort_by_key(|which| self.slow.contains(which));
        for which in order {
            // A tenth of the deadline is for the way there and back.
            let over = Span::millis(self.deadline.as_millis() * 9 / 10);
            let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let left = Span::millis(over.as_millis().saturating_sub(elapsed));
            if left < Span::millis(self.deadline.as_millis() / 20) {
                let why = "the queries before it took the time of this round; make the slow ones faster, or raise `deadline`";
                figures[which] = Err(Absence::SourceFailed(why.to_owned()));
                continue;
            }
            let limit = left.min(self.longest);
            // Set anew only where it must be: less is left, or all of it again in the next round.
            if limit < connection.limit || (limit == self.longest && connection.limit < limit) {
                let set = format!("set statement_timeout = {}", limit.as_millis());
                let set = connection.client.simple_query(&set).await;
                set.map_err(|error| ReadError::Broken { why: said(&error) })?;
                connection.limit = limit;
            }
            let answer = connection.client.simple_query(&self.queries[which]).await;
            let at = now();
            self.slow.remove(&which);
            figures[which] = match answer {
                Ok(answer) => number(&answer).map(|value| (at, value)),
                Err(error) => match error.as_db_error().map(|db| db.code()) {
                    Some(&SqlState::QUERY_CANCELED) => {
                        self.slow.insert(which);
                        Err(Absence::SourceFailed(format!(
                            "its query was not over within {} ms; make it faster, or raise `deadline`",
                            connection.limit.as_millis()
                        )))
                    }
                    Some(_) => Err(Absence::SourceFailed(format!("it refused the query: {}", said(&error)))),
                    None => return Err(ReadError::Broken { why: said(&error) }),
                },
            };
        }
        self.connection = Some(connection);
        Ok(figures)
    }
}

/// Reads the past that a database keeps of its figures.
pub(super) struct Past(Postgres);

impl Past {
    /// Asks `settings` for `wants`, each of which has a past.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub(super) fn new(
        settings: &PostgresSettings,
        deadline: Span,
        wants: &[Want],
        base: &Path,
    ) -> Result<Self, ReadError> {
        let queries = super::asks(wants, |ask| match ask {
            Ask::Postgres(ask) => ask.history.as_ref(),
            _ => None,
        })?;
        let queries = queries.into_iter().cloned().collect();
        Postgres::of_queries(settings, deadline, deadline.as_millis() * 9 / 10, queries, base).map(Self)
    }
}

#[async_trait]
impl recall::Past for Past {
    fn step(&self) -> Span {
        STEP
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        (0..self.0.queries.len()).map(|want| vec![want]).collect()
    }

    fn wants_of(&self, question: usize) -> Vec<usize> {
        vec![question]
    }

    async fn range(&mut self, batch: &[usize], stretch: Stretch) -> Result<(Found, usize), ReadError> {
        let connection = self.0.connection().await?;
        let mut found = Found::new();
        for want in batch {
            let query = filled(&self.0.queries[*want], stretch);
            let answer = connection.client.simple_query(&query).await.map_err(|error| {
                match error.as_db_error().map(|db| db.code()) {
                    // The statement was given up there at the deadline that is set here.
                    Some(&SqlState::QUERY_CANCELED) => ReadError::Deadline(self.0.deadline),
                    Some(_) => ReadError::Refused(said(&error)),
                    None => ReadError::Broken { why: said(&error) },
                }
            })?;
            let rows = answer.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => point(row).transpose(),
                _ => None,
            });
            found.push((*want, vec![rows.collect::<Result<_, _>>()?]));
        }
        self.0.connection = Some(connection);
        let bytes = LARGEST_ANSWER - self.0.left.load(Ordering::Relaxed);
        Ok((found, bytes))
    }
}

/// A row of a past: a moment and a number; null is a gap.
fn point(row: &SimpleQueryRow) -> Result<Option<At>, ReadError> {
    let text = |column| row.try_get(column).ok().flatten();
    let (Some(moment), Some(value)) = (text(0), text(1)) else { return Ok(None) };
    let at = match moment.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any real moment fit")]
        Ok(seconds) => Timestamp::from_millis((seconds * 1000.0).round() as i64),
        Err(_) => moment.parse::<jiff::Timestamp>().map(Timestamp::from).map_err(|_| {
            let why = format!("{moment:?} is no moment; select a timestamptz, or seconds since 1970");
            ReadError::Garbage(why)
        })?,
    };
    let value = value.parse().map_err(|_| ReadError::Garbage(format!("{value:?} is no number")))?;
    Ok(Some((at, value)))
}
