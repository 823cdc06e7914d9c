//! MBS+ (INFOCOM 2021), merged as the HarmonyBatch paper extends it to several applications.
//!
//! For every number of groups, the applications in order of SLO are cut where the same part of the total rate is reached, through
//! the middle of an application where need be; every group gets its cheapest function, and the number whose groups are cheapest in
//! total wins. The original looks for the function by Bayesian optimisation; here it gets the best one there is.

use crate::arrival::Load;
use crate::provision::{Choice, Provisioner};

/// The most numbers of groups that are tried: evenly spread, where there are more applications.
const NUMBERS_TRIED: usize = 100;

/// Parts of an application below this part of a group's rate are rounding.
const NOTHING: f64 = 1e-9;

/// Groups and their functions.
pub(super) type Groups = Vec<(Vec<Load>, Choice)>;

/// The groups and their functions, for loads that are sorted by SLO and feasible one by one.
pub(super) fn groups(provisioner: &impl Provisioner, loads: &[Load]) -> Groups {
    let step = loads.len().div_ceil(NUMBERS_TRIED).max(1);
    let cost = |groups: &[(Vec<Load>, Choice)]| groups.iter().map(|(_, choice)| choice.cost_per_second).sum();
    let mut best: Option<(f64, Groups)> = None;
    for number in (1..=loads.len()).step_by(step) {
        let found: Option<Groups> = equal_parts(loads, number)
            .into_iter()
            .map(|group| provisioner.choose(&group).map(|choice| (group, choice)))
            .collect();
        let Some(found) = found else { continue };
        let total: f64 = cost(&found);
        if best.as_ref().is_none_or(|(least, _)| total < *least) {
            best = Some((total, found));
        }
    }
    best.map(|(_, groups)| groups).unwrap_or_default()
}

/// Cuts the loads into groups of equal rate.
fn equal_parts(loads: &[Load], number: usize) -> Vec<Vec<Load>> {
    let total: f64 = loads.iter().map(|load| load.rate).sum();
    let each = total / f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let mut groups = vec![Vec::new()];
    let mut room = each;
    for load in loads {
        let mut rest = load.rate;
        while groups.len() < number && rest >= room {
            if room > each * NOTHING {
                groups.last_mut().into_iter().for_each(|group: &mut Vec<Load>| {
                    group.push(Load { rate: room, ..*load });
                });
            }
            rest -= room;
            room = each;
            groups.push(Vec::new());
        }
        if rest > each * NOTHING {
            groups.last_mut().into_iter().for_each(|group| {
                group.push(Load { rate: rest, ..*load });
            });
            room -= rest;
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(slo: f64, rate: f64) -> Load {
        Load {
            slo,
            rate,
            miss: 0.01,
            process: crate::arrival::Process::Poisson,
        }
    }

    #[test]
    fn an_application_is_cut_where_half_of_the_rate_is_reached() {
        let parts = equal_parts(&[load(0.5, 1.0), load(0.8, 4.0), load(1.0, 3.0)], 2);
        assert_eq!(
            parts,
            [
                vec![load(0.5, 1.0), load(0.8, 3.0)],
                vec![load(0.8, 1.0), load(1.0, 3.0)]
            ]
        );
    }

    #[test]
    fn no_request_is_lost_in_any_number_of_parts() {
        let loads: Vec<Load> = (1..20_u32)
            .map(|index| load(f64::from(index) * 0.1, 1.0 / f64::from(index)))
            .collect();
        let total: f64 = loads.iter().map(|load| load.rate).sum();
        for number in 1..40 {
            let parts = equal_parts(&loads, number);
            let sum: f64 = parts.iter().flatten().map(|load| load.rate).sum();
            assert!(
                (sum / total - 1.0).abs() < 1e-9,
                "{number} parts hold {sum} of {total}"
            );
            assert!(parts.len() == number, "{} of {number}", parts.len());
        }
    }
}
