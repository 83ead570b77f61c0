//! headroom as an external scaler: a KEDA installation scales by what headroom decides or foresees.
//!
//! Which workload is meant stands in the trigger's metadata, and what of it:
//!
//! - `workload`: its name; by default that of the `ScaledObject`.
//! - nothing more: the count that headroom wants, with a target of one replica each, so that the HPA comes to the very
//!   same count;
//! - `forecast`: the name of a forecast signal. Told is its highest load within `ahead` (by default 10m, as far as a
//!   start-up needs) at `level` (by default 0.9); `perReplica` is how much of it one replica carries.
//!
//! What is not known is an error, never zero: KEDA then does what its `fallback` says.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use headroom_core::fleet::ServerCertificate;
use headroom_core::names::{SignalName, WorkloadName};
use headroom_core::units::Span;
use headroom_engine::driver::now;
use headroom_engine::handle::{EngineHandle, HandleError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use super::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use crate::accept::Acceptor;

/// A decision that is older is no word on the present; each workload is looked over every second.
const FRESH_FOR: Span = Span::seconds(10);
/// How often a stream looks whether the activity changed: as often as a workload is looked over.
const LOOKS: Duration = Duration::from_secs(1);
/// What a forecast looks ahead unless told (A9: 600 s before the need).
const AHEAD: Span = Span::minutes(10);
/// Which quantile of a forecast unless told, as the `predictive` strategy.
const LEVEL: f64 = 0.9;
/// So many who connected agree on TLS at the same time; more wait.
const HANDSHAKES: usize = 64;

/// Why the protocol can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened at.
    #[error("{0}; name another address")]
    Listen(#[from] std::io::Error),
    /// The certificate, its key or the authorities are not usable.
    #[error("TLS can't be spoken: {0}")]
    Tls(String),
}

/// The address that the protocol is served at, taken but not answering yet.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Option<Arc<Acceptor>>,
}

impl Listening {
    /// Takes an address; port 0 takes any free one. The files of `tls` may be replaced at any time.
    ///
    /// # Errors
    /// Where the address can't be listened at, or TLS can't be spoken so.
    pub async fn at(listen: SocketAddr, tls: Option<ServerCertificate>) -> Result<Self, ServeError> {
        let acceptor = tls.map(|files| Arc::new(Acceptor::new(files, Path::new(""), &[b"h2"])));
        if let Some(acceptor) = &acceptor {
            acceptor.config().await.map_err(ServeError::Tls)?;
        }
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, acceptor })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the protocol until `ends`.
    pub fn serve(
        self,
        handle: EngineHandle,
        ends: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let server =
            tonic::transport::Server::builder().add_service(ExternalScalerServer::new(Scaler { handle }));
        let incoming = TcpIncoming::from(self.listener);
        tokio::spawn(async move {
            let ended = match self.acceptor {
                None => server.serve_with_incoming_shutdown(incoming, ends).await,
                Some(acceptor) => {
                    server.serve_with_incoming_shutdown(over_tls(incoming, acceptor), ends).await
                }
            };
            if let Err(error) = ended {
                tracing::error!(%error, "external scaling can't be served any more");
            }
        })
    }
}

/// Those who connect, once TLS is agreed on; the others are sent away.
fn over_tls(
    incoming: TcpIncoming,
    acceptor: Arc<Acceptor>,
) -> impl Stream<Item = std::io::Result<TlsStream<TcpStream>>> {
    let agreed = incoming.map(move |stream| {
        let acceptor = Arc::clone(&acceptor);
        async move {
            let agreed = acceptor.accept(stream.ok()?).await;
            agreed
                .inspect_err(|error| tracing::debug!(%error, "external scaling: a connection is sent away"))
                .ok()
                .map(Ok)
        }
    });
    agreed.buffer_unordered(HANDSHAKES).filter_map(std::future::ready)
}

#[derive(Clone)]
struct Scaler {
    handle: EngineHandle,
}

/// What a trigger asks for.
#[derive(Clone, Debug, PartialEq)]
struct Trigger {
    workload: WorkloadName,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// The count that is wanted.
    Replicas,
    /// The highest load that is foreseen.
    Forecast { signal: SignalName, ahead: Span, level: f64, per_replica: f64 },
}

impl Trigger {
    fn of(object: &ScaledObjectRef) -> Result<Self, Status> {
        let given = |key: &str| object.scaler_metadata.get(key).map(String::as_str);
        let workload = given("workload").unwrap_or(&object.name);
        let wrong = |key: &str, why: &str| Status::invalid_argument(format!("metadata `{key}`: {why}"));
        let workload = workload.parse().map_err(|_| wrong("workload", "is no workload's name"))?;
        let Some(signal) = given("forecast") else { return Ok(Self { workload, what: What::Replicas }) };
        let number = |key: &str, default: Option<f64>| match given(key) {
            Some(text) => text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0),
            None => default,
        };
        let what = What::Forecast {
            signal: signal.parse().map_err(|_| wrong("forecast", "is no signal's name"))?,
            ahead: match given("ahead") {
                Some(text) => text.parse().map_err(|_| wrong("ahead", "write it like 10m"))?,
                None => AHEAD,
            },
            level: number("level", Some(LEVEL))
                .ok_or_else(|| wrong("level", "is one of 0.5, 0.9, 0.95, 0.99"))?,
            per_replica: number("perReplica", None)
                .ok_or_else(|| wrong("perReplica", "say how much of the load one replica carries"))?,
        };
        Ok(Self { workload, what })
    }

    fn metric(&self) -> String {
        match &self.what {
            What::Replicas => "replicas".to_owned(),
            What::Forecast { signal, .. } => format!("forecast-{signal}"),
        }
    }

    fn target(&self) -> f64 {
        match self.what {
            What::Replicas => 1.0,
            What::Forecast { per_replica, .. } => per_replica,
        }
    }
}

