//! Costs that are wrong, and figures that are none.

use super::*;

#[test]
fn costs_that_are_wrong_or_do_not_add_up_are_found() {
    expect(
        &BILLINGS,
        &[
            (
                "a member pays double",
                |plan| first(plan).cost_per_second *= 2.0,
                breach!(Breach::DoesNotAddUp {
                    parts: "the members' costs",
                    ..
                }),
            ),
            (
                "the plan costs double",
                |plan| on_gpu(plan).cost_per_second *= 2.0,
                breach!(Breach::DoesNotAddUp {
                    parts: "the groups' costs",
                    ..
                }),
            ),
            (
                "a request of the group costs double",
                |plan| shared(plan).predicted.cost_per_request *= 2.0,
                breach!(Breach::Miscalculated {
                    figure: "cost per request",
                    ..
                }),
            ),
            (
                "a request of a member costs double",
                |plan| first(plan).cost_per_request *= 2.0,
                breach!(Breach::Miscalculated {
                    figure: "cost per request",
                    ..
                }),
            ),
            (
                "one member pays for another",
                |plan| {
                    let alone = first(plan).explanation.alone.cost_per_second;
                    let member = first(plan);
                    let more = alone * 1.001 - member.cost_per_second;
                    member.cost_per_second += more;
                    member.cost_per_request = member.cost_per_second / member.rate.get();
                    let other = &mut shared(plan).members[1];
                    other.cost_per_second -= more;
                    other.cost_per_request = other.cost_per_second / other.rate.get();
                },
                breach!(Breach::DearerThanAlone { .. } | Breach::OutOfBounds { .. }),
            ),
            (
                "everything costs double",
                |plan| scale_costs(plan, 2.0),
                breach!(
                    Breach::Miscalculated {
                        figure: "cost per second",
                        ..
                    } | Breach::OutOfBounds {
                        figure: "cost per second",
                        ..
                    }
                ),
            ),
            (
                "everything costs a millionth more",
                |plan| scale_costs(plan, 1.000_001),
                breach!(Breach::Miscalculated {
                    figure: "cost per second",
                    ..
                }),
            ),
        ],
    );
    expect(
        &[Billing::PerInvocation],
        &[
            (
                "a larger mean batch",
                |plan| {
                    let group = shared(plan);
                    group.predicted.mean_batch *= 1.001;
                    group.predicted.utilization /= 1.001;
                },
                breach!(Breach::Miscalculated {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "another utilization",
                |plan| shared(plan).predicted.utilization *= 0.9,
                breach!(Breach::Miscalculated {
                    figure: "utilization",
                    ..
                }),
            ),
        ],
    );
}

#[test]
fn what_is_no_number_is_found() {
    expect(
        &BILLINGS,
        &[
            (
                "NaN for the group's cost",
                |plan| shared(plan).predicted.cost_per_second = f64::NAN,
                breach!(Breach::OutOfBounds { figure: "cost per second", found, .. } if found.is_nan()),
            ),
            (
                "infinity for a member's cost",
                |plan| first(plan).cost_per_second = f64::INFINITY,
                breach!(Breach::OutOfBounds {
                    figure: "cost per second",
                    ..
                }),
            ),
            (
                "a negative cost of a request",
                |plan| first(plan).cost_per_request = -1e-9,
                breach!(Breach::OutOfBounds {
                    figure: "cost per request",
                    ..
                }),
            ),
            (
                "NaN for the plan's cost",
                |plan| on_gpu(plan).cost_per_second = f64::NAN,
                breach!(Breach::DoesNotAddUp { .. }),
            ),
            (
                "more than all the time",
                |plan| shared(plan).predicted.utilization = 1.01,
                breach!(Breach::OutOfBounds {
                    figure: "utilization",
                    ..
                }),
            ),
            (
                "batches of less than a row",
                |plan| shared(plan).predicted.mean_batch = 0.9,
                breach!(Breach::OutOfBounds {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "batches above their size",
                |plan| shared(plan).predicted.mean_batch = 65.0,
                breach!(Breach::OutOfBounds {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "a saving above everything",
                |plan| first(plan).explanation.saving = 1.5,
                breach!(Breach::OutOfBounds { figure: "saving", .. }),
            ),
            (
                "NaN for a cost alone",
                |plan| first(plan).explanation.alone.cost_per_second = f64::NAN,
                breach!(Breach::OutOfBounds {
                    figure: "cost alone",
                    ..
                }),
            ),
        ],
    );
}
