//! The whole gateway, from its first connection to the end of its drain.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Request};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    access::{Access, AccessLog},
    admin::Admin,
    batcher::{Fleet, Limits},
    config::{ConfigSource, kubernetes},
    listener::{self, Bounds, Caller, Counts, RequestBody, Tls, TlsError, TlsFiles},
    memory::Budget,
    metrics::Metrics,
    peers::{FORWARDED_HEADER, PeerSource, Peers},
    protocol::{ApiError, Cause},
    service::Service,
    timer::Timer,
    trace::{self, Tracer},
    upstream::HttpUpstream,
};

/// Longest time in which connections are still accepted after the shutdown began: kube-proxies learn that the gateway is not ready a moment later.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// Longest time for which the last spans may be exported.
const LONGEST_FLUSH: Duration = Duration::from_secs(3);

/// Most requests at a time that one other gateway hands on over a connection.
const MOST_FORWARDED: u32 = 10_000;

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
    /// Bytes of bodies that may be held in all: 503 beyond. What a request costs beside its body, most of all its place in a merged batch, is
    /// not counted: the process needs about four times as much.
    pub request_memory: usize,
    /// Bounds of the queues.
    pub limits: Limits,
    /// Bounds of the callers' connections.
    pub bounds: Bounds,
    /// Where the other gateways are found; without it this one is alone.
    pub membership: Option<Membership>,
    /// TLS of the callers' port; without it, it speaks none.
    pub tls: Option<TlsFiles>,
    /// How often the files of TLS are looked at.
    pub tls_interval: Duration,
    /// Where spans go; without it there are none.
    pub traces: Option<trace::Settings>,
    /// Which requests have a line in the log.
    pub access_log: AccessLog,
}

