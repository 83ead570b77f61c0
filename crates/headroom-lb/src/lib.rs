//! headroom's balancer: an HTTP data plane in its own process that outlives its controller.
//!
//! A controller that is killed, updated or stuck must cost no request, so the balancer shares nothing
//! with it but a Unix socket: services are put there ([`control`]), figures and changes of health come
//! back, and whoever connects next can read the whole state and take over.
//!
//! Inside, one control thread decides (which backends may have traffic, what is to be served) and
//! worker threads, one per core, carry traffic. A connection never leaves its worker; workers share
//! no lock and, but for each backend's requests in flight, no counter. DNS, discovery, certificates'
//! renewal and any policy are the controller's business and deliberately absent.
//!
//! Clients may speak HTTP/1.1, HTTP/2 (prior knowledge, or ALPN over TLS) and WebSocket over HTTP/1.1;
//! backends are asked in HTTP/1.1. gRPC needs HTTP/2 to the backend and is not offered.
//!
//! ```no_run
//! # async fn controller() -> Result<(), Box<dyn std::error::Error>> {
//! use headroom_lb::{control::Client, settings::{BackendConfig, ServiceConfig}};
//!
//! // `headroom_lb::run(&Options::new("/run/lb.sock"))` runs in another process.
//! let (lb, mut events) = Client::connect("/run/lb.sock").await?;
//! lb.claim().await?;
//! let mut web = ServiceConfig::new("web".parse()?, "127.0.0.1:8080".parse()?);
//! web.backends = vec![BackendConfig::active("web-1".parse()?, "127.0.0.1:9001".parse()?)];
//! println!("listens on {}", lb.put(web).await?.bound);
//! lb.subscribe().await?;
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod balance;
mod collector;
pub mod control;
mod downstream;
pub mod figures;
mod forwarded;
mod health;
pub mod histogram;
mod hold;
mod http1;
mod http2;
mod limits;
mod listener;
pub mod names;
mod outcome;
mod pool;
mod prefixed;
mod proxy;
mod registry;
mod retry;
mod run;
mod service;
pub mod settings;
mod stickiness;
mod tls;
mod upgrade;
mod worker;

pub use control::server::SocketError;
pub use run::{Options, RunError, run};
