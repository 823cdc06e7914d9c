//! Profiles: measures the models whose profile is to be measured.
//!
//! For every model with `profile.from: Measure` it finds out how far its measurement is ([`stage`]), makes the Job that is missing ([`build`]), deletes
//! those that nobody needs, and says all that in the condition `Profiled`. The Job runs `harmonybatch profile` in the model's namespace, which writes
//! `status.profile`; the plan reads that. One Job runs at a time in the whole cluster: two on one node would measure each other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::conditions::{self, PROFILED};
use harmonybatch_api::names::{self, MEASURE_MANAGER};
use harmonybatch_api::{Condition, InferenceModel};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::cluster::{self, call};
use crate::events::Events;
use crate::measured_pod::image_digest;
use crate::metrics::Metrics;
use crate::plan::Key;
use crate::stores::Stores;
use crate::trouble::trouble;
use stage::Stage;

mod build;
mod stage;

/// What pods run, and what holds a Job's pod up, has no event here: it is looked at now and then.
const REGULARLY: Duration = Duration::from_secs(30);
/// A burst of changes becomes one look.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How long the local copy may take to show a Job that was made.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Characters of what a Job said last that are told.
const TOLD: usize = 1_500;

/// The fields of a model's status that are written here.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct ProfiledStatus {
    conditions: Vec<Condition>,
}

/// The profiles reconciler.
pub(crate) struct Profiles {
    pub(crate) client: Client,
    pub(crate) stores: Arc<Stores>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Metrics,
    /// Notified when a model or a Job changes.
    pub(crate) changed: Arc<Notify>,
    /// Our own image, which the Jobs run.
    pub(crate) image: Option<String>,
    /// The Job that was made last, until the local copy shows it.
    pub(crate) made: Option<(Key, Instant)>,
}

