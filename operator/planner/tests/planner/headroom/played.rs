//! Plans with a headroom, played: what is promised and what is predicted.

use harmonybatch_planner::{GroupSimulation, Simulation, simulate_plan};

use super::*;
use crate::holdout::{play, poisson};

fn simulated(asked: &PlanRequest, plan: &Plan, requests: u64) -> Vec<GroupSimulation> {
    let simulation = Simulation { requests, seed: 77 };
    let seen = simulate_plan(&asked.platform, &asked.models[0], plan, simulation);
    seen.into_iter().map(Option::unwrap).collect()
}

/// Requests of which an application's share says something.
fn tells(app: &AppSimulation) -> bool {
    app.requests >= 5_000
}

/// Fresh requests on the slower profile, through the planner's simulation with the plan's own waits and through one that shares no code with it.
#[test]
fn every_promise_is_kept_where_batches_take_longer_by_the_headroom() {
    const SHORT: f64 = 0.003;
    let mut random = Random::seeded(0x6b65_7074);
    let (mut apps, mut below) = (0, 0);
    for (model, asked) in sets(10, 0x736c_6f77, Billing::PerReplica) {
        for headroom in [0.1, 0.25] {
            let found = plan(&leaving(&asked, headroom)).remove(0);
            let slow = slower(&asked, 1.0 + headroom);
            let seen = simulated(&slow, &found, 150_000);
            for (group, seen) in found.groups.iter().zip(&seen) {
                assert!(group.verified, "{group:#?}");
                for (member, app) in group.members.iter().zip(&seen.apps) {
                    let short = member.percentile.fraction() - app.attainment;
                    assert!(
                        short < SHORT || !tells(app),
                        "{headroom}: {short} short {app:#?} {group:#?}"
                    );
                    apps += 1;
                    below += u32::from(short > 0.0 && tells(app));
                }
                let (Some(model), Device::Cpu { .. }) = (model, &group.device) else {
                    continue;
                };
                let times = 1.0 + headroom;
                let scaled = |curves: [[f64; 3]; 4]| curves.map(|[a, b, c]| [times * a, b, times * c]);
                let model = Coefficients {
                    cpu_mean: scaled(model.cpu_mean),
                    cpu_max: scaled(model.cpu_max),
                    ..*model
                };
                let arrivals = poisson(group, 60_000, &mut random);
                let counts = play(&model, group, &arrivals, &mut random);
                for ((served, late), member) in counts.into_iter().zip(&group.members) {
                    let attained = 1.0 - f64::from(late) / f64::from(served.max(1));
                    assert!(
                        served < 5_000 || member.percentile.fraction() - attained < SHORT,
                        "{attained} {group:#?}"
                    );
                }
            }
        }
    }
    assert!(apps > 30 && below <= 2, "{below} of {apps} below");
}

/// What a plan predicts is what the profile as it is does on its configuration: played anew, with other requests.
#[test]
fn predictions_are_those_of_the_profile_as_it_is() {
    let off = |found: f64, expected: f64| (found / expected - 1.0).abs();
    let mut compared = 0;
    for (_, asked) in sets(10, 0x7072_6564, Billing::PerReplica) {
        for headroom in [0.1, 0.25] {
            let found = plan(&leaving(&asked, headroom)).remove(0);
            let seen = simulated(&asked, &found, 400_000);
            for (group, seen) in found.groups.iter().zip(&seen) {
                let set = &asked.models[0];
                let said = profiled(&asked.platform, set.profile(), &group.device).unwrap();
                let said = said[group.batch_size.get() as usize - 1];
                let predicted = &group.predicted;
                assert!(off(predicted.mean_service.get(), said.mean()) < 1e-12);
                assert!(off(predicted.max_service.get(), said.max()) < 1e-12);
                // Rare members occur more often in a run that gives a verdict, which the group's figures know.
                if !seen.apps.iter().all(tells) {
                    continue;
                }
                assert!(
                    off(predicted.utilization, seen.utilization) < 0.02,
                    "{} {group:#?}",
                    seen.utilization
                );
                assert!(off(predicted.mean_batch, seen.mean_batch()) < 0.02);
                for (member, app) in group.members.iter().zip(&seen.apps) {
                    let says = member.simulated.unwrap();
                    assert!(off(says.mean.get(), app.mean.get()) < 0.05, "{app:#?} {group:#?}");
                    assert!((says.attainment - app.attainment).abs() < 0.003);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 20, "{compared}");
}
