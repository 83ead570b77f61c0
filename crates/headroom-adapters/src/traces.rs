//! Traces of decisions, from sample to settled, for any collector of OpenTelemetry.
//!
//! Made of the engine's events, beside the loop: who reads too slowly misses events, and what a collector does not take
//! in time is given up, so neither ever keeps a decision waiting. Both are counted and said.
//!
//! Spans are OTLP's JSON over the small HTTP client that every source uses; an SDK would bring a second clock, a second
//! queue and twenty crates for one `POST`. A trace's id is made of the decision's, so it is found from a log line.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use headroom_core::action::ActionRecord;
use headroom_core::decision::{Advice, Decision, DecisionId, Outcome};
use headroom_core::fleet::HttpServer;
use headroom_core::names::FleetName;
use headroom_core::reading::Reading;
use headroom_core::say::{self, Language};
use headroom_core::units::{Span, Timestamp};
use headroom_engine::driver::now;
use headroom_engine::handle::{EngineHandle, Event};
use headroom_engine::repeated::Repeated;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::http::HttpClient;
use crate::source::ReadError;

/// How often what has gathered is sent.
const SENDS: Duration = Duration::from_secs(1);
/// Traces in one request at the most; each has a dozen spans.
const BATCH: usize = 256;
/// Requests that wait for a collector; more are given up.
const WAITING: usize = 16;
/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a request is tried, with pauses of 1 s, 2 s, 4 s between.
const TRIES: u32 = 4;
/// An action that has not settled by then is told without its end: its deadline is long over.
const SETTLES_WITHIN: Span = Span::minutes(2);

/// Where a collector takes traces: `http://127.0.0.1:4318`, to which `/v1/traces` is added.
#[derive(Clone, Debug)]
pub struct Endpoint(HttpServer);

impl Endpoint {
    fn client(&self) -> Result<HttpClient, ReadError> {
        HttpClient::new(&self.0, Path::new("/"))
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}; write it as http://HOST:4318 or https://HOST");
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(wrong("it is no address of an HTTP server"));
        }
        let endpoint = Self(HttpServer { url: url.to_owned(), ..HttpServer::default() });
        endpoint.client().map_err(|error| wrong(&error.to_string()))?;
        Ok(endpoint)
    }
}

/// A collector that is told of decisions.
#[derive(Debug)]
pub struct Traces {
    ends: Option<oneshot::Sender<()>>,
    gathers: JoinHandle<()>,
    sends: JoinHandle<()>,
}

impl Traces {
    /// Tells the collector at `endpoint` of the decisions of `fleet`. One that does not answer is no error.
    #[must_use]
    pub fn start(endpoint: &Endpoint, fleet: FleetName, handle: &EngineHandle) -> Self {
        let client = endpoint.client().expect("an endpoint is an address that can be asked");
        let (batches, queue) = mpsc::channel(WAITING);
        let (ends, ended) = oneshot::channel();
        let gathers = tokio::spawn(gather(handle.events(), fleet, batches, ended));
        let sends = tokio::spawn(send(client, endpoint.0.url.clone(), queue));
        Self { ends: Some(ends), gathers, sends }
    }

    /// Sends what has gathered, for at most as long as one request may take. To be called when the engine has ended.
    pub async fn end(mut self) {
        drop(self.ends.take());
        // What is not sent by then is given up.
        let _ = timeout(DEADLINE, async { (&mut self.gathers).await.and((&mut self.sends).await) }).await;
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.gathers.abort();
        self.sends.abort();
    }
}

