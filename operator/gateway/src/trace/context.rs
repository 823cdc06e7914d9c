//! Trace contexts in headers (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).
//!
//! OpenTelemetry's own propagator takes much that is no `traceparent` (numbers of other lengths, signs, two of them): this one takes what the
//! specification has, and whatever else is there counts as nothing.

use std::str::FromStr as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of version 0: two digits, 32, 16 and two, with a dash between each.
const LENGTH: usize = 55;
/// Longest `tracestate` that is passed on: as much as the specification asks for (section 3.3.1.5).
const STATE_LIMIT: usize = 512;

/// The caller's context; `None` where there is none, more than one, or none that is valid.
pub(super) fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(PARENT).iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    let (trace, span, flags) = parse(parent.as_bytes())?;
    let state = if flags.is_sampled() {
        state(headers).unwrap_or_default()
    } else {
        TraceState::default()
    };
    Some(SpanContext::new(trace, span, flags, true, state))
}

fn parse(parent: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, rest) = parent.split_at_checked(LENGTH)?;
    let [version] = hex(&known[..2])?;
    // A later version may have more behind it (section 3.2.4); 255 is none.
    let is_whole = rest.is_empty() || (version > 0 && rest[0] == b'-');
    let has_dashes = [2, 35, 52].iter().all(|&dash| known[dash] == b'-');
    let (trace, span) = (hex(&known[3..35])?, hex(&known[36..52])?);
    let [flags] = hex(&known[53..])?;
    let is_valid = version != 255 && is_whole && has_dashes && trace != [0; 16] && span != [0; 8];
    // What the other flags of a later version mean is not known.
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    is_valid.then(|| (TraceId::from_bytes(trace), SpanId::from_bytes(span), flags))
}

/// Bytes of lower-case digits.
fn hex<const SIZE: usize>(digits: &[u8]) -> Option<[u8; SIZE]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; SIZE];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn state(headers: &HeaderMap) -> Option<TraceState> {
    let mut lists = headers.get_all(STATE).iter();
    let first = lists.next()?.to_str().ok()?;
    let mut whole = first.to_owned();
    for list in lists {
        whole.push(',');
        whole.push_str(list.to_str().ok()?);
    }
    if whole.len() > STATE_LIMIT {
        return None;
    }
    let state = TraceState::from_str(&whole).ok()?;
    // Which the library takes.
    let is_nameless = (&state).into_iter().any(|(key, _)| key.is_empty());
    (!is_nameless).then_some(state)
}

/// Tells whoever gets the headers that what it does is part of `context`.
pub(crate) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let parent = format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags()
    );
    headers.remove(STATE);
    // Digits and dashes are a header's value.
    if let Ok(parent) = HeaderValue::try_from(parent) {
        headers.insert(PARENT, parent);
    }
    let state = context.trace_state().header();
    if let Ok(state) = HeaderValue::try_from(state)
        && !state.is_empty()
    {
        headers.insert(STATE, state);
    }
}

/// A context that nobody records: whoever gets it does not begin a trace of its own.
pub(super) fn unsampled() -> SpanContext {
    SpanContext::new(
        TraceId::from(fastrand::u128(1..)),
        SpanId::from(fastrand::u64(1..)),
        TraceFlags::default(),
        false,
        TraceState::default(),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_context_is_what_it_was_when_it_was_passed_on() {
        for (flags, state) in [("01", "a=1,b@c=2"), ("01", ""), ("00", "")] {
            let parent = format!("00-{TRACE}-{SPAN}-{flags}");
            let context = extract(&headers(&[(PARENT, &parent), (STATE, state)])).unwrap();
            assert!(context.is_remote() && context.is_sampled() == (flags == "01"));
            let mut sent = headers(&[(PARENT, "old"), (STATE, "old=1")]);
            inject(&context, &mut sent);
            assert_eq!(sent[PARENT], parent);
            assert_eq!(sent.get(STATE).map_or("", |state| state.to_str().unwrap()), state);
        }
        let mut sent = HeaderMap::new();
        inject(&unsampled(), &mut sent);
        assert!(!extract(&sent).unwrap().is_sampled());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let parent = format!("cc-{TRACE}-{SPAN}-ff-what-comes");
        let context = extract(&headers(&[(PARENT, &parent)])).unwrap();
        assert_eq!(context.trace_flags(), TraceFlags::SAMPLED);
    }

    #[test]
    fn what_is_no_context_counts_as_nothing() {
        let (zeros, short) = ("0".repeat(32), &SPAN[1..]);
        for parent in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01x"),
            format!("cc-{TRACE}-{SPAN}-01x"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("+0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}-{short}--01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0g"),
        ] {
            assert_eq!(extract(&headers(&[(PARENT, &parent)])), None, "{parent}");
        }
        let parent = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(extract(&headers(&[(PARENT, &parent), (PARENT, &parent)])), None);
        // A state that is none, or too long, leaves the rest.
        let long = format!("a={}", "x".repeat(STATE_LIMIT));
        for state in ["=", "A B=1", "novalue", &long] {
            let context = extract(&headers(&[(PARENT, &parent), (STATE, state)])).unwrap();
            assert_eq!(context.trace_state().header(), "", "{state}");
        }
    }
}
