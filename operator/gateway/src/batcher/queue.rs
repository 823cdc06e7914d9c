//! The waiting requests of one group: the batching rule, with lanes made and forgotten as merge keys come and go.

use std::{collections::HashMap, sync::Arc, time::Duration};

use harmonybatch_dispatch::{
    ArriveError, Dispatcher, Lane, MemberRule, Nanos, Reason, Rule, RuleError, Ticket,
};

use super::request::Queued;
use crate::{
    admission::Standing,
    config::{GroupConfig, MemberConfig},
    protocol::MergeKey,
    timer::nanos,
};

/// Empty lanes that are kept, so that the usual few keys are not made anew for every batch.
const SPARE_LANES: usize = 16;

/// A batch as it leaves the queue.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) requests: Vec<Queued>,
    pub(super) reason: Reason,
    /// When it was ready.
    pub(super) since: Nanos,
}

#[derive(Debug)]
pub(super) struct Queue {
    batch_size: u32,
    /// No request waits for others any more.
    flush: bool,
    members: Vec<Arc<MemberConfig>>,
    dispatcher: Dispatcher<Queued>,
    lanes: HashMap<MergeKey, Lane>,
    /// By the requests' numbers, with their members: these must stay as long as the requests do.
    tickets: HashMap<u64, (Ticket, Arc<MemberConfig>)>,
}

impl Queue {
    /// # Errors
    /// Where the group has no members or no batch size.
    pub(super) fn new(config: &GroupConfig) -> Result<Self, RuleError> {
        let members = config.members.clone();
        let dispatcher = Dispatcher::new(rule(config.batch_size, &members, false))?;
        Ok(Self {
            batch_size: config.batch_size,
            flush: false,
            members,
            dispatcher,
            lanes: HashMap::new(),
            tickets: HashMap::new(),
        })
    }

    /// Follows a changed configuration: what waits lives on under the new rule. A member that is gone keeps its own rule as long as it has requests.
    pub(super) fn set_rule(&mut self, config: &GroupConfig, flush: bool) -> Result<(), RuleError> {
        let unchanged =
            self.batch_size == config.batch_size && self.flush == flush && self.members == config.members;
        if unchanged {
            return Ok(());
        }
        self.rebuild(config.batch_size, config.members.clone(), flush)
    }

    fn rebuild(
        &mut self,
        batch_size: u32,
        mut members: Vec<Arc<MemberConfig>>,
        flush: bool,
    ) -> Result<(), RuleError> {
        for (_, member) in self.tickets.values() {
            if !members.iter().any(|present| present.app == member.app) {
                members.push(member.clone());
            }
        }
        let fresh = Dispatcher::new(rule(batch_size, &members, flush))?;
        let waiting = std::mem::replace(&mut self.dispatcher, fresh).into_waiting();
        (self.batch_size, self.members, self.flush) = (batch_size, members, flush);
        self.lanes.clear();
        self.tickets.clear();
        for request in waiting {
            // A rule with these members was just made.
            let _ = self.insert(request.payload);
        }
        Ok(())
    }

    /// Takes a request in.
    pub(super) fn arrive(&mut self, request: Queued) -> Result<(), ArriveError> {
        if !self.members.iter().any(|member| member.app == request.member.app) {
            // Routed here just before its application moved to another group.
            let mut members = self.members.clone();
            members.push(request.member.clone());
            let rebuilt = self.rebuild(self.batch_size, members, self.flush);
            rebuilt.map_err(|_| ArriveError::UnknownMember)?;
        }
        self.insert(request)
    }

    fn insert(&mut self, request: Queued) -> Result<(), ArriveError> {
        let member = self
            .members
            .iter()
            .position(|member| member.app == request.member.app);
        // After the members, each of them once more as the one whose requests yield.
        let member = member
            .map(|index| match request.standing {
                Standing::Regular => index,
                Standing::Yielding => self.members.len() + index,
            })
            .and_then(|index| u32::try_from(index).ok())
            .ok_or(ArriveError::UnknownMember)?;
        let lane = if let Some(lane) = self.lanes.get(&request.key) {
            *lane
        } else {
            self.forget_empty_lanes();
            let lane = self.dispatcher.open_lane();
            self.lanes.insert(request.key.clone(), lane);
            lane
        };
        let (id, arrival, rows) = (request.id, request.submission.arrival, request.rows());
        let of_request = request.member.clone();
        let ticket = self.dispatcher.arrive(arrival, lane, member, rows, request)?;
        self.tickets.insert(id, (ticket, of_request));
        Ok(())
    }

    fn forget_empty_lanes(&mut self) {
        if self.lanes.len() >= SPARE_LANES {
            self.lanes
                .retain(|_, lane| self.dispatcher.close_lane(*lane).is_err());
        }
    }

    /// The caller left.
    pub(super) fn remove(&mut self, id: u64) -> Option<Queued> {
        let (ticket, _) = self.tickets.remove(&id)?;
        self.dispatcher.cancel(ticket)
    }

    /// When something is ready, if nothing more arrives.
    pub(super) fn next_ready(&self) -> Option<Nanos> {
        self.dispatcher.next_ready()
    }

    /// The batch that a free replica takes now.
    pub(super) fn take(&mut self, now: Nanos) -> Option<Due> {
        let since = self.dispatcher.next_ready().filter(|since| *since <= now)?;
        let mut requests = Vec::new();
        let batch = self.dispatcher.take(now, &mut requests)?;
        for request in &requests {
            self.tickets.remove(&request.id);
        }
        Some(Due {
            requests,
            reason: batch.reason,
            since,
        })
    }

    /// Everything that waits, taken out.
    pub(super) fn take_all(&mut self) -> Vec<Queued> {
        let ids: Vec<u64> = self.tickets.keys().copied().collect();
        let mut requests: Vec<Queued> = ids.into_iter().filter_map(|id| self.remove(id)).collect();
        requests.sort_by_key(|request| (request.submission.arrival, request.id));
        requests
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dispatcher.is_empty()
    }
}

fn rule(batch_size: u32, members: &[Arc<MemberConfig>], flush: bool) -> Rule {
    let max_wait = |member: &MemberConfig| if flush { 0 } else { nanos(member.max_wait) };
    let regular = members.iter().map(|member| MemberRule {
        slo: nanos(member.slo),
        max_wait: max_wait(member),
    });
    // Behind every regular request that arrives before they are sent away.
    let longest = |of: fn(&MemberConfig) -> Duration| members.iter().map(|member| of(member)).max();
    let (timeout, slo) = (longest(|member| member.timeout), longest(|member| member.slo));
    let last = nanos(
        timeout
            .unwrap_or_default()
            .saturating_add(slo.unwrap_or_default()),
    );
    let yielding = members.iter().map(|member| MemberRule {
        slo: last,
        max_wait: max_wait(member),
    });
    Rule {
        batch_size,
        members: regular.chain(yielding).collect(),
    }
}