/// Makes traces of events until it is to end.
async fn gather(
    mut events: broadcast::Receiver<Event>,
    fleet: FleetName,
    batches: mpsc::Sender<Value>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut open = Open::default();
    let mut lost = Repeated::default();
    let mut sends = interval(SENDS);
    sends.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (is_due, is_over) = tokio::select! {
            // What was told before the end is taken in first.
            biased;
            event = events.recv() => match event {
                Ok(event) => {
                    open.take_in(&event, now());
                    (open.done.len() >= BATCH, false)
                }
                Err(RecvError::Lagged(_)) => {
                    say_lost(&mut lost, "events came faster than they were read");
                    (false, false)
                }
                Err(RecvError::Closed) => (true, true),
            },
            _ = &mut ended => (true, true),
            _ = sends.tick() => (true, false),
        };
        if !is_due {
            continue;
        }
        open.give_up_older_than(if is_over { Span::ZERO } else { SETTLES_WITHIN }, now());
        while !open.done.is_empty() {
            let many = open.done.len().min(BATCH);
            let spans: Vec<Value> = open.done.drain(..many).flatten().collect();
            if batches.try_send(request(&fleet, &spans)).is_err() {
                say_lost(&mut lost, "the collector does not keep up");
            }
        }
        if is_over {
            return;
        }
    }
}

fn say_lost(lost: &mut Repeated, why: &str) {
    if let Some(also) = lost.came(why, std::time::Instant::now()) {
        tracing::warn!(also, "traces are lost: {why}");
    }
}

async fn send(mut client: HttpClient, endpoint: String, mut batches: mpsc::Receiver<Value>) {
    let mut trouble = Repeated::default();
    while let Some(batch) = batches.recv().await {
        for attempt in 1..=TRIES {
            let sent = timeout(DEADLINE, client.post_json("/v1/traces", &[], &batch)).await;
            let sent = sent.unwrap_or(Err(ReadError::Deadline(Span::seconds(DEADLINE.as_secs()))));
            let error = match sent.and_then(crate::http::Answer::good) {
                Ok(_) => {
                    if trouble.is_over().is_some() {
                        tracing::info!(endpoint, "traces are taken again");
                    }
                    break;
                }
                Err(error) => error,
            };
            if let Some(also) = trouble.came(&error.to_string(), std::time::Instant::now()) {
                tracing::warn!(endpoint, %error, also, "traces can't be sent; they are given up after {TRIES} tries");
            }
            // What it does not want now it will not want later.
            if matches!(error, ReadError::Status { status, .. } if status < 500 && status != 429) {
                break;
            }
            if attempt < TRIES {
                sleep(Duration::from_secs(1 << (attempt - 1))).await;
            }
        }
    }
}

/// Decisions on their way, and the spans of those that are done.
#[derive(Default)]
struct Open {
    /// Decisions whose action has not settled; of each workload one at the most, or a few where growth overtook.
    acting: BTreeMap<DecisionId, Acting>,
    done: Vec<Vec<Value>>,
}

struct Acting {
    decision: Arc<Decision>,
    /// When it was recorded.
    decided: Timestamp,
    /// When the target was asked.
    asked: Option<ActionRecord>,
    asked_at: Timestamp,
}

impl Open {
    fn take_in(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Decided(decision) if decision.outcome == Outcome::Act => {
                let acting =
                    Acting { decision: Arc::clone(decision), decided: at, asked: None, asked_at: at };
                self.acting.insert(decision.id.clone(), acting);
            }
            Event::Decided(decision) => self.done.push(Trace::of(decision, at).finish(at, None)),
            Event::Acting(action) => {
                if let Some(acting) = self.acting.get_mut(&action.decision) {
                    acting.asked = Some(action.clone());
                    acting.asked_at = at;
                }
            }
            Event::Settled { decision, failed } => {
                if let Some(acting) = self.acting.remove(decision) {
                    self.done.push(acting.trace(at, Some(failed.as_deref())));
                }
            }
            Event::Noticed(_) | Event::Changed(_) | Event::FleetChanged => {}
        }
    }

    /// Tells those that have not settled for so long without their end.
    fn give_up_older_than(&mut self, age: Span, at: Timestamp) {
        let old = |acting: &Acting| at.since(acting.decided) >= age;
        let ids: Vec<DecisionId> =
            self.acting.iter().filter(|(_, acting)| old(acting)).map(|(id, _)| id.clone()).collect();
        for acting in ids.iter().filter_map(|id| self.acting.remove(id)) {
            self.done.push(acting.trace(at, None));
        }
    }
}

