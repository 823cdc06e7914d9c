//! Cases of what follows a head.

use crate::{
    Case,
    http1_cases::{bad, good, post, replaced},
    wire::{HOST, LIVE, POST, body, chunked, head, infer},
};

pub(crate) fn all() -> Vec<Case> {
    let all = [lengths(), codings(), chunks(), meanings(), sequences()];
    all.into_iter().flatten().collect()
}

fn lengths() -> Vec<Case> {
    let length = body().len();
    let with = |value: &str| post(&[&format!("content-length: {value}")]);
    let twice = |second: usize| {
        post(&[
            &format!("content-length: {length}"),
            &format!("content-length: {second}"),
        ])
    };
    vec![
        bad("two lengths", twice(length + 1), "400, closed", "content_length"),
        bad(
            "the same length twice",
            twice(length),
            "400, closed",
            "content_length",
        ),
        bad(
            "a list of lengths",
            with(&format!("{length}, {length}")),
            "400, closed",
            "content_length",
        ),
        bad(
            "a length with a sign",
            with(&format!("+{length}")),
            "400, closed",
            "content_length",
        ),
        bad("a length below zero", with("-1"), "400, closed", "content_length"),
        bad(
            "a length in hexadecimal digits",
            with("0x10"),
            "400, closed",
            "content_length",
        ),
        bad("an empty length", with(""), "400, closed", "content_length"),
        bad(
            "a length of 20 digits",
            with("18446744073709551617"),
            "400, closed",
            "content_length",
        ),
        bad(
            "a body above the limit",
            with("1000000"),
            "413, closed",
            "body_size",
        ),
    ]
}

