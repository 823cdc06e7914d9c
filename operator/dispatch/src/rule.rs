//! What a group promises its members, as far as batching goes.

use std::fmt;

use crate::{Nanos, tournament::NEVER};

/// The rule of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Rows at which a batch is full; at least 1.
    pub batch_size: u32,
    /// The group's applications, known by their index from here on; at least one.
    pub members: Vec<MemberRule>,
}

/// The rule of one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberRule {
    /// The latency SLO: requests leave in order of arrival + SLO.
    pub slo: Nanos,
    /// How long a request may wait for others; 0 means Eager: it is ready at once.
    pub max_wait: Nanos,
}

impl MemberRule {
    /// Arrival + SLO, the order in which requests leave.
    pub(crate) fn deadline(self, arrival: Nanos) -> Nanos {
        arrival.saturating_add(self.slo).min(NEVER - 1)
    }

    /// Arrival + `max_wait`, the time at which the request makes its lane ready.
    pub(crate) fn flush_at(self, arrival: Nanos) -> Nanos {
        arrival.saturating_add(self.max_wait).min(NEVER - 1)
    }
}

/// How the members' waits relate to their SLOs: whether who makes a lane ready first can be told from who is most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nobody may wait: whatever holds a request is ready.
    None,
    /// Everybody may wait for the SLO less the same span: the most urgent one is the first to have waited long enough.
    BehindSlo,
    /// No such relation.
    Other,
}

impl Waits {
    pub(crate) fn of(members: &[MemberRule]) -> Self {
        let span = |member: &MemberRule| member.slo.checked_sub(member.max_wait);
        if members.iter().all(|member| member.max_wait == 0) {
            Self::None
        } else if members
            .iter()
            .all(|member| span(member).is_some() && span(member) == span(&members[0]))
        {
            Self::BehindSlo
        } else {
            Self::Other
        }
    }
}

/// Why a [`Rule`] is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// `batch_size` is 0.
    NoBatch,
    /// `members` is empty.
    NoMembers,
    /// More members than an index of 31 bits counts.
    TooManyMembers,
}

impl fmt::Display for RuleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoBatch => "batch_size is 0, must be at least 1",
            Self::NoMembers => "members is empty, must have at least one",
            Self::TooManyMembers => "members has more than 2^31 - 1 entries",
        })
    }
}

impl std::error::Error for RuleError {}

impl Rule {
    pub(crate) fn check(&self) -> Result<(), RuleError> {
        if self.batch_size == 0 {
            return Err(RuleError::NoBatch);
        }
        if self.members.is_empty() {
            return Err(RuleError::NoMembers);
        }
        if i32::try_from(self.members.len()).is_err() {
            return Err(RuleError::TooManyMembers);
        }
        Ok(())
    }
}
