//! HarmonyBatch on the cluster: the Helm release, the samples, and the first request.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::command;
use crate::digest;
use crate::image::{Archive, repository};
use crate::node::Node;
use crate::progress::Progress;
use crate::wait;

/// Namespace of the release.
pub const SYSTEM_NAMESPACE: &str = "harmonybatch-system";
/// Namespace of the samples.
pub const SAMPLES_NAMESPACE: &str = "shop";
/// The application whose request is shown.
const SHOWN_APP: &str = "search";
const RELEASE: &str = "harmonybatch";
/// Longest wait for every application of the samples to be served.
const READY_LIMIT: Duration = Duration::from_mins(3);
/// Longest wait for one answer; the gateway itself gives up earlier.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What a person needs to send a request to one of the samples' applications.
#[derive(Debug)]
pub struct Sample {
    /// The application.
    pub app: String,
    /// Host that the gateway knows it by.
    pub host: String,
    /// Address of the gateway's Service, reachable from this machine.
    pub gateway: String,
    /// Path of the inference request.
    pub path: String,
    /// A request with one row.
    pub body: String,
}

/// Installs or upgrades the release.
///
/// # Errors
/// Helm's words, and what the pods of the release say.
pub fn install(node: &Node, helm: &Path, image: &Archive, progress: &Progress) -> Result<()> {
    progress.step("Installing the Helm chart", || {
        let mut upgrade = Command::new(helm);
        upgrade
            .env("KUBECONFIG", node.layout().admin_kubeconfig())
            .args(["upgrade", "--install", RELEASE])
            .arg(repository()?.join("charts/harmonybatch"))
            .args([
                "--namespace",
                SYSTEM_NAMESPACE,
                "--create-namespace",
                "--wait",
                "--timeout",
                "3m",
            ])
            .args(["--set-string", &format!("image.repository={}", image.repository)])
            .args(["--set-string", &format!("image.tag={}", image.tag)])
            .args(["--set-string", "image.pullPolicy=IfNotPresent"]);
        command::run("helm", &mut upgrade)
            .map(drop)
            .with_context(|| node.about_pods(SYSTEM_NAMESPACE))
    })
}

/// Applies the samples and waits until every application is served.
///
/// # Errors
/// The API server's, or what keeps the applications from being Ready.
pub fn apply_samples(node: &Node, progress: &Progress) -> Result<()> {
    let samples = repository()?.join("crds/samples");
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SAMPLES_NAMESPACE } });
    let file = node.layout().configuration("samples-namespace.json");
    std::fs::write(&file, namespace.to_string()).context("cannot write the samples' namespace")?;
    progress.step("Applying the samples", || {
        node.kubectl(&["apply", "-f", &file.display().to_string()])?;
        node.kubectl(&[
            "apply",
            "--namespace",
            SAMPLES_NAMESPACE,
            "-f",
            &samples.display().to_string(),
        ])
        .map(drop)
    })?;
    progress.step("Waiting for the samples' applications to be served", || {
        wait::until("every InferenceApp to be Ready", READY_LIMIT, || {
            Ok(all_ready(&apps(node)?).then_some(()))
        })
        .with_context(|| {
            let said = node
                .kubectl(&[
                    "describe",
                    "inferenceapps,inferencegroups",
                    "-n",
                    SAMPLES_NAMESPACE,
                ])
                .unwrap_or_else(|error| error.to_string());
            format!(
                "{}\n{}",
                node.about_pods(SAMPLES_NAMESPACE),
                command::last_lines(&said)
            )
        })
    })
}

fn apps(node: &Node) -> Result<Vec<Value>> {
    let list = node.kubectl(&["get", "inferenceapps", "-n", SAMPLES_NAMESPACE, "-o", "json"])?;
    let mut list: Value = serde_json::from_str(&list).context("kubectl's list of applications")?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        other => bail!("kubectl's list of applications has no items but {other}"),
    }
}

/// Ready for the generation that was applied, each of them, and at least one.
fn all_ready(apps: &[Value]) -> bool {
    let ready = |app: &Value| {
        let conditions = app["status"]["conditions"].as_array();
        let condition = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready");
        condition.is_some_and(|condition| {
            condition["status"] == "True" && condition["observedGeneration"] == app["metadata"]["generation"]
        })
    };
    !apps.is_empty() && apps.iter().all(ready)
}