impl Acting {
    /// Its spans; `settled` says whether it has, and with what failure.
    fn trace(self, at: Timestamp, settled: Option<Option<&str>>) -> Vec<Value> {
        let mut trace = Trace::of(&self.decision, self.decided);
        if let Some(action) = &self.asked {
            trace.span("record", None, self.decided, self.asked_at, &[]);
            let counts = [("headroom.saw", json!(action.saw.0)), ("headroom.to", json!(action.to.0))];
            let act = trace.span("act", None, self.asked_at, at, &counts);
            trace.ends(act, settled);
        }
        if settled.is_some() {
            trace.span("settled", None, at, at, &[]);
        }
        trace.finish(at, settled)
    }
}

/// One trace being made: the root span first.
struct Trace {
    id: String,
    decision: DecisionId,
    spans: Vec<Value>,
}

impl Trace {
    /// What was read, decided and by whom; `decided` is when that was told.
    fn of(decision: &Decision, decided: Timestamp) -> Self {
        let seed = Sha256::digest(format!("{} {}", decision.id, decision.at.as_millis()));
        let mut trace = Self { id: hex(&seed[..16]), decision: decision.id.clone(), spans: Vec::new() };
        let reads =
            decision.signals.iter().filter_map(|signal| signal.reading.fresh()).map(|sample| sample.at);
        let begins = reads.min().unwrap_or(decision.at).min(decision.at);
        let text = |text: &str| json!(text);
        let main = decision.main_reason();
        let outcome = serde_json::to_value(decision.outcome).unwrap_or_default();
        let root = [
            ("headroom.workload", text(decision.id.workload.as_str())),
            ("headroom.outcome", outcome),
            ("headroom.from", json!(decision.from.0)),
            ("headroom.to", json!(decision.to.0)),
            ("headroom.reason", text(main.map_or("none", |why| why.code()))),
            (
                "headroom.why",
                text(&main.map(|why| say::sentence(why, Language::English)).unwrap_or_default()),
            ),
        ];
        trace.push(None, "decision", begins, decided, &root);
        for signal in &decision.signals {
            let name = format!("read {}", signal.name);
            match &signal.reading {
                Reading::Fresh(sample) => {
                    let value = [("headroom.value", json!(sample.value.get()))];
                    trace.span(&name, None, sample.at, decision.at.max(sample.at), &value);
                }
                Reading::Stale { last, age, .. } => {
                    let value = [
                        ("headroom.value", json!(last.value.get())),
                        ("headroom.stale_for", text(&age.to_string())),
                    ];
                    // It was read long ago; the trace begins with what is fresh.
                    trace.span(&name, None, decision.at, decision.at, &value);
                }
                Reading::Missing(absence) => {
                    let why = [("headroom.absent", text(&format!("{absence:?}")))];
                    trace.span(&name, None, decision.at, decision.at, &why);
                }
            }
        }
        let decide = trace.span("decide", None, decision.at, decided.max(decision.at), &[]);
        trace.moves(decision, decide);
        trace
    }

