//! What is sent: rows of tensors as the model's metadata describe them, random or given, already as the server takes them.
//!
//! Dimension 0 of every input is the batch. Rows are made once and written as JSON text or raw ([`element`]); a request ([`request`]) is a run of them, beginning
//! anywhere, so that no two in a row are the same, which a server may remember, and making one takes no time beside the model's.

use std::collections::BTreeMap;

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_protocol::datatype::Datatype;
use harmonybatch_protocol::grpc::FrameError;
use harmonybatch_protocol::grpc::messages::ModelMetadataResponse;
use serde::Deserialize;
use serde_json::Value;

mod element;
mod request;

pub use request::Message;

use element::Form;

/// Most numbers in a row of an input.
const MAX_NUMBERS: usize = 1 << 26;

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The server's answer is not the protocol's metadata.
    #[error("the model's metadata are not those of the Open Inference Protocol: {0}")]
    Metadata(serde_json::Error),
    /// A model without inputs.
    #[error("the model's metadata name no input")]
    NoInput,
    /// The first dimension does not grow with the batch.
    #[error(
        "input {input} has the shape {shape:?}: its first dimension must be -1, the batch, for batches of more than one row"
    )]
    NoBatch {
        /// The input.
        input: String,
        /// As the metadata have it.
        shape: Vec<i64>,
    },
    /// A dimension past the batch is unknown.
    #[error(
        "input {input} has the shape {shape:?}, of which only the first dimension, the batch, may be open: give the others with --shape {input}={hint}, numbers in place of the question marks"
    )]
    OpenDimension {
        /// The input.
        input: String,
        /// As the metadata have it.
        shape: Vec<i64>,
        /// The dimensions past the batch, `?` where they are unknown.
        hint: String,
    },
    /// A given shape is not one of the model's.
    #[error(
        "--shape {input}={given}: the model has {allowed}, the first dimension being the batch, which is not given"
    )]
    Shape {
        /// The input.
        input: String,
        /// What was given.
        given: String,
        /// What the metadata have.
        allowed: String,
    },
    /// A type that JSON cannot carry, or that is not known.
    #[error("input {input} has the datatype {datatype}, which {problem}")]
    Datatype {
        /// The input.
        input: String,
        /// Its datatype.
        datatype: String,
        /// Why it cannot be sent.
        problem: &'static str,
    },
    /// A row is too large to be meant.
    #[error("a row of input {0} has more than {MAX_NUMBERS} numbers")]
    TooLarge(String),
    /// Given rows that do not fit the model.
    #[error("the given inputs: {0}")]
    Given(String),
    /// A batch is too large for one message.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// An input of a model, everything known but the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Input {
    name: String,
    datatype: Datatype,
    form: Form,
    row: Vec<usize>,
}

impl Input {
    fn numbers(&self) -> usize {
        self.row.iter().product()
    }

    fn random(&self, random: &mut fastrand::Rng) -> Result<Vec<u8>, TensorError> {
        let mut row = Vec::new();
        for _ in 0..self.numbers() {
            self.push(&mut row, &element::random(self.datatype, random))?;
        }
        Ok(row)
    }

    fn push(&self, row: &mut Vec<u8>, value: &Value) -> Result<(), TensorError> {
        let written = element::push(row, value, self.datatype, self.form);
        written.map_err(|problem| TensorError::Given(format!("input {}: {problem}", self.name)))
    }
}

/// Rows to send, in turn.
#[derive(Debug)]
pub struct Rows {
    protocol: Protocol,
    inputs: Vec<(Input, Vec<Vec<u8>>)>,
}

/// What the server says of its model.
#[derive(Debug)]
pub struct Metadata {
    /// What it speaks.
    protocol: Protocol,
    inputs: Vec<Declared>,
}

/// The same as JSON.
#[derive(Deserialize)]
struct Described {
    inputs: Vec<Declared>,
}

