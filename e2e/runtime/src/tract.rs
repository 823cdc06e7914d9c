//! The network on tract: one plan with a symbolic batch dimension, so that the packed weights are held once, and one thread.

use anyhow::Context;
use tract_onnx::prelude::*;

use crate::engine::{Answer, Batch, Engine};
use crate::network::Architecture;
use crate::onnx;

/// A plan that takes any number of rows.
pub(crate) struct Network {
    plan: Arc<TypedRunnableModel>,
    architecture: Architecture,
}

impl Network {
    /// Builds the network, brings it through tract's ONNX parser, and optimises it.
    pub(crate) fn load(architecture: Architecture) -> anyhow::Result<Self> {
        let proto = onnx::model(architecture);
        Self::parse(&proto, architecture)
    }

    fn parse(proto: &tract_onnx::pb::ModelProto, architecture: Architecture) -> anyhow::Result<Self> {
        let model = tract_onnx::onnx()
            .model_for_proto_model(proto)
            .context("parse the ONNX model")?;
        let plan = model
            .into_optimized()
            .context("optimise the ONNX model")?
            .into_runnable()?;
        Ok(Self { plan, architecture })
    }
}

impl Engine for Network {
    fn infer(&mut self, batch: Batch) -> anyhow::Result<Answer> {
        let shape = [batch.rows, self.architecture.columns];
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use prost::Message;
    use tract_onnx::pb::ModelProto;

    use super::*;
    use crate::network::TAG;
    use crate::network::tests::{SMALL, naive};

    /// Single precision over at most a few hundred terms a sum, relative to outputs of about one.
    const TOLERANCE: f64 = 1e-4;

    fn rows(count: usize, columns: usize) -> Vec<f32> {
        (0..count * columns)
            .map(|index| f32::from(u8::try_from(index * 37 % 101).unwrap()) / 50.0 - 1.0)
            .collect()
    }

    fn check(network: &mut Network, architecture: Architecture, count: usize) {
        let values = rows(count, architecture.columns);
        let answer = network
            .infer(Batch {
                rows: count,
                values: values.clone(),
            })
            .unwrap();
        assert_eq!(answer.output.len(), count * architecture.classes);
        for (index, row) in values.chunks(architecture.columns).enumerate() {
            assert_eq!(&answer.echo[index * TAG..(index + 1) * TAG], &row[..TAG]);
            let output = &answer.output[index * architecture.classes..(index + 1) * architecture.classes];
            for (found, expected) in output.iter().zip(naive(architecture, row)) {
                assert!(
                    (f64::from(*found) - expected).abs() < TOLERANCE,
                    "row {index}: {found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn tract_agrees_with_the_naive_product_at_every_batch_size() {
        let mut network = Network::load(SMALL).unwrap();
        for count in 1..=9 {
            check(&mut network, SMALL, count);
        }
        let wide = Architecture {
            columns: 66,
            width: 300,
            depth: 1,
            classes: 7,
            seed: 9,
        };
        let mut network = Network::load(wide).unwrap();
        for count in [1, 2, 8, 33] {
            check(&mut network, wide, count);
        }
    }

    #[test]
    fn the_exported_bytes_are_the_network_that_is_served() {
        let bytes = onnx::model(SMALL).encode_to_vec();
        let proto = ModelProto::decode(bytes.as_slice()).unwrap();
        check(&mut Network::parse(&proto, SMALL).unwrap(), SMALL, 3);
    }

    #[test]
    fn a_large_tag_comes_back_exactly_and_touches_nothing_else() {
        let mut network = Network::load(SMALL).unwrap();
        let mut values = rows(2, SMALL.columns);
        let plain = network
            .infer(Batch {
                rows: 2,
                values: values.clone(),
            })
            .unwrap();
        values[0] = 16_777_215.0;
        values[SMALL.columns + 1] = 16_777_213.0;
        let tagged = network.infer(Batch { rows: 2, values }).unwrap();
        assert_eq!(tagged.echo[0].to_bits(), 16_777_215.0_f32.to_bits());
        assert_eq!(tagged.echo[TAG + 1].to_bits(), 16_777_213.0_f32.to_bits());
        assert_eq!(tagged.output, plain.output);
    }
}
