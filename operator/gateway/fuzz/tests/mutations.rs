//! Random bytes and changed requests, in memory and in time that does not pass by itself: nothing panics, every connection ends, and nothing reaches a
//! replica that a second, simple reader of RFC 9112 would not have accepted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harmonybatch_gateway::protocol::Wire;
use harmonybatch_gateway_fuzz::{
    reference::{http1, http2::PREFACE, message::Request},
    server::{self, PIPES, Setup},
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};
use serde_json::json;

/// The answers, and what the runtime saw.
fn run(bytes: &[u8], pipe: usize) -> (String, Vec<Request>) {
    let setup = Setup {
        pipe,
        wire: Wire::Json,
        batch_size: 8,
    };
    let (answers, seen) = server::check(bytes, setup);
    (String::from_utf8_lossy(&answers).into_owned(), seen)
}

/// The numbers of requests.
fn numbers(requests: &[Request]) -> Vec<u8> {
    let first = requests.iter().map(|request| &request.inputs[0].elements[0]);
    first.map(|element| element[0]).collect()
}

/// Rows are told from each other by the number of the request.
fn body(number: usize) -> String {
    json!({"id": "x", "inputs": [{"name": "a", "shape": [1, 1], "datatype": "INT32", "data": [number]}]})
        .to_string()
}

