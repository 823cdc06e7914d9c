//! How far runtimes are from their profiles, as the observer says it or as it was written before: what plans correct by, and what users are told.

use std::collections::BTreeMap;

use harmonybatch_api::InferenceModel;
use harmonybatch_api::conditions::{Observation, PROFILE_DRIFT, Status, reason};
use harmonybatch_api::inference_model::{Correcting, ProfileDrift};
use harmonybatch_planner::{Correction, Corrections};

use super::validate::{Key, key};

/// The kind of device that is a CPU limit, of any size.
pub(crate) const CPU: &str = "cpu";
/// How many times longer or shorter than the profile says batches take where its figures should be had anew.
const FAR: f64 = 1.2;

/// What is known of the batches of one kind of device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drift {
    /// [`CPU`], or a kind of GPU.
    pub(crate) device: String,
    /// What plans correct by, where they do.
    pub(crate) correction: Correction,
    /// How many times the profile's mean latency batches took when something was last said of it, in hundredths.
    pub(crate) measured: f64,
    /// Batches that this was said of.
    pub(crate) batches: u64,
    /// The image and profile that it holds for, by [`basis`].
    pub(crate) basis: String,
}

/// Which image and profile measurements of a model hold for. Of two that differ, one in 2^64 is mistaken for the other.
pub(crate) fn basis(model: &InferenceModel) -> String {
    let written = serde_json::to_string(&(&model.spec.runtime.image, model.profile_in_force()));
    // FNV-1a: it is written into a status, and must be the same in the next version.
    let hash = written
        .unwrap_or_default()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// What a model's status says: a new controller goes on with it.
pub(crate) fn known_before(model: &InferenceModel) -> Vec<Drift> {
    let status = model.status.iter().flat_map(|status| &status.profile_drift);
    let mut status = status.peekable();
    // Most models are idle and never were off, and cost nothing.
    if status.peek().is_none() {
        return Vec::new();
    }
    let basis = basis(model);
    status
        .filter_map(|written| {
            Some(Drift {
                device: written.device.clone(),
                correction: Correction::new(written.mean.parse().ok()?, written.max.parse().ok()?),
                measured: written.measured.parse().ok()?,
                batches: u64::try_from(written.batches).ok()?,
                basis: written.profile.clone(),
            })
        })
        .filter(|drift| drift.basis == basis)
        .collect()
}

/// What is known of every model's batches: what the observer says goes before what was written. Nothing of another profile.
pub(super) fn drifts(
    models: &[InferenceModel],
    told: &BTreeMap<Key, Vec<Drift>>,
) -> BTreeMap<Key, Vec<Drift>> {
    let of = |model: &InferenceModel| match told.get(&key(model)) {
        None => known_before(model),
        Some(told) => {
            let basis = basis(model);
            let told = told.iter().filter(|drift| drift.basis == basis);
            told.cloned().collect::<Vec<Drift>>()
        }
    };
    models
        .iter()
        .map(|model| (key(model), of(model)))
        .filter(|(_, drifts)| !drifts.is_empty())
        .collect()
}

/// By what plans take a model's latencies.
pub(super) fn corrections(drifts: &[Drift]) -> Corrections {
    let mut corrections = Corrections::default();
    for drift in drifts {
        if drift.device == CPU {
            corrections.cpu = drift.correction;
        } else {
            corrections.gpu.insert(drift.device.clone(), drift.correction);
        }
    }
    corrections
}

/// The condition of a model whose batches are known so.
pub(super) fn condition(model: &InferenceModel, drifts: &[Drift]) -> Observation {
    if drifts.is_empty() {
        let message = "too few batches have been answered lately to hold the profile against them";
        return Observation::new(PROFILE_DRIFT, Status::Unknown, reason::TOO_FEW_BATCHES, message);
    }
    let followed = model.spec.profile.correction == Correcting::Auto;
    let told: Vec<String> = drifts.iter().map(|drift| told(drift, followed)).collect();
    let told = told.join("; ");
    let slower = |drift: &Drift| drift.measured > FAR || drift.correction.max() > FAR;
    let (drifted, why) = if drifts.iter().any(slower) {
        (true, reason::SLOWER)
    } else if drifts.iter().any(|drift| drift.measured < 1.0 / FAR) {
        (true, reason::FASTER)
    } else {
        (false, reason::OK)
    };
    let remedy = match (drifted, followed) {
        (false, _) => "",
        (true, true) => "; measure the profile again",
        (true, false) => "; measure the profile again, or let profile.correction be Auto",
    };
    Observation::new(PROFILE_DRIFT, drifted, why, format!("{told}{remedy}"))
}

fn told(drift: &Drift, followed: bool) -> String {
    let Drift {
        device,
        correction,
        measured,
        batches,
        ..
    } = drift;
    let seen =
        format!("on {device}, batches take {measured:.2} times what the profile says ({batches} batches)");
    match (followed, correction.is_none()) {
        (true, true) => format!("{seen}, which plans follow as it is"),
        (true, false) => format!(
            "{seen}, and plans take its mean times {:.2} and its maximum times {:.2}",
            correction.mean(),
            correction.max()
        ),
        (false, _) => format!("{seen}, which plans follow as profile.correction is Never"),
    }
}

/// As the status has it.
pub(super) fn written(drifts: &[Drift]) -> Vec<ProfileDrift> {
    let drifts = drifts.iter();
    drifts
        .map(|drift| ProfileDrift {
            device: drift.device.clone(),
            measured: format!("{:.2}", drift.measured),
            batches: i64::try_from(drift.batches).unwrap_or(i64::MAX),
            mean: format!("{:.3}", drift.correction.mean()),
            max: format!("{:.3}", drift.correction.max()),
            profile: drift.basis.clone(),
        })
        .collect()
}

#[cfg(test)]
mod closed_loop;
#[cfg(test)]
mod tests;
