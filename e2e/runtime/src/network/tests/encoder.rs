//! The encoder, token by token.

use super::{check, norm, rows};
use crate::network::encoder::{EPSILON, Encoder, Error, Normalisation};
use crate::network::{Layer, TAG};

const SEED: u64 = 7;
const SMALL: Encoder = Encoder {
    tokens: 6,
    token_width: 5,
    embedding: 12,
    heads: 3,
    layers: 2,
};

type Token = Vec<f64>;

fn applied(layer: &Layer, token: &[f64]) -> Token {
    (0..layer.outputs)
        .map(|output| {
            let mut sum = f64::from(layer.biases[output]);
            for (input, value) in token.iter().enumerate() {
                sum += f64::from(layer.weights[output * layer.inputs + input]) * value;
            }
            sum
        })
        .collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a short vector")]
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn normalised(by: &Normalisation, token: &[f64]) -> Token {
    let middle = mean(token.iter().copied());
    let variance = mean(token.iter().map(|value| (value - middle).powi(2)));
    let deviation = (variance + f64::from(EPSILON)).sqrt();
    token
        .iter()
        .zip(by.gains.iter().zip(&by.shifts))
        .map(|(value, (&gain, &shift))| f64::from(gain) * (value - middle) / deviation + f64::from(shift))
        .collect()
}

fn sum(left: &[f64], right: &[f64]) -> Token {
    left.iter().zip(right).map(|(left, right)| left + right).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// The Maclaurin series; beyond 4 the function is 1 to seven places.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut total) = (x, x);
    for n in 1..100_u8 {
        let n = f64::from(n);
        term *= -x * x / n;
        total += term / (2.0 * n + 1.0);
    }
    total * std::f64::consts::FRAC_2_SQRT_PI
}

fn gelu(x: f64) -> f64 {
    x * (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0
}

/// What one head of one token takes from all tokens.
fn head(query: &[f64], keys: &[&[f64]], values: &[&[f64]]) -> Token {
    #[expect(clippy::cast_precision_loss, reason = "a short vector")]
    let root = (query.len() as f64).sqrt();
    let weights = keys.iter().map(|key| (dot(query, key) / root).exp());
    let weights = weights.collect::<Vec<_>>();
    let total = weights.iter().sum::<f64>();
    (0..query.len())
        .map(|index| {
            let parts = weights.iter().zip(values);
            parts.map(|(weight, value)| weight / total * value[index]).sum()
        })
        .collect()
}

fn naive(encoder: Encoder, classes: usize, row: &[f32]) -> Vec<f64> {
    let weights = encoder.weights(classes, SEED);
    let features = row[TAG..]
        .iter()
        .map(|&value| f64::from(value))
        .collect::<Vec<_>>();
    let mut tokens = features
        .chunks(encoder.token_width)
        .zip(weights.positions.chunks(encoder.embedding))
        .map(|(token, position)| {
            let position = position.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
            sum(&applied(&weights.embedding, token), &position)
        })
        .collect::<Vec<_>>();
    let width = encoder.embedding / encoder.heads;
    for block in &weights.blocks {
        let normal = tokens
            .iter()
            .map(|token| normalised(&block.before_attention, token));
        let normal = normal.collect::<Vec<_>>();
        let through = |layer: &Layer| {
            normal
                .iter()
                .map(|token| applied(layer, token))
                .collect::<Vec<_>>()
        };
        let (queries, keys, values) = (through(&block.query), through(&block.key), through(&block.value));
        for (token, query) in tokens.iter_mut().zip(&queries) {
            let mixed = (0..encoder.heads).flat_map(|index| {
                let part = index * width..(index + 1) * width;
                let keys = keys
                    .iter()
                    .map(|key: &Token| &key[part.clone()])
                    .collect::<Vec<_>>();
                let values = values
                    .iter()
                    .map(|value: &Token| &value[part.clone()])
                    .collect::<Vec<_>>();
                head(&query[part.clone()], &keys, &values)
            });
            *token = sum(token, &applied(&block.projection, &mixed.collect::<Vec<_>>()));
        }
        for token in &mut tokens {
            let normal = normalised(&block.before_feed_forward, token);
            let wide = applied(&block.expansion, &normal).into_iter().map(gelu);
            *token = sum(token, &applied(&block.contraction, &wide.collect::<Vec<_>>()));
        }
    }
    let last = tokens.iter().map(|token| normalised(&weights.last, token));
    let last = last.collect::<Vec<_>>();
    let pooled = (0..encoder.embedding).map(|index| mean(last.iter().map(|token| token[index])));
    applied(&weights.dense, &pooled.collect::<Vec<_>>())
}

#[test]
fn tract_agrees_with_the_naive_attention_at_every_batch_size() {
    let one_head = Encoder {
        heads: 1,
        layers: 1,
        ..SMALL
    };
    let longer = Encoder {
        tokens: 17,
        token_width: 3,
        embedding: 16,
        heads: 4,
        layers: 3,
    };
    for encoder in [SMALL, one_head, longer] {
        let model = encoder.model(4, SEED);
        check(&model, encoder.columns(), &[1, 2, 3, 8, 17], |row| {
            naive(encoder, 4, row)
        });
    }
}

#[test]
fn the_order_of_the_tokens_matters() {
    let row = rows(1, SMALL.columns());
    let mut turned = row.clone();
    turned[TAG..].rotate_left(SMALL.token_width);
    let (one, other) = (naive(SMALL, 4, &row), naive(SMALL, 4, &turned));
    let difference = one
        .iter()
        .zip(&other)
        .map(|(one, other)| one - other)
        .collect::<Vec<_>>();
    assert!(norm(&difference) > 0.01 * norm(&one), "{one:?} {other:?}");
}

#[test]
fn the_error_function_is_that_of_the_tables() {
    // Abramowitz and Stegun, table 7.1.
    for (x, expected) in [
        (0.5, 0.520_499_877_8),
        (1.0, 0.842_700_792_9),
        (2.0, 0.995_322_265_0),
    ] {
        assert!((erf(x) - expected).abs() < 1e-10, "{x}");
        assert!((erf(-x) + expected).abs() < 1e-10, "{x}");
    }
}

#[test]
fn the_same_seed_is_the_same_network() {
    assert_eq!(SMALL.weights(3, 1), SMALL.weights(3, 1));
    let (one, other) = (SMALL.weights(3, 1), SMALL.weights(3, 2));
    assert_ne!(one.positions, other.positions);
    assert_ne!(one.blocks[0], one.blocks[1]);
}

#[test]
fn heads_share_the_embedding_evenly() {
    assert_eq!(SMALL.check(), Ok(()));
    let uneven = Encoder { heads: 5, ..SMALL };
    let error = Error::Heads {
        heads: 5,
        embedding: 12,
    };
    assert_eq!(uneven.check(), Err(error));
}
