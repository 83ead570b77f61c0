//! HAProxy's log, taken in over UDP: the time that each request took, which its statistics only have as means.
//!
//! Lines of `option httplog`, whatever their syslog header. Only proxies that a policy names are kept, each over its
//! longest window and up to a bound, so no sender fills memory. What is lost on the way, as UDP does, makes a quantile no
//! worse than a sample would.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use headroom_core::fleet::Quantile;
use headroom_core::reading::Absence;
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::source::ReadError;

/// Requests of one proxy kept at the most; the oldest go first, and a quantile is then of the newest.
const KEPT: usize = 100_000;
/// The largest packet: what fits into UDP.
const PACKET: usize = 65_535;

/// Takes in a log.
pub(crate) struct Log {
    listen: SocketAddr,
    times: Arc<Mutex<Times>>,
    listener: Option<JoinHandle<()>>,
}

/// The times of the proxies that someone asks for.
type Times = HashMap<String, Recent>;

/// What a proxy's requests took lately.
#[derive(Debug, Default)]
struct Recent {
    window: Span,
    /// When each was logged, and its seconds.
    requests: VecDeque<(Timestamp, f32)>,
    /// Whether any ever came.
    is_heard: bool,
}

impl Log {
    /// Takes in what is logged to `listen` about these proxies, each over the longest of its windows.
    pub(crate) fn new<'a>(listen: SocketAddr, proxies: impl IntoIterator<Item = (&'a str, Span)>) -> Self {
        let mut times = Times::new();
        for (proxy, window) in proxies {
            let recent = times.entry(proxy.to_owned()).or_default();
            recent.window = recent.window.max(window);
        }
        Self { listen, times: Arc::new(Mutex::new(times)), listener: None }
    }

    /// Listens, unless it does already.
    ///
    /// # Errors
    /// Where the address can't be listened at.
    pub(crate) async fn listen(&mut self) -> Result<(), ReadError> {
        if self.listener.as_ref().is_some_and(|listener| !listener.is_finished()) {
            return Ok(());
        }
        let socket = UdpSocket::bind(self.listen)
            .await
            .map_err(|e| ReadError::Setup(format!("the log can't be taken in at {}: {e}", self.listen)))?;
        let times = Arc::clone(&self.times);
        self.listener = Some(tokio::spawn(async move {
            let mut packet = vec![0; PACKET];
            // A socket that fails ends the task; the next round binds it anew.
            while let Ok(length) = socket.recv(&mut packet).await {
                let text = String::from_utf8_lossy(packet.get(..length).unwrap_or_default());
                let at = now();
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                text.lines().for_each(|line| take_in(&mut times, line, at));
            }
        }));
        Ok(())
    }

    /// A quantile of what a proxy's requests took within `window`, in seconds.
    pub(crate) fn quantile(
        &self,
        proxy: &str,
        quantile: Quantile,
        window: Span,
        at: Timestamp,
    ) -> Result<f64, Absence> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(proxy).ok_or(Absence::Empty)?.quantile(quantile, window, at)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

impl Recent {
    fn push(&mut self, at: Timestamp, seconds: f32) {
        self.is_heard = true;
        self.requests.push_back((at, seconds));
        while self.requests.len() > KEPT
            || self.requests.front().is_some_and(|(then, _)| at.since(*then) > self.window)
        {
            self.requests.pop_front();
        }
    }

    fn quantile(&self, quantile: Quantile, window: Span, at: Timestamp) -> Result<f64, Absence> {
        if !self.is_heard {
            return Err(Absence::NeverSeen);
        }
        let recent = self.requests.iter().rev().take_while(|(then, _)| at.since(*then) <= window);
        let mut seconds: Vec<f32> = recent.map(|(_, seconds)| *seconds).collect();
        // The smallest that so many percent do not exceed.
        let percent = match quantile {
            Quantile::P50 => 50,
            Quantile::P95 => 95,
            Quantile::P99 => 99,
        };
        let rank = (seconds.len() * percent).div_ceil(100).checked_sub(1).ok_or(Absence::Idle)?;
        let (_, value, _) = seconds.select_nth_unstable_by(rank, f32::total_cmp);
        Ok(f64::from(*value))
    }
}

