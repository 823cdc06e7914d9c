//! Cases of heads.

use crate::{
    Case,
    http1_cases::{bad, good, post, replaced},
    wire::{HOST, LIVE, body, chunked, head, infer},
};

pub(crate) fn all() -> Vec<Case> {
    let all = [
        accepted(),
        accepted_fields(),
        lines(),
        request_lines(),
        fields(),
        targets(),
    ];
    all.into_iter().flatten().collect()
}

fn accepted() -> Vec<Case> {
    let old = |more| replaced(&infer(more), "HTTP/1.1", b"HTTP/1.0");
    vec![
        good("a length", infer(&[]), "200, kept", 1),
        good("chunks", chunked("a", "0\r\n\r\n"), "200, kept", 1),
        good(
            "chunks with an extension and a trailer field",
            chunked("A;a=\"b\"", "0;c\r\nt: u\r\n\r\n"),
            "200, kept",
            1,
        ),
        good(
            "a chunk size with zeros before it",
            chunked("0000a", "000\r\n\r\n"),
            "200, kept",
            1,
        ),
        good(
            "`Transfer-Encoding: CHUNKED`",
            replaced(
                &chunked("a", "0\r\n\r\n"),
                "transfer-encoding: chunked",
                b"Transfer-Encoding: CHUNKED",
            ),
            "200, kept",
            1,
        ),
        good(
            "an empty line before the request",
            [b"\r\n".to_vec(), infer(&[])].concat(),
            "200, kept",
            1,
        ),
        good(
            "`Connection: close`",
            infer(&["connection: close"]),
            "200, closed",
            1,
        ),
        good("HTTP/1.0", old(&[]), "200, closed", 1),
        good(
            "HTTP/1.0 with `Connection: keep-alive`",
            old(&["connection: keep-alive"]),
            "200, kept",
            1,
        ),
        good(
            "HTTP/1.0 without a host, by path",
            replaced(
                &replaced(&old(&[]), "host: search-infer.shop\r\n", b""),
                "/v2",
                b"/shop/search/v2",
            ),
            "200, closed",
            1,
        ),
        good(
            "absolute form, with the host's name",
            replaced(&infer(&[]), "/v2", b"http://search-infer.shop/v2"),
            "200, kept",
            1,
        ),
        good(
            "a host in capitals with a port",
            replaced(&infer(&[]), HOST, b"HOST: SEARCH-INFER.shop:80"),
            "200, kept",
            1,
        ),
    ]
}

fn accepted_fields() -> Vec<Case> {
    let old = |more| replaced(&infer(more), "HTTP/1.1", b"HTTP/1.0");
    let length = body().len();
    vec![
        good(
            "spaces and tabs around a value",
            infer(&["x:\t y \t"]),
            "200, kept",
            1,
        ),
        good(
            "bytes from 0x80 in a value",
            replaced(&infer(&["x: y"]), "x: y", b"x: \xc3\xa9"),
            "200, kept",
            1,
        ),
        good(
            "`Expect: 100-continue`",
            infer(&["expect: 100-Continue"]),
            "100, 200, kept",
            1,
        ),
        good(
            "an expectation in HTTP/1.0, which is none",
            old(&["expect: tea"]),
            "200, closed",
            1,
        ),
        good(
            "`Upgrade: h2c`, which is never taken",
            infer(&[
                "connection: upgrade, http2-settings",
                "upgrade: h2c",
                "http2-settings: AAMAAABkAAQAAP__",
            ]),
            "200, kept",
            1,
        ),
        good(
            "`Upgrade: websocket`, which is never taken",
            infer(&["connection: upgrade", "upgrade: websocket"]),
            "200, kept",
            1,
        ),
        good(
            "GET with `Content-Length: 0`",
            head(&[LIVE, HOST, "content-length: 0"], b""),
            "200, kept",
            0,
        ),
        good(
            "a length with zeros before it",
            post(&[&format!("content-length: 000{length}")]),
            "200, kept",
            1,
        ),
        good(
            "a method that nobody knows",
            replaced(&infer(&[]), "POST", b"BREW"),
            "405, kept",
            0,
        ),
        good(
            "a method in small letters, which is another one",
            replaced(&head(&[LIVE, HOST], b""), "GET", b"get"),
            "405, kept",
            0,
        ),
        good(
            "`OPTIONS *`",
            head(&["OPTIONS * HTTP/1.1", HOST], b""),
            "404, kept",
            0,
        ),
    ]
}

fn lines() -> Vec<Case> {
    let with = |from, to: &[u8]| replaced(&infer(&["x: y"]), from, to);
    let bare = String::from_utf8(infer(&[]))
        .unwrap()
        .replace("\r\n", "\n")
        .into_bytes();
    vec![
        bad("LF ends every line", bare, "400, closed", "line_end"),
        bad(
            "LF ends one line",
            with("x: y\r\n", b"x: y\n"),
            "400, closed",
            "line_end",
        ),
        bad(
            "LF ends the head",
            with("x: y\r\n\r\n", b"x: y\r\n\n"),
            "400, closed",
            "line_end",
        ),
        bad(
            "LF before the request line",
            [b"\n".to_vec(), infer(&[])].concat(),
            "400, closed",
            "line_end",
        ),
        bad(
            "CR in a value",
            with("x: y", b"x: y\rz"),
            "400, closed",
            "line_end",
        ),
        bad(
            "CR CR LF",
            with("x: y\r\n", b"x: y\r\r\n"),
            "400, closed",
            "line_end",
        ),
        bad(
            "two empty lines before the request",
            [b"\r\n\r\n".to_vec(), infer(&[])].concat(),
            "400, closed",
            "request_line",
        ),
    ]
}

