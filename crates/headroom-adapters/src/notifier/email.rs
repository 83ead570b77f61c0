//! Mail by SMTP. Messages about one alert refer to its first, so that they stand together.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use headroom_core::fleet::{BasicAuth, EmailSettings, MailTls};
use headroom_engine::ports::{Notification, Notifier, TellError};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::{secret, title};
use crate::source::ReadError;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// A mailbox or more, behind an SMTP server.
pub struct Email {
    host: String,
    port: u16,
    tls: MailTls,
    auth: Option<BasicAuth>,
    ca: Option<PathBuf>,
    from: Mailbox,
    to: Vec<Mailbox>,
    base: PathBuf,
}

impl Email {
    /// It does not connect yet.
    ///
    /// # Errors
    /// Where an address can't be read.
    pub fn new(settings: &EmailSettings, base: &Path) -> Result<Self, ReadError> {
        let mailbox = |text: &String| {
            text.parse().map_err(|e| ReadError::Setup(format!("{text:?} is no mail address: {e}")))
        };
        let wrong = || ReadError::Setup(format!("{:?} is no address; write host:port", settings.server));
        let (host, port) = settings.server.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            tls: settings.tls,
            auth: settings.auth.clone(),
            ca: settings.ca.clone(),
            from: mailbox(&settings.from)?,
            to: settings.to.iter().map(mailbox).collect::<Result<_, _>>()?,
            base: base.to_owned(),
        })
    }

    async fn transport(&self) -> Result<Transport, TellError> {
        let tls = match self.tls {
            MailTls::None => Tls::None,
            MailTls::StartTls => Tls::Required(self.parameters().await?),
            MailTls::Implicit => Tls::Wrapper(self.parameters().await?),
        };
        let mut transport = Transport::builder_dangerous(&self.host).port(self.port).tls(tls);
        if let Some(BasicAuth { user, password }) = &self.auth {
            let password = secret(password, &self.base).await?.expose().to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        Ok(transport.build())
    }

    async fn parameters(&self) -> Result<TlsParameters, TellError> {
        let setup = |what: String| TellError::Later(what);
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(ca) = &self.ca {
            let path = self.base.join(ca);
            let unreadable =
                |e: String| setup(format!("the authorities in {} can't be read: {e}", path.display()));
            let pem = tokio::fs::read(&path).await.map_err(|e| unreadable(e.to_string()))?;
            let certificate = Certificate::from_pem(&pem).map_err(|e| unreadable(e.to_string()))?;
            parameters =
                parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        parameters.build().map_err(|e| setup(format!("TLS can't be set up: {e}")))
    }

    fn message(&self, notification: &Notification) -> Result<Message, TellError> {
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(title(notification))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        if let [one] = notification.news.as_slice() {
            let id = |state: &str| format!("<{}.{state}@{}.headroom>", one.alert.id, notification.fleet);
            // The same message sent twice has the same id, by which mail programs can tell.
            message = message.message_id(Some(id(&format!("{}.{}", one.state.word(), one.at.as_millis()))));
            message = message.in_reply_to(id("first")).references(id("first"));
        }
        let page = notification.page.as_deref();
        let parts = notification.news.iter().map(|news| {
            format!("{}\n\n{}", headroom_core::alert::title(news), headroom_core::alert::text(news, page))
        });
        let body = parts.collect::<Vec<_>>().join("\n\n--\n\n");
        message
            .body(format!("{body}\n\nheadroom, fleet {}\n", notification.fleet))
            .map_err(|e| TellError::Refused(e.to_string()))
    }
}

#[async_trait]
impl Notifier for Email {
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
        let message = self.message(notification)?;
        let sent = self.transport().await?.send(message).await;
        sent.map(|_| None).map_err(|error| {
            let words = format!("the mail server {}:{} does not take it: {error}", self.host, self.port);
            // Even a server's permanent refusal (a mailbox, a login) is mended by people, at the server.
            TellError::Later(words)
        })
    }
}
