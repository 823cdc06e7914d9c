//! Which old groups became which new ones.

use std::collections::BTreeSet;

use super::GroupOutline;

/// What became of the groups of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupChangeKind {
    /// A new group of applications that were in none.
    Added,
    /// An old group whose applications are in none now.
    Removed,
    /// The applications of one old group are in several new ones.
    Split,
    /// The applications of several old groups are in one new one.
    Merged,
    /// Applications changed between several old and several new groups.
    Moved,
    /// The same applications, but for new and gone ones, on another device, size, batch size, number of replicas or dispatch.
    Resized,
    /// The same function with applications that are new or gone.
    Members,
}

/// An application that went from one group to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The application.
    pub app: String,
    /// Name of the old group.
    pub from: String,
    /// Name of the new group.
    pub to: String,
}

/// Old and new groups that share members, directly or through others.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupChange {
    /// What became of them.
    pub kind: GroupChangeKind,
    /// The old groups.
    pub old: Vec<GroupOutline>,
    /// The new groups.
    pub new: Vec<GroupOutline>,
    /// Applications that did not stay in the new group that kept most of their old one.
    pub moved: Vec<Move>,
    /// Applications that no old group had.
    pub joined: Vec<String>,
    /// Applications that no new group has.
    pub left: Vec<String>,
}

impl GroupChange {
    /// How much dearer the new groups are than the old ones, per second.
    pub fn difference_per_second(&self) -> f64 {
        let sum = |groups: &[GroupOutline]| -> f64 { groups.iter().map(|group| group.cost_per_second).sum() };
        sum(&self.new) - sum(&self.old)
    }
}

impl GroupOutline {
    pub(super) fn apps(&self) -> BTreeSet<&str> {
        self.members.iter().map(|member| member.app.as_str()).collect()
    }

    /// How many applications both groups have.
    pub(super) fn overlap(&self, other: &Self) -> usize {
        self.apps().intersection(&other.apps()).count()
    }

    /// Whether a replica of the one serves for the other: it knows its device, size and batch size.
    pub(super) fn same_pods(&self, other: &Self) -> bool {
        self.device == other.device && self.batch_size == other.batch_size
    }

    fn same_function(&self, other: &Self) -> bool {
        self.same_pods(other) && self.replicas == other.replicas && self.dispatch == other.dispatch
    }
}

/// Pairs of an old and a new group, each in one pair at most: those that share most first; of equal ones those whose
/// pods can stay, then in order.
pub(super) fn heirs(
    old: &[GroupOutline],
    new: &[GroupOutline],
    fits: impl Fn(&GroupOutline, &GroupOutline) -> bool,
) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, bool, usize, usize)> = Vec::new();
    for (from, before) in old.iter().enumerate() {
        for (to, after) in new.iter().enumerate() {
            if fits(before, after) {
                pairs.push((before.overlap(after), before.same_pods(after), from, to));
            }
        }
    }
    pairs.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then((a.2, a.3).cmp(&(b.2, b.3))));
    let (mut from_taken, mut to_taken) = (BTreeSet::new(), BTreeSet::new());
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (_, _, from, to) in pairs {
        if !from_taken.contains(&from) && !to_taken.contains(&to) {
            from_taken.insert(from);
            to_taken.insert(to);
            found.push((from, to));
        }
    }
    found
}

/// All changes: those with old groups in the order of the old plan, then the groups that are new.
pub(super) fn changes(old: &[GroupOutline], new: &[GroupOutline]) -> Vec<GroupChange> {
    let mut seen_new: BTreeSet<usize> = BTreeSet::new();
    let mut seen_old: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    for start in 0..old.len() {
        if seen_old.contains(&start) {
            continue;
        }
        let (from, to) = connected(old, new, start);
        seen_old.extend(&from);
        seen_new.extend(&to);
        found.extend(change(&pick(old, &from), &pick(new, &to)));
    }
    let fresh = (0..new.len()).filter(|index| !seen_new.contains(index));
    found.extend(fresh.filter_map(|index| change(&[], &pick(new, &BTreeSet::from([index])))));
    found
}

fn pick(groups: &[GroupOutline], indices: &BTreeSet<usize>) -> Vec<GroupOutline> {
    indices.iter().map(|&index| groups[index].clone()).collect()
}

/// The old and new groups that are reached from one old group over shared members.
fn connected(old: &[GroupOutline], new: &[GroupOutline], start: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut from, mut to) = (BTreeSet::from([start]), BTreeSet::new());
    loop {
        let size = from.len() + to.len();
        to.extend((0..new.len()).filter(|&to| from.iter().any(|&from| old[from].overlap(&new[to]) > 0)));
        from.extend((0..old.len()).filter(|&from| to.iter().any(|&to| old[from].overlap(&new[to]) > 0)));
        if from.len() + to.len() == size {
            return (from, to);
        }
    }
}

/// The change between groups that share members, if they differ.
fn change(old: &[GroupOutline], new: &[GroupOutline]) -> Option<GroupChange> {
    let apps = |groups: &[GroupOutline]| -> BTreeSet<String> {
        let members = groups.iter().flat_map(|group| &group.members);
        members.map(|member| member.app.clone()).collect()
    };
    let (before, after) = (apps(old), apps(new));
    let kind = match (old, new) {
        ([], _) => GroupChangeKind::Added,
        (_, []) => GroupChangeKind::Removed,
        ([old], [new]) if !old.same_function(new) => GroupChangeKind::Resized,
        ([_], [_]) if before == after => return None,
        ([_], [_]) => GroupChangeKind::Members,
        ([_], _) => GroupChangeKind::Split,
        (_, [_]) => GroupChangeKind::Merged,
        _ => GroupChangeKind::Moved,
    };
    let heirs = heirs(old, new, |old, new| old.overlap(new) > 0);
    let moved = old
        .iter()
        .enumerate()
        .flat_map(|(from, before)| {
            new.iter()
                .enumerate()
                .map(move |(to, after)| (from, before, to, after))
        })
        .filter(|(from, _, to, _)| !heirs.contains(&(*from, *to)))
        .flat_map(|(_, before, _, after)| {
            let theirs = after.apps();
            let members = before.members.iter();
            members
                .filter(move |member| theirs.contains(member.app.as_str()))
                .map(|member| Move {
                    app: member.app.clone(),
                    from: before.name.clone(),
                    to: after.name.clone(),
                })
        })
        .collect();
    Some(GroupChange {
        kind,
        moved,
        joined: after.difference(&before).cloned().collect(),
        left: before.difference(&after).cloned().collect(),
        old: old.to_vec(),
        new: new.to_vec(),
    })
}
