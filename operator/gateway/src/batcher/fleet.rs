//! One task for every group of the configuration, kept in step with it, as is the table by which requests find them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{
    batch::BatchIds,
    handle::Handle,
    request::{GroupStats, Queued},
    table::{Limits, RETRY_AFTER, Seat, Table},
    worker::{Orders, Parts, Worker},
};
use crate::{
    config::{ConfigSource, Key, RouteError, Routes, Snapshot, Target},
    metrics::{AppStats, Metrics},
    protocol::{ApiError, Cause},
    sync::mpsc,
    timer::{Timer, nanos},
    trace::Tracer,
    upstream::Upstream,
};

/// How often a group that is gone is looked at, until it holds nothing.
const RETIRED_CHECK: Duration = Duration::from_millis(500);
/// A group's task as the fleet holds it.
struct Crew {
    handle: Handle,
    orders: watch::Sender<Orders>,
    retired: bool,
}

/// Keeps the tasks in step with the configuration.
pub struct Fleet<U: Upstream> {
    source: ConfigSource,
    table: watch::Sender<Arc<Table>>,
    crews: HashMap<Key, Crew>,
    apps: HashMap<Key, Arc<AppStats>>,
    tasks: JoinSet<()>,
    homeless: (mpsc::UnboundedSender<Queued>, mpsc::UnboundedReceiver<Queued>),
    cluster_domain: String,
    limits: Limits,
    metrics: Arc<Metrics>,
    batch_ids: Arc<BatchIds>,
    tracer: Tracer,
    upstream: U,
    timer: Timer,
    flush: bool,
}

impl<U: Upstream> Fleet<U> {
    /// A fleet without groups, and the table that it keeps.
    pub fn new(
        source: ConfigSource,
        cluster_domain: &str,
        limits: Limits,
        metrics: Arc<Metrics>,
        upstream: U,
        timer: Timer,
    ) -> (Self, watch::Receiver<Arc<Table>>) {
        let table = Table {
            routes: Routes::new(&Snapshot::default(), cluster_domain),
            loaded: false,
            groups: HashMap::new(),
            apps: HashMap::new(),
            seats: Vec::new(),
            limits,
            ids: Arc::default(),
        };
        let (table, receiver) = watch::channel(Arc::new(table));
        let fleet = Self {
            source,
            table,
            crews: HashMap::new(),
            apps: HashMap::new(),
            tasks: JoinSet::new(),
            homeless: mpsc::unbounded_channel(),
            cluster_domain: cluster_domain.to_owned(),
            limits,
            metrics,
            batch_ids: Arc::default(),
            tracer: Tracer::default(),
            upstream,
            timer,
            flush: false,
        };
        (fleet, receiver)
    }

