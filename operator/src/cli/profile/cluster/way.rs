//! The way from here to a pod: how it is reached, and what that takes.

use clap::ValueEnum;
use harmonybatch_api::inference_model::Protocol;
use harmonybatch_controller::measured_pod::Reach;
use harmonybatch_profiler::endpoint::Server;
use tokio::time::Instant;

/// Requests that compute nothing, to know what the way takes.
const ROUND_TRIPS: usize = 21;

/// How pods are reached.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Way {
    /// By their addresses where this runs in the cluster, else through the API server
    Auto,
    /// By their addresses: this runs on a node, or routes lead to the pods
    Address,
    /// Through the API server, whose way every batch then takes
    PortForward,
}

impl Way {
    pub(super) fn reach(self, inside: bool) -> Reach {
        match self {
            Self::Address => Reach::Address,
            Self::Auto if inside => Reach::Address,
            Self::Auto | Self::PortForward => Reach::PortForward,
        }
    }
}

/// What a request that computes nothing takes, which is in every sample.
pub(super) async fn round_trip(
    url: &str,
    model: &str,
    protocol: Protocol,
    reach: Reach,
) -> anyhow::Result<String> {
    let server = Server::new(url, model, protocol)?;
    let mut trips = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        server.metadata().await?;
        trips.push(started.elapsed());
    }
    trips.sort_unstable();
    let milliseconds = trips[ROUND_TRIPS / 2].as_secs_f64() * 1e3;
    Ok(match reach {
        Reach::Address => {
            format!("the pod is Ready; a request that computes nothing takes {milliseconds:.2} ms")
        }
        Reach::PortForward => format!(
            "the pod is Ready; through the API server a request that computes nothing takes {milliseconds:.2} ms, which is in every latency: where that \
             is much, run this in the cluster or on a node (--reach address)"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_reached_by_address_from_inside_and_through_the_api_server_from_outside() {
        for (way, inside, reach) in [
            (Way::Auto, true, Reach::Address),
            (Way::Auto, false, Reach::PortForward),
            (Way::Address, false, Reach::Address),
            (Way::PortForward, true, Reach::PortForward),
        ] {
            assert_eq!(way.reach(inside), reach, "{way:?} {inside}");
        }
    }
}
