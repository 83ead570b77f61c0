//! `headroom run`: the controller.

use anyhow::Result;
use headroom_adapters::traces::Traces;
use headroom_engine::ports::Leave;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{Cli, Run};
use crate::controller::{Options, Running};
use crate::exit::Exit;
use crate::paths;

pub(crate) async fn run(args: &Run, cli: &Cli) -> Result<Exit> {
    super::logs(cli.verbose);
    let loaded = super::check::load(&args.file)?;
    let data = paths::data_dir(cli.data.as_ref())?;
    let fleet = loaded.fleet.name().clone();
    let digest = loaded.digest.clone();
    let options =
        Options { data: &data, bind: Some(args.bind), allow_hosts: &args.allow_host, advise: args.advise };
    let mut running = Running::start(loaded, options).await?;
    let mode = if args.advise { " in advise mode: decisions are said, not done" } else { "" };
    say!("headroom keeps `{fleet}`{mode}");
    for (name, address) in running.say_where().await {
        say!("  {name:<16} http://{address}");
    }
    if let Some(address) = running.address {
        say!("  {:<16} http://{address}/#token={}", "page", running.token.reveal());
    }
    #[cfg(feature = "keda")]
    if let Some(listen) = args.keda_listen {
        match serve_keda(listen, args, &running.handle).await {
            Ok(address) => say!("  {:<16} {address}", "external scaler"),
            Err(error) => {
                running.stop(Leave::Running).await?;
                return Err(error.context(format!("KEDA can't be served at {listen}")));
            }
        }
    }
    let traces = match &args.otlp_endpoint {
        None => None,
        Some(endpoint) => match Traces::start(endpoint, fleet.clone(), &running.handle) {
            Ok(traces) => Some(traces),
            Err(error) => {
                running.stop(Leave::Running).await?;
                anyhow::bail!("traces can't be sent ({error}); write --otlp-endpoint http://HOST:4318");
            }
        },
    };
    let (changed, changes) = mpsc::channel(1);
    let _watcher = headroom_config::reload::Watcher::start(&args.file, &digest, move |reloaded| {
        // A reload under way takes in what the file holds by then.
        let _ = changed.blocking_send(reloaded);
    })?;
    // Dropped before the watcher, which waits for the call it is in: nobody may wait for a place in this queue then.
    let mut changes = changes;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
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
        _ = interrupt.recv() => return Ok(Exit::Failure),
    }
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(Exit::Success)
}

#[cfg(feature = "keda")]
async fn serve_keda(
    listen: std::net::SocketAddr,
    args: &Run,
    handle: &headroom_engine::handle::EngineHandle,
) -> Result<std::net::SocketAddr> {
    let tls = args.keda_certificate.clone().zip(args.keda_key.clone()).map(|(certificate, key)| {
        headroom_core::fleet::ServerCertificate { certificate, key, client_ca: args.keda_client_ca.clone() }
    });
    // It ends with the program.
    let (address, _) =
        headroom_adapters::keda::server::serve(listen, tls, handle.clone(), std::future::pending()).await?;
    Ok(address)
}
