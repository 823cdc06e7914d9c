//! The cases of HTTP/2.

use crate::{
    Case,
    wire::{body, fields, frame},
};

/// The stream of a case's request.
pub(crate) const REQUEST: u32 = 1;
/// The stream of the request that shows whether the connection is kept. No case uses a later one.
pub(crate) const PROBE: u32 = 100_001;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

type Field = (&'static str, &'static str);

const POST: [Field; 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/v2/models/mlp/infer"),
    (":authority", "search-infer.shop"),
];
const GET: [Field; 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/v2/health/live"),
    (":authority", "search-infer.shop"),
];

fn case(name: &'static str, sends: Vec<u8>, answer: &'static str, counted: &'static str) -> Case {
    Case {
        name,
        sends,
        answer,
        runtime: 0,
        counted,
    }
}

fn headers(flags: u8, stream: u32, list: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &fields(list))
}

fn data(stream: u32, data: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, data)
}

/// An infer request with some more fields.
fn infer(more: &[(&str, &str)]) -> Vec<u8> {
    [
        headers(0, REQUEST, &[POST.as_slice(), more].concat()),
        data(REQUEST, body().as_bytes()),
    ]
    .concat()
}

/// A request without content with other fields.
fn get(list: &[(&str, &str)]) -> Vec<u8> {
    headers(END_STREAM, REQUEST, list)
}

pub(crate) fn all() -> Vec<Case> {
    [accepted(), meanings(), malformed(), frames(), floods()]
        .into_iter()
        .flatten()
        .collect()
}

fn accepted() -> Vec<Case> {
    let good = |name, sends| Case {
        runtime: 1,
        ..case(name, sends, "200, kept", "")
    };
    let length = body().len().to_string();
    let block = fields(&POST);
    let (first, rest) = block.split_at(9);
    vec![
        good("a request", infer(&[])),
        good("a request with its length", infer(&[("content-length", &length)])),
        good(
            "a host that is the authority",
            infer(&[("host", "search-infer.shop")]),
        ),
        good("`te: trailers`", infer(&[("te", "trailers")])),
        good(
            "a head in two frames",
            [
                frame(HEADERS, 0, REQUEST, first),
                frame(CONTINUATION, END_HEADERS, REQUEST, rest),
                data(REQUEST, body().as_bytes()),
            ]
            .concat(),
        ),
        good(
            "a frame of a kind that nobody knows",
            [frame(0x42, 0, 0, b"x"), infer(&[])].concat(),
        ),
        good(
            "a setting that nobody knows",
            [frame(SETTINGS, 0, 0, &[0x42, 0, 0, 0, 0, 1]), infer(&[])].concat(),
        ),
    ]
}

fn meanings() -> Vec<Case> {
    let [method, scheme, path, _] = GET;
    let many: Vec<Field> = [GET.as_slice(), &[("a", "b"); 21]].concat();
    let long = "x".repeat(2 << 10);
    let content = [headers(0, REQUEST, &GET), data(REQUEST, b"abc")].concat();
    vec![
        case(
            "a host that is not the authority",
            get(&[GET.as_slice(), &[("host", "other.shop")]].concat()),
            "400, kept",
            "host",
        ),
        case(
            "two hosts",
            get(&[GET.as_slice(), &[("host", "search-infer.shop"); 2]].concat()),
            "400, kept",
            "host",
        ),
        case(
            "neither authority nor host",
            get(&[method, scheme, path]),
            "400, kept",
            "host",
        ),
        case(
            "a user before the authority",
            get(&[method, scheme, path, (":authority", "me@search-infer.shop")]),
            "400, kept",
            "host",
        ),
        case(
            "CONNECT",
            get(&[(":method", "CONNECT"), (":authority", "search-infer.shop:80")]),
            "501, kept",
            "connect",
        ),
        case("GET with content", content, "400, kept", "content"),
        case(
            "an expectation that is not met",
            get(&[GET.as_slice(), &[("expect", "tea")]].concat()),
            "417, kept",
            "expectation",
        ),
        case("too many fields", get(&many), "431, kept", "head_fields"),
        case(
            "a target that is too long",
            get(&[method, scheme, (":path", &format!("/{long}")), GET[3]]),
            "414, kept",
            "target_size",
        ),
        case(
            "a head that is too long",
            get(&[GET.as_slice(), &[("x", long.as_str()); 5]].concat()),
            "431, kept",
            "",
        ),
        case(
            "a body above the limit",
            [headers(0, REQUEST, &POST), data(REQUEST, &[b' '; 5 << 10])].concat(),
            "413, kept",
            "body_size",
        ),
    ]
}

