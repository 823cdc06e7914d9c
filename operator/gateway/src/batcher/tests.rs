//! The fleet on paused time, before simulated replicas.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_dispatch::Nanos;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

mod bench;
mod chaos;
mod model;
mod overload;
mod said;
mod service_times;
mod spoilers;

use bench::*;

use super::{Answered, Fleet, Limits, Submission, Table, Waiter};
use crate::{
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    memory::Budget,
    metrics::Metrics,
    protocol::{ApiError, Request, Wire},
    sync::atomic::Ordering,
    timer::Timer,
    upstream::{Call, Replica, Reply, Upstream, UpstreamError},
};

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_when_its_most_urgent_request_has_waited_enough_or_when_it_is_full() {
    let bench = Bench::start(group(
        3,
        &[member("urgent", 300, 20), member("relaxed", 900, 500)],
        &[1],
    ))
    .await;
    let first = bench.submit("relaxed", 1, 1);
    tokio::time::sleep(ms(50)).await;
    let second = bench.submit("urgent", 2, 1);
    assert_eq!(answered(first).await, (2, 170 * MS));
    assert_eq!(answered(second).await, (2, 170 * MS));
    let calls = [bench.submit("relaxed", 3, 1), bench.submit("relaxed", 4, 2)];
    for call in calls {
        assert_eq!(answered(call).await, (3, 270 * MS));
    }
    // In order of arrival + SLO.
    assert_eq!(
        bench.seen(),
        [(70 * MS, 1, vec![2, 1]), (170 * MS, 1, vec![3, 4, 5])]
    );
}

