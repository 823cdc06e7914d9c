//! Which form a model's latencies have: the one that says best what it has not seen.
//!
//! Each CPU limit between the smallest and the largest is left out in turn, and the form that is fitted to the others says the mean there
//! (leave-one-limit-out cross-validation, for each batch size). At the ends that would be an extrapolation, which is another question. One form is
//! chosen for all batch sizes of a model, since what makes a latency fall with the limit is the same for all of them.
//!
//! Errors are relative, and their root mean square is what a form is said to be off by. Between forms only errors beyond the confidence interval of the
//! mean left out count, since what lies within it may be the measurement's, and two forms are tied where the squares of these differ by no more than
//! one standard error of the difference: then no one can tell from these points which is better. Of tied forms one that knows of two clusters wins where there are such,
//! because it alone is right on the slow ones; then the one with fewer coefficients; then the one with the smaller error.

use super::after_idle::AfterIdle;
use super::form::Form;
use super::{Observation, throttled};
use crate::points::Point;

/// A difference of squares that is none: two forms that are the same curve.
const ROUNDING: f64 = 1e-12;

/// The means of one batch size at every CPU limit, in the order of limits.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) observations: Vec<Observation>,
    /// Half the confidence interval of each as a part of it.
    pub(super) known_to: Vec<f64>,
    /// What idle time adds.
    pub(super) after_idle: AfterIdle,
}

/// How well a form says the latencies at limits that it was not fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The form.
    pub form: Form,
    /// Relative errors at the limits left out, in the order of batch sizes and limits; infinite where the form could not be fitted.
    errors: Vec<f64>,
    /// What of each lies beyond the interval of the mean.
    beyond_noise: Vec<f64>,
}

impl Score {
    /// Root mean square of the relative errors.
    pub fn error(&self) -> f64 {
        mean(self.errors.iter().map(|error| error * error)).sqrt()
    }

    /// The largest relative error.
    pub fn worst(&self) -> f64 {
        self.errors.iter().copied().fold(0.0, f64::max)
    }

    /// Whether the other one's errors are smaller beyond doubt.
    fn is_worse_than(&self, other: &Self) -> bool {
        if !self.error().is_finite() {
            return other.error().is_finite();
        }
        let pairs = self.beyond_noise.iter().zip(&other.beyond_noise);
        let differences: Vec<f64> = pairs.map(|(own, others)| own * own - others * others).collect();
        let difference = mean(differences.iter().copied());
        let variance = mean(differences.iter().map(|each| (each - difference).powi(2)));
        // The variance of n numbers about their own mean is that of n - 1.
        let standard_error = (variance / (count(&differences) - 1.0).max(1.0)).sqrt();
        difference > standard_error.max(ROUNDING)
    }
}

/// Why a form was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All others are worse beyond doubt.
    Error,
    /// Of those that are not, it alone knows of the two clusters in which latencies come.
    Clusters,
    /// Of those that are not, it alone has the fewest coefficients.
    Simplest,
    /// Of those that are not and have as few coefficients, it has the smallest error.
    LeastOfEqual,
}

/// A form, and how it compares with the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The form of all curves.
    pub form: Form,
    /// Why.
    pub reason: Reason,
    /// Of all forms, the smallest error first.
    pub scores: Vec<Score>,
}

impl Choice {
    /// Chooses by the means of every batch size, and by whether a quota's two clusters were seen.
    pub(super) fn of(sizes: &[Means], clusters_of_a_quota: bool) -> Self {
        let mut scores = Form::ALL.map(|form| {
            let errors: Vec<f64> = sizes.iter().flat_map(|means| left_out(form, means)).collect();
            let noise = sizes.iter().flat_map(|means| between(&means.known_to));
            let beyond_noise = errors.iter().zip(noise);
            Score {
                form,
                beyond_noise: beyond_noise
                    .map(|(error, noise)| (error - noise).max(0.0))
                    .collect(),
                errors,
            }
        });
        scores.sort_by(|one, other| one.error().total_cmp(&other.error()));
        let tied = tied(&scores);
        let (form, reason) = among(&tied, clusters_of_a_quota).unwrap_or((scores[0].form, Reason::Error));
        Self {
            form,
            reason,
            scores: scores.to_vec(),
        }
    }

    /// Forms that may be the right one: with two clusters of a quota the one that knows them, else all that no other one is better than beyond doubt.
    pub(crate) fn plausible(&self) -> Vec<Form> {
        match self.reason {
            Reason::Clusters => vec![self.form],
            _ => tied(&self.scores),
        }
    }
}

/// Forms that the one with the smallest error, the first, is not better than beyond doubt.
fn tied(scores: &[Score]) -> Vec<Form> {
    let tied = scores.iter().filter(|score| !score.is_worse_than(&scores[0]));
    tied.map(|score| score.form).collect()
}

/// One of tied forms, the smallest error first; none of none.
fn among(tied: &[Form], clusters_of_a_quota: bool) -> Option<(Form, Reason)> {
    if let &[only] = tied {
        return Some((only, Reason::Error));
    }
    if clusters_of_a_quota && tied.contains(&Form::Throttled) {
        return Some((Form::Throttled, Reason::Clusters));
    }
    let fewest = tied.iter().map(|form| form.coefficients()).min()?;
    let mut simplest = tied.iter().filter(|form| form.coefficients() == fewest);
    let first = *simplest.next()?;
    let reason = match simplest.next() {
        None => Reason::Simplest,
        Some(_) => Reason::LeastOfEqual,
    };
    Some((first, reason))
}

/// Whether any point comes in the two clusters that a quota makes.
pub(super) fn has_clusters_of_a_quota<'a>(points: impl IntoIterator<Item = &'a Point>) -> bool {
    points.into_iter().any(|point| {
        let summary = point.summary;
        let clusters = summary.clusters;
        clusters.is_some_and(|clusters| throttled::explains(&clusters, summary.count))
    })
}

/// All but the first and the last.
fn between(all: &[f64]) -> impl Iterator<Item = f64> {
    let end = all.len().saturating_sub(1).max(1).min(all.len());
    all.get(1..end).unwrap_or_default().iter().copied()
}

/// The relative error at each observation between the first and the last, in the order of limits, by the others.
fn left_out(form: Form, means: &Means) -> Vec<f64> {
    (1..means.observations.len().saturating_sub(1))
        .map(|index| {
            let mut others = means.observations.clone();
            let (vcpu, seconds) = others.remove(index);
            form.through(&others, means.after_idle)
                .map_or(f64::INFINITY, |curve| (curve.mean(vcpu) / seconds - 1.0).abs())
        })
        .collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few points")]
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

#[expect(clippy::cast_precision_loss, reason = "a few points")]
fn count(values: &[f64]) -> f64 {
    values.len() as f64
}

#[cfg(test)]
mod tests;
