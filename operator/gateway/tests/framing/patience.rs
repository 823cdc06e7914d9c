//! Callers that are slow, in time that does not pass by itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::pending;
use harmonybatch_gateway::listener::{Bounds, Refusal, Refusals, RequestBody, serve_stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::wire::{fields, frame, read_frame, status};

const SECOND: Duration = Duration::from_secs(1);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Answers a GET for `/large` with 1 MiB, one for `/slow` after an hour, and everything else with what became of its body.
async fn answer(request: Request<RequestBody>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut response = match head.uri.path() {
        "/large" => Response::new(Full::from(vec![b'x'; 1 << 20])),
        "/slow" => {
            sleep(Duration::from_hours(1)).await;
            Response::new(Full::default())
        }
        _ => Response::new(Full::default()),
    };
    if let Err(error) = body.collect().await {
        *response.status_mut() = error.status();
    }
    response
}

struct Served {
    caller: DuplexStream,
    refusals: Refusals,
    opened: Instant,
    stop: watch::Sender<bool>,
    ended: JoinHandle<std::io::Result<()>>,
}

/// One connection of which the pipe holds 64 KiB.
fn serve() -> Served {
    serve_within(Bounds::default())
}

fn serve_within(bounds: Bounds) -> Served {
    let (caller, stream) = duplex(64 << 10);
    let ((stop, stopped), refusals) = (watch::channel(false), Refusals::default());
    let ended = tokio::spawn(serve_stream(
        stream,
        bounds,
        refusals.clone(),
        stopped,
        Arc::new(answer),
    ));
    Served {
        caller,
        refusals,
        opened: Instant::now(),
        stop,
        ended,
    }
}

impl Served {
    fn counted(&self) -> Vec<Refusal> {
        let counted = Refusal::ALL
            .into_iter()
            .filter(|refusal| self.refusals.get(*refusal) > 0);
        counted.collect()
    }

    /// The statuses of all answers until the connection is closed, and when that is.
    async fn read_all(&mut self) -> (Vec<u16>, Duration) {
        let mut text = Vec::new();
        let reading = self.caller.read_to_end(&mut text);
        // In vain at the latest when a day has passed; no other timer would let the time pass.
        let _ = tokio::time::timeout(Duration::from_hours(24), reading).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        let statuses = text
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| answer[..3].parse().unwrap());
        (statuses.collect(), self.opened.elapsed())
    }

    /// Sends one byte each second until it cannot.
    async fn drip(caller: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) {
        for byte in bytes {
            if caller.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(SECOND).await;
        }
    }
}

