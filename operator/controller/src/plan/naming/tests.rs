//! Names stay with the pods that they stand for.

use super::*;
use crate::fixtures;

fn planned(members: &[&str]) -> Identity {
    Identity::of(&fixtures::group("any", 1, members))
}

fn check(planned: &[Identity], existing: &[InferenceGroup], expected: &[&str]) {
    let existing: Vec<&InferenceGroup> = existing.iter().collect();
    assert_eq!(name("mlp", planned, &existing), expected);
}

#[test]
fn a_group_keeps_its_name_while_its_members_change() {
    check(
        &[planned(&["a", "c"])],
        &[fixtures::group("old", 1, &["a", "b"])],
        &["old"],
    );
}

#[test]
fn the_greatest_overlap_has_the_first_choice() {
    let existing = [
        fixtures::group("one", 1, &["a"]),
        fixtures::group("two", 1, &["b", "c"]),
    ];
    check(
        &[planned(&["b", "c", "d"]), planned(&["a"])],
        &existing,
        &["two", "one"],
    );
    // Even where a group that comes first in the plan would fit.
    check(
        &[planned(&["e"]), planned(&["a", "b", "c"])],
        &existing,
        &["one", "two"],
    );
}

#[test]
fn another_image_device_or_batch_size_is_another_group() {
    let old = fixtures::group("old", 1, &["a"]);
    for change in [
        |new: &mut Identity| new.image = "example.org/runtime:2".to_owned(),
        |new: &mut Identity| new.batch_size = 4,
        |new: &mut Identity| {
            new.device = Device::Cpu(harmonybatch_api::CpuSize {
                limit: "200m".to_owned(),
            });
        },
    ] {
        let mut new = planned(&["a"]);
        change(&mut new);
        let names = name("mlp", &[new], &[&old]);
        assert!(names[0] != "old" && names[0].starts_with("mlp-"), "{names:?}");
    }
}

#[test]
fn fresh_names_are_the_same_every_time_and_never_taken() {
    let twins = [planned(&["a"]), planned(&["a"])];
    let names = name("mlp", &twins, &[]);
    assert_ne!(names[0], names[1]);
    assert_eq!(names, name("mlp", &twins, &[]));
    // A group of that name that runs something else does not lend it.
    let mut taken = fixtures::group(&names[0], 1, &["z"]);
    taken.spec.batch_size = 1;
    assert_ne!(name("mlp", &twins[..1], &[&taken])[0], names[0]);
}
