//! CPU functions: Eq. 1 and 2 of the paper, one exponential in the limit for each batch size.

use super::{Function, Service, Site, Spread};
use crate::platform::Platform;
use crate::profile::ModelProfile;

/// Every limit of the grid, with the batch sizes that the profile knows.
pub(super) fn functions(platform: &Platform, profile: &ModelProfile) -> Vec<Function> {
    let known = profile.cpu().len().min(profile.max_batch_size().get() as usize);
    let entries = &profile.cpu()[..known];
    let (Some(grid), false) = (platform.cpu(), entries.is_empty()) else {
        return Vec::new();
    };
    grid.sizes()
        .map(|vcpu| {
            let price = vcpu.get() * platform.prices().vcpu_second.get();
            let service = entries
                .iter()
                .map(|entry| {
                    let mean = entry.mean.at(vcpu.get());
                    let max = entry.max.at(vcpu.get()).max(mean);
                    let (least, spread) = spread(mean, max);
                    Service {
                        mean,
                        max,
                        least,
                        spread,
                        run_cost: mean * price,
                    }
                })
                .collect();
            Function {
                site: Site::Cpu(vcpu),
                price,
                paid: price,
                service,
            }
        })
        .collect()
}

/// Uniform around the mean, up to the maximum; where that would begin at next to nothing, half the mean or the maximum.
pub(super) fn spread(mean: f64, max: f64) -> (f64, Spread) {
    const SHORTEST: f64 = 0.3;
    let least = 2.0 * mean - max;
    if least >= SHORTEST * mean {
        (least, Spread::Uniform)
    } else {
        (0.5 * mean, Spread::TwoPoints)
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::Exponential;

    /// Eq. 1 with the VGG-19 coefficients at 1.65 vCPU, worked out by hand:
    /// `1.8260695578676214 * exp(-1.65 / 0.5283726420022545) + 0.18015427168547402`.
    #[test]
    fn eq_1_gives_the_published_curve() {
        const TOLERANCE: f64 = 1e-6;
        let mean = Exponential::new(
            1.826_069_557_867_621_4,
            0.528_372_642_002_254_5,
            0.180_154_271_685_474_02,
        );
        assert!(mean.is_ok_and(|mean| (mean.at(1.65) - 0.260_563_7).abs() < TOLERANCE));
    }
}
