//! From the totals that every gateway counts to what arrived between two polls, for the applications whose rate is observed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use harmonybatch_api::InferenceApp;
use harmonybatch_api::inference_app::RateSource;
use harmonybatch_api::quantity::{Decimal, Duration as Span, Rate};

use super::evidence::{Scatter, Seen};
use super::following::Following;
use crate::gateways::{Arrived, Observed};
use crate::plan::{Key, key, planned_before};

/// The planned rates of all applications whose rate is observed.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    following: BTreeMap<Key, Following>,
    /// What each gateway had counted of each application at the last poll.
    totals: BTreeMap<SocketAddr, BTreeMap<Key, Arrived>>,
    /// When that was, since any fixed moment; none while no gateway was there to count.
    polled: Option<Duration>,
}

impl Arrivals {
    /// Takes the answers of all gateways at `now`, since any fixed moment; none at all if there is no gateway. Returns the rates to plan for, without those
    /// that are the declared ones.
    pub(crate) fn observe(
        &mut self,
        now: Duration,
        apps: &[InferenceApp],
        answers: &[(SocketAddr, Observed)],
    ) -> BTreeMap<Key, Rate> {
        let passed = self.polled.map(|before| now.saturating_sub(before).as_secs_f64());
        // Whoever called while there was no gateway was counted by none.
        self.polled = (!answers.is_empty()).then_some(now);
        let came = self.since_last(answers);
        let observed: BTreeMap<Key, &InferenceApp> = apps
            .iter()
            .filter(|app| app.spec.rate_source == RateSource::Observed)
            .map(|app| (key(app), app))
            .collect();
        self.following.retain(|app, _| observed.contains_key(app));
        for (name, app) in observed {
            let Ok(declared) = app.spec.rate.parse::<Rate>() else {
                continue;
            };
            let following = self
                .following
                .entry(name.clone())
                .or_insert_with(|| Following::new(planned_before(app)));
            following.scatters(scatter(app));
            if let (Some(seconds), Some(arrived)) = (passed, came.get(&name)) {
                #[expect(clippy::cast_precision_loss, reason = "requests of some seconds")]
                let seen = Seen {
                    seconds,
                    requests: arrived.requests as f64,
                    rows: arrived.rows as f64,
                };
                following.observe(seen, declared);
            }
        }
        let planned = self.following.iter();
        planned
            .filter_map(|(app, following)| Some((app.clone(), following.planned()?)))
            .collect()
    }

    /// What came since the last poll, of the applications that some gateway knew then. A gateway whose total is smaller has started anew.
    fn since_last(&mut self, answers: &[(SocketAddr, Observed)]) -> BTreeMap<Key, Arrived> {
        let mut came: BTreeMap<Key, Arrived> = BTreeMap::new();
        let mut totals: BTreeMap<SocketAddr, BTreeMap<Key, Arrived>> = BTreeMap::new();
        for (gateway, answer) in answers {
            let before = self.totals.get(gateway);
            for seen in &answer.apps {
                let Some(total) = seen.arrived else { continue };
                let app = (seen.namespace.clone(), seen.app.clone());
                if let Some(old) = before.and_then(|before| before.get(&app)) {
                    let goes_on = old.requests <= total.requests && old.rows <= total.rows;
                    let old = if goes_on { *old } else { Arrived::default() };
                    let sum = came.entry(app.clone()).or_default();
                    sum.requests += total.requests - old.requests;
                    sum.rows += total.rows - old.rows;
                }
                totals.entry(*gateway).or_default().insert(app, total);
            }
        }
        self.totals = totals;
        came
    }
}

/// How an application says that its requests scatter.
fn scatter(app: &InferenceApp) -> Scatter {
    let bursts = app.spec.burst.as_ref().and_then(|burst| {
        Some(Scatter::Bursts {
            factor: burst.factor.parse::<Decimal>().ok()?.to_f64(),
            duration: burst.duration.parse::<Span>().ok()?.as_secs_f64(),
        })
    });
    bursts.unwrap_or_default()
}

#[cfg(test)]
mod tests;
