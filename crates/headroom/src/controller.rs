//! A running controller: journal, parts, engine, API, and the way all of them stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use headroom_api::{ApiOptions, Token};
use headroom_config::Loaded;
use headroom_engine::driver::{self, EngineTask, Start};
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
    pub bind: Option<SocketAddr>,
    /// More names under which the API may be asked.
    pub allow_hosts: &'a [String],
    /// Whether decisions are only said.
    pub advise: bool,
}

/// A running controller.
pub(crate) struct Running {
    /// Talks to the engine.
    pub handle: EngineHandle,
    /// Where the API answers.
    pub address: Option<SocketAddr>,
    /// What state-changing requests need.
    pub token: Token,
    wiring: Wiring,
    engine: EngineTask,
    api: Option<JoinHandle<()>>,
    api_ends: watch::Sender<bool>,
    journal: Journal,
}

impl Running {
    /// Starts a controller where its journal left off.
    pub(crate) async fn start(loaded: Loaded, options: Options<'_>) -> Result<Self> {
        if let Some(bind) = options.bind {
            is_free(bind)?;
        }
        let data = DataDir::open(options.data)?;
        let token = Token::load_or_create(&paths::token(options.data))?;
        let (journal, opened) =
            tokio::task::spawn_blocking(move || Journal::open(&data, Retention::default())).await??;
        if let Some(set_aside) = &opened.set_aside {
            say!("warning: {}", set_aside.message);
        }
        let mut wiring = Wiring::start(&loaded.fleet, &loaded.base, options.data, options.advise).await?;
        let notifiers = wiring.notifiers(&loaded.fleet);
        let start = Start {
            fleet: loaded.fleet,
            journal: journal.clone(),
            targets: wiring.targets(),
            notifiers,
            advise: options.advise,
        };
        let (handle, engine) = driver::start(start).await?;
        wiring.feed(&handle);
        let (api_ends, ends) = watch::channel(false);
        let (address, api) = match options.bind {
            Some(bind) => {
                let allowed_hosts = options.allow_hosts.to_vec();
                let api = ApiOptions { bind, allowed_hosts, ..ApiOptions::new(token.clone()) };
                let mut ends = ends;
                // A sender that is gone ends the server, too.
                let ended = async move { drop(ends.wait_for(|end| *end).await) };
                match headroom_api::serve(handle.clone(), api, ended).await {
                    Ok((address, api)) => {
                        handle.page(format!("http://{address}")).await;
                        (Some(address), Some(api))
                    }
                    Err(error) => {
                        // The replicas of an earlier controller go on; nothing of this start remains.
                        handle.stop().await;
                        wiring.stop(Leave::Running).await;
                        return Err(error.into());
                    }
                }
            }
            None => (None, None),
        };
        Ok(Self { handle, address, token, wiring, engine, api, api_ends, journal })
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

/// Finds out that the API's address is taken before any replica is started.
fn is_free(bind: SocketAddr) -> Result<()> {
    match std::net::TcpListener::bind(bind) {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::anyhow!(
            "the page and the API can't be served at {bind} ({error}); name another address, such as --bind {}:{}, or \
             port 0 for any free one",
            bind.ip(),
            bind.port().checked_add(1).unwrap_or(0)
        )),
    }
}

/// A folder of its own for a controller that leaves nothing behind.
pub(crate) struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes one under the temporary folder.
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("headroom-{purpose}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("{} can't be made", path.display()))?;
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