#[derive(Debug, Deserialize)]
struct Declared {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

#[derive(Deserialize)]
struct Request {
    inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    data: Value,
}

impl Metadata {
    /// Of an answer to `GET v2/models/<model>`, of a server that takes tensors as `protocol` has them.
    pub fn parse(body: &[u8], protocol: Protocol) -> Result<Self, TensorError> {
        let described: Described = serde_json::from_slice(body).map_err(TensorError::Metadata)?;
        Self::new(protocol, described.inputs)
    }

    /// Of an answer to gRPC's `ModelMetadata`.
    pub fn of_grpc(message: ModelMetadataResponse) -> Result<Self, TensorError> {
        let inputs = message.inputs.into_iter().map(|input| Declared {
            name: input.name,
            datatype: input.datatype,
            shape: input.shape,
        });
        Self::new(Protocol::OipV2Grpc, inputs.collect())
    }

    fn new(protocol: Protocol, inputs: Vec<Declared>) -> Result<Self, TensorError> {
        if inputs.is_empty() {
            return Err(TensorError::NoInput);
        }
        Ok(Self { protocol, inputs })
    }

    /// The inputs with the dimensions past the batch from `shapes`, by input, where the model leaves them open.
    fn inputs(
        &self,
        shapes: &BTreeMap<String, Vec<usize>>,
        max_batch: u32,
    ) -> Result<Vec<Input>, TensorError> {
        if let Some((input, given)) = shapes
            .iter()
            .find(|(name, _)| self.inputs.iter().all(|declared| declared.name != **name))
        {
            let names: Vec<&str> = self
                .inputs
                .iter()
                .map(|declared| declared.name.as_str())
                .collect();
            return Err(TensorError::Shape {
                input: input.clone(),
                given: joined(given),
                allowed: format!("the inputs {}", names.join(", ")),
            });
        }
        let form = Form::of(self.protocol);
        let with_shape = |declared: &Declared| declared.input(shapes.get(&declared.name), max_batch, form);
        self.inputs.iter().map(with_shape).collect()
    }
}

impl Declared {
    fn input(&self, given: Option<&Vec<usize>>, max_batch: u32, form: Form) -> Result<Input, TensorError> {
        let (name, shape) = (self.name.clone(), self.shape.clone());
        let Some((&batch, declared)) = self.shape.split_first() else {
            return Err(TensorError::NoBatch { input: name, shape });
        };
        if batch >= 0 && !(batch == 1 && max_batch == 1) {
            return Err(TensorError::NoBatch { input: name, shape });
        }
        let row = match given {
            Some(given) => self.checked(given, declared)?,
            None => self.closed(declared)?,
        };
        let numbers = row.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
        if numbers.is_none_or(|numbers| numbers > MAX_NUMBERS) {
            return Err(TensorError::TooLarge(name));
        }
        let unsendable = |problem| TensorError::Datatype {
            input: name.clone(),
            datatype: self.datatype.clone(),
            problem,
        };
        let datatype =
            Datatype::parse(&self.datatype).map_err(|_| unsendable("is none of the protocol's"))?;
        if !form.carries(datatype) {
            return Err(unsendable(
                "cannot be sent as JSON: only raw tensors carry it, which runtimes of OIPv2Binary and OIPv2GRPC take",
            ));
        }
        Ok(Input {
            name,
            datatype,
            form,
            row,
        })
    }

    /// Given dimensions past the batch, which must be those that the model fixes.
    fn checked(&self, given: &[usize], declared: &[i64]) -> Result<Vec<usize>, TensorError> {
        let fits = |(&size, &allowed): (&usize, &i64)| {
            size > 0 && (allowed < 0 || usize::try_from(allowed).is_ok_and(|fixed| fixed == size))
        };
        if given.len() == declared.len() && given.iter().zip(declared).all(fits) {
            return Ok(given.to_vec());
        }
        Err(TensorError::Shape {
            input: self.name.clone(),
            given: joined(given),
            allowed: format!("{:?}", self.shape),
        })
    }

