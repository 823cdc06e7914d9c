//! The perceptron, layer by layer.

use super::{check, norm, rows};
use crate::network::TAG;
use crate::network::perceptron::Perceptron;

const SEED: u64 = 3;
const CLASSES: usize = 5;
const SMALL: Perceptron = Perceptron {
    columns: 10,
    width: 24,
    depth: 2,
};

fn naive(perceptron: Perceptron, classes: usize, row: &[f32]) -> Vec<f64> {
    let layers = perceptron.layers(classes, SEED).collect::<Vec<_>>();
    let mut activations = row[TAG..]
        .iter()
        .map(|&value| f64::from(value))
        .collect::<Vec<_>>();
    for (index, layer) in layers.iter().enumerate() {
        activations = (0..layer.outputs)
            .map(|output| {
                let weights = &layer.weights[output * layer.inputs..(output + 1) * layer.inputs];
                let sum = weights
                    .iter()
                    .zip(&activations)
                    .map(|(w, x)| f64::from(*w) * x)
                    .sum::<f64>()
                    + f64::from(layer.biases[output]);
                if index + 1 < layers.len() {
                    sum.max(0.0)
                } else {
                    sum
                }
            })
            .collect();
    }
    activations
}

#[test]
fn tract_agrees_with_the_naive_products_at_every_batch_size() {
    let model = SMALL.model(CLASSES, SEED);
    check(&model, SMALL.columns, &[1, 2, 3, 4, 5, 6, 7, 8, 9], |row| {
        naive(SMALL, CLASSES, row)
    });
    let wide = Perceptron {
        columns: 66,
        width: 300,
        depth: 1,
    };
    check(&wide.model(7, SEED), wide.columns, &[1, 2, 8, 33], |row| {
        naive(wide, 7, row)
    });
}

#[test]
fn the_same_seed_is_the_same_network() {
    assert_eq!(SMALL.model(CLASSES, SEED), SMALL.model(CLASSES, SEED));
    assert_ne!(SMALL.model(CLASSES, SEED), SMALL.model(CLASSES, SEED + 1));
}

#[test]
fn the_weights_of_a_seed_are_those_of_every_release() {
    // The upper 24 bits of the published first word of this seed, 6,457,827,717,110,365,317.
    let first = SMALL
        .layers(CLASSES, 1_234_567)
        .next()
        .map(|layer| layer.weights[0]);
    let unit = 5_873_360.0_f32 / 16_777_216.0;
    assert_eq!(first, Some((unit * 2.0 - 1.0) * (6.0_f32 / 8.0).sqrt()));
}

#[test]
fn activations_neither_vanish_nor_explode_with_depth() {
    let deep = Perceptron {
        columns: 66,
        width: 96,
        depth: 24,
    };
    let norm = norm(&naive(deep, 16, &rows(1, 66)));
    assert!((0.05..100.0).contains(&norm), "{norm}");
}
