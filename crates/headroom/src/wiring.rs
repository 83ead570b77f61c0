//! From a policy to running parts: targets, the balancer, sources.
//!
//! The only place that knows all of them. A policy that changes is wired again: workloads that stay keep their
//! replicas, new ones get a target, removed ones are drained and stopped, also those that were removed while no
//! controller ran. While decisions are only said, nothing of a workload is stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use headroom_adapters::balancer::{Balancer, BalancerCommand, Ending};
use headroom_adapters::haproxy::Fronts;
use headroom_adapters::notifier;
use headroom_adapters::source::channel::ChannelSource;
use headroom_adapters::source::process::ProcessSource;
use headroom_adapters::source::recall::Recall;
use headroom_adapters::source::{self, Group};
use headroom_adapters::target::Fronted;
use headroom_adapters::target::process::{HeldTarget, ProcessSupervisor, ProcessTarget, Shutdown};
use headroom_core::fleet::{Fleet, TargetSettings, Workload};
use headroom_core::names::WorkloadName;
use headroom_engine::driver::{self, Targets};
use headroom_engine::handle::EngineHandle;
use headroom_engine::ports::{Leave, News, Source, Target};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The longest path a Unix socket may have, with room for its terminator (`sun_path`: 108 bytes on Linux, 104 on
/// macOS).
const LONGEST_SOCKET_PATH: usize = 103;

/// The running parts of a fleet.
pub(crate) struct Wiring {
    base: PathBuf,
    data: PathBuf,
    parts: BTreeMap<WorkloadName, Part>,
    balancer: Balancer,
    fronts: Fronts,
    figures: Option<mpsc::Receiver<News>>,
    /// What is read from the sources of the policy, and what of it runs.
    groups: Vec<Group>,
    polled: Vec<Polled>,
    /// Whether decisions are only said.
    advise: bool,
    /// Workloads that a new policy no longer has, while they drain.
    leaving: BTreeMap<WorkloadName, Leaving>,
}

/// A group of signals that is read.
struct Polled {
    group: Group,
    rounds: JoinHandle<()>,
    /// Asks for the past of those of its signals that have none.
    recall: JoinHandle<()>,
}

impl Polled {
    fn start(group: &Group, base: &Path, handle: &EngineHandle) -> Self {
        let rounds = driver::feed(handle, Box::new(source::open(group, base)));
        let recall = tokio::spawn(recall(group.clone(), base.to_owned(), handle.clone()));
        Self { group: group.clone(), rounds, recall }
    }

    fn stop(&self) {
        self.rounds.abort();
        self.recall.abort();
    }
}

/// Tells the engine the past of those of a group's signals that lack one.
async fn recall(group: Group, base: PathBuf, handle: EngineHandle) {
    let Ok(lacking) = handle.lacking_history().await else { return };
    if let Some(mut recall) = Recall::new(&group, &lacking, &base, driver::now()) {
        while let Some(news) = recall.next().await {
            if handle.tell(recall.name(), news).await.is_err() {
                return;
            }
        }
    }
}

/// The running parts of one workload.
struct Part {
    settings: Workload,
    target: ProcessTarget,
    source: Option<JoinHandle<()>>,
}

impl Wiring {
    /// Starts the parts of `fleet`, adopting what an earlier controller left. `base` is the policy's folder.
    pub(crate) async fn start(fleet: &Fleet, base: &Path, data: &Path, advise: bool) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let command = BalancerCommand {
            command: vec![program.display().to_string(), "lb".to_owned(), "--socket".to_owned()],
            socket: socket_path(data)?,
            log: data.join("balancer.log"),
        };
        // All that can fail comes first, so that nothing was touched where it does.
        let mut held = Vec::new();
        for (name, workload) in fleet.workloads() {
            held.push((name, workload, hold(name, workload, base, data).await?));
        }
        let (balancer, figures) = Balancer::keep(command);
        let mut wiring = Self {
            base: base.to_owned(),
            data: data.to_owned(),
            parts: BTreeMap::new(),
            balancer,
            fronts: Fronts::default(),
            figures: Some(figures),
            groups: source::groups(fleet),
            polled: Vec::new(),
            advise,
            leaving: BTreeMap::new(),
        };
        for (name, workload, target) in held {
            wiring.keep(name, workload, target);
        }
        if !advise {
            wiring.retire_the_removed(fleet);
        }
        Ok(wiring)
    }

    /// Lets the replicas of workloads go that were taken out of the policy while no controller ran.
    fn retire_the_removed(&mut self, fleet: &Fleet) {
        for name in ProcessTarget::known(&self.data) {
            if fleet.workload(&name).is_some() {
                continue;
            }
            let (data, removed) = (self.data.clone(), name.clone());
            let retired = tokio::spawn(async move {
                if let Err(error) = ProcessTarget::retire(&removed, &data).await {
                    tracing::warn!(workload = %removed, %error, "what is left of a removed workload can't be ended");
                }
            });
            self.leaving.insert(name, Leaving { task: retired, supervisor: None });
        }
    }

    async fn add(&mut self, name: &WorkloadName, workload: &Workload) -> Result<()> {
        // One that went and came back: two supervisors of one workload would fight, and a drain may take minutes.
        if let Some(leaving) = self.leaving.remove(name) {
            leaving.call_off().await;
        }
        let target = hold(name, workload, &self.base, &self.data).await?;
        self.keep(name, workload, target);
        Ok(())
    }

    /// Lets a target run, with what stands before it.
    fn keep(&mut self, name: &WorkloadName, workload: &Workload, target: HeldTarget) {
        let target = target.run();
        self.balancer.serve(name, workload, target.supervisor().clone());
        self.fronts.serve(name, workload, &self.base, target.supervisor().clone());
        self.parts.insert(name.clone(), Part { settings: workload.clone(), target, source: None });
    }

    /// The targets, for the engine.
    pub(crate) fn targets(&self) -> Targets {
        self.parts
            .iter()
            .map(|(name, part)| {
                let before = [self.balancer.trouble(name), self.fronts.trouble(name)];
                let target = Fronted::new(part.target.clone(), before.into_iter().flatten().collect());
                (name.clone(), Arc::new(target) as Arc<dyn Target>)
            })
            .collect()
    }

    /// Lets the sources feed the engine, and tells it where the balancers listen.
    pub(crate) fn feed(&mut self, handle: &EngineHandle) {
        if let Some(figures) = self.figures.take() {
            driver::feed(handle, Box::new(ChannelSource::new("balancer", figures)));
            let (handle, mut listening) = (handle.clone(), self.balancer.listening());
            tokio::spawn(async move {
                loop {
                    let now = listening.borrow_and_update().clone();
                    let addresses = now.into_iter().filter_map(|(name, state)| Some((name, state.ok()?)));
                    handle.listening(addresses.collect()).await;
                    if listening.changed().await.is_err() {
                        return;
                    }
                }
            });
        }
        // What is asked as before goes on; what changed starts anew.
        for polled in std::mem::take(&mut self.polled) {
            if self.groups.contains(&polled.group) {
                self.polled.push(polled);
            } else {
                polled.stop();
            }
        }
        for group in &self.groups {
            if !self.polled.iter().any(|polled| polled.group == *group) {
                self.polled.push(Polled::start(group, &self.base, handle));
            }
        }
        for (name, part) in &mut self.parts {
            if part.source.is_none() {
                let source = ProcessSource::new(name, &part.settings, part.target.supervisor().clone());
                part.source = source.map(|source| driver::feed(handle, Box::new(source) as Box<dyn Source>));
            }
        }
    }

    /// Wires another policy and puts it in force.
    pub(crate) async fn change(&mut self, fleet: Fleet, handle: &EngineHandle) -> Result<()> {
        let mut gone = Vec::new();
        let removed: Vec<_> =
            self.parts.keys().filter(|name| fleet.workload(name).is_none()).cloned().collect();
        for name in removed {
            if let Some(part) = self.parts.remove(&name) {
                self.balancer.drop_service(&name);
                part.stop_source();
                gone.push((name, part.target));
            }
        }
        for (name, workload) in fleet.workloads() {
            match self.parts.get_mut(name) {
                Some(part) if part.settings == *workload => {}
                Some(part) => {
                    if part.settings.target != workload.target
                        || part.settings.warm_pool != workload.warm_pool
                    {
                        let TargetSettings::Process(settings) = &workload.target;
                        part.target
                            .reload(settings, workload.warm_pool.as_ref(), &self.base)
                            .await
                            .with_context(|| format!("the target of `{name}` can't be changed"))?;
                    }
                    part.stop_source();
                    part.source = None;
                    part.settings = workload.clone();
                    let replicas = part.target.supervisor().clone();
                    self.balancer.serve(name, workload, replicas.clone());
                    self.fronts.serve(name, workload, &self.base, replicas);
                }
                None => self.add(name, workload).await?,
            }
        }
        self.groups = source::groups(&fleet);
        let notifiers = notifier::open_all(&fleet, &self.base);
        handle.change_fleet(fleet, self.targets(), notifiers).await?;
        self.feed(handle);
        // A drain may take minutes, and the next change of the policy must not wait for it.
        self.leaving.retain(|_, leaving| !leaving.task.is_finished());
        let how = if self.advise { Leave::Running } else { Leave::Stopped };
        for (name, target) in gone {
            let supervisor = Some(target.supervisor().clone());
            let task = tokio::spawn(async move { target.leave(how).await });
            self.leaving.insert(name, Leaving { task, supervisor });
        }
        Ok(())
    }

    /// Waits until every balanced workload listens, or until that long has passed; says who does not.
    pub(crate) async fn listening(
        &self,
        within: std::time::Duration,
    ) -> BTreeMap<WorkloadName, Result<String, String>> {
        let wanted = self.parts.values().filter(|part| part.settings.balancer.is_some()).count();
        let mut listening = self.balancer.listening();
        let all = listening.wait_for(|now| now.values().filter(|state| state.is_ok()).count() >= wanted);
        // What is there when the time is over is the answer.
        let _ = tokio::time::timeout(within, all).await;
        self.balancer.listening().borrow().clone()
    }

    /// Lets go of everything. Who only says what it would do stops no replica: what it found goes on.
    pub(crate) async fn stop(self, how: Leave) {
        let finds_replicas = |part: &Part| !part.target.supervisor().status().replicas.is_empty();
        let how = match how {
            Leave::Stopped if self.advise && self.parts.values().any(finds_replicas) => Leave::Running,
            how => how,
        };
        let targets = self.targets();
        for part in self.parts.values() {
            part.stop_source();
        }
        self.polled.iter().for_each(Polled::stop);
        for (_, leaving) in self.leaving {
            // One that panics while it lets go must not keep the others from it.
            let _ = leaving.task.await;
        }
        if how == Leave::Stopped {
            // Replicas drain while the balancer still serves; it has nothing to do once they are gone.
            driver::leave(&targets, how).await;
            self.fronts.end().await;
            self.balancer.end(Ending::Shutdown(std::time::Duration::from_secs(5))).await;
        } else {
            self.balancer.end(Ending::Detach).await;
            driver::leave(&targets, how).await;
            self.fronts.end().await;
        }
    }
}

