//! Clients that others wrote, before a gateway on loopback with a runtime of each encoding: our own echo, and a server that others wrote.

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

use e2e::wait;
use echo::{Echo, GrpcEcho};
use harmonybatch_gateway::{
    Options,
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    protocol::Wire,
    serve,
};
use python::{MlServer, Triton};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// An application, named after what the one runtime of its group speaks.
fn group(name: &str, wire: Wire, runtime: SocketAddr) -> Arc<GroupConfig> {
    let member = MemberConfig {
        app: name.into(),
        service_name: format!("{name}-infer").into(),
        slo: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        max_wait: Duration::ZERO,
        contract: None,
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
        idempotent: true,
        endpoints: vec![runtime],
        wake: None,
    })
}

/// Triton's clients, in a script of ours, before a gateway with these applications, and its own word that all of them were served.
async fn serve_all(script: &'static str, runtimes: &[(&'static str, Wire, SocketAddr)]) {
    let mut snapshot = Snapshot::default();
    for (name, wire, runtime) in runtimes {
        let group = group(name, *wire, *runtime);
        snapshot.groups.insert(group.key.clone(), group);
    }
    let (_source, config) = watch::channel(Some(Arc::new(snapshot)));
    let callers = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = callers.local_addr().unwrap().to_string();
    tokio::spawn(serve(
        Options::default(),
        callers,
        admin,
        config,
        None,
        std::future::pending(),
    ));
    let names: Vec<&str> = runtimes.iter().map(|(name, ..)| *name).collect();
    let served: Vec<String> = names.iter().map(|name| format!("{name}: served")).collect();
    let said = tokio::task::spawn_blocking(move || {
        let arguments = [&[address.as_str()], names.as_slice()].concat();
        python::run("tritonclient", script, &arguments)
    });
    assert_eq!(said.await.unwrap().unwrap().trim_end(), served.join("\n"));
}

/// Until these ports are open. MLServer and Triton open theirs once their models are there.
async fn listens(addresses: &[SocketAddr]) {
    for address in addresses {
        let open = wait::found(Duration::from_mins(1), async || {
            Ok(TcpStream::connect(address).await.ok())
        });
        assert!(
            open.await.unwrap().is_some(),
            "{address} was not opened within a minute"
        );
    }
}

#[tokio::test]
async fn tritons_clients_get_back_what_they_send_in_every_encoding() {
    let (rest, grpc) = (Echo::start().await, GrpcEcho::start().await);
    serve_all(
        "callers.py",
        &[
            ("json", Wire::Json, rest.address),
            ("binary", Wire::Binary, rest.address),
            ("grpc", Wire::Grpc, grpc.address),
        ],
    )
    .await;
}

#[tokio::test]
async fn tritons_clients_are_served_by_mlserver_over_rest_and_over_grpc() {
    let server = tokio::task::spawn_blocking(MlServer::start)
        .await
        .unwrap()
        .unwrap();
    listens(&[server.rest, server.grpc]).await;
    serve_all(
        "callers.py",
        &[
            ("mlserver-json", Wire::Json, server.rest),
            ("mlserver-grpc", Wire::Grpc, server.grpc),
        ],
    )
    .await;
}

#[tokio::test]
async fn tritons_clients_are_served_by_triton_in_every_encoding() {
    let server = tokio::task::spawn_blocking(Triton::start).await.unwrap().unwrap();
    listens(&[server.rest, server.grpc]).await;
    serve_all(
        "triton_callers.py",
        &[
            ("triton-json", Wire::Json, server.rest),
            ("triton-binary", Wire::Binary, server.rest),
            ("triton-grpc", Wire::Grpc, server.grpc),
        ],
    )
    .await;
}