fn codings() -> Vec<Case> {
    let with = |coding: &str| {
        replaced(
            &chunked("a", "0\r\n\r\n"),
            "transfer-encoding: chunked",
            coding.as_bytes(),
        )
    };
    let te = "transfer-encoding: chunked";
    vec![
        bad(
            "a coding, then a length",
            with(&format!("{te}\r\ncontent-length: 10")),
            "400, closed",
            "both_lengths",
        ),
        bad(
            "a length, then a coding",
            with(&format!("content-length: 10\r\n{te}")),
            "400, closed",
            "both_lengths",
        ),
        bad(
            "a coding and a length of 0",
            with(&format!("{te}\r\ncontent-length: 0")),
            "400, closed",
            "both_lengths",
        ),
        bad(
            "chunked twice in a list",
            with("transfer-encoding: chunked, chunked"),
            "400, closed",
            "transfer_encoding",
        ),
        bad(
            "chunked twice in two fields",
            with(&format!("{te}\r\n{te}")),
            "400, closed",
            "transfer_encoding",
        ),
        bad(
            "a coding and one that nobody knows, in two fields",
            with(&format!("{te}\r\ntransfer-encoding: x")),
            "400, closed",
            "transfer_encoding",
        ),
        bad(
            "an empty coding",
            with("transfer-encoding:"),
            "400, closed",
            "transfer_encoding",
        ),
        bad(
            "a coding in HTTP/1.0",
            replaced(&with(te), "HTTP/1.1", b"HTTP/1.0"),
            "400, closed",
            "transfer_encoding",
        ),
        bad(
            "`gzip, chunked`",
            with("transfer-encoding: gzip, chunked"),
            "501, closed",
            "coding",
        ),
        bad(
            "`identity`",
            with("transfer-encoding: identity"),
            "501, closed",
            "coding",
        ),
        bad(
            "`xchunked`",
            with("transfer-encoding: xchunked"),
            "501, closed",
            "coding",
        ),
        bad(
            "`chunked;q=1`",
            with("transfer-encoding: chunked;q=1"),
            "501, closed",
            "coding",
        ),
        bad(
            "`\"chunked\"`",
            with("transfer-encoding: \"chunked\""),
            "501, closed",
            "coding",
        ),
        bad(
            "a vertical tab before chunked",
            with("transfer-encoding: \x0bchunked"),
            "400, closed",
            "field",
        ),
        bad(
            "a space after the name of the coding's field",
            with("transfer-encoding : chunked"),
            "400, closed",
            "field",
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let first = |first: &str| chunked(first, "0\r\n\r\n");
    let end = |end: &str| chunked("a", end);
    vec![
        bad("a chunk longer than its size", first("9"), "400, closed", "chunk"),
        bad(
            "a chunk shorter than its size",
            first("b"),
            "400, closed",
            "chunk",
        ),
        bad("a size below zero", first("-a"), "400, closed", "chunk"),
        bad("`0xa`", first("0xa"), "400, closed", "chunk"),
        bad("an empty size", first(""), "400, closed", "chunk"),
        bad(
            "a size that 64 bits do not hold",
            first("1000000000000000a"),
            "400, closed",
            "chunk",
        ),
        bad(
            "a size with a space before it",
            first(" a"),
            "400, closed",
            "chunk",
        ),
        bad(
            "a size with a space after it",
            first("a "),
            "400, closed",
            "chunk",
        ),
        bad(
            "LF after a size",
            replaced(&first("a"), "\r\n\r\na\r\n", b"\r\n\r\na\n"),
            "400, closed",
            "chunk",
        ),
        bad("LF in an extension", first("a;x\ny"), "400, closed", "chunk"),
        bad("CR in an extension", first("a;x\ry"), "400, closed", "chunk"),
        bad(
            "extensions without end",
            first(&format!("a;{}", "x".repeat(9 << 10))),
            "400, closed",
            "chunk_extras",
        ),
        bad("LF ends the body", end("0\r\n\n"), "400, closed", "chunk"),
        bad(
            "a folded trailer field",
            end("0\r\na: b\r\n c\r\n\r\n"),
            "400, closed",
            "chunk",
        ),
        bad(
            "a trailer field without a colon",
            end("0\r\nab\r\n\r\n"),
            "400, closed",
            "chunk",
        ),
        bad(
            "trailer fields without end",
            end(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(4 << 10))),
            "400, closed",
            "chunk_extras",
        ),
        bad(
            "chunks above the limit of a body",
            first(&format!("2000\r\n{}\r\na", "x".repeat(0x2000))),
            "413, closed",
            "body_size",
        ),
    ]
}

fn meanings() -> Vec<Case> {
    vec![
        bad(
            "GET with content",
            head(&[LIVE, HOST, "content-length: 3"], b"abc"),
            "400, closed",
            "content",
        ),
        bad(
            "GET with chunks",
            head(&[LIVE, HOST, "transfer-encoding: chunked"], b"0\r\n\r\n"),
            "400, closed",
            "content",
        ),
        bad(
            "GET whose content is a request",
            head(
                &[LIVE, HOST, &format!("content-length: {}", infer(&[]).len())],
                &infer(&[]),
            ),
            "400, closed",
            "content",
        ),
        bad(
            "an expectation that is not met",
            infer(&["expect: tea"]),
            "417, closed",
            "expectation",
        ),
        bad(
            "two expectations",
            infer(&["expect: 100-continue", "expect: 100-continue"]),
            "417, closed",
            "expectation",
        ),
    ]
}

fn sequences() -> Vec<Case> {
    let both = infer(&["transfer-encoding: chunked"]);
    let mut hidden = head(
        &[POST, HOST, "content-length: 4", "transfer-encoding: chunked"],
        b"0\r\n\r\n",
    );
    hidden.extend(infer(&[]));
    vec![
        good(
            "two requests at once",
            [infer(&[]), infer(&[])].concat(),
            "200, 200, kept",
            2,
        ),
        good(
            "a request after chunks",
            [chunked("a", "0\r\n\r\n"), infer(&[])].concat(),
            "200, 200, kept",
            2,
        ),
        Case {
            name: "a good request, then a bad one",
            sends: [infer(&[]), both.clone()].concat(),
            answer: "200, 400, closed",
            runtime: 1,
            counted: "both_lengths",
        },
        bad(
            "a bad request, then a good one",
            [both, infer(&[])].concat(),
            "400, closed",
            "both_lengths",
        ),
        bad(
            "a request hidden behind a length and a coding",
            hidden,
            "400, closed",
            "both_lengths",
        ),
        bad(
            "a request hidden after a folded length",
            head(&[POST, HOST, "content-length:", " 0"], &infer(&[])),
            "400, closed",
            "content_length",
        ),
    ]
}
