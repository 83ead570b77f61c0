//! A controller for tests, to be killed: `test-controller DIRECTORY SIZE COMMAND…` keeps that many
//! replicas of `web` running until it is.

use std::time::Duration;

use headroom_adapters::target::process::{Ports, ProcessSupervisor, ReplicaSpec, SupervisorConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(size)) = (args.next(), args.next()) else {
        return Err("usage: test-controller DIRECTORY SIZE COMMAND…".into());
    };
    let spec = ReplicaSpec::new(args.collect(), &directory)?;
    let directory = std::path::Path::new(&directory).join("data");
    let config = SupervisorConfig { workload: "web".to_owned(), directory, ports: Ports::Ephemeral, seed: 1 };
    let supervisor = ProcessSupervisor::start(spec, config).await?;
    supervisor.set_desired(size.parse()?, None).await?;
    // Its test kills it; a forgotten one ends by itself, and its replicas with the test's directory.
    tokio::time::sleep(Duration::from_secs(120)).await;
    Ok(())
}
