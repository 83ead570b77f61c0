//! Figures of an HAProxy, from its runtime API, and quantiles from its log.
//!
//! A backend's row counts what waits for any of its servers, so it is read where there is one; a proxy that is only a
//! frontend is read there. Totals start anew when HAProxy is reloaded, which is no fall.

use std::path::Path;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, HaproxyAsk, HaproxyFigure, HaproxySettings};
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;

use super::poll::{Figure, ReadError, Reader, Want};
use super::rate::Total;
use crate::haproxy::log::Log;
use crate::haproxy::{Row, Runtime};

/// Asks an HAProxy.
pub struct Haproxy {
    runtime: Runtime,
    asks: Vec<State>,
    /// Where quantiles are asked for.
    log: Option<Log>,
}

struct State {
    ask: HaproxyAsk,
    window: Span,
    requests: Total,
    answers: Total,
    failed: Total,
}

impl Haproxy {
    /// Asks `settings` for `wants`.
    ///
    /// # Errors
    /// Where something else is wanted.
    pub fn new(settings: &HaproxySettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks: Vec<&HaproxyAsk> = super::asks(wants, |ask| match ask {
            Ask::Haproxy(ask) => Some(ask),
            _ => None,
        })?;
        let state = |(ask, want): (&HaproxyAsk, &Want)| State {
            ask: ask.clone(),
            window: want.window,
            requests: Total::default(),
            answers: Total::default(),
            failed: Total::default(),
        };
        let asks: Vec<State> = asks.into_iter().zip(wants).map(state).collect();
        let quantiles = asks.iter().filter(|state| state.ask.quantile.is_some());
        let mut proxies = quantiles.map(|state| (state.ask.proxy.as_str(), state.window)).peekable();
        let log = settings.log.filter(|_| proxies.peek().is_some()).map(|listen| Log::new(listen, proxies));
        Ok(Self { runtime: Runtime::new(&settings.socket, base), asks, log })
    }
}

#[async_trait]
impl Reader for Haproxy {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        if let Some(log) = &mut self.log {
            log.listen().await?;
        }
        let rows = self.runtime.stats().await?;
        let at = now();
        let row = |proxy: &str| {
            let of = |kind: &str| {
                rows.iter().find(|r| r.text("pxname") == Some(proxy) && r.text("svname") == Some(kind))
            };
            of("BACKEND").or_else(|| of("FRONTEND"))
        };
        let log = self.log.as_ref();
        let figure = |state: &mut State| {
            let row = row(&state.ask.proxy).ok_or(Absence::Empty)?;
            let value = match (state.ask.quantile, log) {
                (Some(quantile), Some(log)) => log.quantile(&state.ask.proxy, quantile, state.window, at),
                _ => state.read(row, at),
            };
            value.map(|value| (at, value))
        };
        Ok(self.asks.iter_mut().map(figure).collect())
    }
}

impl State {
    fn read(&mut self, row: &Row, at: Timestamp) -> Result<f64, Absence> {
        let number = |column: &str| row.number(column).ok_or(Absence::Empty);
        // A backend counts a session for each request in HTTP mode; a frontend's sessions are connections.
        let requests = if row.text("svname") == Some("FRONTEND") { "req_tot" } else { "stot" };
        match self.ask.figure {
            HaproxyFigure::InFlight => Ok(number("scur")? + row.number("qcur").unwrap_or(0.0)),
            HaproxyFigure::Queued => number("qcur"),
            HaproxyFigure::RequestsPerSecond => {
                self.requests.push(at, number(requests)?, self.window);
                Ok(self.requests.growth().ok_or(Absence::Empty)?.per_second())
            }
            HaproxyFigure::ErrorRatio => {
                let classes = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];
                let all = classes.iter().map(|c| number(c)).sum::<Result<f64, _>>()?;
                self.answers.push(at, all, self.window);
                self.failed.push(at, number("hrsp_5xx")?, self.window);
                let answered = self.answers.growth().ok_or(Absence::Empty)?.by;
                let failed = self.failed.growth().ok_or(Absence::Empty)?.by;
                if answered > 0.0 { Ok(failed / answered) } else { Err(Absence::Idle) }
            }
            HaproxyFigure::ResponseTime => {
                self.requests.push(at, number(requests)?, self.window);
                // The mean of the last requests stands still when there are no more.
                if self.requests.growth().is_some_and(|growth| growth.by <= 0.0) {
                    return Err(Absence::Idle);
                }
                Ok((number("qtime")? + number("ctime")? + number("rtime")?) / 1000.0)
            }
        }
    }
}
