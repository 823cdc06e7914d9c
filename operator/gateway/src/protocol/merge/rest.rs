//! The merged request over REST.

use super::{
    super::{
        Request,
        json::{push_list, push_parameters, push_shape, push_text},
        request::Input,
        text::Layout,
    },
    MergeError, Message, raws, rows, texts,
};
use crate::body::Chunks;

/// Parameters that ask for raw bytes: of a request, and of an output.
const AS_BINARY: [Option<(&str, &str)>; 2] = [
    Some(("binary_data_output", "true")),
    Some(("binary_data", "true")),
];
const AS_JSON: [Option<(&str, &str)>; 2] = [None, None];

pub(super) fn json(id: &str, requests: &[&Request]) -> Result<Message, MergeError> {
    let size: usize = requests.iter().map(|request| request.size()).sum();
    let mut body = Vec::with_capacity(size + 256);
    write(&mut body, id, requests, AS_JSON, |body, index, input| {
        let texts = texts(requests, index)?;
        let all_nested = texts.iter().all(|text| text.layout == Layout::Nested);
        push_parameters(body, &input.parameters, None);
        body.extend_from_slice(b",\"data\":[");
        push_list(body, texts, |body, text| {
            if all_nested {
                body.extend_from_slice(&text.elements);
            } else {
                text.push_flat(body);
            }
        });
        body.push(b']');
        Ok(())
    })?;
    Ok(Message {
        body: body.into(),
        header_length: None,
    })
}

pub(super) fn binary(id: &str, requests: &[&Request]) -> Result<Message, MergeError> {
    let mut header = Vec::with_capacity(1024);
    let mut tensors = Chunks::default();
    write(&mut header, id, requests, AS_BINARY, |header, index, input| {
        let raws = raws(requests, index)?;
        let size = raws.len().to_string();
        push_parameters(header, &input.parameters, Some(("binary_data_size", &size)));
        tensors.append(raws);
        Ok(())
    })?;
    let header_length = header.len();
    let mut body = Chunks::from(header);
    body.append(tensors);
    Ok(Message {
        body,
        header_length: Some(header_length),
    })
}

/// Everything but parameters and data of the inputs, which `data` writes.
fn write(
    body: &mut Vec<u8>,
    id: &str,
    requests: &[&Request],
    [of_request, of_output]: [Option<(&str, &str)>; 2],
    mut data: impl FnMut(&mut Vec<u8>, usize, &Input) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    let first = requests.first().ok_or(MergeError::NotConverted)?;
    let rows = rows(requests);
    body.extend_from_slice(b"{\"id\":");
    push_text(body, id);
    push_parameters(body, &first.parameters, of_request);
    body.extend_from_slice(b",\"inputs\":[");
    for (index, input) in first.inputs.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"name\":");
        push_text(body, &input.name);
        push_shape(body, rows, &input.shape);
        body.extend_from_slice(b",\"datatype\":");
        push_text(body, input.datatype.name());
        data(body, index, input)?;
        body.push(b'}');
    }
    body.push(b']');
    if !first.outputs.is_empty() {
        body.extend_from_slice(b",\"outputs\":[");
        push_list(body, &first.outputs, |body, output| {
            body.extend_from_slice(b"{\"name\":");
            push_text(body, &output.name);
            push_parameters(body, &output.parameters, of_output);
            body.push(b'}');
        });
        body.push(b']');
    }
    body.push(b'}');
    Ok(())
}
