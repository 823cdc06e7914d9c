//! Answers of runtimes.

use bytes::Bytes;
use harmonybatch_gateway::protocol::{
    self, Wire,
    grpc::messages::{InferInputTensor, InferRequestedOutputTensor, ModelInferRequest},
};
use prost::Message as _;
use serde_json::json;

use crate::{
    binary,
    meaning::{WIRES, meter},
    reference::{
        element::Datatype,
        grpc,
        message::{Answer, Tensor},
        rest,
    },
};

const ID: &str = "batch";

/// How a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Json,
    Binary,
    GrpcRaw,
    GrpcTyped,
}

struct Caller {
    id: Option<String>,
    model: String,
    rows: usize,
    wanted: Wanted,
}

/// Takes what the runtime speaks, how many callers the batch has and whether they ask for the output `y` (one byte), their rows and how each wants its
/// answer (two bits each, in one byte each), and the answer: JSON, for binary tensors with a mark as in [`binary`], or a `ModelInferResponse`.
pub fn target(data: &[u8]) {
    let Some(([shape, rows, wanted], message)) = data.split_first_chunk() else {
        return;
    };
    let wire = WIRES[usize::from(shape & 3) % WIRES.len()];
    let callers: Vec<Caller> = (0..=usize::from(shape >> 2 & 3))
        .map(|index| Caller {
            id: (index % 3 != 2).then(|| format!("id {index}")),
            model: format!("net-{index}"),
            rows: 1 + usize::from(rows >> (2 * index) & 3),
            wanted: match wanted >> (2 * index) & 3 {
                0 => Wanted::Json,
                1 => Wanted::Binary,
                2 => Wanted::GrpcRaw,
                _ => Wanted::GrpcTyped,
            },
        })
        .collect();
    let asks = shape & 16 != 0;
    let (body, header_length) = match wire {
        Wire::Binary => {
            let (body, length) = binary::split(message);
            (body, Some(length))
        }
        Wire::Json | Wire::Grpc => (message.to_vec(), None),
    };
    check(&body, header_length, wire, &callers, asks);
}

fn check(body: &[u8], header_length: Option<usize>, wire: Wire, callers: &[Caller], asks: bool) {
    let requests: Vec<protocol::Request> = callers.iter().map(|caller| caller.request(asks)).collect();
    let models = callers.iter().map(|caller| caller.model.as_str());
    let parts: Vec<_> = requests.iter().zip(models).collect();
    let body = Bytes::copy_from_slice(body);
    let Ok(answers) = protocol::split(&body, header_length, wire, ID, &parts, &mut meter()) else {
        return;
    };
    let whole = match wire {
        Wire::Grpc => grpc::answer(&body),
        Wire::Json | Wire::Binary => rest::answer(&body, header_length),
    };
    let whole = whole.unwrap();
    assert!(whole.id.as_deref().is_none_or(|id| id.is_empty() || id == ID));
    assert!(!asks || whole.outputs.iter().any(|output| output.name == "y"));
    let rows: usize = callers.iter().map(|caller| caller.rows).sum();
    assert!(whole.outputs.iter().all(|output| output.shape[0] == rows as u64));
    assert_eq!(answers.len(), callers.len());
    let mut from = 0;
    for (caller, answer) in callers.iter().zip(answers) {
        let own: Vec<Tensor> = whole
            .outputs
            .iter()
            .map(|output| output.rows(from, caller.rows))
            .collect();
        from += caller.rows;
        assert_eq!(
            answer.is_ok(),
            own.iter().all(|output| caller.can_have(output)),
            "{answer:?}"
        );
        let Ok(answer) = answer else { continue };
        let read = caller.read(&answer).unwrap();
        assert_eq!(
            (read.model, read.id),
            (Some(caller.model.clone()), caller.id.clone())
        );
        assert_eq!(read.outputs.len(), own.len());
        for (read, own) in read.outputs.iter().zip(&own) {
            assert_eq!(
                (&read.name, &read.datatype, &read.shape),
                (&own.name, &own.datatype, &own.shape)
            );
            assert_eq!(as_passed_on(read), as_passed_on(own));
            assert_eq!(read.is_text, caller.wanted == Wanted::Json);
        }
    }
}

/// The elements, of which booleans are as good as others that are true.
fn as_passed_on(tensor: &Tensor) -> Vec<Vec<u8>> {
    let mut elements = tensor.elements.clone();
    if tensor.datatype == "BOOL" {
        for element in &mut elements {
            element[0] = u8::from(element[0] != 0);
        }
    }
    elements
}

impl Caller {
    fn request(&self, asks: bool) -> protocol::Request {
        if matches!(self.wanted, Wanted::GrpcRaw | Wanted::GrpcTyped) {
            return self.call(asks);
        }
        let outputs = if asks { json!([{"name": "y"}]) } else { json!([]) };
        let input =
            json!({"name": "x", "shape": [self.rows], "datatype": "BOOL", "data": vec![true; self.rows]});
        let parameters = json!({"binary_data_output": self.wanted == Wanted::Binary});
        let request = json!({"id": self.id, "parameters": parameters, "inputs": [input], "outputs": outputs});
        protocol::Request::read(&request.to_string().into()).unwrap()
    }

    fn call(&self, asks: bool) -> protocol::Request {
        let raw = Bytes::from(vec![1; self.rows]);
        let is_typed = self.wanted == Wanted::GrpcTyped;
        // Field 1 of the contents, packed.
        let typed = || {
            [&[10, u8::try_from(self.rows).unwrap()][..], &raw]
                .concat()
                .into()
        };
        let message = ModelInferRequest {
            model_name: self.model.clone(),
            id: self.id.clone().unwrap_or_default(),
            inputs: vec![InferInputTensor {
                name: "x".to_owned(),
                datatype: "BOOL".to_owned(),
                shape: vec![i64::try_from(self.rows).unwrap()],
                contents: is_typed.then(typed).into_iter().collect(),
                ..InferInputTensor::default()
            }],
            outputs: asks
                .then(|| InferRequestedOutputTensor {
                    name: "y".to_owned(),
                    ..InferRequestedOutputTensor::default()
                })
                .into_iter()
                .collect(),
            raw_input_contents: (!is_typed).then(|| raw.clone()).into_iter().collect(),
            ..ModelInferRequest::default()
        };
        let body = message.encode_to_vec().into();
        protocol::Request::read_grpc(&body, &mut meter()).unwrap().request
    }

    /// Whether an output of the runtime can be written as this caller wants it. Elements that do not fit their datatype are still text.
    fn can_have(&self, output: &Tensor) -> bool {
        let wire = match self.wanted {
            Wanted::Json => Wire::Json,
            Wanted::Binary => Wire::Binary,
            Wanted::GrpcRaw | Wanted::GrpcTyped => Wire::Grpc,
        };
        let width = Datatype::parse(&output.datatype).unwrap().width();
        let is_held = |element: &Vec<u8>| width.is_none_or(|width| element.len() == width);
        let has_shape = wire != Wire::Grpc || output.shape.iter().all(|size| i64::try_from(*size).is_ok());
        has_shape && output.fits(wire) && (wire == Wire::Json || output.elements.iter().all(is_held))
    }

    fn read(&self, answer: &protocol::Answer) -> Option<Answer> {
        let body = answer.body.clone().into_bytes();
        match self.wanted {
            Wanted::Json | Wanted::Binary => rest::answer(&body, answer.header_length),
            Wanted::GrpcRaw | Wanted::GrpcTyped => grpc::answer(grpc::unframed(&body)?),
        }
    }
}
