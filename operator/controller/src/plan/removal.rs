//! Deletes the groups that no plan wants, once [`retire`] says that nobody uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::InferenceGroup;
use kube::api::Api;
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::build::Planned;
use super::gather::Gathered;
use super::retire::{self, Verdict};
use super::validate::{Key, key};
use crate::cluster;
use crate::events::Events;
use crate::gateways::Gateways;
use crate::metrics::Metrics;
use crate::stores::Stores;

/// How long a group may wait for gateways that are not there before that is said.
const PATIENCE: Duration = Duration::from_mins(1);

/// The groups on their way out.
pub(crate) struct Removal {
    pub(crate) client: Client,
    pub(crate) stores: Arc<Stores>,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Metrics,
    /// Since when a group waits, and whether that was said.
    pub(crate) waiting: BTreeMap<Key, (Instant, bool)>,
}

impl Removal {
    /// Deletes what nobody uses. True while some still wait.
    pub(crate) async fn remove(
        &mut self,
        gathered: &Gathered,
        planned: &[Planned<'_>],
    ) -> Result<bool, cluster::Error> {
        let unwanted = unwanted(gathered, planned);
        let names: BTreeSet<Key> = unwanted.iter().map(|group| key(&***group)).collect();
        self.waiting.retain(|name, _| names.contains(name));
        let wanted: usize = planned.iter().map(|it| it.groups.wanted.len()).sum();
        self.metrics.groups(wanted, unwanted.len());
        // The gateways are asked at most once, and only if a group was ever routed.
        let mut answers = None;
        for group in unwanted {
            let (namespace, name) = key(&**group);
            // As it is now: it may have become active while the plan was made, and then gateways route by it.
            let Some(group) = self.stores.group(&namespace, &name) else {
                continue;
            };
            let active = group.status.as_ref().and_then(|status| status.active.as_ref());
            let verdict = match active {
                // No gateway has ever heard of it.
                None => Verdict::Delete,
                Some(active) => {
                    let answer = match answers.take() {
                        Some(answer) => answer,
                        None => self.gateways.acknowledged().await,
                    };
                    let apps: Vec<&str> = active.members.iter().map(|member| member.app.as_str()).collect();
                    let verdict = match &answer {
                        Ok(gateways) => retire::verdict(&namespace, &name, &apps, gateways),
                        Err(error) => Verdict::Wait(error.to_string()),
                    };
                    answers = Some(answer);
                    verdict
                }
            };
            match verdict {
                Verdict::Delete => self.delete(&group).await?,
                Verdict::Wait(why) => self.wait(&group, &why).await,
            }
        }
        Ok(!self.waiting.is_empty())
    }

    async fn delete(&mut self, group: &InferenceGroup) -> Result<(), cluster::Error> {
        let api: Api<InferenceGroup> =
            Api::namespaced(self.client.clone(), &group.namespace().unwrap_or_default());
        if !cluster::delete_as_seen(&api, group).await? {
            self.wait(group, "it changed while it was judged").await;
            return Ok(());
        }
        self.waiting.remove(&key(group));
        let note = "no plan wants the group and no gateway uses it";
        self.events
            .publish(group, EventType::Normal, "Retired", "Plan", note)
            .await;
        Ok(())
    }

    async fn wait(&mut self, group: &InferenceGroup, why: &str) {
        let (since, said) = self
            .waiting
            .entry(key(group))
            .or_insert_with(|| (Instant::now(), false));
        if !*said && since.elapsed() >= PATIENCE {
            *said = true;
            let note = format!("no plan wants the group, but it stays: {why}");
            self.events
                .publish(group, EventType::Warning, "WaitsToLeave", "Plan", &note)
                .await;
        }
    }
}

/// The groups that exist and that no plan wants. Groups of a model that is not accepted now stay as they are; those of a model that is
/// gone go with it, because it owns them.
fn unwanted<'a>(gathered: &'a Gathered, planned: &[Planned<'_>]) -> Vec<&'a Arc<InferenceGroup>> {
    gathered
        .groups
        .iter()
        .filter(|group| {
            let model = (
                group.namespace().unwrap_or_default(),
                group.spec.model_ref.name.clone(),
            );
            planned
                .iter()
                .find(|it| key(it.model) == model)
                .is_some_and(|it| it.groups.unwanted.contains(&group.name_any()))
        })
        .collect()
}
