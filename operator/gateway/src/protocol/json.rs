//! Pieces of JSON, appended to a body.

/// A JSON string.
pub(super) fn push_text(body: &mut Vec<u8>, text: &str) {
    // A string always serialises, and a vector takes all of it.
    let _ = serde_json::to_writer(body, text);
}

/// Items with commas between them.
pub(super) fn push_list<T>(
    body: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        push(body, item);
    }
}

/// The member `shape` behind others: `rows`, and then the rest of `shape`.
pub(super) fn push_shape(body: &mut Vec<u8>, rows: u64, shape: &[u64]) {
    body.extend_from_slice(b",\"shape\":[");
    let sizes = std::iter::once(&rows).chain(shape.iter().skip(1));
    push_list(body, sizes, |body, size| {
        body.extend_from_slice(size.to_string().as_bytes());
    });
    body.push(b']');
}

/// The member `parameters` behind others, where there are any: those of an object's text, empty or in its braces, and one more, whose value is JSON.
pub(super) fn push_parameters(body: &mut Vec<u8>, parameters: &str, more: Option<(&str, &str)>) {
    let own = parameters
        .trim()
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let own = own.unwrap_or_default().trim();
    if more.is_none() {
        if !parameters.is_empty() {
            body.extend_from_slice(b",\"parameters\":");
            body.extend_from_slice(parameters.as_bytes());
        }
        return;
    }
    body.extend_from_slice(b",\"parameters\":{");
    body.extend_from_slice(own.as_bytes());
    if let Some((name, value)) = more {
        if !own.is_empty() {
            body.push(b',');
        }
        push_text(body, name);
        body.push(b':');
        body.extend_from_slice(value.as_bytes());
    }
    body.push(b'}');
}
