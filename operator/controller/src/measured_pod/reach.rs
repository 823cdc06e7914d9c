//! How a pod is reached: by its address, or through the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The way to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Straight to its IP address, which the pods of the cluster, its nodes, and whoever routes to them can do.
    Address,
    /// Through the API server, as `kubectl port-forward` does: from anywhere, and every batch takes the way there and back.
    PortForward,
}

/// An open way; it closes when dropped.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) url: String,
    forwarding: Option<JoinHandle<()>>,
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.abort();
        }
    }
}

/// Opens one to a port of a pod.
pub(super) async fn open(
    reach: Reach,
    pods: &Api<Pod>,
    name: &str,
    address: &str,
    (scheme, port): (&str, u16),
) -> std::io::Result<Way> {
    match reach {
        Reach::Address => Ok(Way {
            url: if address.contains(':') {
                format!("{scheme}://[{address}]:{port}")
            } else {
                format!("{scheme}://{address}:{port}")
            },
            forwarding: None,
        }),
        Reach::PortForward => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("{scheme}://{}", listener.local_addr()?);
            let forwarding = tokio::spawn(forward(listener, pods.clone(), name.to_owned(), port));
            Ok(Way {
                url,
                forwarding: Some(forwarding),
            })
        }
    }
}

/// Every connection here becomes one to the pod. One that fails is closed: its caller says what was in flight.
async fn forward(listener: TcpListener, pods: Api<Pod>, name: String, port: u16) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(carry(stream, pods.clone(), name.clone(), port))),
                Err(error) => {
                    tracing::warn!(%error, "a connection to forward was not accepted");
                    return;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut stream: TcpStream, pods: Api<Pod>, name: String, port: u16) {
    // A request is one small write, and must not wait for another.
    let _ = stream.set_nodelay(true);
    let forwarded = async {
        let mut forwarder = pods
            .portforward(&name, &[port])
            .await
            .map_err(|error| error.to_string())?;
        let mut far = forwarder.take_stream(port).ok_or("no stream was opened")?;
        copy_bidirectional(&mut stream, &mut far)
            .await
            .map_err(|error| error.to_string())
    };
    if let Err::<_, String>(error) = forwarded.await {
        tracing::warn!(pod = name, %error, "a forwarded connection ended");
    }
}
