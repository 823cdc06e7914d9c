//! Clients that others wrote, before a gateway on loopback with a runtime of each encoding.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    dead_code,
    unreachable_pub,
    reason = "the gateway's own tests use the rest of its runtimes"
)]

#[path = "../../../operator/gateway/tests/support/echo.rs"]
mod echo;
mod python;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use echo::{Echo, GrpcEcho};
use harmonybatch_gateway::{
    Options,
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    protocol::Wire,
    serve,
};
use tokio::{net::TcpListener, sync::watch};

/// An application, named after what the one runtime of its group speaks.
fn group(name: &str, wire: Wire, runtime: SocketAddr) -> Arc<GroupConfig> {
    let member = MemberConfig {
        app: name.into(),
        service_name: format!("{name}-infer").into(),
        slo: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        max_wait: Duration::ZERO,
        departing: false,
    };
    Arc::new(GroupConfig {
        key: Key::new("shop", name),
        plan_generation: 1,
        batch_size: 8,
        members: vec![Arc::new(member)],
        model: "mlp".into(),
        runtime_model: "net".into(),
        wire,
        endpoints: vec![runtime],
        wake: None,
    })
}

#[tokio::test]
async fn tritons_clients_get_back_what_they_send_in_every_encoding() {
    let (rest, grpc) = (Echo::start().await, GrpcEcho::start().await);
    let mut snapshot = Snapshot::default();
    for (name, wire, runtime) in [
        ("json", Wire::Json, rest.address),
        ("binary", Wire::Binary, rest.address),
        ("grpc", Wire::Grpc, grpc.address),
    ] {
        let group = group(name, wire, runtime);
        snapshot.groups.insert(group.key.clone(), group);
    }
    let (_source, config) = watch::channel(Some(Arc::new(snapshot)));
    let callers = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = callers.local_addr().unwrap();
    tokio::spawn(serve(
        Options::default(),
        callers,
        admin,
        config,
        None,
        std::future::pending(),
    ));
    let said = tokio::task::spawn_blocking(move || python::run("callers.py", &[&address.to_string()]));
    let said = said.await.unwrap().unwrap();
    assert_eq!(said, "json: served\nbinary: served\ngrpc: served\n");
}
