//! `headroom run`: the controller.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use headroom_adapters::traces::Traces;
use headroom_api::Listening;
use headroom_engine::ports::Leave;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{Cli, Run};
use crate::controller::{Options, Ours, Running, are_clear_of};
use crate::exit::Exit;
use crate::paths;

pub(crate) async fn run(args: &Run, cli: &Cli) -> Result<Exit> {
    super::logs(cli.verbose);
    // First of all: whoever asks for the end during the start gets an orderly one as soon as it is over.
    let mut asked = Asked::new()?;
    let loaded = super::check::load(&args.file)?;
    let data = paths::data_dir(cli.data.as_ref())?;
    let fleet = loaded.fleet.name().clone();
    // Addresses are taken, and all else that can fail is done, before anything is started.
    are_clear_of(&ours(args), &loaded.fleet)?;
    let api = Listening::at(args.bind).await?;
    let mut ours = ours(args);
    ours[0].1 = api.address();
    #[cfg(feature = "keda")]
    let scaler = match args.keda_listen {
        Some(listen) => {
            let listening = listen_for_keda(listen, args).await?;
            ours[1].1 = listening.address();
            Some(listening)
        }
        None => None,
    };
    let (changed, changes) = mpsc::channel(1);
    let _watcher = headroom_config::reload::Watcher::start(&args.file, &loaded.digest, move |reloaded| {
        // A reload under way takes in what the file holds by then.
        let _ = changed.blocking_send(reloaded);
    })?;
    // Dropped before the watcher, which waits for the call it is in: nobody may wait for a place in this queue then.
    let mut changes = changes;
    let options =
        Options { data: &data, api: Some(api), allow_hosts: &args.allow_host, ours, advise: args.advise };
    let mut running = Running::start(loaded, options).await?;
    let mode = if args.advise { " in advise mode: decisions are said, not done" } else { "" };
    say!("headroom keeps `{fleet}`{mode}");
    #[cfg(feature = "keda")]
    let scaler = scaler.map(|listening| {
        let address = listening.address();
        // It ends with the program.
        drop(listening.serve(running.handle.clone(), std::future::pending()));
        address
    });
    let traces = args.otlp_endpoint.as_ref().map(|endpoint| Traces::start(endpoint, fleet, &running.handle));
    let mut is_told = false;
    loop {
        tokio::select! {
            () = asked.for_the_end() => break,
            there = running.say_where(), if !is_told => {
                is_told = true;
                for (name, address) in there {
                    say!("  {name:<16} http://{address}");
                }
                if let Some(address) = running.address {
                    say!("  {:<16} http://{address}/#token={}", "page", running.token.reveal());
                }
                #[cfg(feature = "keda")]
                if let Some(address) = scaler {
                    say!("  {:<16} {address}", "external scaler");
                }
            }
            Some(reloaded) = changes.recv() => match reloaded.0 {
                Ok(loaded) => match running.change(loaded).await {
                    Ok(()) => say!("{} is in force", args.file.display()),
                    Err(error) => say!("error: {} is not in force: {error:#}", args.file.display()),
                },
                Err(error) => {
                    say!("{}", error.render(false));
                    say!("the policy as it was stays in force");
                }
            },
        }
    }
    let how = if args.leave_running { Leave::Running } else { Leave::Stopped };
    match how {
        Leave::Running => say!("headroom stops; replicas and balancer go on"),
        Leave::Stopped if args.advise => say!("headroom stops; replicas, if there are any, go on"),
        Leave::Stopped => say!("headroom stops; replicas finish what they have (again Ctrl-C: at once)"),
    }
    tokio::select! {
        stopped = running.stop(how) => stopped?,
        _ = asked.interrupt.recv() => return Ok(Exit::Failure),
    }
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(Exit::Success)
}

/// Who asks for the end.
struct Asked {
    terminate: Signal,
    interrupt: Signal,
}

impl Asked {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn for_the_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the arguments say this process listens at.
fn ours(args: &Run) -> Vec<Ours> {
    #[cfg(feature = "keda")]
    let scaler = args.keda_listen.map(|listen| ("--keda-listen", listen));
    #[cfg(not(feature = "keda"))]
    let scaler: Option<Ours> = None;
    [("--bind", args.bind)].into_iter().chain(scaler).collect()
}

#[cfg(feature = "keda")]
async fn listen_for_keda(
    listen: SocketAddr,
    args: &Run,
) -> Result<headroom_adapters::keda::server::Listening> {
    let tls = args.keda_certificate.clone().zip(args.keda_key.clone()).map(|(certificate, key)| {
        headroom_core::fleet::ServerCertificate { certificate, key, client_ca: args.keda_client_ca.clone() }
    });
    headroom_adapters::keda::server::Listening::at(listen, tls)
        .await
        .with_context(|| format!("KEDA can't be served at {listen}"))
}
