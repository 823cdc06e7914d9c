//! How far the measurement of a model is, and what is said of it: pure functions of the model, its Jobs and what its pods run.

use std::collections::BTreeSet;
use std::sync::Arc;

use harmonybatch_api::conditions::{Observation, PROFILED, reason};
use harmonybatch_api::inference_model::{MeasuredProfile, ProfileFrom};
use harmonybatch_api::{InferenceModel, names};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

/// How far it is. The text is the name of the Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The profile is given: nothing is measured.
    Off,
    /// What was measured is what the model runs.
    Current,
    /// A Job is to be made.
    Wanted(String),
    /// It runs.
    Runs(String),
    /// It failed.
    Failed(String),
    /// It is done, and what it measured is not here.
    Done(String),
}

impl Stage {
    /// Finds it out. `running` are the digests that replicas with the model's image run, as far as they are known.
    pub(crate) fn of(model: &InferenceModel, jobs: &[Arc<Job>], running: &BTreeSet<String>) -> Self {
        if model.spec.profile.from != ProfileFrom::Measure {
            return Self::Off;
        }
        let subject = model.spec.subject();
        let measured = measured(model).filter(|measured| measured.subject == subject);
        // A tag that was moved: every replica runs another digest than was measured. Where some still run that, it holds for them.
        let moved = measured
            .and_then(digest)
            .filter(|digest| !running.contains(*digest));
        let seed = match (moved, running.first()) {
            (Some(_), Some(digest)) => format!("{subject} {digest}"),
            _ if measured.is_some() => return Self::Current,
            _ => subject,
        };
        let name = names::profile_job_name(&model.name_any(), &seed);
        let Some(job) = jobs.iter().find(|job| job.name_any() == name) else {
            return Self::Wanted(name);
        };
        if holds(job, "Complete") {
            Self::Done(name)
        } else if holds(job, "Failed") {
            Self::Failed(name)
        } else {
            Self::Runs(name)
        }
    }

    /// The Job that is of use; others measure what nobody wants to know any more.
    fn job(&self) -> Option<&str> {
        match self {
            Self::Off | Self::Current => None,
            Self::Wanted(name) | Self::Runs(name) | Self::Failed(name) | Self::Done(name) => Some(name),
        }
    }

    /// The Jobs that are to go. One that is done stays, for whoever reads its log, until another one is wanted.
    pub(crate) fn leftovers<'a>(&self, jobs: &'a [Arc<Job>]) -> Vec<&'a Arc<Job>> {
        let over = |job: &Job| match self {
            Self::Off => true,
            Self::Current => false,
            _ => self.job() != Some(job.name_any().as_str()),
        };
        jobs.iter()
            .filter(|job| job.metadata.deletion_timestamp.is_none() && over(job))
            .collect()
    }

    /// What is said of it. `news` is what holds the measurement up, or why it failed.
    pub(crate) fn observation(&self, model: &InferenceModel, news: Option<&str>) -> Option<Observation> {
        let measured = measured(model);
        let until_then = match measured {
            Some(measured) => format!(
                "; until there is another, the profile of {}{} stays in use",
                measured.image,
                digest(measured).map_or_else(String::new, |digest| format!(" ({digest})"))
            ),
            None if !model.spec.profile.cpu.is_empty() => {
                "; until there is one, the entries of profile.cpu hold".to_owned()
            }
            None => String::new(),
        };
        let under_way = match measured {
            Some(_) => reason::STALE,
            None => reason::MEASURING,
        };
        let image = &model.spec.runtime.image;
        let news = news.map_or_else(String::new, |news| format!(": {news}"));
        let (holds, reason, message) = match self {
            Self::Off => return None,
            Self::Current => (true, reason::MEASURED, self.what_was_measured(measured?)),
            Self::Wanted(_) => (
                false,
                under_way,
                format!("{image} is going to be measured{news}{until_then}"),
            ),
            Self::Runs(job) => (
                false,
                under_way,
                format!("Job {job} measures {image}{news}{until_then}"),
            ),
            Self::Done(job) => (
                false,
                under_way,
                format!(
                    "Job {job} is done, and its profile is not here yet; if this stays so, delete the Job, and it is measured again{until_then}"
                ),
            ),
            Self::Failed(job) => (
                false,
                reason::FAILED,
                format!(
                    "Job {job} failed{news}; change what it says, or delete the Job, and it is measured again{until_then}"
                ),
            ),
        };
        Some(Observation::new(PROFILED, holds, reason, message))
    }

    #[expect(clippy::unused_self, reason = "reads as a part of the sentence")]
    fn what_was_measured(&self, measured: &MeasuredProfile) -> String {
        let provenance = measured.provenance.as_ref();
        let samples = provenance.and_then(|provenance| provenance.samples);
        let error = provenance.and_then(|provenance| provenance.fit_error.as_deref());
        format!(
            "{} was measured: {} batches, the fit is off by {} at most",
            measured.image,
            samples.map_or_else(
                || "an unknown number of".to_owned(),
                |samples| samples.to_string()
            ),
            error.unwrap_or("an unknown part")
        )
    }
}

fn measured(model: &InferenceModel) -> Option<&MeasuredProfile> {
    model.status.as_ref()?.profile.as_ref()
}

fn digest(measured: &MeasuredProfile) -> Option<&str> {
    measured.provenance.as_ref()?.image_digest.as_deref()
}

/// Whether a Job is neither done nor failed.
pub(crate) fn is_active(job: &Job) -> bool {
    !holds(job, "Complete") && !holds(job, "Failed")
}

