//! Keeps one balancer process running and told.
//!
//! One task: find the balancer on its socket or start it, claim it, send every service, then pass on what
//! changes and what it tells, until the connection ends; then again, with a growing pause. A service that the
//! balancer refuses (its port is taken) is tried again with each round of the pause and reported meanwhile.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_core::fleet::Workload;
use headroom_core::names::WorkloadName;
use headroom_engine::ports::News;
use headroom_engine::repeated::Repeated;
use headroom_lb::control::client::{Client, ClientError, Events};
use headroom_lb::control::protocol::{Event, Health};
use headroom_lb::names::ServiceName;
use headroom_lb::settings::{Millis, ServiceConfig};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::signals::Signals;
use super::{BalancerCommand, Ending, Listening};
use crate::target::process::ProcessSupervisor;

/// How often a balancer that was started is looked for on its socket, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// The pause before the next round after a failure, doubling from the first to the longest. The first is short:
/// a balancer that died serves nobody.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A refused service is tried again this often.
const RETRY_REFUSED: Duration = Duration::from_secs(2);

/// One workload as the keeper serves it: what its figures become, and whom to tell of a finished drain.
#[derive(Debug)]
pub(super) struct Served {
    signals: Mutex<Signals>,
    replicas: ProcessSupervisor,
}

impl Served {
    pub(super) fn new(name: WorkloadName, workload: &Workload, replicas: ProcessSupervisor) -> Self {
        Self { signals: Mutex::new(Signals::new(name, workload)), replicas }
    }
}

pub(super) struct Keeper {
    command: BalancerCommand,
    wanted: watch::Receiver<BTreeMap<ServiceName, ServiceConfig>>,
    readers: watch::Receiver<BTreeMap<WorkloadName, Arc<Served>>>,
    listening: watch::Sender<Listening>,
    ending: watch::Receiver<Option<Ending>>,
    news: mpsc::Sender<News>,
    /// Why there is no balancer, while that goes on.
    absent: Repeated,
    /// Why services are refused, while that goes on.
    refused: BTreeMap<ServiceName, Repeated>,
}

/// What ended a connection.
enum End {
    /// The balancer went away.
    Gone,
    /// The keeper is to end.
    Asked(Ending),
}

