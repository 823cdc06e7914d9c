//! The owner task of one group: takes requests in, forms batches, hands them to free replicas.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use harmonybatch_dispatch::{Nanos, RuleError};
use http::StatusCode;
use tokio::{
    sync::{mpsc, watch},
    task::{self, JoinError, JoinSet},
};

use super::{
    batch::{self, Batch, BatchIds, Done, InFlight},
    queue::{Due, Queue},
    replicas::{Conduct, Replicas},
    request::{GroupStats, Queued},
};
use crate::{
    config::GroupConfig,
    metrics::GroupMetrics,
    protocol::ApiError,
    timer::Timer,
    upstream::{Replica, Upstream},
};

/// What a group's task is told.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) config: Arc<GroupConfig>,
    /// The configuration no longer has the group.
    pub(super) retired: bool,
    /// The gateway is going: nothing waits for others any more.
    pub(super) flush: bool,
}

/// The ends of a task that its fleet holds.
pub(super) struct Parts<U: Upstream> {
    pub(super) inbox: mpsc::Receiver<Queued>,
    pub(super) left: mpsc::UnboundedReceiver<u64>,
    pub(super) orders: watch::Receiver<Orders>,
    /// Takes requests that this group cannot serve any more.
    pub(super) homeless: mpsc::UnboundedSender<Queued>,
    pub(super) stats: Arc<GroupStats>,
    pub(super) metrics: Arc<GroupMetrics>,
    pub(super) batch_ids: Arc<BatchIds>,
    pub(super) upstream: U,
    pub(super) timer: Timer,
}

pub(super) struct Worker<U: Upstream> {
    parts: Parts<U>,
    config: Arc<GroupConfig>,
    retired: bool,
    queue: Queue,
    replicas: Replicas<U::Connection>,
    in_flight: JoinSet<Done<U::Connection>>,
    /// Which replica a task in flight keeps busy.
    busy: HashMap<task::Id, Replica>,
}

impl<U: Upstream> Worker<U> {
    /// # Errors
    /// Where the group's rule is not valid.
    pub(super) fn new(mut parts: Parts<U>) -> Result<Self, RuleError> {
        let orders = parts.orders.borrow_and_update().clone();
        let mut worker = Self {
            queue: Queue::new(&orders.config)?,
            config: orders.config.clone(),
            retired: false,
            replicas: Replicas::new(),
            in_flight: JoinSet::new(),
            busy: HashMap::new(),
            parts,
        };
        worker.follow(orders);
        Ok(worker)
    }

    /// Runs until nobody can submit any more and all is answered.
    pub(super) async fn run(mut self) {
        let (mut open, mut followed) = (true, true);
        while open || !self.queue.is_empty() || !self.in_flight.is_empty() {
            let wake_up = self.wake_up();
            let timer = self.parts.timer;
            tokio::select! {
                biased;
                // First what frees a replica, then what changes the rules, then departures, so that a batch is formed from what is true now.
                Some(done) = self.in_flight.join_next_with_id() => self.finish(done),
                changed = self.parts.orders.changed(), if followed => {
                    // An error: the fleet let go of the group for good.
                    followed = changed.is_ok();
                    let orders = self.parts.orders.borrow_and_update().clone();
                    self.follow(Orders { retired: orders.retired || !followed, ..orders });
                }
                Some(id) = self.parts.left.recv() => self.forget(id),
                arrived = self.parts.inbox.recv(), if open => match arrived {
                    Some(request) => self.admit(request),
                    None => open = false,
                },
                () = timer.until(wake_up) => {}
            }
            self.dispatch();
        }
    }

    /// When the next batch can leave if nothing happens until then.
    fn wake_up(&self) -> Option<Nanos> {
        let ready = self.queue.next_ready()?;
        Some(ready.max(self.replicas.next_free()?))
    }

    fn admit(&mut self, request: Queued) {
        // Its caller left before it came here, or while it was in a batch that came back: nobody will tell of it again.
        if request.is_abandoned(self.parts.timer.now()) {
            return;
        }
        if let Err(error) = self.queue.arrive(request) {
            // Cannot be: members are added as they come, and a request has rows. The caller sees its queue end.
            tracing::error!(group = %self.config.key, %error, "a request was not taken in");
        }
    }

