//! The configuration from an API server: lists, watches, an object that does not parse, and an outage.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use harmonybatch_gateway::config::{ConfigSource, Key, Snapshot, kubernetes};
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::JoinSet,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The part of an API server that a watch sees: two lists, and events for everyone who watches.
#[derive(Clone)]
struct Api {
    groups: Arc<Mutex<Vec<Value>>>,
    slices: Arc<Mutex<Vec<Value>>>,
    events: broadcast::Sender<(&'static str, Value)>,
    /// Kinds whose past the server has forgotten: a watch of them must list again.
    expired: Arc<Mutex<Vec<&'static str>>>,
    /// While false, connections are closed as they come, and those that are open are cut.
    up: watch::Sender<bool>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Api {
    async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Self {
            groups: Arc::default(),
            slices: Arc::default(),
            events: broadcast::channel(64).0,
            expired: Arc::default(),
            up: watch::channel(true).0,
        };
        let serving = api.clone();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut up = serving.up.subscribe();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        if *up.borrow() {
                            let api = serving.clone();
                            let service = service_fn(move |request| {
                                let answer = api.answer(&request);
                                async move { Ok::<_, Infallible>(answer) }
                            });
                            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                        }
                    }
                    Ok(()) = up.changed() => if !*up.borrow_and_update() {
                        connections.abort_all();
                    },
                }
            }
        });
        (api, address)
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let of_groups = request.uri().path().ends_with("/inferencegroups");
        let (kind, list) = if of_groups {
            ("groups", &self.groups)
        } else {
            ("slices", &self.slices)
        };
        let query = request.uri().query().unwrap_or_default();
        assert!(
            of_groups || query.contains("labelSelector=harmonybatch.dev"),
            "{query}"
        );
        if !query.contains("watch=true") {
            self.expired.lock().unwrap().retain(|expired| *expired != kind);
            let items = list.lock().unwrap().clone();
            let body = json!({"metadata": {"resourceVersion": "1"}, "items": items}).to_string();
            return Response::new(http_body_util::Full::new(Bytes::from(body)).boxed_unsync());
        }
        if self.expired.lock().unwrap().contains(&kind) {
            let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": "too old", "reason": "Expired", "code": 410}});
            return Response::new(http_body_util::Full::new(Bytes::from(format!("{gone}\n"))).boxed_unsync());
        }
        let events = futures::stream::unfold(self.events.subscribe(), move |mut events| async move {
            loop {
                let (of, event) = events.recv().await.ok()?;
                if of == kind {
                    return Some((Ok(Frame::data(Bytes::from(format!("{event}\n")))), events));
                }
            }
        });
        Response::new(StreamBody::new(events.boxed()).boxed_unsync())
    }

    /// Waits until so many watch.
    async fn watchers(&self, reached: impl Fn(usize) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !reached(self.events.receiver_count()) {
                tokio::task::yield_now().await;
            }
        });
        waited.await.unwrap();
    }

    /// Tells the watchers; waits until there is one of each kind.
    async fn event(&self, of: &'static str, kind: &str, object: &Value) {
        self.watchers(|count| count >= 2).await;
        self.events
            .send((of, json!({"type": kind, "object": object})))
            .unwrap();
    }
}

fn group(name: &str, generation: i64) -> Value {
    let member = json!({"app": "search", "serviceName": "search-infer", "slo": "500ms", "percentile": "99",
        "rate": "5/s", "timeout": "2s", "maxWait": "0s"});
    json!({
        "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceGroup",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "2"},
        "spec": {"modelRef": {"name": "mlp"}, "planGeneration": generation, "image": "i",
            "device": {"cpu": {"limit": "1"}}, "batchSize": 8, "dispatch": "Eager", "replicas": 1,
            "serving": "Deployment", "members": [member]},
        "status": {"active": {"planGeneration": generation, "members": [member], "batchSize": 8, "dispatch": "Eager",
            "replicas": 1, "modelName": "net", "overhead": "5ms",
            "endpoints": {"service": format!("{name}-serve"), "port": "http"}}},
    })
}

fn slice(group: &str, address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{group}-x"), "namespace": "shop", "resourceVersion": "2",
            "labels": {"kubernetes.io/service-name": format!("{group}-serve"), "harmonybatch.dev/group": group}},
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
    })
}

async fn until(source: &mut ConfigSource, reached: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let waited = source.wait_for(|snapshot| snapshot.as_ref().is_some_and(|snapshot| reached(snapshot)));
    let snapshot = tokio::time::timeout(PATIENCE, waited)
        .await
        .unwrap_or_else(|_| panic!("waited in vain"))
        .unwrap();
    snapshot.clone().unwrap()
}

fn generation(snapshot: &Snapshot, name: &str) -> Option<i64> {
    snapshot
        .groups
        .get(&Key::new("shop", name))
        .map(|group| group.plan_generation)
}

#[tokio::test]
async fn the_last_good_configuration_stands_through_broken_objects_and_outages() {
    let (api, address) = Api::start().await;
    let mut broken = group("broken", 1);
    broken["spec"]["batchSize"] = json!("many");
    api.groups.lock().unwrap().extend([broken, group("good", 1)]);
    api.slices.lock().unwrap().push(slice("good", "10.0.0.1"));
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    let (mut source, watching) = kubernetes::watch(kube::Client::try_from(config).unwrap());
    tokio::spawn(watching);

    // One object does not parse; the other is served.
    let snapshot = until(&mut source, |_| true).await;
    assert_eq!(
        (generation(&snapshot, "good"), generation(&snapshot, "broken")),
        (Some(1), None)
    );
    let endpoints = &snapshot.groups[&Key::new("shop", "good")].endpoints;
    assert_eq!(*endpoints, ["10.0.0.1:8080".parse().unwrap()]);

    // It stands when it becomes broken itself.
    let mut broken = group("good", 2);
    broken["status"]["active"]["members"][0]["slo"] = json!("fast");
    api.event("groups", "MODIFIED", &broken).await;
    api.event("groups", "ADDED", &group("more", 1)).await;
    let snapshot = until(&mut source, |snapshot| generation(snapshot, "more").is_some()).await;
    assert_eq!(generation(&snapshot, "good"), Some(1));
    api.event("slices", "DELETED", &slice("good", "10.0.0.1")).await;
    until(&mut source, |snapshot| {
        snapshot.groups[&Key::new("shop", "good")].endpoints.is_empty()
    })
    .await;

    // The API goes; what changed meanwhile is seen when it is back, and nothing is lost before.
    api.up.send_replace(false);
    api.watchers(|count| count == 0).await;
    *api.groups.lock().unwrap() = vec![group("good", 3)];
    api.expired.lock().unwrap().push("groups");
    assert_eq!(generation(source.borrow().as_ref().unwrap(), "more"), Some(1));
    api.up.send_replace(true);
    let snapshot = until(&mut source, |snapshot| generation(snapshot, "good") == Some(3)).await;
    assert_eq!(generation(&snapshot, "more"), None);
}
