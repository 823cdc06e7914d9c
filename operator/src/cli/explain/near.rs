//! What somebody may have meant.

/// The most names that a hint lists.
const LISTED: usize = 5;

/// `: did you mean search or searcher?`, or which names there are.
pub(super) fn hint(wanted: &str, known: &[&str]) -> String {
    // A third of the letters may be wrong, but two always.
    let limit = (wanted.chars().count() / 3).max(2);
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .map(|&name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|&(distance, name)| distance <= limit || name.contains(wanted) || wanted.contains(name))
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(LISTED);
    if !near.is_empty() {
        let names: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
        return format!(": did you mean {}?", names.join(" or "));
    }
    let mut all = known.to_vec();
    all.sort_unstable();
    all.dedup();
    match all.len().checked_sub(LISTED) {
        _ if all.is_empty() => ": there is none at all".to_owned(),
        None | Some(0) => format!(": there is {}", all.join(", ")),
        Some(more) => format!(": there is {} and {more} more", all[..LISTED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn near_names_come_nearest_first_and_else_what_there_is() {
        let known = ["search", "cart", "feed", "research"];
        assert_eq!(hint("serach", &known), ": did you mean search?");
        assert_eq!(hint("searc", &known), ": did you mean search or research?");
        assert_eq!(hint("zzzzzz", &known), ": there is cart, feed, research, search");
        let many = ["a1", "b2", "c3", "d4", "e5", "f6", "g7"];
        assert_eq!(hint("zzzzzz", &many), ": there is a1, b2, c3, d4, e5 and 2 more");
        assert_eq!(hint("search", &[]), ": there is none at all");
    }
}
