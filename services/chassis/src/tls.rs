//! Certificates of the gRPC port and of calls to other targets: read from files, and read again when they change.
//!
//! A renewal needs no restart: new connections get the new certificate, and calls to other targets connect anew with
//! it. Files that cannot be used change nothing; they are told in the log until they can.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use eventstore::metric::{Gauge, Metric};
use futures::stream::{Stream, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use x509_cert::der::Decode as _;
use zeroize::Zeroizing;

use crate::settings;

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long a caller may take to say hello, and how many may do so at once.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 1024;
/// gRPC first; plain HTTP is answered on the same port.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Unix time at which the certificate in a file ends.
pub(crate) static EXPIRES: Metric<Gauge, 1> = Metric::gauge_s(
    "rapport.certificate.expires",
    ["file"],
    "Unix time at which the certificate that is in use ends; the label is its file",
);

/// The certificates could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {path}")]
    Read { path: String, source: io::Error },
    #[error("{path} holds no {what} in PEM")]
    Pem { path: String, what: &'static str },
    #[error("{path} does not hold the key of the certificate, or not one that can be used")]
    Key { path: String, source: rustls::Error },
    #[error("{path} vouches for nobody")]
    Authorities { path: String },
}

/// What is in use now.
#[derive(Debug)]
pub struct Tls {
    settings: settings::Tls,
    current: RwLock<Current>,
    /// Grows with every renewal.
    generation: AtomicU64,
}

#[derive(Debug)]
struct Current {
    files: Files,
    server: Option<Arc<ServerConfig>>,
    client: ClientTlsConfig,
}

/// The files as they were read, those that a setting names.
#[derive(PartialEq, Eq)]
struct Files {
    chain: Option<Vec<u8>>,
    key: Option<Zeroizing<Vec<u8>>>,
    callers: Option<Vec<u8>>,
    targets: Option<Vec<u8>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

impl Tls {
    /// Reads what the settings name.
    pub fn read(settings: &settings::Tls) -> Result<Arc<Self>, Error> {
        let current = Current::of(settings, Files::read(settings)?)?;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            current: RwLock::new(current),
            generation: AtomicU64::new(0),
        }))
    }

    /// Reads again when something changed; whether it did.
    pub fn look(&self) -> Result<bool, Error> {
        let files = Files::read(&self.settings)?;
        if files == self.current.read().unwrap_or_else(PoisonError::into_inner).files {
            return Ok(false);
        }
        let current = Current::of(&self.settings, files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(true)
    }

    /// Looks again and again.
    pub(crate) async fn keep_looking(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            match self.look() {
                Ok(false) => {}
                Ok(true) => tracing::info!("certificates were renewed"),
                Err(error) => {
                    let error = crate::status::chain(&error);
                    tracing::error!(error, "new certificates cannot be used; the old ones stay");
                }
            }
        }
    }

    /// Whether there is anything to look at.
    pub(crate) fn is_used(&self) -> bool {
        self.settings != settings::Tls::default()
    }

    /// Whether the gRPC port speaks TLS.
    pub(crate) fn serves(&self) -> bool {
        self.server().is_some()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How another target is called.
    pub fn client(&self) -> ClientTlsConfig {
        self.current.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).server.clone()
    }

    /// Connections that have shaken hands. A caller that cannot is nobody's failure but its own.
    pub(crate) fn incoming(
        self: Arc<Self>,
        incoming: TcpIncoming,
    ) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
        let shaken = move |accepted: io::Result<TcpStream>| {
            let server = self.server();
            async move {
                let (stream, server) = match (accepted, server) {
                    (Ok(stream), Some(server)) => (stream, server),
                    (Err(error), _) => return Some(Err(error)),
                    (Ok(_), None) => return None,
                };
                let hands = TlsAcceptor::from(server).accept(stream);
                match tokio::time::timeout(HANDSHAKE, hands).await {
                    Ok(Ok(stream)) => Some(Ok(stream)),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a caller did not get through the handshake");
                        None
                    }
                    Err(_) => None,
                }
            }
        };
        incoming.map(shaken).buffer_unordered(HANDSHAKES).filter_map(std::future::ready)
    }
}

impl Files {
    fn read(settings: &settings::Tls) -> Result<Self, Error> {
        Ok(Self {
            chain: read(&settings.cert_file)?,
            key: read(&settings.key_file)?.map(Zeroizing::new),
            callers: read(&settings.client_ca_file)?,
            targets: read(&settings.ca_file)?,
        })
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    std::fs::read(path).map(Some).map_err(|source| Error::Read { path: shown(path), source })
}

impl Current {
    fn of(settings: &settings::Tls, files: Files) -> Result<Self, Error> {
        let mut client = ClientTlsConfig::new().with_webpki_roots();
        if let Some(targets) = &files.targets {
            // Looked at here, so that a broken file is told before the first call.
            authorities(&settings.ca_file, targets)?;
            client = client.ca_certificate(Certificate::from_pem(targets));
        }
        let mut server = None;
        if let (Some(chain), Some(key)) = (&files.chain, &files.key) {
            server = Some(serving(settings, (chain, key), files.callers.as_deref())?);
            client = client.identity(Identity::from_pem(chain, key.as_slice()));
        }
        Ok(Self { files, server, client })
    }
}

/// How the port is served: with a chain and its key, to callers that authorities vouch for.
fn serving(
    settings: &settings::Tls,
    (chain, key): (&[u8], &[u8]),
    callers: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, Error> {
    let (of, key_of) = (shown(&settings.cert_file), shown(&settings.key_file));
    let chain = certificates(&settings.cert_file, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Error::Pem { path: key_of.clone(), what: "private key" })?;
    let refused = |source| Error::Key { path: key_of.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_safe_default_protocol_versions().map_err(refused)?;
    let config = match callers {
        None => config.with_no_client_auth(),
        Some(callers) => {
            let path = &settings.client_ca_file;
            let roots = Arc::new(authorities(path, callers)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let nobody = |_| Error::Authorities { path: shown(path) };
            config.with_client_cert_verifier(verifier.map_err(nobody)?)
        }
    };
    let expires = chain.first().and_then(expires);
    let mut config = config.with_single_cert(chain, key).map_err(refused)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if let Some(expires) = expires {
        EXPIRES.set(expires.as_secs_f64(), [&of]);
    }
    Ok(Arc::new(config))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.ok().filter(|it| !it.is_empty());
    found.ok_or_else(|| Error::Pem { path: shown(path), what: "certificate" })
}

fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path, pem)?);
    match roots.is_empty() {
        true => Err(Error::Authorities { path: shown(path) }),
        false => Ok(roots),
    }
}

/// When a certificate ends, after the beginning of 1970.
fn expires(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let read = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(read.tbs_certificate.validity.not_after.to_unix_duration())
}

#[cfg(test)]
mod tests;