#[tokio::test(start_paused = true)]
async fn eager_requests_gather_while_every_replica_is_busy_and_the_most_urgent_go_first() {
    let bench = Bench::start(group(
        2,
        &[member("urgent", 300, 0), member("relaxed", 900, 0)],
        &[1, 2],
    ))
    .await;
    let mut calls = vec![bench.submit("relaxed", 1, 1)];
    tokio::task::yield_now().await;
    tokio::time::sleep(ms(10)).await;
    calls.push(bench.submit("relaxed", 2, 1));
    tokio::time::sleep(ms(10)).await;
    calls.extend([
        bench.submit("relaxed", 3, 1),
        bench.submit("urgent", 4, 1),
        bench.submit("urgent", 5, 1),
    ]);
    for call in calls {
        answered(call).await;
    }
    let expected = [
        (0, 1, vec![1]),
        (10 * MS, 2, vec![2]),
        (100 * MS, 1, vec![4, 5]),
        (110 * MS, 2, vec![3]),
    ];
    assert_eq!(bench.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_be_reached_rests_and_its_batch_goes_to_another() {
    let bench = Bench::start(group(4, &[member("a", 300, 0)], &[1, 2])).await;
    bench.upstream.dead.lock().unwrap().insert(1);
    assert_eq!(answered(bench.submit("a", 1, 1)).await, (1, 100 * MS));
    assert_eq!(bench.seen(), [(0, 2, vec![1])]);
    // Both gone: the request is tried again and again, with growing rests, until one is back.
    bench.upstream.dead.lock().unwrap().insert(2);
    let call = bench.submit("a", 2, 1);
    tokio::time::sleep(ms(300)).await;
    bench.upstream.dead.lock().unwrap().clear();
    let (_, at) = answered(call).await;
    assert!((500 * MS..=700 * MS).contains(&at), "{at}");
    // None comes back: 503 at the timeout.
    bench.upstream.dead.lock().unwrap().extend([1, 2]);
    let submitted = bench.timer.now();
    let (answer, at) = bench.submit("a", 3, 1).await.unwrap();
    let error = answer.unwrap_err();
    assert_eq!(
        (error.status, at),
        (StatusCode::SERVICE_UNAVAILABLE, submitted + 1000 * MS)
    );
    assert!(
        error.message.contains("could be reached") && error.message.contains("refused"),
        "{}",
        error.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_takes_a_request_out_of_the_queue_and_it_is_never_sent() {
    let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1])).await;
    let mut calls: Vec<_> = (0..11).map(|i| bench.submit("a", i, 1)).collect();
    let late = calls.pop().unwrap();
    for (i, call) in (1..).zip(calls).take(9) {
        assert_eq!(answered(call).await.1, i * 100 * MS);
    }
    let (answer, at) = late.await.unwrap();
    assert_eq!(
        (answer.unwrap_err().status, at),
        (StatusCode::GATEWAY_TIMEOUT, 1000 * MS)
    );
    tokio::time::sleep(ms(500)).await;
    assert!(
        bench.seen().iter().all(|(_, _, rows)| *rows != [10]),
        "{:?}",
        bench.seen()
    );
    assert!(
        bench
            .table
            .borrow()
            .group_stats()
            .all(|(_, stats, _)| stats.is_idle())
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_takes_its_request_out_of_the_queue() {
    let bench = Bench::start(group(8, &[member("a", 300, 200)], &[1])).await;
    let (stays, gone) = (bench.submit("a", 1, 1), bench.submit("a", 2, 3));
    tokio::time::sleep(ms(10)).await;
    gone.abort();
    tokio::time::sleep(ms(10)).await;
    assert_eq!(bench.queued_rows(), 1);
    assert_eq!(answered(stays).await, (1, 300 * MS));
    // One that is dropped before its group's task has seen the request.
    drop(bench.submit_only("a", 3, 2));
    tokio::time::sleep(ms(10)).await;
    assert_eq!(bench.queued_rows(), 0);
}

/// The group that takes the place of [`group`].
fn successor(members: &[Arc<MemberConfig>], endpoints: &[u8]) -> GroupConfig {
    GroupConfig {
        key: Key::new("shop", "mlp-b"),
        plan_generation: 2,
        ..group(1, members, endpoints)
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_gone_gives_back_what_its_replicas_cannot_be_sent() {
    let members = [member("a", 300, 0)];
    let mut bench = Bench::start(group(1, &members, &[1])).await;
    bench.upstream.dead.lock().unwrap().insert(1);
    let calls = [bench.submit("a", 1, 1), bench.submit("a", 2, 1)];
    // Tried at 0, 50 and 150 ms, then at 350.
    tokio::time::sleep(ms(200)).await;
    bench.configure(successor(&members, &[2])).await;
    for (call, at) in calls.into_iter().zip([450, 550]) {
        assert_eq!(answered(call).await, (1, at * MS));
    }
    assert_eq!(bench.seen(), [(350 * MS, 2, vec![1]), (450 * MS, 2, vec![2])]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_leave_after_its_request_was_moved_to_another_group() {
    let members = [member("a", 300, 0)];
    let mut bench = Bench::start(group(1, &members, &[])).await;
    let (gone, late) = (bench.submit("a", 1, 1), bench.submit("a", 2, 2));
    tokio::time::sleep(ms(10)).await;
    bench.configure(successor(&members, &[])).await;
    tokio::time::sleep(ms(1)).await;
    assert_eq!(bench.queued_rows(), 3);
    gone.abort();
    tokio::time::sleep(ms(1)).await;
    assert_eq!(bench.queued_rows(), 2);
    // Why it is late is said of the group that it waits in now.
    bench.upstream.dead.lock().unwrap().insert(2);
    bench.configure(successor(&members, &[2])).await;
    let error = late.await.unwrap().0.unwrap_err();
    assert!(error.message.contains("could be reached"), "{}", error.message);
    assert_eq!(bench.queued_rows(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_moved_to_a_group_of_another_model() {
    let members = [member("a", 300, 0)];
    let mut bench = Bench::start(group(1, &members, &[])).await;
    let call = bench.submit("a", 1, 1);
    tokio::time::sleep(ms(10)).await;
    bench
        .configure(GroupConfig {
            model: "other".into(),
            ..successor(&members, &[2])
        })
        .await;
    let (answer, at) = call.await.unwrap();
    let error = answer.unwrap_err();
    assert_eq!((error.status, at), (StatusCode::NOT_FOUND, 10 * MS));
    assert_eq!(
        error.message,
        "InferenceApp a has no model mlp; its model is other"
    );
    assert_eq!(bench.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_late_gets_no_other_batch_while_it_works() {
    let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1])).await;
    bench.set_mood(1, Mood::Slow(ms(3000)));
    let (answer, at) = bench.submit("a", 1, 1).await.unwrap();
    assert_eq!(
        (answer.unwrap_err().status, at),
        (StatusCode::GATEWAY_TIMEOUT, 1000 * MS)
    );
    tokio::time::sleep(ms(1500)).await;
    bench.set_mood(1, Mood::Slow(Duration::MAX));
    let second = bench.submit("a", 2, 1);
    // The second never ends: after 30 s more than its timeout the replica is tried again.
    assert_eq!(second.await.unwrap().1, 3500 * MS);
    tokio::time::sleep(ms(29_900)).await;
    bench.upstream.moods.lock().unwrap().clear();
    let third = bench.submit("a", 3, 1);
    // It rests as one that was lost.
    assert_eq!(answered(third).await, (1, 33_650 * MS));
    assert_eq!(
        bench.seen(),
        [
            (0, 1, vec![1]),
            (3000 * MS, 1, vec![2]),
            (33_550 * MS, 1, vec![3])
        ]
    );
    assert_eq!(bench.failed_batches("timeout_runtime"), "2");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_fast_does_not_attract_the_batches() {
    for (mood, reason) in [
        (Mood::Breaks, "broken"),
        (
            Mood::Answers(StatusCode::INTERNAL_SERVER_ERROR, "no"),
            "runtime_5xx",
        ),
    ] {
        let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1, 2])).await;
        bench.set_mood(1, mood);
        let mut calls = Vec::new();
        for i in 0..100 {
            calls.push(bench.submit("a", i, 1));
            tokio::time::sleep(ms(100)).await;
        }
        let mut failed = 0;
        for call in calls {
            failed += u32::from(call.await.unwrap().0.is_err());
        }
        // In 10 s it rests for 50, 100, 200, 400, 800 and 1600 ms, then three or four times for 2 s.
        assert!((6..=11).contains(&failed), "{reason}: {failed}");
        assert_eq!(bench.failed_batches(reason), failed.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fails_rests_no_replica_that_is_the_last_one() {
    let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1])).await;
    bench.set_mood(1, Mood::Answers(StatusCode::SERVICE_UNAVAILABLE, "no"));
    for i in 0..5 {
        assert_eq!(bench.submit("a", i, 1).await.unwrap().1, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_runtime_says_is_told_only_to_a_lone_request() {
    let config = GroupConfig {
        idempotent: false,
        ..group(2, &[member("a", 300, 10), member("b", 300, 10)], &[1])
    };
    let bench = Bench::start(config).await;
    let table = [
        (Mood::Answers(StatusCode::BAD_GATEWAY, "secret"), "runtime_5xx"),
        (
            Mood::Answers(
                StatusCode::OK,
                r#"{"outputs":[{"name":"secret","shape":[1],"datatype":"FP32","data":[]}]}"#,
            ),
            "invalid_answer",
        ),
    ];
    for (mood, reason) in table {
        bench.set_mood(1, mood);
        let alone = bench.submit("a", 1, 1).await.unwrap().0.unwrap_err();
        assert!(alone.message.contains("secret"), "{}", alone.message);
        for call in [bench.submit("a", 1, 1), bench.submit("b", 2, 1)] {
            let shared = call.await.unwrap().0.unwrap_err();
            assert_eq!(shared.status, StatusCode::BAD_GATEWAY);
            assert!(!shared.message.contains("secret"), "{}", shared.message);
        }
        assert_eq!(bench.failed_batches(reason), "2");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_all_waiting_for_others() {
    let bench = Bench::start(group(8, &[member("a", 300, 800)], &[1])).await;
    let first = bench.submit("a", 1, 1);
    tokio::time::sleep(ms(30)).await;
    bench.flush.send_replace(true);
    assert_eq!(answered(first).await, (1, 130 * MS));
    assert_eq!(answered(bench.submit("a", 2, 1)).await, (1, 230 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_left_the_list_gets_no_new_batch() {
    let members = [member("a", 300, 0)];
    let mut bench = Bench::start(group(1, &members, &[1])).await;
    let calls = [bench.submit("a", 1, 1), bench.submit("a", 2, 1)];
    tokio::time::sleep(ms(50)).await;
    bench.configure(group(1, &members, &[2])).await;
    for call in calls {
        answered(call).await;
    }
    assert_eq!(bench.seen(), [(0, 1, vec![1]), (50 * MS, 2, vec![2])]);
    // Listed again while it works still: its batch counts.
    let first = bench.submit("a", 3, 1);
    tokio::time::sleep(ms(10)).await;
    bench.configure(group(1, &members, &[])).await;
    bench.configure(group(1, &members, &[2])).await;
    let second = bench.submit("a", 4, 1);
    answered(first).await;
    answered(second).await;
    assert_eq!(
        bench.seen()[2..],
        [(150 * MS, 2, vec![3]), (250 * MS, 2, vec![4])]
    );
}
