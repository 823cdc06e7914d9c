//! `harmonybatch profile --cpu` as a user runs it: the real program, a kubeconfig, and one server that is both the cluster's API and the runtime of
//! whatever pod there is ([`cluster`]), whose latency follows a known law of its CPU limit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod grpc;
#[path = "../measured/mod.rs"]
mod measured;
mod turns;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use cluster::Cluster;
use measured::{EFFORT, PATIENCE, at, law};
use serde_json::json;

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .current_dir(folder)
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env_remove("KUBERNETES_SERVICE_HOST")
        .args(["profile", "--model", "net", "--reach", "address"])
        .args(EFFORT)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn profile(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    told(spawn(folder, arguments).wait_with_output().unwrap())
}

fn told(output: Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const LIMITS: &str = "2,0.25,500m,1";

#[test]
fn pods_at_four_limits_are_measured_one_after_the_other_and_the_model_gets_the_profile() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    let (code, told) = profile(
        folder.path(),
        &[
            "--cpu",
            LIMITS,
            "--pods",
            "each",
            "--apply",
            "--output",
            "model.yaml",
        ],
    );
    assert_eq!(code, Some(0), "{told}");
    let state = cluster.state.lock().unwrap();
    // The ends first, the largest before all.
    assert_eq!(state.created, ["2000m", "250m", "1000m", "500m"]);
    assert_eq!((state.most_at_once, state.pods.len()), (1, 0));
    let [patch] = &state.patches[..] else {
        unreachable!("{:?}", state.patches)
    };
    let profile = &patch["spec"]["profile"];
    for limit in [0.25, 0.5, 1.0, 2.0] {
        for (index, rows) in [(0, 1), (1, 2)] {
            let (mean, truth) = (at(&profile["cpu"][index]["mean"], limit).0, law(limit, rows));
            // Wide, because timers are a millisecond late and the machine is shared.
            assert!(
                (0.95 * truth..1.3 * truth + 0.01).contains(&mean),
                "{mean} for {truth} at {limit}"
            );
        }
    }
    let provenance = &profile["provenance"];
    assert_eq!(provenance["imageDigest"], "sha256:ab12");
    assert_eq!(
        (&provenance["hardware"], &provenance["kernel"]),
        (&json!("amd64, 2 cores, node n1"), &json!("6.18.1"))
    );
    assert_eq!(provenance["endpoint"], "pods of InferenceModel shop/net");

    let written = std::fs::read_to_string(folder.path().join("model.yaml")).unwrap();
    let model = harmonybatch_api::yaml::read(Path::new("model.yaml"), &written).unwrap()[0]
        .to_json()
        .unwrap();
    assert_eq!(model["spec"]["profile"]["cpu"], profile["cpu"]);
    assert_eq!(
        model["spec"]["runtime"]["memory"]["base"], "64Mi",
        "the rest is as it was"
    );
}

#[test]
fn a_job_writes_the_status_even_if_the_api_server_is_busy_and_its_pods_go_with_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    cluster.state.lock().unwrap().busy = true;
    let own = [
        "--own-pod",
        "job-abcde",
        "--own-uid",
        "job-uid",
        "--own-node",
        "n1",
    ];
    let arguments = [&["--cpu", LIMITS, "--publish"][..], &own].concat();
    let (code, told) = profile(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{told}");
    let state = cluster.state.lock().unwrap();
    let [first, second] = &state.patches[..] else {
        unreachable!("{:?}", state.patches)
    };
    assert_eq!(first, second);
    let measured = &second["status"]["profile"];
    assert_eq!(measured["image"], "example.org/net:1");
    let model: harmonybatch_api::InferenceModel = serde_json::from_value(state.model()).unwrap();
    assert_eq!(measured["subject"], json!(model.spec.subject()));
    assert_eq!(measured["cpu"].as_array().unwrap().len(), 2);
    let provenance = &measured["provenance"];
    // On the same node: what this process sees of the machine, past what the node's object says.
    assert!(
        provenance["hardware"].as_str().unwrap().contains(" cores"),
        "{provenance}"
    );
    assert_ne!(provenance["hardware"], "amd64, 2 cores, node n1");
    assert_eq!(
        state.owners,
        vec![json!([{"apiVersion": "v1", "kind": "Pod", "name": "job-abcde", "uid": "job-uid"}]); 4]
    );
}

