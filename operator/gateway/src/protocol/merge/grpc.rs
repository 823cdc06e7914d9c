//! The merged request over gRPC, with raw contents.

use prost::Message as _;

use super::{
    super::{
        Request,
        grpc::{
            self, from_json,
            messages::{InferInputTensor, InferRequestedOutputTensor, ModelInferRequest, RAW_INPUT_CONTENTS},
            push_field,
        },
    },
    Addressee, MergeError, Message, raws, rows,
};
use crate::body::Chunks;

pub(super) fn merge(to: &Addressee<'_>, requests: &[&Request]) -> Result<Message, MergeError> {
    let first = requests.first().ok_or(MergeError::NotConverted)?;
    let rows = rows(requests);
    let inputs = first.inputs.iter().map(|input| InferInputTensor {
        name: input.name.clone(),
        datatype: input.datatype.name().to_owned(),
        shape: shape(rows, &input.shape),
        parameters: from_json(&input.parameters),
        contents: Vec::new(),
    });
    let outputs = first.outputs.iter().map(|output| InferRequestedOutputTensor {
        name: output.name.clone(),
        parameters: from_json(&output.parameters),
    });
    let head = ModelInferRequest {
        model_name: to.model.to_owned(),
        model_version: to.version.unwrap_or_default().to_owned(),
        id: to.id.to_owned(),
        parameters: from_json(&first.parameters),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        raw_input_contents: Vec::new(),
    };
    let mut message = Chunks::from(head.encode_to_vec());
    for index in 0..first.inputs.len() {
        let tensor = raws(requests, index)?;
        let mut key = Vec::with_capacity(11);
        push_field(&mut key, RAW_INPUT_CONTENTS, tensor.len());
        message.push(key);
        message.append(tensor);
    }
    Ok(Message {
        body: grpc::frame(message)?,
        header_length: None,
    })
}

/// Shapes of gRPC have a sign.
pub(in super::super) fn shape(rows: u64, shape: &[u64]) -> Vec<i64> {
    let sizes = std::iter::once(&rows).chain(shape.iter().skip(1));
    sizes
        .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
        .collect()
}