/// One of the requests that are changed.
fn request(kind: usize, number: usize) -> Vec<u8> {
    let body = body(number);
    let (first, second) = body.split_at(20);
    let head = "POST /v2/models/mlp/infer HTTP/1.1\r\nHost: search-infer.shop\r\n";
    let text = match kind {
        0 => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        1 => format!(
            "{head}Transfer-Encoding: chunked\r\nAccept: */*\r\n\r\n{:x}\r\n{first}\r\n{:X};a=b\r\n{second}\r\n0\r\nt: u\r\n\r\n",
            first.len(),
            second.len()
        ),
        2 => "GET /v2/health/live HTTP/1.1\r\nHost: search-infer.shop\r\n\r\n".to_owned(),
        3 => format!(
            "{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        _ => format!(
            "POST /shop/search/v2/models/mlp/infer HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    };
    text.into_bytes()
}

/// Where a request is changed, as parts of its length, and how.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(f64, u8),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Repeat(f64, usize),
    Cut(f64),
    /// One more line, before the one that is there.
    Line(f64, &'static str),
    /// The line's CR is lost.
    Bare(f64),
    /// The line comes twice.
    Twice(f64),
    /// The line begins with a space.
    Fold(f64),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    const TOKENS: &[&str] = &[
        "\n",
        "\r",
        "\r\n",
        "\0",
        " ",
        "\t",
        ":",
        ";",
        ",",
        "0",
        "\r\n\r\n",
        "\r\n ",
        "0\r\n\r\n",
        "\n\n",
        "\x7f",
        "\u{e9}",
        " HTTP/1.1",
        "ffffffffffffffff",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    const LINES: &[&str] = &[
        "Content-Length: 3",
        "Content-Length: 0",
        "Content-Length: +3",
        "Content-Length:",
        "Content-Length: 3, 3",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: x",
        "Host: other.shop",
        "Host: search-infer.shop",
        "Host:",
        "Connection: close",
        "Connection: keep-alive",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "Expect: tea",
        "X: y",
        "X : y",
        "X",
        ": y",
        "X: y\x01",
        "GET /v2/health/live HTTP/1.1",
        "",
    ];
    let at = 0.0..1.0;
    prop_oneof![
        1 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        2 => (at.clone(), select(TOKENS)).prop_map(|(at, token)| Mutation::Insert(at, token.into())),
        1 => (at.clone(), 1..12_usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        1 => (at.clone(), 1..40_usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        1 => at.clone().prop_map(Mutation::Cut),
        8 => (at.clone(), select(LINES)).prop_map(|(at, line)| Mutation::Line(at, line)),
        4 => at.clone().prop_map(Mutation::Bare),
        3 => at.clone().prop_map(Mutation::Twice),
        2 => at.prop_map(Mutation::Fold),
    ]
}

/// The line at a place, with its end.
fn line(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let start = bytes[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let end = bytes[start..].iter().position(|byte| *byte == b'\n');
    start..end.map_or(bytes.len(), |end| start + end + 1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short text"
)]
fn change(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let place = |part: f64| (part * bytes.len() as f64) as usize;
    let range = |part: f64, length: usize| place(part)..(place(part) + length).min(bytes.len());
    match mutation {
        Mutation::Replace(at, byte) => {
            let at = place(*at);
            if let Some(old) = bytes.get_mut(at) {
                *old = *byte;
            }
        }
        Mutation::Insert(at, token) => {
            let at = place(*at);
            bytes.splice(at..at, token.iter().copied());
        }
        Mutation::Line(at, text) => {
            let begin = line(bytes, place(*at)).start;
            bytes.splice(begin..begin, [text.as_bytes(), b"\r\n"].concat());
        }
        Mutation::Bare(at) => {
            let line = line(bytes, place(*at));
            if bytes[line.clone()].ends_with(b"\r\n") {
                bytes.remove(line.end - 2);
            }
        }
        Mutation::Twice(at) => {
            let line = line(bytes, place(*at));
            let (end, again) = (line.end, bytes[line].to_vec());
            bytes.splice(end..end, again);
        }
        Mutation::Fold(at) => bytes.insert(line(bytes, place(*at)).start, b' '),
        Mutation::Remove(at, length) => {
            let range = range(*at, *length);
            bytes.drain(range);
        }
        Mutation::Repeat(at, length) => {
            let range = range(*at, *length);
            let (end, again) = (range.end, bytes[range].to_vec());
            bytes.splice(end..end, again);
        }
        Mutation::Cut(at) => {
            let at = place(*at);
            bytes.truncate(at);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_reaches_a_replica_is_what_a_strict_reader_accepts(
        kinds in vec(0..5_usize, 1..4),
        mutations in vec(mutation(), 0..4),
        pipe in select(PIPES.to_vec()),
    ) {
        let requests = kinds.iter().enumerate().map(|(number, kind)| request(*kind, number));
        let mut bytes = requests.collect::<Vec<_>>().concat();
        for mutation in &mutations {
            change(&mut bytes, mutation);
        }
        let (answers, seen) = run(&bytes, pipe);
        if mutations.is_empty() {
            prop_assert_eq!(numbers(&seen), numbers(&http1::accepted(&bytes)));
            prop_assert_eq!(answers.matches(" 200 OK").count(), kinds.len());
        }
    }

    #[test]
    fn random_frames_of_http2_reach_no_replica_and_end(
        frames in vec((0..11_u8, any::<u8>(), 0..8_u8, vec(any::<u8>(), 0..50)), 1..20),
    ) {
        let mut bytes = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
        for (kind, flags, stream, payload) in frames {
            let length = u8::try_from(payload.len()).unwrap();
            bytes.extend([0, 0, length, kind, flags, 0, 0, 0, stream]);
            bytes.extend(payload);
        }
        let (_, seen) = run(&bytes, 4096);
        prop_assert!(seen.is_empty());
    }

    #[test]
    fn random_bytes_reach_no_replica_and_end(bytes in vec(any::<u8>(), 0..300), preface in any::<bool>()) {
        let preface = if preface { PREFACE } else { b"" };
        let (_, seen) = run(&[preface, &bytes].concat(), 64);
        prop_assert!(seen.is_empty());
    }
}

#[test]
fn the_reference_accepts_what_is_right_and_no_more() {
    let right = [request(0, 0), request(1, 1), request(2, 2), request(4, 3)].concat();
    assert_eq!(numbers(&http1::accepted(&right)), [0, 1, 3]);
    let (answers, seen) = run(&right, 64);
    assert_eq!(
        (answers.matches(" 200 OK").count(), seen.len()),
        (4, 3),
        "{answers}"
    );
    let text = String::from_utf8(request(0, 0))
        .unwrap()
        .replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(http1::accepted(text.as_bytes()).is_empty());
}

#[test]
fn a_request_behind_an_answer_that_is_taken_slowly_is_not_forgotten() {
    // Refused without its content being read, which hyper then does while the answer leaves.
    let mut bytes = [request(4, 0), request(0, 1)].concat();
    bytes.remove(0);
    let (answers, seen) = run(&bytes, 64);
    assert!(
        answers.contains(" 405 ") && answers.contains(" 200 OK"),
        "{answers}"
    );
    assert_eq!(numbers(&seen), [1]);
}
