//! An HAProxy that already runs as the data plane of process workloads.
//!
//! One task for each workload compares its replicas with the servers that HAProxy has and does what is missing: a
//! replica that is ready becomes a server, one that drains gets nothing new, one that is gone is removed. Nothing is
//! remembered between rounds but the last trouble, so an HAProxy that was reloaded (which forgets such servers) and a
//! controller that was killed are the same to it. Only servers whose names begin with `headroom.` and the workload's
//! name are touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use headroom_core::fleet::{HaproxyBackend, HealthSettings, TargetSettings, Workload};
use headroom_core::names::WorkloadName;
use headroom_core::observation::Trouble;
use headroom_engine::repeated::Repeated;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Row, Runtime};
use crate::source::ReadError;
use crate::target::InFront;
use crate::target::process::{ProcessSupervisor, ReplicaState, ReplicaStatus, Status};

/// How often the servers are compared without any news: a reloaded HAProxy has them again within this.
const LOOKS: Duration = Duration::from_secs(1);
/// How often while something drains or is to be removed.
const LOOKS_WHILE_DRAINING: Duration = Duration::from_millis(200);
/// How long a round may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often removing is tried when a workload leaves this HAProxy: half a minute of rounds.
const LAST_ROUNDS: u32 = 30;
/// How long the end of the program waits for that.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The HAProxies of a fleet's workloads.
#[derive(Debug, Default)]
pub struct Fronts {
    served: BTreeMap<WorkloadName, Served>,
    /// Those that have nothing to serve any more, while they remove what is left.
    leaving: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Served {
    plan: Plan,
    task: JoinHandle<()>,
    trouble: watch::Receiver<Option<String>>,
}

/// What does not change as replicas come and go.
#[derive(Clone, Debug)]
struct Plan {
    settings: HaproxyBackend,
    health: HealthSettings,
    runtime: Runtime,
    prefix: String,
}

impl Plan {
    /// `None` where the workload stands behind no HAProxy.
    fn new(name: &WorkloadName, workload: &Workload, base: &Path) -> Option<Self> {
        let settings = workload.haproxy.clone()?;
        let TargetSettings::Process(process) = &workload.target;
        let runtime = Runtime::new(&settings.socket, base);
        Some(Self { settings, health: process.health.clone(), runtime, prefix: format!("headroom.{name}-") })
    }
}

impl Fronts {
    /// Serves a workload: its replicas become servers, as they come and go. Saying so again with other settings
    /// replaces them. Paths are relative to `base`, the policy's folder.
    pub fn serve(
        &mut self,
        name: &WorkloadName,
        workload: &Workload,
        base: &Path,
        replicas: ProcessSupervisor,
    ) {
        self.leaving.retain(|task| !task.is_finished());
        let plan = Plan::new(name, workload, base);
        if let Some(old) = self.served.remove(name) {
            old.task.abort();
            if plan.as_ref().is_none_or(|plan| plan.settings != old.plan.settings) {
                self.leaving.push(tokio::spawn(clear(Front { plan: old.plan })));
            }
        }
        let Some(plan) = plan else { return };
        let (told, trouble) = watch::channel(None);
        let task = tokio::spawn(follow(Front { plan: plan.clone() }, replicas, told));
        self.served.insert(name.clone(), Served { plan, task, trouble });
    }

    /// Tells what is wrong with a workload's HAProxy; `None` where it stands behind none.
    #[must_use]
    pub fn trouble(&self, name: &WorkloadName) -> Option<InFront> {
        let trouble = self.served.get(name)?.trouble.clone();
        Some(Box::new(move || {
            let message = trouble.borrow().clone()?;
            Some(Trouble { code: "haproxy".to_owned(), message })
        }))
    }