/// Within a second, as drops of a second are.
fn about(time: Duration, seconds: u64) -> bool {
    time.abs_diff(Duration::from_secs(seconds)) <= SECOND
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed_without_an_answer() {
    let mut served = serve();
    let (statuses, time) = served.read_all().await;
    assert!(statuses.is_empty() && about(time, 10), "{statuses:?} {time:?}");
    assert_eq!(served.counted(), [Refusal::Silent]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_408_wherever_it_stops() {
    for begin in ["", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nx"] {
        let mut served = serve();
        served.caller.write_all(begin.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(served.caller);
        let dripping = tokio::spawn(async move { Served::drip(&mut writer, &[b'y'; 100]).await });
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text).await;
        let time = served.opened.elapsed();
        assert!(
            text.starts_with("HTTP/1.1 408") && about(time, 10),
            "{begin}: {text} {time:?}"
        );
        assert_eq!(served.refusals.get(Refusal::HeadSlow), 1);
        dripping.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_may_be_idle_for_two_minutes_and_its_next_head_may_take_ten_seconds() {
    let mut served = serve();
    served.caller.write_all(GET).await.unwrap();
    sleep(100 * SECOND).await;
    served.caller.write_all(GET).await.unwrap();
    let (statuses, time) = served.read_all().await;
    assert!(
        statuses == [200, 200] && about(time, 220),
        "{statuses:?} {time:?}"
    );
    assert_eq!(served.counted(), []);

    let mut served = serve();
    served.caller.write_all(GET).await.unwrap();
    sleep(100 * SECOND).await;
    served.caller.write_all(b"GET").await.unwrap();
    let (statuses, time) = served.read_all().await;
    assert!(
        statuses == [200, 408] && about(time, 110),
        "{statuses:?} {time:?}"
    );
    assert_eq!(served.counted(), [Refusal::HeadSlow]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_coming_when_the_listener_stops_is_answered() {
    for part in [5, GET.len() - 1] {
        let mut served = serve();
        served.caller.write_all(&GET[..part]).await.unwrap();
        sleep(SECOND).await;
        served.stop.send_replace(true);
        sleep(SECOND).await;
        served.caller.write_all(&GET[part..]).await.unwrap();
        let (statuses, time) = served.read_all().await;
        assert!(statuses == [200] && about(time, 2), "{statuses:?} {time:?}");
    }
    let mut served = serve();
    served.caller.write_all(GET).await.unwrap();
    sleep(SECOND).await;
    served.stop.send_replace(true);
    let (statuses, time) = served.read_all().await;
    assert!(statuses == [200] && about(time, 1), "{statuses:?} {time:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_an_answer_takes_is_not_the_callers() {
    let mut served = serve();
    served
        .caller
        .write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET")
        .await
        .unwrap();
    let (statuses, time) = served.read_all().await;
    assert!(
        statuses == [200, 408] && about(time, 3610),
        "{statuses:?} {time:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_408_and_one_that_keeps_its_rate_has_its_whole_time() {
    let served = serve();
    let (mut reader, mut writer) = tokio::io::split(served.caller);
    writer.write_all(POST).await.unwrap();
    let dripping = tokio::spawn(async move { Served::drip(&mut writer, &[b'y'; 100]).await });
    let mut text = String::new();
    let _ = reader.read_to_string(&mut text).await;
    assert!(
        text.starts_with("HTTP/1.1 408") && about(served.opened.elapsed(), 5),
        "{text}"
    );
    assert_eq!(served.refusals.get(Refusal::BodySlow), 1);
    dripping.abort();

    // A megabyte that takes 500 s. After its refusal, a caller is listened to for a second.
    for (body_timeout, status, end) in [(501, 200, 620), (100, 408, 101)] {
        let mut served = serve_within(Bounds {
            body_timeout: body_timeout * SECOND,
            ..Bounds::default()
        });
        served.caller.write_all(POST).await.unwrap();
        for _ in 0..500 {
            // What is refused is read no further.
            if served.caller.write_all(&[b'y'; 2000]).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
        let (statuses, time) = served.read_all().await;
        assert!(statuses == [status] && about(time, end), "{statuses:?} {time:?}");
        let slow = served.refusals.get(Refusal::BodySlow);
        assert_eq!(slow, u64::from(status == 408));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_no_answer_is_cut_off() {
    let mut served = serve();
    served
        .caller
        .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let _ = served.ended.await.unwrap();
    assert!(about(served.opened.elapsed(), 30));
    assert_eq!(served.refusals.get(Refusal::AnswerStalled), 1);
}

fn http2_get(stream: u32, path: &str) -> Vec<u8> {
    let list = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    frame(1, 5, stream, &fields(&list))
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http2_that_asks_for_nothing_is_told_to_end_and_is_ended() {
    for (requests, seconds) in [(0, 10 + 5), (1, 120 + 5)] {
        let mut served = serve();
        served.caller.write_all(PREFACE).await.unwrap();
        for _ in 0..requests {
            served.caller.write_all(&http2_get(1, "/")).await.unwrap();
        }
        let mut said_goodbye = false;
        while let Some(read) = read_frame(&mut served.caller).await {
            said_goodbye |= read.kind == 7;
            // Whoever answers the question whether it lives is not cut off for that.
            if read.kind == 6 {
                let _ = served.caller.write_all(&frame(6, 1, 0, &read.payload)).await;
            }
        }
        let time = served.opened.elapsed();
        assert!(said_goodbye && time <= (seconds + 1) * SECOND, "{time:?}");
        assert_eq!(served.counted(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_its_window_is_reset_and_the_others_go_on() {
    let mut served = serve();
    served.caller.write_all(PREFACE).await.unwrap();
    served.caller.write_all(&http2_get(1, "/large")).await.unwrap();
    served.caller.write_all(&http2_get(3, "/slow")).await.unwrap();
    let mut first_ended = None;
    let slow = loop {
        let read = read_frame(&mut served.caller).await.unwrap();
        match (read.kind, read.stream) {
            (3, 1) => first_ended = Some(served.opened.elapsed()),
            (1, 3) => break status(&read.payload),
            (6, 0) if read.payload.len() == 8 => {
                let _ = served.caller.write_all(&frame(6, 1, 0, &read.payload)).await;
            }
            _ => {}
        }
    };
    assert_eq!(slow, 200);
    assert!(first_ended.is_some_and(|time| about(time, 30)), "{first_ended:?}");
    assert_eq!(served.counted(), [Refusal::AnswerStalled]);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_http2_that_drips_is_408() {
    let mut served = serve();
    served.caller.write_all(PREFACE).await.unwrap();
    let list = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    served
        .caller
        .write_all(&frame(1, 4, 1, &fields(&list)))
        .await
        .unwrap();
    let (mut reader, mut writer) = tokio::io::split(served.caller);
    let dripping = tokio::spawn(async move {
        for _ in 0..100 {
            let _ = writer.write_all(&frame(0, 0, 1, b"x")).await;
            sleep(SECOND).await;
        }
        pending::<()>().await;
    });
    let status = loop {
        let read = read_frame(&mut reader).await.unwrap();
        if (read.kind, read.stream) == (1, 1) {
            break status(&read.payload);
        }
    };
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT.as_u16());
    assert!(about(served.opened.elapsed(), 5));
    assert_eq!(served.refusals.get(Refusal::BodySlow), 1);
    dripping.abort();
}
