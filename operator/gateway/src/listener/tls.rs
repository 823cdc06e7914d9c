//! TLS of the callers' port: who the gateway is, who may call it, and that new certificates are taken without a restart.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject as _},
        },
        server::{VerifierBuilderError, WebPkiClientVerifier},
    },
    server::TlsStream,
};

/// Files in PEM form, as `kubernetes.io/tls` Secrets and cert-manager have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of callers. Where it is given, a caller without a certificate of theirs is refused.
    pub client_ca: Option<PathBuf>,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} holds no usable PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The certificate or an authority cannot be used, or the key is of another certificate.
    #[error("the certificate, its key or the callers' authorities cannot be used")]
    Rustls(#[from] rustls::Error),
    /// The callers' authorities cannot be used.
    #[error("the callers' authorities cannot be used")]
    ClientCa(#[from] VerifierBuilderError),
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// How often changed files were taken, and how often they were not.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Taken.
    pub taken: Counter,
    /// Not taken, for they were broken.
    pub failed: Counter,
}

impl Reloads {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tls_reloads",
            "Changed certificates that were taken",
            self.taken.clone(),
        );
        registry.register(
            "tls_reload_failures",
            "Changed certificates that are broken: the ones before are still in use",
            self.failed.clone(),
        );
    }
}

/// Makes TLS connections of accepted ones, with the certificate of now.
#[derive(Clone, Debug)]
pub struct Tls(watch::Receiver<Arc<ServerConfig>>);

/// Follows the files.
pub struct Following {
    files: TlsFiles,
    contents: Contents,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files once; [`Following::run`] goes on with it.
    ///
    /// # Errors
    /// Where they cannot be used.
    pub fn load(files: TlsFiles) -> Result<(Self, Following), TlsError> {
        let contents = Contents::read(&files)?;
        let (config, acceptor) = watch::channel(Arc::new(contents.config(&files)?));
        let following = Following {
            files,
            contents,
            config,
        };
        Ok((Self(acceptor), following))
    }

    /// The handshake (RFC 8446, section 2).
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.0.borrow().clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Following {
    /// Looks at the files each `interval`, and takes what has changed for the connections to come. Files that are broken change nothing.
    pub async fn run(mut self, interval: Duration, reloads: Reloads) {
        loop {
            tokio::time::sleep(interval).await;
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || Contents::read(&files)).await else {
                continue;
            };
            let config = match read {
                Ok(contents) if contents == self.contents => continue,
                Ok(contents) => {
                    // Said once, not each time.
                    self.contents = contents;
                    self.contents.config(&self.files)
                }
                Err(error) => Err(error),
            };
            match config {
                Ok(config) => {
                    reloads.taken.inc();
                    tracing::info!(certificate = %self.files.certificate.display(), "a new TLS certificate is in use");
                    self.config.send_replace(Arc::new(config));
                }
                Err(error) => {
                    reloads.failed.inc();
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        "the TLS files are broken: the certificate before stays in use"
                    );
                }
            }
        }
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(pem, path)? {
                    roots.add(root)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| broken(&files.key, source))?;
        let chain = certificates(&self.certificate, &files.certificate)?;
        // Also where the key is of another certificate, as when only one of the two files was replaced yet.
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(broken(path, pem::Error::NoItemsFound)),
        all => all.map_err(|source| broken(path, source)),
    }
}

fn broken(path: &Path, source: pem::Error) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        source,
    }
}
