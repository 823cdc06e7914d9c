//! Plays the cases of HTTP/2.

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, tcp::OwnedReadHalf},
};

use crate::{
    Case, bounded, counted_since,
    http2_cases::{self, PROBE, REQUEST},
    refusals, serve,
    wire::{fields, frame, read_frame, status},
    within,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The error codes of RFC 9113, section 7.
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

#[tokio::test]
async fn every_case_of_http2_is_answered_as_documented() {
    let (gateway, runtime) = serve(bounded()).await;
    let mut wrong = Vec::new();
    for case in http2_cases::all() {
        let before = (refusals(&gateway).await, runtime.seen.lock().unwrap().len());
        let stream = TcpStream::connect(gateway.callers).await.unwrap();
        let answer = within(play(stream, &case)).await;
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

/// What becomes of the case's request, and of the connection: it is `kept` where a later request is answered.
async fn play(stream: TcpStream, case: &Case) -> String {
    let (mut reader, mut writer) = stream.into_split();
    let probe = [fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v2/health/live"),
        (":authority", "search-infer.shop"),
    ])];
    let probe = frame(1, 5, PROBE, &probe.concat());
    let sends = [PREFACE, &frame(4, 0, 0, &[]), &case.sends].concat();
    let asks_first = case.answer.contains("kept") && !case.answer.starts_with("kept");
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&sends).await;
        if !asks_first {
            let _ = writer.write_all(&probe).await;
        }
        (writer, probe)
    });
    let mut said = Vec::new();
    if asks_first {
        said.extend(outcome(&mut reader, REQUEST).await);
        let (mut writer, probe) = writing.await.unwrap();
        let _ = writer.write_all(&probe).await;
        said.extend(outcome(&mut reader, PROBE).await.map(kept));
        return said.join(", ");
    }
    said.extend(outcome(&mut reader, PROBE).await.map(kept));
    said.join(", ")
}

fn kept(outcome: String) -> String {
    if outcome == "200" {
        "kept".to_owned()
    } else {
        outcome
    }
}

/// Reads until a stream is answered or reset, or the connection ended.
async fn outcome(reader: &mut OwnedReadHalf, stream: u32) -> Option<String> {
    let code = |payload: &[u8]| {
        let code = u32::from_be_bytes(payload[..4].try_into().unwrap());
        CODES[usize::try_from(code).unwrap()]
    };
    loop {
        let Some(read) = read_frame(reader).await else {
            return Some("closed".to_owned());
        };
        match read.kind {
            1 if read.stream == stream => return Some(status(&read.payload).to_string()),
            3 if read.stream == stream => return Some(format!("reset {}", code(&read.payload))),
            7 => return Some(format!("goaway {}", code(&read.payload[4..]))),
            _ => {}
        }
    }
}