/// RFC 9113, section 8.1.1: an error of the stream, which a server may make one of the connection, as is done with what no list of fields can hold.
fn malformed() -> Vec<Case> {
    let [method, scheme, path, authority] = POST;
    let reset = |name, sends| case(name, sends, "reset PROTOCOL_ERROR, kept", "");
    let protocol = |name, sends| case(name, sends, "goaway PROTOCOL_ERROR", "http2");
    let length = |length: usize| infer(&[("content-length", &length.to_string())]);
    vec![
        reset("`connection: close`", infer(&[("connection", "close")])),
        reset(
            "`transfer-encoding: chunked`",
            infer(&[("transfer-encoding", "chunked")]),
        ),
        reset("`upgrade: websocket`", infer(&[("upgrade", "websocket")])),
        reset("`te: gzip`", infer(&[("te", "gzip")])),
        protocol("a name in capitals", infer(&[("X", "y")])),
        protocol("a name with a space", infer(&[("x y", "z")])),
        protocol("LF in a value", infer(&[("x", "y\nz")])),
        protocol("NUL in a value", infer(&[("x", "y\0z")])),
        protocol(
            "a pseudo-header that nobody knows",
            get(&[method, scheme, path, authority, (":x", "y")]),
        ),
        reset("`:method` twice", infer(&[(":method", "POST")])),
        reset(
            "`:path` after a field",
            [
                headers(0, REQUEST, &[method, scheme, authority, ("x", "y"), path]),
                data(REQUEST, b"{}"),
            ]
            .concat(),
        ),
        reset("no `:path`", get(&[method, scheme, authority])),
        reset(
            "an empty `:path`",
            get(&[method, scheme, (":path", ""), authority]),
        ),
        reset("no `:method`", get(&[scheme, path, authority])),
        reset("no `:scheme`", get(&[method, path, authority])),
        reset(
            "`:status` in a request",
            get(&[method, scheme, path, authority, (":status", "200")]),
        ),
        reset("less content than its length", length(body().len() + 1)),
        reset("more content than its length", length(body().len() - 1)),
        reset("a length that is none", infer(&[("content-length", "1x")])),
        reset(
            "two lengths",
            infer(&[("content-length", "1"), ("content-length", "2")]),
        ),
    ]
}

