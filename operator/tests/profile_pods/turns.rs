//! Limits that take turns in one pod, and what is done where they cannot.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cluster::{Cluster, Resizes, State};
use crate::measured::{EFFORT, PATIENCE, at, law};
use crate::told;

/// Batches take so many times as long as the law says, beside which a busy machine's lateness is little.
const SLOWER: u32 = 3;
/// 17 batches of a size in so little time that every limit but the largest needs several turns, of 1.1 s each: they take 2.6, 2.0, 1.4 and 1.1 s.
const SHORT: [&str; 6] = [
    "--cpu",
    "2,0.25,500m,1",
    "--apply",
    "--budget",
    "4400ms",
    "--resume",
];
/// What a busy machine may bring about.
pub(crate) const ACCEPTED: [&str; 6] = [
    "--accept",
    "noisy",
    "--accept",
    "throttled",
    "--accept",
    "non-monotone",
];

fn spawn(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .current_dir(folder)
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env_remove("KUBERNETES_SERVICE_HOST")
        .args(["profile", "--model", "net", "--reach", "address"])
        .args(EFFORT)
        .args(ACCEPTED)
        .args(SHORT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn start(folder: &Path, resizes: Resizes) -> Cluster {
    let cluster = Cluster::start(folder);
    let mut state = cluster.state.lock().unwrap();
    (state.resizes, state.slower) = (resizes, SLOWER);
    drop(state);
    cluster
}

/// Seconds of a batch.
fn truth(vcpu: f64, rows: u64) -> f64 {
    f64::from(SLOWER) * law(vcpu, rows)
}

/// Measures on a cluster that resizes so, and gives what was told.
fn measured(resizes: Resizes) -> (Cluster, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let cluster = start(folder.path(), resizes);
    let (code, said) = told(spawn(folder.path()).wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    (cluster, said, folder)
}

/// Every limit's means are the law's: nothing was measured under another limit than it was taken for.
fn check_profile(state: &State) {
    let [patch] = &state.patches[..] else {
        unreachable!("{:?}", state.patches)
    };
    for limit in [0.25, 0.5, 1.0, 2.0] {
        for (index, rows) in [(0, 1), (1, 2)] {
            let mean = at(&patch["spec"]["profile"]["cpu"][index]["mean"], limit).0;
            let truth = truth(limit, rows);
            assert!(
                (0.95 * truth..1.3 * truth + 0.01).contains(&mean),
                "{mean} for {truth} at {limit}"
            );
        }
    }
    assert_eq!((state.most_at_once, state.pods.len()), (1, 0));
}

/// Limits as batches found them, each turn once.
fn turns(asked: &[String]) -> Vec<&str> {
    let mut turns: Vec<&str> = asked.iter().map(String::as_str).collect();
    turns.dedup();
    turns
}

#[test]
fn one_pod_serves_all_limits_in_turns() {
    let (cluster, said, folder) = measured(Resizes::InPlace);
    let state = cluster.state.lock().unwrap();
    check_profile(&state);
    // The first only shows that the runtime heeds its limit while it runs.
    assert_eq!(state.created, ["250m", "2000m"], "{said}");
    let turns = turns(&state.asked);
    // The largest limit's second turn is the second pod's first.
    assert_eq!(turns[..2], ["250m", "2000m"]);
    let of_second = &turns[2..];
    let again = |limit: &&str| of_second.iter().filter(|turn| *turn == limit).count() >= 2;
    // Of the three limits that have two turns or more there, one may end a round and begin the next.
    assert!(
        ["250m", "500m", "1000m"]
            .iter()
            .filter(|limit| again(limit))
            .count()
            >= 2,
        "{turns:?}"
    );
    assert!(!said.contains("a pod of its own"), "{said}");
    // Each file has what was measured under its limit: no batch is faster than its law.
    for (name, limit) in [("250m", 0.25), ("500m", 0.5), ("1", 1.0), ("2", 2.0)] {
        let file = folder.path().join(format!("net-cpu-{name}.samples.jsonl"));
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().skip(1) {
            let sample: Value = serde_json::from_str(line).unwrap();
            let least = truth(limit, sample["batch"].as_u64().unwrap());
            assert!(
                sample["seconds"].as_f64().unwrap() >= least,
                "{sample} under {name}"
            );
        }
    }
}

#[test]
fn a_runtime_that_looks_at_its_limit_only_when_it_starts_has_a_pod_for_each() {
    let (cluster, said, _folder) = measured(Resizes::InVain);
    let state = cluster.state.lock().unwrap();
    check_profile(&state);
    assert!(
        state.created.starts_with(&["250m", "2000m"].map(str::to_owned)),
        "{:?}",
        state.created
    );
    for limit in ["250m", "500m", "1000m", "2000m"] {
        assert!(
            state.created.iter().any(|created| created == limit),
            "{:?}",
            state.created
        );
    }
    assert_eq!(
        state.given,
        ["2000m"],
        "nothing is measured after a change, once it is seen"
    );
    assert!(
        said.contains(
            "times as long in a pod that started under less: the runtime looks at its limit when it starts"
        ),
        "{said}"
    );
}

#[test]
fn where_pods_are_not_resized_it_is_said_once_and_every_limit_has_a_pod() {
    let (cluster, said, _folder) = measured(Resizes::Never);
    let state = cluster.state.lock().unwrap();
    check_profile(&state);
    let mut created = state.created.clone();
    created.sort();
    created.dedup();
    assert_eq!(created.len(), 4, "{:?}", state.created);
    assert_eq!(
        said.matches("every limit has a pod of its own").count(),
        1,
        "{said}"
    );
    assert!(
        said.contains("the API server does not know pods/resize"),
        "{said}"
    );
}

#[test]
fn a_node_that_has_no_room_any_more_ends_the_turns_and_nothing_is_lost() {
    // To the largest in the first pod, and to one in the second.
    let (cluster, said, _folder) = measured(Resizes::Times(2));
    let state = cluster.state.lock().unwrap();
    check_profile(&state);
    assert_eq!(state.given.len(), 3);
    assert!(said.contains("PodResizePending: Infeasible: no room"), "{said}");
    assert!(state.created.len() > 2, "{:?}", state.created);
}

#[test]
fn an_interrupt_between_turns_leaves_no_pod_and_resume_goes_on_with_all_limits() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = start(folder.path(), Resizes::InPlace);
    let child = spawn(folder.path());
    // In the midst of the rounds: the second pod has been given a limit.
    while cluster.state.lock().unwrap().given.len() < 2 {
        cluster.progress.recv_timeout(PATIENCE).unwrap();
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let (code, said) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{said}");
    {
        let state = cluster.state.lock().unwrap();
        assert!(state.pods.is_empty() && state.patches.is_empty());
    }
    let (code, said) = told(spawn(folder.path()).wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    check_profile(&cluster.state.lock().unwrap());
}
