//! Observe: writes on every application what the gateways measured of it over the last hour.
//!
//! Every gateway is asked every few seconds; what they counted is added up ([`figures`]) and written with two significant digits,
//! only where a figure changed and at most once a minute an application, so that an idle cluster writes nothing. [`spread`] says how bursty the requests
//! came, and which `spec.burst` that would be.
//!
//! Of the applications whose rate is observed it tells the planner the rate to plan for: [`arrivals`] makes out what came between two polls,
//! [`evidence`] what that says of the rate, and [`following`] when it is another one. Of every model it tells the planner how far its batches are from
//! its profile ([`drifts`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::conditions::{self, Observation, SLO_MET, Status, reason};
use harmonybatch_api::inference_app::AppObserved;
use harmonybatch_api::names::OBSERVE_MANAGER;
use harmonybatch_api::quantity::{Decimal, Rate};
use harmonybatch_api::{Condition, InferenceApp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::cluster;
use crate::events::Events;
use crate::gateways::{Gateways, Observed};
use crate::metrics::Metrics;
use crate::observe::figures::Counts;
use crate::plan::{Drift, Key};
use crate::stores::Stores;

mod arrivals;
mod drifts;
mod evidence;
mod figures;
mod following;
mod spread;

pub(crate) use arrivals::Arrivals;
pub(crate) use drifts::{Drifts, not_as_played};

/// How often the gateways are asked.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often one application is written at most.
const WRITE_INTERVAL: Duration = Duration::from_mins(1);

/// What a percentage loses when it becomes a fraction: 99.9 / 100 is not 999 / 1000 in binary.
const ROUNDING: f64 = 1e-9;

/// The observer.
pub(crate) struct Observer {
    pub(crate) client: Client,
    pub(crate) stores: Arc<Stores>,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Metrics,
    /// From when times count.
    pub(crate) started: Instant,
    /// When each application was written last.
    pub(crate) written: BTreeMap<(String, String), Instant>,
    /// What came of the applications whose rate is observed.
    pub(crate) arrivals: Arrivals,
    /// The rates to plan for of those, without those that are the declared ones.
    pub(crate) rates: watch::Sender<BTreeMap<Key, Rate>>,
    /// What batches took of the models' profiles.
    pub(crate) drifting: Drifts,
    /// How far they are from them.
    pub(crate) drifts: watch::Sender<BTreeMap<Key, Vec<Drift>>>,
    /// Wakes the planner.
    pub(crate) replan: Arc<Notify>,
}

/// The fields of an application's status that the observer owns.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct ObservedStatus {
    conditions: Vec<Condition>,
    observed: AppObserved,
}

impl Observer {
    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        loop {
            // The period of the measurement itself: gateways count, and are asked; a figure of a sliding hour has no event.
            tokio::time::sleep(INTERVAL).await;
            let timer = self.metrics.time("observe");
            match self.gateways.observed().await {
                Ok(answers) => {
                    self.follow(&answers);
                    let answers = Arc::new(answers);
                    self.compare(&answers).await;
                    self.write(&figures::merge(answers.iter().map(|(_, answer)| answer)))
                        .await;
                }
                Err(error) => {
                    // Figures of some gateways only would look like a drop in the rate.
                    tracing::debug!(%error, "nothing is observed until all gateways answer");
                    self.metrics.failed("observe", "Unanswered");
                }
            }
            drop(timer);
        }
    }

    fn follow(&mut self, answers: &[(SocketAddr, Observed)]) {
        let now = self.started.elapsed();
        let rates = self.arrivals.observe(now, &self.stores.apps(), answers);
        let changed = self.rates.send_if_modified(|known| {
            let changed = *known != rates;
            *known = rates;
            changed
        });
        if changed {
            self.replan.notify_one();
        }
    }

    /// On a thread of its own: what batches should take is played under a quota.
    async fn compare(&mut self, answers: &Arc<Vec<(SocketAddr, Observed)>>) {
        let now = self.started.elapsed();
        let (platforms, models, apps, groups) = (
            self.stores.platforms(),
            self.stores.models(),
            self.stores.apps(),
            self.stores.groups(),
        );
        let mut drifting = std::mem::take(&mut self.drifting);
        let answers = Arc::clone(answers);
        let compared = tokio::task::spawn_blocking(move || {
            let seen = answers.iter().map(|(_, answer)| answer);
            let others = not_as_played(&apps, seen.clone());
            let drifts = drifting.observe(now, &platforms, &models, &groups, &others, seen);
            (drifting, drifts)
        });
        let Ok((drifting, drifts)) = compared.await else {
            tracing::error!("the comparison of batches with profiles broke off; it begins anew");
            return;
        };
        self.drifting = drifting;
        let changed = self.drifts.send_if_modified(|known| {
            let changed = *known != drifts;
            *known = drifts;
            changed
        });
        if changed {
            self.replan.notify_one();
        }
    }

    async fn write(&mut self, counts: &BTreeMap<(String, String), Counts>) {
        let apps = self.stores.apps();
        let now = Instant::now();
        self.written
            .retain(|_, at| now.duration_since(*at) < WRITE_INTERVAL);
        for app in apps {
            let key = (app.namespace().unwrap_or_default(), app.name_any());
            // One that no gateway knows any more has no figures, and what stood there is no longer so.
            let known = counts.get(&key).cloned();
            let spoken_of = app
                .status
                .as_ref()
                .is_some_and(|status| status.observed.is_some());
            let Some(counts) = known.or_else(|| spoken_of.then(Counts::default)) else {
                continue;
            };
            let status = status(&app, &counts, &cluster::now());
            if self.written.contains_key(&key) || !differs(&app, &status) {
                continue;
            }
            let api: Api<InferenceApp> = Api::namespaced(self.client.clone(), &key.0);
            let old = app.status.clone().unwrap_or_default().conditions;
            let conditions = status.conditions.clone();
            match cluster::apply_status(&api, OBSERVE_MANAGER, &app, status).await {
                Ok(_) => {
                    self.written.insert(key, now);
                    self.events
                        .publish_changes(&app, &old, &conditions, "Observe")
                        .await;
                }
                Err(error) => {
                    tracing::warn!(app = %key.1, %error, "what was observed was not written");
                    self.metrics.failed("observe", "Cluster");
                }
            }
        }
    }
}

