//! The open loop: one task for each application sends what is due, each request is a task of its own, and whatever becomes
//! of it is a [`Sample`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::alarm::Alarm;
use crate::arrivals::Arrivals;
use crate::client::Client;
use crate::exchange::{Exchange, Nonces};
use crate::plan::{App, Plan, PlanError};
use crate::report::{Outcome, Report, Sample};

/// Of an answer that is an error, this much is kept.
const EXCERPT: usize = 300;

/// Runs a plan to its end.
pub async fn run(plan: Plan) -> Result<Report, PlanError> {
    Ok(start(plan)?.finish().await)
}

/// Starts a plan; its requests are sent while the handle lives.
pub fn start(plan: Plan) -> Result<Running, PlanError> {
    plan.check()?;
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        client: Client::new(&plan.target),
        start: Instant::now(),
        timeout: plan.timeout,
        places: Arc::new(Semaphore::new(plan.in_flight)),
        allowance: Semaphore::new(plan.requests),
        nonces: Mutex::new(Nonces::new(plan.seed)),
        samples: Mutex::new(Vec::new()),
    });
    let (mut rates, mut tasks) = (Vec::new(), JoinSet::new());
    for (index, app) in plan.apps.iter().enumerate() {
        let (rate, changes) = watch::channel(app.rate);
        rates.push(rate);
        let schedule = Schedule {
            shared: Arc::clone(&shared),
            app: Arc::new(app.clone()),
            index,
            arrivals: Arrivals::new(plan.seed, index),
            rate: changes,
            stopped: stopped.clone(),
            duration: plan.duration,
        };
        tasks.spawn(schedule.run());
    }
    Ok(Running {
        plan,
        shared,
        rates,
        stop,
        tasks,
    })
}

/// A plan under way. Dropping it ends all its requests.
#[derive(Debug)]
pub struct Running {
    plan: Plan,
    shared: Arc<Shared>,
    rates: Vec<watch::Sender<f64>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Time since the start: the axis of [`Sample::intended`] and of [`Report::during`].
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Changes the rate of an application from now on; 0 pauses it. Returns whether there is an application of that name.
    pub fn set_rate(&self, app: &str, rate: f64) -> bool {
        let rates = self.plan.apps.iter().zip(&self.rates);
        let mut named = rates.filter(|(candidate, _)| candidate.name == app);
        let rate = if rate.is_finite() { rate.max(0.0) } else { 0.0 };
        named.next().is_some_and(|(_, sender)| sender.send(rate).is_ok())
    }

    /// What has been answered, or has failed, so far.
    pub fn report(&self) -> Report {
        let samples = lock(&self.shared.samples).clone();
        Report::new(&self.plan, samples, self.elapsed().min(self.plan.duration))
    }

    /// Sends nothing more; what is in flight is still awaited by [`Running::finish`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end of the plan, or of [`Running::stop`], and for the last answer or its timeout.
    pub async fn finish(mut self) -> Report {
        let mut sent_for = self.elapsed();
        while self.tasks.join_next().await.is_some() {
            sent_for = sent_for.max(self.elapsed().min(self.plan.duration));
        }
        let samples = std::mem::take(&mut *lock(&self.shared.samples));
        Report::new(&self.plan, samples, sent_for)
    }
}

/// What all requests of a run share.
#[derive(Debug)]
struct Shared {
    client: Client,
    start: Instant,
    timeout: Duration,
    places: Arc<Semaphore>,
    allowance: Semaphore,
    nonces: Mutex<Nonces>,
    samples: Mutex<Vec<Sample>>,
}

/// The arrivals of one application.
struct Schedule {
    shared: Arc<Shared>,
    app: Arc<App>,
    index: usize,
    arrivals: Arrivals,
    rate: watch::Receiver<f64>,
    stopped: watch::Receiver<bool>,
    duration: Duration,
}

impl Schedule {
    /// Late wake-ups do not shift later arrivals: each is due at a time that follows from the gaps alone.
    async fn run(mut self) {
        let mut requests = JoinSet::new();
        let mut due = Duration::ZERO;
        let mut alarm = Alarm::new();
        // Written before it is due: the time that it takes is not the server's.
        let mut next = self.next_request();
        loop {
            let rate = *self.rate.borrow_and_update();
            // An application that is paused has no next arrival; the plan's end wakes it.
            let gap = if rate > 0.0 {
                self.arrivals.gap(rate)
            } else {
                Duration::MAX
            };
            due = due.saturating_add(gap);
            let wake = self.shared.start + due.min(self.duration);
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => break,
                Ok(()) = self.rate.changed() => {
                    // Exponential gaps have no memory: the next one counts from here.
                    due = self.shared.start.elapsed();
                    continue;
                }
                () = alarm.until(wake) => (),
            }
            if due >= self.duration {
                break;
            }
            let Ok(allowance) = self.shared.allowance.try_acquire() else {
                break;
            };
            allowance.forget();
            self.send(due, next, &mut requests);
            next = self.next_request();
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }

    fn next_request(&self) -> (Exchange, Bytes) {
        let first = lock(&self.shared.nonces).take(self.app.rows);
        let exchange = Exchange::new(&self.app, first);
        let body = exchange.request();
        (exchange, body)
    }

    fn send(&self, due: Duration, (exchange, body): (Exchange, Bytes), requests: &mut JoinSet<()>) {
        let (shared, app, index) = (Arc::clone(&self.shared), Arc::clone(&self.app), self.index);
        let sent = shared.start.elapsed();
        let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
            let sample = Sample {
                app: index,
                intended: due,
                sent,
                latency: Duration::ZERO,
                outcome: Outcome::Unsent,
            };
            lock(&shared.samples).push(sample);
            return;
        };
        requests.spawn(async move {
            let deadline = shared.start + due + shared.timeout;
            let answer = timeout_at(deadline, shared.client.infer(&app, body)).await;
            let latency = shared.start.elapsed().saturating_sub(due);
            let outcome = match answer {
                Err(_) => Outcome::TimedOut,
                Ok(Err(error)) => Outcome::Broken(error),
                Ok(Ok((StatusCode::OK, body))) => exchange
                    .check(&body)
                    .map_or_else(Outcome::Wrong, |()| Outcome::Right),
                Ok(Ok((status, body))) => Outcome::Refused(status.as_u16(), excerpt(&body)),
            };
            lock(&shared.samples).push(Sample {
                app: index,
                intended: due,
                sent,
                latency,
                outcome,
            });
            drop(place);
        });
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned()
}

/// Held for a push or a copy; a list of finished samples is whole even if its holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
