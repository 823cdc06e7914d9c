//! What the series of the families are told apart by: names of objects, and causes from fixed lists.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

use super::app::Outcome;
use crate::{config::Key, protocol::Cause};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AppLabels {
    pub(super) namespace: Arc<str>,
    pub(super) app: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) namespace: Arc<str>,
    pub(super) app: Arc<str>,
    pub(super) outcome: OutcomeLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label's values")]
pub(super) enum OutcomeLabel {
    within_slo,
    late,
    failed,
    refused,
    left,
}

/// By the number of [`Outcome`].
pub(super) const OUTCOMES: [(Outcome, OutcomeLabel); 5] = [
    (Outcome::WithinSlo, OutcomeLabel::within_slo),
    (Outcome::Late, OutcomeLabel::late),
    (Outcome::Failed, OutcomeLabel::failed),
    (Outcome::Refused, OutcomeLabel::refused),
    (Outcome::Left, OutcomeLabel::left),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GroupLabels {
    pub(super) namespace: Arc<str>,
    pub(super) group: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SizeLabels {
    pub(super) namespace: Arc<str>,
    pub(super) group: Arc<str>,
    /// The next power of two: eleven up to the largest batch size.
    pub(super) rows_up_to: u32,
}

/// Every power of two up to the largest batch size; larger batches count with the last.
pub(super) const SIZES: [u32; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) namespace: Arc<str>,
    pub(super) group: Arc<str>,
    pub(super) reason: ReasonLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label's values")]
pub(super) enum ReasonLabel {
    full,
    max_wait,
    eager,
}

pub(super) const REASONS: [ReasonLabel; 3] = [ReasonLabel::full, ReasonLabel::max_wait, ReasonLabel::eager];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FailureLabels {
    pub(super) namespace: Arc<str>,
    pub(super) group: Arc<str>,
    pub(super) cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabels {
    pub(super) namespace: Arc<str>,
    pub(super) app: Arc<str>,
    pub(super) cause: Cause,
}

/// Why a batch that was sent gave its callers no answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchFailure {
    /// The replica broke off.
    Broken,
    /// It did not answer before the last deadline.
    Overdue,
    /// It answered 4xx.
    ClientError,
    /// It answered with another status that is no success, mostly 5xx.
    ServerError,
    /// Its answer could not be given to the callers.
    Invalid,
}

impl BatchFailure {
    pub(super) const ALL: [Self; 5] = [
        Self::Broken,
        Self::Overdue,
        Self::ClientError,
        Self::ServerError,
        Self::Invalid,
    ];

    /// What its requests are told.
    pub fn cause(self) -> Cause {
        match self {
            Self::Broken => Cause::Broken,
            Self::Overdue => Cause::TimeoutRuntime,
            Self::ClientError => Cause::Runtime4xx,
            Self::ServerError => Cause::Runtime5xx,
            Self::Invalid => Cause::InvalidAnswer,
        }
    }
}

pub(super) fn app_labels(app: &Key) -> AppLabels {
    AppLabels {
        namespace: app.namespace.clone(),
        app: app.name.clone(),
    }
}

pub(super) fn outcome_labels(app: &Key, outcome: OutcomeLabel) -> OutcomeLabels {
    OutcomeLabels {
        namespace: app.namespace.clone(),
        app: app.name.clone(),
        outcome,
    }
}

pub(super) fn group_labels(group: &Key) -> GroupLabels {
    GroupLabels {
        namespace: group.namespace.clone(),
        group: group.name.clone(),
    }
}

/// Of batches of so many rows.
pub(super) fn size_labels(group: &Key, rows_up_to: u32) -> SizeLabels {
    SizeLabels {
        namespace: group.namespace.clone(),
        group: group.name.clone(),
        rows_up_to,
    }
}

pub(super) fn reason_labels(group: &Key, reason: ReasonLabel) -> ReasonLabels {
    ReasonLabels {
        namespace: group.namespace.clone(),
        group: group.name.clone(),
        reason,
    }
}

/// Of an application, or of none where a request is for none that is known.
pub(super) fn cause_labels(app: Option<&Key>, cause: Cause) -> CauseLabels {
    let name = |name: Option<&Arc<str>>| name.cloned().unwrap_or_default();
    CauseLabels {
        namespace: name(app.map(|app| &app.namespace)),
        app: name(app.map(|app| &app.name)),
        cause,
    }
}

pub(super) fn failure_labels(group: &Key, failure: BatchFailure) -> FailureLabels {
    FailureLabels {
        namespace: group.namespace.clone(),
        group: group.name.clone(),
        cause: failure.cause(),
    }
}