/// What the observer says of one application.
fn status(app: &InferenceApp, counts: &Counts, now: &Time) -> ObservedStatus {
    let old = app.status.clone().unwrap_or_default();
    let observed = AppObserved {
        rate: Rate::from_per_second(counts.rate).map(|rate| rate.to_string()),
        p50: counts.latency(0.5).map(figures::latency),
        p99: counts.latency(0.99).map(figures::latency),
        attainment: counts.attainment().map(figures::attainment),
        dispersion: counts.spread.of_a_minute().map(figures::two_digits),
        burst: counts.spread.burst(),
    };
    let observation = slo_met(&app.spec.slo.percentile, &app.spec.slo.latency, counts);
    let conditions = conditions::update(&old.conditions, &[observation], app.metadata.generation, now);
    ObservedStatus { conditions, observed }
}

/// Whether the SLO was kept. Below 1 / (1 - percentile) samples, one late answer would decide.
fn slo_met(percentile: &str, latency: &str, counts: &Counts) -> Observation {
    let unknown =
        |message: String| Observation::new(SLO_MET, Status::Unknown, reason::TOO_FEW_REQUESTS, message);
    let Ok(percent) = percentile.parse::<Decimal>() else {
        return unknown(format!("slo.percentile {percentile:?} cannot be read"));
    };
    let share = percent.to_f64() / 100.0;
    #[expect(
        clippy::cast_precision_loss,
        reason = "requests of an hour are far below 2^53"
    )]
    let samples = counts.samples() as f64;
    let needed = (1.0 / (1.0 - share) - ROUNDING).ceil();
    match counts.attainment() {
        Some(attained) if samples >= needed => {
            let kept = attained >= share - ROUNDING;
            let message = format!(
                "{}% of the answers of the last hour came within {latency}; {percentile}% is the target",
                figures::attainment(attained)
            );
            Observation::new(
                SLO_MET,
                kept,
                if kept { reason::OK } else { reason::SLO_MISSED },
                message,
            )
        }
        _ => unknown(format!("fewer than {needed} answers in the last hour")),
    }
}

/// Whether anything but a time differs from what stands there.
fn differs(app: &InferenceApp, status: &ObservedStatus) -> bool {
    let old = app.status.clone().unwrap_or_default();
    let condition = conditions::find(&old.conditions, SLO_MET).cloned();
    old.observed.as_ref() != Some(&status.observed) || condition.as_ref() != status.conditions.first()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateways::ObservedApp;

    fn check(percentile: &str, within: u64, late: u64, expected: (Status, &str)) {
        let seen = ObservedApp {
            within_slo: within,
            late,
            ..ObservedApp::default()
        };
        let merged = figures::merge(&[Observed {
            apps: vec![seen],
            ..Observed::default()
        }]);
        let counts = merged.values().next().cloned().unwrap_or_default();
        let observation = slo_met(percentile, "500ms", &counts);
        assert_eq!(
            (observation.status, observation.reason.as_str()),
            expected,
            "{percentile} {within} {late}"
        );
    }

    #[test]
    fn the_verdict_waits_until_one_late_answer_no_longer_decides() {
        check("99", 99, 0, (Status::Unknown, "TooFewRequests"));
        check("99", 100, 0, (Status::True, "OK"));
        check("99", 99, 1, (Status::True, "OK"));
        check("99", 98, 2, (Status::False, "SLOMissed"));
        check("99.9", 999, 0, (Status::Unknown, "TooFewRequests"));
        check("99.9", 999, 1, (Status::True, "OK"));
        check("50", 1, 0, (Status::Unknown, "TooFewRequests"));
    }
}
