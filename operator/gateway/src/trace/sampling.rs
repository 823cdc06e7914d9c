//! Which requests are sampled.

use opentelemetry::trace::{SpanContext, TraceId};

/// The samplers of OpenTelemetry, by the names that `OTEL_TRACES_SAMPLER` has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "OpenTelemetry's own names")]
pub enum Sampler {
    AlwaysOn,
    AlwaysOff,
    TraceIdRatio,
    ParentBasedAlwaysOn,
    ParentBasedAlwaysOff,
    ParentBasedTraceIdRatio,
}

/// Which requests are sampled: a part of them, or of those whose callers have not decided it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    parent_based: bool,
    ratio: f64,
}

impl Sampling {
    /// By a sampler; `ratio` is between 0 and 1, and counts for the two that have one.
    pub fn new(sampler: Sampler, ratio: f64) -> Self {
        let (parent_based, ratio) = match sampler {
            Sampler::AlwaysOn => (false, 1.0),
            Sampler::AlwaysOff => (false, 0.0),
            Sampler::TraceIdRatio => (false, ratio),
            Sampler::ParentBasedAlwaysOn => (true, 1.0),
            Sampler::ParentBasedAlwaysOff => (true, 0.0),
            Sampler::ParentBasedTraceIdRatio => (true, ratio),
        };
        Self { parent_based, ratio }
    }

    /// Whether a request with this parent is sampled.
    pub(super) fn samples(self, parent: Option<&SpanContext>) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.is_sampled(),
            Some(parent) => self.has(parent.trace_id()),
            // Its id is yet to be drawn: so is this, by the same law.
            None => self.ratio >= 1.0 || fastrand::f64() < self.ratio,
        }
    }

    /// As every sampler of OpenTelemetry decides by a trace's id: its last 63 bits against the ratio.
    fn has(self, trace: TraceId) -> bool {
        let bytes = trace.to_bytes();
        let low = bytes.last_chunk().map_or(0, |low| u64::from_be_bytes(*low)) >> 1;
        #[expect(
            clippy::cast_precision_loss,
            reason = "one part in 2^53 of a probability is none"
        )]
        let part = low as f64 / (1_u64 << 63) as f64;
        self.ratio >= 1.0 || part < self.ratio
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceState};

    use super::*;

    #[test]
    fn each_sampler_decides_as_its_name_says() {
        let parent = |low: u64, sampled: bool| {
            let flags = TraceFlags::default().with_sampled(sampled);
            let trace = TraceId::from((1_u128 << 64) | u128::from(low));
            SpanContext::new(trace, SpanId::from(1_u64), flags, true, TraceState::default())
        };
        // Without a parent; with one that is sampled, or not, of a trace below half of all and above it.
        let parents = [
            None,
            Some(parent(7, true)),
            Some(parent(7, false)),
            Some(parent(u64::MAX, true)),
            Some(parent(u64::MAX, false)),
        ];
        let (yes, no) = (true, false);
        for (sampler, ratio, expected) in [
            (Sampler::AlwaysOn, 0.0, [yes; 5]),
            (Sampler::AlwaysOff, 1.0, [no; 5]),
            (Sampler::TraceIdRatio, 1.0, [yes; 5]),
            (Sampler::ParentBasedAlwaysOn, 0.0, [yes, yes, no, yes, no]),
            (Sampler::ParentBasedAlwaysOff, 1.0, [no, yes, no, yes, no]),
            (Sampler::ParentBasedTraceIdRatio, 0.0, [no, yes, no, yes, no]),
        ] {
            let sampling = Sampling::new(sampler, ratio);
            let decided = parents.each_ref().map(|parent| sampling.samples(parent.as_ref()));
            assert_eq!(decided, expected, "{sampler:?}");
        }
        let half = Sampling::new(Sampler::TraceIdRatio, 0.5);
        let of_parents = parents[1..].iter().map(|parent| half.samples(parent.as_ref()));
        assert_eq!(of_parents.collect::<Vec<_>>(), [yes, yes, no, no]);
        let roots = (0..1000).filter(|_| half.samples(None)).count();
        // By six standard deviations of a binomial law.
        assert!((405..=595).contains(&roots), "{roots}");
    }
}
