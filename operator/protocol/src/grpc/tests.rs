#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn a_body_is_exactly_one_message_that_is_not_compressed() {
    let body = frame(Chunks::from("abc")).unwrap().into_bytes();
    assert_eq!(body, &b"\0\0\0\0\x03abc"[..]);
    assert_eq!(unframe(&body).unwrap(), "abc");
    let table: [(&[u8], FrameError); 4] = [
        (
            b"",
            FrameError::Length {
                found: 0,
                expected: 5,
            },
        ),
        (
            b"\0\0\0\0\x04abc",
            FrameError::Length {
                found: 8,
                expected: 9,
            },
        ),
        (
            b"\0\0\0\0\x02abc",
            FrameError::Length {
                found: 8,
                expected: 7,
            },
        ),
        (b"\x01\0\0\0\x03abc", FrameError::Compressed),
    ];
    for (body, error) in table {
        assert_eq!(unframe(&Bytes::from(body)), Err(error));
    }
}

#[test]
fn a_status_survives_its_trailers() {
    let line = StatusLine {
        code: Code::Unavailable,
        message: "50% of \"é\"\nare gone ~".to_owned(),
        retry_after: None,
    };
    let mut trailers = http::HeaderMap::new();
    line.write(&mut trailers);
    assert_eq!(trailers["grpc-message"], "50%25 of \"%C3%A9\"%0Aare gone ~");
    assert_eq!(StatusLine::read(&trailers), Some(line));
    assert_eq!(StatusLine::read(&http::HeaderMap::new()), None);
}

#[test]
fn statuses_are_what_callers_of_grpc_expect() {
    let table = [
        (400, Code::InvalidArgument),
        (404, Code::NotFound),
        (413, Code::ResourceExhausted),
        (429, Code::ResourceExhausted),
        (502, Code::Internal),
        (503, Code::Unavailable),
        (504, Code::DeadlineExceeded),
    ];
    for (status, code) in table {
        assert_eq!(Code::of(http::StatusCode::from_u16(status).unwrap()), code);
    }
    // A runtime's own status comes back as what it was.
    for code in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::Unavailable,
        Code::DeadlineExceeded,
    ] {
        assert_eq!(Code::of(code.as_http()), code);
    }
}
