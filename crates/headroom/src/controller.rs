//! A running controller: journal, parts, engine, API, and the way all of them stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use headroom_adapters::notifier;
use headroom_api::{ApiOptions, Listening, Token};
use headroom_config::Loaded;
use headroom_core::fleet::{Fleet, Listen};
use headroom_engine::driver::{self, EngineTask};
use headroom_engine::handle::EngineHandle;
use headroom_engine::journal::{DataDir, Journal, Retention};
use headroom_engine::ports::Leave;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::paths;
use crate::wiring::Wiring;

/// How long the balancer may take to listen before it is said that it does not.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// How a controller is started.
pub(crate) struct Options<'a> {
    /// Where its data lies.
    pub data: &'a Path,
    /// Where the API is served; `None` for no API.
    pub api: Option<Listening>,
    /// More names under which the API may be asked.
    pub allow_hosts: &'a [String],
    /// What this process listens at besides, and the argument that says so.
    pub ours: Vec<Ours>,
    /// Whether decisions are only said.
    pub advise: bool,
}

/// An address that this process listens at, and the argument that names it.
pub(crate) type Ours = (&'static str, SocketAddr);

/// A running controller.
pub(crate) struct Running {
    /// Talks to the engine.
    pub handle: EngineHandle,
    /// Where people reach the API.
    pub address: Option<SocketAddr>,
    /// What state-changing requests need.
    pub token: Token,
    wiring: Wiring,
    engine: EngineTask,
    api: Option<JoinHandle<()>>,
    api_ends: watch::Sender<bool>,
    journal: Journal,
    ours: Vec<Ours>,
}

impl Running {
    /// Starts a controller where its journal left off. All that can fail comes before anything is started or adopted.
    pub(crate) async fn start(loaded: Loaded, options: Options<'_>) -> Result<Self> {
        let Options { data, api, allow_hosts, ours, advise } = options;
        let folder = DataDir::open(data)?;
        let token = Token::load_or_create(&paths::token(data))?;
        let (journal, opened) =
            tokio::task::spawn_blocking(move || Journal::open(&folder, Retention::default())).await??;
        if let Some(set_aside) = &opened.set_aside {
            say!("warning: {}", set_aside.message);
        }
        let notifiers = notifier::open_all(&loaded.fleet, &loaded.base);
        let engine = driver::open(loaded.fleet.clone(), journal.clone(), notifiers, advise).await?;
        let mut wiring = Wiring::start(&loaded.fleet, &loaded.base, data, advise).await?;
        let (handle, engine) = engine.run(wiring.targets());
        wiring.feed(&handle);
        let (api_ends, mut ends) = watch::channel(false);
        let address = api.as_ref().map(|listening| reached_at(listening.address()));
        let api = match api {
            Some(listening) => {
                handle.page(format!("http://{}", reached_at(listening.address()))).await;
                let options =
                    ApiOptions { allowed_hosts: allow_hosts.to_vec(), ..ApiOptions::new(token.clone()) };
                // A sender that is gone ends the server, too.
                let ended = async move { drop(ends.wait_for(|end| *end).await) };
                Some(headroom_api::serve(handle.clone(), listening, options, ended))
            }
            None => None,
        };
        Ok(Self { handle, address, token, wiring, engine, api, api_ends, journal, ours })
    }

    /// Where the workloads are reached; complains on stderr about those that are not.
    pub(crate) async fn say_where(&self) -> Vec<(String, String)> {
        let mut there = Vec::new();
        for (name, state) in self.wiring.listening(LISTENS_WITHIN).await {
            match state {
                Ok(address) => there.push((name.to_string(), address)),
                Err(why) => say!("warning: `{name}` is not served: {why}"),
            }
        }
        there
    }

    /// Puts another policy in force.
    pub(crate) async fn change(&mut self, loaded: Loaded) -> Result<()> {
        are_clear_of(&self.ours, &loaded.fleet)?;
        self.wiring.change(loaded.fleet, &self.handle).await
    }

    /// Stops everything; the replicas go on if `how` says so.
    pub(crate) async fn stop(self, how: Leave) -> Result<()> {
        // Nobody is left to look at a page that can't be reached; a send without a receiver is fine.
        let _ = self.api_ends.send(true);
        if let Some(api) = self.api {
            // Streams of events end with the server.
            let _ = tokio::time::timeout(Duration::from_secs(2), api).await;
        }
        self.handle.stop().await;
        self.engine.await.context("the engine ended badly")?;
        self.wiring.stop(how).await;
        self.journal.close().await.context("the journal could not be closed")?;
        Ok(())
    }
}

/// Says that the policy, or another argument, names an address that this process listens at itself.
pub(crate) fn are_clear_of(ours: &[Ours], fleet: &Fleet) -> Result<()> {
    let listeners = fleet.listeners();
    for (i, (argument, address)) in ours.iter().enumerate() {
        let listen = Listen::Tcp(*address);
        let another = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(0));
        let next = format!("name another, such as {argument} {another}");
        if let Some(other) = listeners.iter().find(|other| other.listen.overlaps(&listen)) {
            anyhow::bail!(
                "{argument} {address} is where {} of the policy listens ({}, {}); {next}",
                other.whose,
                other.at,
                other.listen
            );
        }
        if let Some((first, _)) = ours[..i].iter().find(|(_, first)| Listen::Tcp(*first).overlaps(&listen)) {
            anyhow::bail!("{argument} {address} is the address of {first} already; {next}");
        }
    }
    Ok(())
}

