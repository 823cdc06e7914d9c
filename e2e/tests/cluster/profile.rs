//! A model without figures is measured on pods of the cluster, and planned from what was found.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use harmonybatch_api::InferenceModel;
use harmonybatch_api::inference_model::CpuLatency;
use harmonybatch_api::quantity::{self, Cpu};
use harmonybatch_controller::measured_pod::{self, Host, Reach, Running, Wanted};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scenario::{Contract, Scenario, list, sample, try_until};

/// Four limits of ten seconds, each with a pod's start, a warm-up and a pod's end.
const MEASURED_WITHIN: Duration = Duration::from_mins(6);

const SEARCH: Contract = Contract {
    name: "search",
    slo: "500ms",
    rate: "5/s",
};

/// The demo runtime, which sleeps as a law of its CPU limit says and computes nothing: what is measured has a true value. It takes the limit that it started under, so that
/// every limit has a pod of its own.
fn simulated() -> Value {
    let curve = |alpha: &str, gamma: &str| json!({ "exponential": { "alpha": alpha, "beta": "0.15", "gamma": gamma } });
    let law = json!({ "cpu": [
        { "batch": 1, "mean": curve("200ms", "20ms"), "max": curve("240ms", "24ms") },
        { "batch": 2, "mean": curve("220ms", "22ms"), "max": curve("264ms", "27ms") },
    ] });
    let mut model = sample("model.yaml");
    model["spec"]["runtime"]["args"] = json!(["serve", format!("--simulate={law}")]);
    model["spec"]["maxBatchSize"] = json!(2);
    // The protocol's part of the work is done under the quota, too, which may stop it: that is measured, and here accepted.
    let measure = json!({ "cpu": ["100m", "200m", "300m", "400m"], "timeBudget": "40s", "accept": ["Noisy", "NonMonotone", "Throttled"] });
    model["spec"]["profile"] = json!({ "from": "Measure", "measure": measure });
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_figures_is_measured_and_planned_and_measured_again_when_it_changes() {
    let scenario = Scenario::begin("profile").await;
    scenario.apply(&simulated()).await;
    scenario.apps(&[SEARCH]).await;
    profiled(&scenario, "Measuring", Duration::from_secs(30)).await;
    let model = profiled(&scenario, "Measured", MEASURED_WITHIN).await;

    let profile = model.status.as_ref().unwrap().profile.clone().unwrap();
    assert_eq!(profile.image, model.spec.runtime.image);
    for limit in [0.1_f64, 0.2, 0.3, 0.4] {
        let truth = 0.200 * (-limit / 0.15).exp() + 0.020;
        let found = latency(&profile.cpu[0].mean, limit);
        // What the protocol takes under the limit is on top of the law.
        assert!(
            (0.8 * truth..1.5 * truth + 0.02).contains(&found),
            "{found} for {truth} at {limit} vCPU: {profile:?}"
        );
    }
    let provenance = profile.provenance.as_ref().unwrap();
    assert!(provenance.image_digest.as_deref().unwrap().starts_with("sha256:"));
    assert!(
        provenance.hardware.is_some() && provenance.kernel.is_some(),
        "{provenance:?}"
    );

    let app = scenario.ready(&[SEARCH]).await.remove(0);
    assert!(app.status.as_ref().unwrap().plan.is_some());
    let pods = list(&scenario.api::<Pod>()).await;
    // They end with their limit; the Job's own pod, which is done, ends with five letters and digits.
    let measured = |pod: &Pod| {
        ["-100m", "-200m", "-300m", "-400m"]
            .iter()
            .any(|limit| pod.name_any().ends_with(limit))
    };
    assert!(!pods.iter().any(measured), "the measured pods are gone");
    let first = jobs(&scenario).await;
    assert_eq!(first.len(), 1);

    // Another way to run it: measured again, planned from the old profile meanwhile.
    let mut changed = simulated();
    changed["spec"]["runtime"]["args"]
        .as_array_mut()
        .unwrap()
        .push(json!("--queue=32"));
    scenario.apply(&changed).await;
    let stale = profiled(&scenario, "Stale", Duration::from_secs(30)).await;
    assert_eq!(stale.status.as_ref().unwrap().profile.as_ref(), Some(&profile));
    let second = try_until(Duration::from_secs(30), || async {
        let jobs = jobs(&scenario).await;
        (jobs.len() == 1 && jobs != first).then_some(jobs)
    });
    assert!(second.await.is_some(), "another Job takes the place of {first:?}");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_serves_all_limits_of_a_runtime_that_heeds_its_limit_while_it_runs() {
    const LIMITS: [&str; 4] = ["200m", "300m", "400m", "500m"];
    let scenario = Scenario::begin("profile-turns").await;
    // It computes, by one thread: what it takes is as its limit is, whenever it got it.
    let mut model = sample("model.yaml");
    model["spec"]["maxBatchSize"] = json!(2);
    let measure =
        json!({ "cpu": LIMITS, "timeBudget": "80s", "accept": ["Noisy", "NonMonotone", "Throttled"] });
    model["spec"]["profile"] = json!({ "from": "Measure", "measure": measure });
    scenario.apply(&model).await;

    // Limits of every pod that is measured, by its name, as they are seen.
    let seen: RefCell<BTreeMap<String, BTreeSet<String>>> = RefCell::default();
    let watch = try_until(MEASURED_WITHIN, || async {
        let pods = list(&scenario.api::<Pod>()).await;
        let pods: Vec<Value> = pods
            .iter()
            .map(|pod| serde_json::to_value(pod).unwrap())
            .collect();
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let container = &pod["status"]["containerStatuses"][0];
            if container["name"] == "runtime"
                && let Some(limit) = container["resources"]["limits"]["cpu"].as_str()
            {
                seen.borrow_mut()
                    .entry(name.to_owned())
                    .or_default()
                    .insert(limit.to_owned());
            }
        }
        None::<()>
    });
    tokio::select! {
        _ = profiled(&scenario, "Measured", MEASURED_WITHIN) => {}
        _ = watch => panic!("not measured in time\n{}", scenario.situation().await),
    }
    let seen = seen.into_inner();
    // One shows that the runtime heeds its limit, the other is measured.
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(names, ["mlp-profile-200m", "mlp-profile-500m"], "{seen:?}");
    assert_eq!(
        seen["mlp-profile-500m"],
        BTreeSet::from(LIMITS.map(str::to_owned))
    );
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_measured_through_the_api_server_from_outside() {
    let scenario = Scenario::begin("profile-outside").await;
    let mut model: InferenceModel = serde_json::from_value(simulated()).unwrap();
    model.metadata.namespace = Some(scenario.namespace.clone());
    let host = Host {
        client: scenario.cluster.client(),
        namespace: scenario.namespace.clone(),
        reach: Reach::PortForward,
        ready_within: Duration::from_mins(2),
    };
    let wanted = Wanted {
        model: &model,
        cpu: Cpu::from_millis(300),
        lives_at_most: Duration::from_mins(5),
        owner: None,
        near: None,
    };
    let ask = async |pod: &Running| -> Result<_, measured_pod::Error> {
        let machine = pod.machine.clone().unwrap();
        assert!(machine.kernel.is_some(), "{machine:?}");
        // Two connections, one after the other: each is carried by a stream of its own.
        Ok([metadata(pod.url()).await, metadata(pod.url()).await])
    };
    let answers = Box::pin(host.run(&wanted, pending(), &mut |_: &str| {}, ask)).await;
    for answer in answers.unwrap().unwrap() {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"inputs\""), "{answer}");
    }
    assert!(list(&scenario.api::<Pod>()).await.is_empty());
    scenario.end().await;
}