#[test]
fn an_interrupt_leaves_no_pod_and_resume_runs_only_what_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    let child = spawn(folder.path(), &["--cpu", LIMITS, "--apply"]);
    // In the midst of the second limit.
    loop {
        let (created, batches) = cluster.progress.recv_timeout(PATIENCE).unwrap();
        if created == 2 && batches >= 50 {
            break;
        }
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let (code, said) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{said}");
    let interrupted = {
        let state = cluster.state.lock().unwrap();
        assert!(state.pods.is_empty() && state.patches.is_empty());
        state.created.clone()
    };

    let (code, said) = profile(folder.path(), &["--cpu", LIMITS, "--apply"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("exists: go on with it by --resume"), "{said}");
    assert_eq!(cluster.state.lock().unwrap().created, interrupted, "nothing ran");

    // Accepted, because how often the interrupted limit was measured is chance.
    let (code, said) = profile(
        folder.path(),
        &["--cpu", LIMITS, "--apply", "--resume", "--accept", "noisy"],
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("cpu 250m (1 of 4): known well enough already"),
        "{said}"
    );
    let state = cluster.state.lock().unwrap();
    assert_eq!(
        state.created.iter().filter(|limit| *limit == "250m").count(),
        1,
        "{:?}",
        state.created
    );
    assert_eq!((state.patches.len(), state.pods.len()), (1, 0));
}

#[test]
fn limits_that_the_others_tell_are_left_out_and_named_and_all_are_measured_where_all_are_wanted() {
    let limits = ["250m", "350m", "500m", "700m", "1000m", "1400m", "2000m"];
    for (grid, first) in [
        ("adaptive", ["250m", "2000m", "1000m", "500m"]),
        ("full", ["250m", "350m", "500m", "700m"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(folder.path());
        let cpu = limits.join(",");
        let (code, told) = profile(folder.path(), &["--cpu", &cpu, "--grid", grid, "--apply"]);
        assert_eq!(code, Some(0), "{told}");
        let state = cluster.state.lock().unwrap();
        assert_eq!(state.created[..4], first);
        let left_out = limits
            .iter()
            .filter(|limit| !state.created.iter().any(|created| created == *limit));
        let left_out: Vec<&str> = left_out.copied().collect();
        let inferred = &state.patches[0]["spec"]["profile"]["provenance"]["inferred"];
        if left_out.is_empty() {
            assert!(inferred.is_null(), "{inferred}");
        } else {
            let names = left_out.join(", ").replace("1000m", "1");
            assert_eq!(inferred, &json!(format!("CPU limits {names} not measured")));
        }
        assert!(grid == "adaptive" || left_out.is_empty(), "{left_out:?}");
    }
}

#[test]
fn a_moved_tag_is_not_mixed_with_what_was_measured_before() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    let (code, said) = profile(folder.path(), &["--cpu", "0.5"]);
    assert_eq!(code, Some(0), "{said}");
    cluster.state.lock().unwrap().digest = "sha256:cd34".to_owned();
    let (code, said) = profile(folder.path(), &["--cpu", "0.5,1", "--resume"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("the pod runs the digest sha256:cd34 of the image, and limits before it were measured with sha256:ab12"), "{said}");
    assert!(cluster.state.lock().unwrap().pods.is_empty());
}

#[test]
fn a_runtime_that_ends_is_quoted_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    cluster.state.lock().unwrap().crash = true;
    let port = cluster.state.lock().unwrap().port.to_string();
    let image = [
        "--image",
        "example.org/other:1",
        "--memory",
        "64Mi",
        "--max-batch",
        "2",
        "--port",
        &port,
        "--cpu",
        "1",
    ];
    let (code, said) = profile(folder.path(), &image);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("error: the container ended: pod net-profile-1000m: exit code 3 (Error): no weights"),
        "{said}"
    );
    assert!(cluster.state.lock().unwrap().pods.is_empty());
}

#[test]
fn what_cannot_come_to_a_profile_is_said_before_a_pod_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    for (arguments, part) in [
        (
            &["--cpu", "1,2", "--apply"][..],
            "a profile needs 4 CPU limits or more, there are 2",
        ),
        (&["--cpu", "0"], "--cpu 0"),
        (&["--cpu", "1", "--image", "i"], "--image needs --memory"),
        (&["--cpu", "1", "--resume", "a.jsonl"], "leave out the file"),
        (
            &["--cpu", "1", "-n", "other"],
            "InferenceModel net does not exist in namespace other",
        ),
    ] {
        let (code, said) = profile(folder.path(), arguments);
        assert!(code == Some(1) && said.contains(part), "{code:?} {said}");
    }
    assert!(cluster.state.lock().unwrap().created.is_empty());
}
