//! The built-in balancer as the data plane of process workloads.
//!
//! The balancer is a process of its own that goes on serving when the controller is gone. This module starts it
//! or finds it running, keeps it told which replicas there are, and hears its figures. What is to be is one map
//! of services; whenever the map or the connection changes, the difference is sent. So a balancer that died, and
//! a controller that was killed, are the same to it: connect, compare, send.

mod keeper;
mod service;
mod signals;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headroom_core::fleet::Workload;
use headroom_core::names::WorkloadName;
use headroom_core::observation::Trouble;
use headroom_engine::ports::News;
use headroom_lb::names::ServiceName;
use headroom_lb::settings::ServiceConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::target::InFront;
use crate::target::process::ProcessSupervisor;

/// News that may wait for the engine. A balancer tells ten times a second; more than this many unread means the
/// engine is stuck, and then the newest figures are what counts.
const NEWS: usize = 64;

/// How a balancer process is started.
#[derive(Clone, Debug)]
pub struct BalancerCommand {
    /// The program and its arguments, up to the socket: `headroom lb --socket`. The socket's path is added.
    pub command: Vec<String>,
    /// The socket it is spoken to over.
    pub socket: PathBuf,
    /// Where it writes its log.
    pub log: PathBuf,
}

/// Where a workload's balancer listens, or why it does not.
pub type Listening = BTreeMap<WorkloadName, Result<String, String>>;

/// The running balancer.
#[derive(Debug)]
pub struct Balancer {
    wanted: watch::Sender<BTreeMap<ServiceName, ServiceConfig>>,
    readers: watch::Sender<BTreeMap<WorkloadName, Arc<keeper::Served>>>,
    listening: watch::Receiver<Listening>,
    ending: watch::Sender<Option<Ending>>,
    keeper: JoinHandle<()>,
    followers: BTreeMap<WorkloadName, JoinHandle<()>>,
}

/// How the balancer is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on serving.
    Detach,
    /// It finishes its requests, for this long at most, and ends.
    Shutdown(Duration),
}

impl Balancer {
    /// Keeps a balancer running. The second value gives its figures.
    #[must_use]
    pub fn keep(command: BalancerCommand) -> (Self, mpsc::Receiver<News>) {
        let (wanted, wanted_seen) = watch::channel(BTreeMap::new());
        let (readers, readers_seen) = watch::channel(BTreeMap::new());
        let (listening_told, listening) = watch::channel(Listening::new());
        let (ending, ending_seen) = watch::channel(None);
        let (news, received) = mpsc::channel(NEWS);
        let keeper =
            keeper::Keeper::new(command, wanted_seen, readers_seen, listening_told, ending_seen, news);
        let keeper = tokio::spawn(keeper.run());
        (Self { wanted, readers, listening, ending, keeper, followers: BTreeMap::new() }, received)
    }

    /// Serves a workload: its replicas become backends, as they come and go. Saying so again with other settings
    /// replaces them.
    pub fn serve(&mut self, name: &WorkloadName, workload: &Workload, replicas: ProcessSupervisor) {
        let Some(plan) = service::Plan::new(name, workload) else { return };
        self.readers.send_modify(|readers| {
            let served = keeper::Served::new(name.clone(), workload, replicas.clone());
            readers.insert(name.clone(), Arc::new(served));
        });
        let wanted = self.wanted.clone();
        let follower = tokio::spawn(async move {
            let mut changes = replicas.changes();
            loop {
                let config = plan.config(&replicas.status());
                wanted.send_if_modified(|services| {
                    let same = services.get(&config.name) == Some(&config);
                    if !same {
                        services.insert(config.name.clone(), config);
                    }
                    !same
                });
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        if let Some(old) = self.followers.insert(name.clone(), follower) {
            old.abort();
        }
    }

    /// Serves a workload no longer.
    pub fn drop_service(&mut self, name: &WorkloadName) {
        if let Some(follower) = self.followers.remove(name) {
            follower.abort();
        }
        self.readers.send_modify(|readers| drop(readers.remove(name)));
        self.wanted.send_modify(|services| services.retain(|service, _| service.as_str() != name.as_str()));
    }

    /// Tells why a workload's balancer does not listen; `None` where it has none.
    #[must_use]
    pub fn trouble(&self, name: &WorkloadName) -> Option<InFront> {
        if !self.followers.contains_key(name) {
            return None;
        }
        let (listening, name) = (self.listening(), name.clone());
        Some(Box::new(move || {
            let message = listening.borrow().get(&name)?.clone().err()?;
            Some(Trouble { code: Trouble::NOT_LISTENING.to_owned(), message })
        }))
    }

    /// Where each workload listens, as soon as that is known.
    #[must_use]
    pub fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.clone()
    }

    /// Lets go of the balancer, and returns when that is done.
    pub async fn end(mut self, how: Ending) {
        for follower in self.followers.values() {
            follower.abort();
        }
        self.ending.send_replace(Some(how));
        // A keeper that panicked has let go, too.
        let _ = (&mut self.keeper).await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for follower in self.followers.values() {
            follower.abort();
        }
        self.keeper.abort();
    }
}