    fn forget(&mut self, id: u64) {
        drop(self.queue.remove(id));
    }

    fn follow(&mut self, orders: Orders) {
        if let Err(error) = self.queue.set_rule(&orders.config, orders.flush) {
            tracing::error!(group = %self.config.key, %error, "the changed rule is not valid; the last one stands");
        }
        self.replicas.set(&orders.config);
        self.parts
            .stats
            .endpoints
            .store(orders.config.endpoints.len(), Ordering::Release);
        self.retired = orders.retired;
        self.config = orders.config;
    }

    fn finish(&mut self, done: Result<(task::Id, Done<U::Connection>), JoinError>) {
        let now = self.parts.timer.now();
        let done = match done {
            Ok((id, done)) => {
                self.busy.remove(&id);
                done
            }
            Err(error) => {
                // A defect of ours; its callers see their answer's channel closed. The replica goes on.
                tracing::error!(group = %self.config.key, %error, "a batch's task failed");
                if let Some(replica) = self.busy.remove(&error.id()) {
                    self.replicas.release(&replica, None, Conduct::Answered, now);
                }
                return;
            }
        };
        let Done {
            replica,
            connection,
            conduct,
            unsent,
            in_flight,
        } = done;
        self.replicas.release(&replica, connection, conduct, now);
        let Some((requests, reason)) = unsent else {
            self.parts.stats.set_failure(None);
            drop(in_flight);
            return;
        };
        tracing::warn!(group = %self.config.key, ?replica, %reason, "a replica could not be reached");
        self.parts.metrics.unreachable.inc();
        self.parts.stats.set_failure(Some(reason));
        // The replica has seen nothing of it: the requests take their old places.
        for mut request in requests {
            request.make_wait(&self.parts.stats);
            self.admit(request);
        }
        if self.retired {
            // Nobody keeps the list of a group that is gone: what could not be reached will not come back.
            self.give_back();
        }
        drop(in_flight);
    }

    /// Forms batches while there is one that is ready and a replica that is free.
    fn dispatch(&mut self) {
        while let Ok(id) = self.parts.left.try_recv() {
            self.forget(id);
        }
        if self.retired && self.replicas.is_empty() {
            self.give_back();
        }
        loop {
            let now = self.parts.timer.now();
            if self.queue.next_ready().is_none_or(|ready| ready > now)
                || self.replicas.next_free().is_none_or(|free| free > now)
            {
                return;
            }
            let Some(due) = self.queue.take(now) else { return };
            self.start(due, now);
        }
    }

    fn start(&mut self, due: Due, now: Nanos) {
        let Due {
            requests,
            reason,
            since,
        } = due;
        // A caller that left, or whose time is over, is not served: its end of the request says so itself.
        let mut requests: Vec<Queued> = requests
            .into_iter()
            .filter(|request| !request.is_abandoned(now))
            .collect();
        if requests.is_empty() {
            return;
        }
        let Some((replica, connection, free_since)) = self.replicas.acquire(now) else {
            for request in requests {
                self.admit(request);
            }
            return;
        };
        let in_flight = InFlight::new(self.parts.stats.clone());
        let mut rows = 0_u64;
        for request in &mut requests {
            rows += u64::from(request.rows());
            request.stats.observe_wait(batch::wait(request, now));
            request.progress.sent.store(true, Ordering::Release);
            request.room = None;
        }
        self.parts
            .metrics
            .observe_batch(reason, rows, since.max(free_since), now);
        let batch = Batch {
            id: self.parts.batch_ids.next(),
            requests,
            runtime_model: self.config.runtime_model.clone(),
            wire: self.config.wire,
            replica,
            connection,
            upstream: self.parts.upstream.clone(),
            timer: self.parts.timer,
            metrics: self.parts.metrics.clone(),
            in_flight,
        };
        let replica = batch.replica.clone();
        let task = self.in_flight.spawn(batch.run());
        self.busy.insert(task.id(), replica);
    }

    /// The group is gone, and its replicas are or cannot be reached: its requests go where their applications went.
    fn give_back(&mut self) {
        for request in self.queue.take_all() {
            if let Err(mpsc::error::SendError(request)) = self.parts.homeless.send(request) {
                let message = "the gateway is shutting down";
                request.answer(Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)));
            }
        }
    }
}
