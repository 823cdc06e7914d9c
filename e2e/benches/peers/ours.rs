//! Our gateway, and a runtime that echoes: the two programs that this one is when it runs itself.

use std::{io::Write as _, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use harmonybatch_gateway::{
    Options,
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    protocol::Wire,
    serve,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{net::TcpListener, sync::watch};

use super::{BATCH_SIZE, MAX_WAIT, servers::MODEL};

/// Binds a port, and says so on the first line of the output.
async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    Ok(listener)
}

/// A gateway with one application in one group with one replica.
pub(crate) async fn gateway(wire: &str, runtime: &str) -> Result<()> {
    let member = MemberConfig {
        app: "app".into(),
        service_name: "app-infer".into(),
        slo: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        max_wait: MAX_WAIT,
        contract: None,
        departing: false,
    };
    let group = GroupConfig {
        key: Key::new("default", "group"),
        plan_generation: 1,
        batch_size: BATCH_SIZE,
        members: vec![Arc::new(member)],
        model: MODEL.into(),
        runtime_model: MODEL.into(),
        endpoints: vec![runtime.parse().context("no address of a runtime")?],
        idempotent: true,
        wire: if wire == "binary" {
            Wire::Binary
        } else {
            Wire::Json
        },
        wake: None,
    };
    let snapshot = Snapshot {
        groups: [(group.key.clone(), Arc::new(group))].into(),
        ..Snapshot::default()
    };
    let (_keep, source) = watch::channel(Some(Arc::new(snapshot)));
    let admin = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let options = Options::default();
    serve(
        options,
        listen().await?,
        admin,
        source,
        None,
        std::future::pending(),
    )
    .await?;
    Ok(())
}

/// A runtime of JSON that gives its input back.
pub(crate) async fn echo() -> Result<()> {
    let listener = listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    let text = text.replacen("\"inputs\"", "\"outputs\"", 1);
    let answer = text.replacen("\"input\"", "\"output\"", 1);
    Ok(Response::new(Full::new(Bytes::from(answer))))
}
