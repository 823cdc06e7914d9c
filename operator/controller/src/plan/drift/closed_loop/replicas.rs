//! Replicas that are off their profile: times that are drawn, or CPU work under a quota that is played step by step.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use harmonybatch_api::InferenceModel;
use harmonybatch_api::inference_model::CpuLatency;
use harmonybatch_api::quantity::Duration as Span;
use harmonybatch_gateway::upstream::{Call, Replica, Reply, Upstream, UpstreamError};
use harmonybatch_planner::Device;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixtures::Random;

/// A replica, whose profile says so of its function.
pub(super) enum Replicated {
    /// Mean and longest latency by rows.
    Timed(Vec<(f64, f64)>),
    /// CPU seconds by rows in the mean and at most, under a quota.
    Metered(Vec<(f64, f64)>, Steps),
}

/// Replicas that take a multiple of what their profile says, uniformly around the mean up to the maximum: the law that plans assume of times.
#[derive(Clone)]
pub(super) struct Runtime {
    pub(super) factor: f64,
    pub(super) random: Arc<Mutex<Random>>,
    /// By address.
    pub(super) replicas: Arc<Mutex<BTreeMap<SocketAddr, Replicated>>>,
    pub(super) started: Instant,
}

impl Runtime {
    /// How long a batch takes that begins now.
    fn service(&self, address: SocketAddr, rows: usize) -> Duration {
        let part = 2.0 * self.random.lock().unwrap().unit() - 1.0;
        let of = |(mean, max): (f64, f64)| self.factor * (mean + part * (max - mean));
        match self.replicas.lock().unwrap().get_mut(&address).unwrap() {
            Replicated::Timed(times) => Duration::from_secs_f64(of(times[rows - 1])),
            Replicated::Metered(work, steps) => {
                steps.idle_until(self.started.elapsed());
                steps.run(of(work[rows - 1]))
            }
        }
    }
}

/// The kernel's bandwidth controller in steps of 50 us: one thread runs in a step while there is quota, and in each period of 100 ms there is the whole of it
/// again.
pub(super) struct Steps {
    /// Of each period, in CPU seconds, and what is left of it.
    quota: f64,
    left: f64,
    now: u32,
}

impl Steps {
    const STEP: f64 = 5e-5;
    const PERIOD: u32 = 2_000;

    pub(super) fn new(vcpu: f64) -> Self {
        let quota = vcpu * Self::STEP * f64::from(Self::PERIOD);
        Self {
            quota,
            left: quota,
            now: 0,
        }
    }

    fn step(&mut self, wanted: f64) -> f64 {
        if self.now.is_multiple_of(Self::PERIOD) {
            self.left = self.quota;
        }
        self.now += 1;
        let done = wanted.min(self.left).min(Self::STEP);
        self.left -= done;
        done
    }

    fn idle_until(&mut self, then: Duration) {
        while f64::from(self.now) * Self::STEP < then.as_secs_f64() {
            self.step(0.0);
        }
    }

    fn run(&mut self, work: f64) -> Duration {
        let (begun, mut left) = (self.now, work);
        while left > 1e-9 {
            left -= self.step(left);
        }
        Duration::from_secs_f64(f64::from(self.now - begun) * Self::STEP)
    }
}

impl Upstream for Runtime {
    type Connection = ();

    async fn call(
        &self,
        replica: &Replica,
        _: Option<()>,
        call: Call,
    ) -> (Option<()>, Result<Reply, UpstreamError>) {
        let body: Value = serde_json::from_slice(&call.body.into_bytes()).unwrap();
        let input = &body["inputs"][0];
        let rows = input["data"].as_array().unwrap().len();
        let Replica::Endpoint(address) = replica else {
            return (None, Err(UpstreamError::Connect("nothing to wake".into())));
        };
        // The batch's time itself, on the clock that is paused.
        tokio::time::sleep(self.service(*address, rows)).await;
        let answer = json!({"id": body["id"], "outputs": [
            {"name": "y", "shape": input["shape"], "datatype": "INT64", "data": input["data"]}]});
        let reply = Reply {
            status: StatusCode::OK,
            body: Bytes::from(answer.to_string()),
            header_length: None,
        };
        (Some(()), Ok(reply))
    }
}

/// CPU seconds of each size in the mean and at most, and the limit, where the profile says what work is.
pub(super) fn metered(model: &InferenceModel, device: &Device) -> Option<(Vec<(f64, f64)>, f64)> {
    let Device::Cpu { vcpu } = device else { return None };
    let work = |curve: &CpuLatency| match curve {
        CpuLatency::Throttled(throttled) => Some(time(&throttled.work).as_secs_f64()),
        _ => None,
    };
    let entries = model.spec.profile.cpu.iter();
    let work = entries.map(|entry| Some((work(&entry.mean)?, work(&entry.max)?)));
    Some((work.collect::<Option<_>>()?, vcpu.get()))
}

pub(super) fn time(text: &str) -> Duration {
    let span: Span = text.parse().unwrap();
    Duration::from_nanos(span.as_nanos())
}
