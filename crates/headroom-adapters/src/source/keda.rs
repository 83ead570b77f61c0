//! Figures of KEDA's external scalers: whatever has one is a source.
//!
//! A scaler is asked what KEDA would ask it, over gRPC: the value of a metric, its target per replica, or whether there
//! is anything to do. The distinct questions of a round go out together over one connection.

use std::path::Path;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use headroom_core::fleet::{Ask, KedaAsk, KedaFigure, KedaSettings};
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::poll::{Figure, ReadError, Reader, Want};
use crate::keda::externalscaler::external_scaler_client::ExternalScalerClient;
use crate::keda::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use crate::net::{Address, Tls};

/// Questions under way at once: each is a moment's work, and a scaler often has one system behind it.
const TOGETHER: usize = 8;
/// The largest answer: a few numbers with their names.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Asks an external scaler.
pub struct Keda {
    address: Address,
    settings: KedaSettings,
    asks: Vec<KedaAsk>,
    /// Kept while it works; one that failed is made anew.
    client: Option<ExternalScalerClient<Channel>>,
}

impl Keda {
    /// Asks the scaler of `settings` for `wants`.
    ///
    /// # Errors
    /// Where the settings are not usable.
    pub fn new(settings: &KedaSettings, wants: &[Want], base: &Path) -> Result<Self, ReadError> {
        let asks = super::asks(wants, |ask| match ask {
            Ask::Keda(ask) => Some(ask),
            _ => None,
        })?;
        let tls = Tls::asked(settings.tls, settings.ca.as_ref(), settings.client.as_ref(), base);
        let tls = tls.map(|tls| Tls { alpn: Some("h2"), ..tls });
        Ok(Self {
            address: Address::parse(&settings.address, tls)?,
            settings: settings.clone(),
            asks: asks.into_iter().cloned().collect(),
            client: None,
        })
    }

    async fn connect(&self) -> Result<ExternalScalerClient<Channel>, ReadError> {
        let setup = |error: &dyn std::fmt::Display| ReadError::Setup(format!("the address: {error}"));
        let endpoint = Endpoint::from_shared(format!("http://{}", self.settings.address))
            .map_err(|error| setup(&error))?
            .user_agent(concat!("headroom/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| setup(&error))?;
        let address = self.address.clone();
        let connect = tower::service_fn(move |_| {
            let address = address.clone();
            async move { address.connect().await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector(connect).await.map_err(|error| {
            let at = || self.settings.address.clone();
            let mut cause: &(dyn std::error::Error + 'static) = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            match cause.downcast_ref::<ReadError>() {
                Some(known) => known.clone(),
                None => ReadError::Connect { at: at(), why: cause.to_string() },
            }
        })?;
        Ok(ExternalScalerClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
    }

    fn object(&self, ask: &KedaAsk) -> ScaledObjectRef {
        ScaledObjectRef {
            name: self.settings.name.clone(),
            namespace: self.settings.namespace.clone(),
            scaler_metadata: ask.metadata.clone().into_iter().collect(),
        }
    }
}

#[async_trait]
impl Reader for Keda {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        // Taken out while it is in use: a round that is given up halfway leaves none behind.
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let questions: Vec<_> = self
            .asks
            .iter()
            .map(|ask| question(client.clone(), self.object(ask), ask.metric.clone(), ask.figure))
            .collect();
        let answers: Vec<Result<Option<f64>, Status>> =
            stream::iter(questions).buffered(TOGETHER).collect().await;
        let at = now();
        let fails = |answer: &Result<_, Status>| answer.as_ref().is_err_and(is_broken);
        if let Some(Err(status)) = answers.iter().find(|answer| fails(answer)) {
            return Err(ReadError::Broken { why: said(status) });
        }
        self.client = Some(client);
        let figure = |answer: Result<Option<f64>, Status>| match answer {
            Ok(Some(value)) => Ok((at, value)),
            Ok(None) => Err(Absence::Empty),
            Err(status) => Err(Absence::SourceFailed(format!("it refused: {}", said(&status)))),
        };
        Ok(answers.into_iter().map(figure).collect())
    }
}

/// Whether the scaler as a whole is in trouble, and not one question.
fn is_broken(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

/// A status as a person reads it; its text is bounded, since it is the scaler's.
fn said(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let words =
        if std::ptr::addr_eq(cause, status) { status.message().to_owned() } else { cause.to_string() };
    format!("{:?}: {}", status.code(), crate::http::first_words(words.as_bytes()))
}

/// Asks one question; `None` where the scaler does not know the metric.
async fn question(
    mut client: ExternalScalerClient<Channel>,
    object: ScaledObjectRef,
    metric: String,
    figure: KedaFigure,
) -> Result<Option<f64>, Status> {
    // Scalers older than the float fields fill only the whole numbers, as KEDA takes it.
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let either = |float: f64, whole: i64| if float > 0.0 { float } else { whole as f64 };
    match figure {
        KedaFigure::Value => {
            let request = GetMetricsRequest { scaled_object_ref: Some(object), metric_name: metric.clone() };
            let answer = client.get_metrics(request).await?.into_inner();
            let value =
                answer.metric_values.into_iter().find(|v| v.metric_name == metric || metric.is_empty());
            Ok(value.map(|v| either(v.metric_value_float, v.metric_value)))
        }
        KedaFigure::Target => {
            let answer = client.get_metric_spec(object).await?.into_inner();
            let spec = answer.metric_specs.into_iter().find(|s| s.metric_name == metric || metric.is_empty());
            Ok(spec.map(|s| either(s.target_size_float, s.target_size)))
        }
        KedaFigure::Active => {
            let active = client.is_active(object).await?.into_inner().result;
            Ok(Some(if active { 1.0 } else { 0.0 }))
        }
    }
}
