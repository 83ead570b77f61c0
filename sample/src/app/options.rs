//! The flags of the sample app.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::capacity::{Capacity, Variation};
use crate::units::{UnitError, duration, mebibytes, mebibytes_per_second, share};

/// How a replica looks while it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartUpMode {
    /// The port is closed: connections are refused.
    Closed,
    /// The port is open and everything is answered with 503.
    Unready,
}

/// Something the app depends on: a name and an address that accepts TCP connections when it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What `/health` calls it.
    pub name: String,
    /// `host:port`.
    pub address: String,
}

impl std::str::FromStr for Dependency {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('=')
            .filter(|(name, address)| {
                let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                !name.is_empty() && port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
            })
            .map(|(name, address)| Self { name: name.to_owned(), address: address.to_owned() })
            .ok_or_else(|| UnitError::new(text, "a dependency such as redis=127.0.0.1:6379"))
    }
}

/// What kind of server the sample app is, and when it fails.
#[derive(Debug, Clone, Args)]
pub struct AppOptions {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Name of this replica in /health and the x-instance header [default: sample-PID]
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,

    /// Dependency that /health reports on: NAME=HOST:PORT (may be repeated)
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub depends_on: Vec<Dependency>,

    /// Seed of service times, start-up times and errors [default: differs from process to process]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Requests per second this replica carries, or `unlimited`
    #[arg(long, default_value = "100", value_name = "RATE")]
    pub capacity: Capacity,

    /// Mean time a request takes when nothing waits
    #[arg(long, default_value = "50ms", value_parser = duration, value_name = "TIME")]
    pub service_time: Duration,

    /// How service times vary
    #[arg(long, default_value = "exponential", value_name = "HOW")]
    pub variation: Variation,

    /// Requests that may wait; more are refused with 503. The default is 2 s of work at the default
    /// capacity: beyond that, waiting is failing
    #[arg(long, default_value_t = 200, value_name = "REQUESTS")]
    pub queue: usize,

    /// Time from the start until requests are served
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub start_up: Duration,

    /// The start-up time varies evenly by this much to either side
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub start_up_spread: Duration,

    /// How the replica looks while it starts
    #[arg(long, default_value = "closed", value_name = "HOW")]
    pub start_up_mode: StartUpMode,

    /// Service takes this many times as long until the replica is warm (GET /warmup and POST
    /// /cache/warm, or enough requests)
    #[arg(long, default_value_t = 1.0, value_parser = cold_factor, value_name = "FACTOR")]
    pub cold_factor: f64,

    /// Requests after which a replica is warm by itself
    #[arg(long, default_value_t = 200, value_name = "REQUESTS")]
    pub cold_requests: u64,

    /// Time to keep accepting after SIGTERM while /health says 503, so that balancers can look away
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub drain_delay: Duration,

    /// Time that requests in flight get to finish at the end; the default is the usual deregistration delay
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub drain_timeout: Duration,

    /// Memory that /memory and --leak may take together
    #[arg(long, default_value = "256MB", value_parser = mebibytes, value_name = "AMOUNT")]
    pub memory_limit: u32,

    /// How long /memory holds what it took
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub memory_hold: Duration,

    /// Fault: crash (exit code 1, connections cut) after this time of serving
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub exit_after: Option<Duration>,

    /// Fault: /health answers 503 after this time of serving
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub fail_health_after: Option<Duration>,

    /// Fault: nothing is answered any more after this time of serving
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub hang_after: Option<Duration>,

    /// Fault: this share of requests is answered with 500
    #[arg(long, default_value = "0%", value_parser = share, value_name = "SHARE")]
    pub errors: f64,

    /// Fault: memory lost per second, up to the limit
    #[arg(long, value_parser = mebibytes_per_second, value_name = "RATE")]
    pub leak: Option<u32>,
}

impl Default for AppOptions {
    /// The defaults of the command line, on a free port whatever `PORT` says.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Bare {
            #[command(flatten)]
            options: AppOptions,
        }
        <Bare as clap::Parser>::try_parse_from(["sample", "--port", "0"])
            .expect("the defaults are valid flags: every test of the app takes them")
            .options
    }
}

/// A slowness of 1 to 1000.
fn cold_factor(text: &str) -> Result<f64, UnitError> {
    text.parse()
        .ok()
        .filter(|factor| (1.0..=1000.0).contains(factor))
        .ok_or_else(|| UnitError::new(text, "a factor between 1 and 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_a_name_and_an_address() {
        for (text, expected) in [
            ("redis=127.0.0.1:6379", Some(("redis", "127.0.0.1:6379"))),
            ("db=[::1]:5432", Some(("db", "[::1]:5432"))),
            ("redis", None),
            ("=127.0.0.1:6379", None),
            ("redis=127.0.0.1", None),
            ("redis=:6379", None),
            ("redis=127.0.0.1:99999", None),
        ] {
            let parsed = text.parse::<Dependency>().ok();
            assert_eq!(parsed.as_ref().map(|d| (&*d.name, &*d.address)), expected, "{text}");
        }
    }

    #[test]
    fn a_cold_replica_is_never_faster_than_a_warm_one() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("3.5", Some(3.5)),
            ("1000", Some(1000.0)),
            ("0.9", None),
            ("1001", None),
            ("NaN", None),
        ] {
            assert_eq!(cold_factor(text).ok(), expected, "{text}");
        }
    }
}
