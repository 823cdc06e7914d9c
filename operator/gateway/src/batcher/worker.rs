//! The owner task of one group: takes requests in, forms batches, hands them to free replicas.

use std::{collections::HashMap, sync::Arc};

use harmonybatch_dispatch::{Nanos, Reason, RuleError};
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
};

use super::{
    batch::{self, Batch, BatchIds, Done, End, InFlight},
    isolation::{Culprit, Isolations, PartId},
    quarantine::Quarantine,
    queue::Queue,
    replicas::{Conduct, Replicas},
    request::{GroupStats, Queued, Sent},
    retry::RetryBudget,
};
use crate::{
    admission::Standing,
    config::GroupConfig,
    metrics::{BatchFailure, GroupMetrics},
    protocol::{ApiError, Cause},
    sync::{atomic::Ordering, mpsc},
    timer::{Alarm, Timer},
    trace::{Departure, Tracer},
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

/// Why a batch leaves now.
#[derive(Clone, Copy)]
enum Occasion {
    /// The rule says so, since this time.
    Due(Reason, Nanos),
    /// It is a part of one that was refused.
    Part(PartId),
}

impl Occasion {
    fn name(self) -> &'static str {
        match self {
            Self::Due(Reason::Full, _) => "full",
            Self::Due(Reason::MaxWait, _) => "max_wait",
            Self::Due(Reason::Eager, _) => "eager",
            Self::Part(_) => "part",
        }
    }
}

/// The ends of a task that its fleet holds.
pub(super) struct Parts<U: Upstream> {
    pub(super) inbox: mpsc::Receiver<Box<Queued>>,
    pub(super) left: mpsc::UnboundedReceiver<u64>,
    pub(super) orders: watch::Receiver<Orders>,
    /// Takes requests that this group cannot serve any more.
    pub(super) homeless: mpsc::UnboundedSender<Queued>,
    pub(super) stats: Arc<GroupStats>,
    pub(super) metrics: Arc<GroupMetrics>,
    pub(super) batch_ids: Arc<BatchIds>,
    pub(super) tracer: Tracer,
    pub(super) upstream: U,
    pub(super) timer: Timer,
}

pub(super) struct Worker<U: Upstream> {
    parts: Parts<U>,
    config: Arc<GroupConfig>,
    retired: bool,
    /// Goes off when a batch can leave.
    alarm: Alarm,
    queue: Queue,
    replicas: Replicas<U::Connection>,
    in_flight: JoinSet<Done<U::Connection>>,
    /// Which replica a task in flight keeps busy, and of which refused batch it carries a part.
    busy: HashMap<task::Id, (Replica, Option<PartId>)>,
    isolations: Isolations,
    quarantine: Quarantine,
    retries: RetryBudget,
}

impl<U: Upstream> Worker<U> {
    /// # Errors
    /// Where the group's rule is not valid.
    pub(super) fn new(mut parts: Parts<U>) -> Result<Self, RuleError> {
        let orders = parts.orders.borrow_and_update().clone();
        let mut worker = Self {
            alarm: parts.timer.alarm(),
            queue: Queue::new(&orders.config)?,
            config: orders.config.clone(),
            retired: false,
            replicas: Replicas::new(),
            in_flight: JoinSet::new(),
            busy: HashMap::new(),
            isolations: Isolations::default(),
            quarantine: Quarantine::default(),
            retries: RetryBudget::new(parts.timer.now()),
            parts,
        };
        worker.follow(orders);
        Ok(worker)
    }