/// Sends a first request to one of the applications, of the shape that its model says it takes.
///
/// # Errors
/// Where no answer with status 200 comes back.
pub fn first_request(node: &Node, progress: &Progress) -> Result<Sample> {
    let apps = apps(node)?;
    let shown = apps.iter().find(|app| app["metadata"]["name"] == SHOWN_APP);
    let Some(app) = shown.or_else(|| apps.first()) else {
        bail!("no InferenceApp in namespace {SAMPLES_NAMESPACE}")
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = text(&app["metadata"]["name"]).context("an application without a name")?;
    let model = text(&app["spec"]["modelRef"]["name"]).context("an application without a model")?;
    let service = text(&app["spec"]["serviceName"]).unwrap_or_else(|| format!("{name}-infer"));
    let host = format!("{service}.{SAMPLES_NAMESPACE}");
    let gateway = node.kubectl(&[
        "get",
        "service",
        "harmonybatch-gateway",
        "-n",
        SYSTEM_NAMESPACE,
        "-o",
        "jsonpath={.spec.clusterIP}",
    ])?;
    progress.step("Sending the first request", || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime for the request")?;
        runtime.block_on(async {
            let path = format!("/v2/models/{model}");
            let metadata = crate::http::exchange(&gateway, &host, "GET", &path, None, ANSWER_LIMIT).await?;
            let body = one_row(&metadata)
                .with_context(|| format!("the metadata of model {model} is no use: {metadata}"))?
                .to_string();
            let path = format!("{path}/infer");
            crate::http::exchange(&gateway, &host, "POST", &path, Some(&body), ANSWER_LIMIT).await?;
            Ok(Sample {
                app: name,
                host,
                gateway,
                path,
                body,
            })
        })
    })
}

/// An inference request with one row of zeros, from a model's metadata as the Open Inference Protocol gives it.
fn one_row(metadata: &Value) -> Option<Value> {
    let input = |input: &Value| {
        let shape: Vec<u64> = input["shape"]
            .as_array()?
            .iter()
            .map(|size| size.as_u64().unwrap_or(1))
            .collect();
        let values = vec![json!(0); usize::try_from(shape.iter().product::<u64>()).ok()?];
        Some(json!({ "name": input["name"], "shape": shape, "datatype": input["datatype"], "data": values }))
    };
    let inputs: Option<Vec<Value>> = metadata["inputs"].as_array()?.iter().map(input).collect();
    inputs
        .filter(|inputs| !inputs.is_empty())
        .map(|inputs| json!({ "inputs": inputs }))
}

/// Changes with everything that an installation is made from: the images, the charts, the kinds and the samples.
///
/// # Errors
/// Where a file cannot be read.
pub fn fingerprint(images: &[&Archive]) -> Result<String> {
    let repository = repository()?;
    let mut text: String = images.iter().map(|image| image.name() + "\n").collect();
    for folder in ["charts", "crds"] {
        for file in files_below(&repository.join(folder))? {
            let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            text += &[&file.to_string_lossy(), " ", &digest::sha256(&content), "\n"].concat();
        }
    }
    Ok(digest::sha256(text.as_bytes()))
}

/// In order, so that the same files give the same text. Links to folders of the repository are not followed: their files come by themselves.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot look at {}", entry.path().display()))?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_row_of_the_models_shape() {
        let metadata =
            json!({ "name": "mlp", "inputs": [{ "name": "x", "datatype": "FP32", "shape": [-1, 2, 2] }] });
        let request = one_row(&metadata).expect("a request");
        assert_eq!(
            request["inputs"][0],
            json!({ "name": "x", "datatype": "FP32", "shape": [1, 2, 2], "data": [0, 0, 0, 0] })
        );
        assert_eq!(one_row(&json!({ "inputs": [] })), None);
    }

    #[test]
    fn an_application_is_ready_only_for_the_generation_that_was_applied() {
        let app = |status: &str, observed: u64| json!({ "metadata": { "generation": 2 }, "status": { "conditions": [{ "type": "Ready", "status": status, "observedGeneration": observed }] } });
        assert!(all_ready(&[app("True", 2)]));
        assert!(!all_ready(&[app("True", 2), app("True", 1)]));
        assert!(!all_ready(&[app("False", 2)]));
        assert!(!all_ready(&[]));
    }
}