fn take_in(times: &mut Times, line: &str, at: Timestamp) {
    let Some(Request { frontend, backend, seconds }) = request(line) else { return };
    for proxy in [Some(backend), Some(frontend).filter(|name| *name != backend)].into_iter().flatten() {
        if let Some(recent) = times.get_mut(proxy) {
            recent.push(at, seconds);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Request<'a> {
    frontend: &'a str,
    backend: &'a str,
    /// From the whole request until the answer began: queue, connection and the server's time.
    seconds: f32,
}

/// What a line says of a request that was answered. After the moment in brackets stand the frontend, backend and server,
/// and `TR/Tw/Tc/Tr/Ta` in milliseconds; -1 is a stage that was not reached.
fn request(line: &str) -> Option<Request<'_>> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words.windows(4).find_map(|words| {
        let [moment, frontend, server, times] = words else { return None };
        if !moment.starts_with('[') || !moment.ends_with(']') {
            return None;
        }
        let (backend, _) = server.split_once('/')?;
        let mut times = times.split('/').map(|time| time.trim_start_matches('+').parse::<i32>());
        let (Some(Ok(_)), Some(Ok(queued)), Some(Ok(connected)), Some(Ok(answered)), Some(Ok(_)), None) =
            (times.next(), times.next(), times.next(), times.next(), times.next(), times.next())
        else {
            return None;
        };
        // A request that no server answered has no time of an answer.
        if queued < 0 || connected < 0 || answered < 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact for hours of milliseconds")]
        let seconds = (i64::from(queued) + i64::from(connected) + i64::from(answered)) as f32 / 1000.0;
        Some(Request { frontend: frontend.trim_end_matches('~'), backend, seconds })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "<134>Nov 28 17:00:00 haproxy[1234]: 127.0.0.1:40000 [28/Nov/2026:17:00:00.123] web~ \
                        app/headroom.web-1 0/3/1/12/+20 200 150 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"";

    #[test]
    fn a_line_says_how_long_a_request_took() {
        assert_eq!(request(LINE), Some(Request { frontend: "web", backend: "app", seconds: 0.016 }));
        let structured =
            format!("<134>1 2026-11-28T17:00:00Z host haproxy 12 - [id@1 x=\"y\"] {}", &LINE[36..]);
        assert_eq!(request(&structured).map(|r| r.seconds), Some(0.016));
        for none in [
            "",
            "<133>haproxy[1]: Proxy app started.",
            "127.0.0.1:1 [28/Nov/2026:17:00:00.123] web app/<NOSRV> 0/-1/-1/-1/0 503 221 - - SC-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"",
            "127.0.0.1:1 [28/Nov/2026:17:00:00.123] web app/one 1/2/3 200",
            "[x] a b/c 1/2/3/4/5/6",
        ] {
            assert_eq!(request(none), None, "{none}");
        }
    }

    #[test]
    fn quantiles_are_of_the_window_and_silence_is_no_value() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let window = Span::seconds(10);
        let log = Log::new(at_any(), [("app", window), ("app", Span::seconds(2))]);
        let quantile = |q, second| log.quantile("app", q, window, at(second));
        assert_eq!(quantile(Quantile::P50, 0), Err(Absence::NeverSeen));
        let mut times = log.times.lock().unwrap();
        times.get_mut("app").unwrap().push(at(-100), 9.0);
        for ms in 1..=100_u16 {
            times.get_mut("app").unwrap().push(at(0), f32::from(ms));
        }
        take_in(&mut times, &LINE.replace("app/", "other/"), at(0));
        assert_eq!(times.len(), 1, "only what is asked for is kept");
        drop(times);
        let quantiles = [Quantile::P50, Quantile::P95, Quantile::P99].map(|q| quantile(q, 5));
        assert_eq!(quantiles, [Ok(50.0), Ok(95.0), Ok(99.0)]);
        assert_eq!(quantile(Quantile::P50, 60), Err(Absence::Idle));
        assert_eq!(log.quantile("none", Quantile::P50, window, at(0)), Err(Absence::Empty));
    }

    fn at_any() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }
}
