//! Bytes on the wire, and the reading of what comes back.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
};

/// The infer request's body that the cases send.
pub(crate) fn body() -> String {
    crate::support::request("x", 0, 1).to_string()
}

/// A head with these lines, each ended as it should be, and what follows.
pub(crate) fn head(lines: &[&str], after: &[u8]) -> Vec<u8> {
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(after);
    bytes
}

pub(crate) const POST: &str = "POST /v2/models/mlp/infer HTTP/1.1";
pub(crate) const LIVE: &str = "GET /v2/health/live HTTP/1.1";
pub(crate) const HOST: &str = "host: search-infer.shop";

/// A whole infer request with some more lines in its head.
pub(crate) fn infer(more: &[&str]) -> Vec<u8> {
    let body = body();
    let length = format!("content-length: {}", body.len());
    head(&[&[POST, HOST, &length], more].concat(), body.as_bytes())
}

/// An infer request whose body is chunked, and ends with `end`.
pub(crate) fn chunked(first: &str, end: &str) -> Vec<u8> {
    let body = body();
    let (one, two) = body.split_at(10);
    let chunks = format!("{first}\r\n{one}\r\n{:x}\r\n{two}\r\n{end}", two.len());
    head(&[POST, HOST, "transfer-encoding: chunked"], chunks.as_bytes())
}

/// Status of one answer of HTTP/1.1, which is read to its end; nothing where the connection was closed.
pub(crate) async fn answer(stream: &mut TcpStream) -> Option<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return None,
            Err(error) => panic!("{error} after {}", head.escape_ascii()),
        }
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head["http/1.1 ".len()..][..3].parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    Some(status)
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame that was read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The next frame; nothing where the connection was closed.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame {
        kind: head[3],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// Fields as literals that no table remembers (RFC 7541, section 6.2.2), without Huffman codes.
pub(crate) fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in list {
        block.push(0);
        for text in [name, value] {
            // An integer of 7 bits, which goes on in the next bytes (RFC 7541, section 5.1).
            let short = u8::try_from(text.len()).unwrap_or(127).min(127);
            block.push(short);
            if short == 127 {
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The status at the begin of a block that the gateway sends: an entry of the static table, or digits (in Huffman code or not) under its name.
pub(crate) fn status(block: &[u8]) -> u16 {
    match block {
        [entry @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(entry - 0x88)],
        [0x48 | 0x08 | 0x18, length, text @ ..] if *length < 128 => {
            let text = str::from_utf8(&text[..usize::from(*length)]).unwrap();
            text.parse().unwrap()
        }
        [0x48 | 0x08 | 0x18, _, text @ ..] => digits(text),
        _ => panic!("no status in {block:x?}"),
    }
}

/// Three digits in the code of RFC 7541, appendix B: 5 bits for 0 to 2, 6 for the others.
fn digits(text: &[u8]) -> u16 {
    let bit = |at: usize| u16::from(text[at / 8] >> (7 - at % 8) & 1);
    let bits = |from: usize, count: usize| (from..from + count).fold(0, |sum, at| sum << 1 | bit(at));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = bits(at, 5);
        let (digit, length) = if short <= 2 {
            (short, 5)
        } else {
            (bits(at, 6) - 0b01_1001 + 3, 6)
        };
        status = status * 10 + digit;
        at += length;
    }
    status
}
