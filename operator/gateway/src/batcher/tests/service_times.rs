//! Which batches say how fast their runtime is, on paused time.

use super::*;
use crate::{config::Wake, metrics::SizeObservation};

/// What is remembered of the group's batches.
fn remembered<U: Upstream>(bench: &Bench<U>) -> Vec<SizeObservation> {
    let table = bench.table.borrow();
    let mut seen = table.group_stats().filter_map(|(group, stats, _)| {
        let seen = stats.service_times.observation(group, bench.timer.now());
        seen.map(|seen| seen.batches)
    });
    seen.next().unwrap_or_default()
}

/// Rows, answered batches and those that were given up.
fn counts(batches: &[SizeObservation]) -> Vec<(u32, u64, u64)> {
    let overdue = |batches: &SizeObservation| batches.overdue.iter().map(|(_, count)| count).sum();
    batches
        .iter()
        .map(|batches| (batches.rows, batches.count, overdue(batches)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_counts_with_its_rows_and_its_time_at_the_replica() {
    let bench = Bench::start(group(4, &[member("a", 300, 50)], &[1])).await;
    assert_eq!(remembered(&bench), []);
    // Four rows of two requests leave at once, one row after its wait.
    let calls = [bench.submit("a", 1, 3), bench.submit("a", 4, 1)];
    for call in calls {
        answered(call).await;
    }
    answered(bench.submit("a", 5, 1)).await;
    let seen = remembered(&bench);
    assert_eq!(counts(&seen), [(1, 1, 0), (4, 1, 0)]);
    for batches in &seen {
        // A sleep may wake a millisecond late.
        assert!((100_000.0..102_000.0).contains(&batches.mean), "{batches:?}");
    }
    let labels = |size: u32| format!("group=\"mlp-a\",rows_up_to=\"{size}\"");
    assert_eq!(bench.metric("answered_batches_total", &labels(4)), "1");
    let seconds: f64 = bench
        .metric("answered_batch_seconds_total", &labels(4))
        .parse()
        .unwrap();
    assert!((0.1..0.102).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_says_nothing() {
    let bench = Bench::start(group(4, &[member("a", 300, 50)], &[1])).await;
    let refuses = Mood::Refuses(ms(5), Refusal::Status(StatusCode::BAD_REQUEST), vec![3]);
    bench.set_mood(1, refuses);
    let calls: Vec<_> = (1..=4).map(|row| bench.submit("a", row, 1)).collect();
    let mut failed = 0;
    for call in calls {
        failed += u32::from(call.await.unwrap().0.is_err());
    }
    assert_eq!(failed, 1, "the others were answered, in parts");
    assert!(bench.seen().len() > 1);
    assert_eq!(remembered(&bench), []);
    // A replica that was not reached has seen nothing, and the next one answers.
    let bench = Bench::start(group(4, &[member("a", 300, 0)], &[1, 2])).await;
    bench.upstream.dead.lock().unwrap().insert(1);
    answered(bench.submit("a", 1, 1)).await;
    assert_eq!(counts(&remembered(&bench)), [(1, 1, 0)]);
    // What wakes a pod takes as long as its start.
    let wake = Wake::from_url("http://wake.shop.svc.cluster.local");
    let bench = Bench::start(GroupConfig {
        wake,
        ..group(4, &[member("a", 300, 0)], &[])
    })
    .await;
    answered(bench.submit("a", 1, 1)).await;
    assert_eq!(remembered(&bench), []);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_outlasts_its_callers_counts_as_that() {
    let bench = Bench::start(group(2, &[member("a", 300, 0)], &[1])).await;
    bench.set_mood(1, Mood::Slow(ms(3000)));
    assert!(bench.submit("a", 1, 2).await.unwrap().0.is_err());
    let seen = remembered(&bench);
    assert_eq!(counts(&seen), [(2, 0, 1)]);
    let [(upper, _)] = seen[0].overdue[..] else {
        unreachable!("one batch: {seen:?}")
    };
    assert!((1_000_000..1_070_000).contains(&upper), "{upper}");
    // Its answer comes to nobody, and changes nothing.
    tokio::time::sleep(ms(2500)).await;
    assert_eq!(counts(&remembered(&bench)), [(2, 0, 1)]);
    // A runtime that is told for how long anybody waits may stop a little before; one that fails at once is not slow.
    for (time, expected) in [(ms(950), vec![(1, 0, 1)]), (ms(100), vec![])] {
        let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1])).await;
        let stops = Mood::Refuses(time, Refusal::Status(StatusCode::GATEWAY_TIMEOUT), vec![1]);
        bench.set_mood(1, stops);
        assert!(bench.submit("a", 1, 1).await.unwrap().0.is_err());
        assert_eq!(counts(&remembered(&bench)), expected);
    }
}
