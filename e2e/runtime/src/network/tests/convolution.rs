//! The convolutional network, pixel by pixel.

use super::{check, norm, rows};
use crate::network::TAG;
use crate::network::convolution::{Convolution, Convolutional, IMAGE};
use crate::network::image::Image;

const SEED: u64 = 5;

/// An image in double precision.
#[derive(Clone)]
struct Pixels {
    height: usize,
    width: usize,
    /// Channel by channel, row by row.
    planes: Vec<Vec<f64>>,
}

impl Pixels {
    /// Zero outside.
    fn at(&self, channel: usize, y: Option<usize>, x: Option<usize>) -> f64 {
        match (y, x) {
            (Some(y), Some(x)) if y < self.height && x < self.width => {
                self.planes[channel][y * self.width + x]
            }
            _ => 0.0,
        }
    }

    fn convolved(&self, by: &Convolution) -> Self {
        let (kernel, stride, border) = (by.kernel, by.stride, (by.kernel - 1) / 2);
        let (height, width) = (self.height.div_ceil(stride), self.width.div_ceil(stride));
        let pixel = |output: usize, y: usize, x: usize| {
            let mut sum = f64::from(by.layer.biases[output]);
            for channel in 0..self.planes.len() {
                for down in 0..kernel {
                    for right in 0..kernel {
                        let weight =
                            ((output * self.planes.len() + channel) * kernel + down) * kernel + right;
                        let (y, x) = (y * stride + down, x * stride + right);
                        sum += f64::from(by.layer.weights[weight])
                            * self.at(channel, y.checked_sub(border), x.checked_sub(border));
                    }
                }
            }
            sum
        };
        let plane = |output| {
            (0..height * width)
                .map(|index| pixel(output, index / width, index % width))
                .collect()
        };
        Self {
            height,
            width,
            planes: (0..by.layer.outputs).map(plane).collect(),
        }
    }

    fn rectified(mut self) -> Self {
        self.planes
            .iter_mut()
            .flatten()
            .for_each(|value| *value = value.max(0.0));
        self
    }

    fn plus(mut self, other: &Self) -> Self {
        let others = other.planes.iter().flatten();
        self.planes
            .iter_mut()
            .flatten()
            .zip(others)
            .for_each(|(value, other)| *value += other);
        self
    }
}

fn naive(network: Convolutional, image: Image, classes: usize, row: &[f32]) -> Vec<f64> {
    let weights = network.weights(image, classes, SEED);
    let features = row[TAG..]
        .iter()
        .map(|&value| f64::from(value))
        .collect::<Vec<_>>();
    let mut pixels = Pixels {
        height: image.height,
        width: image.width,
        planes: features
            .chunks(image.height * image.width)
            .map(<[f64]>::to_vec)
            .collect(),
    };
    pixels = pixels.convolved(&weights.stem).rectified();
    for block in &weights.blocks {
        let inner = pixels
            .convolved(&block.first)
            .rectified()
            .convolved(&block.second);
        let outer = match &block.shortcut {
            Some(shortcut) => pixels.convolved(shortcut),
            None => pixels.clone(),
        };
        pixels = inner.plus(&outer).rectified();
    }
    #[expect(clippy::cast_precision_loss, reason = "the pixels of a small image")]
    let area = (pixels.height * pixels.width) as f64;
    let means = pixels.planes.iter().map(|plane| plane.iter().sum::<f64>() / area);
    let means = means.collect::<Vec<_>>();
    let dense = &weights.dense;
    dense
        .weights
        .chunks(dense.inputs)
        .zip(&dense.biases)
        .map(|(weights, &bias)| {
            let products = weights
                .iter()
                .zip(&means)
                .map(|(&weight, mean)| f64::from(weight) * mean);
            f64::from(bias) + products.sum::<f64>()
        })
        .collect()
}

#[test]
fn tract_agrees_with_the_naive_convolutions_at_every_batch_size() {
    let odd = Image {
        channels: 2,
        height: 7,
        width: 10,
    };
    let even = Image {
        channels: 3,
        height: 8,
        width: 8,
    };
    let small = Convolutional {
        channels: 4,
        stages: 3,
        blocks: 2,
    };
    let flat = Convolutional {
        channels: 5,
        stages: 1,
        blocks: 1,
    };
    for (network, image) in [(small, odd), (small, even), (flat, odd)] {
        let model = network.model(image, 6, SEED);
        check(&model, TAG + image.numbers(), &[1, 2, 3, 8, 17], |row| {
            naive(network, image, 6, row)
        });
    }
}

#[test]
fn activations_neither_vanish_nor_explode_with_depth() {
    let deep = Convolutional {
        channels: 4,
        stages: 2,
        blocks: 8,
    };
    let image = Image {
        height: 8,
        width: 8,
        ..IMAGE
    };
    let norm = norm(&naive(deep, image, 16, &rows(1, TAG + image.numbers())));
    assert!((0.05..100.0).contains(&norm), "{norm}");
}

#[test]
fn the_same_seed_is_the_same_network() {
    let network = Convolutional {
        channels: 2,
        stages: 2,
        blocks: 1,
    };
    assert_eq!(network.weights(IMAGE, 3, 1), network.weights(IMAGE, 3, 1));
    let (one, other) = (network.weights(IMAGE, 3, 1), network.weights(IMAGE, 3, 2));
    assert_ne!(one.stem, other.stem);
    // No two convolutions of one network are alike.
    assert_ne!(one.blocks[0].first, one.blocks[0].second);
}