    /// The model's own dimensions past the batch, none of which may be open.
    fn closed(&self, declared: &[i64]) -> Result<Vec<usize>, TensorError> {
        let sizes = declared.iter().map(|&size| usize::try_from(size).ok());
        sizes.collect::<Option<_>>().ok_or_else(|| {
            let known =
                |&size: &i64| usize::try_from(size).map_or_else(|_| "?".to_owned(), |size| size.to_string());
            let hint: Vec<String> = declared.iter().map(known).collect();
            TensorError::OpenDimension {
                input: self.name.clone(),
                shape: self.shape.clone(),
                hint: hint.join(","),
            }
        })
    }
}

impl Rows {
    /// As many random rows as the largest batch has: numbers in [0, 1), whole numbers below 100, strings of 16 letters.
    pub fn random(
        metadata: &Metadata,
        shapes: &BTreeMap<String, Vec<usize>>,
        max_batch: u32,
        seed: u64,
    ) -> Result<Self, TensorError> {
        let mut random = fastrand::Rng::with_seed(seed);
        let inputs = metadata.inputs(shapes, max_batch)?;
        let filled = inputs.into_iter().map(|input| {
            let rows = (0..max_batch).map(|_| input.random(&mut random));
            let rows = rows.collect::<Result<_, _>>()?;
            Ok((input, rows))
        });
        Ok(Self {
            protocol: metadata.protocol,
            inputs: filled.collect::<Result<_, TensorError>>()?,
        })
    }

    /// The rows of a request of the protocol in JSON, whose tensors also give the dimensions that the model leaves open.
    pub fn given(metadata: &Metadata, request: &[u8], max_batch: u32) -> Result<Self, TensorError> {
        let request: Request = serde_json::from_slice(request).map_err(|error| {
            TensorError::Given(format!(
                "not a request of the Open Inference Protocol in JSON: {error}"
            ))
        })?;
        let problem = |tensor: &Tensor, problem: String| {
            TensorError::Given(format!("input {}: {problem}", tensor.name))
        };
        let shapes = request
            .inputs
            .iter()
            .map(|tensor| match tensor.shape.split_first() {
                Some((_, row)) => Ok((tensor.name.clone(), row.to_vec())),
                None => Err(problem(tensor, "its shape is empty".to_owned())),
            });
        let shapes: BTreeMap<_, _> = shapes.collect::<Result<_, _>>()?;
        let mut rows_of_all = None;
        let read = |input: Input| {
            let Some(tensor) = request.inputs.iter().find(|tensor| tensor.name == input.name) else {
                return Err(TensorError::Given(format!(
                    "input {} of the model is missing",
                    input.name
                )));
            };
            let datatype = input.datatype.name();
            if tensor.datatype != datatype {
                let found = &tensor.datatype;
                return Err(problem(
                    tensor,
                    format!("datatype {found} where the model has {datatype}"),
                ));
            }
            let mut values = Vec::new();
            flatten(&tensor.data, &mut values);
            let rows = tensor.shape[0];
            if rows == 0 || values.len() != rows.saturating_mul(input.numbers()) {
                return Err(problem(
                    tensor,
                    format!(
                        "shape {:?} and {} values do not agree",
                        tensor.shape,
                        values.len()
                    ),
                ));
            }
            if *rows_of_all.get_or_insert(rows) != rows {
                return Err(problem(
                    tensor,
                    "has another number of rows than the inputs before it".to_owned(),
                ));
            }
            let written = |values: &[&Value]| {
                let mut row = Vec::new();
                for value in values {
                    input.push(&mut row, value)?;
                }
                Ok(row)
            };
            let rows = values.chunks(values.len() / rows).map(written);
            let rows = rows.collect::<Result<_, TensorError>>()?;
            Ok((input, rows))
        };
        let inputs = metadata.inputs(&shapes, max_batch)?;
        Ok(Self {
            protocol: metadata.protocol,
            inputs: inputs.into_iter().map(read).collect::<Result<_, _>>()?,
        })
    }
}

/// The values of a tensor in order; the protocol lets them be nested as the shape is.
fn flatten<'a>(data: &'a Value, values: &mut Vec<&'a Value>) {
    match data {
        Value::Array(parts) => parts.iter().for_each(|part| flatten(part, values)),
        value => values.push(value),
    }
}

fn joined(sizes: &[usize]) -> String {
    sizes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests;