/// A gateway as one of those behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name; its port `admin` is the gateways' second one.
    pub service: String,
    /// This gateway's address, as the EndpointSlices of the Service have it.
    pub address: IpAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            admin: SocketAddr::from(([0, 0, 0, 0], 9090)),
            cluster_domain: "cluster.local".to_owned(),
            drain: Duration::from_secs(30),
            body_limit: 16 << 20,
            request_memory: 256 << 20,
            limits: Limits::default(),
            bounds: Bounds::default(),
            membership: None,
            tls: None,
            tls_interval: Duration::from_secs(10),
            traces: None,
            access_log: AccessLog::default(),
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
    /// The files of TLS cannot be used.
    #[error("cannot speak TLS")]
    Tls(#[from] TlsError),
    /// Spans cannot be exported as the settings say.
    #[error("cannot export traces")]
    Traces(#[from] trace::Error),
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
    let (source, watching) = kubernetes::watch(client.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(watching);
    let peers = options.membership.as_ref().map(|membership| {
        let (ready, watching) = kubernetes::watch_peers(client, membership);
        tasks.spawn(watching);
        (SocketAddr::new(membership.address, options.admin.port()), ready)
    });
    tokio::select! {
        served = serve(options, callers, admin, source, peers, shutdown) => served,
        _ = tasks.join_next() => Err(Error::Ended("watch of the cluster")),
    }
}

/// Serves what `source` says, on listeners that are bound already. `peers` are this gateway's own second port and those of all that are ready.
///
/// # Errors
/// Where the files of TLS cannot be used, or a task ended that never does: better to begin anew than to serve what was true once.
pub async fn serve(
    options: Options,
    callers: TcpListener,
    admin: TcpListener,
    source: ConfigSource,
    peers: Option<(SocketAddr, PeerSource)>,
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
    let (flush, flushed) = watch::channel(false);
    let mut exporting = JoinSet::new();
    let mut tracer = Tracer::default();
    if let Some(settings) = &options.traces {
        let (own, export) = trace::start(settings, timer, metrics.spans.clone())?;
        exporting.spawn(export.run(flushed));
        tracer = own;
    }
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
    background.spawn(fleet.traced(tracer.clone()).run(stop_receiver.clone()));
    let admin_service = Arc::new(Admin {
        table: table.clone(),
        draining: draining_receiver.clone(),
        metrics: metrics.clone(),
        timer,
    });
    let access = Access::new(options.access_log);
    let service = Arc::new(Service {
        table,
        draining: draining_receiver,
        metrics: metrics.clone(),
        upstream: HttpUpstream,
        peers: Arc::new(peers.map_or_else(
            || Peers::none(timer),
            |(own, ready)| Peers::new(own, ready, timer),
        )),
        timer,
        body_limit: options.body_limit,
        memory: Budget::new(options.request_memory),
        metadata: Mutex::new(HashMap::new()),
        tracer,
        access: access.clone(),
    });
    // Stays open for what other gateways have handed on, when callers are not served any more.
    let (last_stop, last_stopped) = watch::channel(false);
    let mut second = JoinSet::new();
    let bounds = second_bounds(options.bounds);
    second.spawn(second_port(
        admin,
        bounds,
        admin_service,
        service.clone(),
        last_stopped,
    ));
    let (bounds, counts) = (options.bounds, counts(&metrics, access, timer));
    let tls = tls(&options, &metrics, &mut background)?;
    let mut serving = JoinSet::new();
    serving.spawn(callers_port(callers, tls, bounds, counts, service, stop_receiver));

    tokio::select! {
        () = shutdown => {}
        _ = background.join_next() => return Err(Error::Ended("following of the configuration")),
        _ = second.join_next() => return Err(Error::Ended("second port")),
    }
    tracing::info!("draining: not ready any more");
    draining.send_replace(true);
    let grace = LONGEST_GRACE.min(options.drain / 3);
    tokio::time::sleep(grace).await;
    tracing::info!("draining: accepting no more, queues are flushed");
    stop.send_replace(true);
    let both = async {
        serving.join_next().await;
        // Connections of probes and of the controller are idle; those of other gateways end with what they have.
        last_stop.send_replace(true);
        second.join_next().await;
    };
    if tokio::time::timeout(options.drain.saturating_sub(grace), both)
        .await
        .is_err()
    {
        tracing::warn!(drain = ?options.drain, "draining took too long: the last connections are cut");
    }
    flush.send_replace(true);
    let flushing = tokio::time::timeout(LONGEST_FLUSH, exporting.join_next());
    if flushing.await.is_err() {
        tracing::warn!("the last spans were not exported");
    }
    Ok(())
}

/// Serves the callers' port.
async fn callers_port(
    listener: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
    counts: Counts,
    service: Arc<Service<HttpUpstream>>,
    stop: watch::Receiver<bool>,
) {
    let answer = move |request| {
        let service = service.clone();
        // Boxed, as hyper moves it several times before it is polled first.
        Box::pin(async move { service.answer(request).await })
    };
    listener::serve(listener, tls, bounds, counts, stop, answer).await;
}

/// Bounds of the second port, at which every request may come that the callers' port of another gateway has let through.
fn second_bounds(callers: Bounds) -> Bounds {
    /// What a gateway adds to a head that it hands on, with room to spare.
    const ADDED: (usize, usize) = (10, 2 << 10);
    /// What HTTP/2 counts for a field beside its name and value (RFC 9113, section 6.5.2), and HTTP/1.1 does not.
    const FIELD: usize = 32;
    let others = Bounds::default();
    let header_fields = callers.header_fields.saturating_add(ADDED.0);
    Bounds {
        streams: MOST_FORWARDED,
        header_fields,
        header_size: callers
            .header_size
            .saturating_add(header_fields.saturating_mul(FIELD))
            .saturating_add(ADDED.1),
        // Who connects here are other gateways, the controller and probes, however many callers may.
        connections: others.connections,
        peer_connections: others.peer_connections,
        ..callers
    }
}

/// Serves the second port: what [`Admin`] answers, and requests that other gateways hand on.
async fn second_port(
    listener: TcpListener,
    bounds: Bounds,
    admin: Arc<Admin>,
    service: Arc<Service<HttpUpstream>>,
    stop: watch::Receiver<bool>,
) {
    let answer = move |request: Request<RequestBody>| {
        let (admin, service) = (admin.clone(), service.clone());
        async move {
            if !request.headers().contains_key(FORWARDED_HEADER) {
                return admin.answer(request.method(), request.uri().path());
            }
            let caller = request.extensions().get::<Caller>();
            if caller.is_some_and(|Caller(address)| service.peers.knows(*address)) {
                return service.answer_here(request).await;
            }
            let message = "only gateways hand requests on; callers use the port http";
            let mut refusal = ApiError::new(Cause::Forbidden, message).into_response();
            let refused = HeaderValue::from_static("refused");
            refusal.headers_mut().insert(FORWARDED_HEADER, refused);
            refusal
        }
    };
    listener::serve(listener, None, bounds, Counts::default(), stop, answer).await;
}

/// Where the callers' port counts, and tells of what it refuses.
fn counts(metrics: &Metrics, access: Access, timer: Timer) -> Counts {
    Counts {
        open: metrics.connections.clone(),
        refusals: metrics.refusals.clone().told(access, timer),
    }
}

/// TLS of the callers' port, whose files a task of `background` follows.
fn tls(options: &Options, metrics: &Metrics, background: &mut JoinSet<()>) -> Result<Option<Tls>, TlsError> {
    let Some(files) = options.tls.clone() else {
        return Ok(None);
    };
    let (tls, following) = Tls::load(files)?;
    background.spawn(following.run(options.tls_interval, metrics.tls_reloads.clone()));
    Ok(Some(tls))
}
