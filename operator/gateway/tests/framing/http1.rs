//! Plays the cases of HTTP/1.1.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    Case, bounded, counted_since, http1_cases, refusals, serve,
    wire::{HOST, LIVE, answer, head},
    within,
};

#[tokio::test]
async fn every_case_of_http1_is_answered_as_documented() {
    let (gateway, runtime) = serve(bounded()).await;
    let mut wrong = Vec::new();
    for case in http1_cases::all() {
        let before = (refusals(&gateway).await, runtime.seen.lock().unwrap().len());
        let mut stream = TcpStream::connect(gateway.callers).await.unwrap();
        let answer = within(play(&mut stream, &case)).await;
        drop(stream);
        let seen = runtime.seen.lock().unwrap().len() - before.1;
        let counted = counted_since(&gateway, &before.0).await;
        if (answer.as_str(), seen, counted.as_str()) != (case.answer, case.runtime, case.counted) {
            wrong.push(format!(
                "{}: {answer:?}, {seen}, {counted:?}, where the table has {:?}, {}, {:?}",
                case.name, case.answer, case.runtime, case.counted
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// All that is answered, and whether the connection is closed then or takes one more request.
async fn play(stream: &mut TcpStream, case: &Case) -> String {
    // The gateway may have closed before the last byte.
    let _ = stream.write_all(&case.sends).await;
    let expected = case
        .answer
        .split(", ")
        .filter(|word| word.parse::<u16>().is_ok())
        .count();
    let mut said = Vec::new();
    for _ in 0..expected {
        match answer(stream).await {
            Some(status) => said.push(status.to_string()),
            None => break,
        }
    }
    if case.answer.ends_with("closed") {
        said.extend(answer(stream).await.map(|status| status.to_string()));
        said.push("closed".to_owned());
    } else {
        let _ = stream.write_all(&head(&[LIVE, HOST], b"")).await;
        said.push(
            if answer(stream).await == Some(200) {
                "kept"
            } else {
                "closed"
            }
            .to_owned(),
        );
    }
    said.join(", ")
}
