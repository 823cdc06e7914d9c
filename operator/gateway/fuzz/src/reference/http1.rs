//! A reader of RFC 9112 made of regular expressions, slow and as strict as can be.

use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::{
    message::Request,
    rest::{self, Bounds},
};

macro_rules! pattern {
    ($name:ident, $pattern:literal) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).unwrap());
    };
}

pattern!(
    HEAD,
    r"(?s-u)\A(?:\r\n)?([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!$%&'()*+,;=:@/?0-9A-Za-z._~-]*|\*|(?i:https?)://[^ /?@]+(?:[/?][!$%&'()*+,;=:@/?0-9A-Za-z._~-]*)?) HTTP/1\.([01])\r\n((?:[^\r\n]+\r\n)*)\r\n"
);
pattern!(
    FIELD,
    r"(?s-u)\A([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\z"
);
pattern!(LENGTH, r"(?s-u)\A[0-9]{1,19}\z");
pattern!(
    CHUNK,
    r"(?s-u)\A([0-9a-fA-F]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n"
);
pattern!(
    TRAILERS,
    r"(?s-u)\A(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
);
pattern!(HOST, r"(?s-u)\A[0-9A-Za-z._~!$&'()*+,;=%-]+(?::[0-9]{0,5})?\z");

/// All infer requests at the begin of `bytes` that are framed as they should be, up to the first request that is not.
pub fn accepted(mut bytes: &[u8]) -> Vec<Request> {
    let mut all = Vec::new();
    while let Some((request, rest)) = one(bytes) {
        all.extend(request);
        bytes = rest;
    }
    all
}

/// The first request, where it is an infer request, and what comes after it.
fn one(bytes: &[u8]) -> Option<(Option<Request>, &[u8])> {
    let head = HEAD.captures(bytes)?;
    let rest = &bytes[head.get(0)?.end()..];
    let fields = fields(&head[4])?;
    let values = |name: &str| -> Vec<&[u8]> {
        let named = fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value).collect()
    };
    let (hosts, lengths, codings) = (
        values("host"),
        values("content-length"),
        values("transfer-encoding"),
    );
    let has_one_host = hosts.len() == 1 || (hosts.is_empty() && &head[3] == b"0");
    if !has_one_host || !hosts.iter().all(|host| HOST.is_match(host)) || is_refused(&head, &values("expect"))
    {
        return None;
    }
    let (content, rest) = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => (Vec::new(), rest),
        ([length], []) if LENGTH.is_match(length) => {
            let length: usize = str::from_utf8(length).ok()?.parse().ok()?;
            (rest.get(..length)?.to_vec(), &rest[length..])
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && &head[3] == b"1" => chunks(rest)?,
        _ => return None,
    };
    let takes_none = [b"GET".as_slice(), b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"].contains(&&head[1]);
    if takes_none && (!content.is_empty() || !codings.is_empty()) {
        return None;
    }
    let is_infer = &head[1] == b"POST" && head[2].windows(6).any(|part| part == b"/infer");
    let request = || match values("inference-header-content-length").as_slice() {
        [] => rest::request(&content, None, Bounds::Kept),
        [length] => {
            let length = str::from_utf8(length).ok()?.parse().ok()?;
            rest::request(&content, Some(length), Bounds::Kept)
        }
        _ => None,
    };
    Some((is_infer.then(request).flatten(), rest))
}

fn fields(text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let field = FIELD.captures(line.strip_suffix(b"\r")?)?;
            Some((field.get(1)?.as_bytes(), field.get(2)?.as_bytes()))
        })
        .collect()
}

fn is_refused(head: &Captures<'_>, expected: &[&[u8]]) -> bool {
    let expects_more = match expected {
        [] => false,
        [one] => !one.eq_ignore_ascii_case(b"100-continue"),
        _ => true,
    };
    &head[1] == b"CONNECT" || (expects_more && &head[3] == b"1")
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut content = Vec::new();
    loop {
        let chunk = CHUNK.captures(bytes)?;
        let size = usize::from_str_radix(str::from_utf8(&chunk[1]).ok()?, 16).ok()?;
        bytes = &bytes[chunk.get(0)?.end()..];
        if size == 0 {
            let end = TRAILERS.find(bytes)?.end();
            return Some((content, &bytes[end..]));
        }
        content.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
}
