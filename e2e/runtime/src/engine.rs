//! What turns a batch into an answer: the network itself ([`crate::tract`]) or its latency alone ([`crate::simulate`]).

/// Rows of equal length, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) rows: usize,
    pub(crate) values: Vec<f32>,
}

/// Both outputs of a batch, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) output: Vec<f32>,
    pub(crate) echo: Vec<f32>,
}

/// Runs one batch at a time. Errors are the engine's own text: whoever calls it has checked the batch's shape, so an error
/// is a fault of the server.
pub(crate) trait Engine: Send {
    fn infer(&mut self, batch: Batch) -> anyhow::Result<Answer>;
}