fn holds(job: &Job, type_: &str) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use harmonybatch_api::conditions::Status;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures;

    fn measuring() -> InferenceModel {
        let mut model = fixtures::model();
        model.spec.profile.from = ProfileFrom::Measure;
        model.spec.profile.cpu.clear();
        model
    }

    /// The model after its measurement, which found this digest.
    fn measured_as(digest: &str) -> InferenceModel {
        let mut model = measuring();
        let profile = json!({"image": "example.org/runtime:1", "subject": model.spec.subject(), "cpu": [],
            "provenance": {"source": "Measured", "imageDigest": digest, "samples": 400, "fitError": "3.1%"}});
        model.status = Some(serde_json::from_value(json!({"profile": profile})).unwrap());
        model
    }

    fn job(name: &str, condition: Option<&str>) -> Arc<Job> {
        let conditions: Vec<Value> = condition
            .iter()
            .map(|type_| json!({"type": type_, "status": "True"}))
            .collect();
        let job =
            json!({"metadata": {"name": name, "namespace": "shop"}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn running(digests: &[&str]) -> BTreeSet<String> {
        digests.iter().map(|digest| (*digest).to_owned()).collect()
    }

    fn said(stage: &Stage, model: &InferenceModel, news: Option<&str>) -> (Status, String, String) {
        let observation = stage.observation(model, news).unwrap();
        (observation.status, observation.reason, observation.message)
    }

    #[test]
    fn a_model_is_measured_once() {
        let model = measuring();
        let Stage::Wanted(name) = Stage::of(&model, &[], &running(&[])) else {
            unreachable!("nothing was measured")
        };
        let stage = |condition| Stage::of(&model, &[job(&name, condition)], &running(&[]));
        assert_eq!(stage(None), Stage::Runs(name.clone()));
        assert_eq!(stage(Some("Complete")), Stage::Done(name.clone()));
        assert_eq!(stage(Some("Failed")), Stage::Failed(name.clone()));
        // Another Job is none of it.
        assert_eq!(
            Stage::of(&model, &[job("other", None)], &running(&[])),
            Stage::Wanted(name)
        );
        assert_eq!(
            Stage::of(&measured_as("sha256:a"), &[], &running(&[])),
            Stage::Current
        );
        assert_eq!(Stage::of(&fixtures::model(), &[], &running(&[])), Stage::Off);
    }

    #[test]
    fn another_image_is_measured_again_and_the_old_profile_stays() {
        let mut model = measured_as("sha256:a");
        let first = names::profile_job_name("mlp", &model.spec.subject());
        model.spec.runtime.image = "example.org/runtime:2".to_owned();
        let old = job(&first, Some("Complete"));
        let stage = Stage::of(&model, &[Arc::clone(&old)], &running(&[]));
        assert!(
            matches!(&stage, Stage::Wanted(name) if *name != first),
            "{stage:?}"
        );
        assert_eq!(stage.leftovers(std::slice::from_ref(&old)).len(), 1);
        let (status, reason, message) = said(&stage, &model, None);
        assert_eq!((status, reason.as_str()), (Status::False, "Stale"));
        assert_eq!(
            message,
            "example.org/runtime:2 is going to be measured; until there is another, the profile of example.org/runtime:1 (sha256:a) stays in use"
        );
    }

    #[test]
    fn a_moved_tag_is_measured_again_once_no_replica_runs_what_was_measured() {
        let model = measured_as("sha256:a");
        for digests in [&[][..], &["sha256:a"], &["sha256:a", "sha256:b"]] {
            assert_eq!(
                Stage::of(&model, &[], &running(digests)),
                Stage::Current,
                "{digests:?}"
            );
        }
        let Stage::Wanted(name) = Stage::of(&model, &[], &running(&["sha256:b"])) else {
            unreachable!("the tag was moved")
        };
        assert_ne!(name, names::profile_job_name("mlp", &model.spec.subject()));
        // If that finds the old digest again, as on a node that keeps the old image, it is not done for ever.
        let done = Stage::of(&model, &[job(&name, Some("Complete"))], &running(&["sha256:b"]));
        assert_eq!(done, Stage::Done(name));
    }

    #[test]
    fn what_becomes_of_a_measurement_is_said() {
        let mut model = measuring();
        let runs = Stage::Runs("mlp-profile-x".to_owned());
        let (status, reason, message) = said(&runs, &model, Some("pod p is Pending: no node"));
        assert_eq!((status, reason.as_str()), (Status::False, "Measuring"));
        assert_eq!(
            message,
            "Job mlp-profile-x measures example.org/runtime:1: pod p is Pending: no node"
        );

        model.spec.profile.cpu = fixtures::model().spec.profile.cpu;
        let failed = Stage::Failed("mlp-profile-x".to_owned());
        let (_, reason, message) = said(&failed, &model, Some("refused: batch 1 on cpu 250m"));
        assert_eq!(reason, "Failed");
        assert!(
            message.contains("failed: refused: batch 1 on cpu 250m;")
                && message.ends_with("the entries of profile.cpu hold"),
            "{message}"
        );

        let model = measured_as("sha256:a");
        let (status, reason, message) = said(&Stage::Current, &model, None);
        assert_eq!((status, reason.as_str()), (Status::True, "Measured"));
        assert!(
            message.contains("400 batches, the fit is off by 3.1% at most"),
            "{message}"
        );
        assert_eq!(Stage::Off.observation(&model, None), None);
    }

    #[test]
    fn jobs_that_nobody_needs_go_and_the_last_log_stays() {
        let jobs = [job("a", Some("Complete")), job("b", None)];
        let left = |stage: &Stage| {
            stage
                .leftovers(&jobs)
                .iter()
                .map(|job| job.name_any())
                .collect::<Vec<_>>()
        };
        assert_eq!(left(&Stage::Off), ["a", "b"]);
        assert_eq!(left(&Stage::Runs("b".to_owned())), ["a"]);
        assert!(left(&Stage::Current).is_empty());
    }
}