    /// Runs until nobody can submit any more and all is answered.
    pub(super) async fn run(mut self) {
        let (mut open, mut followed) = (true, true);
        while open || !self.is_done() {
            let wake_up = self.wake_up();
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
                    Some(request) => self.admit(*request),
                    None => open = false,
                },
                () = self.alarm.until(wake_up) => {}
            }
            self.dispatch();
        }
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.isolations.is_empty() && self.in_flight.is_empty()
    }

    /// When the next batch can leave if nothing happens until then.
    fn wake_up(&self) -> Option<Nanos> {
        if !self.isolations.is_empty() {
            return self.replicas.next_free();
        }
        let ready = self.queue.next_ready()?;
        Some(ready.max(self.replicas.next_free()?))
    }

    fn admit(&mut self, mut request: Queued) {
        let now = self.parts.timer.now();
        // Its caller left before it came here, or while it was in a batch that came back: nobody will tell of it again.
        if request.is_abandoned(now) {
            return;
        }
        if self.quarantine.is_apart(&request.member.app, now) {
            request.key = request.key.apart(&request.member.app);
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
                if let Some((replica, part)) = self.busy.remove(&error.id()) {
                    self.replicas.release(&replica, None, Conduct::Answered, now);
                    if let Some(part) = part {
                        self.isolations.lost(part);
                    }
                }
                return;
            }
        };
        let Done {
            replica,
            connection,
            conduct,
            part,
            service,
            end,
            in_flight,
        } = done;
        self.replicas.release(&replica, connection, conduct, now);
        match end {
            End::Unsent(requests, reason) => {
                let metrics = &self.parts.metrics;
                metrics.unreachable.inc();
                if let Some(left_out) = metrics.unreachable_said.admits(now) {
                    tracing::warn!(group = %metrics.group, ?replica, %reason, left_out, "a replica could not be reached");
                }
                self.parts.stats.set_failure(Some(reason));
                self.wait_again(requests, part);
                if self.retired {
                    // Nobody keeps the list of a group that is gone: what could not be reached will not come back.
                    self.give_back();
                }
            }
            End::Answered => {
                self.parts.stats.observe_service(service);
                self.parts.stats.set_failure(None);
                if let Some(part) = part {
                    self.isolations.answered(part);
                }
            }
            End::Told => {
                self.parts.stats.set_failure(None);
                if let Some(part) = part {
                    self.isolations.lost(part);
                }
            }
            End::Failed {
                requests,
                failure,
                error,
            } => {
                self.parts.stats.set_failure(None);
                self.look_closer(requests, part, failure, error);
            }
        }
        self.blame(now);
        // Only now does nothing of it wait unseen.
        drop(in_flight);
    }

    /// What a replica has not seen, or not answered, takes its old place.
    fn wait_again(&mut self, mut requests: Vec<Queued>, part: Option<PartId>) {
        for request in &mut requests {
            request.make_wait();
        }
        match part {
            Some(part) => self.isolations.unsent(part, requests),
            None => requests.into_iter().for_each(|request| self.admit(request)),
        }
    }

    /// A batch failed: it is taken apart where that may help and is allowed, and its callers are told otherwise.
    fn look_closer(
        &mut self,
        mut requests: Vec<Queued>,
        part: Option<PartId>,
        failure: BatchFailure,
        error: ApiError,
    ) {
        let may_repeat = match failure {
            // A runtime that refuses a request as its caller's fault has not begun with it.
            BatchFailure::ClientError => true,
            BatchFailure::ServerError | BatchFailure::Invalid => self.config.idempotent,
            // Perhaps it brought the replica down: it shall not do so to the next one.
            BatchFailure::Broken | BatchFailure::Overdue => false,
        };
        if let (Some(part), [culprit]) = (part, requests.as_slice()) {
            self.isolations.found(part, Culprit::of(culprit));
            return batch::refuse(requests, &error);
        }
        if requests.len() < 2 || !may_repeat {
            if let Some(part) = part {
                self.isolations.lost(part);
            }
            return batch::refuse(requests, &error);
        }
        for request in &mut requests {
            request.make_wait();
        }
        match part {
            Some(part) => {
                if let Some((requests, error)) = self.isolations.refused(part, requests) {
                    batch::refuse(requests, &error);
                }
            }
            None => self.isolations.begin(requests, error),
        }
    }

    /// Counts the requests that spoiled batches, and sets applications apart that keep doing so.
    fn blame(&mut self, now: Nanos) {
        for Culprit { app, stats } in self.isolations.culprits() {
            let apart_until = self.quarantine.strike(&app, now);
            if apart_until.is_some() {
                tracing::warn!(group = %self.config.key, app = &*app, "its requests keep spoiling batches: they are batched by themselves for a minute");
            }
            stats.spoiled(apart_until);
        }
    }

    /// Forms batches while there is one that is ready and a replica that is free.
    fn dispatch(&mut self) {
        while let Ok(id) = self.parts.left.try_recv() {
            self.forget(id);
        }
        if self.retired && self.replicas.is_empty() {
            self.give_back();
        }
        self.send_parts();
        loop {
            let now = self.parts.timer.now();
            if self.queue.next_ready().is_none_or(|ready| ready > now)
                || self.replicas.next_free().is_none_or(|free| free > now)
            {
                return;
            }
            let Some(due) = self.queue.take(now) else { return };
            self.retries.deposit();
            self.start(due.requests, Occasion::Due(due.reason, due.since), now);
        }
    }

    /// Parts of refused batches go first: they have waited once.
    fn send_parts(&mut self) {
        while !self.isolations.is_empty() {
            let now = self.parts.timer.now();
            if self.replicas.next_free().is_none_or(|free| free > now) {
                return;
            }
            let Some(part) = self.isolations.take() else {
                return;
            };
            if self.retries.withdraw(now) {
                self.parts.metrics.retries.inc();
                self.start(part.requests, Occasion::Part(part.id), now);
            } else {
                self.parts.metrics.retries_denied.inc();
                let (requests, error) = self.isolations.give_up(part);
                batch::refuse(requests, &error);
            }
        }
    }

    fn start(&mut self, requests: Vec<Queued>, occasion: Occasion, now: Nanos) {
        let part = match occasion {
            Occasion::Part(part) => Some(part),
            Occasion::Due(..) => None,
        };
        // A caller that left, or whose time is over, is not served: its end of the request says so itself.
        let mut requests: Vec<Queued> = requests
            .into_iter()
            .filter(|request| !request.is_abandoned(now))
            .collect();
        if requests.is_empty() {
            if let Some(part) = part {
                self.isolations.lost(part);
            }
            return;
        }
        let Some((replica, connection, free_since)) = self.replicas.acquire(now) else {
            return self.wait_again(requests, part);
        };
        let in_flight = InFlight::new(self.parts.stats.clone());
        let mut rows = 0_u64;
        for request in &mut requests {
            rows += u64::from(request.rows());
            request.stats.observe_wait(batch::wait(request, now));
            request.progress.sent.store(true, Ordering::Release);
            request.room.leave();
        }
        let id = self.parts.batch_ids.next();
        let sent = Sent {
            batch: id,
            rows: usize::try_from(rows).unwrap_or(usize::MAX),
            at: now,
        };
        let finished = now.saturating_add(self.parts.stats.service.load(Ordering::Acquire));
        for request in &requests {
            request.progress.leave(sent);
            match request.standing {
                Standing::Regular => {
                    request.stats.drain.left(request.rows(), now);
                    request.stats.overload.left(request.due() < finished, now);
                }
                Standing::Yielding => self.parts.stats.yielding_drain.left(request.rows(), now),
            }
        }
        if let Occasion::Due(reason, since) = occasion {
            let metrics = &self.parts.metrics;
            metrics.observe_batch(reason, rows, since.max(free_since), now);
        }
        let departure = Departure {
            id,
            group: &self.config.key,
            replica: &replica,
            reason: occasion.name(),
            requests: requests.len(),
            rows,
            at: now,
        };
        let sampled = requests
            .iter()
            .filter_map(|request| request.submission.span.as_ref());
        let batch = Batch {
            id,
            span: self.parts.tracer.batch(&departure, sampled),
            requests,
            part,
            runtime_model: self.config.runtime_model.clone(),
            idempotent: self.config.idempotent,
            wire: self.config.wire,
            replica,
            connection,
            upstream: self.parts.upstream.clone(),
            timer: self.parts.timer,
            metrics: self.parts.metrics.clone(),
            in_flight,
        };
        let replica = batch.replica.clone();
        // Boxed before it is handed on: it is of some kilobytes, and is moved several times on its way into its task.
        let task = self.in_flight.spawn(Box::pin(batch.run()));
        self.busy.insert(task.id(), (replica, part));
    }

    /// The group is gone, and its replicas are or cannot be reached: its requests go where their applications went.
    fn give_back(&mut self) {
        for request in self
            .isolations
            .take_all()
            .into_iter()
            .chain(self.queue.take_all())
        {
            if let Err(mpsc::error::SendError(request)) = self.parts.homeless.send(request) {
                let message = "the gateway is shutting down";
                request.answer(Err(ApiError::new(Cause::Draining, message)));
            }
        }
    }
}
