//! `harmonybatch profile` as a user runs it: the real program against a real server whose latency follows a known law.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod measured;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use measured::{EFFORT, PATIENCE, answer_all, at, law, listen};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A server of the protocol whose batches take as long as a law of (rows, number of the batch) says.
struct Server {
    address: String,
    answered: Receiver<u64>,
    // Ends the server with the test.
    _runtime: Runtime,
}

impl Server {
    fn start(shape: Value, law: impl Fn(u64, u64) -> Duration + Send + Sync + 'static) -> Self {
        let (runtime, listener) = listen();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, answered) = channel();
        let (law, count) = (Arc::new(law), Arc::new(AtomicU64::new(0)));
        runtime.spawn(answer_all(listener, move |parts, asked| {
            let (law, count, sender, shape) = (law.clone(), count.clone(), sender.clone(), shape.clone());
            async move {
                if parts.uri.path() == "/v2/models/net" {
                    let inputs = json!([{"name": "x", "datatype": "FP32", "shape": shape}]);
                    return (200, json!({"name": "net", "inputs": inputs, "outputs": []}));
                }
                let rows = asked["inputs"][0]["shape"][0].as_u64().unwrap();
                let values = asked["inputs"][0]["data"].as_array().unwrap().len();
                assert_eq!(values as u64, 4 * rows, "{asked}");
                let number = count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(law(rows, number)).await;
                // Where the test does not look, nobody does.
                let _ = sender.send(number);
                let data = vec![0; usize::try_from(rows).unwrap()];
                let outputs = json!([{"name": "y", "datatype": "FP32", "shape": [rows, 1], "data": data}]);
                (200, json!({"model_name": "net", "outputs": outputs}))
            }
        }));
        Self {
            address,
            answered,
            _runtime: runtime,
        }
    }
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .current_dir(folder)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn harmonybatch(folder: &Path, arguments: &[&str]) -> Output {
    spawn(folder, arguments).wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The command that measures a server, without its effort.
fn asking<'a>(server: &'a Server, vcpu: &'a str, max_batch: &'a str) -> [&'a str; 9] {
    [
        "profile",
        "--endpoint",
        &server.address,
        "--model",
        "net",
        "--vcpu",
        vcpu,
        "--max-batch",
        max_batch,
    ]
}

fn measured(folder: &Path, server: &Server, vcpu: &str, max_batch: &str) -> Output {
    harmonybatch(folder, &[&asking(server, vcpu, max_batch)[..], &EFFORT].concat())
}

