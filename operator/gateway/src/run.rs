//! The whole gateway, from its first connection to the end of its drain.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    admin::Admin,
    batcher::{Fleet, Limits},
    config::{ConfigSource, kubernetes},
    listener::{self, Bounds, Counts},
    memory::Budget,
    metrics::Metrics,
    service::Service,
    timer::Timer,
    upstream::HttpUpstream,
};

/// Longest time in which connections are still accepted after the shutdown began: kube-proxies learn that the gateway is not ready a moment later.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where probes, metrics and the controller connect.
    pub admin: SocketAddr,
    /// Domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// Longest time from the shutdown's begin to its end.
    pub drain: Duration,
    /// Longest body of a request, in bytes.
    pub body_limit: usize,
    /// Longest time that a body may take to come.
    pub body_timeout: Duration,
    /// Bytes of bodies that may be held in all: 503 beyond. What a request costs beside its body, most of all its place in a merged batch, is
    /// not counted: the process needs about four times as much.
    pub request_memory: usize,
    /// Bounds of the queues.
    pub limits: Limits,
    /// Bounds of the callers' connections.
    pub bounds: Bounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            admin: SocketAddr::from(([0, 0, 0, 0], 9090)),
            cluster_domain: "cluster.local".to_owned(),
            drain: Duration::from_secs(30),
            body_limit: 16 << 20,
            body_timeout: Duration::from_secs(30),
            request_memory: 256 << 20,
            limits: Limits::default(),
            bounds: Bounds::default(),
        }
    }
}

/// Why the gateway did not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or not ours to take.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A task that runs as long as the gateway does has ended, by a defect. What is served would never change again.
    #[error("the {0} ended")]
    Ended(&'static str),
}

/// Serves what the cluster's InferenceGroups say until `shutdown` ends and the drain after it.
///
/// The client should be made without kube's own retries and with timeouts for connecting.
///
/// # Errors
/// Where an address cannot be listened on.
pub async fn run(
    options: Options,
    client: kube::Client,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let listen = async |address| {
        TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })
    };
    let (callers, admin) = (listen(options.listen).await?, listen(options.admin).await?);
    let (source, watching) = kubernetes::watch(client);
    let mut tasks = JoinSet::new();
    tasks.spawn(watching);
    tokio::select! {
        served = serve(options, callers, admin, source, shutdown) => served,
        _ = tasks.join_next() => Err(Error::Ended("watch of the cluster")),
    }
}

/// Serves what `source` says, on listeners that are bound already.
///
/// # Errors
/// Where a task ended that never does: better to begin anew than to serve what was true once.
pub async fn serve(
    options: Options,
    callers: TcpListener,
    admin: TcpListener,
    source: ConfigSource,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let timer = Timer::precise();
    let metrics = Arc::new(Metrics::new());
    let (draining, draining_receiver) = watch::channel(false);
    let (stop, stop_receiver) = watch::channel(false);
    let Options {
        cluster_domain,
        limits,
        ..
    } = &options;
    let (fleet, table) = Fleet::new(
        source,
        cluster_domain,
        *limits,
        metrics.clone(),
        HttpUpstream,
        timer,
    );

    // Ends what it holds when it is dropped, at the end of this function.
    let mut background = JoinSet::new();
    background.spawn(fleet.run(stop_receiver.clone()));
    let admin_service = Arc::new(Admin {
        table: table.clone(),
        draining: draining_receiver.clone(),
        metrics: metrics.clone(),
        timer,
    });
    let (never_stop, never_stopped) = watch::channel(false);
    background.spawn(listener::serve(
        admin,
        Bounds::default(),
        Counts::default(),
        never_stopped,
        move |request| {
            let admin = admin_service.clone();
            async move { admin.answer(request.method(), request.uri().path()) }
        },
    ));

    let service = Arc::new(Service {
        table,
        draining: draining_receiver,
        metrics: metrics.clone(),
        upstream: HttpUpstream,
        timer,
        body_limit: options.body_limit,
        body_timeout: options.body_timeout,
        memory: Budget::new(options.request_memory),
        metadata: Mutex::new(HashMap::new()),
    });
    let counts = Counts {
        open: metrics.connections.clone(),
        refused: metrics.connections_refused.clone(),
    };
    let mut serving = JoinSet::new();
    serving.spawn(listener::serve(
        callers,
        options.bounds,
        counts,
        stop_receiver,
        move |request| {
            let service = service.clone();
            async move { service.answer(request).await }
        },
    ));

    tokio::select! {
        () = shutdown => {}
        _ = background.join_next() => return Err(Error::Ended("following of the configuration")),
    }
    tracing::info!("draining: not ready any more");
    draining.send_replace(true);
    let grace = LONGEST_GRACE.min(options.drain / 3);
    tokio::time::sleep(grace).await;
    tracing::info!("draining: accepting no more, queues are flushed");
    stop.send_replace(true);
    if tokio::time::timeout(options.drain.saturating_sub(grace), serving.join_next())
        .await
        .is_err()
    {
        tracing::warn!(drain = ?options.drain, "draining took too long: the last connections are cut");
    }
    drop(never_stop);
    Ok(())
}