impl Scaler {
    async fn value(&self, trigger: &Trigger) -> Result<f64, Status> {
        match &trigger.what {
            What::Replicas => self.wanted(&trigger.workload).await,
            What::Forecast { signal, ahead, level, .. } => {
                let peak = self.handle.foreseen(&trigger.workload, signal, *level, *ahead).await;
                let unknown = || {
                    Status::unavailable(format!(
                        "nothing is foreseen of `{signal}` of `{}` so far ahead; see that the signal has `forecast: {{}}`",
                        trigger.workload
                    ))
                };
                Ok(peak.map_err(|e| refused(&e))?.ok_or_else(unknown)?.load.get())
            }
        }
    }

    /// The count that was last decided on.
    async fn wanted(&self, workload: &WorkloadName) -> Result<f64, Status> {
        let view = self.handle.workload(workload).await.map_err(|e| refused(&e))?;
        let latest = view.latest.filter(|decision| now().since(decision.at) <= FRESH_FOR);
        let decision = latest
            .ok_or_else(|| Status::unavailable(format!("nothing was decided about `{workload}` lately")))?;
        Ok(decision.to.as_f64())
    }

    async fn is_active(&self, trigger: &Trigger) -> Result<bool, Status> {
        Ok(self.value(trigger).await? > 0.0)
    }
}

fn refused(error: &HandleError) -> Status {
    match error {
        HandleError::NoSuchWorkload(_) => Status::not_found(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}

/// The whole number that old scalers read: never less than what is meant.
#[expect(clippy::cast_possible_truncation, reason = "a float beyond becomes the largest there is")]
fn whole(value: f64) -> i64 {
    value.ceil() as i64
}

fn spec(trigger: &Trigger) -> GetMetricSpecResponse {
    let target = trigger.target();
    let spec =
        MetricSpec { metric_name: trigger.metric(), target_size: whole(target), target_size_float: target };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    type StreamIsActiveStream = Streamed<IsActiveResponse>;
    type StreamMetricSpecStream = Streamed<GetMetricSpecResponse>;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let trigger = Trigger::of(request.get_ref())?;
        Ok(Response::new(IsActiveResponse { result: self.is_active(&trigger).await? }))
    }

    /// Says at once whether it is active, and again whenever that changes.
    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let trigger = Trigger::of(request.get_ref())?;
        let (told, stream) = mpsc::channel(1);
        let scaler = self.clone();
        tokio::spawn(async move {
            let mut last = None;
            let mut looks = tokio::time::interval(LOOKS);
            while !told.is_closed() {
                looks.tick().await;
                match scaler.is_active(&trigger).await {
                    Ok(active) if last == Some(active) => {}
                    Ok(active) => {
                        last = Some(active);
                        if told.send(Ok(IsActiveResponse { result: active })).await.is_err() {
                            return;
                        }
                    }
                    // What is not known for a moment is no change.
                    Err(status) if status.code() == tonic::Code::Unavailable => {}
                    Err(status) => {
                        let _ = told.send(Err(status)).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(spec(&Trigger::of(request.get_ref())?)))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let GetMetricsRequest { scaled_object_ref, metric_name } = request.into_inner();
        let object = scaled_object_ref.ok_or_else(|| Status::invalid_argument("no ScaledObject is named"))?;
        let trigger = Trigger::of(&object)?;
        if metric_name != trigger.metric() {
            let told = format!("no metric called `{metric_name}`; this trigger has `{}`", trigger.metric());
            return Err(Status::not_found(told));
        }
        let value = self.value(&trigger).await?;
        let value = MetricValue { metric_name, metric_value: whole(value), metric_value_float: value };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }

    /// Targets stand in the trigger's metadata and don't change; KEDA falls back to `GetMetricSpec`.
    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented("targets don't change; ask GetMetricSpec"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(metadata: &[(&str, &str)]) -> Result<Trigger, Status> {
        let scaler_metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Trigger::of(&ScaledObjectRef {
            name: "shop".to_owned(),
            namespace: "prod".to_owned(),
            scaler_metadata,
        })
    }

    #[test]
    fn a_trigger_says_what_it_means() {
        let plain = trigger(&[]).unwrap();
        assert_eq!(
            (plain.workload.as_str(), plain.metric().as_str(), plain.target()),
            ("shop", "replicas", 1.0)
        );
        let other = trigger(&[("workload", "cart"), ("forecast", "rps"), ("perReplica", "50")]).unwrap();
        assert_eq!(
            (other.workload.as_str(), other.metric().as_str(), other.target()),
            ("cart", "forecast-rps", 50.0)
        );
        let What::Forecast { ahead, level, .. } = other.what else { panic!("{other:?}") };
        assert_eq!((ahead, level), (Span::minutes(10), 0.9));
        for wrong in [
            &[("workload", "no such name!")][..],
            &[("forecast", "rps")],
            &[("forecast", "rps"), ("perReplica", "0")],
            &[("forecast", "rps"), ("perReplica", "5"), ("ahead", "soon")],
            &[("forecast", "rps"), ("perReplica", "5"), ("level", "NaN")],
        ] {
            assert_eq!(trigger(wrong).unwrap_err().code(), tonic::Code::InvalidArgument, "{wrong:?}");
        }
    }
}
