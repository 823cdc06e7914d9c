//! More requests than were declared, and more than can be served, on paused time.

use tokio::task::JoinSet;

use super::*;
use crate::config::Contract;

/// What a batch takes; eight rows in it make 80 a second.
const SERVICE: Duration = Duration::from_millis(100);
const BATCH_SIZE: u32 = 8;
const CAPACITY: f64 = 80.0;

/// An application and the rate that it declares.
#[derive(Clone, Copy)]
struct App {
    name: &'static str,
    slo: u64,
    rate: f64,
    best_effort: bool,
}

const APPS: [App; 3] = [
    App {
        name: "tight",
        slo: 400,
        rate: 20.0,
        best_effort: false,
    },
    App {
        name: "middle",
        slo: 600,
        rate: 20.0,
        best_effort: false,
    },
    App {
        name: "loose",
        slo: 1000,
        rate: 20.0,
        best_effort: false,
    },
];

/// What became of an application's requests.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    within_slo: u32,
    late: u32,
    /// 429.
    beyond_contract: u32,
    /// 503.
    overloaded: u32,
    /// 504 and others.
    failed: u32,
}

impl Counts {
    fn let_in(&self) -> f64 {
        f64::from(self.within_slo + self.late + self.failed)
    }

    /// Of those that were let in.
    fn attainment(&self) -> f64 {
        f64::from(self.within_slo) / self.let_in()
    }
}

fn config(apps: &[App], contracts: bool) -> GroupConfig {
    let members: Vec<_> = apps
        .iter()
        .map(|app| {
            let contract = Contract {
                rate: 1.25 * app.rate,
                burst: 32.0,
                most: f64::max(32.0, 10.0 * app.rate),
                best_effort: app.best_effort,
            };
            Arc::new(MemberConfig {
                timeout: ms(4 * app.slo),
                contract: contracts.then_some(contract),
                ..(*member(app.name, app.slo, 0)).clone()
            })
        })
        .collect();
    group(BATCH_SIZE, &members, &[1])
}

/// Plays Poisson arrivals of each application at a multiple (`factors`) of its declared rate, open loop, for a minute.
async fn play(apps: &[App], contracts: bool, factors: &[f64]) -> Vec<Counts> {
    const SECONDS: f64 = 60.0;
    let bench = Bench::start(config(apps, contracts)).await;
    bench.set_mood(1, Mood::Slow(SERVICE));
    let mut random = fastrand::Rng::with_seed(11);
    let mut arrivals: Vec<(f64, usize)> = Vec::new();
    for (index, (app, factor)) in apps.iter().zip(factors).enumerate() {
        let mut now = 0.0;
        loop {
            now -= (1.0 - random.f64()).ln() / (app.rate * factor);
            if now > SECONDS {
                break;
            }
            arrivals.push((now, index));
        }
    }
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut counts = vec![Counts::default(); apps.len()];
    let mut answers = JoinSet::new();
    let start = tokio::time::Instant::now();
    let mut most_queued = 0;
    for (at, index) in arrivals {
        tokio::time::sleep_until(start + Duration::from_secs_f64(at)).await;
        let (arrival, timer) = (bench.timer.now(), bench.timer);
        match bench.try_submit(apps[index].name, 1, 1) {
            Ok(waiter) => {
                answers.spawn(async move { (index, waiter.answer(timer).await, timer.now() - arrival) });
            }
            // At once: no time has passed.
            Err(error) if error.status == StatusCode::TOO_MANY_REQUESTS => counts[index].beyond_contract += 1,
            Err(error) => {
                assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE, "{error:?}");
                assert!(error.retry_after.is_some());
                counts[index].overloaded += 1;
            }
        }
        most_queued = most_queued.max(bench.queued_rows());
    }
    while let Some(answer) = answers.join_next().await {
        let (index, answer, latency) = answer.unwrap();
        let counts = &mut counts[index];
        *match answer {
            Ok(_) if latency <= apps[index].slo * MS => &mut counts.within_slo,
            Ok(_) => &mut counts.late,
            Err(_) => &mut counts.failed,
        } += 1;
    }
    // Four seconds, the longest timeout, of what can be served.
    assert!(most_queued <= 320, "{most_queued} rows waited");
    counts
}

