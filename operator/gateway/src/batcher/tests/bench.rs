//! A fleet on a bench: replicas that do as they are told, and what is asked of them.

use super::*;

pub(super) const MS: Nanos = 1_000_000;

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn endpoint(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

/// A batch as a replica saw it: when, where, and the first number of each row.
pub(super) type Seen = (Nanos, u8, Vec<u64>);

/// What a replica does instead of an echo after 100 ms.
#[derive(Clone)]
pub(super) enum Mood {
    Slow(Duration),
    Breaks,
    Answers(StatusCode, &'static str),
    /// Takes a time for each row, and refuses every batch in which one of the numbers is.
    Refuses(Duration, Refusal, Vec<u64>),
}

/// How a replica says that it cannot answer a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Status(StatusCode),
    /// It leaves out a row.
    FewerRows,
    /// It answers something else.
    OtherId,
}

/// Replicas that echo after 100 ms.
#[derive(Clone)]
pub(super) struct Simulated {
    pub(super) timer: Timer,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    pub(super) dead: Arc<Mutex<HashSet<u8>>>,
    pub(super) moods: Arc<Mutex<HashMap<u8, Mood>>>,
}

impl Upstream for Simulated {
    type Connection = ();

    async fn call(
        &self,
        replica: &Replica,
        _: Option<()>,
        call: Call,
    ) -> (Option<()>, Result<Reply, UpstreamError>) {
        let number = match replica {
            Replica::Endpoint(SocketAddr::V4(address)) => address.ip().octets()[3],
            _ => 0,
        };
        if self.dead.lock().unwrap().contains(&number) {
            return (None, Err(UpstreamError::Connect("refused".into())));
        }
        let body: Value = serde_json::from_slice(&call.body.into_bytes()).unwrap();
        let input = &body["inputs"][0];
        let rows = numbers(&input["data"]);
        self.seen
            .lock()
            .unwrap()
            .push((self.timer.now(), number, rows.clone()));
        let mood = self.moods.lock().unwrap().get(&number).cloned();
        match mood {
            Some(Mood::Breaks) => return (None, Err(UpstreamError::Broken("gone".into()))),
            Some(Mood::Answers(status, text)) => {
                let body = Bytes::from(text);
                return (
                    Some(()),
                    Ok(Reply {
                        status,
                        body,
                        header_length: None,
                    }),
                );
            }
            Some(Mood::Refuses(time, refusal, refused)) => {
                tokio::time::sleep(time * u32::try_from(rows.len()).unwrap()).await;
                if rows.iter().any(|row| refused.contains(row)) {
                    return (Some(()), Ok(refusal.reply(&body)));
                }
            }
            // The service time of a simulated replica, under the paused clock.
            Some(Mood::Slow(time)) => tokio::time::sleep(time).await,
            None => tokio::time::sleep(ms(100)).await,
        }
        (Some(()), Ok(echo(&body["id"], &input["shape"], &input["data"])))
    }
}

/// The numbers of a tensor.
pub(super) fn numbers(data: &Value) -> Vec<u64> {
    let data = data.as_array().unwrap().iter();
    data.map(|value| value.as_u64().unwrap()).collect()
}

pub(super) fn echo(id: &Value, shape: &Value, data: &Value) -> Reply {
    let answer = json!({"id": id, "outputs": [
        {"name": "y", "shape": shape, "datatype": "INT64", "data": data}]});
    Reply {
        status: StatusCode::OK,
        body: Bytes::from(answer.to_string()),
        header_length: None,
    }
}

impl Refusal {
    pub(super) fn reply(self, asked: &Value) -> Reply {
        let input = &asked["inputs"][0];
        match self {
            Self::Status(status) => Reply {
                status,
                body: Bytes::from_static(br#"{"error":"a row is spoilt"}"#),
                header_length: None,
            },
            Self::FewerRows => {
                let data = &input["data"].as_array().unwrap()[1..];
                echo(&asked["id"], &json!([data.len()]), &json!(data))
            }
            Self::OtherId => echo(&json!("another"), &input["shape"], &input["data"]),
        }
    }
}

pub(super) struct Bench<U: Upstream = Simulated> {
    pub(super) config: watch::Sender<Option<Arc<Snapshot>>>,
    pub(super) table: watch::Receiver<Arc<Table>>,
    pub(super) flush: watch::Sender<bool>,
    pub(super) upstream: U,
    pub(super) metrics: Arc<Metrics>,
    pub(super) timer: Timer,
}

impl Bench {
    pub(super) async fn start(config: GroupConfig) -> Self {
        let timer = Timer::new();
        let upstream = Simulated {
            timer,
            seen: Arc::default(),
            dead: Arc::default(),
            moods: Arc::default(),
        };
        Self::start_with(upstream, timer, config).await
    }

    pub(super) fn set_mood(&self, replica: u8, mood: Mood) {
        self.upstream.moods.lock().unwrap().insert(replica, mood);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.upstream.seen.lock().unwrap().clone()
    }
}

impl<U: Upstream> Bench<U> {
    pub(super) async fn start_with(upstream: U, timer: Timer, config: GroupConfig) -> Self {
        let (sender, source) = watch::channel(None);
        let metrics = Arc::new(Metrics::new());
        let (fleet, table) = Fleet::new(
            source,
            "cluster.local",
            Limits::default(),
            metrics.clone(),
            upstream.clone(),
            timer,
        );
        let (flush, flush_receiver) = watch::channel(false);
        tokio::spawn(fleet.run(flush_receiver));
        let mut bench = Self {
            config: sender,
            table,
            flush,
            upstream,
            metrics,
            timer,
        };
        bench.configure(config).await;
        bench
    }

    pub(super) async fn configure(&mut self, config: GroupConfig) {
        self.table.borrow_and_update();
        let groups = [(config.key.clone(), Arc::new(config))].into();
        self.config.send_replace(Some(Arc::new(Snapshot {
            groups,
            ..Snapshot::default()
        })));
        self.table.changed().await.unwrap();
    }

    /// Submits rows `first..first + rows`, which are let in.
    pub(super) fn submit_only(&self, app: &str, first: u64, rows: u64) -> Waiter {
        self.try_submit(app, first, rows).unwrap()
    }

    pub(super) fn try_submit(&self, app: &str, first: u64, rows: u64) -> Result<Waiter, ApiError> {
        let submission = self.submission(first, rows);
        let table = self.table.borrow();
        table.submit(table.routes.by_app("shop", app).unwrap(), submission)
    }

    /// Rows `first..first + rows`.
    pub(super) fn submission(&self, first: u64, rows: u64) -> Submission {
        let data: Vec<u64> = (first..first + rows).collect();
        let body = json!({"inputs": [{"name": "x", "shape": [rows], "datatype": "INT64", "data": data}]});
        let request = Request::read(&Bytes::from(body.to_string())).unwrap();
        Submission {
            request,
            model: "mlp".to_owned(),
            version: None,
            arrival: self.timer.now(),
            deadline: None,
            memory: Budget::new(0).hold(),
            span: None,
        }
    }

    /// Submits rows `first..first + rows`; gives the answer and its time.
    pub(super) fn submit(
        &self,
        app: &str,
        first: u64,
        rows: u64,
    ) -> JoinHandle<(Result<Answered, ApiError>, Nanos)> {
        let (waiter, timer) = (self.submit_only(app, first, rows), self.timer);
        tokio::spawn(async move { (waiter.answer(timer).await, timer.now()) })
    }

    /// Rows that wait in all groups.
    pub(super) fn queued_rows(&self) -> u64 {
        let table = self.table.borrow();
        let rows = table
            .group_stats()
            .map(|(_, stats, _)| stats.queued_rows.load(Ordering::Acquire));
        rows.sum()
    }

    /// How many batches failed for a cause.
    pub(super) fn failed_batches(&self, cause: &str) -> String {
        self.metric(
            "failed_batches_total",
            &format!("group=\"mlp-a\",cause=\"{cause}\""),
        )
    }

    /// The value of a metric of the namespace `shop` with these further labels.
    pub(super) fn metric(&self, name: &str, labels: &str) -> String {
        let metrics = self
            .metrics
            .encode(self.table.borrow().clone(), self.timer.now())
            .unwrap();
        let name = format!("harmonybatch_gateway_{name}{{namespace=\"shop\",{labels}}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
        count.unwrap().to_owned()
    }
}

pub(super) fn member(app: &str, slo: u64, max_wait: u64) -> Arc<MemberConfig> {
    Arc::new(MemberConfig {
        app: app.into(),
        service_name: format!("{app}-infer").into(),
        slo: ms(slo),
        timeout: ms(1000),
        max_wait: ms(max_wait),
        contract: None,
        departing: false,
    })
}

pub(super) fn group(batch_size: u32, members: &[Arc<MemberConfig>], endpoints: &[u8]) -> GroupConfig {
    GroupConfig {
        key: Key::new("shop", "mlp-a"),
        plan_generation: 1,
        batch_size,
        members: members.to_vec(),
        model: "mlp".into(),
        runtime_model: "net".into(),
        wire: Wire::Json,
        endpoints: endpoints.iter().copied().map(endpoint).collect(),
        idempotent: true,
        wake: None,
    }
}

pub(super) async fn answered(call: JoinHandle<(Result<Answered, ApiError>, Nanos)>) -> (u32, Nanos) {
    let (answer, at) = call.await.unwrap();
    (answer.unwrap().batch_rows, at)
}
