//! Many requests as one.

use bytes::Bytes;
use serde_json::to_string;

use super::{
    Request,
    tensor::{self, Form},
};

/// The body of one request with the rows of all of `requests`, in their order. They have one [`MergeKey`](super::MergeKey). The rows of each input
/// are copied as the callers wrote them, nested only where all of them are.
pub fn merge(id: &str, requests: &[&Request]) -> Bytes {
    let Some(first) = requests.first() else {
        return Bytes::new();
    };
    let size: usize = requests.iter().map(|request| request.size()).sum();
    let rows: u64 = requests.iter().map(|request| u64::from(request.rows())).sum();
    let mut body = Vec::with_capacity(size + 256);
    body.extend_from_slice(b"{\"id\":");
    push_text(&mut body, id);
    push_parameters(&mut body, &first.parameters);
    body.extend_from_slice(b",\"inputs\":[");
    for (index, input) in first.inputs.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"name\":");
        push_text(&mut body, &input.name);
        body.extend_from_slice(b",\"shape\":[");
        body.extend_from_slice(rows.to_string().as_bytes());
        for size in &input.shape[1..] {
            body.push(b',');
            body.extend_from_slice(size.to_string().as_bytes());
        }
        body.extend_from_slice(b"],\"datatype\":");
        push_text(&mut body, &input.datatype);
        push_parameters(&mut body, &input.parameters);
        body.extend_from_slice(b",\"data\":[");
        let tensors = requests
            .iter()
            .filter_map(|request| request.inputs.get(index))
            .map(|input| &input.data);
        let all_nested = tensors.clone().all(|data| data.form == Form::Nested);
        for (position, data) in tensors.enumerate() {
            if position > 0 {
                body.push(b',');
            }
            if data.form == Form::Nested && !all_nested {
                tensor::flatten(&data.elements, &mut body);
            } else {
                body.extend_from_slice(&data.elements);
            }
        }
        body.extend_from_slice(b"]}");
    }
    body.push(b']');
    if !first.outputs.is_empty() {
        body.extend_from_slice(b",\"outputs\":[");
        for (index, output) in first.outputs.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"name\":");
            push_text(&mut body, &output.name);
            push_parameters(&mut body, &output.parameters);
            body.push(b'}');
        }
        body.push(b']');
    }
    body.push(b'}');
    body.into()
}

fn push_parameters(body: &mut Vec<u8>, parameters: &str) {
    if !parameters.is_empty() {
        body.extend_from_slice(b",\"parameters\":");
        body.extend_from_slice(parameters.as_bytes());
    }
}

/// A JSON string.
pub(super) fn push_text(body: &mut Vec<u8>, text: &str) {
    // A string always serialises.
    body.extend_from_slice(to_string(text).unwrap_or_default().as_bytes());
}
