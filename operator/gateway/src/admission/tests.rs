use std::time::Duration;

use super::*;

const SECOND: Nanos = 1_000_000_000;

fn contract(rate: f64, burst: f64, most: f64) -> Contract {
    Contract {
        rate,
        burst,
        most,
        best_effort: false,
    }
}

/// Uniform numbers in (0, 1]: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let part = ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        part
    }
}

#[test]
fn a_bucket_takes_its_burst_and_then_what_it_leaks() {
    let (bucket, contract) = (Bucket::default(), contract(10.0, 3.0, 5.0));
    let standings: Vec<_> = (0..8)
        .map(|_| {
            let standing = bucket.standing(&contract, 0);
            bucket.count(&contract, 1, 0);
            standing
        })
        .collect();
    // Levels 0, 1, 2, 3 are within the burst, 4 and 5 within the most; the bucket then holds six.
    let expected = [
        [Ok(Standing::Regular); 4].as_slice(),
        &[Ok(Standing::Yielding); 2],
        &[Err(Exceeded {
            retry_after: Duration::from_millis(100),
        }); 2],
    ];
    assert_eq!(standings, expected.concat());
    assert_eq!(bucket.standing(&contract, SECOND / 10), Ok(Standing::Yielding));
    assert_eq!(bucket.standing(&contract, 3 * SECOND / 10), Ok(Standing::Regular));
    let best_effort = Contract {
        best_effort: true,
        ..contract
    };
    assert_eq!(bucket.standing(&best_effort, 0), Ok(Standing::Yielding));
}

#[test]
fn for_long_what_is_let_in_is_the_contract() {
    let (bucket, contract) = (Bucket::default(), contract(12.5, 32.0, 100.0));
    let mut let_in = 0_u32;
    // A thousand a second for a minute.
    for now in (0..60_000).map(|millisecond| millisecond * SECOND / 1000) {
        if bucket.standing(&contract, now).is_ok() {
            bucket.count(&contract, 1, now);
            let_in += 1;
        }
    }
    assert!((850..=852).contains(&let_in), "{let_in}");
}

/// The bucket of an application with Poisson arrivals at its declared rate, with the contract that a plan gives it: a queue with deterministic service
/// at 0.8 of its capacity, which holds more than 32 with probability of about exp(-0.46 * 32).
#[test]
fn poisson_arrivals_at_the_declared_rate_are_hardly_ever_refused_nor_made_to_yield() {
    for rate in [0.05, 1.0, 30.0, 500.0] {
        let (bucket, contract) = (
            Bucket::default(),
            contract(1.25 * rate, 32.0, f64::max(32.0, 10.0 * rate)),
        );
        let mut uniform = uniform(7);
        let (mut now, mut others) = (0.0_f64, 0_u32);
        let arrivals = 1_000_000;
        for _ in 0..arrivals {
            now -= uniform().ln() / rate;
            let at = nanos(Duration::from_secs_f64(now));
            others += u32::from(bucket.standing(&contract, at) != Ok(Standing::Regular));
            bucket.count(&contract, 1, at);
        }
        assert!(others * 10_000 < arrivals, "{others} of {arrivals} at {rate}/s");
    }
}

#[test]
fn a_backlog_is_as_long_as_the_services_before_it() {
    let backlog = |rows, replicas, free| Backlog {
        rows,
        batch_size: 8,
        replicas,
        free,
        service: 100,
    };
    for (backlog, expected) in [
        // One is free; it takes this one with what waits.
        (backlog(3.0, 2, 1), 100),
        // One busy: half its service is left, and this one is in the next batch.
        (backlog(3.0, 1, 0), 150),
        // Two full batches before it.
        (backlog(17.0, 1, 0), 350),
        // The same at four replicas, of which one will be free after a fifth.
        (backlog(17.0, 4, 0), 170),
    ] {
        assert_eq!(backlog.time_to_answer(), expected, "{backlog:?}");
    }
}

#[test]
fn lateness_is_overload_when_it_stays_and_for_a_while_after() {
    let slo = Duration::from_millis(500);
    let overload = Overload::default();
    overload.left(true, SECOND);
    assert!(!overload.refuses(slo, 2 * SECOND));
    overload.left(false, 2 * SECOND);
    overload.left(true, 3 * SECOND);
    assert!(!overload.refuses(slo, 4 * SECOND));
    assert!(overload.refuses(slo, 4 * SECOND + 1));
    overload.left(false, 5 * SECOND);
    assert!(overload.refuses(slo, 13 * SECOND));
    assert!(overload.refuses(slo, 22 * SECOND));
    assert!(!overload.refuses(slo, 32 * SECOND));
    // A longer SLO is given its own time.
    let slow = Overload::default();
    slow.left(true, SECOND);
    assert!(!slow.refuses(Duration::from_secs(30), 30 * SECOND));
}
