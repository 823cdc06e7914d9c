//! What is written of a drift, read again, and said.

use harmonybatch_api::InferenceModelStatus;

use super::*;
use crate::fixtures;

fn drift(model: &InferenceModel, measured: f64, mean: f64, max: f64) -> Drift {
    Drift {
        device: CPU.to_owned(),
        correction: Correction::new(mean, max),
        measured,
        batches: 340,
        basis: basis(model),
    }
}

fn said(model: &InferenceModel, drifts: &[Drift]) -> (Status, String, String) {
    let found = condition(model, drifts);
    (found.status, found.reason, found.message)
}

#[test]
fn what_a_controller_wrote_the_next_one_goes_on_with() {
    let mut model = fixtures::model();
    let before = vec![drift(&model, 1.94, 2.053, 2.11)];
    model.status = Some(InferenceModelStatus {
        profile_drift: written(&before),
        ..InferenceModelStatus::default()
    });
    assert_eq!(known_before(&model), before);
    let models = [model.clone()];
    assert_eq!(drifts(&models, &BTreeMap::new())[&key(&model)], before);
    assert_eq!(corrections(&before).cpu, Correction::new(2.053, 2.11));
    // What the observer says goes before it.
    let now = vec![drift(&model, 1.5, 1.6, 1.6)];
    let told = BTreeMap::from([(key(&model), now.clone())]);
    assert_eq!(drifts(&models, &told)[&key(&model)], now);
    // Another profile or image is another matter.
    let mut changed = model.clone();
    changed.spec.runtime.image = "example.org/runtime:2".to_owned();
    assert_eq!(drifts(&[changed], &told), BTreeMap::new());
    let mut changed = model.clone();
    changed.spec.profile.cpu.truncate(1);
    assert_eq!(known_before(&changed), []);
    // Whether it is followed changes nothing of what was measured.
    model.spec.profile.correction = Correcting::Never;
    assert_eq!(known_before(&model), before);
}

#[test]
fn the_condition_says_by_how_much() {
    let mut model = fixtures::model();
    let (status, reason, _) = said(&model, &[]);
    assert_eq!((status, reason.as_str()), (Status::Unknown, "TooFewBatches"));
    assert_eq!(
        said(&model, &[drift(&model, 1.94, 2.053, 2.11)]),
        (
            Status::True,
            "Slower".to_owned(),
            "on cpu, batches take 1.94 times what the profile says (340 batches), and plans take its mean times 2.05 and its maximum times 2.11; measure the profile again".to_owned()
        )
    );
    assert_eq!(
        said(&model, &[drift(&model, 1.04, 1.0, 1.0)]),
        (
            Status::False,
            "OK".to_owned(),
            "on cpu, batches take 1.04 times what the profile says (340 batches), which plans follow as it is".to_owned()
        )
    );
    let (status, reason, _) = said(&model, &[drift(&model, 0.5, 0.55, 1.0)]);
    assert_eq!((status, reason.as_str()), (Status::True, "Faster"));
    // A tail counts where the mean is right.
    let (status, reason, _) = said(&model, &[drift(&model, 1.0, 1.0, 1.9)]);
    assert_eq!((status, reason.as_str()), (Status::True, "Slower"));
    model.spec.profile.correction = Correcting::Never;
    let (status, _, message) = said(&model, &[drift(&model, 1.94, 2.053, 2.11)]);
    assert_eq!(status, Status::True);
    assert!(
        message.contains("as profile.correction is Never; measure the profile again, or let"),
        "{message}"
    );
}
