//! The rule, sentence by sentence.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harmonybatch_dispatch::{
    ArriveError, Dispatcher, LaneNotEmpty, MemberRule, Nanos, Reason, Rule, RuleError,
};

const EAGER: MemberRule = MemberRule {
    slo: 100,
    max_wait: 0,
};
const URGENT: MemberRule = MemberRule {
    slo: 100,
    max_wait: 20,
};
const RELAXED: MemberRule = MemberRule {
    slo: 1000,
    max_wait: 400,
};

fn dispatcher(batch_size: u32, members: &[MemberRule]) -> Dispatcher<&'static str> {
    Dispatcher::new(Rule {
        batch_size,
        members: members.to_vec(),
    })
    .unwrap()
}

/// What the next batch holds, with its rows and its reason.
fn take(dispatcher: &mut Dispatcher<&'static str>, now: Nanos) -> Option<(Vec<&'static str>, u32, Reason)> {
    let mut payloads = Vec::new();
    dispatcher
        .take(now, &mut payloads)
        .map(|batch| (payloads, batch.rows, batch.reason))
}

#[test]
fn a_batch_is_full_when_its_rows_reach_the_batch_size() {
    let mut dispatcher = dispatcher(4, &[RELAXED]);
    let lane = dispatcher.open_lane();
    dispatcher.arrive(1, lane, 0, 3, "three").unwrap();
    assert_eq!(take(&mut dispatcher, 1), None);
    dispatcher.arrive(2, lane, 0, 1, "one").unwrap();
    assert_eq!(dispatcher.next_ready(), Some(2));
    assert_eq!(
        take(&mut dispatcher, 2),
        Some((vec!["three", "one"], 4, Reason::Full))
    );
    assert!(dispatcher.is_empty());
    assert_eq!(dispatcher.next_ready(), None);
}

#[test]
fn a_batch_is_ready_when_the_shortest_wait_is_over() {
    let mut dispatcher = dispatcher(4, &[URGENT, RELAXED]);
    let lane = dispatcher.open_lane();
    dispatcher.arrive(0, lane, 1, 1, "relaxed").unwrap();
    assert_eq!(dispatcher.next_ready(), Some(400));
    dispatcher.arrive(50, lane, 0, 1, "urgent").unwrap();
    assert_eq!(dispatcher.next_ready(), Some(70));
    assert_eq!(take(&mut dispatcher, 69), None);
    assert_eq!(
        take(&mut dispatcher, 70),
        Some((vec!["urgent", "relaxed"], 2, Reason::MaxWait))
    );
}

#[test]
fn an_eager_request_is_ready_at_once_and_takes_what_waits_along() {
    let mut dispatcher = dispatcher(4, &[EAGER]);
    let lane = dispatcher.open_lane();
    dispatcher.arrive(5, lane, 0, 1, "first").unwrap();
    dispatcher.arrive(6, lane, 0, 1, "second").unwrap();
    assert_eq!(dispatcher.next_ready(), Some(6));
    assert_eq!(
        take(&mut dispatcher, 9),
        Some((vec!["first", "second"], 2, Reason::Eager))
    );
}

#[test]
fn requests_leave_by_arrival_and_slo_and_the_rest_keeps_its_wait() {
    let mut dispatcher = dispatcher(2, &[RELAXED, URGENT]);
    let lane = dispatcher.open_lane();
    dispatcher.arrive(0, lane, 0, 1, "old").unwrap();
    dispatcher.arrive(10, lane, 1, 1, "u1").unwrap();
    dispatcher.arrive(11, lane, 1, 1, "u2").unwrap();
    assert_eq!(
        take(&mut dispatcher, 11),
        Some((vec!["u1", "u2"], 2, Reason::Full))
    );
    assert_eq!(dispatcher.next_ready(), Some(400));
    assert_eq!(
        take(&mut dispatcher, 400),
        Some((vec!["old"], 1, Reason::MaxWait))
    );
}

#[test]
fn a_request_that_does_not_fit_ends_the_batch() {
    let mut dispatcher = dispatcher(4, &[RELAXED]);
    let lane = dispatcher.open_lane();
    for (rows, name) in [(3, "three"), (2, "two"), (1, "one")] {
        dispatcher.arrive(0, lane, 0, rows, name).unwrap();
    }
    // "one" would fit behind "three", but it is not its turn.
    assert_eq!(take(&mut dispatcher, 0), Some((vec!["three"], 3, Reason::Full)));
    assert_eq!(take(&mut dispatcher, 0), None);
    assert_eq!(dispatcher.rows(), 3);
}

#[test]
fn an_oversize_request_goes_alone() {
    let mut dispatcher = dispatcher(4, &[RELAXED]);
    let lane = dispatcher.open_lane();
    dispatcher.arrive(0, lane, 0, 1, "before").unwrap();
    dispatcher.arrive(0, lane, 0, 9, "oversize").unwrap();
    dispatcher.arrive(0, lane, 0, u32::MAX, "huge").unwrap();
    assert_eq!(take(&mut dispatcher, 0), Some((vec!["before"], 1, Reason::Full)));
    assert_eq!(
        take(&mut dispatcher, 0),
        Some((vec!["oversize"], 9, Reason::Full))
    );
    assert_eq!(
        take(&mut dispatcher, 0),
        Some((vec!["huge"], u32::MAX, Reason::Full))
    );
}

