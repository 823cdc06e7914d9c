//! The reconciler against an API server that notes what it is asked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;

use harmonybatch_api::inference_model::ProfileFrom;
use hyper::Method;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::*;
use crate::fixtures;
use crate::stores::{Writers, stores};

/// Method, path and body of every request but events.
type Asked = Arc<Mutex<Vec<(Method, String, Value)>>>;

/// A reconciler, the other ends of its local copies, and what it asks for. `pods` are those of every Job.
async fn reconciler(pods: Value) -> (Profiles, Writers, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let client = fixtures::api_server(move |method, path, body| {
        if path.contains("/events") {
            return (201, body.clone());
        }
        noted
            .lock()
            .unwrap()
            .push((method.clone(), path.to_owned(), body.clone()));
        match *method {
            Method::GET => (200, json!({"metadata": {}, "items": pods})),
            // What is applied or created is stored as it is; what is of no interest here is filled in.
            _ if path.ends_with("/status") => (200, serde_json::to_value(measuring("mlp")).unwrap()),
            _ => (200, body.clone()),
        }
    })
    .await;
    let (stores, writers) = stores();
    let profiles = Profiles {
        client: client.clone(),
        stores: Arc::new(stores),
        events: Arc::new(Events::new(client)),
        metrics: Metrics::register(&mut Registry::default()),
        changed: Arc::new(Notify::new()),
        image: Some("example.org/harmonybatch:1".to_owned()),
        made: None,
    };
    (profiles, writers, asked)
}

fn measuring(name: &str) -> InferenceModel {
    let mut model = fixtures::model();
    model.metadata.name = Some(name.to_owned());
    model.metadata.uid = Some(format!("{name}-uid"));
    model.spec.profile.from = ProfileFrom::Measure;
    model.spec.profile.cpu.clear();
    model
}

fn job(name: &str, model: &str, condition: Option<&str>) -> Job {
    let conditions: Vec<Value> = condition
        .iter()
        .map(|type_| json!({"type": type_, "status": "True"}))
        .collect();
    let labels = json!({"harmonybatch.dev/profiled-model": model});
    let metadata = json!({"name": name, "namespace": "shop", "uid": "job-uid", "labels": labels});
    serde_json::from_value(json!({"metadata": metadata, "status": {"conditions": conditions}})).unwrap()
}

fn see(writers: &mut Writers, model: &InferenceModel) {
    writers
        .models
        .apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(model.clone()))));
}

/// `METHOD last/parts/of/path` of what was asked since the last time.
fn lines(asked: &Asked) -> Vec<String> {
    let asked = asked.lock().unwrap();
    let line = |(method, path, _): &(Method, String, Value)| {
        let parts: Vec<&str> = path.split("/shop/").collect();
        format!("{method} {}", parts.last().unwrap())
    };
    asked.iter().map(line).collect()
}

/// Reason and message of the last condition Profiled that was written.
fn said(asked: &Asked) -> (String, String) {
    let asked = asked.lock().unwrap();
    let (_, _, body) = asked
        .iter()
        .rev()
        .find(|(_, path, _)| path.ends_with("/status"))
        .unwrap();
    let condition = &body["status"]["conditions"][0];
    assert_eq!(condition["type"], "Profiled");
    (
        condition["reason"].as_str().unwrap().to_owned(),
        condition["message"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_model_without_figures_gets_an_account_and_a_job_and_another_waits_for_it() {
    let (mut profiles, mut writers, asked) = reconciler(json!([])).await;
    see(&mut writers, &measuring("mlp"));
    profiles.all().await;
    let name = names::profile_job_name("mlp", &measuring("mlp").spec.subject());
    assert_eq!(
        lines(&asked),
        [
            "PATCH serviceaccounts/mlp-profile",
            "PATCH roles/mlp-profile",
            "PATCH rolebindings/mlp-profile",
            "POST jobs",
            "PATCH inferencemodels/mlp/status",
        ]
    );
    assert_eq!(asked.lock().unwrap()[3].2["metadata"]["name"], json!(name));
    assert_eq!(said(&asked).0, "Measuring");

    // Before the local copy shows the Job, it is not made again; nor is another.
    asked.lock().unwrap().clear();
    see(&mut writers, &measuring("cnn"));
    profiles.all().await;
    assert!(
        !lines(&asked).contains(&"POST jobs".to_owned()),
        "{:?}",
        lines(&asked)
    );
    profiles.made = None;
    writers
        .jobs
        .apply_watcher_event(&Event::Apply(job(&name, "mlp", None)));
    profiles.all().await;
    assert!(
        !lines(&asked).contains(&"POST jobs".to_owned()),
        "{:?}",
        lines(&asked)
    );
    let cnn = asked
        .lock()
        .unwrap()
        .iter()
        .rev()
        .find(|(_, path, _)| path.contains("cnn"))
        .unwrap()
        .2
        .clone();
    let message = cnn["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains(&format!("waits for Job shop/{name}")),
        "{message}"
    );
}

#[tokio::test]
async fn a_failed_job_is_quoted_and_a_profile_that_is_given_needs_no_job() {
    let ended = json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "refused: batch 1 on cpu 250m: noisy\n"}});
    let container = json!({"name": "profile", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": ended});
    let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}});
    let (mut profiles, mut writers, asked) = reconciler(json!([pod])).await;
    let mut model = measuring("mlp");
    let name = names::profile_job_name("mlp", &model.spec.subject());
    see(&mut writers, &model);
    writers
        .jobs
        .apply_watcher_event(&Event::Apply(job(&name, "mlp", Some("Failed"))));
    profiles.all().await;
    let (reason, message) = said(&asked);
    assert_eq!(reason, "Failed");
    assert!(
        message.contains("refused: batch 1 on cpu 250m: noisy;"),
        "{message}"
    );

    asked.lock().unwrap().clear();
    model.spec.profile.from = ProfileFrom::Given;
    see(&mut writers, &model);
    profiles.all().await;
    assert_eq!(lines(&asked), [format!("DELETE jobs/{name}")]);
}

#[tokio::test]
async fn a_controller_that_does_not_know_its_image_says_so() {
    let (mut profiles, mut writers, asked) = reconciler(json!([])).await;
    profiles.image = None;
    see(&mut writers, &measuring("mlp"));
    profiles.all().await;
    assert_eq!(lines(&asked), ["PATCH inferencemodels/mlp/status"]);
    assert!(
        said(&asked).1.contains("start it with --image"),
        "{:?}",
        said(&asked)
    );
}
