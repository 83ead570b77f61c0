//! TLS with those who connect to an address of ours.
//!
//! Certificates are replaced while programs run, so the files are looked at for each connection. They are replaced one by
//! one: until they belong together again, the last ones that did are used.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_core::fleet::ServerCertificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// More of a file is not read: bundles of all the world's authorities take a quarter of it.
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

impl Acceptor {
    /// Speaks TLS with the certificate in `files`, and one of `within` inside of it, as its client chooses.
    pub(crate) fn new(files: ServerCertificate, base: &Path, within: &'static [&'static [u8]]) -> Self {
        Self { files, base: base.to_owned(), within, used: Mutex::new(None) }
    }

    /// What is to be used now.
    ///
    /// # Errors
    /// Where the files were never usable; names the one that is not.
    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.read();
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
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let config = self.config()?;
        tokio::time::timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(config).accept(stream))
            .await
            .map_err(|_| "TLS was not agreed on in time".to_owned())?
            .map_err(|error| format!("TLS: {error}"))
    }

    fn read(&self) -> Result<Read, String> {
        let read = |file: &PathBuf| -> Result<Vec<u8>, String> {
            let mut read = Vec::new();
            File::open(self.base.join(file))
                .and_then(|open| open.take(LARGEST).read_to_end(&mut read))
                .map_err(|error| self.wrong(file, &error))?;
            Ok(read)
        };
        Ok(Read {
            certificate: read(&self.files.certificate)?,
            key: read(&self.files.key)?,
            clients: self.files.client_ca.as_ref().map(read).transpose()?,
        })
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
