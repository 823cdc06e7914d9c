//! Requests that spoil their batches.

use std::time::Duration;

use super::*;

const REFUSALS: [Refusal; 4] = [
    Refusal::Status(StatusCode::BAD_REQUEST),
    Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR),
    Refusal::FewerRows,
    Refusal::OtherId,
];

const PER_ROW: Duration = Duration::from_millis(10);

fn first_value(answer: &Answered) -> u64 {
    let body: Value = serde_json::from_slice(&answer.answer.body.clone().into_bytes()).unwrap();
    body["outputs"][0]["data"][0].as_u64().unwrap()
}

/// Submits rows `0..rows` one by one to a group whose replicas refuse `spoilt`; gives the answers by row.
async fn play(bench: &Bench, rows: u64) -> Vec<(Result<Answered, ApiError>, Nanos)> {
    let calls: Vec<_> = (0..rows).map(|row| bench.submit("a", row, 1)).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

async fn bench(batch_size: u32, replicas: &[u8], refusal: Refusal, spoilt: &[u64]) -> Bench {
    let bench = Bench::start(group(
        batch_size,
        &[member("a", 900, 50), member("b", 900, 50)],
        replicas,
    ))
    .await;
    for replica in replicas {
        bench.set_mood(*replica, Mood::Refuses(PER_ROW, refusal, spoilt.to_vec()));
    }
    bench
}

#[tokio::test(start_paused = true)]
async fn only_the_request_that_spoils_its_batch_fails_and_few_calls_find_it() {
    for size in [2_u32, 3, 5, 8, 16] {
        for culprit in 0..u64::from(size) {
            for refusal in REFUSALS {
                let bench = bench(size, &[1], refusal, &[culprit]).await;
                let start = bench.timer.now();
                let answers = play(&bench, size.into()).await;
                for (row, (answer, at)) in (0..).zip(&answers) {
                    if row == culprit {
                        let error = answer.as_ref().unwrap_err();
                        let expected = match refusal {
                            Refusal::Status(StatusCode::BAD_REQUEST) => StatusCode::BAD_REQUEST,
                            _ => StatusCode::BAD_GATEWAY,
                        };
                        assert_eq!(error.status, expected, "{error:?}");
                    } else {
                        assert_eq!(first_value(answer.as_ref().unwrap()), row);
                        // The batch itself, and twice its time more.
                        assert!(
                            *at <= start + 3 * u64::from(size) * 10 * MS,
                            "{size} {culprit} {refusal:?}: {at}"
                        );
                    }
                }
                let calls = bench.seen().len() - 1;
                let most = 2.0 * f64::from(size).log2().ceil() + 1.0;
                assert!(
                    u32::try_from(calls).is_ok_and(|calls| f64::from(calls) <= most),
                    "{size}: {calls}"
                );
                assert_eq!(bench.queued_rows(), 0);
                assert_eq!(bench.metric("spoiling_requests_total", "app=\"a\""), "1");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_that_spoil_a_batch_none_is_answered_and_every_other_answer_is_its_callers_own() {
    for spoilt in [vec![0, 7], vec![1, 2, 3], vec![0, 2, 4, 6], (0..8).collect()] {
        for replicas in [&[1_u8][..], &[1, 2, 3]] {
            let bench = bench(
                8,
                replicas,
                Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR),
                &spoilt,
            )
            .await;
            let answers = play(&bench, 8).await;
            for (row, (answer, _)) in (0..).zip(&answers) {
                match answer {
                    Ok(answer) => assert!(!spoilt.contains(&row) && first_value(answer) == row),
                    Err(error) => assert_eq!(error.status, StatusCode::BAD_GATEWAY),
                }
            }
            assert!(bench.seen().len() <= 8, "{:?}", bench.seen());
            if spoilt.len() == 8 {
                // A runtime that answers nothing has nobody to blame.
                assert_eq!(bench.metric("spoiling_requests_total", "app=\"a\""), "0");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_fails_everything_is_asked_little_more_often_than_one_that_answers() {
    let bench = bench(
        4,
        &[1],
        Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR),
        &(0..1000).collect::<Vec<_>>(),
    )
    .await;
    for round in 0..100 {
        let calls: Vec<_> = (0..4).map(|row| bench.submit("a", 4 * round + row, 1)).collect();
        for call in calls {
            assert!(call.await.unwrap().0.is_err());
        }
    }
    let elapsed = Duration::from_nanos(bench.timer.now()).as_secs_f64();
    let most = 100.0 * 1.2 + 3.0 * elapsed + 31.0;
    let calls = u32::try_from(bench.seen().len()).unwrap();
    assert!(f64::from(calls) <= most, "{calls} calls, at most {most}");
    assert_ne!(bench.metric("retries_denied_total", "group=\"mlp-a\""), "0");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_asked_twice_is_only_sent_again_where_the_runtime_refused_it() {
    for (refusal, sent) in REFUSALS.into_iter().zip([true, false, false, false]) {
        let mut bench = bench(4, &[1], refusal, &[2]).await;
        let config = GroupConfig {
            idempotent: false,
            ..group(4, &[member("a", 900, 50)], &[1])
        };
        bench.configure(config).await;
        let answers = play(&bench, 4).await;
        let failed = answers.iter().filter(|(answer, _)| answer.is_err()).count();
        assert_eq!((failed == 1, bench.seen().len() > 1), (sent, sent), "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_keeps_spoiling_batches_is_batched_by_itself_for_a_minute() {
    let bench = bench(2, &[1], Refusal::Status(StatusCode::BAD_REQUEST), &[13]).await;
    for round in 0..3 {
        assert_eq!(bench.metric("app_set_apart", "app=\"a\""), "0");
        let (bad, good) = (bench.submit("a", 13, 1), bench.submit("b", round, 1));
        assert!(bad.await.unwrap().0.is_err());
        assert_eq!(first_value(&good.await.unwrap().0.unwrap()), round);
    }
    assert_eq!(bench.metric("app_set_apart", "app=\"a\""), "1");
    let before = bench.seen().len();
    let calls = [
        bench.submit("a", 1, 1),
        bench.submit("b", 2, 1),
        bench.submit("a", 3, 1),
        bench.submit("b", 4, 1),
    ];
    for call in calls {
        assert_eq!(answered(call).await.0, 2);
    }
    let mut batches: Vec<Vec<u64>> = bench.seen().drain(before..).map(|(.., rows)| rows).collect();
    batches.sort_unstable();
    assert_eq!(batches, [vec![1, 3], vec![2, 4]]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(bench.metric("app_set_apart", "app=\"a\""), "0");
    let calls = [bench.submit("a", 5, 1), bench.submit("b", 6, 1)];
    for call in calls {
        answered(call).await;
    }
    assert_eq!(
        bench.seen().last().map(|(.., rows)| rows.clone()),
        Some(vec![5, 6])
    );
}
