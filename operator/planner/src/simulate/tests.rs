#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::latency::Spread;
use crate::profile::AfterIdle;
use crate::simulate::tally::Confidence;

fn service(mean: f64, least: f64, max: f64) -> Service {
    Service {
        mean,
        max,
        after_idle: AfterIdle::NOTHING,
        least,
        spread: Spread::TwoPoints,
        work: None,
        run_cost: 0.0,
    }
}

fn look(arrivals: u64) -> Look {
    Look {
        seed: 11,
        arrivals,
        block: arrivals / 20,
        early: None,
        last: None,
        with_latencies: true,
        pace: Pace::Drawn,
        late_requests: 20.0,
    }
}

fn load(slo: f64, rate: f64) -> Load {
    Load {
        slo,
        rate,
        miss: 0.01,
        process: Process::Poisson,
    }
}

/// Mean wait, in seconds, of requests that are served one at a time by one replica.
fn mean_wait(service: Service, rate: f64) -> f64 {
    let setup = Setup {
        loads: &[load(1e3, rate)],
        traces: &Traces::default(),
        service: &[service],
        replicas: 1,
        dispatch: Dispatch::Eager,
        waits: None,
    };
    let outcome = simulate(&setup, &look(1_000_000));
    outcome.tally.members[0].mean() / outcome.ticks - service.mean
}

/// Pollaczek and Khinchine: the mean wait of M/G/1 is `rate E[S^2] / (2 (1 - rho))`.
#[test]
fn one_replica_without_batches_waits_as_the_formula_says() {
    for (mean, least, max) in [(0.1, 0.1, 0.1), (0.1, 0.05, 0.3), (0.1, 0.02, 0.5)] {
        let service = service(mean, least, max);
        let chance = service.chance_of_max();
        let second_moment = chance * max * max + (1.0 - chance) * least * least;
        for busy in [0.3, 0.6, 0.8] {
            let rate = busy / mean;
            let expected = rate * second_moment / (2.0 * (1.0 - busy));
            let found = mean_wait(service, rate);
            assert!(
                (found / expected - 1.0).abs() < 0.05,
                "rho {busy}, {least}..{max}: {found} is not {expected}"
            );
        }
    }
}

/// Welch 1964, M/G/1 whose first customer of a busy period is served otherwise: with S after another one, S' after idle time, `rho = rate E[S]` and
/// `rho' = rate E[S']` a customer finds nobody with probability `p = (1 - rho) / (1 - rho + rho')`, and waits
/// `rate E[S^2] / (2 (1 - rho)) + rate (E[S'^2] - E[S^2]) / (2 (1 - rho + rho'))` in the mean.
#[test]
fn what_follows_idle_time_takes_longer_and_all_wait_as_the_formula_says() {
    for (mean, least, max, penalty) in [(0.1, 0.1, 0.1, 0.04), (0.1, 0.05, 0.3, 0.1), (0.1, 0.1, 0.1, 0.0)] {
        let service = Service {
            max: max + penalty,
            // At once.
            after_idle: AfterIdle::new(penalty, 1e-9).unwrap(),
            ..service(mean, least, max)
        };
        let chance = (mean - least) / (max - least).max(1e-9);
        let second_moment =
            |beyond: f64| chance * (max + beyond).powi(2) + (1.0 - chance) * (least + beyond).powi(2);
        for rho in [0.2, 0.5, 0.8] {
            let rate = rho / mean;
            let rho_idle = rate * (mean + penalty);
            let idle = (1.0 - rho) / (1.0 - rho + rho_idle);
            let expected = rate * second_moment(0.0) / (2.0 * (1.0 - rho))
                + rate * (second_moment(penalty) - second_moment(0.0)) / (2.0 * (1.0 - rho + rho_idle))
                + idle * penalty;
            let found = mean_wait(service, rate);
            assert!(
                (found / expected - 1.0).abs() < 0.05,
                "rho {rho}, {least}..{max} and {penalty}: {found} is not {expected}"
            );
        }
    }
}

/// Erlang's loss does not apply, his delay does: with two replicas and one row at a time the mean wait of M/M/2 is
/// `C / (2/S - rate)`; a deterministic service waits about half as long, and never longer.
#[test]
fn two_replicas_share_one_queue() {
    let (rate, mean) = (15.0, 0.1);
    let setup = Setup {
        loads: &[load(1e3, rate)],
        traces: &Traces::default(),
        service: &[service(mean, mean, mean)],
        replicas: 2,
        dispatch: Dispatch::Eager,
        waits: None,
    };
    let outcome = simulate(&setup, &look(400_000));
    let found = outcome.tally.members[0].mean() / outcome.ticks - mean;
    // a = 1.5: C = (a^2/2) / (1 - a/2) / (1 + a + (a^2/2) / (1 - a/2)) = 4.5 / 7.
    let exponential = 4.5 / 7.0 / (2.0 / mean - rate);
    assert!(
        (0.45..0.65).contains(&(found / exponential)),
        "{found} against {exponential}"
    );
}

/// Where the load is next to nothing a timed batch of two never fills, and every request waits for as long as it may.
#[test]
fn a_lonely_request_waits_for_as_long_as_it_may() {
    let setup = Setup {
        loads: &[load(1.0, 1e-4)],
        traces: &Traces::default(),
        service: &[service(0.1, 0.1, 0.1), service(0.2, 0.2, 0.2)],
        replicas: 1,
        dispatch: Dispatch::Timed,
        waits: None,
    };
    let outcome = simulate(&setup, &look(2000));
    assert!((setup.max_wait(0) - 0.8).abs() < 1e-12);
    assert!((outcome.tally.members[0].mean() / outcome.ticks - 0.9).abs() < 1e-3);
    assert_eq!(outcome.tally.verdict(setup.loads, Confidence(2.0)), Verdict::Kept);
}

#[test]
fn a_queue_that_only_grows_breaks_the_promise() {
    let setup = Setup {
        loads: &[load(1.0, 20.0)],
        traces: &Traces::default(),
        service: &[service(0.1, 0.1, 0.1)],
        replicas: 1,
        dispatch: Dispatch::Eager,
        waits: None,
    };
    let outcome = simulate(
        &setup,
        &Look {
            early: Some(Confidence(2.0)),
            ..look(20_000)
        },
    );
    assert_eq!(outcome.verdict, Verdict::Broken);
}

#[test]
fn the_same_seed_gives_the_same_counts() {
    let setup = Setup {
        loads: &[load(0.3, 20.0), load(0.5, 5.0)],
        traces: &Traces::default(),
        service: &[service(0.1, 0.05, 0.2), service(0.12, 0.06, 0.2)],
        replicas: 2,
        dispatch: Dispatch::Timed,
        waits: None,
    };
    let counts = |seed| {
        let tally = simulate(&setup, &Look { seed, ..look(20_000) }).tally;
        tally
            .members
            .iter()
            .map(|member| (member.served, member.late))
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(1), counts(1));
    assert_ne!(counts(1), counts(2));
}
