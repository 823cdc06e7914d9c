//! Which planned group is which existing one. A name stands for one image, device, size and batch size; a planned group takes
//! over an existing one that has the same of all four, so that its pods stay.

use std::collections::BTreeSet;

use harmonybatch_api::{Device, InferenceGroup, names};
use kube::ResourceExt;

/// What a group's name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Image of the runtime.
    pub image: String,
    /// Device and size of a replica.
    pub device: Device,
    /// Rows in a full batch.
    pub batch_size: i32,
    /// Names of the members.
    pub members: BTreeSet<String>,
}

impl Identity {
    fn of(group: &InferenceGroup) -> Self {
        Self {
            image: group.spec.image.clone(),
            device: group.spec.device.clone(),
            batch_size: group.spec.batch_size,
            members: group
                .spec
                .members
                .iter()
                .map(|member| member.app.clone())
                .collect(),
        }
    }

    fn fits(&self, other: &Self) -> bool {
        self.image == other.image && self.device == other.device && self.batch_size == other.batch_size
    }

    fn overlap(&self, other: &Self) -> usize {
        self.members.intersection(&other.members).count()
    }
}

/// Names the planned groups of one model. `existing` are all groups of that model; the greatest overlap of members has the first
/// choice, then the higher plan generation, then the name.
pub fn name(model: &str, planned: &[Identity], existing: &[&InferenceGroup]) -> Vec<String> {
    let old: Vec<Identity> = existing.iter().map(|group| Identity::of(group)).collect();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (new, planned) in planned.iter().enumerate() {
        pairs.extend(
            (0..old.len())
                .filter(|&index| planned.fits(&old[index]))
                .map(|index| (new, index)),
        );
    }
    pairs.sort_by_cached_key(|&(new, index)| {
        let group = existing[index];
        let overlap = planned[new].overlap(&old[index]);
        (
            std::cmp::Reverse((overlap, group.spec.plan_generation)),
            group.name_any(),
            new,
        )
    });
    let mut named: Vec<Option<String>> = vec![None; planned.len()];
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (new, index) in pairs {
        let name = existing[index].name_any();
        if named[new].is_none() && !used.contains(&name) {
            used.insert(name.clone());
            named[new] = Some(name);
        }
    }
    used.extend(existing.iter().map(|group| group.name_any()));
    let taken: Vec<String> = used.iter().cloned().collect();
    let fresh = |planned: &Identity, used: &mut BTreeSet<String>| {
        let members: Vec<&str> = planned.members.iter().map(String::as_str).collect();
        let mut seed = format!(
            "{} {} {} {} {}",
            planned.image,
            planned.device,
            planned.batch_size,
            members.join(","),
            taken.join(",")
        );
        loop {
            let name = names::group_name(model, &seed);
            if used.insert(name.clone()) {
                return name;
            }
            seed.push('+');
        }
    };
    named
        .into_iter()
        .zip(planned)
        .map(|(name, planned)| name.unwrap_or_else(|| fresh(planned, &mut used)))
        .collect()
}

#[cfg(test)]
mod tests;
