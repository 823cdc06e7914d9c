//! One load, offered to a gateway of its own for a while, and what came of it.

use std::{net::SocketAddr, time::Duration};

use e2e_load::{App, Outcome, Plan, Report, Sample};
use tokio::time::{Instant, sleep_until};

use crate::{APPS, gateway::Gateway};

/// The declared rates are offered for so long first: overload comes to a gateway that serves.
const WARM_UP: Duration = Duration::from_secs(5);
const BETWEEN_READINGS: Duration = Duration::from_millis(250);

/// What became of a load.
pub(crate) struct Measured {
    pub(crate) apps: Vec<Attained>,
    seconds: f64,
    /// How late the answers of refused requests were, from the time at which they were due; sorted.
    pub(crate) refusals: Vec<Duration>,
    /// How late the generator sent; sorted.
    pub(crate) lags: Vec<Duration>,
    pub(crate) memory: Memory,
}

/// What became of an application's requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attained {
    pub(crate) sent: u32,
    pub(crate) within_slo: u32,
    pub(crate) late: u32,
    /// 429.
    pub(crate) beyond_contract: u32,
    /// 503.
    pub(crate) overloaded: u32,
    /// 504.
    pub(crate) timed_out: u32,
    /// Anything else, wrong answers too: nothing of it belongs here.
    pub(crate) failed: u32,
}

/// The gateway's resident memory, KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Before the load.
    pub(crate) begin: u64,
    /// At most.
    pub(crate) first_half: u64,
    /// At most.
    pub(crate) second_half: u64,
}

impl Attained {
    fn add(&mut self, sample: &Sample, slo: Duration) {
        self.sent += 1;
        *match &sample.outcome {
            Outcome::Right if sample.latency <= slo => &mut self.within_slo,
            Outcome::Right => &mut self.late,
            Outcome::Refused(429, _) => &mut self.beyond_contract,
            Outcome::Refused(503, _) => &mut self.overloaded,
            Outcome::Refused(504, _) => &mut self.timed_out,
            _ => &mut self.failed,
        } += 1;
    }

    /// Percent of what was sent.
    pub(crate) fn of_sent(&self) -> f64 {
        100.0 * f64::from(self.within_slo) / f64::from(self.sent)
    }

    /// Percent of what was let in.
    pub(crate) fn of_let_in(&self) -> f64 {
        let let_in = self.sent - self.beyond_contract - self.overloaded;
        100.0 * f64::from(self.within_slo) / f64::from(let_in)
    }
}

impl Measured {
    pub(crate) fn offered(&self) -> f64 {
        self.per_second(|app| app.sent)
    }

    pub(crate) fn goodput(&self) -> f64 {
        self.per_second(|app| app.within_slo)
    }

    fn per_second(&self, count: fn(&Attained) -> u32) -> f64 {
        f64::from(self.apps.iter().map(count).sum::<u32>()) / self.seconds
    }
}

/// Offers every application's declared rate times its factor, in an open loop.
pub(crate) async fn measure(
    replicas: &[SocketAddr],
    factors: [f64; APPS.len()],
    duration: Duration,
) -> Measured {
    let gateway = Gateway::start(replicas);
    let apps = APPS.iter().map(|app| App {
        path: format!("/default/{}", app.name),
        ..App::new(app.name, "gateway", app.rate(), Duration::from_millis(app.slo))
    });
    let plan = Plan {
        warm_up: WARM_UP,
        requests: usize::MAX >> 4,
        ..Plan::new(gateway.address.clone(), apps.collect(), WARM_UP + duration)
    };
    let running = e2e_load::start(plan).unwrap();
    let begin = Instant::now() + WARM_UP;
    sleep_until(begin).await;
    for (app, factor) in APPS.iter().zip(factors) {
        assert!(running.set_rate(app.name, factor * app.rate()));
    }
    let (end, half) = (begin + duration, begin + duration / 2);
    let mut memory = Memory {
        begin: gateway.memory(),
        ..Memory::default()
    };
    let mut reading = begin;
    while reading < end {
        sleep_until(reading).await;
        let most = if reading < half {
            &mut memory.first_half
        } else {
            &mut memory.second_half
        };
        *most = gateway.memory().max(*most);
        reading += BETWEEN_READINGS;
    }
    let report = running.finish().await;
    summary(&report, memory)
}

fn summary(report: &Report, memory: Memory) -> Measured {
    let mut apps = vec![Attained::default(); APPS.len()];
    let (mut refusals, mut lags) = (Vec::new(), Vec::with_capacity(report.samples.len()));
    for sample in &report.samples {
        apps[sample.app].add(sample, Duration::from_millis(APPS[sample.app].slo));
        lags.push(sample.sent.saturating_sub(sample.intended));
        if matches!(sample.outcome, Outcome::Refused(429 | 503, _)) {
            refusals.push(sample.latency);
        }
    }
    refusals.sort_unstable();
    lags.sort_unstable();
    Measured {
        apps,
        seconds: report.seconds,
        refusals,
        lags,
        memory,
    }
}
