//! Networks on tract: one plan with a symbolic batch dimension, so that the packed weights are held once, and one thread.

use anyhow::Context;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use crate::engine::{Answer, Batch, Engine};

/// A plan that takes any number of rows.
pub(crate) struct Plan {
    plan: Arc<TypedRunnableModel>,
    columns: usize,
}

impl Plan {
    /// Brings a model whose rows have `columns` numbers through tract's ONNX parser, and optimises it.
    pub(crate) fn new(proto: &ModelProto, columns: usize) -> anyhow::Result<Self> {
        let plan = tract_onnx::onnx()
            .model_for_proto_model(proto)
            .context("parse the ONNX model")?
            .into_optimized()
            .context("optimise the ONNX model")?
            .into_runnable()?;
        Ok(Self { plan, columns })
    }
}

impl Engine for Plan {
    fn infer(&mut self, batch: Batch) -> anyhow::Result<Answer> {
        let shape = [batch.rows, self.columns];
        let input = Tensor::from_shape(&shape, &batch.values)?;
        let outputs = self.plan.run(tvec!(input.into_tvalue()))?;
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
    let model = tract_onnx::onnx()
        .model_for_proto_model(proto)
        .context("parse the ONNX model")?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_typed()
        .context("find the shapes of the ONNX model")?;
    let output = model.output_fact(0)?;
    match output.shape.as_concrete() {
        Some([ROWS, rest @ ..]) if output.datum_type == f32::datum_type() => Ok(rest.iter().product()),
        _ => anyhow::bail!("the first output is {output:?} for {ROWS} rows, not one row of f32 for each"),
    }
}