fn request_lines() -> Vec<Case> {
    let with = |from, to: &[u8]| replaced(&infer(&["x: y"]), from, to);
    vec![
        bad(
            "no version (HTTP/0.9)",
            b"GET /v2/health/live\r\n\r\n".to_vec(),
            "400, closed",
            "request_line",
        ),
        bad(
            "two spaces in the request line",
            with("POST ", b"POST  "),
            "400, closed",
            "request_line",
        ),
        bad(
            "a tab in the request line",
            with("POST ", b"POST\t"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a space after the version",
            with("HTTP/1.1", b"HTTP/1.1 "),
            "400, closed",
            "request_line",
        ),
        bad(
            "`http/1.1`",
            with("HTTP/1.1", b"http/1.1"),
            "400, closed",
            "request_line",
        ),
        bad(
            "HTTP/1.2",
            with("HTTP/1.1", b"HTTP/1.2"),
            "505, closed",
            "version",
        ),
        bad(
            "HTTP/2.0 without its preface",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
            "505, closed",
            "version",
        ),
        bad(
            "a method that is no token",
            with("POST", b"P(ST"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a method with NUL",
            with("POST", b"PO\0T"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a head that is too long",
            infer(&[&format!("x: {}", "y".repeat(8 << 10))]),
            "431, closed",
            "head_size",
        ),
        bad(
            "a head without end",
            [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'y'; 9 << 10]].concat(),
            "431, closed",
            "head_size",
        ),
        bad(
            "too many fields",
            infer(&["a: b"; 20]),
            "431, closed",
            "head_fields",
        ),
        bad(
            "a target that is too long",
            with("/v2", &[b"/".as_slice(), &[b'y'; 1 << 10], b"/v2"].concat()),
            "414, closed",
            "target_size",
        ),
        bad(
            "a target without end",
            [b"GET /".to_vec(), vec![b'y'; 2 << 10]].concat(),
            "414, closed",
            "target_size",
        ),
    ]
}

fn fields() -> Vec<Case> {
    let with = |field: &[u8]| replaced(&infer(&["x: y"]), "x: y", field);
    let host = |host: &str| replaced(&infer(&[]), HOST, host.as_bytes());
    vec![
        bad("a folded field", with(b"x: y\r\n z"), "400, closed", "folded"),
        bad(
            "a first field that begins with a space",
            host(" host: search-infer.shop"),
            "400, closed",
            "folded",
        ),
        bad("a space before the colon", with(b"x : y"), "400, closed", "field"),
        bad("a tab before the colon", with(b"x\t: y"), "400, closed", "field"),
        bad("no colon", with(b"x y"), "400, closed", "field"),
        bad("no name", with(b": y"), "400, closed", "field"),
        bad("a name with a space", with(b"x y: z"), "400, closed", "field"),
        bad(
            "a name with a byte from 0x80",
            with(b"x\xc3\xa9: y"),
            "400, closed",
            "field",
        ),
        bad("NUL in a value", with(b"x: y\0z"), "400, closed", "field"),
        bad(
            "a control character in a value",
            with(b"x: y\x08z"),
            "400, closed",
            "field",
        ),
        bad("DEL in a value", with(b"x: y\x7fz"), "400, closed", "field"),
        bad("no host in HTTP/1.1", host("x: y"), "400, closed", "host"),
        bad("two hosts", infer(&["host: other.shop"]), "400, closed", "host"),
        bad("the same host twice", infer(&[HOST]), "400, closed", "host"),
        bad("an empty host", host("host:"), "400, closed", "host"),
        bad(
            "a user before the host",
            host("host: me@search-infer.shop"),
            "400, closed",
            "host",
        ),
        bad(
            "a path after the host",
            host("host: search-infer.shop/v2"),
            "400, closed",
            "host",
        ),
        bad(
            "a list of hosts",
            host("host: search-infer.shop, other.shop"),
            "400, closed",
            "host",
        ),
        bad(
            "a port that is none",
            host("host: search-infer.shop:80x"),
            "400, closed",
            "host",
        ),
    ]
}

fn targets() -> Vec<Case> {
    let with = |target: &[u8]| replaced(&infer(&[]), "/v2/models/mlp/infer", target);
    vec![
        bad(
            "absolute form with another host than the field's",
            with(b"http://other.shop/v2/models/mlp/infer"),
            "400, closed",
            "host",
        ),
        bad(
            "absolute form with a user",
            with(b"http://me@search-infer.shop/v2/models/mlp/infer"),
            "400, closed",
            "request_line",
        ),
        bad(
            "absolute form of another scheme",
            with(b"ftp://search-infer.shop/v2/models/mlp/infer"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a target without a slash",
            with(b"v2/models/mlp/infer"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a fragment",
            with(b"/v2/models/mlp/infer#x"),
            "400, closed",
            "request_line",
        ),
        bad(
            "an escape that is none",
            with(b"/v2/models/mlp%2/infer"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a backslash",
            with(b"/v2\\models/mlp/infer"),
            "400, closed",
            "request_line",
        ),
        bad(
            "NUL in the target",
            with(b"/v2/models/mlp/infer\0"),
            "400, closed",
            "request_line",
        ),
        bad(
            "a byte from 0x80 in the target",
            with(b"/v2/models/ml\xc3\xa9/infer"),
            "400, closed",
            "request_line",
        ),
        bad("`POST *`", with(b"*"), "400, closed", "request_line"),
        bad(
            "CONNECT",
            head(&["CONNECT search-infer.shop:80 HTTP/1.1", HOST], b""),
            "501, closed",
            "connect",
        ),
    ]
}
