//! Every network on tract against the plainest computation there is, in double precision and one row at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod convolution;
mod encoder;
mod file;
mod perceptron;

use prost::Message;
use tract_onnx::pb::ModelProto;

use crate::engine::{Answer, Batch, Engine};
use crate::network::TAG;
use crate::tract::Plan;

/// Single precision over at most a few hundred terms a sum, relative to the largest output of a row.
const TOLERANCE: f64 = 1e-4;

/// Rows of numbers between -1 and 1; none is like another.
fn rows(count: usize, columns: usize) -> Vec<f32> {
    (0..count * columns)
        .map(|index| f32::from(u8::try_from((index * 37 + index / columns * 11) % 101).unwrap()) / 50.0 - 1.0)
        .collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn infer(plan: &mut Plan, rows: usize, values: &[f32]) -> Answer {
    let values = values.to_vec();
    plan.infer(Batch { rows, values }).unwrap()
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(1.0_f64, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference < TOLERANCE * largest, "{what}: {found} for {expected}");
    }
}

/// Whether the bytes of the model, at every batch size, give what `naive` gives for each row alone, hand the tag through and
/// read nothing from it.
fn check(model: &ModelProto, columns: usize, counts: &[usize], naive: impl Fn(&[f32]) -> Vec<f64>) {
    let bytes = model.encode_to_vec();
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    let largest = *counts.iter().max().unwrap();
    let mut plan = Plan::new(&model, columns, largest).unwrap();
    check_plan(&mut plan, columns, counts, &naive);
    if plan.is_of_any_size() {
        let mut plan = Plan::of_each_size(&model, columns, largest).unwrap();
        check_plan(&mut plan, columns, counts, &naive);
    }
}

fn check_plan(plan: &mut Plan, columns: usize, counts: &[usize], naive: &impl Fn(&[f32]) -> Vec<f64>) {
    for &count in counts {
        let values = rows(count, columns);
        let answer = infer(plan, count, &values);
        let classes = answer.output.len() / count;
        assert_eq!(answer.output.len(), count * classes);
        let mut before: Option<Vec<f64>> = None;
        for (index, row) in values.chunks(columns).enumerate() {
            let output = &answer.output[index * classes..(index + 1) * classes];
            let expected = naive(row);
            assert_close(output, &expected, &format!("row {index} of {count}"));
            let alone = infer(plan, 1, row);
            let alone = alone
                .output
                .iter()
                .map(|&value| f64::from(value))
                .collect::<Vec<_>>();
            assert_close(output, &alone, &format!("row {index} of {count} and alone"));
            // A network that gives every row the same would pass all of this.
            if let Some(before) = before.replace(expected.clone()) {
                let difference = before
                    .iter()
                    .zip(&expected)
                    .map(|(a, b)| a - b)
                    .collect::<Vec<_>>();
                assert!(
                    norm(&difference) > 10.0 * TOLERANCE * norm(&expected),
                    "row {index}"
                );
            }
        }
        check_tags(plan, count, columns, &values, &answer.output);
    }
}

fn check_tags(plan: &mut Plan, count: usize, columns: usize, values: &[f32], output: &[f32]) {
    let mut values = values.to_vec();
    let mut tags = Vec::new();
    for (row, tag) in values.chunks_mut(columns).zip(0_u16..) {
        // The largest integers that single precision holds one by one.
        row[..TAG].copy_from_slice(&[16_777_215.0 - f32::from(tag), -16_777_213.0 + f32::from(tag)]);
        tags.extend_from_slice(&row[..TAG]);
    }
    let tagged = infer(plan, count, &values);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&tagged.echo), bits(&tags));
    assert_eq!(bits(&tagged.output), bits(output));
}
