//! The hand-off between callers and the tasks of their groups, before a model checker (shuttle): callers are threads that may be stopped before every
//! operation on what they share with a task (`crate::sync`), while one more thread carries the fleet and its tasks on paused time. However they interleave,
//! every caller that waits has one answer, its own; one that leaves at any moment leaves nothing behind; and no count says less than there is.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Weak, atomic as plain};
use std::task::{Context, Waker};

use shuttle::{
    Config, FailurePersistence, Runner,
    rand::Rng as _,
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};

use super::*;
use crate::{batcher::request::Progress, protocol::Cause};

/// Interleavings of a story by each scheduler in a usual run; more: `HARMONYBATCH_INTERLEAVINGS=20000 cargo test -p harmonybatch-gateway --lib model`.
const INTERLEAVINGS: usize = 400;
const SEED: u64 = 2405;
/// Of one thread.
const STACK: usize = 1 << 20;
/// Preemptions at the worst moments that the second scheduler tries together.
const DEPTH: usize = 4;
const CALLERS: u64 = 3;
const MEMORY: usize = 1 << 20;
/// Longer than anything takes.
const LONG: Duration = Duration::from_hours(1);

/// Tells a story in many interleavings: at random, and with few preemptions at chosen moments.
fn check(story: impl Fn() + Send + Sync + Copy + 'static) {
    let asked = std::env::var("HARMONYBATCH_INTERLEAVINGS").ok();
    let interleavings = asked.map_or(INTERLEAVINGS, |count| count.parse().unwrap());
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    // The seed is the same in every run.
    config.failure_persistence = FailurePersistence::None;
    let random = RandomScheduler::new_from_seed(SEED, interleavings);
    Runner::new(random, config.clone()).run(story);
    let bounded = PctScheduler::new_from_seed(SEED, DEPTH, interleavings);
    Runner::new(bounded, config).run(story);
}

fn chance(parts: u32) -> bool {
    shuttle::rand::thread_rng().gen_range(0..parts) == 0
}

/// Replicas that echo after a millisecond, and say what they have seen and answered.
#[derive(Clone, Default)]
struct Echo {
    /// Calls that find no replica, before the others do.
    unreachable: Arc<plain::AtomicU32>,
    /// The number of a row that no replica takes.
    spoilt: Arc<Mutex<Option<u64>>>,
    seen: Arc<Mutex<Vec<u64>>>,
    answered: Arc<Mutex<HashSet<u64>>>,
}

impl Echo {
    fn some_unreachable(&self) {
        self.unreachable
            .store(u32::from(chance(2)), plain::Ordering::SeqCst);
    }
}

impl Upstream for Echo {
    type Connection = ();

    async fn call(
        &self,
        _: &Replica,
        _: Option<()>,
        call: Call,
    ) -> (Option<()>, Result<Reply, UpstreamError>) {
        tokio::time::sleep(ms(1)).await;
        let counted = |left: u32| left.checked_sub(1);
        let left = self
            .unreachable
            .fetch_update(plain::Ordering::SeqCst, plain::Ordering::SeqCst, counted);
        if left.is_ok() {
            return (None, Err(UpstreamError::Connect("refused".into())));
        }
        let asked: Value = serde_json::from_slice(&call.body.into_bytes()).unwrap();
        let input = &asked["inputs"][0];
        let rows = numbers(&input["data"]);
        self.seen.lock().unwrap().extend(&rows);
        let spoilt = *self.spoilt.lock().unwrap();
        if spoilt.is_some_and(|spoilt| rows.contains(&spoilt)) {
            return (
                Some(()),
                Ok(Refusal::Status(StatusCode::BAD_REQUEST).reply(&asked)),
            );
        }
        self.answered.lock().unwrap().extend(rows);
        (Some(()), Ok(echo(&asked["id"], &input["shape"], &input["data"])))
    }
}

/// What became of a caller's request.
#[derive(Debug)]
enum Fate {
    Answered(Answered),
    Failed(ApiError),
    /// It left before it had an answer.
    Left,
}

/// How long a caller waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    ToTheEnd,
    /// Until it has looked for its answer so often.
    Looks(u32),
}

impl Patience {
    fn any() -> Self {
        if chance(2) { Self::ToTheEnd } else { Self::little() }
    }

    fn little() -> Self {
        Self::Looks(shuttle::rand::thread_rng().gen_range(0..4))
    }
}

/// One interleaving of a story, on the thread that carries the tasks.
struct Stage {
    bench: Bench<Echo>,
    memory: Budget,
    /// Callers that have submitted their requests, and callers that are done.
    submitted: Arc<plain::AtomicU64>,
    done: Arc<plain::AtomicU64>,
    callers: Vec<(u64, Patience, thread::JoinHandle<Fate>)>,
    /// What is there as long as a request is, wherever it is.
    requests: Arc<Mutex<Vec<Weak<Progress>>>>,
}

