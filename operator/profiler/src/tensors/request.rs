//! A batch of rows as a request, in the encoding that the server takes.

use bytes::Bytes;
use harmonybatch_api::inference_model::Protocol;
use harmonybatch_protocol::grpc;
use harmonybatch_protocol::grpc::messages::{InferInputTensor, ModelInferRequest};
use prost::Message as _;
use serde_json::{Value, json};

use super::{Input, Rows, TensorError};

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// All of it, framed where it is one of gRPC.
    pub body: Bytes,
    /// Bytes of JSON that it begins with, where binary tensors follow.
    pub header_length: Option<usize>,
}

impl Rows {
    /// A request with a batch of rows for a model, beginning at row `first` of those that there are, round and round.
    ///
    /// # Errors
    /// Where one of gRPC would have 4 GiB or more.
    pub fn request(&self, model: &str, first: usize, batch: u32) -> Result<Message, TensorError> {
        let taken = |(input, rows): &(Input, Vec<Vec<u8>>)| {
            let rows = rows.iter().cycle().skip(first % rows.len()).take(batch as usize);
            let between: &[u8] = if self.protocol == Protocol::OipV2Json {
                b","
            } else {
                b""
            };
            let data = rows.map(Vec::as_slice).collect::<Vec<_>>().join(between);
            (shape(input, batch), data)
        };
        let tensors: Vec<(Vec<usize>, Vec<u8>)> = self.inputs.iter().map(taken).collect();
        let inputs = self.inputs.iter().map(|(input, _)| input).zip(tensors);
        match self.protocol {
            Protocol::OipV2Json => Ok(json_tensors(inputs)),
            Protocol::OipV2Binary => Ok(binary(inputs)),
            Protocol::OipV2Grpc => message(model, inputs),
        }
    }
}

type Tensor<'a> = (&'a Input, (Vec<usize>, Vec<u8>));

fn shape(input: &Input, batch: u32) -> Vec<usize> {
    let batch = std::iter::once(batch as usize);
    batch.chain(input.row.iter().copied()).collect()
}

fn json_tensors<'a>(inputs: impl Iterator<Item = Tensor<'a>>) -> Message {
    let mut body = br#"{"inputs":["#.to_vec();
    for (index, (input, (shape, data))) in inputs.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let head = format!(
            r#"{{"name":{},"shape":{},"datatype":"{}","data":["#,
            Value::from(input.name.as_str()),
            json!(shape),
            input.datatype.name(),
        );
        body.extend_from_slice(head.as_bytes());
        body.extend(data);
        body.extend_from_slice(b"]}");
    }
    body.extend_from_slice(b"]}");
    Message {
        body: body.into(),
        header_length: None,
    }
}

/// The outputs are asked for as binary tensors, too, as the gateway does.
fn binary<'a>(inputs: impl Iterator<Item = Tensor<'a>>) -> Message {
    let (mut heads, mut tail) = (Vec::new(), Vec::new());
    for (input, (shape, data)) in inputs {
        heads.push(json!({
            "name": input.name, "shape": shape, "datatype": input.datatype.name(),
            "parameters": {"binary_data_size": data.len()},
        }));
        tail.extend(data);
    }
    let head = json!({"inputs": heads, "parameters": {"binary_data_output": true}}).to_string();
    let length = head.len();
    Message {
        body: [head.into_bytes(), tail].concat().into(),
        header_length: Some(length),
    }
}

fn message<'a>(model: &str, inputs: impl Iterator<Item = Tensor<'a>>) -> Result<Message, TensorError> {
    let mut request = ModelInferRequest {
        model_name: model.to_owned(),
        ..ModelInferRequest::default()
    };
    for (input, (shape, data)) in inputs {
        request.inputs.push(InferInputTensor {
            name: input.name.clone(),
            datatype: input.datatype.name().to_owned(),
            shape: shape
                .iter()
                .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
                .collect(),
            ..InferInputTensor::default()
        });
        request.raw_input_contents.push(data.into());
    }
    Ok(Message {
        body: grpc::frame(request.encode_to_vec().into())?.into_bytes(),
        header_length: None,
    })
}
