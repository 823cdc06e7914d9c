//! The dispatcher against a slow batcher that is obviously right: one list, searched afresh at every event.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harmonybatch_dispatch::{Dispatcher, Lane, MemberRule, Nanos, Reason, Rule, Ticket};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Request {
    arrival: Nanos,
    lane: usize,
    member: usize,
    rows: u32,
    id: usize,
}

/// The rule as it is said, without any index.
struct Reference {
    rule: Rule,
    waiting: Vec<Request>,
    clock: Nanos,
}

impl Reference {
    fn deadline(&self, request: &Request) -> Nanos {
        request.arrival + self.rule.members[request.member].slo
    }

    fn flush_at(&self, request: &Request) -> Nanos {
        request.arrival + self.rule.members[request.member].max_wait
    }

    /// The requests of a lane in the order in which they leave.
    fn lane(&self, lane: usize) -> Vec<&Request> {
        let mut requests: Vec<_> = self
            .waiting
            .iter()
            .filter(|request| request.lane == lane)
            .collect();
        requests.sort_by_key(|request| {
            (
                self.deadline(request),
                request.member,
                request.arrival,
                request.id,
            )
        });
        requests
    }

    /// Since when a lane is ready, and why.
    fn ready(&self, lane: usize) -> Option<(Nanos, Reason)> {
        let requests = self.lane(lane);
        let rows: u64 = requests.iter().map(|request| u64::from(request.rows)).sum();
        let first = requests
            .iter()
            .min_by_key(|request| (self.flush_at(request), request.member))?;
        if rows >= u64::from(self.rule.batch_size) {
            return Some((self.clock, Reason::Full));
        }
        let eager = self.rule.members[first.member].max_wait == 0;
        Some((
            self.flush_at(first),
            if eager { Reason::Eager } else { Reason::MaxWait },
        ))
    }

    fn next_ready(&self, lanes: usize) -> Option<Nanos> {
        (0..lanes)
            .filter_map(|lane| self.ready(lane))
            .map(|(since, _)| since.max(self.clock))
            .min()
    }

    fn take(&mut self, now: Nanos, lanes: usize) -> Option<(usize, Vec<usize>, u32, Reason)> {
        self.clock = self.clock.max(now);
        let ready = (0..lanes).filter_map(|lane| {
            let (since, reason) = self.ready(lane)?;
            (since <= self.clock).then(|| (self.deadline(self.lane(lane)[0]), lane, reason))
        });
        let (_, lane, reason) = ready.min_by_key(|(deadline, lane, _)| (*deadline, *lane))?;
        let (mut ids, mut rows) = (Vec::new(), 0);
        for request in self.lane(lane) {
            if !ids.is_empty() && rows + request.rows > self.rule.batch_size {
                break;
            }
            rows += request.rows;
            ids.push(request.id);
        }
        self.waiting.retain(|request| !ids.contains(&request.id));
        Some((lane, ids, rows, reason))
    }
}

#[derive(Clone, Debug)]
enum Event {
    Arrive {
        after: Nanos,
        late_by: Nanos,
        lane: usize,
        member: usize,
        rows: u32,
    },
    Cancel {
        which: usize,
    },
    Take {
        after: Nanos,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let late_by = prop_oneof![9 => Just(0), 1 => 0_u64..40];
    let arrive = (
        0_u64..30,
        late_by,
        0_usize..3,
        0_usize..5,
        prop_oneof![8 => Just(1), 4 => 1_u32..12],
    )
        .prop_map(|(after, late_by, lane, member, rows)| Event::Arrive {
            after,
            late_by,
            lane,
            member,
            rows,
        });
    let cancel = any::<usize>().prop_map(|which| Event::Cancel { which });
    let take = (0_u64..60).prop_map(|after| Event::Take { after });
    prop::collection::vec(prop_oneof![6 => arrive, 1 => cancel, 3 => take], 0..200)
}

fn rules() -> impl Strategy<Value = Rule> {
    let max_wait = prop_oneof![1 => Just(0), 3 => 0_u64..120];
    let member = (0_u64..200, max_wait).prop_map(|(slo, max_wait)| MemberRule { slo, max_wait });
    let any = prop::collection::vec(member, 1..6);
    // As plans have them: nobody waits, or everybody for the SLO less the same span.
    let eager = prop::collection::vec(0_u64..200, 1..6).prop_map(|slos| waiting(&slos, |_| 0));
    let timed = (0_u64..80, prop::collection::vec(80_u64..200, 1..6))
        .prop_map(|(span, slos)| waiting(&slos, |slo| slo - span));
    (1_u32..9, prop_oneof![2 => any, 1 => eager, 1 => timed])
        .prop_map(|(batch_size, members)| Rule { batch_size, members })
}

fn waiting(slos: &[Nanos], max_wait: impl Fn(Nanos) -> Nanos) -> Vec<MemberRule> {
    let member = |&slo: &Nanos| MemberRule {
        slo,
        max_wait: max_wait(slo),
    };
    slos.iter().map(member).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_dispatcher_does_what_the_reference_does(rule in rules(), lanes in 1_usize..4, events in events()) {
        let mut dispatcher = Dispatcher::new(rule.clone()).unwrap();
        let mut reference = Reference { rule, waiting: Vec::new(), clock: 0 };
        let names: Vec<Lane> = (0..lanes).map(|_| dispatcher.open_lane()).collect();
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut now = 0;
        for event in events {
            match event {
                Event::Arrive { after, late_by, lane, member, rows } => {
                    now += after;
                    let (lane, member) = (lane % lanes, member % reference.rule.members.len());
                    let (arrival, id) = (now.saturating_sub(late_by), tickets.len());
                    let index = u32::try_from(member).unwrap();
                    tickets.push(dispatcher.arrive(arrival, names[lane], index, rows, id).unwrap());
                    reference.waiting.push(Request { arrival, lane, member, rows, id });
                    reference.clock = reference.clock.max(arrival);
                }
                Event::Cancel { which } => {
                    if tickets.is_empty() { continue; }
                    let id = which % tickets.len();
                    let position = reference.waiting.iter().position(|request| request.id == id);
                    let expected = position.map(|position| reference.waiting.remove(position).id);
                    prop_assert_eq!(dispatcher.cancel(tickets[id]), expected);
                }
                Event::Take { after } => {
                    now += after;
                    let mut ids = Vec::new();
                    let batch = dispatcher.take(now, &mut ids);
                    let taken = batch.map(|batch| {
                        let lane = names.iter().position(|lane| *lane == batch.lane).unwrap();
                        (lane, ids, batch.rows, batch.reason)
                    });
                    prop_assert_eq!(taken, reference.take(now, lanes));
                }
            }
            prop_assert_eq!(dispatcher.len(), reference.waiting.len());
            prop_assert_eq!(dispatcher.rows(), reference.waiting.iter().map(|r| u64::from(r.rows)).sum::<u64>());
            let ready = dispatcher.next_ready().map(|ready| ready.max(reference.clock));
            prop_assert_eq!(ready, reference.next_ready(lanes));
        }
        let left: Vec<usize> = dispatcher.into_waiting().into_iter().map(|request| request.payload).collect();
        let mut by_arrival = reference.waiting;
        by_arrival.sort_by_key(|request| request.arrival);
        let arrivals = |ids: &[usize]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let expected: Vec<usize> = by_arrival.iter().map(|request| request.id).collect();
        prop_assert_eq!(arrivals(&left), arrivals(&expected));
    }
}