    /// Waits until the servers of replicas that are gone are removed. To be called when the replicas' supervisors have
    /// ended; servers of replicas that go on stay.
    pub async fn end(self) {
        let tasks = self.served.into_values().map(|served| served.task).chain(self.leaving);
        let all = async {
            for task in tasks {
                // One that panicked has let go, too.
                let _ = task.await;
            }
        };
        // What is left then is servers whose checks fail.
        let _ = timeout(ENDS_WITHIN, all).await;
    }
}

/// Rounds until the replicas have no supervisor any more, and then until what is gone is removed.
async fn follow(front: Front, replicas: ProcessSupervisor, told: watch::Sender<Option<String>>) {
    let mut changes = replicas.changes();
    let mut trouble = Repeated::default();
    let mut rounds_left = None;
    loop {
        let status = replicas.status();
        let wait = match front.round_in_time(&status).await {
            Ok(done) => {
                if trouble.is_over().is_some() {
                    tracing::warn!(workload = status.workload, "HAProxy takes the replicas again");
                }
                told.send_if_modified(|told| told.take().is_some());
                for replica in &done.drained {
                    replicas.drained(replica).await;
                }
                if done.is_settled && rounds_left.is_some() {
                    return;
                }
                if done.is_settled { LOOKS } else { LOOKS_WHILE_DRAINING }
            }
            Err(error) => {
                let error = format!(
                    "HAProxy at {} can't be told of the replicas: {error}",
                    front.plan.settings.socket
                );
                if let Some(also) = trouble.came(&error, std::time::Instant::now()) {
                    tracing::error!(workload = status.workload, %error, also, "it is tried again");
                }
                told.send_replace(Some(error));
                LOOKS
            }
        };
        match &mut rounds_left {
            Some(0) => return,
            Some(left) => {
                *left -= 1;
                sleep(wait).await;
            }
            None => {
                if let Ok(Err(_)) = timeout(wait, changes.changed()).await {
                    rounds_left = Some(LAST_ROUNDS);
                }
            }
        }
    }
}

/// Removes all servers of a workload that has left this HAProxy.
async fn clear(front: Front) {
    let nothing = Status {
        workload: String::new(),
        desired: 0,
        pool: 0,
        generation: 0,
        replicas: Vec::new(),
        findings: Vec::new(),
    };
    for _ in 0..LAST_ROUNDS {
        if front.round_in_time(&nothing).await.is_ok_and(|done| done.is_settled) {
            return;
        }
        sleep(LOOKS).await;
    }
    tracing::warn!(backend = front.plan.settings.backend, "HAProxy keeps servers of a workload that left it");
}

/// What came of a round.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    /// Draining replicas that have nothing in flight any more.
    drained: Vec<String>,
    /// Whether nothing drains and nothing is left to remove.
    is_settled: bool,
}

/// What a replica's server ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It takes requests.
    Serves,
    /// It takes no new ones: it drains, or is not well.
    Rests,
    /// It is on its way out: it takes none, and what it has may end.
    Leaves,
    /// It is none (yet).
    None,
}

fn role(state: &ReplicaState) -> Role {
    match state {
        ReplicaState::Ready => Role::Serves,
        ReplicaState::Unhealthy { .. } | ReplicaState::Draining => Role::Rests,
        ReplicaState::Stopping => Role::Leaves,
        // One that is started anew has none of its earlier connections.
        ReplicaState::Starting | ReplicaState::Failed { .. } | ReplicaState::Warming | ReplicaState::Warm => {
            Role::None
        }
    }
}

/// A workload's servers.
struct Front {
    plan: Plan,
}

impl Front {
    async fn round_in_time(&self, status: &Status) -> Result<Done, ReadError> {
        timeout(DEADLINE, self.round(status))
            .await
            .map_err(|_| ReadError::Deadline(headroom_core::units::Span::seconds(DEADLINE.as_secs())))?
    }

    /// Makes the servers what the replicas are, as far as that is possible now.
    async fn round(&self, status: &Status) -> Result<Done, ReadError> {
        let rows = self.plan.runtime.stats().await?;
        let backend = self.plan.settings.backend.as_str();
        let of_backend: Vec<&Row> = rows.iter().filter(|row| row.text("pxname") == Some(backend)).collect();
        if of_backend.iter().all(|row| row.text("svname") != Some("BACKEND")) {
            return Err(ReadError::Setup(format!(
                "it has no backend called `{backend}`; add one to its configuration"
            )));
        }
        let mut servers: BTreeMap<&str, &Row> = of_backend
            .into_iter()
            .filter_map(|row| Some((row.text("svname")?.strip_prefix(&self.plan.prefix)?, row)))
            .filter(|(number, _)| number.chars().all(|c| c.is_ascii_digit()))
            .collect();
        let mut done = Done { is_settled: true, ..Done::default() };
        for replica in &status.replicas {
            let number = replica.id.rsplit('-').next().unwrap_or_default();
            let role = role(&replica.state);
            let server = if role == Role::None { None } else { servers.remove(number) };
            if self.settle(replica, role, server).await? {
                done.drained.push(replica.id.clone());
            }
            done.is_settled &= !matches!(replica.state, ReplicaState::Draining | ReplicaState::Stopping);
        }
        for number in servers.into_keys() {
            done.is_settled &= self.remove(&format!("{}{number}", self.plan.prefix)).await?;
        }
        Ok(done)
    }

