//! Two gateways before three replicas that fail in every way, on paused time and from a seed: whatever happens, every caller has one answer, and it is its own.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::*;

/// Seeds of a usual run; more: `HARMONYBATCH_SEEDS=5000 cargo test -p harmonybatch-gateway --lib chaos`.
const SEEDS: u64 = 500;
const REQUESTS: u64 = 120;
/// In which they come.
const SPAN: Duration = Duration::from_secs(3);
const APPS: [&str; 3] = ["a", "b", "c"];

/// What became of one call, for the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unreachable,
    Broken,
    Refused(u16),
    Mangled(Refusal),
    Hangs,
    Echo,
}

/// A call at a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Visit {
    at: Nanos,
    gateway: usize,
    replica: u8,
    rows: Vec<u64>,
    fate: Fate,
}

/// Replicas that a seed drives, as one gateway reaches them.
#[derive(Clone)]
struct Chaos {
    timer: Timer,
    gateway: usize,
    random: Arc<Mutex<fastrand::Rng>>,
    visits: Arc<Mutex<Vec<Visit>>>,
    /// Calls in flight of this gateway, by replica: at most one.
    busy: Arc<Mutex<BTreeMap<u8, u32>>>,
}

/// Counts a call until it ends or is given up.
struct Busy(Arc<Mutex<BTreeMap<u8, u32>>>, u8);

impl Busy {
    fn new(busy: &Arc<Mutex<BTreeMap<u8, u32>>>, replica: u8) -> Self {
        let mut counts = busy.lock().unwrap();
        let count = counts.entry(replica).or_default();
        *count += 1;
        assert_eq!(*count, 1, "replica {replica} has two batches of one gateway");
        Self(busy.clone(), replica)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.lock().unwrap().entry(self.1).or_default() -= 1;
    }
}

impl Chaos {
    fn fate(&self) -> (Fate, Duration) {
        let mut random = self.random.lock().unwrap();
        let fate = match random.u32(0..100) {
            0..6 => Fate::Unreachable,
            6..10 => Fate::Broken,
            10..14 => Fate::Refused(500),
            14..17 => Fate::Refused(400),
            17..19 => Fate::Mangled(Refusal::FewerRows),
            19..21 => Fate::Mangled(Refusal::OtherId),
            21..23 => Fate::Hangs,
            _ => Fate::Echo,
        };
        let time = match fate {
            // Longer than any timeout; sometimes for good.
            Fate::Hangs => Duration::from_secs(random.u64(2..90)),
            Fate::Unreachable => Duration::from_micros(random.u64(0..5_000)),
            _ => Duration::from_micros(random.u64(500..60_000)),
        };
        (fate, time)
    }
}

impl Upstream for Chaos {
    type Connection = ();

    async fn call(
        &self,
        replica: &Replica,
        _: Option<()>,
        call: Call,
    ) -> (Option<()>, Result<Reply, UpstreamError>) {
        let Replica::Endpoint(SocketAddr::V4(address)) = replica else {
            return (None, Err(UpstreamError::Connect("no address".into())));
        };
        let replica = address.ip().octets()[3];
        let _busy = Busy::new(&self.busy, replica);
        let asked: Value = serde_json::from_slice(&call.body.into_bytes()).unwrap();
        let input = &asked["inputs"][0];
        let (fate, time) = self.fate();
        self.visits.lock().unwrap().push(Visit {
            at: self.timer.now(),
            gateway: self.gateway,
            replica,
            rows: numbers(&input["data"]),
            fate,
        });
        tokio::time::sleep(time).await;
        match fate {
            Fate::Unreachable => (None, Err(UpstreamError::Connect("refused".into()))),
            Fate::Broken => (None, Err(UpstreamError::Broken("reset".into()))),
            Fate::Refused(status) => {
                let status = StatusCode::from_u16(status).unwrap();
                (Some(()), Ok(Refusal::Status(status).reply(&asked)))
            }
            Fate::Mangled(refusal) => (Some(()), Ok(refusal.reply(&asked))),
            Fate::Hangs | Fate::Echo => (Some(()), Ok(echo(&asked["id"], &input["shape"], &input["data"]))),
        }
    }
}

/// A configuration that a seed draws: who is in the group, how it batches, and which replicas are listed.
fn draw(random: &mut fastrand::Rng, idempotent: bool, generation: i64) -> GroupConfig {
    let members: Vec<_> = APPS
        .iter()
        .map(|app| member(app, random.u64(50..500), random.u64(0..40)))
        .collect();
    let endpoints: Vec<u8> = (1..=3).filter(|_| random.u32(0..4) > 0).collect();
    GroupConfig {
        plan_generation: generation,
        idempotent,
        ..group(random.u32(1..9), &members, &endpoints)
    }
}

/// What a caller had: the answer's rows, or the status of an error, or nothing as it left.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Had {
    Rows(Vec<u64>),
    Error(u16),
    Left,
}

