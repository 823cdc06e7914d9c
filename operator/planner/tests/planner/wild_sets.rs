//! Sets that nobody would ask for: whatever is asked, there is a plan in time, and it breaks no promise.

use std::time::{Duration, Instant};

use crate::random::Random;
use crate::wild;

/// How long one set may take, on a machine with other work to do. Only simulations take more than a moment.
const MOST: Duration = Duration::from_mins(10);

/// Bytes of one set.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and not negative"
)]
fn bytes(set: u64) -> Vec<u8> {
    let mut random = Random::seeded(set.wrapping_mul(0x9e37_79b9) ^ 0x5749_4c44);
    let length = (random.unit() * 600.0) as usize;
    (0..length).map(|_| (random.unit() * 256.0) as u8).collect()
}

fn numbered(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().unwrap())
}

/// Plans and audits; says what went wrong.
fn failure(bytes: &[u8]) -> Option<String> {
    let begun = Instant::now();
    let found = std::panic::catch_unwind(|| wild::plan_and_audit(bytes));
    match found {
        Err(_) => Some(format!("the planner panics\n{:#?}", wild::request(bytes))),
        Ok(Err(violation)) => Some(violation),
        Ok(Ok(())) if begun.elapsed() > MOST => Some(format!("it takes {:?}", begun.elapsed())),
        Ok(Ok(())) => None,
    }
}

/// `HARMONYBATCH_SETS=100000 cargo test --release -p harmonybatch-planner --test planner wild_sets -- --nocapture`; with
/// `HARMONYBATCH_FIRST_SET` from another set on.
#[test]
#[expect(clippy::print_stderr, reason = "figures for who runs many")]
fn every_set_gets_a_plan_that_keeps_its_promises_in_time() {
    let first = numbered("HARMONYBATCH_FIRST_SET", 0);
    let sets = numbered("HARMONYBATCH_SETS", 100);
    let begun = Instant::now();
    let mut failures = 0;
    let mut longest = (Duration::ZERO, first);
    for set in first..first + sets {
        let now = Instant::now();
        if let Some(failure) = failure(&bytes(set)) {
            failures += 1;
            eprintln!("set {set}: {failure}");
        }
        longest = longest.max((now.elapsed(), set));
        if (set + 1) % 1000 == 0 {
            eprintln!("up to {set}: {:?}, {failures} fail", begun.elapsed());
        }
    }
    let (time, set) = longest;
    eprintln!(
        "{sets} sets in {:?}; set {set} took longest, {time:?}",
        begun.elapsed()
    );
    assert_eq!(failures, 0, "of {sets} sets");
}

/// What the fuzz target has found worth keeping, through the same function, so that neither rots.
#[test]
fn the_corpus_of_the_fuzz_target_keeps_its_promises() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/plan");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    assert!(!files.is_empty());
    for file in files {
        if let Some(failure) = failure(&std::fs::read(file.path()).unwrap()) {
            panic!("{}: {failure}", file.path().display());
        }
    }
}
