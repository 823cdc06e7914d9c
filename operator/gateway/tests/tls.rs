//! TLS of the callers' port.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use harmonybatch_gateway::{
    Options,
    listener::{Tls, TlsFiles},
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Gateway, Runtime, echoed, group, member, options, request, snapshot, soon};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

const NAME: &str = "search-infer.shop";

/// An authority of its own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([NAME.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    fn write(&self, folder: &TempDir) {
        replace(folder, "tls.key", &self.key);
        replace(folder, "tls.crt", &self.certificate);
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()]
    }
}

/// At once, as a mounted Secret is replaced.
fn replace(folder: &TempDir, name: &str, text: &str) {
    let next = folder.path().join("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, folder.path().join(name)).unwrap();
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        client_ca: None,
    }
}

async fn serve(tls: TlsFiles) -> (Gateway, Runtime) {
    let runtime = Runtime::start().await;
    let members = [member("search", Duration::ZERO, Duration::from_secs(30))];
    let config = snapshot([group("mlp-a", &members, &[runtime.address])]);
    let mut options = Options {
        tls: Some(tls),
        tls_interval: Duration::from_millis(5),
        ..options()
    };
    options.bounds.handshake_timeout = Duration::from_secs(2);
    (Gateway::start_with(Some(config), options).await, runtime)
}

/// Connects as one who trusts `authority`.
async fn connect(
    gateway: &Gateway,
    authority: &Authority,
    own: Option<&Identity>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(own.chain(), key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(gateway.callers).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    soon(connector.connect(ServerName::try_from(NAME).unwrap(), stream)).await
}

fn infer() -> Request<Full<Bytes>> {
    Request::post(format!("http://{NAME}/v2/models/mlp/infer"))
        .header("host", NAME)
        .body(Full::from(request("x", 7, 1).to_string()))
        .unwrap()
}

/// Asks for an inference over HTTP/1.1.
async fn ask(stream: TlsStream<TcpStream>) -> Result<StatusCode, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = soon(sender.send_request(infer())).await?.into_parts();
    let body: serde_json::Value = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap();
    assert_eq!(body["outputs"][0]["data"], echoed(7, 1));
    Ok(head.status)
}

async fn until_counted(gateway: &Gateway, metric: &str, least: u64) {
    soon(async {
        loop {
            let (_, metrics) = gateway.admin("/metrics").await;
            let count = metrics
                .lines()
                .find_map(|line| line.strip_prefix(metric)?.trim().parse().ok());
            if count.is_some_and(|count: u64| count >= least) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn callers_speak_either_version_over_tls() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    authority.issue().write(&folder);
    let (mut gateway, runtime) = serve(files(folder.path())).await;
    for protocols in [&[] as &[&str], &["http/1.1"]] {
        let stream = connect(&gateway, &authority, None, protocols).await.unwrap();
        assert_eq!(ask(stream).await.unwrap(), StatusCode::OK);
    }
    let stream = connect(&gateway, &authority, None, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(
        soon(sender.send_request(infer())).await.unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(runtime.rows(), [1, 1, 1]);
    gateway.shut_down();
    gateway.ended().await;
    soon(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let first = authority.issue();
    first.write(&folder);
    let (gateway, _runtime) = serve(files(folder.path())).await;
    let served = async || {
        let stream = connect(&gateway, &authority, None, &[]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap().to_vec()
    };
    assert_eq!(served().await, first.chain());
    let kept = connect(&gateway, &authority, None, &[]).await.unwrap();

    // The certificate alone: its key is another one's.
    let second = authority.issue();
    replace(&folder, "tls.crt", &second.certificate);
    until_counted(&gateway, "harmonybatch_gateway_tls_reload_failures_total", 1).await;
    assert_eq!(served().await, first.chain());
    second.write(&folder);
    until_counted(&gateway, "harmonybatch_gateway_tls_reloads_total", 1).await;
    assert_eq!(served().await, second.chain());

    replace(&folder, "tls.crt", "no certificate");
    until_counted(&gateway, "harmonybatch_gateway_tls_reload_failures_total", 2).await;
    assert_eq!(served().await, second.chain());
    std::fs::remove_file(folder.path().join("tls.crt")).unwrap();
    until_counted(&gateway, "harmonybatch_gateway_tls_reload_failures_total", 3).await;
    assert_eq!(served().await, second.chain());
    first.write(&folder);
    until_counted(&gateway, "harmonybatch_gateway_tls_reloads_total", 2).await;
    assert_eq!(served().await, first.chain());
    // None of this touched a connection that was there.
    assert_eq!(ask(kept).await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn where_callers_need_a_certificate_only_those_of_the_authority_are_served() {
    let (folder, authority, callers) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    authority.issue().write(&folder);
    let client_ca = folder.path().join("ca.crt");
    std::fs::write(&client_ca, callers.0.pem()).unwrap();
    let files = TlsFiles {
        client_ca: Some(client_ca),
        ..files(folder.path())
    };
    let (gateway, runtime) = serve(files).await;
    let known = connect(&gateway, &authority, Some(&callers.issue()), &[])
        .await
        .unwrap();
    assert_eq!(ask(known).await.unwrap(), StatusCode::OK);
    for own in [None, Some(authority.issue())] {
        // In TLS 1.3 a caller learns only afterwards that it was refused.
        if let Ok(stream) = connect(&gateway, &authority, own.as_ref(), &[]).await {
            assert!(ask(stream).await.is_err());
        }
    }
    until_counted(
        &gateway,
        "harmonybatch_gateway_refusals_total{cause=\"handshake\"}",
        2,
    )
    .await;
    assert_eq!(runtime.rows(), [1]);
}

#[tokio::test]
async fn what_is_no_handshake_is_closed_and_counted() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    authority.issue().write(&folder);
    let (gateway, runtime) = serve(files(folder.path())).await;
    let counted = "harmonybatch_gateway_refusals_total{cause=\"handshake\"}";
    for (sends, count) in [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(), 1),
        (b"\x16\x03\x01".as_slice(), 2),
        (b"", 3),
    ] {
        let mut stream = TcpStream::connect(gateway.callers).await.unwrap();
        stream.write_all(sends).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"));
        until_counted(&gateway, counted, count).await;
    }
    assert_eq!(runtime.rows(), Vec::<u64>::new());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let error = |files: TlsFiles| Tls::load(files).err().unwrap().to_string();
    assert!(error(files(folder.path())).ends_with("tls.crt"));
    authority.issue().write(&folder);
    assert!(Tls::load(files(folder.path())).is_ok());
    let without_ca = TlsFiles {
        client_ca: Some(folder.path().join("ca.crt")),
        ..files(folder.path())
    };
    assert!(error(without_ca.clone()).ends_with("ca.crt"));
    std::fs::write(folder.path().join("ca.crt"), "").unwrap();
    assert!(error(without_ca).contains("ca.crt holds no usable PEM"));
    std::fs::write(folder.path().join("tls.key"), "").unwrap();
    assert!(error(files(folder.path())).contains("tls.key holds no usable PEM"));
    std::fs::write(folder.path().join("tls.key"), authority.issue().key).unwrap();
    assert!(error(files(folder.path())).contains("cannot be used"));
}
