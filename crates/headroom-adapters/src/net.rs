//! Connections to other people's servers: TCP, Unix sockets, TLS with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_core::fleet::ClientCertificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::source::ReadError;

/// A connection, whatever it is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A server's address and whether TLS is spoken.
#[derive(Clone)]
pub(crate) struct Address {
    /// The host's name or number, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
}

impl Address {
    /// From `host:port`.
    pub(crate) fn parse(text: &str, tls: Option<Tls>) -> Result<Self, ReadError> {
        let wrong = || ReadError::Setup(format!("{text:?} is no address; write host:port"));
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| wrong())?, tls })
    }

    /// Connects; a deadline is the caller's.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, ReadError> {
        let at = || format!("{}:{}", self.host, self.port);
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|e| ReadError::Connect { at: at(), why: e.to_string() })?;
        // A question is one small write, whose answer is waited for.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let config = Arc::new(tls.config()?);
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|_| ReadError::Setup(format!("{:?} is no name for TLS", self.host)))?;
                let stream = tokio_rustls::TlsConnector::from(config)
                    .connect(name, stream)
                    .await
                    .map_err(|e| ReadError::Connect { at: at(), why: format!("TLS: {e}") })?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// Connects to a path of a Unix socket, or to `host:port`.
pub(crate) async fn connect_local(socket: &str, base: &Path) -> Result<Box<dyn Stream>, ReadError> {
    if !socket.contains('/') && socket.contains(':') {
        return Address::parse(socket, None)?.connect().await;
    }
    let path = base.join(socket);
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|e| ReadError::Connect { at: path.display().to_string(), why: e.to_string() })?;
    Ok(Box::new(stream))
}

/// How TLS is spoken to a server: this machine's authorities are trusted, or those in `ca` alone, and `client` says who we
/// are. Its files are read at each connection, since certificates are replaced while programs run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client: Option<ClientCertificate>,
    /// Files are relative to it.
    pub(crate) base: PathBuf,
    /// What is to be spoken within, where the server wants to know.
    pub(crate) alpn: Option<&'static str>,
}

impl Tls {
    /// What a policy asks for: TLS where it says so, or names a file for it.
    pub(crate) fn asked(
        tls: bool,
        ca: Option<&PathBuf>,
        client: Option<&ClientCertificate>,
        base: &Path,
    ) -> Option<Self> {
        let is_asked = tls || ca.is_some() || client.is_some();
        is_asked.then(|| Self { ca: ca.cloned(), client: client.cloned(), base: base.to_owned(), alpn: None })
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Where they are not there, or not usable.
    pub(crate) fn config(&self) -> Result<rustls::ClientConfig, ReadError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ReadError::Setup(format!("TLS: {e}")))?
            .with_root_certificates(roots(self.ca.as_ref(), &self.base)?);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (certificate, key) = (self.base.join(&client.certificate), self.base.join(&client.key));
                let unread = |path: &Path, why: &dyn std::fmt::Display| {
                    ReadError::Setup(format!("the client's certificate: {}: {why}", path.display()))
                };
                let chain = CertificateDer::pem_file_iter(&certificate)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|e| unread(&certificate, &e))?;
                let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| unread(&key, &e))?;
                builder.with_client_auth_cert(chain, private).map_err(|e| unread(&certificate, &e))?
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|word| word.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

fn roots(ca: Option<&PathBuf>, base: &Path) -> Result<rustls::RootCertStore, ReadError> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(file) => {
            let path = base.join(file);
            let setup =
                |why: String| ReadError::Setup(format!("the authorities in {}: {why}", path.display()));
            let all = CertificateDer::pem_file_iter(&path).map_err(|e| setup(e.to_string()))?;
            for certificate in all {
                let certificate = certificate.map_err(|e| setup(e.to_string()))?;
                roots.add(certificate).map_err(|e| setup(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(setup("there is no certificate in it".to_owned()));
            }
        }
        None => {
            // One certificate of the machine that can't be read is none of our business; none at all shows when
            // the server's is not trusted.
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}
