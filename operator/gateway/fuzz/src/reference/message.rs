//! Requests and answers, whatever they were written in.

use std::collections::BTreeMap;

use harmonybatch_gateway::protocol::Wire;
use serde_json::Value;

use super::element::{Datatype, count};

/// Parameters without what the binary tensor extension has there.
pub type Parameters = BTreeMap<String, Value>;

/// A tensor with its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its datatype, as the protocol writes it.
    pub datatype: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its parameters.
    pub parameters: Parameters,
    /// Its elements, row by row.
    pub elements: Vec<Vec<u8>>,
    /// Whether they were JSON.
    pub is_text: bool,
}

/// An output that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Parameters,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its id.
    pub id: Option<String>,
    /// Its parameters.
    pub parameters: Parameters,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// The outputs that it asks for.
    pub outputs: Vec<RequestedOutput>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The model that it names.
    pub model: Option<String>,
    /// The id that it repeats.
    pub id: Option<String>,
    /// Its outputs.
    pub outputs: Vec<Tensor>,
}

impl Tensor {
    /// Whether the elements are as many as the shape says.
    pub fn is_whole(&self) -> bool {
        count(&self.shape) == Some(self.elements.len())
    }

    /// Whether an encoding can write the elements, as they are or turned into its own form.
    pub fn fits(&self, wire: Wire) -> bool {
        let datatype = Datatype::parse(&self.datatype).unwrap();
        match (wire, self.is_text) {
            (Wire::Json, true) | (Wire::Binary | Wire::Grpc, false) => true,
            (Wire::Json, false) => {
                !matches!(datatype, Datatype::Half(_))
                    && self.elements.iter().all(|element| datatype.has_text(element))
            }
            (Wire::Binary | Wire::Grpc, true) => !matches!(datatype, Datatype::Half(_)),
        }
    }

    /// Rows `from` and the `rows - 1` after it.
    #[must_use]
    pub fn rows(&self, from: usize, rows: usize) -> Self {
        let per_row = count(&self.shape[1..]).unwrap();
        let shape = std::iter::once(rows as u64).chain(self.shape[1..].iter().copied());
        Self {
            shape: shape.collect(),
            elements: self.elements[from * per_row..(from + rows) * per_row].to_vec(),
            ..self.clone()
        }
    }
}

impl Request {
    /// Checks what must hold between the tensors.
    pub(super) fn checked(self) -> Option<Self> {
        let rows = self.inputs.first()?.shape.first()?;
        let is_distinct = |names: Vec<&String>| {
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            sorted.len() == names.len()
        };
        let holds = u32::try_from(*rows).is_ok()
            && self.inputs.iter().all(|input| {
                !input.shape.contains(&0) && input.shape.first() == Some(rows) && input.is_whole()
            })
            && is_distinct(self.inputs.iter().map(|input| &input.name).collect())
            && is_distinct(self.outputs.iter().map(|output| &output.name).collect());
        holds.then_some(self)
    }

    /// Rows of the request.
    pub fn rows(&self) -> usize {
        usize::try_from(self.inputs[0].shape[0]).unwrap()
    }

    /// Every row as a request of its own, without what is a caller's own: its id, and how it writes its tensors.
    pub fn split(&self) -> Vec<Self> {
        let rows = 0..self.rows();
        rows.map(|row| {
            let inputs = self.inputs.iter().map(|input| Tensor {
                is_text: false,
                ..input.rows(row, 1)
            });
            Self {
                id: None,
                inputs: inputs.collect(),
                ..self.clone()
            }
        })
        .collect()
    }
}
