//! Applications whose requests keep spoiling batches: theirs are batched among themselves for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use harmonybatch_dispatch::Nanos;

use crate::timer::nanos;

/// Requests that spoil a batch within [`WINDOW`] before an application is set apart.
const STRIKES: u32 = 3;
const WINDOW: Duration = Duration::from_mins(1);
/// How long it is set apart after the last one.
const APART: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Record {
    strikes: u32,
    /// When the first of them was.
    since: Nanos,
    apart_until: Nanos,
}

/// Who is set apart in one group.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    records: HashMap<Arc<str>, Record>,
}

impl Quarantine {
    /// A request of the application has spoiled a batch. Gives until when the application is set apart, if it is.
    pub(super) fn strike(&mut self, app: &Arc<str>, now: Nanos) -> Option<Nanos> {
        self.records.retain(|_, record| {
            record.apart_until > now || now.saturating_sub(record.since) <= nanos(WINDOW)
        });
        let record = self.records.entry(app.clone()).or_insert_with(|| Record {
            since: now,
            ..Record::default()
        });
        record.strikes += 1;
        if record.strikes >= STRIKES {
            record.apart_until = now.saturating_add(nanos(APART));
        }
        (record.apart_until > now).then_some(record.apart_until)
    }

    /// Whether its requests are batched among themselves now.
    pub(super) fn is_apart(&self, app: &str, now: Nanos) -> bool {
        !self.records.is_empty()
            && self
                .records
                .get(app)
                .is_some_and(|record| record.apart_until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strikes_in_a_minute_set_an_application_apart_for_one() {
        const SECOND: Nanos = 1_000_000_000;
        let app: Arc<str> = "a".into();
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.strike(&app, 0), None);
        assert_eq!(quarantine.strike(&app, SECOND), None);
        // The first two are forgotten.
        assert_eq!(quarantine.strike(&app, 70 * SECOND), None);
        assert_eq!(quarantine.strike(&app, 71 * SECOND), None);
        assert_eq!(quarantine.strike(&app, 72 * SECOND), Some(132 * SECOND));
        assert!(quarantine.is_apart("a", 131 * SECOND) && !quarantine.is_apart("b", 131 * SECOND));
        assert_eq!(quarantine.strike(&app, 100 * SECOND), Some(160 * SECOND));
        assert!(!quarantine.is_apart("a", 160 * SECOND));
    }
}