/// Replicas on their way out, of a workload that the policy has no more.
struct Leaving {
    task: JoinHandle<()>,
    /// Who ends them; `None` where it is the task itself.
    supervisor: Option<ProcessSupervisor>,
}

impl Leaving {
    /// Nobody ends them any more: the next supervisor finds them as they are.
    async fn call_off(self) {
        match self.supervisor {
            Some(supervisor) => supervisor.shutdown(Shutdown::Detach).await,
            None => self.task.abort(),
        }
        let _ = self.task.await;
    }
}

impl Part {
    fn stop_source(&self) {
        if let Some(source) = &self.source {
            source.abort();
        }
    }
}

/// Takes over what there is of a workload's replicas, without doing anything yet.
async fn hold(name: &WorkloadName, workload: &Workload, base: &Path, data: &Path) -> Result<HeldTarget> {
    let TargetSettings::Process(settings) = &workload.target;
    let seed = u64::from(std::process::id());
    ProcessTarget::hold(name, settings, workload.warm_pool.as_ref(), base, data, seed)
        .await
        .with_context(|| format!("the replicas of `{name}` can't be looked after"))
}

/// The balancer's socket: in the data directory, or, where that path is too long for a socket, in the temporary
/// folder under a name made of the path.
fn socket_path(data: &Path) -> Result<PathBuf> {
    let inside = data.join("balancer.sock");
    if inside.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return Ok(inside);
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in data.as_os_str().as_encoded_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let folder = std::env::temp_dir().join(format!("headroom-{hash:016x}"));
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(folder.join("balancer.sock"))
}
