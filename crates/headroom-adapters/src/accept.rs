//! TLS with those who connect to an address of ours.
//!
//! Certificates are replaced while programs run, so the files are looked at for each connection. They are replaced one by
//! one: until they belong together again, the last ones that did are used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_core::fleet::ServerCertificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A larger file is refused: bundles of all the world's authorities take a quarter of it.
const LARGEST: u64 = 1024 * 1024;
/// How long TLS may take to be agreed on.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Speaks TLS with those who connect.
pub(crate) struct Acceptor {
    files: ServerCertificate,
    /// Files are relative to it.
    base: PathBuf,
    /// What may be spoken within, the most wanted first.
    within: &'static [&'static [u8]],
    used: Mutex<Option<Used>>,
}

/// What is used.
struct Used {
    /// What stands in the files, to see whether they changed.
    read: Read,
    config: Arc<ServerConfig>,
    /// Why the files can't be used as they are now; said once.
    wrong: Option<String>,
}

/// What stands in the files.
#[derive(PartialEq)]
struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
    clients: Option<Vec<u8>>,
}

/// Why TLS was not agreed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAgreed {
    /// Who connected left without a word, as probes of health do.
    #[error("who connected left")]
    Left,
    /// It can't be.
    #[error("{0}")]
    Wrong(String),
}

impl Acceptor {
    /// Speaks TLS with the certificate in `files`, and one of `within` inside of it, as its client chooses.
    pub(crate) fn new(files: ServerCertificate, base: &Path, within: &'static [&'static [u8]]) -> Self {
        Self { files, base: base.to_owned(), within, used: Mutex::new(None) }
    }

    /// What is to be used now.
    ///
    /// # Errors
    /// Where the files were never usable; names the one that is not.
    pub(crate) async fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let read = self.read().await;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Ok(read), Some(used)) = (&read, &*used)
            && *read == used.read
        {
            return Ok(Arc::clone(&used.config));
        }
        let made = read.and_then(|read| Ok((self.make(&read)?, read)));
        match (made, &mut *used) {
            (Ok((config, read)), used) => {
                let config = Arc::new(config);
                *used = Some(Used { read, config: Arc::clone(&config), wrong: None });
                Ok(config)
            }
            (Err(why), None) => Err(why),
            (Err(why), Some(used)) => {
                if used.wrong.as_ref() != Some(&why) {
                    tracing::warn!(error = why, "TLS goes on with the certificate that was there before");
                    used.wrong = Some(why);
                }
                Ok(Arc::clone(&used.config))
            }
        }
    }

    /// Agrees on TLS with someone who connected.
    ///
    /// # Errors
    /// Where that is not possible, or not in time.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, NotAgreed> {
        let agreed = async {
            let config = self.config().await.map_err(NotAgreed::Wrong)?;
            TlsAcceptor::from(config).accept(stream).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => NotAgreed::Left,
                _ => NotAgreed::Wrong(format!("TLS: {error}")),
            })
        };
        let late = |_| NotAgreed::Wrong("TLS was not agreed on in time".to_owned());
        tokio::time::timeout(HANDSHAKE_WITHIN, agreed).await.map_err(late)?
    }

    async fn read(&self) -> Result<Read, String> {
        let ServerCertificate { certificate, key, client_ca } = &self.files;
        Ok(Read {
            certificate: self.pem(certificate).await?,
            key: self.pem(key).await?,
            clients: match client_ca {
                Some(file) => Some(self.pem(file).await?),
                None => None,
            },
        })
    }

    async fn pem(&self, file: &Path) -> Result<Vec<u8>, String> {
        let mut pem = Vec::new();
        let read = async {
            let open = File::open(self.base.join(file)).await?;
            open.take(LARGEST + 1).read_to_end(&mut pem).await
        };
        read.await.map_err(|error| self.wrong(file, &error))?;
        if pem.len() as u64 > LARGEST {
            return Err(self.wrong(file, &format!("it is larger than {LARGEST} bytes")));
        }
        Ok(pem)
    }

    fn wrong(&self, file: &Path, why: &dyn std::fmt::Display) -> String {
        format!(
            "{} can't be used: {why}; it must be a PEM file that headroom may read",
            self.base.join(file).display()
        )
    }

    fn make(&self, read: &Read) -> Result<ServerConfig, String> {
        let ServerCertificate { certificate, key, client_ca } = &self.files;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match (client_ca, &read.clients) {
            (Some(file), Some(clients)) => {
                let mut roots = RootCertStore::empty();
                for authority in self.certificates(file, clients)? {
                    roots.add(authority).map_err(|error| self.wrong(file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| self.wrong(file, &error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let chain = self.certificates(certificate, &read.certificate)?;
        let private = PrivateKeyDer::from_pem_slice(&read.key).map_err(|error| self.wrong(key, &error))?;
        let mut config = builder.with_single_cert(chain, private).map_err(|error| {
            let (certificate, key) = (self.base.join(certificate), self.base.join(key));
            format!("{} and {} don't belong together: {error}", certificate.display(), key.display())
        })?;
        config.alpn_protocols = self.within.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    fn certificates(&self, file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let all = all.map_err(|error| self.wrong(file, &error))?;
        if all.is_empty() { Err(self.wrong(file, &"there is no certificate in it")) } else { Ok(all) }
    }
}
