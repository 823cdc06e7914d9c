//! What is said in the log of a group whose runtime fails.

use std::io;

use super::*;

/// What this thread says.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Said {
    /// How many were left out before each line with this message, of which group.
    fn left_out(&self, message: &str) -> Vec<(String, u64)> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines = lines.filter(|line| line["message"] == message);
        lines
            .map(|line| {
                (
                    line["group"].as_str().unwrap().to_owned(),
                    line["left_out"].as_u64().unwrap(),
                )
            })
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_all_the_time_is_said_once_a_second_with_how_often_it_was_not_said() {
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1])).await;
    bench.set_mood(1, Mood::Answers(StatusCode::INTERNAL_SERVER_ERROR, "no"));
    for _ in 0..7 {
        let (answer, _) = bench.submit("a", 1, 1).await.unwrap();
        assert_eq!(answer.unwrap_err().status, StatusCode::BAD_GATEWAY);
    }
    tokio::time::sleep(ms(1000)).await;
    let (answer, _) = bench.submit("a", 1, 1).await.unwrap();
    answer.unwrap_err();
    let of_group = |left_out: u64| ("shop/mlp-a".to_owned(), left_out);
    assert_eq!(said.left_out("a batch failed"), [of_group(0), of_group(6)]);
    assert_eq!(bench.failed_batches("runtime_5xx"), "8");

    bench.upstream.dead.lock().unwrap().insert(1);
    let (answer, _) = bench.submit("a", 1, 1).await.unwrap();
    assert_eq!(answer.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
    // From 1000 ms on: tried after rests of 50, 100, 200 and 400 ms, which is five times until 2000 ms.
    assert_eq!(said.left_out("a replica could not be reached"), [of_group(0)]);
    assert_eq!(bench.metric("replica_unreachable_total", "group=\"mlp-a\""), "5");
}