    /// What strategies said, and who moved or refused the number; each is a moment's work.
    fn moves(&mut self, decision: &Decision, decide: usize) {
        let (at, parent) = (decision.at, self.spans[decide]["spanId"].clone());
        for said in &decision.recommendations {
            let why = said.advice.why();
            let count = match &said.advice {
                Advice::Wants { replicas, .. } => ("headroom.wants", json!(replicas.0)),
                Advice::Floor { replicas, .. } => ("headroom.floor", json!(replicas.0)),
                Advice::Ceiling { replicas, .. } => ("headroom.ceiling", json!(replicas.0)),
                Advice::Content { replicas, .. } => ("headroom.content", json!(replicas.0)),
                Advice::Abstains { .. } => ("headroom.abstains", json!(true)),
            };
            let attributes = [
                count,
                ("headroom.reason", json!(why.code())),
                ("headroom.why", json!(say::sentence(why, Language::English))),
            ];
            self.span(&format!("strategy {}", said.label()), Some(&parent), at, at, &attributes);
        }
        let moves = decision.steps.iter().map(|step| (step.by, step.from, step.to, &step.why));
        let refusal =
            decision.refusal.iter().map(|refusal| (refusal.by, refusal.wanted, decision.from, &refusal.why));
        for (by, from, to, why) in moves.chain(refusal) {
            let by = serde_json::to_value(by).unwrap_or_default();
            let attributes = [
                ("headroom.from", json!(from.0)),
                ("headroom.to", json!(to.0)),
                ("headroom.reason", json!(why.code())),
                ("headroom.why", json!(say::sentence(why, Language::English))),
            ];
            let name = format!("guard {}", by.as_str().unwrap_or_default());
            self.span(&name, Some(&parent), at, at, &attributes);
        }
    }

    /// A span below `parent`, or below the root; gives its place.
    fn span(
        &mut self,
        name: &str,
        parent: Option<&Value>,
        from: Timestamp,
        to: Timestamp,
        attributes: &[(&str, Value)],
    ) -> usize {
        let parent = parent.cloned().unwrap_or_else(|| self.spans[0]["spanId"].clone());
        self.push(Some(parent), name, from, to, attributes)
    }

    fn push(
        &mut self,
        parent: Option<Value>,
        name: &str,
        from: Timestamp,
        to: Timestamp,
        attributes: &[(&str, Value)],
    ) -> usize {
        let place = self.spans.len();
        let id = hex(&Sha256::digest(format!("{} {place}", self.id))[..8]);
        let decision = ("headroom.decision", json!(self.decision.to_string()));
        let attributes: Vec<Value> =
            std::iter::once(&decision).chain(attributes).map(|(key, value)| attribute(key, value)).collect();
        self.spans.push(json!({
            "traceId": self.id,
            "spanId": id,
            "parentSpanId": parent.unwrap_or_else(|| json!("")),
            "name": name,
            // INTERNAL.
            "kind": 1,
            "startTimeUnixNano": nanos(from),
            "endTimeUnixNano": nanos(to),
            "attributes": attributes,
        }));
        place
    }

    /// Says how a span ended.
    fn ends(&mut self, place: usize, settled: Option<Option<&str>>) {
        // OK and ERROR; what has not settled has no status.
        let status = match settled {
            Some(None) => json!({ "code": 1 }),
            Some(Some(error)) => json!({ "code": 2, "message": error }),
            None => return,
        };
        self.spans[place]["status"] = status;
    }

    /// The spans; the root ends at `at`.
    fn finish(mut self, at: Timestamp, settled: Option<Option<&str>>) -> Vec<Value> {
        self.spans[0]["endTimeUnixNano"] = nanos(at);
        self.ends(0, settled);
        self.spans
    }
}

fn request(fleet: &FleetName, spans: &[Value]) -> Value {
    let resource = [
        ("service.name", json!("headroom")),
        ("service.version", json!(env!("CARGO_PKG_VERSION"))),
        ("headroom.fleet", json!(fleet.to_string())),
    ];
    let attributes: Vec<Value> = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{ "scope": { "name": "headroom" }, "spans": spans }],
    }] })
}

/// `KeyValue`: the value's type is the name of its field, and whole numbers are texts.
fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(is) => json!({ "boolValue": is }),
        Value::Number(n) if n.is_f64() => json!({ "doubleValue": n }),
        Value::Number(n) => json!({ "intValue": n.to_string() }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn nanos(at: Timestamp) -> Value {
    json!((i128::from(at.as_millis()) * 1_000_000).to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