/// Where people of this machine reach what listens at `address`: "every address" is none that can be asked.
fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A folder of its own for a controller that leaves nothing behind.
pub(crate) struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes one under the temporary folder, for its owner alone: a journal and a token are kept in it.
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("headroom-{purpose}-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{} can't be made", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What can't be removed is in the temporary folder, where it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_scratch_folder_is_for_its_owner_alone_and_goes_with_its_controller() {
        let scratch = ScratchDir::new("test").unwrap();
        let path = scratch.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(ScratchDir::new("test").is_err(), "nobody else's folder is used");
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_link_names_an_address_that_can_be_asked() {
        for (bound, reached) in [
            ("0.0.0.0:7070", "127.0.0.1:7070"),
            ("[::]:7070", "[::1]:7070"),
            ("192.0.2.1:7070", "192.0.2.1:7070"),
        ] {
            assert_eq!(reached_at(bound.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn arguments_name_no_address_twice() {
        let policy = "apiVersion: headroom.dev/v1alpha1\nkind: Fleet\nmetadata: { name: test }\nspec:\n  workloads:\n    \
                      web:\n      target: { process: { command: [a] } }\n      balancer: { listen: 127.0.0.1:8080 }\n      \
                      replicas: { min: 1, max: 1 }\n      signals: { rps: { balancer: requestsPerSecond } }\n      \
                      strategies: [{ targetTracking: { signal: rps, perReplica: 1 } }]\n";
        let fleet = headroom_config::parse("fleet.yaml", policy).unwrap().fleet;
        let clear = |bind: &str, keda: &str| {
            let ours = [("--bind", bind.parse().unwrap()), ("--keda-listen", keda.parse().unwrap())];
            are_clear_of(&ours, &fleet).map_err(|error| error.to_string())
        };
        assert_eq!(clear("127.0.0.1:7070", "0.0.0.0:6000"), Ok(()));
        let refused = clear("127.0.0.1:7070", "0.0.0.0:8080").unwrap_err();
        assert!(refused.contains("--keda-listen 0.0.0.0:8081") && refused.contains("`web`"), "{refused}");
        let refused = clear("127.0.0.1:7070", "127.0.0.1:7070").unwrap_err();
        assert!(refused.contains("address of --bind already"), "{refused}");
    }
}