/// Answers within their SLO a second.
fn goodput(counts: &[Counts]) -> f64 {
    counts
        .iter()
        .map(|counts| f64::from(counts.within_slo))
        .sum::<f64>()
        / 60.0
}

#[tokio::test(start_paused = true)]
async fn goodput_stays_near_its_peak_however_much_is_offered() {
    for contracts in [true, false] {
        let mut peak = 0.0_f64;
        for times in [0.5, 1.0, 1.25, 2.0, 5.0, 10.0] {
            let counts = play(&APPS, contracts, &[times; 3]).await;
            let goodput = goodput(&counts);
            peak = peak.max(goodput);
            assert!(
                goodput >= 0.9 * peak,
                "contracts {contracts}, {times} times: {goodput}/s of {peak}/s: {counts:?}"
            );
        }
        assert!(peak > 0.8 * CAPACITY, "{peak}/s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_at_ten_times_its_rate_costs_its_neighbours_next_to_nothing() {
    let before = play(&APPS, true, &[1.0; 3]).await;
    for wild in 0..3 {
        for best_effort in [false, true] {
            let mut apps = APPS;
            apps[wild].best_effort = best_effort;
            let mut times = [1.0; 3];
            times[wild] = 10.0;
            let after = play(&apps, true, &times).await;
            for (index, (before, after)) in before.iter().zip(&after).enumerate() {
                if index == wild {
                    assert!(after.beyond_contract + after.overloaded > 0, "{after:?}");
                } else {
                    let refused = f64::from(after.beyond_contract + after.overloaded);
                    assert!(
                        refused <= 0.01 * after.let_in(),
                        "{index} beside {wild}: {after:?}"
                    );
                    let cost = before.attainment() - after.attainment();
                    assert!(
                        cost <= 0.01,
                        "{index} beside {wild}, best effort {best_effort}: {before:?} {after:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_best_effort_takes_what_the_others_leave() {
    let mut apps = APPS;
    apps[2].best_effort = true;
    let strict = play(&APPS, true, &[0.5, 0.5, 10.0]).await;
    let best_effort = play(&apps, true, &[0.5, 0.5, 10.0]).await;
    // 1.25 times 20/s and the bucket, against 80/s less 20/s.
    let served = |counts: &Counts| f64::from(counts.within_slo + counts.late) / 60.0;
    assert!((25.0..=30.0).contains(&served(&strict[2])), "{strict:?}");
    assert!(
        (50.0..=62.0).contains(&served(&best_effort[2])),
        "{best_effort:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_in_parts_is_let_in_as_one_and_counts_with_all_its_rows() {
    let contract = Contract {
        rate: 1.0,
        burst: 2.0,
        most: 4.0,
        best_effort: false,
    };
    let member = Arc::new(MemberConfig {
        contract: Some(contract),
        ..MemberConfig::clone(&member("a", 300, 0))
    });
    let bench = Bench::start(group(2, &[member], &[1, 2, 3, 4, 5])).await;
    let table = bench.table.borrow().clone();
    let target = table.routes.by_app("shop", "a").unwrap();
    let whole = bench.submission(0, 10);
    let parts = whole.request.divide(2).unwrap();
    let waiters = table.submit_parts(target, &whole, parts).unwrap();
    for waiter in waiters {
        assert_eq!(waiter.answer(bench.timer).await.unwrap().batch_rows, 2);
    }
    // Ten rows in a bucket of four that leaks one a second.
    tokio::time::sleep(ms(5_500)).await;
    let refused = bench.try_submit("a", 10, 1).unwrap_err();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    tokio::time::sleep(ms(1_000)).await;
    assert!(bench.try_submit("a", 10, 1).is_ok());
}