impl Keeper {
    pub(super) fn new(
        command: BalancerCommand,
        wanted: watch::Receiver<BTreeMap<ServiceName, ServiceConfig>>,
        readers: watch::Receiver<BTreeMap<WorkloadName, Arc<Served>>>,
        listening: watch::Sender<Listening>,
        ending: watch::Receiver<Option<Ending>>,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self {
            command,
            wanted,
            readers,
            listening,
            ending,
            news,
            absent: Repeated::default(),
            refused: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            // Without a service to serve there is no need of a balancer.
            if self.wanted.borrow().is_empty() {
                tokio::select! {
                    changed = self.wanted.changed() => if changed.is_err() { return },
                    _ = self.ending.changed() => return,
                }
                continue;
            }
            match self.connect().await {
                Ok((client, events)) => {
                    pause = FIRST_PAUSE;
                    self.absent.is_over();
                    match self.converse(&client, events).await {
                        End::Gone => tracing::warn!("the balancer has gone away; starting another"),
                        End::Asked(Ending::Detach) => return,
                        End::Asked(Ending::Shutdown(drain)) => {
                            if let Err(error) = client.shutdown(Millis::from(drain)).await {
                                tracing::warn!(%error, "the balancer could not be told to end");
                            }
                            return;
                        }
                    }
                }
                Err(error) => {
                    if let Some(also) = self.absent.came(&error, std::time::Instant::now()) {
                        tracing::error!(%error, also, "no balancer; it is tried again");
                    }
                    self.listening.send_modify(|listening| {
                        for state in listening.values_mut() {
                            *state = Err(error.clone());
                        }
                    });
                }
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.ending.changed() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The balancer on the socket, started if there is none, claimed and subscribed to.
    async fn connect(&self) -> Result<(Client, Events), String> {
        let (client, events) = match Client::connect(&self.command.socket).await {
            Ok(found) => found,
            Err(ClientError::Connect { .. }) => self.start().await?,
            Err(error) => return Err(error.to_string()),
        };
        client.claim().await.map_err(|e| e.to_string())?;
        client.subscribe().await.map_err(|e| e.to_string())?;
        Ok((client, events))
    }

    async fn start(&self) -> Result<(Client, Events), String> {
        let mut child = self.spawn()?;
        let begun = Instant::now();
        loop {
            match Client::connect(&self.command.socket).await {
                Ok(found) => {
                    // Waits for the process when it ends, so that no dead entry stays behind.
                    std::thread::spawn(move || child.wait());
                    return Ok(found);
                }
                Err(error) if begun.elapsed() > STARTS_WITHIN => return Err(error.to_string()),
                Err(_) => {
                    if let Ok(Some(status)) = child.try_wait() {
                        return Err(format!(
                            "the balancer ended at once ({status}); its log is {}",
                            self.command.log.display()
                        ));
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// The balancer gets a process group of its own and files instead of pipes, so that nothing of the controller
    /// takes it along.
    fn spawn(&self) -> Result<std::process::Child, String> {
        let failed = |what: String| move |error: std::io::Error| format!("{what}: {error}");
        let log = log_file(&self.command.log)
            .map_err(failed(format!("the balancer's log {} can't be opened", self.command.log.display())))?;
        let errors = log.try_clone().map_err(failed("the balancer's log can't be shared".to_owned()))?;
        let (program, arguments) =
            self.command.command.split_first().ok_or("no balancer program is named")?;
        Command::new(program)
            .args(arguments)
            .arg(&self.command.socket)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(failed(format!("the balancer {program} can't be started")))
    }

    /// Sends what changes and passes on what is told, until either side ends.
    async fn converse(&mut self, client: &Client, mut events: Events) -> End {
        let mut sent = BTreeMap::new();
        let mut refused = self.send(client, &mut sent).await;
        let mut sent_at = Instant::now();
        loop {
            // Counted from the last time: figures come ten times a second, and none of them may put it off.
            let retry = sleep_until(sent_at + RETRY_REFUSED);
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.told(event).await,
                    None => return End::Gone,
                },
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return End::Asked(Ending::Detach);
                    }
                    refused = self.send(client, &mut sent).await;
                    sent_at = Instant::now();
                }
                () = retry, if refused => {
                    refused = self.send(client, &mut sent).await;
                    sent_at = Instant::now();
                }
                _ = self.ending.changed() => {
                    let how = *self.ending.borrow();
                    return End::Asked(how.unwrap_or(Ending::Detach));
                }
            }
        }
    }

    /// Sends every service that differs from what the balancer has; true if it refused one.
    async fn send(&mut self, client: &Client, sent: &mut BTreeMap<ServiceName, ServiceConfig>) -> bool {
        let wanted = self.wanted.borrow_and_update().clone();
        let mut refused = false;
        self.listening.send_if_modified(|listening| {
            let before = listening.len();
            listening.retain(|workload, _| {
                ServiceName::new(workload.as_str()).is_ok_and(|name| wanted.contains_key(&name))
            });
            listening.len() < before
        });
        for (name, config) in &wanted {
            if sent.get(name) == Some(config) {
                continue;
            }
            let state = match client.put(config.clone()).await {
                Ok(status) => {
                    sent.insert(name.clone(), config.clone());
                    if self.refused.remove(name).is_some() {
                        tracing::warn!(workload = name.as_str(), "the balancer serves the workload now");
                    }
                    Ok(status.bound.to_string())
                }
                Err(error) => {
                    refused = true;
                    let error = error.to_string();
                    let trouble = self.refused.entry(name.clone()).or_default();
                    if let Some(also) = trouble.came(&error, std::time::Instant::now()) {
                        tracing::error!(
                            workload = name.as_str(),
                            %error,
                            also,
                            "the balancer does not serve the workload; it is tried again"
                        );
                    }
                    Err(error)
                }
            };
            if let Ok(workload) = name.as_str().parse::<WorkloadName>() {
                self.listening.send_if_modified(|listening| {
                    let news = listening.get(&workload) != Some(&state);
                    listening.insert(workload, state);
                    news
                });
            }
        }
        let gone: Vec<_> = sent.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.refused.remove(&name);
            match client.remove(&name).await {
                Ok(()) => drop(sent.remove(&name)),
                Err(error) => {
                    tracing::warn!(workload = name.as_str(), %error, "the balancer keeps a service");
                }
            }
        }
        refused
    }

    async fn told(&self, event: Event) {
        match event {
            Event::Figures(figures) => {
                let Some(served) = self.served(&figures.service) else { return };
                let samples = served.signals.lock().unwrap_or_else(PoisonError::into_inner).read(&figures);
                if samples.is_empty() {
                    return;
                }
                // A full queue means the engine is busy; the next figures hold what these did in their window.
                let _ = self.news.try_send(News::Samples(samples));
            }
            Event::RequestHeld { service, held } => {
                let Ok(workload) = service.as_str().parse() else { return };
                let waiting = News::Waiting { workload, requests: held };
                let _ = timeout(Duration::from_secs(1), self.news.send(waiting)).await;
            }
            Event::BackendHealth(change) if change.to == Health::Drained => {
                if let Some(served) = self.served(&change.service) {
                    served.replicas.drained(change.backend.as_str()).await;
                }
            }
            Event::BackendHealth(change) => {
                tracing::info!(
                    workload = change.service.as_str(),
                    replica = change.backend.as_str(),
                    from = ?change.from,
                    to = ?change.to,
                    why = change.why,
                    "a backend's health changed"
                );
            }
            Event::ListenFailed { service, message } => {
                tracing::error!(workload = service.as_str(), message, "the balancer lost its listener");
            }
            Event::Lagged { dropped } => tracing::warn!(dropped, "events of the balancer were missed"),
        }
    }

    fn served(&self, service: &ServiceName) -> Option<Arc<Served>> {
        self.readers.borrow().get(service.as_str()).cloned()
    }
}

fn log_file(path: &std::path::Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
