//! What conversions between the encodings cost.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::protocol::{Direction, Meter};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    direction: Direction,
}

impl EncodeLabelValue for Direction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.name().encode(encoder)
    }
}

/// Time and bytes that conversions cost, by [`Direction`], of all groups together.
#[derive(Clone, Debug)]
pub struct ConversionMetrics {
    seconds: [Counter<f64, AtomicU64>; 5],
    bytes: [Counter; 5],
}

impl ConversionMetrics {
    /// All zero, in this registry.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let seconds: Family<Labels, Counter<f64, AtomicU64>> = Family::default();
        let bytes: Family<Labels, Counter> = Family::default();
        registry.register(
            "conversion_seconds",
            "Time spent on converting tensors between encodings, by direction",
            seconds.clone(),
        );
        registry.register(
            "conversion_bytes",
            "Bytes of tensors that were converted to another encoding, as they were before, by direction",
            bytes.clone(),
        );
        let labels = Direction::ALL.map(|direction| Labels { direction });
        Self {
            seconds: labels.map(|labels| seconds.get_or_create_owned(&labels)),
            bytes: labels.map(|labels| bytes.get_or_create_owned(&labels)),
        }
    }

    /// Adds the cost of one request or batch.
    pub fn observe(&self, meter: &Meter) {
        for (direction, cost) in meter.costs() {
            if cost.bytes > 0 {
                let time = Duration::from_nanos(cost.time);
                self.seconds[direction as usize].inc_by(time.as_secs_f64());
                self.bytes[direction as usize].inc_by(cost.bytes);
            }
        }
    }
}