/// A story in a world of its own.
fn on_stage(config: GroupConfig, story: impl AsyncFnOnce(&mut Stage)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let mut stage = Stage {
            bench: Bench::start_with(Echo::default(), Timer::new(), config).await,
            memory: Budget::new(MEMORY),
            submitted: Arc::default(),
            done: Arc::default(),
            callers: Vec::new(),
            requests: Arc::default(),
        };
        story(&mut stage).await;
    });
}

impl Stage {
    /// A caller of one row, whose number is the caller's.
    fn call(&mut self, number: u64, patience: Patience) {
        let (table, timer) = (self.bench.table.borrow().clone(), self.bench.timer);
        let (submitted, done) = (self.submitted.clone(), self.done.clone());
        let (memory, requests) = (self.memory.clone(), self.requests.clone());
        let caller = thread::spawn(move || {
            let body =
                json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [number]}]});
            let mut held = memory.hold();
            held.grow_to(1 << 10).unwrap();
            let submission = Submission {
                request: Request::read(&Bytes::from(body.to_string())).unwrap(),
                model: "mlp".to_owned(),
                version: None,
                arrival: timer.now(),
                deadline: None,
                memory: held,
                span: None,
            };
            let waiter = table.submit(table.routes.by_app("shop", "a").unwrap(), submission);
            submitted.fetch_add(1, plain::Ordering::SeqCst);
            let fate = waiter.map_or_else(Fate::Failed, |waiter| {
                let progress = waiter.progress().clone();
                requests.lock().unwrap().push(Arc::downgrade(&progress));
                let fate = wait(waiter, timer, patience);
                // A batch that is told of is one, whenever it is asked for.
                if let Some(sent) = progress.sent() {
                    assert!(sent.rows <= 2 && sent.batch.number() > 0, "{sent:?}");
                }
                if let Fate::Answered(answered) = &fate {
                    let rows = progress.sent().map(|sent| u32::try_from(sent.rows).unwrap());
                    assert_eq!(rows, Some(answered.batch_rows));
                }
                fate
            });
            done.fetch_add(1, plain::Ordering::SeqCst);
            fate
        });
        self.callers.push((number, patience, caller));
    }

    /// Lets time and the others go on until it is so.
    async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..20_000 {
            if is_so() {
                return;
            }
            thread::yield_now();
            if chance(4) {
                tokio::time::advance(ms(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        panic!("never: {what}");
    }

    async fn all_submitted(&self) {
        let count = self.callers.len() as u64;
        self.until("all are submitted", || {
            self.submitted.load(plain::Ordering::SeqCst) == count
        })
        .await;
    }

    /// What became of the callers, when they are done and nothing is left of them.
    async fn end(&mut self) -> Vec<(u64, Patience, Fate)> {
        let count = self.callers.len() as u64;
        self.until("all callers are done", || {
            self.done.load(plain::Ordering::SeqCst) == count
        })
        .await;
        let callers = self.callers.drain(..);
        let fates: Vec<_> = callers
            .map(|(number, patience, caller)| (number, patience, caller.join().unwrap()))
            .collect();
        self.until("no request is left", || {
            self.requests
                .lock()
                .unwrap()
                .iter()
                .all(|request| request.strong_count() == 0)
        })
        .await;
        let table = self.bench.table.borrow().clone();
        self.until("nothing is in flight", || {
            table.group_stats().all(|(_, stats, _)| stats.is_idle())
        })
        .await;
        for (group, stats, _) in table.group_stats() {
            let bytes = stats.queued_bytes.load(Ordering::Acquire);
            let yielding = stats.yielding_rows.load(Ordering::Acquire);
            assert_eq!((bytes, yielding), (0, 0), "{group}");
        }
        for (app, stats) in table.all_app_stats() {
            assert_eq!(stats.queued_rows.load(Ordering::Acquire), 0, "{app}");
        }
        assert!(self.memory.hold().grow_to(MEMORY).is_ok(), "memory is still held");
        fates
    }
}

/// Waits as a caller does that may leave.
fn wait(waiter: Waiter, timer: Timer, patience: Patience) -> Fate {
    // The budget of the task that is stopped meanwhile is not this thread's.
    let answer = tokio::task::unconstrained(waiter.answer(timer));
    let answer = match patience {
        Patience::ToTheEnd => Some(shuttle::future::block_on(answer)),
        Patience::Looks(looks) => {
            let mut answer = Box::pin(answer);
            let mut context = Context::from_waker(Waker::noop());
            (0..looks).find_map(|_| {
                thread::yield_now();
                match answer.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(answer) => Some(answer),
                    std::task::Poll::Pending => None,
                }
            })
        }
    };
    match answer {
        None => Fate::Left,
        Some(Ok(answered)) => Fate::Answered(answered),
        Some(Err(error)) => Fate::Failed(error),
    }
}

/// The row that an answer holds.
fn row(answered: &Answered) -> u64 {
    let body: Value = serde_json::from_slice(&answered.answer.body.clone().into_bytes()).unwrap();
    let rows = numbers(&body["outputs"][0]["data"]);
    assert_eq!(rows.len(), 1);
    rows[0]
}

fn caller(timeout: Duration, max_wait: u64) -> Arc<MemberConfig> {
    let member = MemberConfig::clone(&member("a", 300, max_wait));
    Arc::new(MemberConfig { timeout, ..member })
}

#[test]
fn whoever_waits_is_answered_once_and_whoever_leaves_leaves_nothing() {
    check(|| {
        on_stage(group(2, &[caller(LONG, 1)], &[1, 2]), async |stage| {
            let spoilt = chance(2).then_some(0);
            *stage.bench.upstream.spoilt.lock().unwrap() = spoilt;
            stage.bench.upstream.some_unreachable();
            for number in 0..CALLERS {
                stage.call(number, Patience::any());
            }
            for (number, patience, fate) in stage.end().await {
                match fate {
                    Fate::Answered(answered) => assert_eq!(row(&answered), number),
                    Fate::Failed(error) => {
                        assert_eq!((Some(number), error.status), (spoilt, StatusCode::BAD_REQUEST));
                    }
                    Fate::Left => assert!(patience != Patience::ToTheEnd, "{number} has no answer"),
                }
            }
            if spoilt.is_none() {
                let mut seen = stage.bench.upstream.seen.lock().unwrap().clone();
                seen.sort_unstable();
                assert!(
                    seen.is_sorted_by(|one, next| one < next),
                    "served twice: {seen:?}"
                );
            }
        });
    });
}

#[test]
fn a_group_is_idle_only_when_no_request_is_on_its_way() {
    check(|| {
        on_stage(group(2, &[caller(LONG, 1)], &[1, 2]), async |stage| {
            // To the replica and back again, and so often that whoever reads counts one by one may find it on neither side.
            stage.bench.upstream.some_unreachable();
            stage.call(0, Patience::ToTheEnd);
            let (table, answered) = (
                stage.bench.table.borrow().clone(),
                stage.bench.upstream.answered.clone(),
            );
            let submitted = stage.submitted.clone();
            let watcher = thread::spawn(move || {
                let is_answered = || answered.lock().unwrap().contains(&0);
                while !is_answered() {
                    let is_submitted = submitted.load(plain::Ordering::SeqCst) == 1;
                    let is_idle = table.group_stats().all(|(_, stats, _)| stats.is_idle());
                    assert!(
                        !is_submitted || !is_idle || is_answered(),
                        "idle with a request on its way"
                    );
                    thread::yield_now();
                }
            });
            let fates = stage.end().await;
            watcher.join().unwrap();
            assert!(matches!(fates[..], [(0, _, Fate::Answered(_))]));
        });
    });
}

#[test]
fn a_timeout_is_told_once_and_what_has_waited_to_its_timeout_is_never_sent() {
    check(|| {
        on_stage(group(1, &[caller(ms(3), 0)], &[1]), async |stage| {
            for number in 0..CALLERS {
                stage.call(number, Patience::ToTheEnd);
            }
            for (number, _, fate) in stage.end().await {
                let is_seen = stage.bench.upstream.seen.lock().unwrap().contains(&number);
                match fate {
                    Fate::Answered(answered) => assert_eq!(row(&answered), number),
                    Fate::Failed(error) => match error.cause {
                        Cause::TimeoutQueue | Cause::Overloaded => assert!(!is_seen, "{error:?}"),
                        Cause::TimeoutRuntime => {}
                        _ => panic!("{error:?}"),
                    },
                    Fate::Left => panic!("{number} has no answer"),
                }
            }
        });
    });
}

#[test]
fn a_caller_that_leaves_at_any_moment_leaves_an_empty_queue() {
    check(|| {
        // Without a replica nothing but the caller's own leave takes a request out.
        on_stage(group(2, &[caller(LONG, 1)], &[]), async |stage| {
            for number in 0..CALLERS {
                stage.call(number, Patience::little());
            }
            stage.end().await;
        });
    });
}

#[test]
fn a_caller_may_leave_while_its_request_is_moved_to_another_group() {
    check(|| {
        let members = [caller(LONG, 1)];
        on_stage(group(2, &members, &[]), async |stage| {
            // Without a replica there as well, all have to leave.
            let is_served = chance(2);
            for number in 0..CALLERS {
                stage.call(
                    number,
                    if is_served {
                        Patience::any()
                    } else {
                        Patience::little()
                    },
                );
            }
            // The real one holds the table while it submits.
            stage.all_submitted().await;
            let successor = successor(&members, if is_served { &[2] } else { &[] });
            stage.bench.configure(successor).await;
            for (number, patience, fate) in stage.end().await {
                match fate {
                    Fate::Answered(answered) => assert_eq!(row(&answered), number),
                    Fate::Failed(error) => panic!("{error:?}"),
                    Fate::Left => assert!(patience != Patience::ToTheEnd, "{number} has no answer"),
                }
            }
        });
    });
}