#[test]
fn a_server_is_measured_at_four_limits_and_its_model_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [("250m", 0.25), ("500m", 0.5), ("1", 1.0), ("2", 2.0)];
    for (vcpu, limit) in limits {
        let server = Server::start(json!([-1, 4]), move |rows, _| {
            Duration::from_secs_f64(law(limit, rows))
        });
        let output = measured(folder.path(), &server, vcpu, "2");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let file = folder.path().join(format!("net-cpu-{vcpu}.samples.jsonl"));
        let samples = std::fs::read_to_string(file).unwrap();
        let samples: Vec<Value> = samples
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(samples.len() >= 34, "{}", samples.len());
        for sample in &samples {
            // The server never answers sooner than its law.
            let rows = sample["batch"].as_u64().unwrap();
            assert!(
                sample["seconds"].as_f64().unwrap() >= law(limit, rows),
                "{sample}"
            );
        }
    }
    let files: Vec<String> = limits
        .iter()
        .map(|(vcpu, _)| format!("net-cpu-{vcpu}.samples.jsonl"))
        .collect();
    let mut arguments = vec!["profile", "--merge"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend(EFFORT);
    arguments.extend([
        "--image",
        "example.org/net:1",
        "--memory",
        "256Mi",
        "--output",
        "model.yaml",
    ]);
    let output = harmonybatch(folder.path(), &arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(
        text(&output.stdout).contains("The fit is off by"),
        "{}",
        text(&output.stdout)
    );

    let written = std::fs::read_to_string(folder.path().join("model.yaml")).unwrap();
    let model = harmonybatch_api::yaml::read(Path::new("model.yaml"), &written).unwrap()[0]
        .to_json()
        .unwrap();
    let profile = &model["spec"]["profile"];
    for (_, limit) in limits {
        for (index, rows) in [(0, 1), (1, 2)] {
            let entry = &profile["cpu"][index];
            let (mean, max) = (at(&entry["mean"], limit).0, at(&entry["max"], limit).1);
            let truth = law(limit, rows);
            // Wide, because timers are a millisecond late and the machine is shared; the fit itself is off by a few percent at most.
            assert!(
                (0.95 * truth..1.3 * truth + 0.01).contains(&mean),
                "{mean} for {truth} of {rows} rows at {limit}"
            );
            assert!(max >= 0.95 * mean, "{max} below {mean}");
        }
    }
    let provenance = &profile["provenance"];
    assert_eq!(provenance["source"], "Measured");
    assert!(provenance["samples"].as_u64().unwrap() >= 4 * 34);
    for known in [
        "hardware",
        "kernel",
        "endpoint",
        "date",
        "fitError",
        "crossValidation",
    ] {
        assert!(
            provenance[known].is_string(),
            "{known} is missing in {provenance}"
        );
    }

    let app = "apiVersion: harmonybatch.dev/v1alpha1\nkind: InferenceApp\nmetadata: {name: search}\nspec: {modelRef: {name: net}, slo: {latency: 500ms}, rate: 5/s}\n";
    std::fs::write(folder.path().join("app.yaml"), app).unwrap();
    let planned = harmonybatch(
        folder.path(),
        &["plan", "-f", "model.yaml", "app.yaml", "-o", "json"],
    );
    assert_eq!(planned.status.code(), Some(0), "{}", text(&planned.stderr));
    assert!(
        text(&planned.stdout).contains("net-"),
        "{}",
        text(&planned.stdout)
    );
}

/// How many batches of each size a samples file holds.
fn counts(file: &Path) -> Vec<usize> {
    let text = std::fs::read_to_string(file).unwrap();
    let batches = text.lines().skip(1).map(|line| {
        let sample: Value = serde_json::from_str(line).unwrap();
        sample["batch"].as_u64().unwrap()
    });
    let batches: Vec<u64> = batches.collect();
    let largest = batches.iter().copied().max().unwrap_or(0);
    let of = |size: u64| batches.iter().filter(|batch| **batch == size).count();
    (1..=largest).map(of).collect()
}

#[test]
fn sizes_on_the_line_between_others_are_checked_and_named_and_measured_where_all_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [("250m", 0.25), ("500m", 0.5), ("1", 1.0), ("2", 2.0)];
    let file = |vcpu: &str| folder.path().join(format!("net-cpu-{vcpu}.samples.jsonl"));
    let servers = limits.map(|(vcpu, limit)| {
        let server = Server::start(json!([-1, 4]), move |rows, _| {
            Duration::from_secs_f64(law(limit, rows))
        });
        let output = measured(folder.path(), &server, vcpu, "6");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let counts = counts(&file(vcpu));
        // 17 batches are the least for the 80th percentile, and 10 for a check.
        assert!(counts[0] >= 17 && counts[5] >= 17, "{counts:?}");
        assert!(counts[1..5].iter().all(|&count| count >= 10), "{counts:?}");
        (vcpu, server)
    });
    let files = limits.map(|(vcpu, _)| file(vcpu).display().to_string());
    let model = ["--image", "i", "--memory", "1Gi", "--output", "model.yaml"];
    let merge: Vec<&str> = ["profile", "--merge"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let output = harmonybatch(folder.path(), &[&merge[..], &EFFORT, &model].concat());
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", text(&output.stderr));
    let written = || {
        let written = std::fs::read_to_string(folder.path().join("model.yaml")).unwrap();
        let read = harmonybatch_api::yaml::read(Path::new("model.yaml"), &written).unwrap();
        read[0].to_json().unwrap()["spec"]["profile"].clone()
    };
    let profile = written();
    let inferred = profile["provenance"]["inferred"].as_str().unwrap();
    assert!(
        inferred.starts_with("batches of 2-5 between those of 1, 6, "),
        "{inferred}"
    );
    assert!(
        told.contains(&format!("Not measured in full (--grid full does): {inferred}.")),
        "{told}"
    );
    for (_, limit) in limits {
        for rows in 1..=6 {
            let entry = &profile["cpu"][usize::try_from(rows).unwrap() - 1];
            let (mean, truth) = (at(&entry["mean"], limit).0, law(limit, rows));
            assert!(
                (0.9 * truth..1.3 * truth + 0.01).contains(&mean),
                "{mean} for {truth} of {rows} rows at {limit}"
            );
        }
    }

    for (vcpu, server) in &servers {
        let before = counts(&file(vcpu));
        let resume = [
            "profile",
            "--resume",
            &file(vcpu).display().to_string(),
            "--grid",
            "full",
        ]
        .map(str::to_owned);
        let resume: Vec<&str> = resume.iter().map(String::as_str).collect();
        let output = harmonybatch(folder.path(), &[&resume[..], &EFFORT].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(server.answered.try_recv().is_ok());
        let after = counts(&file(vcpu));
        assert!(after.iter().all(|&count| count >= 17), "{before:?} {after:?}");
    }
    let output = harmonybatch(folder.path(), &[&merge[..], &EFFORT, &model].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(written()["provenance"]["inferred"].is_null());
}

#[test]
fn a_model_is_not_written_from_too_few_limits() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(json!([-1, 4]), |_, _| Duration::from_millis(2));
    let endpoint = asking(&server, "1", "1");
    let model = ["--image", "i", "--memory", "1Gi", "--output", "model.yaml"];
    let output = harmonybatch(folder.path(), &[&endpoint[..], &model].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("needs samples at 4 CPU limits or more, there are 1"),
        "{}",
        text(&output.stderr)
    );
    assert!(server.answered.try_recv().is_err(), "nothing was measured");
}

#[test]
fn samples_that_nothing_explains_are_named_and_refused_until_they_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(json!([-1, 4]), |_, number| {
        Duration::from_millis(if number % 2 == 0 { 5 } else { 25 })
    });
    let output = measured(folder.path(), &server, "500m", "1");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(
        told.contains("refused: batch 1 on cpu 500m: ")
            && told.contains("no CPU quota with a period of 100 ms"),
        "{told}"
    );
    let merge = [
        "profile",
        "--merge",
        "net-cpu-500m.samples.jsonl",
        "--accept",
        "throttled",
    ];
    let output = harmonybatch(folder.path(), &[&merge[..], &EFFORT].concat());
    assert!(
        text(&output.stderr).contains("accepted: batch 1 on cpu 500m: "),
        "{}",
        text(&output.stderr)
    );
}

/// Batches of `work` CPU seconds one after the other, under a quota of `vcpu` in every 100 ms: the clock stands at
/// `floor(x / quota) period + x mod quota` when x CPU seconds are spent.
fn under_quota(work: f64, vcpu: f64, number: u64) -> Duration {
    const PERIOD: f64 = 0.1;
    let quota = vcpu * PERIOD;
    let clock = |batches: u64| {
        let spent = work * f64::from(u32::try_from(batches).unwrap());
        (spent / quota).floor() * PERIOD + spent % quota
    };
    Duration::from_secs_f64(clock(number + 1) - clock(number))
}

#[test]
fn batches_that_a_quota_stops_are_fitted_drawn_and_planned() {
    const WORK: f64 = 0.0137;
    let folder = tempfile::tempdir().unwrap();
    let limits = [("200m", 0.2), ("300m", 0.3), ("500m", 0.5), ("800m", 0.8)];
    for (vcpu, limit) in limits {
        let server = Server::start(json!([-1, 4]), move |_, number| under_quota(WORK, limit, number));
        let output = measured(folder.path(), &server, vcpu, "1");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let files = limits.map(|(vcpu, _)| format!("net-cpu-{vcpu}.samples.jsonl"));
    let mut arguments = vec!["profile", "--merge"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend(EFFORT);
    arguments.extend([
        "--image",
        "i",
        "--memory",
        "1Gi",
        "--output",
        "model.yaml",
        "--plot",
        "net.svg",
    ]);
    let output = harmonybatch(folder.path(), &arguments);
    let (told, warned) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}\n{warned}");
    assert!(told.contains("Latency against vCPU is throttled: "), "{told}");
    let model = std::fs::read_to_string(folder.path().join("model.yaml")).unwrap();
    let model = harmonybatch_api::yaml::read(Path::new("model.yaml"), &model).unwrap()[0]
        .to_json()
        .unwrap();
    let entry = &model["spec"]["profile"]["cpu"][0];
    for (_, limit) in limits {
        let (mean, max) = (at(&entry["mean"], limit).0, at(&entry["max"], limit).1);
        // Timers are a millisecond late.
        let truth = WORK / limit;
        assert!(
            (0.8 * truth..1.25 * truth + 0.003).contains(&mean),
            "{mean} for {truth} at {limit}"
        );
        // What a quota stops takes its own time and the rest of the period.
        let stopped = WORK + 0.1 * (1.0 - limit);
        assert!(
            max > 0.9 * stopped && max < stopped + 0.05,
            "{max} for {stopped} at {limit}"
        );
    }
    let picture = std::fs::read_to_string(folder.path().join("net.svg")).unwrap();
    assert!(
        picture.starts_with("<svg ") && picture.contains("throttled against vCPU"),
        "{picture}"
    );
    let app = "apiVersion: harmonybatch.dev/v1alpha1\nkind: InferenceApp\nmetadata: {name: search}\nspec: {modelRef: {name: net}, slo: {latency: 500ms}, rate: 5/s}\n";
    std::fs::write(folder.path().join("app.yaml"), app).unwrap();
    let planned = harmonybatch(folder.path(), &["plan", "-f", "model.yaml", "app.yaml"]);
    assert_eq!(planned.status.code(), Some(0), "{}", text(&planned.stderr));
}

#[test]
fn an_open_dimension_must_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(json!([-1, -1]), |_, _| Duration::from_millis(2));
    let output = measured(folder.path(), &server, "1", "2");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("give the others with --shape x=?"),
        "{}",
        text(&output.stderr)
    );
    let endpoint = asking(&server, "1", "2");
    let output = harmonybatch(
        folder.path(),
        &[&endpoint[..], &EFFORT, &["--shape", "x=4", "--accept", "noisy"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn an_interrupt_keeps_what_is_measured_and_resume_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(json!([-1, 4]), |_, _| Duration::from_millis(10));
    let endpoint = asking(&server, "1", "2");
    let child = spawn(folder.path(), &[&endpoint[..], &EFFORT].concat());
    // Two of the warm-up, and three rounds of at most ten that follow each other and five after pauses, which count.
    while server.answered.recv_timeout(PATIENCE).unwrap() < 46 {}
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let file = folder.path().join("net-cpu-1.samples.jsonl");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!((10..35).contains(&kept.lines().count()), "{kept}");
    assert!(
        text(&output.stderr).contains("go on with --resume net-cpu-1.samples.jsonl"),
        "{}",
        text(&output.stderr)
    );

    let again = measured(folder.path(), &server, "1", "2");
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).contains("exists: go on with it by --resume"),
        "{}",
        text(&again.stderr)
    );

    let output = harmonybatch(
        folder.path(),
        &[
            &[
                "profile",
                "--resume",
                "net-cpu-1.samples.jsonl",
                "--accept",
                "noisy",
            ][..],
            &EFFORT,
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let all = std::fs::read_to_string(&file).unwrap();
    assert!(all.starts_with(&kept) && all.lines().count() > 34, "{all}");
}
