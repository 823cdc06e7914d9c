//! The strict reading of a head of HTTP/1.1 (RFC 9112), from which the request's framing follows.
//!
//! hyper reads more than the grammar allows (bare LF, two equal lengths, a length beside a transfer coding) and does not say so afterwards. What two
//! servers may read in two ways is how requests are smuggled past one of them, so it is refused here, before hyper sees it.

use super::{bounds::Bounds, chunks, refusal::Refusal};

/// Where a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
}

/// Reads a whole head: request line, fields and the empty line after them, each ended by CR LF.
pub(super) fn read(head: &[u8], bounds: &Bounds) -> Result<Framing, Refusal> {
    let mut lines = Lines(head);
    let minor = request_line(lines.next().ok_or(Refusal::RequestLine)??, bounds)?;
    let (mut fields, mut hosts) = (0, 0);
    let (mut length, mut coding) = (None, None);
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > bounds.header_fields {
            return Err(Refusal::HeadFields);
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let twice = length.replace(content_length(value)?).is_some();
            refuse(twice, Refusal::ContentLength)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            refuse(coding.replace(value).is_some(), Refusal::TransferEncoding)?;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    // Before hyper: it keeps no more than one of the next two.
    refuse(coding.is_some() && length.is_some(), Refusal::BothLengths)?;
    refuse(coding.is_some() && minor == 0, Refusal::TransferEncoding)?;
    refuse(hosts > 1 || (hosts == 0 && minor == 1), Refusal::Host)?;
    match coding {
        Some(coding) => chunked(coding).map(|()| Framing::Chunked),
        None => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

fn refuse(condition: bool, refusal: Refusal) -> Result<(), Refusal> {
    if condition { Err(refusal) } else { Ok(()) }
}

/// Lines without the CR LF that ends them.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(end) = end.filter(|end| self.0[*end..].starts_with(b"\r\n")) else {
            self.0 = &[];
            return Some(Err(Refusal::LineEnd));
        };
        let line = &self.0[..end];
        self.0 = &self.0[end + 2..];
        Some(Ok(line))
    }
}

/// The version's second digit.
fn request_line(line: &[u8], bounds: &Bounds) -> Result<u8, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    refuse(!is_token(method), Refusal::RequestLine)?;
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::RequestLine),
    };
    refuse(method == b"CONNECT", Refusal::Connect)?;
    refuse(target.len() > bounds.target_size, Refusal::TargetSize)?;
    refuse(!is_target(method, target), Refusal::RequestLine)?;
    Ok(minor)
}

/// Origin form, absolute form, and the asterisk of OPTIONS (RFC 9112, section 3.2), by the characters of RFC 3986.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target == b"*" {
        return method == b"OPTIONS";
    }
    let authority = [b"http://".as_slice(), b"https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let path = if let Some(scheme) = authority {
        let rest = &target[scheme.len()..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
        if !is_authority(authority) {
            return false;
        }
        path
    } else if target.first() == Some(&b'/') {
        target
    } else {
        return false;
    };
    is_escaped(path, |byte| matches!(byte, b':' | b'@' | b'/' | b'?'))
}

/// A host with or without a port (RFC 3986, section 3.2), and nobody's name before it.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let (host_is_good, port) = if let Some(rest) = authority.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            return false;
        };
        let address = str::from_utf8(&rest[..end]).unwrap_or_default();
        (address.parse::<std::net::Ipv6Addr>().is_ok(), &rest[end + 1..])
    } else {
        let end = authority.iter().position(|byte| *byte == b':');
        let (host, port) = authority.split_at(end.unwrap_or(authority.len()));
        (!host.is_empty() && is_escaped(host, |_| false), port)
    };
    let port_is_good = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_good && port_is_good
}

/// Unreserved characters, sub-delimiters, what else is allowed, and escapes of two digits.
fn is_escaped(text: &[u8], also: impl Fn(u8) -> bool) -> bool {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => match after {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
                _ => return false,
            },
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) || also(*byte) => after,
            _ => return false,
        };
    }
    true
}

/// Name and value, without the space around the value.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    refuse(matches!(line, [b' ' | b'\t', ..]), Refusal::Folded)?;
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Refusal::Field)?);
    let value = &value[1..];
    let is_bad = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    refuse(!is_token(name) || value.iter().any(is_bad), Refusal::Field)?;
    Ok((name, trimmed(value)))
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    &value[start..end]
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(chunks::is_token)
}

/// Digits alone: no sign, no list, and no more of them than a number of 64 bits is sure to hold.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let text = str::from_utf8(value).unwrap_or_default();
    refuse(
        text.is_empty() || text.len() > 19 || !value.iter().all(u8::is_ascii_digit),
        Refusal::ContentLength,
    )?;
    text.parse().map_err(|_| Refusal::ContentLength)
}

fn chunked(coding: &[u8]) -> Result<(), Refusal> {
    let is_chunked = |coding: &[u8]| trimmed(coding).eq_ignore_ascii_case(b"chunked");
    if is_chunked(coding) {
        return Ok(());
    }
    let mut codings = coding
        .split(|byte| *byte == b',')
        .filter(|coding| !trimmed(coding).is_empty());
    Err(if codings.all(is_chunked) {
        Refusal::TransferEncoding
    } else {
        Refusal::Coding
    })
}