#[test]
fn requests_of_two_lanes_never_share_a_batch_and_the_most_urgent_ready_lane_goes_first() {
    let mut dispatcher = dispatcher(8, &[RELAXED, URGENT]);
    let (one, two, three) = (
        dispatcher.open_lane(),
        dispatcher.open_lane(),
        dispatcher.open_lane(),
    );
    dispatcher.arrive(0, one, 0, 8, "full").unwrap();
    dispatcher.arrive(3, two, 1, 1, "urgent").unwrap();
    dispatcher.arrive(4, three, 1, 1, "later").unwrap();
    // Only the full lane is ready, although the others hold more urgent requests.
    assert_eq!(take(&mut dispatcher, 22), Some((vec!["full"], 8, Reason::Full)));
    dispatcher.arrive(22, one, 0, 8, "full again").unwrap();
    assert_eq!(
        take(&mut dispatcher, 23),
        Some((vec!["urgent"], 1, Reason::MaxWait))
    );
    assert_eq!(
        take(&mut dispatcher, 23),
        Some((vec!["full again"], 8, Reason::Full))
    );
    assert_eq!(dispatcher.next_ready(), Some(24));
    assert_eq!(
        take(&mut dispatcher, 24),
        Some((vec!["later"], 1, Reason::MaxWait))
    );
}

#[test]
fn a_cancelled_request_leaves_at_once_and_only_once() {
    let mut dispatcher = dispatcher(2, &[URGENT]);
    let lane = dispatcher.open_lane();
    let first = dispatcher.arrive(0, lane, 0, 1, "first").unwrap();
    let second = dispatcher.arrive(5, lane, 0, 1, "second").unwrap();
    assert_eq!(dispatcher.cancel(first), Some("first"));
    assert_eq!(dispatcher.cancel(first), None);
    // No longer full, and the wait is that of the second.
    assert_eq!(dispatcher.next_ready(), Some(25));
    // The storage is used again; the old ticket still names nothing.
    let third = dispatcher.arrive(6, lane, 0, 1, "third").unwrap();
    assert_ne!(first, third);
    assert_eq!(dispatcher.cancel(first), None);
    assert_eq!(
        take(&mut dispatcher, 6),
        Some((vec!["second", "third"], 2, Reason::Full))
    );
    assert_eq!(dispatcher.cancel(second), None);
    assert_eq!(dispatcher.cancel(third), None);
}

#[test]
fn a_lane_is_closed_when_empty_and_its_name_is_not_used_again() {
    let mut dispatcher = dispatcher(2, &[EAGER]);
    let lane = dispatcher.open_lane();
    let ticket = dispatcher.arrive(0, lane, 0, 1, "request").unwrap();
    assert_eq!(dispatcher.close_lane(lane), Err(LaneNotEmpty));
    dispatcher.cancel(ticket);
    assert_eq!(dispatcher.close_lane(lane), Ok(()));
    let next = dispatcher.open_lane();
    assert_ne!(lane, next);
    assert_eq!(
        dispatcher.arrive(1, lane, 0, 1, "stale"),
        Err(ArriveError::UnknownLane)
    );
    assert_eq!(dispatcher.close_lane(lane), Ok(()));
    dispatcher.arrive(1, next, 0, 1, "fresh").unwrap();
    assert_eq!(dispatcher.lane_len(next), 1);
}

#[test]
fn what_waits_moves_to_another_dispatcher_and_keeps_its_arrival() {
    let mut old = dispatcher(8, &[RELAXED, URGENT]);
    let lane = old.open_lane();
    old.arrive(10, lane, 1, 1, "urgent").unwrap();
    old.arrive(4, lane, 0, 2, "relaxed").unwrap();
    let mut new = dispatcher(8, &[RELAXED]);
    let lane = new.open_lane();
    new.arrive(7, lane, 0, 1, "present").unwrap();
    for request in old.into_waiting() {
        new.arrive(request.arrival, lane, 0, request.rows, request.payload)
            .unwrap();
    }
    assert_eq!(new.next_ready(), Some(404));
    assert_eq!(
        take(&mut new, 404),
        Some((vec!["relaxed", "present", "urgent"], 4, Reason::MaxWait))
    );
}

#[test]
fn what_is_not_valid_is_refused_and_changes_nothing() {
    let refused = |batch_size, members: &[MemberRule]| {
        Dispatcher::<()>::new(Rule {
            batch_size,
            members: members.to_vec(),
        })
        .err()
    };
    assert_eq!(refused(0, &[EAGER]), Some(RuleError::NoBatch));
    assert_eq!(refused(1, &[]), Some(RuleError::NoMembers));
    let mut dispatcher = dispatcher(1, &[EAGER]);
    let lane = dispatcher.open_lane();
    assert_eq!(
        dispatcher.arrive(0, lane, 1, 1, "member"),
        Err(ArriveError::UnknownMember)
    );
    assert_eq!(dispatcher.arrive(0, lane, 0, 0, "rows"), Err(ArriveError::NoRows));
    assert!(dispatcher.is_empty());
    assert_eq!(dispatcher.next_ready(), None);
}

#[test]
fn the_end_of_time_is_a_time_like_any_other() {
    let mut dispatcher = dispatcher(
        2,
        &[MemberRule {
            slo: Nanos::MAX,
            max_wait: Nanos::MAX,
        }],
    );
    let lane = dispatcher.open_lane();
    dispatcher.arrive(Nanos::MAX, lane, 0, 1, "last").unwrap();
    assert_eq!(
        take(&mut dispatcher, Nanos::MAX),
        Some((vec!["last"], 1, Reason::MaxWait))
    );
}