    /// With spans of its batches.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Follows the configuration for ever. When `flush` turns true, no request waits for others any more.
    pub async fn run(mut self, mut flush: watch::Receiver<bool>) {
        let (mut followed, mut flushable) = (true, true);
        self.follow();
        loop {
            let retired = self.crews.values().any(|crew| crew.retired);
            tokio::select! {
                biased;
                changed = self.source.changed(), if followed => {
                    // The last configuration stands when its source is gone.
                    followed = changed.is_ok();
                    self.follow();
                }
                changed = flush.changed(), if flushable => {
                    flushable = changed.is_ok();
                    self.flush = *flush.borrow_and_update();
                    self.follow();
                }
                Some(queued) = self.homeless.1.recv() => self.rehouse(queued),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a group's task failed");
                    }
                }
                // Its task and its callers empty it, and neither tells.
                () = tokio::time::sleep(RETIRED_CHECK), if retired => self.follow(),
            }
        }
    }

    /// Brings tasks and table in step with the configuration.
    fn follow(&mut self) {
        let Some(snapshot) = self.source.borrow_and_update().clone() else {
            return;
        };
        let is_gone =
            |key: &Key, crew: &Crew| !snapshot.groups.contains_key(key) && crew.handle.stats.is_idle();
        self.crews.retain(|key, crew| !is_gone(key, crew));
        for (key, crew) in &mut self.crews {
            if !snapshot.groups.contains_key(key) {
                crew.retired = true;
                let (config, flush) = (crew.handle.config.clone(), self.flush);
                crew.order(Orders {
                    config,
                    retired: true,
                    flush,
                });
            }
        }
        for config in snapshot.groups.values() {
            let orders = Orders {
                config: config.clone(),
                retired: false,
                flush: self.flush,
            };
            match self.crews.get_mut(&config.key) {
                Some(crew) => {
                    crew.retired = false;
                    crew.handle.config = config.clone();
                    crew.order(orders);
                }
                None => self.hire(orders),
            }
        }
        let routes = Routes::new(&snapshot, &self.cluster_domain);
        let apps = routes
            .apps()
            .map(|(app, target)| (app.clone(), self.app_stats(app, target)));
        let apps: HashMap<Key, Arc<AppStats>> = apps.collect();
        for (key, crew) in &mut self.crews {
            let members = crew.handle.config.members.iter().filter_map(|member| {
                let app = Key {
                    namespace: key.namespace.clone(),
                    name: member.app.clone(),
                };
                Some((nanos(member.slo), apps.get(&app)?.clone()))
            });
            crew.handle.members = members.collect();
        }
        let past_apps = std::mem::replace(&mut self.apps, apps);
        let ids = self.table.borrow().ids.clone();
        let handles = self.crews.iter();
        let groups: HashMap<Key, Arc<Handle>> = handles
            .map(|(key, crew)| (key.clone(), Arc::new(crew.handle.clone())))
            .collect();
        self.table.send_replace(Arc::new(Table {
            seats: seats(&routes, &groups, &self.apps),
            routes,
            loaded: true,
            groups,
            apps: self.apps.clone(),
            limits: self.limits,
            ids,
        }));
        for app in past_apps.keys().filter(|app| !self.apps.contains_key(*app)) {
            self.metrics.forget_app(app);
        }
    }

    /// Counts for an application; those of its past go on under a changed SLO.
    fn app_stats(&self, app: &Key, target: &Target) -> Arc<AppStats> {
        let slo = target.member.slo;
        match self.apps.get(app) {
            Some(stats) => {
                stats.set_slo(slo);
                stats.clone()
            }
            None => Arc::new(AppStats::new(slo, self.timer.now())),
        }
    }

    fn hire(&mut self, orders: Orders) {
        let key = orders.config.key.clone();
        // Requests wait in the task's queue, not here: this only evens out bursts.
        let (inbox, inbox_receiver) = mpsc::channel(4096);
        let (left, left_receiver) = mpsc::unbounded_channel();
        let stats = Arc::new(GroupStats::default());
        let metrics = Arc::new(self.metrics.group(&key));
        let handle = Handle {
            inbox,
            left,
            stats: stats.clone(),
            metrics: metrics.clone(),
            config: orders.config.clone(),
            members: Arc::default(),
        };
        let (orders, orders_receiver) = watch::channel(orders);
        let worker = Worker::new(Parts {
            inbox: inbox_receiver,
            left: left_receiver,
            orders: orders_receiver,
            homeless: self.homeless.0.clone(),
            stats,
            metrics,
            batch_ids: self.batch_ids.clone(),
            tracer: self.tracer.clone(),
            upstream: self.upstream.clone(),
            timer: self.timer,
        });
        match worker {
            Ok(worker) => {
                self.tasks.spawn(worker.run());
                self.crews.insert(
                    key,
                    Crew {
                        handle,
                        orders,
                        retired: false,
                    },
                );
            }
            Err(error) => {
                tracing::error!(group = %key, %error, "the group's rule is not valid; it is not served");
            }
        }
    }

    /// Hands a request whose group is gone to the group that has its application now.
    fn rehouse(&self, mut queued: Queued) {
        if queued.is_abandoned(self.timer.now()) {
            return;
        }
        let table = self.table.borrow().clone();
        let refusal = match self.place(&table, &queued) {
            Ok((handle, target)) => {
                queued.member = target.member.clone();
                queued.move_to(handle.place());
                match handle.inbox.try_send(Box::new(queued)) {
                    Ok(()) => return,
                    Err(error) => {
                        queued = *error.into_inner();
                        let message = "the group that serves the application now is full";
                        ApiError::new(Cause::QueueFull, message).retry_after(RETRY_AFTER)
                    }
                }
            }
            Err(error @ RouteError::OtherModel { .. }) => ApiError::new(Cause::UnknownModel, error),
            Err(error) => ApiError::new(Cause::NotReady, error).retry_after(RETRY_AFTER),
        };
        queued.answer(Err(refusal));
    }

    /// The group that serves a request now.
    fn place<'a>(
        &self,
        table: &'a Table,
        queued: &Queued,
    ) -> Result<(&'a Arc<Handle>, &'a Target), RouteError> {
        let target = table.routes.by_app(&queued.app.namespace, &queued.app.name)?;
        target.check_model(&queued.submission.model)?;
        // Not the group that just gave it back.
        let crew = self.crews.get(&target.group.key);
        let handle = table
            .groups
            .get(&target.group.key)
            .filter(|_| crew.is_some_and(|crew| !crew.retired));
        let handle = handle.ok_or_else(|| RouteError::NotReady {
            namespace: queued.app.namespace.clone(),
            app: queued.app.name.clone(),
        })?;
        Ok((handle, target))
    }
}

/// Where each application's requests wait, by the number of its target.
fn seats(
    routes: &Routes,
    groups: &HashMap<Key, Arc<Handle>>,
    apps: &HashMap<Key, Arc<AppStats>>,
) -> Vec<Option<Seat>> {
    let mut targets: Vec<_> = routes.apps().collect();
    targets.sort_unstable_by_key(|(_, target)| target.number);
    let seat = |(app, target): (&Key, &Target)| {
        Some(Seat {
            app: app.clone(),
            handle: groups.get(&target.group.key)?.clone(),
            stats: apps.get(app)?.clone(),
        })
    };
    targets.into_iter().map(seat).collect()
}

impl Crew {
    /// Tells the task only what it does not know.
    fn order(&self, orders: Orders) {
        self.orders.send_if_modified(|present| {
            let changed = present.config != orders.config
                || present.retired != orders.retired
                || present.flush != orders.flush;
            if changed {
                *present = orders;
            }
            changed
        });
    }
}
