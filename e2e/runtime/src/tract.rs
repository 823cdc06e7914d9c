//! Networks on tract, on one thread. One plan has a symbolic batch dimension, so that the packed weights are held once. Some
//! trained networks compute shapes from their batch in ways that tract cannot follow without knowing it: those get one plan,
//! with weights of its own, for each batch size.

use anyhow::Context;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use crate::engine::{Answer, Batch, Engine};

/// A network that is ready to run.
pub(crate) struct Plan {
    columns: usize,
    sizes: Sizes,
}

/// For which batch sizes a plan is.
enum Sizes {
    Any(Arc<TypedRunnableModel>),
    /// The first is for one row.
    Each(Vec<Arc<TypedRunnableModel>>),
}

impl Plan {
    /// Brings a model whose rows have `columns` numbers through tract's ONNX parser, and optimises it.
    pub(crate) fn new(proto: &ModelProto, columns: usize, max_batch: usize) -> anyhow::Result<Self> {
        Self::of_any_size(proto, columns).or_else(|error| {
            tracing::info!(
                reason = format!("{error:#}"),
                max_batch,
                "one plan for each batch size"
            );
            Self::of_each_size(proto, columns, max_batch)
        })
    }

    fn of_any_size(proto: &ModelProto, columns: usize) -> anyhow::Result<Self> {
        Ok(Self {
            columns,
            sizes: Sizes::Any(optimised(parsed(proto)?)?),
        })
    }

    /// One plan for each size up to the largest; there is none for a larger batch.
    pub(crate) fn of_each_size(proto: &ModelProto, columns: usize, max_batch: usize) -> anyhow::Result<Self> {
        let model = parsed(proto)?;
        let plans = (1..=max_batch).map(|rows| {
            let fact = f32::fact([rows, columns]).into();
            optimised(model.clone().with_input_fact(0, fact)?)
        });
        Ok(Self {
            columns,
            sizes: Sizes::Each(plans.collect::<anyhow::Result<_>>()?),
        })
    }

    #[cfg(test)]
    pub(crate) fn is_of_any_size(&self) -> bool {
        matches!(self.sizes, Sizes::Any(_))
    }

    fn of(&self, rows: usize) -> anyhow::Result<&Arc<TypedRunnableModel>> {
        match &self.sizes {
            Sizes::Any(plan) => Ok(plan),
            Sizes::Each(plans) => rows
                .checked_sub(1)
                .and_then(|index| plans.get(index))
                .with_context(|| format!("no plan for {rows} rows")),
        }
    }
}

fn parsed(proto: &ModelProto) -> anyhow::Result<InferenceModel> {
    tract_onnx::onnx()
        .model_for_proto_model(proto)
        .context("parse the ONNX model")
}

fn optimised(model: InferenceModel) -> anyhow::Result<Arc<TypedRunnableModel>> {
    let model = model.into_optimized().context("optimise the ONNX model")?;
    model.into_runnable()
}

impl Engine for Plan {
    fn infer(&mut self, batch: Batch) -> anyhow::Result<Answer> {
        let shape = [batch.rows, self.columns];
        let input = Tensor::from_shape(&shape, &batch.values)?;
        let outputs = self.of(batch.rows)?.run(tvec!(input.into_tvalue()))?;
        let [output, echo] = outputs.as_slice() else {
            anyhow::bail!("the network has {} outputs, not 2", outputs.len());
        };
        Ok(Answer {
            output: floats(output)?,
            echo: floats(echo)?,
        })
    }
}

fn floats(tensor: &Tensor) -> anyhow::Result<Vec<f32>> {
    Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

/// How many numbers a row of the first output has, where the only input is rows of `dimensions`.
pub(crate) fn row_of_the_output(proto: &ModelProto, dimensions: [usize; 3]) -> anyhow::Result<usize> {
    // Two rows, so that an output whose first dimension is another one is found out.
    const ROWS: usize = 2;
    let mut shape = tvec!(ROWS);
    shape.extend(dimensions);
    let model = parsed(proto)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_typed()
        .context("find the shapes of the ONNX model")?;
    let output = model.output_fact(0)?;
    match output.shape.as_concrete() {
        Some([ROWS, rest @ ..]) if output.datum_type == f32::datum_type() => Ok(rest.iter().product()),
        _ => anyhow::bail!("the first output is {output:?} for {ROWS} rows, not one row of f32 for each"),
    }
}
