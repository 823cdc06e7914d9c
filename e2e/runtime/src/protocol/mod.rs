//! Open Inference Protocol v2 over REST, with JSON tensors: what a request for inference must look like for this model, and
//! how its answer is written (`POST v2/models/{model}/infer` of the protocol's specification).

mod numbers;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::engine::{Answer, Batch};
use crate::network::{ECHO, INPUT, OUTPUT, TAG};
use numbers::Numbers;

/// The only data type of this model.
const FP32: &str = "FP32";
/// The only version of this model.
pub(crate) const VERSION: &str = "1";

/// The model as its callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) model: String,
    pub(crate) columns: usize,
    pub(crate) classes: usize,
    pub(crate) max_batch: usize,
}

/// A request that is not answered with tensors. The text goes to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the body is not an inference request: {0}")]
    Malformed(String),
    #[error("inputs: expected exactly one tensor named \"{INPUT}\", found {0}")]
    Inputs(String),
    #[error("inputs[0].datatype: expected \"{FP32}\", found \"{0}\"")]
    DataType(String),
    #[error("inputs[0].shape: expected [rows, {columns}] with rows in 1..={max_batch}, found {found:?}")]
    Shape {
        columns: usize,
        max_batch: usize,
        found: Vec<i64>,
    },
    #[error("inputs[0].data: {0}")]
    Data(String),
    #[error("outputs: \"{0}\" is not an output of this model, which has \"{OUTPUT}\" and \"{ECHO}\"")]
    Outputs(String),
    #[error("binary tensors are not supported: send JSON without Inference-Header-Content-Length")]
    Binary,
    #[error("no such resource: {0}")]
    NotFound(String),
    #[error("{0} is not allowed here")]
    Method(String),
    #[error("the body exceeds {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("the model is not ready")]
    NotReady,
    #[error("{0} batches wait already")]
    Busy(usize),
    #[error("inference failed: {0}")]
    Failed(String),
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::Inputs(_)
            | Self::DataType(_)
            | Self::Shape { .. }
            | Self::Data(_)
            | Self::Outputs(_)
            | Self::Binary => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NotReady | Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The protocol's error object.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::json!({ "error": self.to_string() })
            .to_string()
            .into_bytes()
    }
}

#[derive(Deserialize)]
struct RequestBody {
    id: Option<String>,
    inputs: Vec<InputTensor>,
    outputs: Option<Vec<RequestedOutput>>,
}

#[derive(Deserialize)]
struct InputTensor {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    data: Numbers,
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) id: Option<String>,
    pub(crate) batch: Batch,
    wanted: Vec<&'static str>,
}

impl Request {
    /// Checks a body against the model's signature.
    pub(crate) fn parse(body: &[u8], signature: &Signature) -> Result<Self, Refusal> {
        let body = serde_json::from_slice::<RequestBody>(body)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        let names = || {
            body.inputs
                .iter()
                .map(|input| input.name.as_str())
                .collect::<Vec<_>>()
        };
        let [input] = body.inputs.as_slice() else {
            return Err(Refusal::Inputs(format!("{:?}", names())));
        };
        if input.name != INPUT {
            return Err(Refusal::Inputs(format!("{:?}", names())));
        }
        if input.datatype != FP32 {
            return Err(Refusal::DataType(input.datatype.clone()));
        }
        let rows = rows(&input.shape, signature)?;
        input
            .data
            .check(&[rows, signature.columns])
            .map_err(Refusal::Data)?;
        let wanted = match &body.outputs {
            None => vec![OUTPUT, ECHO],
            Some(outputs) => outputs
                .iter()
                .map(|output| known_output(&output.name))
                .collect::<Result<_, _>>()?,
        };
        let values = input.data.values.clone();
        Ok(Self {
            id: body.id,
            batch: Batch { rows, values },
            wanted,
        })
    }

    /// What an answer to this request needs besides the numbers, once the batch has been handed over.
    pub(crate) fn split(self) -> (Batch, Reply) {
        let reply = Reply {
            id: self.id,
            rows: self.batch.rows,
            wanted: self.wanted,
        };
        (self.batch, reply)
    }
}

fn rows(shape: &[i64], signature: &Signature) -> Result<usize, Refusal> {
    let wrong = || Refusal::Shape {
        columns: signature.columns,
        max_batch: signature.max_batch,
        found: shape.to_vec(),
    };
    let &[rows, columns] = shape else {
        return Err(wrong());
    };
    let (rows, columns) = (
        usize::try_from(rows).map_err(|_| wrong())?,
        usize::try_from(columns).map_err(|_| wrong())?,
    );
    let fits = columns == signature.columns && (1..=signature.max_batch).contains(&rows);
    if fits { Ok(rows) } else { Err(wrong()) }
}

fn known_output(name: &str) -> Result<&'static str, Refusal> {
    [OUTPUT, ECHO]
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| Refusal::Outputs(name.to_owned()))
}

/// The part of a request that its answer repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    id: Option<String>,
    rows: usize,
    wanted: Vec<&'static str>,
}

#[derive(Serialize)]
struct ResponseBody<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<OutputTensor<'a>>,
}

#[derive(Serialize)]
struct OutputTensor<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: [usize; 2],
    data: &'a [f32],
}

impl Reply {
    /// The body of the answer.
    pub(crate) fn body(&self, answer: &Answer, signature: &Signature) -> Result<Vec<u8>, Refusal> {
        let tensor = |&name: &&'static str| {
            let (columns, data) = if name == ECHO {
                (TAG, &answer.echo)
            } else {
                (signature.classes, &answer.output)
            };
            OutputTensor {
                name,
                datatype: FP32,
                shape: [self.rows, columns],
                data,
            }
        };
        let body = ResponseBody {
            model_name: &signature.model,
            model_version: VERSION,
            id: self.id.as_deref(),
            outputs: self.wanted.iter().map(tensor).collect(),
        };
        serde_json::to_vec(&body).map_err(|error| Refusal::Failed(error.to_string()))
    }
}

impl Signature {
    /// `GET v2/models/{model}`.
    pub(crate) fn metadata(&self) -> Vec<u8> {
        let tensor = |name: &str, columns: usize| serde_json::json!({ "name": name, "datatype": FP32, "shape": [-1, columns] });
        serde_json::json!({
            "name": self.model,
            "versions": [VERSION],
            "platform": "onnx_tract",
            "inputs": [tensor(INPUT, self.columns)],
            "outputs": [tensor(OUTPUT, self.classes), tensor(ECHO, TAG)],
        })
        .to_string()
        .into_bytes()
    }
}

/// `GET v2`.
pub(crate) fn server_metadata() -> Vec<u8> {
    serde_json::json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "extensions": [] })
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests;
