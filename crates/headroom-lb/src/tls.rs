//! TLS termination: certificate and key from PEM files, read anew each time a service is put.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::settings::TlsFiles;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read the {what} {path}: {why}; it must be a PEM file this process may read")]
    Read { what: &'static str, path: String, why: String },
    #[error("certificate {cert} and key {key} cannot be used: {why}; do they belong together?")]
    Unusable { cert: String, key: String, why: rustls::Error },
}

/// Reads the files and makes a server of them that offers HTTP/2 and HTTP/1.1.
pub(crate) fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable =
        |what, path: &Path, why: String| TlsError::Read { what, path: path.display().to_string(), why };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.cert).and_then(|certificates| certificates.collect());
    let chain = chain.map_err(|e| unreadable("certificate", &files.cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable("certificate", &files.cert, "it has no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|e| unreadable("private key", &files.key, e.to_string()))?;
    let unusable = |why| TlsError::Unusable {
        cert: files.cert.display().to_string(),
        key: files.key.display().to_string(),
        why,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