/// Plays a seed: what replicas saw, and what each caller had, by its number.
async fn play(seed: u64) -> (Vec<Visit>, BTreeMap<u64, Had>) {
    let timer = Timer::new();
    let mut random = fastrand::Rng::with_seed(seed);
    let idempotent = random.bool();
    let (draws, visits) = (Arc::new(Mutex::new(random.fork())), Arc::default());
    let mut gateways = Vec::new();
    for gateway in 0..2 {
        let upstream = Chaos {
            timer,
            gateway,
            random: draws.clone(),
            visits: Arc::clone(&visits),
            busy: Arc::default(),
        };
        let config = draw(&mut random, idempotent, 1);
        gateways.push(Bench::start_with(upstream, timer, config).await);
    }
    let mut changes: Vec<Nanos> = (0..4).map(|_| random.u64(0..3_000) * MS).collect();
    changes.sort_unstable();
    let mut changes = changes.into_iter().peekable();
    let mut arrivals: Vec<Nanos> = (0..REQUESTS).map(|_| random.u64(0..3_000_000) * 1_000).collect();
    arrivals.sort_unstable();
    let start = tokio::time::Instant::now();
    let mut callers = JoinSet::new();
    let mut refused = BTreeMap::new();
    for (number, at) in (0..).zip(arrivals) {
        while let Some(change) = changes.next_if(|change| *change <= at) {
            tokio::time::sleep_until(start + Duration::from_nanos(change)).await;
            let config = draw(&mut random, idempotent, 2);
            gateways[random.usize(0..2)].configure(config).await;
        }
        tokio::time::sleep_until(start + Duration::from_nanos(at)).await;
        let rows = random.u64(1..4);
        let app = APPS[random.usize(0..3)];
        let stays = random.u32(0..20) > 0;
        let leaves_after = Duration::from_micros(random.u64(0..100_000));
        // Numbers of one request lie next to each other and of two never do.
        let waiter = match gateways[random.usize(0..2)].try_submit(app, 10 * number, rows) {
            Ok(waiter) => waiter,
            Err(error) => {
                refused.insert(number, Had::Error(error.status.as_u16()));
                continue;
            }
        };
        callers.spawn(async move {
            let answer = waiter.answer(timer);
            if !stays {
                return match tokio::time::timeout(leaves_after, answer).await {
                    Ok(answer) => (number, had(answer)),
                    Err(_) => (number, Had::Left),
                };
            }
            // No timeout is longer than a second.
            let answer = tokio::time::timeout(ms(1_100), answer).await;
            (number, had(answer.unwrap()))
        });
    }
    assert!(start.elapsed() <= SPAN + ms(1));
    let mut all = refused;
    while let Some(had) = callers.join_next().await {
        let (number, had) = had.unwrap();
        assert!(all.insert(number, had).is_none());
    }
    // Replicas that hang are let go after half a minute.
    tokio::time::sleep(Duration::from_secs(40)).await;
    for gateway in &gateways {
        assert_eq!(gateway.queued_rows(), 0);
        let table = gateway.table.borrow();
        assert!(
            table.group_stats().all(|(_, stats, _)| stats.is_idle()),
            "seed {seed}"
        );
    }
    let visits = visits.lock().unwrap().clone();
    (visits, all)
}

fn had(answer: Result<Answered, ApiError>) -> Had {
    match answer {
        Ok(answered) => {
            let body: Value = serde_json::from_slice(&answered.answer.body.into_bytes()).unwrap();
            Had::Rows(numbers(&body["outputs"][0]["data"]))
        }
        Err(error) => Had::Error(error.status.as_u16()),
    }
}

/// Every caller that stayed has its own rows or an error that says why, and nothing was done twice that may not be.
fn check(seed: u64, visits: &[Visit], all: &BTreeMap<u64, Had>) {
    assert_eq!(all.len() as u64, REQUESTS);
    for (number, had) in all {
        let first = 10 * number;
        let own = |visit: &&Visit| visit.rows.contains(&first);
        match had {
            Had::Rows(rows) => {
                let expected: Vec<u64> = (first..first + rows.len() as u64).collect();
                assert_eq!(
                    *rows, expected,
                    "seed {seed}: caller {number} has rows of another"
                );
                assert!(
                    visits
                        .iter()
                        .filter(own)
                        .any(|visit| matches!(visit.fate, Fate::Echo | Fate::Hangs))
                );
            }
            Had::Error(status) => assert!([400, 502, 503, 504].contains(status), "seed {seed}: {status}"),
            Had::Left => {}
        }
    }
}

fn seeds() -> u64 {
    std::env::var("HARMONYBATCH_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap())
}

#[test]
fn whatever_replicas_do_every_caller_has_one_answer_and_it_is_its_own() {
    let mut answered = 0_u64;
    for seed in 0..seeds() {
        let (visits, all) = paused().block_on(play(seed));
        check(seed, &visits, &all);
        answered += all.values().filter(|had| matches!(had, Had::Rows(_))).count() as u64;
    }
    // Failures are the exception: this is no test of a gateway that refuses all.
    assert!(answered > seeds() * REQUESTS / 2, "{answered} answers");
}

#[test]
fn what_may_not_be_asked_twice_is_done_once() {
    for seed in 0..seeds() / 5 {
        if fastrand::Rng::with_seed(seed).bool() {
            continue;
        }
        let (visits, all) = paused().block_on(play(seed));
        for number in all.keys() {
            // A replica that was not reached has done nothing, and one that answered 4xx has not begun.
            let done = |visit: &&Visit| {
                visit.rows.contains(&(10 * number))
                    && !matches!(visit.fate, Fate::Unreachable | Fate::Refused(400))
            };
            assert!(
                visits.iter().filter(done).count() <= 1,
                "seed {seed}: request {number} was done twice"
            );
        }
    }
}

#[test]
fn a_seed_is_a_story() {
    for seed in 0..10 {
        let (first, again) = (paused().block_on(play(seed)), paused().block_on(play(seed)));
        assert_eq!(first, again, "seed {seed}");
    }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}