impl Profiles {
    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let timer = self.metrics.time("profiles");
            self.all().await;
            drop(timer);
            if timeout(REGULARLY, self.changed.notified()).await.is_ok() {
                tokio::time::sleep(DEBOUNCE).await;
            }
        }
    }

    /// Looks after every model.
    async fn all(&mut self) {
        for model in self.stores.models() {
            if model.metadata.deletion_timestamp.is_some() {
                continue;
            }
            if let Err(error) = self.model(&model).await {
                tracing::warn!(model = %model.name_any(), %error, "a measurement was not looked after, and is later");
                self.metrics.failed("profiles", "Cluster");
            }
        }
    }

    async fn model(&mut self, model: &InferenceModel) -> Result<(), cluster::Error> {
        let namespace = model.namespace().unwrap_or_default();
        let jobs = self.stores.profile_jobs(&namespace, &model.name_any());
        let stage = Stage::of(model, &jobs, &self.running(model));
        let api: Api<Job> = Api::namespaced(self.client.clone(), &namespace);
        for job in stage.leftovers(&jobs) {
            cluster::delete(&api, &**job).await?;
        }
        let news = match &stage {
            Stage::Off | Stage::Current | Stage::Done(_) => None,
            Stage::Wanted(name) => self.make(model, name).await?,
            Stage::Runs(name) => self.held_up(&namespace, name).await?,
            Stage::Failed(name) => Some(self.last_words(&namespace, name, &jobs).await?),
        };
        self.say(model, &stage, news.as_deref()).await
    }

    /// The digests of the model's image that its replicas run.
    fn running(&self, model: &InferenceModel) -> BTreeSet<String> {
        let namespace = model.namespace().unwrap_or_default();
        let groups = self.stores.groups_of(&namespace);
        let groups = groups
            .iter()
            .filter(|group| group.spec.model_ref.name == model.name_any());
        let pods = groups.flat_map(|group| self.stores.pods(&namespace, &group.name_any()));
        pods.filter(|pod| runs(pod, &model.spec.runtime.image))
            .filter_map(|pod| image_digest(&pod))
            .collect()
    }

    /// Makes the Job, unless another one runs. Returns what it waits for.
    async fn make(&mut self, model: &InferenceModel, name: &str) -> Result<Option<String>, cluster::Error> {
        let namespace = model.namespace().unwrap_or_default();
        let key = (namespace.clone(), name.to_owned());
        if let Some((made, _)) = self.made.as_ref().filter(|(_, at)| at.elapsed() < CATCH_UP) {
            let what = (*made != key).then(|| format!("waits for Job {}/{}", made.0, made.1));
            return Ok(what);
        }
        if let Some(other) = self.stores.active_profile_job(stage::is_active) {
            return Ok(Some(format!(
                "waits for Job {}/{}, because two at once would measure each other",
                other.namespace().unwrap_or_default(),
                other.name_any()
            )));
        }
        let Some(image) = &self.image else {
            return Ok(Some(
                "the controller does not know its own image: start it with --image".to_owned(),
            ));
        };
        let objects = match build::objects(model, name, image) {
            Ok(objects) => objects,
            Err(invalid) => return Ok(Some(invalid.to_string())),
        };
        match self.create(&namespace, &objects).await {
            Ok(()) => {
                tracing::info!(%namespace, job = name, "a measurement was started");
                self.made = Some((key, Instant::now()));
                Ok(None)
            }
            // It is the objects, or our rights: said where it is read.
            Err(error) if error.is_refusal() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, namespace: &str, objects: &build::Objects) -> Result<(), cluster::Error> {
        let build::Objects {
            account,
            role,
            binding,
            job,
        } = objects;
        let client = || self.client.clone();
        cluster::apply(&Api::namespaced(client(), namespace), MEASURE_MANAGER, account).await?;
        cluster::apply(&Api::namespaced(client(), namespace), MEASURE_MANAGER, role).await?;
        cluster::apply(&Api::namespaced(client(), namespace), MEASURE_MANAGER, binding).await?;
        // Created, not applied: most of a Job cannot be changed, and another version of us would build another one.
        let api: Api<Job> = Api::namespaced(client(), namespace);
        let params = PostParams {
            field_manager: Some(MEASURE_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let name = job.name_any();
        match call(
            || format!("create Job {namespace}/{name}"),
            api.create(&params, job),
        )
        .await
        {
            Err(error) if error.code() == Some(409) => Ok(()),
            created => created.map(drop),
        }
    }

    async fn pods_of(&self, namespace: &str, job: &str) -> Result<Vec<Pod>, cluster::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        let list = call(
            || format!("list the pods of Job {namespace}/{job}"),
            api.list(&params),
        )
        .await?;
        Ok(list.items)
    }

    /// What keeps a Job's pod from running, in the words of the scheduler or the kubelet.
    async fn held_up(&self, namespace: &str, job: &str) -> Result<Option<String>, cluster::Error> {
        let pods = self.pods_of(namespace, job).await?;
        Ok(trouble(&pods).map(|trouble| trouble.message))
    }

    /// What a Job said before it failed.
    async fn last_words(
        &self,
        namespace: &str,
        name: &str,
        jobs: &[Arc<Job>],
    ) -> Result<String, cluster::Error> {
        let pods = self.pods_of(namespace, name).await?;
        let said = pods.iter().find_map(last_words);
        let job = jobs.iter().find(|job| job.name_any() == name);
        Ok(said
            .or_else(|| job.and_then(|job| why(job)))
            .unwrap_or_else(|| "it does not say why".to_owned()))
    }

    /// Writes the condition where it differs.
    async fn say(
        &self,
        model: &InferenceModel,
        stage: &Stage,
        news: Option<&str>,
    ) -> Result<(), cluster::Error> {
        let old = model.status.clone().unwrap_or_default().conditions;
        let observations: Vec<_> = stage.observation(model, news).into_iter().collect();
        let now = cluster::now();
        let new = conditions::update(&old, &observations, model.metadata.generation, &now);
        if conditions::find(&old, PROFILED) == new.first() {
            return Ok(());
        }
        let api: Api<InferenceModel> =
            Api::namespaced(self.client.clone(), &model.namespace().unwrap_or_default());
        let status = ProfiledStatus {
            conditions: new.clone(),
        };
        match cluster::apply_status(&api, MEASURE_MANAGER, model, status).await {
            // Deleted meanwhile: nobody reads it any more.
            Err(error) if error.code() == Some(404) => return Ok(()),
            written => drop(written?),
        }
        self.events.publish_changes(model, &old, &new, "Profile").await;
        Ok(())
    }
}

/// Whether a pod is to run an image.
fn runs(pod: &Pod, image: &str) -> bool {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
    containers.unwrap_or_default().iter().any(|container| {
        container.name == names::RUNTIME_CONTAINER && container.image.as_deref() == Some(image)
    })
}

/// The end of what a container of a pod said before it ended.
fn last_words(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref()?;
    let ended = containers
        .iter()
        .find_map(|container| container.state.as_ref()?.terminated.as_ref())?;
    let said = ended.message.as_deref()?.trim();
    let skipped = said.chars().count().saturating_sub(TOLD);
    let said: String = said.chars().skip(skipped).collect();
    Some(said).filter(|said| !said.is_empty())
}

/// Why a Job says that it failed.
fn why(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let failed = conditions.iter().find(|condition| condition.type_ == "Failed")?;
    let parts = [failed.reason.as_deref(), failed.message.as_deref()];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

#[cfg(test)]
mod tests;
