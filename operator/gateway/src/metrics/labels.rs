//! What the series of the families are told apart by: names of objects, and causes from fixed lists.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use super::app::Outcome;
use crate::config::Key;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AppLabels {
    pub(super) namespace: String,
    pub(super) app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) namespace: String,
    pub(super) app: String,
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
    pub(super) namespace: String,
    pub(super) group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) namespace: String,
    pub(super) group: String,
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
    pub(super) namespace: String,
    pub(super) group: String,
    pub(super) reason: BatchFailure,
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

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Overdue => "overdue",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Invalid => "invalid",
        }
    }
}

impl EncodeLabelValue for BatchFailure {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.name().encode(encoder)
    }
}

pub(super) fn app_labels(app: &Key) -> AppLabels {
    AppLabels {
        namespace: app.namespace.to_string(),
        app: app.name.to_string(),
    }
}

pub(super) fn outcome_labels(app: &Key, outcome: OutcomeLabel) -> OutcomeLabels {
    OutcomeLabels {
        namespace: app.namespace.to_string(),
        app: app.name.to_string(),
        outcome,
    }
}

pub(super) fn group_labels(group: &Key) -> GroupLabels {
    GroupLabels {
        namespace: group.namespace.to_string(),
        group: group.name.to_string(),
    }
}

pub(super) fn reason_labels(group: &Key, reason: ReasonLabel) -> ReasonLabels {
    ReasonLabels {
        namespace: group.namespace.to_string(),
        group: group.name.to_string(),
        reason,
    }
}

pub(super) fn failure_labels(group: &Key, reason: BatchFailure) -> FailureLabels {
    FailureLabels {
        namespace: group.namespace.to_string(),
        group: group.name.to_string(),
        reason,
    }
}
