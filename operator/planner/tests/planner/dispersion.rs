//! The index of dispersion of simulated arrivals, and the bursts that are fitted to it.

use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{Burst, Trace};

use crate::bursts::stream;
use crate::random::Random;

#[test]
fn the_bursts_of_simulated_arrivals_are_found_again() {
    let mut random = Random::seeded(0x0066_6974);
    for (rate, factor, duration) in [(10.0, 4.0, 5.0), (3.0, 10.0, 20.0), (20.0, 2.0, 10.0)] {
        // Some four thousand bursts.
        let span = 4000.0 * 2.0 * factor * duration;
        let trace = Trace::new(&stream(
            rate,
            (factor, duration),
            span.min(9e5 / rate),
            &mut random,
        ))
        .unwrap();
        let seen = trace.dispersions();
        let found = Burst::fitted(Rate::new(trace.rate()).unwrap(), &seen).unwrap();
        assert!(
            (found.factor() / factor - 1.0).abs() < 0.15
                && (found.duration().get() / duration - 1.0).abs() < 0.25,
            "{found:?} is not {factor} x {duration} s"
        );
        let true_one = Burst::new(factor, Seconds::new(duration).unwrap()).unwrap();
        for seen in seen.iter().filter(|seen| seen.windows > 500) {
            let expected = true_one.dispersion(Rate::new(rate).unwrap(), seen.window);
            assert!(
                (seen.index / expected - 1.0).abs() < 0.2,
                "{seen:?} is not {expected}"
            );
        }
    }
}

#[test]
fn poisson_arrivals_have_no_burst() {
    let mut random = Random::seeded(0x0070_6f69_7373_6f6e);
    for arrivals in [1000, 20_000, 200_000] {
        for _ in 0..10 {
            let mut now = 0.0;
            let times: Vec<f64> = (0..arrivals)
                .map(|_| {
                    now += random.exponential(7.0);
                    now
                })
                .collect();
            let seen = Trace::new(&times).unwrap().dispersions();
            assert!(seen.len() > 3);
            // Six standard deviations of chi-squared, and its skewness.
            for seen in &seen {
                let deviation = (2.0 / f64::from(seen.windows - 1)).sqrt();
                assert!((seen.index - 1.0).abs() < 6.0 * deviation, "{seen:?}");
            }
            assert_eq!(Burst::fitted(Rate::new(7.0).unwrap(), &seen), None, "{seen:?}");
        }
    }
}
