//! The door: a webhook that the API server asks about every Service before it is stored, as it asks Knative's.
//!
//! Defaults must be written here and not afterwards. A server-side apply replaces the list of containers as a whole, because Knative's
//! kind does not say how to merge it: defaults that came later would be taken away by the next apply and come back, each time as a new
//! generation. Written at the door, the same apply gives the same object, and nothing changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{MANAGER, defaults, validation};

/// Name of the webhook's registration.
pub(super) const REGISTRATION: &str = "knative-stand-in";
/// Name by which the API server quotes it.
const WEBHOOK: &str = "stand-in.serving.knative.dev";
/// Where Knative's settings are.
pub(super) const SYSTEM_NAMESPACE: &str = "knative-serving";
/// Which fields of a Pod a Service may set.
pub(super) const FEATURES: &str = "config-features";
/// A Service is smaller than the longest object that the API server takes.
const LONGEST_REVIEW: usize = 8 << 20;
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// As long as the API server waits for an answer.
const TIMEOUT_SECONDS: i32 = 10;

/// The webhook, listening.
pub(super) struct Webhook {
    client: Client,
    address: SocketAddr,
    listener: TcpListener,
    tls: TlsAcceptor,
    /// Of the certificate that it shows, in PEM.
    certificate: String,
}

impl Webhook {
    /// Listens with a certificate of its own making, for this address.
    pub(super) async fn bind(client: Client, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen at {address}"))?;
        let pair = rcgen::generate_simple_self_signed([address.ip().to_string()])
            .context("cannot make a certificate")?;
        let key = PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![pair.cert.der().clone()], key)
            })
            .context("cannot use the certificate")?;
        Ok(Self {
            client,
            address,
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            certificate: pair.cert.pem(),
        })
    }

    /// Tells the API server to ask here about every Service.
    pub(super) async fn register(&self) -> Result<()> {
        let registration: MutatingWebhookConfiguration = serde_json::from_value(json!({
            "metadata": { "name": REGISTRATION, "annotations": { super::SAYS_SO.0: super::SAYS_SO.1 } },
            "webhooks": [{
                "name": WEBHOOK,
                "admissionReviewVersions": ["v1"],
                "clientConfig": { "url": format!("https://{}/", self.address), "caBundle": ByteString(self.certificate.clone().into_bytes()) },
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "rules": [{ "apiGroups": ["serving.knative.dev"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["services"], "scope": "*" }],
                "sideEffects": "None",
                "timeoutSeconds": TIMEOUT_SECONDS,
            }],
        }))
        .context("the webhook's registration")?;
        let api = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        api.patch(
            &registration.name_any(),
            &PatchParams::apply(MANAGER).force(),
            &Patch::Apply(&registration),
        )
        .await?;
        Ok(())
    }

    /// Answers for ever.
    pub(super) async fn serve(&self) {
        loop {
            // A connection that cannot be taken is the API server's to try again.
            let Ok((stream, _)) = self.listener.accept().await else {
                continue;
            };
            let (client, tls) = (self.client.clone(), self.tls.clone());
            tokio::spawn(connection(client, tls, stream));
        }
    }
}

async fn connection(client: Client, tls: TlsAcceptor, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_LIMIT, tls.accept(stream)).await else {
        return;
    };
    let answer = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(answer(&client, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), answer);
    // The API server sees a broken connection itself.
    let _ = served.await;
}

async fn answer(client: &Client, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match review(client, request).await {
        Ok(review) => Response::new(Full::from(review.to_string())),
        Err(error) => {
            let mut response = Response::new(Full::from(format!("{error:#}")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn review(client: &Client, request: Request<Incoming>) -> Result<Value> {
    let body = Limited::new(request.into_body(), LONGEST_REVIEW).collect().await;
    let body = body
        .map_err(|error| anyhow::anyhow!("no review came: {error}"))?
        .to_bytes();
    let review: Value = serde_json::from_slice(&body).context("the review is no JSON")?;
    let settings = Api::<ConfigMap>::namespaced(client.clone(), SYSTEM_NAMESPACE)
        .get_opt(FEATURES)
        .await?;
    Ok(decide(
        &review["request"],
        &settings.and_then(|settings| settings.data).unwrap_or_default(),
    ))
}

/// The answer to a request for review.
fn decide(request: &Value, features: &BTreeMap<String, String>) -> Value {
    let object = &request["object"];
    let creating = request["operation"] == "CREATE";
    let mut spec = object["spec"].clone();
    defaults::apply(&mut spec, creating);
    let problems = validation::problems(&spec, features);
    let mut response = json!({ "uid": request["uid"], "allowed": problems.is_empty() });
    if problems.is_empty() {
        let patch = patch(request, &spec, creating);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(ByteString(patch.to_string().into_bytes()));
    } else {
        response["status"] = json!({ "code": 400, "reason": "BadRequest", "message": format!("validation failed: {}", problems.join("\n")) });
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}

/// Defaults, and who made and last changed the Service (`pkg/apis/serving/metadata_validation.go`, `SetUserInfo`).
fn patch(request: &Value, spec: &Value, creating: bool) -> Value {
    let (object, user) = (&request["object"], &request["userInfo"]["username"]);
    let mut annotations = object["metadata"]["annotations"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    if creating {
        annotations.insert("serving.knative.dev/creator".to_owned(), user.clone());
    }
    if creating || request["oldObject"]["spec"] != *spec {
        annotations.insert("serving.knative.dev/lastModifier".to_owned(), user.clone());
    }
    json!([
        { "op": "replace", "path": "/spec", "value": spec },
        { "op": "add", "path": "/metadata/annotations", "value": annotations },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(image: &str) -> Value {
        json!({
            "uid": "u", "operation": "CREATE", "userInfo": { "username": "anna" },
            "object": { "metadata": { "name": "g" }, "spec": { "template": { "spec": { "containers": [{ "image": image }] } } } },
        })
    }

    #[test]
    fn a_good_service_comes_back_with_defaults() {
        let answer = decide(&request("i"), &BTreeMap::new());
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["uid"], "u");
        let patch: ByteString = serde_json::from_value(answer["response"]["patch"].clone()).expect("base64");
        let patch: Value = serde_json::from_slice(&patch.0).expect("JSON");
        assert_eq!(patch[0]["value"]["template"]["spec"]["timeoutSeconds"], 300);
        assert_eq!(patch[1]["value"]["serving.knative.dev/creator"], "anna");
    }

    #[test]
    fn a_bad_one_is_refused_with_the_reason() {
        let answer = decide(&request(""), &BTreeMap::new());
        assert_eq!(answer["response"]["allowed"], false);
        let message = answer["response"]["status"]["message"]
            .as_str()
            .expect("a message");
        assert!(
            message.contains("spec.template.spec.containers[0].image"),
            "{message}"
        );
    }
}