    /// Makes a replica's server what it ought to be; true where the replica drains and has nothing in flight.
    async fn settle(
        &self,
        replica: &ReplicaStatus,
        role: Role,
        server: Option<&Row>,
    ) -> Result<bool, ReadError> {
        let name = format!("headroom.{}", replica.id);
        let is_draining = replica.state == ReplicaState::Draining;
        let Some(row) = server else {
            if let (Role::Serves, Some(address)) = (role, replica.address) {
                self.add(&name, &address.to_string()).await?;
            }
            return Ok(is_draining);
        };
        let shows = |state: &str| row.text("status").is_some_and(|status| status.starts_with(state));
        match role {
            Role::Serves => {
                let address = replica.address.map(|address| address.to_string()).unwrap_or_default();
                if row.text("addr").is_some_and(|known| known != address) {
                    // Its checks would go on at the old one.
                    if self.remove(&name).await? {
                        self.add(&name, &address).await?;
                    }
                } else if shows("DRAIN") || shows("MAINT") {
                    self.set(&name, "ready").await?;
                }
                Ok(false)
            }
            Role::Rests if shows("DRAIN") || shows("DOWN") => {
                // Nothing can come any more once it was seen so; a server that is down gets nothing either.
                if !shows("DRAIN") {
                    self.set(&name, "drain").await?;
                }
                Ok(is_draining && row.number("scur") == Some(0.0) && row.number("qcur").unwrap_or(0.0) == 0.0)
            }
            Role::Rests => self.set(&name, "drain").await.map(|()| false),
            Role::Leaves if shows("MAINT") => Ok(false),
            Role::Leaves => self.set(&name, "maint").await.map(|()| false),
            Role::None => Ok(false),
        }
    }

    /// A new server stands in maintenance and unchecked, and knows no `default-server`: all is said.
    async fn add(&self, name: &str, address: &str) -> Result<(), ReadError> {
        let (backend, health) = (&self.plan.settings.backend, &self.plan.health);
        let connections =
            self.plan.settings.max_connections.map(|n| format!(" maxconn {n}")).unwrap_or_default();
        let (every, rise, fall) = (health.interval.as_millis(), health.healthy, health.unhealthy);
        let server = format!("{backend}/{name}");
        let added = self
            .plan
            .runtime
            .ask(&format!(
                "add server {server} {address} check inter {every}ms rise {rise} fall {fall}{connections}"
            ))
            .await?;
        if !added.contains("New server registered") {
            return Err(refused(&added));
        }
        self.command(&format!("enable health {server}")).await?;
        self.set(name, "ready").await
    }

    async fn set(&self, name: &str, state: &str) -> Result<(), ReadError> {
        self.command(&format!("set server {}/{name} state {state}", self.plan.settings.backend)).await
    }

    /// Removes a server; false where connections are still attached to it, which are told to end.
    async fn remove(&self, name: &str) -> Result<bool, ReadError> {
        let server = format!("{}/{name}", self.plan.settings.backend);
        self.set(name, "maint").await?;
        self.command(&format!("shutdown sessions server {server}")).await?;
        let answer = self.plan.runtime.ask(&format!("del server {server}")).await?;
        match answer.as_str() {
            answer if answer.contains("Server deleted") || answer.contains("No such server") => Ok(true),
            answer if answer.contains("connections") => Ok(false),
            answer => Err(refused(answer)),
        }
    }

    /// A command whose success is silence.
    async fn command(&self, command: &str) -> Result<(), ReadError> {
        let answer = self.plan.runtime.ask(command).await?;
        if answer.is_empty() { Ok(()) } else { Err(refused(&answer)) }
    }
}

/// What HAProxy says instead of doing as told.
fn refused(answer: &str) -> ReadError {
    ReadError::Refused(crate::http::first_words(answer.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ready_serves_and_what_starts_anew_is_no_server() {
        let unhealthy = ReplicaState::Unhealthy { probe: "503".to_owned() };
        let roles = [ReplicaState::Starting, ReplicaState::Warm, ReplicaState::Ready, unhealthy]
            .map(|state| role(&state));
        assert_eq!(roles, [Role::None, Role::None, Role::Serves, Role::Rests]);
        let roles = [ReplicaState::Draining, ReplicaState::Stopping].map(|state| role(&state));
        assert_eq!(roles, [Role::Rests, Role::Leaves]);
    }
}