/// What a curve says of a limit, in seconds; whichever form was chosen.
fn latency(curve: &CpuLatency, limit: f64) -> f64 {
    let seconds = |text: &str| text.parse::<quantity::Duration>().unwrap().as_secs_f64();
    match curve {
        CpuLatency::Exponential(curve) => {
            let beta: f64 = curve.beta.parse().unwrap();
            seconds(&curve.alpha) * (-limit / beta).exp() + seconds(&curve.gamma)
        }
        CpuLatency::Hyperbolic(curve) => seconds(&curve.work) / limit + seconds(&curve.fixed),
        CpuLatency::Throttled(curve) => {
            let parallelism: f64 = curve.parallelism.parse().unwrap();
            seconds(&curve.work) / limit.min(parallelism)
        }
    }
}

/// What the runtime says of its model, with the head of the answer.
async fn metadata(url: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = b"GET /v2/models/mlp HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Names of the Jobs that are not on their way out.
async fn jobs(scenario: &Scenario) -> Vec<String> {
    let jobs = list(&scenario.api::<Job>()).await;
    let stays = |job: &&Job| job.metadata.deletion_timestamp.is_none();
    jobs.iter().filter(stays).map(ResourceExt::name_any).collect()
}

/// Waits until the condition Profiled of the model has this reason.
async fn profiled(scenario: &Scenario, reason: &str, within: Duration) -> InferenceModel {
    let api = scenario.api::<InferenceModel>();
    let condition = |model: &InferenceModel| {
        let conditions = model.status.as_ref().map(|status| status.conditions.clone());
        conditions
            .unwrap_or_default()
            .into_iter()
            .find(|condition| condition.type_ == "Profiled")
    };
    let look = || async {
        let model = api.get("mlp").await.unwrap();
        let found = condition(&model)?;
        assert_ne!(found.reason, "Failed", "{}", found.message);
        (found.reason == reason).then_some(model)
    };
    let Some(model) = try_until(within, look).await else {
        let model = api.get("mlp").await.unwrap();
        panic!(
            "waited in vain for the model to be {reason}; it is {:#?}\n{}",
            condition(&model),
            scenario.situation().await
        );
    };
    model
}