/// Errors of the connection.
fn frames() -> Vec<Case> {
    let protocol = |name, sends| case(name, sends, "goaway PROTOCOL_ERROR", "http2");
    let size = |name, sends| case(name, sends, "goaway FRAME_SIZE_ERROR", "http2");
    let flow = |name, sends| case(name, sends, "goaway FLOW_CONTROL_ERROR", "http2");
    let setting = |id: u8, value: u32| {
        frame(
            SETTINGS,
            0,
            0,
            &[&[0, id], value.to_be_bytes().as_slice()].concat(),
        )
    };
    let window = |stream, size: u32| frame(WINDOW_UPDATE, 0, stream, &size.to_be_bytes());
    vec![
        protocol("content of a stream that never began", data(REQUEST, b"x")),
        case(
            "content of a stream that has ended",
            [get(&GET), data(REQUEST, b"x")].concat(),
            "goaway PROTOCOL_ERROR",
            "http2",
        ),
        protocol("content of the connection", data(0, b"x")),
        protocol("a head of the connection", headers(END_STREAM, 0, &GET)),
        protocol("a stream with an even number", headers(END_STREAM, 2, &GET)),
        protocol(
            "a stream with a lower number than one before",
            [headers(END_STREAM, 5, &GET), headers(END_STREAM, 3, &GET)].concat(),
        ),
        protocol(
            "a reset of a stream that never began",
            frame(RESET, 0, REQUEST, &[0; 4]),
        ),
        protocol("a push", frame(5, END_HEADERS, REQUEST, &[0, 0, 0, 2])),
        protocol(
            "a CONTINUATION without a head",
            frame(CONTINUATION, END_HEADERS, REQUEST, b""),
        ),
        protocol(
            "another frame inside a head",
            [
                frame(HEADERS, 0, REQUEST, &fields(&GET)),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
        ),
        protocol(
            "padding longer than its frame",
            frame(DATA, PADDED, REQUEST, &[9, 0]),
        ),
        protocol("a window that grows by 0", window(0, 0)),
        flow("a window of more than 2^31 - 1", window(0, 0x7fff_ffff)),
        protocol("`INITIAL_WINDOW_SIZE` of 2^31", setting(4, 0x8000_0000)),
        protocol("`ENABLE_PUSH` of 2", setting(2, 2)),
        protocol("`MAX_FRAME_SIZE` of 1", setting(5, 1)),
        protocol("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        protocol(
            "an acknowledgement of settings that holds some",
            frame(SETTINGS, 1, 0, &[0; 6]),
        ),
        protocol("a ping of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        size(
            "a frame above 16 KiB",
            frame(DATA, 0, REQUEST, &[0; (16 << 10) + 1]),
        ),
        case(
            "a field that no table has",
            frame(HEADERS, END_STREAM | END_HEADERS, REQUEST, &[0xff, 0xff, 0x7f]),
            "goaway PROTOCOL_ERROR",
            "http2",
        ),
        case(
            "a second preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            "goaway FRAME_SIZE_ERROR",
            "http2",
        ),
    ]
}

fn floods() -> Vec<Case> {
    let all = |each: &dyn Fn(u32) -> Vec<u8>, count| (0..count).flat_map(each).collect::<Vec<u8>>();
    let stream = |number: u32| 2 * number + 1;
    let reset = |number| {
        let cancel = frame(RESET, 0, stream(number), &8_u32.to_be_bytes());
        [headers(0, stream(number), &POST), cancel].concat()
    };
    let window = vec![b' '; 16 << 10];
    let mut beyond = headers(
        0,
        REQUEST,
        &[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/v2/health/live"),
            POST[3],
        ],
    );
    beyond.extend(all(&|_| frame(DATA, 0, REQUEST, &window), 80));
    vec![
        case(
            "10,000 settings",
            all(&|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]), 10_000),
            "kept",
            "",
        ),
        case(
            "10,000 pings",
            all(&|_| frame(PING, 0, 0, &[7; 8]), 10_000),
            "kept",
            "",
        ),
        case(
            "10,000 requests that are reset at once",
            all(&reset, 10_000),
            "goaway ENHANCE_YOUR_CALM",
            "http2",
        ),
        case(
            "10,000 frames of one head",
            [
                frame(HEADERS, 0, REQUEST, &fields(&GET)),
                all(&|_| frame(CONTINUATION, 0, REQUEST, b""), 10_000),
            ]
            .concat(),
            "goaway ENHANCE_YOUR_CALM",
            "http2",
        ),
        case(
            "10,000 empty frames of content",
            [
                headers(0, REQUEST, &POST),
                all(&|_| frame(DATA, 0, REQUEST, b""), 10_000),
            ]
            .concat(),
            "goaway ENHANCE_YOUR_CALM",
            "http2",
        ),
        case(
            "more content than the window",
            beyond,
            "goaway FLOW_CONTROL_ERROR",
            "http2",
        ),
        case(
            "100 requests at once of which 8 are allowed",
            all(&|number| headers(0, stream(number), &POST), 100),
            "reset REFUSED_STREAM",
            "",
        ),
    ]
}
